#!/usr/bin/env bash
# Builds every image of deploy/Containerfile and starts each: does it answer its health check, run as
# another user than root on a root that cannot be written, and stop on SIGTERM? No container engine
# is needed: buildah builds in a chroot over a base image that debootstrap makes, bubblewrap starts.
#
#   scripts/test-images.sh [--bin FOLDER] [--keep] [TARGET...]
#
# --bin FOLDER  take the binaries from there; without it they are compiled in the container, from a
#               base image with Rust that BUILD_IMAGE names
# --keep        keep the storage (IMAGES_DIR, default target/images) for the next time
# Exit code 3 where buildah, debootstrap, bwrap or the rights for them are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

all=(metabuilder gateway orchestrator runner classifier autofixer flag-resolver)
bin='' keep='' targets=()
while [ $# -gt 0 ]; do
    case "$1" in
        --bin) bin=$(realpath "$2"); shift 2 ;;
        --keep) keep=true; shift ;;
        *) targets+=("$1"); shift ;;
    esac
done
[ "${#targets[@]}" -gt 0 ] || targets=("${all[@]}")
for program in buildah debootstrap bwrap curl python3; do
    command -v "$program" >/dev/null || { echo "$program is not installed: apt-get install buildah debootstrap bubblewrap curl python3"; exit 3; }
done
[ "$(id -u)" -eq 0 ] || { echo "building over a base of debootstrap's takes root"; exit 3; }
say() { printf '%s\n' "$*"; }
die() { say "images: $*" >&2; exit 1; }

dir=${IMAGES_DIR:-target/images}
mkdir -p "$dir"
dir=$(realpath "$dir")
work=$(mktemp -d "$dir/work.XXXXXX")
started=()
end() {
    local pid
    for pid in "${started[@]}"; do
        # the service first: a process that changed its user does not end with its parent
        pkill -KILL -P "$pid" 2>/dev/null || true
        kill -KILL "$pid" 2>/dev/null || true
    done
    if [ -z "$keep" ]; then
        rm -rf "$dir"
    else
        tidy
        rm -rf "$work"
    fi
}
trap end EXIT

# Overlays keep a layer once. Without the right to mount them every layer is a whole copy.
driver=vfs
mkdir "$work"/{lower,upper,scratch,merged}
if mount -t overlay overlay "$work/merged" \
    -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/scratch" 2>/dev/null; then
    umount "$work/merged"
    driver=overlay
fi
export STORAGE_DRIVER=$driver BUILDAH_ISOLATION=chroot
# What an end by force has left behind, and images that newer ones have replaced.
tidy() {
    storage rm --all >/dev/null 2>&1 || true
    storage rmi --prune --force >/dev/null 2>&1 || true
}
storage() { buildah --root "$dir/storage" --runroot "$dir/run" --storage-driver "$driver" "$@"; }
mkdir -p "$work/registries"
printf 'unqualified-search-registries = []\n' >"$work/registries/registries.conf"
printf '{"default": [{"type": "insecureAcceptAnything"}]}\n' >"$work/policy.json"
export CONTAINERS_REGISTRIES_CONF=$work/registries/registries.conf

tidy

