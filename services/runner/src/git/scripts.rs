//! The scripts. Each does all that one task needs, so that a task starts one sandbox.
//!
//! Variables: `GIT_DIR` and `GIT_WORK_TREE` (the history and the workspace), `OBJECTS` (where steps
//! see the history's objects). They answer on standard output.

/// Put before every script.
pub const PRELUDE: &str = r#"set -eu
refuse() { echo "$1" >&2; exit 92; }
# A repository that borrows its objects: $1 is where, the index and the head are those of $GIT_DIR.
borrow() { rm -rf "$1"; fill "$1"; }
fill() {
  mkdir -p "$1/objects/info" "$1/refs/heads" "$1/info"
  printf '%s\n' "$OBJECTS" > "$1/objects/info/alternates"
  printf 'ref: refs/heads/metabuilder\n' > "$1/HEAD"
  printf '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n' > "$1/config"
  cp "$GIT_DIR/index" "$1/index"
  git rev-parse HEAD > "$1/refs/heads/metabuilder"
}
diff_of() { git diff --binary --full-index --no-renames --no-ext-diff --no-textconv "$@"; }
# Head, then the files named by $1, then everything since the base.
report() {
  git rev-parse HEAD
  cat "$1"
  printf '\0'
  diff_of refs/metabuilder/base HEAD
}
"#;

/// Fetches `REF` of `URL` into the (empty) folder and forgets where it came from.
pub const CLONE: &str = r#"
git init -q .
git remote add origin "$URL"
if git fetch -q --depth 1 --no-tags origin "${REF:-HEAD}" 2>"$TMPDIR/why"; then
  git checkout -q --detach FETCH_HEAD
elif [ -n "$REF" ] && git fetch -q --tags origin '+refs/heads/*:refs/remotes/origin/*' 2>>"$TMPDIR/why"; then
  git checkout -q --detach "$REF" 2>>"$TMPDIR/why" || refuse "$(tail -n 1 "$TMPDIR/why")"
else
  refuse "$(grep -m 1 -E '^(fatal|error|remote):' "$TMPDIR/why" || tail -n 1 "$TMPDIR/why")"
fi
rm -rf .git
"#;

/// Makes the history and its first commit. All files of the commit get one and the same time: the
/// order in which they were copied says nothing.
pub const PREPARE: &str = r#"
env -u GIT_WORK_TREE git init -q --bare
git symbolic-ref HEAD refs/heads/metabuilder
git add -A
git commit -q --allow-empty -m base
git update-ref refs/metabuilder/base HEAD
touch "$TMPDIR/now"
git ls-files -z | xargs -0 -r touch -h -c -r "$TMPDIR/now" --
git update-index -q --refresh || true
borrow .git
git rev-parse HEAD
git ls-files -z
"#;

/// Puts the tracked files back to the head (`RESTORE`), and makes them all new (`TOUCH`).
pub const BEFORE_STEP: &str = r#"
rm -f "$GIT_DIR/index.lock"
if [ -n "$RESTORE" ]; then
  git update-index -q --refresh || true
  git read-tree --reset -u HEAD
fi
if [ -n "$TOUCH" ]; then
  touch "$TMPDIR/now"
  git ls-files -z | xargs -0 -r touch -h -c -r "$TMPDIR/now" --
  git update-index -q --refresh || true
fi
borrow .git
git rev-parse HEAD
"#;

/// Commits what a step changed of the tracked files.
/// Answers the head alone when there is nothing to commit.
pub const AFTER_STEP: &str = r#"
rm -f "$GIT_DIR/index.lock"
git add -u
if git diff --cached --quiet HEAD --; then
  git rev-parse HEAD
else
  git commit -q -m "$MESSAGE"
  borrow .git
  report /dev/null
fi
"#;

/// The head.
pub const HEAD: &str = "git rev-parse HEAD\n";

/// The tracked files.
pub const LIST: &str = "git ls-files -z\n";

