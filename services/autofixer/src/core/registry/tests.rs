use super::*;
use crate::core::decide::case;
use meta_domain::signal::Location;

fn ids(case: &Case) -> Vec<String> {
    let registry = Registry::builtin().unwrap();
    registry.claims(case).into_iter().map(|c| c.command.id).collect()
}

fn check(line: &str, failure_type: FailureType, expected: &[&str]) {
    assert_eq!(ids(&case(line, failure_type)), expected, "{line}");
}

#[test]
fn every_builtin_fixer_holds_its_own_examples() {
    let faults = Registry::builtin()
        .map(|r| r.fixers().len())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(faults.unwrap() > 40);
}

#[test]
fn the_tool_of_the_failing_step_is_used() {
    check("ruff check src", FailureType::Lint, &["ruff_check", "ruff_unsafe"]);
    check("ruff format --check .", FailureType::Lint, &["ruff_format"]);
    check("black --check .", FailureType::Lint, &["black"]);
    check("npx prettier --check .", FailureType::Lint, &["prettier"]);
    check("tsc -p .", FailureType::Typecheck, &["ts_codefix"]);
    check(
        "cargo clippy",
        FailureType::Lint,
        &["clippy_fix", "cargo_fix", "rustc_suggestions", "all_of", "all_of_unsafe"],
    );
}

#[test]
fn a_failed_test_and_a_lost_network_have_no_fixer() {
    check("cargo test", FailureType::TestAssert, &[]);
    check("pytest -q", FailureType::TestAssert, &[]);
    check("npm ci", FailureType::Transient, &[]);
    check("ruff check .", FailureType::RateLimit, &[]);
}

#[test]
fn a_step_of_several_checks_gets_a_combined_run_last() {
    let both = case("black --check . && isort --check .", FailureType::Lint);
    assert_eq!(ids(&both), ["black", "isort", "all_of"]);
    let registry = Registry::builtin().unwrap();
    let all = registry.claims(&both).pop().unwrap().command;
    let isort = all.script.find("fix_isort \"$@\"").unwrap();
    let black = all.script.find("fix_black \"$@\"").unwrap();
    assert!(isort < black, "imports are sorted before the formatter has the last word");
    assert_eq!(all.safety, FixerSafety::Safe);
}

#[test]
fn the_tool_that_the_signal_names_goes_first() {
    let mut both = case("black --check . && isort --check .", FailureType::Lint);
    both.signal.tool = "isort".to_owned();
    assert_eq!(ids(&both)[0], "isort");
}

#[test]
fn the_steps_own_fix_goes_first_and_asks_where_it_must() {
    let mut own = case("ruff check .", FailureType::Lint);
    own.step.fix = Some("make fmt".to_owned());
    assert_eq!(ids(&own)[0], STEP_FIX);
    own.signal.failure_type = FailureType::Security;
    let registry = Registry::builtin().unwrap();
    assert_eq!(registry.claims(&own)[0].command.safety, FixerSafety::ApprovalAlways);
    own.signal.failure_type = FailureType::Transient;
    assert!(registry.claims(&own).is_empty());
}

#[test]
fn a_hidden_tool_is_started_on_the_files_that_the_log_names() {
    let mut hidden = case("make lint", FailureType::Lint);
    hidden.signal.tool = "eslint".to_owned();
    hidden.files = vec!["web/a b.js".to_owned(), "web/c.css".to_owned()];
    for file in ["a b.js", "c.css", "gone.js"] {
        hidden.signal.locations.push(Location { file: file.to_owned(), ..Location::default() });
    }
    let registry = Registry::builtin().unwrap();
    let script = registry.claims(&hidden)[0].command.script.clone();
    assert!(
        script.contains("tool=(eslint); files=(\"$ROOT\"/'web/a b.js'); set -- 'web/a b.js'; "),
        "{script}"
    );
}

