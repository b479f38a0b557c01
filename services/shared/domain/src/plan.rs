//! Plans: versioned, immutable DAGs of steps.

use crate::status::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a step executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// A line for `/bin/sh`-like shells (run with `bash -c` where there is a bash).
    Shell(String),
    /// Program and arguments, no shell.
    Argv(Vec<String>),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(line) => f.write_str(line),
            Self::Argv(words) => f.write_str(&words.join(" ")),
        }
    }
}

words! {
    /// When a step asks a human by itself.
    ApprovalMode {
        /// Only when the auto-fix policy asks.
        Never = "never",
        /// Before it runs for the first time.
        Before = "before",
        /// Before any patch for it is applied.
        OnFix = "on-fix",
    }
}

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Name, unique in the plan.
    pub name: String,
    /// What it executes.
    pub run: Command,
    /// Names of the steps that must succeed first.
    pub needs: Vec<String>,
    /// Time limit in milliseconds.
    pub timeout_ms: u64,
    /// Folders kept between attempts and runs, relative to the workspace.
    pub cache: Vec<String>,
    /// The step's own writable twin, tried first when it fails.
    pub fix: Option<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Whether it may use the network.
    pub network: bool,
    /// Paths that patches for this step may touch beyond the default ones.
    pub writable: Vec<String>,
    /// When a human is asked.
    pub approval: ApprovalMode,
    /// Why the step is in the plan.
    pub why: String,
    /// Empty the step's caches before its next attempt (set by a re-plan).
    #[serde(default)]
    pub clean_cache: bool,
    /// What a runner has to offer, sorted; empty means any runner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs_on: Vec<String>,
}

/// One part of a plan's risk score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskPart {
    /// What adds risk.
    pub reason: String,
    /// How many points of 100 it adds.
    pub points: u32,
}

/// The content of a plan version, before it has an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanGraph {
    /// The steps in an order in which they could run one after another.
    pub steps: Vec<PlannedStep>,
    /// One paragraph for people.
    pub summary: String,
    /// The parts of the risk score; the score is their sum, at most 100.
    pub risk: Vec<RiskPart>,
    /// Run overrides that the project's file asks for.
    #[serde(default)]
    pub overrides: crate::settings::Overrides,
}

impl PlanGraph {
    /// 0 to 100.
    pub fn risk_score(&self) -> u32 {
        self.risk.iter().map(|p| p.points).sum::<u32>().min(100)
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&PlannedStep> {
        self.steps.iter().find(|s| s.name == name)
    }
}

words! {
    /// What a re-plan does to a step.
    PlanOpKind {
        /// The step's caches are emptied before it runs again.
        CleanCache = "clean_cache",
        /// The step waits for all others that could run beside it.
        Serialise = "serialise",
        /// The step gets a longer time limit.
        ExtendTimeout = "extend_timeout",
        /// A new step is put before it.
        InsertBefore = "insert_before",
        /// The step also waits for other steps.
        AddNeeds = "add_needs",
        /// The step gets variables.
        SetEnv = "set_env",
        /// The step's next execution goes to another runner than its last, where there is one.
        MoveRunner = "move_runner",
        /// The step becomes a chain of steps; the last one keeps its name.
        Split = "split",
    }
}

/// One operation of a re-plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOp {
    /// What is done.
    pub kind: PlanOpKind,
    /// To which step.
    pub step: String,
    /// The new time limit in milliseconds, for `extend_timeout`.
    pub timeout_ms: Option<u64>,
    /// The new step, for `insert_before`.
    pub insert: Option<PlannedStep>,
    /// Why.
    pub why: String,
    /// Names of steps, for `add_needs`.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Variables, for `set_env`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The chain, for `split`.
    #[serde(default)]
    pub parts: Vec<PlannedStep>,
}

impl PlanOp {
    /// An operation that needs nothing but its kind and its step.
    pub fn new(kind: PlanOpKind, step: &str, why: &str) -> Self {
        Self {
            kind,
            step: step.to_owned(),
            timeout_ms: None,
            insert: None,
            why: why.to_owned(),
            needs: Vec::new(),
            env: BTreeMap::new(),
            parts: Vec::new(),
        }
    }
}

impl PlanGraph {
    /// This plan after the operations of a re-plan; operations on steps that do not exist change
    /// nothing.
    #[must_use]
    pub fn rewritten(&self, ops: &[PlanOp]) -> Self {
        let mut graph = self.clone();
        for op in ops {
            let Some(at) = graph.steps.iter().position(|s| s.name == op.step) else { continue };
            match op.kind {
                PlanOpKind::CleanCache => graph.steps[at].clean_cache = true,
                PlanOpKind::Serialise => serialise(&mut graph.steps, at),
                PlanOpKind::ExtendTimeout => {
                    if let Some(ms) = op.timeout_ms {
                        graph.steps[at].timeout_ms = ms;
                    }
                }
                PlanOpKind::InsertBefore => {
                    if let Some(step) = &op.insert {
                        graph.steps[at].needs.push(step.name.clone());
                        graph.steps.insert(at, step.clone());
                    }
                }
                PlanOpKind::AddNeeds => add_needs(&mut graph.steps, at, &op.needs),
                PlanOpKind::SetEnv => graph.steps[at].env.extend(op.env.clone()),
                // Where it runs is the queue's business: the delta itself is what it reads.
                PlanOpKind::MoveRunner => {}
                PlanOpKind::Split => {
                    if op.parts.last().is_some_and(|last| last.name == op.step) {
                        graph.steps.splice(at..=at, op.parts.iter().cloned());
                    }
                }
            }
        }
        graph
    }

