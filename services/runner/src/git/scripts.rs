//! The scripts. Each does all that one task needs, so that a task starts one sandbox.
//!
//! Variables: `GIT_DIR` and `GIT_WORK_TREE` (the history and the workspace), `OBJECTS` (where steps
//! see the history's objects), `ORDER` (the name of the script; files that came with it stand
//! beside it). They
//! answer on standard output.
//!
//! Each process costs as much as what it does to a small project: what the shell can do by itself it
//! does, and git is started once where once is enough.

/// Put before every script.
pub const PRELUDE: &str = r#"set -eu
refuse() { echo "$1" >&2; exit 92; }
# A repository that borrows its objects: $1 is where, the index and the head are those of $GIT_DIR.
borrow() { [ ! -e "$1" ] && [ ! -L "$1" ] || rm -rf "$1"; fill "$1"; }
# A lock that a killed git left behind: scripts on a history follow each other.
unlock() { [ ! -e "$GIT_DIR/index.lock" ] || rm -f "$GIT_DIR/index.lock"; }
# Whether there is something in folder $1.
filled() {
  for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ -e "$entry" ] || [ -L "$entry" ]; then return 0; fi
  done
  return 1
}
fill() {
  [ -d "$1/info" ] || mkdir -p "$1/objects/info" "$1/refs/heads" "$1/info"
  printf '%s\n' "$OBJECTS" > "$1/objects/info/alternates"
  printf 'ref: refs/heads/metabuilder\n' > "$1/HEAD"
  printf '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n' > "$1/config"
  cp "$GIT_DIR/index" "$1/index"
  head_of > "$1/refs/heads/metabuilder"
}
# The head, read without starting git where its branch is a plain file.
head_of() {
  if [ -s "$GIT_DIR/refs/heads/metabuilder" ]; then
    read -r line < "$GIT_DIR/refs/heads/metabuilder"
    printf '%s\n' "$line"
  else
    git rev-parse HEAD
  fi
}
diff_of() { git diff --binary --full-index --no-renames --no-ext-diff --no-textconv "$@"; }
# Writes a difference from the base to $TMPDIR/combined; more than $PATCH_MAX bytes of it end the
# script.
combine() {
  { diff_of "$@" || : > "$TMPDIR/broken"; } | head -c "$((PATCH_MAX + 1))" > "$TMPDIR/combined"
  [ "$(wc -c < "$TMPDIR/combined")" -le "$PATCH_MAX" ] || exit 93
  [ ! -e "$TMPDIR/broken" ]
}
# For each path: its name, a zero byte, its size, a line feed, its bytes at the head. Files larger
# than $FILE_MAX, links and what is not there are left out; it ends before more than $SHOWN_MAX bytes.
SHOW='total=0
for path; do
  entry=$(git ls-tree -l HEAD -- "$path")
  case $entry in 100644\ blob\ * | 100755\ blob\ *) ;; *) continue ;; esac
  entry=${entry#* blob }
  object=${entry%% *}
  entry=${entry#"$object"}
  entry=${entry%%	*}
  size=${entry##* }
  [ "$size" -le "$FILE_MAX" ] || continue
  total=$((total + size))
  [ "$total" -le "$SHOWN_MAX" ] || break
  printf "%s\0%s\n" "$path" "$size"
  git cat-file blob "$object"
done'
# How many commits from $1 down were made by the loop, with no other between them.
bots() {
  count=0
  for commit in $(git rev-list --first-parent --max-count=8 "$1"); do
    [ -n "$(git log -1 --format='%(trailers:key=Metabuilder-Patch,valueonly)' "$commit")" ] || break
    count=$((count + 1))
  done
  echo "$count"
}
# Brings the files that differ between the commit $1 and the head into the workspace; others are left
# as they are.
bring_since() {
  git read-tree --reset HEAD
  git diff --name-only -z --diff-filter=D "$1" HEAD | xargs -0 -r rm -f --
  git diff --name-only -z --diff-filter=d "$1" HEAD | git checkout-index -f -q -u -z --stdin
}
# Makes the files that standard input names equally new: the order in which they were written says
# nothing.
touch_all() {
  : > "$TMPDIR/now"
  xargs -0 -r touch -h -c -r "$TMPDIR/now" --
}
# The same for all files that are tracked.
make_new() {
  git ls-files -z | touch_all
  git update-index -q --refresh || true
}
# A commit of the index on the head, which it does not move. Three small commands are cheaper than
# `git commit`, which looks at the whole workspace.
commit_of() {
  tree=$(git write-tree)
  git commit-tree "$tree" -p HEAD -m "$1"
}
# Head, then the files named by $1, then everything since the base; without the last when it is too
# large.
report() {
  head_of
  cat "$1"
  printf '\0'
  combine refs/metabuilder/base HEAD
  cat "$TMPDIR/combined"
}
"#;

/// How many commits at the head of the repository the loop made.
pub const BOTS: &str = "bots HEAD\n";

/// Shows the files given as arguments.
pub const COLLECT: &str = r#"
sh -c "$SHOW" show "$@"
"#;

/// Writes edits into a copy: arguments are pairs of a path and the name of a file in `ORDER`, which
/// is empty for a file that goes away. A link is never written through.
pub const EDIT: &str = r#"
linked() {
  part=$1
  while :; do
    [ ! -L "$part" ] || return 0
    case $part in */*) part=${part%/*} ;; *) return 1 ;; esac
  done
}
while [ $# -gt 0 ]; do
  linked "$1" && refuse "$1 is a link, or lies behind one"
  case $2 in
  '') rm -f -- "$1" ;;
  *)
    case $1 in */*) mkdir -p -- "${1%/*}" ;; esac
    cat "$ORDER.$2" > "$1"
    ;;
  esac
  shift 2
done
"#;

/// Fetches `REF` of `URL` into the (empty) folder and forgets where it came from. Answers how many
/// commits at its head the loop made.
pub const CLONE: &str = r#"
git init -q .
git remote add origin "$URL"
if git fetch -q --depth 8 --no-tags origin "${REF:-HEAD}" 2>"$TMPDIR/why"; then
  git checkout -q --detach FETCH_HEAD
elif [ -n "$REF" ] && git fetch -q --tags origin '+refs/heads/*:refs/remotes/origin/*' 2>>"$TMPDIR/why"; then
  git checkout -q --detach "$REF" 2>>"$TMPDIR/why" || refuse "$(tail -n 1 "$TMPDIR/why")"
else
  refuse "$(grep -m 1 -E '^(fatal|error|remote):' "$TMPDIR/why" || tail -n 1 "$TMPDIR/why")"
fi
bots HEAD
rm -rf .git
"#;

/// Makes the history and its first commit. All files of the commit get one and the same time: the
/// order in which they were copied says nothing.
pub const PREPARE: &str = r#"
mkdir -p "$GIT_DIR/objects/info" "$GIT_DIR/objects/pack" "$GIT_DIR/refs/heads" \
  "$GIT_DIR/refs/metabuilder" "$GIT_DIR/info" .git/objects/info .git/refs/heads .git/info
printf 'ref: refs/heads/metabuilder\n' > "$GIT_DIR/HEAD"
printf '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n' \
  > "$GIT_DIR/config"
git ls-files -z --others --exclude-standard > "$TMPDIR/files"
touch_all < "$TMPDIR/files"
git update-index --add -z --stdin < "$TMPDIR/files"
[ -e "$GIT_DIR/index" ] || git read-tree --empty
tree=$(git write-tree)
commit=$(git commit-tree "$tree" -m base)
printf '%s\n' "$commit" > "$GIT_DIR/refs/heads/metabuilder"
printf '%s\n' "$commit" > "$GIT_DIR/refs/metabuilder/base"
fill .git
printf '%s\n' "$commit"
cat "$TMPDIR/files"
"#;

/// Puts the tracked files back to the head (`RESTORE`), and makes them all new (`TOUCH`).
pub const BEFORE_STEP: &str = r#"
unlock
if [ -n "$RESTORE" ]; then
  git update-index -q --refresh || true
  git read-tree --reset -u HEAD
fi
if [ -n "$TOUCH" ]; then make_new; fi
borrow .git
head_of
"#;

/// Commits what a step changed of the tracked files when it passed (`PASSED`).
/// Answers the head alone when it is the one that is `KNOWN`.
pub const AFTER_STEP: &str = r#"
unlock
if [ -n "$PASSED" ] && ! git diff --quiet --no-ext-diff --no-textconv; then
  git add -u
  if ! git diff --cached --quiet HEAD --; then
    git commit -q -m "$MESSAGE"
    borrow .git
  fi
fi
if [ "$(head_of)" = "$KNOWN" ]; then
  head_of
else
  report /dev/null
fi
"#;

/// The files of a commit, packed.
pub const ARCHIVE: &str = r#"
git rev-parse --verify --quiet "$HEAD^{commit}" > /dev/null || { echo 'there is no such commit' >&2; exit 1; }
git archive --format=tar.gz "$HEAD"
"#;

/// The head, and the tracked files.
pub const HEAD_AND_LIST: &str = "git rev-parse HEAD\ngit ls-files -z\n";

/// A fresh copy of `FROM` at the history's head, with a repository at `GIT_DIR` of its own; then
/// copies pairs of cache folders. `EXCLUDE` lists what never belongs to a patch.
const COPY: &str = r#"
copy_all() {
  for entry in "$FROM"/* "$FROM"/.[!.]* "$FROM"/..?*; do
    case $entry in "$FROM/.git") continue ;; esac
    if [ -e "$entry" ] || [ -L "$entry" ]; then set -- "$@" "$entry"; fi
  done
  [ $# -eq 0 ] || cp -a --reflink=auto -- "$@" . 2>/dev/null || true
}
copy_all
while [ $# -gt 0 ]; do
  if filled "$1"; then cp -a --reflink=auto "$1/." "$2/" 2>/dev/null || true; fi
  shift 2
done
own=$GIT_DIR
( GIT_DIR=$HISTORY; fill "$own" )
printf '%s' "$EXCLUDE" > "$GIT_DIR/info/exclude"
git update-index -q --refresh || true
git read-tree --reset -u HEAD
"#;

/// The copy in which a fixer works; answers the files in it that are not tracked.
pub const COPY_FOR_FIXER: &str = r#"
cp -R "$GIT_DIR" .git
git ls-files -z --others --exclude-standard
"#;

/// What the fixer changed: a raw list and the patch on the head, or nothing. Files that were there
/// before and not tracked (the list `litter`) are no part of it.
pub const DIFF_OF_FIXER: &str = r#"
git add -A
if [ -s "$ORDER.litter" ]; then git update-index --force-remove -z --stdin < "$ORDER.litter"; fi
diff_of --cached --raw -p -z --no-abbrev HEAD
"#;

/// The objects given as arguments, but those larger than `FILE_MAX`; it ends before more than
/// `SHOWN_MAX` bytes.
pub const OBJECTS_OF: &str = r#"
printf '%s\n' "$@" | git cat-file --batch-check | {
  total=0
  while read -r object kind size; do
    [ "$kind" = blob ] && [ "$size" -le "$FILE_MAX" ] || continue
    total=$((total + size))
    [ "$total" -le "$SHOWN_MAX" ] || break
    printf '%s\n' "$object"
  done
} | git cat-file --batch
"#;

/// The copy in which a patch (the file `patch`) is verified, with the patch as its last commit;
/// answers the files that it changes.
pub const COPY_WITH_PATCH: &str = r#"
git apply --index --whitespace=nowarn "$ORDER.patch" || exit 91
git diff --cached --name-only -z --no-renames HEAD
new=$(commit_of 'proposed patch')
printf '%s\n' "$new" > "$GIT_DIR/refs/heads/metabuilder"
cp -R "$GIT_DIR" .git
"#;

/// Puts the files given as arguments back to what they were before the patch.
pub const RESTORE: &str = r#"
for path; do
  if git cat-file -e "HEAD^:$path" 2>/dev/null; then
    git checkout -q HEAD^ -- ":(literal)$path"
  else
    git rm -q -f -- ":(literal)$path"
  fi
done
git commit -q --allow-empty -m 'the check as it was'
rm -rf .git
cp -R "$GIT_DIR" .git
"#;

/// Commits the file `patch` with `MESSAGE`, unless the head is that commit already, and puts the
/// workspace's tracked files to the new head, as [`BEFORE_STEP`] would. `KNOWN` is the head before
/// it; `DELETES` is empty when the patch removes no file.
pub const COMMIT: &str = r#"
unlock
if [ "$(head_of)" = "$KNOWN" ] || [ "$(git log -1 --format=%B)" != "$MESSAGE" ]; then
  git read-tree --reset HEAD
  git apply --cached --whitespace=nowarn "$ORDER.patch" || exit 91
  combine --cached refs/metabuilder/base
  new=$(commit_of "$MESSAGE")
  git update-ref HEAD "$new"
else
  combine refs/metabuilder/base HEAD
fi
if [ -n "$DELETES" ]; then
  git diff --name-only -z --diff-filter=D HEAD^ HEAD | xargs -0 -r rm -f --
fi
git update-index -q --refresh || true
git read-tree --reset -u HEAD
borrow .git
head_of
git ls-files -z
printf '\0'
cat "$TMPDIR/combined"
"#;

/// Takes back the newest commit with a patch that was not taken back yet, and nothing that came
/// after it, by a commit of its own; does nothing when the head is that commit of this `TASK`
/// already. Answers an empty line when there is nothing to take back.
pub const ROLLBACK: &str = r#"
unlock
trailer() { git log -1 --format="%(trailers:key=$1,valueonly)" "$2" | head -n 1; }
old=$(git rev-parse HEAD)
if [ "$(trailer Metabuilder-Task "$old")" = "$TASK" ]; then
  old=$(git rev-parse HEAD^)
else
  target= taken=
  for commit in $(git rev-list refs/metabuilder/base..HEAD); do
    back=$(trailer Metabuilder-Rollback-Of "$commit")
    if [ -n "$back" ]; then
      taken="$taken $back "
      continue
    fi
    case $taken in *" $commit "*) continue ;; esac
    if [ -n "$(trailer Metabuilder-Patch "$commit")" ]; then target=$commit; break; fi
  done
  if [ -z "$target" ]; then echo; exit 0; fi
  diff_of "$target^" "$target" > "$TMPDIR/target"
  export GIT_INDEX_FILE="$TMPDIR/index"
  git read-tree HEAD
  if [ -s "$TMPDIR/target" ]; then
    git apply --cached --3way -R --whitespace=nowarn "$TMPDIR/target" || { echo "$target" >&2; exit 91; }
  fi
  combine --cached refs/metabuilder/base
  tree=$(git write-tree)
  unset GIT_INDEX_FILE
  new=$(printf 'Roll back %.12s\n\nMetabuilder-Rollback-Of: %s\nMetabuilder-Task: %s\n' \
    "$target" "$target" "$TASK" | git commit-tree "$tree" -p HEAD)
  git update-ref HEAD "$new"
fi
bring_since "$old"
borrow .git
report /dev/null
"#;

/// Everything since the base, with the list of files.
pub const REPORT: &str = r#"
git ls-files -z > "$TMPDIR/files"
report "$TMPDIR/files"
"#;

/// Writes the commits since `AFTER` (all, when it is empty) to the bundle `head` in `BUNDLES`.
pub const PACK: &str = r#"
rm -f "$BUNDLES/head"
if [ -n "$AFTER" ]; then set -- "^$AFTER"; fi
git bundle create -q "$BUNDLES/head" "$@" refs/heads/metabuilder
"#;

/// Takes the bundles in `BUNDLES` whose names are the arguments, oldest first, into the history.
const UNPACK: &str = r#"
rm -f "$GIT_DIR/index.lock"
old=$(git rev-parse -q --verify refs/heads/metabuilder || :)
for commit; do
  git fetch -q --no-tags --no-write-fetch-head "$BUNDLES/$commit" \
    +refs/heads/metabuilder:refs/metabuilder/incoming 2>"$TMPDIR/why" ||
    refuse "$commit is broken: $(tail -n 1 "$TMPDIR/why")"
  [ "$(git rev-parse refs/metabuilder/incoming)" = "$commit" ] || refuse "$commit is another commit"
done
"#;

/// Puts what was committed since `AFTER` on top of the commit `TO`, which is then the result. Where
/// both changed the same lines, the later one's files win, as they would in one folder.
const REPLAY: &str = r#"
export GIT_INDEX_FILE="$TMPDIR/index"
for commit in $(git rev-list --reverse HEAD "^$TO" "^$AFTER"); do
  git read-tree "$TO"
  diff_of "$commit^" "$commit" > "$TMPDIR/patch"
  if [ -s "$TMPDIR/patch" ] &&
    ! git apply --cached --3way --whitespace=nowarn "$TMPDIR/patch" 2>"$TMPDIR/why"; then
    git read-tree --reset "$TO"
    git diff --name-only -z --no-renames --diff-filter=D "$commit^" "$commit" |
      git update-index -z --force-remove --stdin
    git diff --name-only -z --no-renames --diff-filter=d "$commit^" "$commit" |
      xargs -0 -r git ls-tree -z "$commit" -- | git update-index -z --index-info
  fi
  tree=$(git write-tree)
  if [ "$tree" != "$(git rev-parse "$TO^{tree}")" ]; then
    date=$(git log -1 --format=%ad --date=raw "$commit")
    TO=$(git log -1 --format=%B "$commit" |
      GIT_AUTHOR_DATE=$date git commit-tree "$tree" -p "$TO")
  fi
done
unset GIT_INDEX_FILE
"#;

/// Makes the commit `TO` the head and brings its files; answers it.
const MOVE: &str = r#"
git cat-file -e "$TO^{commit}" 2>/dev/null || refuse "$TO is not there"
git update-ref refs/metabuilder/base "$(git rev-list --max-parents=0 "$TO" | tail -n 1)"
git update-ref refs/heads/metabuilder "$TO"
if [ -n "$old" ]; then
  bring_since "$old"
else
  git read-tree --reset -u HEAD
  make_new
fi
borrow .git
git rev-parse HEAD
"#;

/// The history of a run that was prepared elsewhere, in an empty folder.
const START: &str = r"
env -u GIT_WORK_TREE git init -q --bare
git symbolic-ref HEAD refs/heads/metabuilder
";

/// Makes history and workspace of a run from its bundles.
pub fn arrive() -> String {
    format!("{START}{UNPACK}{MOVE}")
}

/// Moves history and workspace to the commit `TO`, with the bundles since.
pub fn follow() -> String {
    format!("{UNPACK}{MOVE}")
}

/// [`follow`], with what was committed here since `AFTER` on top.
pub fn follow_and_replay() -> String {
    format!("{UNPACK}{REPLAY}{MOVE}")
}

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
