#!/usr/bin/env bash
# Prints the path of a tool of scripts/tools.txt (or of its python), and installs what is missing:
#
#   scripts/tool.sh zizmor        target/tools/<...>/bin/zizmor
#   scripts/tool.sh python        the python that has these packages
#
# A tool that is installed anyway is taken. Exit code 3 when it can be had neither way: whoever
# calls says so and skips.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 TOOL" >&2; exit 2; }
cd "$(dirname "$0")/.."

if [ "$1" != python ] && command -v "$1" >/dev/null; then
    command -v "$1"
    exit
fi
# One environment a list of versions, so that a changed list is a fresh environment.
list=$(sha256sum scripts/tools.txt)
home=${TOOLS_DIR:-target/tools}
venv=$home/${list:0:12}
unavailable() {
    echo "$1: not installed here, and not to be had from PyPI (see $home/pip.log)" >&2
    exit 3
}
mkdir -p "$home"
exec 9>"$home/lock"
flock 9
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    {
        python3 -m venv "$venv" &&
            "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement scripts/tools.txt
    } >"$home/pip.log" 2>&1 || unavailable "$1"
    touch "$venv/complete"
fi
[ -x "$venv/bin/$1" ] || unavailable "$1"
realpath -s "$venv/bin/$1"
