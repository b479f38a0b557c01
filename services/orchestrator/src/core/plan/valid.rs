//! Whether a changed plan is one that could have been made: whoever proposes a re-plan, a rule or a
//! model, is not believed.

use meta_domain::limits::{
    COMMAND_BYTES_MAX, PLAN_STEPS_MAX, STEP_NAME_CHARS_MAX, STEP_TIMEOUT_MS_MAX,
};
use meta_domain::plan::{Command, PlanGraph, PlannedStep};
use meta_domain::project::{find_cycle, is_inside};
use std::collections::BTreeSet;

/// The first thing that is wrong with a plan.
pub fn problem(graph: &PlanGraph) -> Option<String> {
    if graph.steps.is_empty() || graph.steps.len() > PLAN_STEPS_MAX {
        let count = graph.steps.len();
        return Some(format!("it has {count} steps (expected 1 to {PLAN_STEPS_MAX})"));
    }
    let mut names = BTreeSet::new();
    for step in &graph.steps {
        if !names.insert(step.name.as_str()) {
            return Some(format!("two steps are named {:?}", step.name));
        }
    }
    let faulty = graph.steps.iter().find_map(|step| {
        step_problem(step, &names).map(|why| format!("step {:?}: {why}", step.name))
    });
    faulty.or_else(|| {
        find_cycle(&graph.steps)
            .map(|cycle| format!("the steps wait for each other: {}", cycle.join(" -> ")))
    })
}

fn step_problem(step: &PlannedStep, names: &BTreeSet<&str>) -> Option<String> {
    let name = &step.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if name.is_empty() || name.chars().count() > STEP_NAME_CHARS_MAX || !name.chars().all(plain) {
        return Some("is not a step's name".to_owned());
    }
    let (empty, bytes) = match &step.run {
        Command::Shell(line) => (line.trim().is_empty(), line.len()),
        Command::Argv(words) => {
            let none = words.first().is_none_or(String::is_empty);
            (none, words.iter().map(String::len).sum())
        }
    };
    if empty || bytes > COMMAND_BYTES_MAX {
        return Some(format!("its command has {bytes} bytes (expected 1 to {COMMAND_BYTES_MAX})"));
    }
    if step.timeout_ms > STEP_TIMEOUT_MS_MAX {
        return Some(format!(
            "its time limit is {} ms (expected at most {STEP_TIMEOUT_MS_MAX})",
            step.timeout_ms
        ));
    }
    if let Some(path) = step.cache.iter().find(|path| !is_inside(path)) {
        return Some(format!("its cache {path:?} leaves the workspace"));
    }
    let unknown = step.needs.iter().find(|need| !names.contains(need.as_str()));
    unknown.map(|need| format!("it waits for {need:?}, which is no step"))
}

#[cfg(test)]
mod tests {
    use super::problem;
    use meta_domain::plan::{Command, PlanGraph};
    use meta_domain::project::parse;
    use meta_domain::settings::Overrides;

    fn graph() -> PlanGraph {
        let text = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n";
        let steps = parse(text).unwrap().steps;
        PlanGraph {
            steps,
            summary: String::new(),
            risk: Vec::new(),
            overrides: Overrides::default(),
        }
    }

    fn check(change: impl FnOnce(&mut PlanGraph), expected: &str) {
        let mut graph = graph();
        change(&mut graph);
        assert!(problem(&graph).is_some_and(|p| p.contains(expected)), "{:?}", problem(&graph));
    }

    #[test]
    fn a_plan_that_could_not_have_been_made_is_refused() {
        assert_eq!(problem(&graph()), None);
        check(|g| g.steps.clear(), "0 steps");
        check(|g| g.steps[1].name = "a".into(), "two steps");
        check(|g| g.steps[0].name = "a b".into(), "not a step's name");
        check(|g| g.steps[0].run = Command::Shell(" ".into()), "command");
        check(|g| g.steps[0].run = Command::Argv(vec![]), "command");
        check(|g| g.steps[0].timeout_ms = u64::MAX, "time limit");
        check(|g| g.steps[0].cache = vec!["../x".into()], "leaves");
        check(|g| g.steps[1].needs = vec!["z".into()], "no step");
        check(|g| g.steps[0].needs = vec!["b".into()], "wait for each other");
    }
}
