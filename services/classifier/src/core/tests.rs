use super::check;
use super::rules::Rules;

#[test]
fn every_example_of_every_rule_holds() {
    let checks = check::run_examples(&Rules::embedded_sources()).expect("the rules compile");
    let wrong: Vec<_> =
        checks.iter().filter_map(|c| c.problem.as_ref().map(|p| format!("{} {p}", c.id))).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