# --- the base image ------------------------------------------------------------------------------
base=localhost/debian:bookworm-slim
if ! storage inspect --type image "$base" >/dev/null 2>&1; then
    say "making the base image"
    debootstrap --variant=minbase bookworm "$work/rootfs" >"$work/debootstrap.log" 2>&1 ||
        { tail -3 "$work/debootstrap.log"; say "debootstrap does not work here"; exit 3; }
    rm -rf "$work"/rootfs/var/lib/apt/lists/* "$work"/rootfs/var/cache/apt/*
    container=$(storage from scratch)
    storage add --quiet "$container" "$work/rootfs" / >/dev/null
    storage config --cmd /bin/sh "$container"
    storage commit --quiet --rm "$container" "$base" >/dev/null
    rm -rf "$work/rootfs"
fi

# --- building ------------------------------------------------------------------------------------
context=$PWD arguments=(--build-arg "BASE_IMAGE=$base" --build-arg "BUILD_IMAGE=${BUILD_IMAGE:-$base}")
if [ -n "$bin" ]; then
    context=$work/context
    mkdir -p "$context/bin"
    # debug information would be most of an image
    for name in "${all[@]}"; do strip -o "$context/bin/$name" "$bin/$name"; done
    arguments+=(--build-arg PREBUILT=bin)
fi
build() {
    say "building $1"
    storage bud --format docker --isolation chroot --signature-policy "$work/policy.json" --quiet --layers --pull-never \
        --file deploy/Containerfile --target "$1" --tag "localhost/metabuilder/$1" \
        "${arguments[@]}" "$context" >"$work/$1.build.log" 2>&1 ||
        { tail -20 "$work/$1.build.log" >&2; die "$1 is not built"; }
}

# --- starting ------------------------------------------------------------------------------------
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
# of FIELD...: a part of an image's configuration, a word a line.
of() {
    storage inspect --type image "localhost/metabuilder/$target" | python3 -c '
import json, sys
value = json.load(sys.stdin)["Docker"]["config"]
for field in sys.argv[1:]:
    value = value.get(field) or []
print(*([value] if isinstance(value, str) else value), sep="\n")' "$@"
}
# enter COMMAND...: what a container engine does with an image, as far as this test needs it.
enter() {
    local variables=() line user
    while IFS= read -r line; do variables+=(--setenv "${line%%=*}" "${line#*=}"); done < <(of Env)
    user=$(of User)
    # the /proc of the machine: one that bubblewrap makes is covered in parts, and the runner's own
    # sandbox could not make another inside
    exec bwrap --unshare-ipc --die-with-parent --clearenv "${variables[@]}" "${given[@]}" \
        --cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP \
        --ro-bind "$root" / --bind /proc /proc --dev /dev --perms 1777 --tmpfs /tmp \
        --bind "$work/$target.data" /var/lib/metabuilder --chdir / -- \
        setpriv --reuid "${user%%:*}" --regid "${user##*:}" --clear-groups --inh-caps=-all \
        --bounding-set=-all --no-new-privs env --chdir="$(of WorkingDir)" "$@"
}

run() {
    target=$1
    local port image_id start entry=() command=() given=() health=() root
    image_id=$(storage from --pull-never "localhost/metabuilder/$target")
    root=$(storage mount "$image_id")
    port=$(free_port)
    mapfile -t entry < <(of Entrypoint)
    mapfile -t command < <(of Cmd)
    [ -n "${command[0]:-}" ] || command=()
    install -d -o 10001 -g 10001 -m 0700 "$work/$target.data"
    given=(--setenv METABUILDER__AUTH__SERVICE_TOKEN "$token" --setenv METABUILDER__LISTEN "127.0.0.1:$port"
        --setenv METABUILDER_LISTEN "127.0.0.1:$port" --setenv METABUILDER_GRPC "127.0.0.1:$(free_port)")
    case "$target" in
        orchestrator) command+=("${peers[@]}") ;;
        gateway | runner) command+=("${peers[@]}") ;;
        *) ;;
    esac
    start=$SECONDS
    (enter "${entry[@]}" "${command[@]}") >"$work/$target.log" 2>&1 &
    local pid=$!
    started+=("$pid")
    peers+=(--set "peers.$target=http://127.0.0.1:$port")

    # the health check of the image, in the same surroundings
    mapfile -t health < <(of Healthcheck Test)
    [ "${health[0]}" = CMD ] || die "$target has no health check"
    health=("${health[@]:1}")
    until (enter "${health[@]}") >"$work/$target.health" 2>&1; do
        kill -0 "$pid" 2>/dev/null || { tail -5 "$work/$target.log" >&2; die "$target ended by itself"; }
        [ $((SECONDS - start)) -lt 60 ] || { cat "$work/$target.health" "$work/$target.log" >&2; die "$target never said that it serves"; }
        sleep 0.2
    done
    # shellcheck disable=SC2016 # the shell inside expands it
    (enter sh -c '! touch /usr/local/bin/x 2>/dev/null && [ "$(id -u)" = 10001 ]') ||
        die "$target can write its root, or is root"
    pids[$target]=$pid mounts[$target]=$image_id
    local size
    size=$(du -sm "$root" | cut -f1)
    say "$target serves as user 10001 on a read-only root of $size MB"
}

# stop TARGET: what was started is bubblewrap; its child is the service.
stop() {
    local pid=${pids[$1]} service code=0 start=$SECONDS
    service=$(pgrep -P "$pid")
    kill -TERM "$service"
    while kill -0 "$pid" 2>/dev/null; do
        [ $((SECONDS - start)) -lt 30 ] || die "$1 does not stop on SIGTERM"
        sleep 0.1
    done
    wait "$pid" || code=$?
    [ "$code" -eq 0 ] || { tail -5 "$work/$1.log" >&2; die "$1 ended with $code on SIGTERM"; }
    grep -q stopped "$work/$1.log" || die "$1 did not drain"
    say "$1 stopped on SIGTERM"
    storage umount "${mounts[$1]}" >/dev/null
    storage rm "${mounts[$1]}" >/dev/null
}

token=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
peers=()
declare -A pids mounts
# those that others need come first
order=()
for target in classifier autofixer flag-resolver orchestrator runner gateway metabuilder; do
    for wanted in "${targets[@]}"; do [ "$wanted" != "$target" ] || order+=("$target"); done
done
for name in "${order[@]}"; do build "$name"; done
for name in "${order[@]}"; do run "$name"; done
for ((i = ${#order[@]} - 1; i >= 0; i--)); do stop "${order[i]}"; done
say "images: ${order[*]}"
