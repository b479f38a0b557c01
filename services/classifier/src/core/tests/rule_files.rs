use super::RULES;
use crate::core::{ClassifyInput, Rules, Source, check, classify};
use meta_domain::failure::FailureType;

fn user(text: &str) -> Vec<Source> {
    let mut sources = Rules::embedded_sources();
    sources.push(Source { name: "mine.toml".into(), text: text.into(), user: true });
    sources
}

fn refused(text: &str) -> String {
    Rules::from_sources(&user(text)).expect_err("must be refused").to_string()
}

#[test]
fn every_example_of_every_rule_holds() {
    let checks = check::run_examples(&Rules::embedded_sources()).expect("the rules compile");
    let wrong: Vec<_> =
        checks.iter().filter_map(|c| c.problem.as_ref().map(|p| format!("{} {p}", c.id))).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_list_names_every_rule_and_every_type_has_some() {
    let list = check::list(&RULES);
    assert_eq!(list.len(), RULES.len());
    for failure_type in FailureType::ALL {
        assert!(list.iter().any(|rule| rule.failure_type == failure_type), "{failure_type}");
    }
}

const MINE: &str = r#"
[[rule]]
id = "mine.widget"
type = "policy"
tool = "widget"
literals = ["src/a.py"]
line = 'F401'
strength = 82
match = ["src/a.py:1:8: F401 x"]
no_match = ["src/a.py:1:8: F402 x"]
"#;

#[test]
fn a_user_s_rule_outranks_the_product_s_in_the_same_band() {
    let rules = Rules::from_sources(&user(MINE)).expect("loads");
    let log = b"src/b.py:9:1: E722 Do not use bare except\nsrc/a.py:1:8: F401 x";
    let signal = classify(&rules, &ClassifyInput { log, ..ClassifyInput::default() });
    let signal = signal.expect("a signal");
    assert_eq!((signal.failure_type, signal.source.as_str()), (FailureType::Policy, "mine.widget"));
}

#[test]
fn a_rule_whose_example_does_not_hold_is_named() {
    let error = refused(&MINE.replace("F402 x", "F401 y"));
    assert!(error.contains("mine.widget") && error.contains("mine.toml"), "{error}");
    assert!(error.contains("F401 y"), "{error}");
}

#[test]
fn wrong_rule_files_are_refused_with_their_place() {
    for (text, expected) in [
        (MINE.replace("no_match = [\"src/a.py:1:8: F402 x\"]", "no_match = []"), "no_match"),
        (MINE.replace("'F401'", "'F4(01'"), "regular expression"),
        (MINE.replace("strength = 82", "strength = 0"), "strength"),
        (MINE.replace("type = \"policy\"\n", ""), "type"),
        (MINE.replace("tool =", "tol ="), "tol"),
        (format!("{MINE}{MINE}"), "twice"),
        (MINE.replace("\"src/a.py\"]\nline", "\"a\"]\nline"), "shorter"),
    ] {
        let error = refused(&text);
        assert!(error.contains("mine.toml") && error.contains(expected), "{error}");
    }
}