#[test]
fn checks_that_a_script_starts_are_replaced_by_their_twins() {
    for line in ["make lint", "cd web && npm run lint", "./ci/lint.sh", "bash ci/lint.sh"] {
        let claims = Registry::builtin().unwrap().claims(&case(line, FailureType::Lint));
        let wrapped = claims.iter().find(|c| c.command.id == "wrapped").expect(line);
        assert!(wrapped.command.files.iter().any(|f| f.name == "twins.sh"), "{line}");
        for twin in ["ruff check ", "cargo fmt ", "prettier "] {
            assert!(wrapped.command.script.contains(&format!("\"{twin}\"*) fixer=")), "{twin}");
        }
    }
    let plain = ids(&case("make deps && black --check .", FailureType::Lint));
    assert_eq!(plain, ["black"], "a line that starts its check itself needs no twins");
    let loop_ = case("for f in *.sh; do shellcheck \"$f\" || exit 1; done", FailureType::Lint);
    assert_eq!(ids(&loop_), ["shellcheck", "wrapped"], "what a loop comes to is not known here");
}

#[test]
fn fixers_of_last_resort_join_a_combined_run_of_their_own() {
    let both = case("ruff check . && ruff format --check .", FailureType::Lint);
    assert_eq!(ids(&both), ["ruff_check", "ruff_format", "ruff_unsafe", "all_of", "all_of_unsafe"]);
    let claims = Registry::builtin().unwrap().claims(&both);
    let safety = |id: &str| claims.iter().find(|c| c.command.id == id).unwrap().command.safety;
    assert_eq!(safety(ALL_OF), FixerSafety::Safe);
    assert_eq!(safety(ALL_OF_UNSAFE), FixerSafety::Unsafe);
}

#[test]
fn what_find_names_line_by_line_stays_whole() {
    let null = case("find . -name '*.sh' -print0 | xargs -0 shellcheck", FailureType::Lint);
    let script = Registry::builtin().unwrap().claims(&null)[0].command.script.clone();
    assert!(script.contains("IFS=$'\\n'; set -- $(find . -name '*.sh' -print0"), "{script}");
}

#[test]
fn wrong_fixers_are_refused_with_every_fault() {
    let text = r#"
        [[fixer]]
        id = "Bad Id"
        title = "x"
        order = 1
        failure_types = []
        evidence = "("
        script = "true"
        safety = "safe"
        timeout_seconds = 0
        example = []
    "#;
    let faults = Registry::load(&[("mine.toml", text)]).unwrap_err();
    let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
    for field in ["id", "failure_types", "timeout_seconds", "evidence", "example"] {
        assert!(
            all.iter().any(|f| f.starts_with(&format!("mine.toml: fixer[0].{field}:"))),
            "{field}: {all:?}"
        );
    }
    assert!(Registry::load(&[("x.toml", "[[fixer]]\nid = 3")]).is_err());
    assert!(Registry::load(&[("x.toml", "colour = 1")]).is_err());
}

#[test]
fn a_fixer_that_breaks_its_own_example_is_not_loaded() {
    let text = r#"
        [[fixer]]
        id = "mine"
        title = "mine"
        order = 1
        failure_types = ["lint"]
        invokes = ["mine"]
        script = "mine --fix"
        safety = "safe"
        example = [
          { command = "mine", type = "lint", claims = true },
          { command = "mine --other", type = "lint", claims = false },
        ]
    "#;
    let faults = Registry::load(&[("mine.toml", text)]).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].to_string().contains("example[1]: claims \"mine --other\""), "{}", faults[0]);
}

#[test]
fn a_fixer_whose_log_says_the_fixes_applies_none_itself() {
    let registry = Registry::builtin().unwrap();
    let case = case("semgrep --config rules/ src", FailureType::Lint);
    let claims = registry.claims(&case);
    let semgrep = claims.iter().find(|c| c.command.id == "semgrep").unwrap();
    assert!(semgrep.command.sarif);
    assert!(semgrep.command.files.is_empty(), "{:?}", semgrep.command.files);
}