/// A fresh copy of `FROM` at the history's head, with a repository at `GIT_DIR` of its own; then
/// copies pairs of cache folders. `EXCLUDE` lists what never belongs to a patch.
const COPY: &str = r#"
cp -a --reflink=auto "$FROM/." . 2>/dev/null || true
rm -rf .git
while [ $# -gt 0 ]; do
  cp -a --reflink=auto "$1/." "$2/" 2>/dev/null || true
  shift 2
done
own=$GIT_DIR
( GIT_DIR=$HISTORY; fill "$own" )
printf '%s' "$EXCLUDE" > "$GIT_DIR/info/exclude"
git update-index -q --refresh || true
git read-tree --reset -u HEAD
"#;

/// The copy in which a fixer works; answers the tree before it.
pub const COPY_FOR_FIXER: &str = r"
borrow .git
git add -A
git write-tree
";

/// What the fixer changed since the tree `BEFORE`, as a patch on the head. Files that are not
/// tracked and were there before are no part of it.
pub const DIFF_OF_FIXER: &str = r#"
git add -A
git diff --name-only -z --diff-filter=A HEAD "$BEFORE" > "$TMPDIR/litter"
git update-index --force-remove -z --stdin < "$TMPDIR/litter"
diff_of HEAD "$(git write-tree)" > "$TMPDIR/patch"
if [ -s "$TMPDIR/patch" ]; then
  export GIT_INDEX_FILE="$TMPDIR/index"
  git read-tree HEAD
  git apply --cached --check --whitespace=nowarn "$TMPDIR/patch" || exit 91
  cat "$TMPDIR/patch"
fi
"#;

/// The copy in which a patch is verified, with the patch as its last commit.
pub const COPY_WITH_PATCH: &str = r#"
git apply --index --whitespace=nowarn "$PATCH" || exit 91
git commit -q --allow-empty -m 'proposed patch'
cp -R "$GIT_DIR" .git
"#;

/// Commits `PATCH` with `MESSAGE`, unless the head is that commit already, and brings its files
/// into the workspace; other files are left as they are.
pub const COMMIT: &str = r#"
rm -f "$GIT_DIR/index.lock"
want=$(printf '%s\n' "$MESSAGE" | git stripspace)
if [ "$(git log -1 --format=%B)" != "$want" ]; then
  git read-tree --reset HEAD
  git apply --cached --whitespace=nowarn "$PATCH" || exit 91
  git commit -q -m "$MESSAGE"
fi
git diff --name-only -z --diff-filter=D HEAD^ HEAD | xargs -0 -r rm -f --
git diff --name-only -z --diff-filter=d HEAD^ HEAD | git checkout-index -f -q -u -z --stdin
borrow .git
git ls-files -z > "$TMPDIR/files"
report "$TMPDIR/files"
"#;

/// Goes back to `TARGET`, or to before the last commit that was not taken back, by a new commit.
/// Answers an empty line when only the base is left.
pub const ROLLBACK: &str = r#"
rm -f "$GIT_DIR/index.lock"
base=$(git rev-parse refs/metabuilder/base)
trailer() { git log -1 --format="%(trailers:key=$1,valueonly)" "$2"; }
old=$(git rev-parse HEAD)
if [ "$(trailer Task "$old" | head -n 1)" = "$TASK" ]; then
  old=$(git rev-parse HEAD^)
else
  if [ -n "$TARGET" ]; then
    git merge-base --is-ancestor "$TARGET" HEAD 2>/dev/null || refuse "commit $TARGET is not in the run's history"
    to=$(git rev-parse "$TARGET^{commit}")
  else
    at=$old
    while back=$(trailer Rolls-back-to "$at" | head -n 1); [ -n "$back" ]; do at=$back; done
    if [ "$at" = "$base" ]; then echo; exit 0; fi
    to=$(git rev-parse "$at^")
  fi
  new=$(printf 'Roll back to %.12s\n\nRolls-back-to: %s\nTask: %s\n' "$to" "$to" "$TASK" |
    git commit-tree "$to^{tree}" -p HEAD)
  git update-ref HEAD "$new"
fi
git read-tree --reset HEAD
git diff --name-only -z --diff-filter=D "$old" HEAD | xargs -0 -r rm -f --
git diff --name-only -z --diff-filter=d "$old" HEAD | git checkout-index -f -q -u -z --stdin
borrow .git
report /dev/null
"#;

/// [`COPY_FOR_FIXER`] with the copy before it.
pub fn copy_for_fixer() -> String {
    format!("{COPY}{COPY_FOR_FIXER}")
}

/// [`COPY_WITH_PATCH`] with the copy before it.
pub fn copy_with_patch() -> String {
    format!("{COPY}{COPY_WITH_PATCH}")
}

/// What tools leave behind and no patch should carry.
pub const LITTER: &str = "__pycache__/
*.py[co]
.pytest_cache/
.mypy_cache/
.ruff_cache/
.hypothesis/
.tox/
.nox/
.venv/
.coverage
node_modules/
.eslintcache
*.tsbuildinfo
.gradle/
.metabuilder/
";
