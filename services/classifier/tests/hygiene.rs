//! Keeps the rules clean: none dead, none hidden behind another, none careless.

use classifier::core::check::{self, RuleText};
use classifier::core::{ClassifyInput, Rules, classify};
use std::sync::LazyLock;

/// Rules whose examples all come out as another type, at most. They serve as a runner-up or in
/// company; a new one should be a conscious choice.
const SHADOWED_MAX: usize = 12;
/// The weakest rule that makes a failure of a log by text alone.
const STRENGTH_ALARM: u8 = 40;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::embedded().expect("the rules load"));

fn texts() -> Vec<RuleText> {
    check::texts(&RULES)
}

#[test]
fn every_rule_fires_on_its_examples_and_on_none_of_its_counter_examples() {
    let checks = check::run_examples(&Rules::embedded_sources()).expect("the rules compile");
    let wrong: Vec<_> = checks.iter().filter(|check| check.problem.is_some()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checks.iter().all(|check| check.examples >= 2));
}

#[test]
fn hardly_a_rule_is_shadowed_by_others() {
    let summaries = check::list(&RULES);
    let mut shadowed = Vec::new();
    for (rule, text) in summaries.iter().zip(texts()) {
        if rule.action != "fail" || rule.strength < STRENGTH_ALARM {
            continue;
        }
        let decides = |example: &String| {
            let input = ClassifyInput { log: example.as_bytes(), ..ClassifyInput::default() };
            classify(&RULES, &input).is_some_and(|s| s.failure_type == rule.failure_type)
        };
        if !text.matches.iter().any(decides) {
            shadowed.push(rule.id.clone());
        }
    }
    assert!(shadowed.len() <= SHADOWED_MAX, "{}: {shadowed:?}", shadowed.len());
}

#[test]
fn no_expression_starts_with_anything_or_asks_for_unicode_classes() {
    for rule in texts() {
        for pattern in std::iter::once(&rule.line).chain(&rule.unless) {
            for branch in branches(pattern) {
                let careless = [".*", ".+", "[^\\n]*", "[^\\n]+"];
                let found = careless.iter().find(|start| branch.starts_with(**start));
                assert!(found.is_none(), "{}: a branch starts with {found:?}", rule.id);
            }
            assert!(!pattern.contains("(?u"), "{} turns Unicode on", rule.id);
            assert!(!pattern.contains("\\p{"), "{} has a Unicode class", rule.id);
        }
    }
}

/// The outermost alternatives of an expression, without flags and the group around them all.
fn branches(pattern: &str) -> Vec<String> {
    let bare = pattern.trim_start_matches("(?i)");
    let inner = bare.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(bare);
    let (mut depth, mut in_class, mut escaped) = (0_i32, false, false);
    let mut all = vec![String::new()];
    for c in inner.chars() {
        match c {
            _ if escaped => {}
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth -= 1,
            '|' if depth == 0 && !in_class => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all
}

#[test]
fn no_rule_alarms_on_a_bare_number() {
    for number in ["429", "500 items", "took 403 ms", "line 404", "401 tests", "E302"] {
        let input = ClassifyInput { log: number.as_bytes(), ..ClassifyInput::default() };
        let signal = classify(&RULES, &input);
        assert!(signal.is_none(), "{number}: {:?}", signal.map(|signal| signal.source));
    }
}

#[test]
fn every_rule_has_an_example_with_one_of_its_literals() {
    for rule in texts() {
        let seen = |literal: &String| {
            let literal = literal.to_ascii_lowercase();
            rule.matches.iter().any(|text| text.to_ascii_lowercase().contains(&literal))
        };
        assert!(rule.literals.iter().any(seen), "{}", rule.id);
    }
}
