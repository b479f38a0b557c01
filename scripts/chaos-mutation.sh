#!/usr/bin/env bash
# Tries whether the chaos harness catches a fault that is put into the product on purpose.
#
#   scripts/chaos-mutation.sh PATCH [EXPERIMENT...] [-- meta-chaos flags]
#
# The patch is applied in a worktree of its own, the services are built there, and the experiments
# are carried out on them. Without experiments the patch names them itself, in a line such as
# `Caught-by: c1 c3` before its first hunk. Exit code 0: caught; 1: not caught; 2: could not be
# tried.
set -euo pipefail

die() { echo "$*" >&2; exit 2; }

[[ $# -ge 1 ]] || die "usage: $0 PATCH [EXPERIMENT...] [-- meta-chaos flags]"
patch=$(realpath "$1")
shift
[[ -f $patch ]] || die "$patch is no file"
experiments=()
while [[ $# -gt 0 && $1 != -- ]]; do
  experiments+=("$1")
  shift
done
[[ ${1:-} == -- ]] && shift
if [[ ${#experiments[@]} -eq 0 ]]; then
  read -ra experiments <<<"$(sed -n 's/^Caught-by: //p' "$patch" | head -1)"
fi
[[ ${#experiments[@]} -gt 0 ]] || die "$patch has no line 'Caught-by: EXPERIMENT...', and none was named"

root=$(git -C "$(dirname "$0")/.." rev-parse --show-toplevel)
# one target folder for all mutations: only what a patch touches is built again
target=${CHAOS_TARGET:-$root/target/mutations}
tree=$(mktemp -d)
cleanup() { git -C "$root" worktree remove --force "$tree/work" 2>/dev/null || true; rm -rf "$tree"; }
trap cleanup EXIT

git -C "$root" worktree add --quiet --detach "$tree/work" HEAD || die "no worktree"
git -C "$tree/work" apply --whitespace=nowarn "$patch" || die "$patch does not apply"
export CARGO_TARGET_DIR=$target
(
  cd "$tree/work"
  cargo build --quiet -p orchestrator -p runner -p classifier -p autofixer -p flag-resolver -p meta-chaos --bins
) || die "the mutated product does not build"

code=0
"$target/debug/meta-chaos" "${experiments[@]}" --bin "$target/debug" --records "$target/records" "$@" || code=$?
name=$(basename "$patch")
case $code in
  0) echo "NOT CAUGHT: $name by ${experiments[*]}"; exit 1 ;;
  1) echo "caught: $name by ${experiments[*]}" ;;
  *) die "the experiments ended with exit code $code" ;;
esac
