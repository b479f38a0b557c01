#!/usr/bin/env bash
# Installs the system packages that building, testing and the sandbox need, where they are missing.
# Works as root, or with sudo; without either it says what to install. With --browser also what the
# tests of the web pages need; without it they are skipped where there is no Chromium.
set -euo pipefail

missing=()

# A program, and the Debian package that brings it.
need() {
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

need git git
need bash bash
need bwrap bubblewrap
need python3 python3
need cc build-essential
need curl curl
# The tests look into databases that were damaged on purpose.
need sqlite3 sqlite3
if [ "${1:-}" = --browser ]; then
    need chromium chromium
    need npm npm
fi
# The tests' S3 server lives in a virtual environment.
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing+=(python3-venv)
fi
# The tests' PostgreSQL; Debian keeps its programs outside of the path.
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    need initdb postgresql
fi

if [ "${#missing[@]}" -gt 0 ]; then
    list=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "missing: $list- install them with your system's package manager" >&2
        exit 1
    fi
    if [ "$(id -u)" -eq 0 ]; then
        as_root=()
    elif command -v sudo >/dev/null 2>&1; then
        as_root=(sudo)
    else
        echo "missing: $list- run this as root: apt-get install $list" >&2
        exit 1
    fi
    echo "installing: $list"
    if [[ " $list" == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        # The tests start servers of their own: the package shall not make and start one.
        "${as_root[@]}" mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' |
            "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    # shellcheck disable=SC2086 # the list is words
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $list
fi

# The tests' Prometheus: only its programs, since the package would start a server.
if ! command -v prometheus >/dev/null 2>&1 || ! command -v promtool >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "missing: prometheus and promtool - put them on the path" >&2
        exit 1
    fi
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    [ -n "$(apt-cache madison prometheus 2>/dev/null)" ] || "${as_root[@]}" apt-get update -q
    unpacked=$(mktemp -d)
    chmod 755 "$unpacked"
    (cd "$unpacked" && apt-get download -q prometheus && dpkg -x prometheus_*.deb .)
    "${as_root[@]}" install -m 755 "$unpacked/usr/bin/prometheus" "$unpacked/usr/bin/promtool" /usr/local/bin/
    rm -rf "$unpacked"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "missing: Rust - install it from https://rustup.rs; rust-toolchain.toml picks the version" >&2
    exit 1
fi
for component in rustfmt clippy; do
    if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
        rustup component add "$component"
    fi
done
