# Sorts the arguments of a cargo subcommand: `keep` holds those that `cargo fix`, `cargo clippy` and
# `cargo check` share, `lints` what stands behind `--`. Also keeps cargo's build folder out of the
# workspace where git would take it for a change.
keep=()
lints=()
targets=(--all-targets)
while [ "$#" -gt 0 ]; do
  case $1 in
    --) shift; lints=("$@"); break ;;
    --locked|--offline|--frozen|--workspace|--all|--all-features|--no-default-features|--release|-q|--quiet)
      keep+=("$1") ;;
    --package=*|--features=*|--manifest-path=*|--target=*|--profile=*|--exclude=*|-p?*|-F?*) keep+=("$1") ;;
    -p|--package|-F|--features|--manifest-path|--target|--profile|--exclude|--config|-Z)
      keep+=("$1"); [ "$#" -gt 1 ] && { keep+=("$2"); shift; } ;;
    --lib|--bins|--bin=*|--examples|--benches) targets=("$1") ;;
    --bin|--example|--test|--bench) [ "$#" -gt 1 ] && { targets=("$1" "$2"); shift; } ;;
    --tests|--all-targets|--doc|--no-run|--no-fail-fast|--keep-going) ;;
  esac
  shift
done
if ! git check-ignore -q target/x 2>/dev/null; then
  export CARGO_TARGET_DIR="$STATE_DIR/target"
fi
