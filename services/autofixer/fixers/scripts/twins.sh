# Stands in for the checks that a step's own scripts start: makes shims of all known checks, and in
# their place runs the fixer that is their writable twin, with the same arguments in the same folder.
# Sourced by a fixer whose script has `twin_of` and `twin_names`.
shims=$STATE_DIR/shims

# The program that a shim stands for.
real() { PATH=$(without_shims) type -P "$1"; }

without_shims() { printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$shims" | paste -sd: -; }

# Whether an argument is one that only the check takes; `skip` says that its value follows.
is_dropped() {
  local drop flag
  for drop in "${dropped[@]}"; do
    flag=${drop%=}
    if [ "$drop" = "$flag" ]; then
      [ "$1" != "$drop" ] || return 0
    elif [ "$1" = "$flag" ]; then
      skip=yes
      return 0
    elif [[ $1 == "$flag="* ]] || [[ ${#flag} -eq 2 && $1 == "$flag"* ]]; then
      return 0
    fi
  done
  return 1
}

# Runs the twin of a check: how many words start the tool before its name, and all of them.
run_twin() {
  local before=$1 skip= word
  shift
  tool=("${@:1:before + words}")
  shift "$((before + words))"
  local kept=()
  for word in "$@"; do
    if [ -n "$skip" ]; then skip=; elif ! is_dropped "$word"; then kept+=("$word"); fi
  done
  ( PATH=$(without_shims); files=(); result=3; set -- "${kept[@]}"; "fix_$fixer" "$@" ) >&2
  exit 0
}

# A shim was started: its name and its arguments.
started() {
  local name=$1 program fixer= words=0 dropped=()
  shift
  program=$(real "$name") || { echo "$name: command not found" >&2; exit 127; }
  case $name in
    npx) [[ ${1:--} == -* ]] || ! twin_of "$@" || run_twin 1 "$program" "$@" ;;
    python|python3) [ "${1:-}" != -m ] || ! twin_of "${@:2}" || run_twin 2 "$program" "$@" ;;
    *) ! twin_of "$name" "$@" || run_twin 0 "$program" "$@" ;;
  esac
  exec "$program" "$@"
}

# Makes the shims. npm puts its own folders before all others, so that its shell has to be ours.
make_shims() {
  local name
  mkdir -p "$shims"
  export ROOT LOG STATE_DIR
  { declare -f; declare -p shims step_command; } > "$STATE_DIR/started.sh"
  for name in $twin_names npx python python3; do
    printf '#!/bin/bash\n. "$STATE_DIR/started.sh"\nstarted %s "$@"\n' "$name" > "$shims/$name"
  done
  printf '#!/bin/bash\nPATH="$STATE_DIR/shims:$PATH"\nexec /bin/sh "$@"\n' > "$shims/script-shell"
  chmod +x "$shims"/*
}
