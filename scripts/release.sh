#!/usr/bin/env bash
# Makes a release candidate, or promotes the last one.
#
#   scripts/release.sh rc v1.4.0-rc1     (make rc TAG=v1.4.0-rc1)
#   scripts/release.sh ga v1.4.0         (make ga TAG=v1.4.0)
#
# Refuses before it touches anything: a malformed tag, a dirty tree, a tag that exists here or at the
# remote, a version that goes backwards, a branch that is behind its remote; and for `ga` a version
# without a candidate, or files that differ from the candidate's. Then: version, lint, tests,
# changelog, commit, tag, push. When lint or tests fail the files are put back.
#
# RELEASE_REMOTE      where to push (default origin)
# RELEASE_LINT_COMMAND, RELEASE_TEST_COMMAND   for this script's own test; `make` otherwise
set -euo pipefail
cd "$(dirname "$0")/.."

remote=${RELEASE_REMOTE:-origin}
lint=${RELEASE_LINT_COMMAND:-make fmt-check lint buf breaking deny docs workflows}
tests=${RELEASE_TEST_COMMAND:-make test}
work=$(mktemp -d "${TMPDIR:-/tmp}/release.XXXXXX")
trap 'rm -rf "$work"' EXIT
die() { echo "release: $*" >&2; exit 1; }

kind=${1:-} tag=${2:-}
number='(0|[1-9][0-9]*)'
case "$kind" in
    rc) form="^v$number\.$number\.$number-rc[1-9][0-9]*\$" example=v1.4.0-rc1 ;;
    ga) form="^v$number\.$number\.$number\$" example=v1.4.0 ;;
    *) echo "usage: $0 rc|ga TAG" >&2; exit 2 ;;
esac
[[ "$tag" =~ $form ]] || die "the tag ${tag:-(none)} is malformed (expected one such as $example)"
version=${tag#v}

# --- refusals: nothing has been touched yet ------------------------------------------------------
branch=$(git symbolic-ref --quiet --short HEAD) || die "no branch is checked out"
[ -z "$(git status --porcelain)" ] || die "the tree is dirty: commit or remove $(git status --porcelain | head -3 | tr '\n' ' ')"
! git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || die "the tag $tag exists"
remote_tags=$(git ls-remote --tags --refs "$remote") || die "the remote $remote does not answer"
! grep -qx "[0-9a-f]*[[:space:]]refs/tags/${tag//./\\.}" <<<"$remote_tags" ||
    die "the tag $tag exists at $remote"
git fetch --quiet --tags "$remote"
if git rev-parse --quiet --verify "refs/remotes/$remote/$branch" >/dev/null; then
    git merge-base --is-ancestor "refs/remotes/$remote/$branch" HEAD ||
        die "$branch is behind $remote/$branch: pull first"
fi

# released: every released version, lowest first. A final release comes after its candidates:
# `sort -V` puts what ends in ~ before everything else, so candidates are spelled with it.
released() {
    git tag --list 'v[0-9]*' | grep -E "^v$number\.$number\.$number(-rc[1-9][0-9]*)?\$" | sed 's/-rc/~rc/' |
        sort -V || true
}
spelled=${tag/-rc/\~rc}
last=$(released | tail -n 1)
if [ -n "$last" ]; then
    highest=$(printf '%s\n%s\n' "$last" "$spelled" | sort -V | tail -n 1)
    [ "$highest" = "$spelled" ] ||
        die "$tag goes backwards: ${last/\~rc/-rc} is released (expected a later version)"
fi
candidate=
if [ "$kind" = ga ]; then
    candidate=$(released | grep -E "^v${version//./\\.}~rc" | tail -n 1 || true)
    candidate=${candidate/\~rc/-rc}
    [ -n "$candidate" ] || die "$version has no candidate to promote (expected a tag ${tag}-rcN)"
    git diff --quiet "$candidate" HEAD ||
        die "the files differ from $candidate's: make another candidate, or check that one out"
fi

# --- version, lint, tests ------------------------------------------------------------------------
put_back() {
    git restore --staged --worktree .
    echo "release: nothing is tagged, the files are put back" >&2
}
trap put_back ERR
trap 'put_back; exit 130' INT TERM
scripts/set-version.py "$version"
scripts/set-version.py --check
# the contracts of a final release are those that later ones must not break
[ "$kind" != ga ] || [ ! -f proto/buf.yaml ] || make --no-print-directory image-proto
bash -c "$lint"
bash -c "$tests"

# --- changelog -----------------------------------------------------------------------------------
cliff=$(scripts/tool.sh git-cliff)
since=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
range=(); [ -z "$since" ] || range=("$since..HEAD")
"$cliff" --config scripts/cliff.toml "${range[@]}" >"$work/commits" 2>"$work/log" ||
    { cat "$work/log" >&2; false; }
scripts/changelog.py "$version" "$work/commits"

# --- commit, tag, push ---------------------------------------------------------------------------
git add --update
git commit --quiet --message "Release $tag"
trap - ERR INT TERM
git tag --annotate "$tag" --message "$(scripts/changelog.py --show "$version")"
git push --quiet --atomic "$remote" "$branch" "$tag" ||
    die "$tag is committed and tagged here, but $remote did not take it: git push --atomic $remote $branch $tag"
echo "$tag is at $remote"
