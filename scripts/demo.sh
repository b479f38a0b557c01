#!/usr/bin/env bash
# Heals the broken project in tests/fixtures/demo, in a copy, and shows how. Ends with the exit code
# of `metabuilder build`: 3, because the last finding wants a person.
set -euo pipefail

bin=${1:-target/release/metabuilder}
work=$(mktemp -d "${TMPDIR:-/tmp}/metabuilder-demo.XXXXXX")
cp -R tests/fixtures/demo/. "$work"

echo
echo "The demo is a small Rust project, broken in five ways: $work"
echo "\$ $bin build $work"
echo
code=0
"$bin" build "$work" || code=$?

echo
case "$code" in
    3)
        echo "This is how it should end: everything that a machine may heal is healed, and the"
        echo "security finding waits for you (exit code 3, which make reports as an error)."
        echo "Accept it with the approve command above: the run goes on from there and exits 0."
        ;;
    0) echo "Everything passed: the security finding was expected to wait for approval." ;;
    *) echo "The demo should have ended at the security finding, with exit code 3." ;;
esac
exit "$code"
