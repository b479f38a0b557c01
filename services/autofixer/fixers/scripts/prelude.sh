# Every fixer's script starts here. Working folder: the workspace. LOG: the failed step's log.
# STATE_DIR: scratch space outside the workspace. Exit 0: the diff decides, 3: nothing to do,
# 4: cannot fix safely (the text says why), anything else: the fixer failed.
set -u
ROOT=$PWD
PATH="$PATH:$ROOT/node_modules/.bin"
export PATH LC_ALL=C.UTF-8 NO_COLOR=1 CARGO_TERM_COLOR=never GIT_PAGER=cat
export PYTHONDONTWRITEBYTECODE=1 RUFF_CACHE_DIR="$STATE_DIR/ruff" BLACK_CACHE_DIR="$STATE_DIR/black"
export MYPY_CACHE_DIR="$STATE_DIR/mypy"
result=3

# Keeps the best exit status of all calls: done, then refused, then failed, then nothing to do.
note() {
  case $1 in
    0) result=0 ;;
    3) ;;
    4) [ "$result" -eq 0 ] || result=4 ;;
    *) [ "$result" -eq 0 ] || [ "$result" -eq 4 ] || result=$1 ;;
  esac
}

# Ends the call unless all these programs can be started.
need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null 2>&1 || { echo "$program is not installed here"; exit 127; }
  done
}

# Whether the failed step's log has a line that fits the extended regex.
logged() { LC_ALL=C grep -aEq -e "$1" "$LOG"; }

# What of the log fits the extended regex, each once.
log_matches() { LC_ALL=C grep -aEo -e "$1" "$LOG" | LC_ALL=C sort -u; }

# Whether there are findings that fit the extended regex: in the failed step's log, else in what the
# check itself says now (another check of the step failed before it was reached). LOG is where they are.
findings() {
  local wanted=$1
  shift
  logged "$wanted" && return
  command -v "${tool[0]}" >/dev/null 2>&1 || return
  "${tool[@]}" "$@" > "$STATE_DIR/findings.log" 2>&1
  LOG=$STATE_DIR/findings.log
  logged "$wanted"
}

# The workspace's files with an ending (extended regex) that stand before a line number in the log,
# spaces in their paths included.
log_files() {
  LC_ALL=C grep -aoE "[^:\"']+\.($1):[0-9]+" "$LOG" | sed -E 's/:[0-9]+$//; s/^[[:space:]]+//; s/^(-->|vet:|error:|warning:) *//' |
    LC_ALL=C sort -u | while IFS= read -r path; do [ ! -f "$path" ] || printf '%s\n' "$path"; done
}

# Ends the call with a refusal.
refuse() { echo "$*"; exit 4; }

# Ends the call when the last command failed worse than a check that found something.
at_most() { [ "$2" -le "$1" ] || exit "$2"; }

# Hands every changed or new file to `put_back`, which knows the files no fixer here may change.
put_back_all() {
  local path
  cd "$ROOT" || return
  command -v git >/dev/null 2>&1 || return
  shopt -s nocasematch
  while IFS= read -r -d '' path; do
    put_back "$path"
  done < <(git diff -z --name-only HEAD; git ls-files -z --others --exclude-standard)
}
