//! Everything that was considered for a failure: each fixer, how it stands to it, what it did.

use super::decide::{decide, is_open};
use super::learn::Memory;
use super::model;
use super::registry::Registry;
use meta_domain::autofix::{Case, Decision, FixTry, FixerCommand};

/// How a fixer stands to a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It claims the failure and may be tried.
    Open,
    /// It was tried.
    Tried,
    /// It failed too often on this failure and rests.
    Muted,
    /// It does not claim the failure.
    Passes,
}

/// One fixer seen from a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// How it stands to the failure.
    pub standing: Standing,
    /// Why.
    pub why: String,
    /// What it did, oldest first.
    pub tries: Vec<FixTry>,
    /// How often it helped on such failures.
    pub success: Option<f64>,
}

/// Every fixer in the order in which it would be tried, and what would be decided now.
pub fn explain(case: &Case, registry: &Registry, memory: &Memory) -> (Vec<Considered>, Decision) {
    let claimed = registry.claims(case);
    let mut commands: Vec<FixerCommand> =
        memory.replays(case, &claimed).into_iter().map(|c| c.command).collect();
    let muted: Vec<FixerCommand> = claimed
        .iter()
        .filter(|c| memory.muted(case, &c.command.id).is_some())
        .map(|c| c.command.clone())
        .collect();
    commands.extend(memory.ranked(case, claimed).into_iter().map(|c| c.command));
    commands.extend(muted);
    commands.extend(registry.model(case));
    let mut all: Vec<Considered> = commands.iter().map(|c| claiming(case, memory, c)).collect();
    for tried in unlisted(case, &all) {
        let fixer = &tried.fixer;
        all.push(Considered {
            id: fixer.clone(),
            title: tried.title.clone(),
            standing: Standing::Tried,
            why: verdict(tried),
            tries: tries(case, fixer),
            success: memory.success(case, fixer),
        });
    }
    let passing = registry.passing(case).into_iter();
    let known: Vec<String> = all.iter().map(|c| c.id.clone()).collect();
    all.extend(passing.filter(|(f, _)| !known.contains(&f.id)).map(|(fixer, why)| Considered {
        id: fixer.id.clone(),
        title: fixer.title.clone(),
        standing: Standing::Passes,
        why,
        tries: Vec::new(),
        success: memory.success(case, &fixer.id),
    }));
    // Jitter says nothing to a reader.
    (all, decide(case, registry, memory, 0.0))
}

fn claiming(case: &Case, memory: &Memory, command: &FixerCommand) -> Considered {
    let tries = tries(case, &command.id);
    let (standing, why) = match (memory.muted(case, &command.id), tries.last()) {
        (Some(why), _) => (Standing::Muted, why),
        (None, Some(last)) if !model::is_model(&command.id) && !is_open(case, &command.id) => {
            (Standing::Tried, verdict(last))
        }
        (None, Some(last)) => (Standing::Open, format!("may be tried again; {}", verdict(last))),
        (None, None) => (Standing::Open, claim(case, command)),
    };
    let success = memory.success(case, &command.id);
    Considered {
        id: command.id.clone(),
        title: command.title.clone(),
        standing,
        why,
        tries,
        success,
    }
}

fn claim(case: &Case, command: &FixerCommand) -> String {
    let kind = case.signal.failure_type;
    if model::is_model(&command.id) {
        format!(
            "it is asked after the deterministic fixers, with {} files",
            command.context.files.len()
        )
    } else {
        format!("it claims this {kind} failure ({})", command.safety)
    }
}

fn verdict(tried: &FixTry) -> String {
    let verdict = tried.verdict.as_str().replace('_', " ");
    if tried.detail.is_empty() { verdict } else { format!("{verdict}: {}", tried.detail) }
}

fn all_tries(case: &Case) -> impl Iterator<Item = &FixTry> {
    case.history.iter().flat_map(|a| &a.tries).chain(&case.tried)
}

fn tries(case: &Case, fixer: &str) -> Vec<FixTry> {
    all_tries(case).filter(|t| t.fixer == fixer).cloned().collect()
}

/// The last try of each fixer that is not listed: it claims the failure no more.
fn unlisted<'a>(case: &'a Case, listed: &[Considered]) -> Vec<&'a FixTry> {
    let mut found: Vec<&FixTry> = Vec::new();
    for tried in all_tries(case).filter(|t| listed.iter().all(|c| c.id != t.fixer)) {
        found.retain(|t| t.fixer != tried.fixer);
        found.push(tried);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::decide::{case, try_of};
    use meta_domain::autofix::TryVerdict;
    use meta_domain::failure::FailureType;

    #[test]
    fn every_fixer_has_a_standing_and_a_reason() {
        let registry = Registry::builtin().unwrap();
        let mut lint = case("ruff check .", FailureType::Lint);
        lint.tried = vec![
            try_of("ruff_check", TryVerdict::NoChange, ""),
            try_of("gone", TryVerdict::VerifyFail, "a"),
        ];
        let (all, decision) = explain(&lint, &registry, &Memory::default());
        let of = |id: &str| all.iter().find(|c| c.id == id).unwrap();
        assert_eq!(of("ruff_check").standing, Standing::Tried);
        assert_eq!(of("ruff_unsafe").standing, Standing::Open);
        assert_eq!((of("gone").standing, of("gone").tries.len()), (Standing::Tried, 1));
        assert_eq!(of("gofmt").standing, Standing::Passes);
        assert!(all.iter().all(|c| !c.why.is_empty()));
        assert!(all.len() > registry.fixers().len());
        assert!(matches!(decision, Decision::FixSpecificIssue { .. }));
    }
}
