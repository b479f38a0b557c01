use super::*;

fn read(line: &str) -> Vec<Invocation> {
    invocations(&Command::Shell(line.to_owned()))
}

/// `folder: starts_with | args` of every invocation.
fn check(line: &str, expected: &[&str]) {
    let found: Vec<String> = read(line)
        .iter()
        .map(|i| format!("{}: {} | {}", i.folder, i.starts_with.join(" "), i.args.join(" ")))
        .collect();
    assert_eq!(found, expected, "{line}");
}

#[test]
fn arguments_and_folders_are_kept() {
    check("ruff check src --config x", &[": ruff | check src --config x"]);
    check("cd frontend && npm ci --offline", &["frontend: npm | ci --offline"]);
    check("cd a/b; cd ../c && x .", &["a/c: x | ."]);
    check("(cd sub && gofmt -l .) && go vet ./...", &["sub: gofmt | -l .", ": go | vet ./..."]);
}

#[test]
fn wrappers_are_peeled() {
    check("timeout -k 2 20 python -m pytest -q tests", &[": python -m pytest | -q tests"]);
    check("A=1 env B=2 npx --no-install eslint .", &[": npx --no-install eslint | ."]);
    check("poetry run python -m mypy src", &[": poetry run python -m mypy | src"]);
    check("cargo +nightly fmt --check", &[": cargo +nightly | fmt --check"]);
    check("cd app && python manage.py migrate", &["app: python manage.py | migrate"]);
    assert_eq!(read("timeout 5 python -m black .")[0].name, "black");
    assert_eq!(read("RUST_BACKTRACE=1 cargo test")[0].env, ["RUST_BACKTRACE=1"]);
}

#[test]
fn groups_alternatives_and_redirections_are_seen_through() {
    check(
        "black --check --quiet src || { black --check src; exit 1; }",
        &[": black | --check --quiet src", ": black | --check src", ": exit | 1"],
    );
    check("ruff check . > out.txt 2>&1", &[": ruff | check ."]);
    check("test -z \"$(gofmt -l .)\"", &[": gofmt | -l .", ": test | -z \"$(gofmt -l .)\""]);
    check("set -e # note\nshfmt -d .", &[": set | -e", ": shfmt | -d ."]);
}

#[test]
fn nested_shells_are_followed() {
    check("bash -euo pipefail -c 'cd web && prettier --check .'", &["web: prettier | --check ."]);
    check(
        "out=$(detect-secrets scan src); echo \"$out\"",
        &[": detect-secrets | scan src", ": echo | "],
    );
}

#[test]
fn producers_become_arguments() {
    check(
        "find . -name '*.sh' | xargs shellcheck -x",
        &[": find | . -name '*.sh'", ": shellcheck | -x $(find . -name '*.sh')"],
    );
    check(
        "find src -name '*.c' -exec clang-format -n {} +",
        &[": clang-format | -n $(find src -name '*.c')"],
    );
    let looped = read("for f in *.sh; do shellcheck \"$f\"; done");
    assert!(looped.iter().any(|i| i.name == "shellcheck" && i.open_ended && i.args.is_empty()));
}

#[test]
fn argv_commands_are_read_word_by_word() {
    let found = invocations(&Command::Argv(vec!["ruff".into(), "check".into(), "a b".into()]));
    assert_eq!(found[0].args, ["check", "'a b'"]);
    assert!(found[0].is("ruff check"));
    assert!(!found[0].is("ruff format"));
}

#[test]
fn broken_lines_do_no_harm() {
    for line in [
        "", "\"", "'", "$(", "a $(b", "((((", "))))", "`", "\\", "a | | b", "$", "${", "cd",
        "timeout",
    ] {
        read(line);
    }
}

proptest::proptest! {
    #[test]
    fn no_line_makes_the_reader_panic(line in "[a-z $(){}'\"`|&;<>\\\\=#\n/-]{0,80}") {
        read(&line);
    }
}