    /// Names of the steps that neither wait for this one nor are waited for by it.
    pub fn beside(&self, name: &str) -> Vec<String> {
        let before = self.reach(name, |s, n| s.name == n, |s| s.needs.clone());
        let after = self.reach(
            name,
            |s, n| s.name == n,
            |s| {
                let waits = self.steps.iter().filter(|o| o.needs.contains(&s.name));
                waits.map(|o| o.name.clone()).collect()
            },
        );
        self.steps
            .iter()
            .map(|s| s.name.clone())
            .filter(|n| n != name && !before.contains(n) && !after.contains(n))
            .collect()
    }

    fn reach(
        &self,
        from: &str,
        is: impl Fn(&PlannedStep, &str) -> bool,
        next: impl Fn(&PlannedStep) -> Vec<String>,
    ) -> std::collections::BTreeSet<String> {
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(name) = open.pop() {
            for step in self.steps.iter().filter(|s| is(s, &name)) {
                for other in next(step) {
                    if seen.insert(other.clone()) {
                        open.push(other);
                    }
                }
            }
        }
        seen
    }
}

/// Makes the step at `at` wait for other steps too, and moves it behind them.
fn add_needs(steps: &mut Vec<PlannedStep>, at: usize, needs: &[String]) {
    let known: Vec<String> =
        needs.iter().filter(|n| steps.iter().any(|s| s.name == **n)).cloned().collect();
    for need in known {
        if need != steps[at].name && !steps[at].needs.contains(&need) {
            steps[at].needs.push(need);
        }
    }
    sort(steps);
}

/// Puts every step behind those it waits for, else keeps the order; a cycle keeps it whole.
fn sort(steps: &mut Vec<PlannedStep>) {
    let mut sorted: Vec<PlannedStep> = Vec::with_capacity(steps.len());
    let mut open = steps.clone();
    while let Some(next) = open.iter().position(|s| {
        s.needs
            .iter()
            .all(|n| sorted.iter().any(|d| d.name == *n) || !steps.iter().any(|s| s.name == *n))
    }) {
        sorted.push(open.remove(next));
    }
    if open.is_empty() {
        *steps = sorted;
    }
}

/// Makes the step at `at` wait for every step that could run beside it.
fn serialise(steps: &mut [PlannedStep], at: usize) {
    let graph = PlanGraph {
        steps: steps.to_vec(),
        summary: String::new(),
        risk: Vec::new(),
        overrides: crate::settings::Overrides::default(),
    };
    let beside = graph.beside(&steps[at].name);
    steps[at].needs.extend(beside);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::parse;

    fn graph() -> PlanGraph {
        let text = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n\
                    [[step]]\nname='c'\nrun='t'\nneeds=['a']\n[[step]]\nname='d'\nrun='t'\nneeds=['b']\n";
        let project = parse(text).unwrap();
        PlanGraph {
            steps: project.steps,
            summary: String::new(),
            risk: Vec::new(),
            overrides: project.overrides,
        }
    }

    fn op(kind: PlanOpKind, step: &str) -> PlanOp {
        PlanOp { timeout_ms: Some(5), ..PlanOp::new(kind, step, "") }
    }

    #[test]
    fn steps_beside_are_those_without_a_path_between() {
        assert_eq!(graph().beside("c"), ["b", "d"]);
        assert!(graph().beside("a").is_empty());
    }

    #[test]
    fn serialising_makes_no_cycle() {
        let g = graph().rewritten(&[op(PlanOpKind::Serialise, "c")]);
        assert_eq!(g.step("c").unwrap().needs, ["a", "b", "d"]);
        assert!(crate::project::find_cycle(&g.steps).is_none());
    }

    #[test]
    fn operations_change_only_their_step() {
        let g = graph().rewritten(&[
            op(PlanOpKind::CleanCache, "b"),
            op(PlanOpKind::ExtendTimeout, "a"),
            op(PlanOpKind::CleanCache, "nobody"),
        ]);
        assert!(g.step("b").unwrap().clean_cache && !g.step("a").unwrap().clean_cache);
        assert_eq!(g.step("a").unwrap().timeout_ms, 5);
        assert_eq!(g.steps[2], graph().steps[2]);
    }

    #[test]
    fn a_new_need_moves_the_step_behind_it() {
        let add = PlanOp { needs: vec!["d".into()], ..op(PlanOpKind::AddNeeds, "c") };
        let g = graph().rewritten(&[add]);
        let names: Vec<&str> = g.steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d", "c"]);
        assert_eq!(g.step("c").unwrap().needs, ["a", "d"]);
    }

    #[test]
    fn a_split_step_keeps_its_name_at_the_end_of_the_chain() {
        let mut first = graph().steps[1].clone();
        first.name = "b-1".into();
        let mut last = graph().steps[1].clone();
        last.needs = vec!["b-1".into()];
        let split = PlanOp { parts: vec![first, last], ..op(PlanOpKind::Split, "b") };
        let g = graph().rewritten(&[split]);
        let names: Vec<&str> = g.steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a", "b-1", "b", "c", "d"]);
    }

    #[test]
    fn variables_join_the_steps_own() {
        let env = BTreeMap::from([("JOBS".to_owned(), "1".to_owned())]);
        let g = graph().rewritten(&[PlanOp { env: env.clone(), ..op(PlanOpKind::SetEnv, "b") }]);
        assert_eq!(g.step("b").unwrap().env, env);
    }
}
