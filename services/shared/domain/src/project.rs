//! `metabuilder.toml`: a project's own description of its build, and the check of steps that come
//! from there or from the API.

use crate::fault::InvalidField;
use crate::limits;
use crate::plan::{ApprovalMode, Command, PlannedStep};
use crate::settings::Overrides;
use crate::time::parse_duration_ms;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// File name, at the root of a source.
pub const FILE_NAME: &str = "metabuilder.toml";

/// The file as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    #[serde(default)]
    step: Vec<StepSpec>,
    #[serde(default)]
    autofix: Overrides,
}

/// A step as a user writes it, in `metabuilder.toml` or in a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Name, unique in the plan.
    #[serde(default)]
    pub name: String,
    /// A shell line, or program and arguments.
    pub run: Option<Command>,
    /// Names of the steps that must succeed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Time limit such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Folders kept between attempts and runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<String>,
    /// The step's own writable twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Whether it may use the network.
    #[serde(default)]
    pub network: bool,
    /// Paths that patches may touch beyond the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
    /// `never`, `before` or `on-fix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Labels that a runner has to offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs_on: Vec<String>,
}

/// A project's checked description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Steps in file order.
    pub steps: Vec<PlannedStep>,
    /// Run overrides.
    pub overrides: Overrides,
}

/// Reads `metabuilder.toml`.
///
/// # Errors
/// Every fault of the file, each with its field, the value and what was expected.
pub fn parse(text: &str) -> Result<Project, Vec<InvalidField>> {
    let file: ProjectFile = toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let path = line.map_or_else(|| FILE_NAME.to_owned(), |l| format!("{FILE_NAME}:{l}"));
        vec![InvalidField::new(path, e.message().to_owned())]
    })?;
    let mut faults = file.autofix.check().err().unwrap_or_default();
    for fault in &mut faults {
        fault.path = format!("autofix.{}", fault.path);
    }
    if file.step.is_empty() {
        faults.push(InvalidField::new("step", "there is no [[step]] (expected at least one)"));
    }
    match check_steps(&file.step, FILE_NAME) {
        Ok(steps) if faults.is_empty() => Ok(Project { steps, overrides: file.autofix }),
        Ok(_) => Err(faults),
        Err(more) => {
            faults.extend(more);
            Err(faults)
        }
    }
}

/// Checks steps as users write them and makes planned steps of them; `origin` goes into each
/// step's `why`.
///
/// # Errors
/// Every fault, each with its field, the value and what was expected.
pub fn check_steps(
    specs: &[StepSpec],
    origin: &str,
) -> Result<Vec<PlannedStep>, Vec<InvalidField>> {
    let mut faults = Vec::new();
    if specs.len() > limits::PLAN_STEPS_MAX {
        let problem =
            format!("{} steps (expected at most {})", specs.len(), limits::PLAN_STEPS_MAX);
        return Err(vec![InvalidField::new("step", problem)]);
    }
    let names: BTreeSet<&str> = specs.iter().map(|s| s.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut steps = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("step[{index}]");
        check_name(spec, &at, &mut seen, &mut faults);
        check_lists(spec, &at, &names, &mut faults);
        steps.push(planned(spec, &at, origin, &mut faults));
    }
    if faults.is_empty()
        && let Some(cycle) = find_cycle(&steps)
    {
        faults.push(InvalidField::new(
            "needs",
            format!("the steps wait for each other: {} (expected no cycle)", cycle.join(" -> ")),
        ));
    }
    if faults.is_empty() { Ok(steps) } else { Err(faults) }
}

fn check_name<'a>(
    spec: &'a StepSpec,
    at: &str,
    seen: &mut BTreeSet<&'a str>,
    faults: &mut Vec<InvalidField>,
) {
    let name = spec.name.as_str();
    let fits = !name.is_empty()
        && name.chars().count() <= limits::STEP_NAME_CHARS_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
        && !name.starts_with(['.', '-']);
    if !fits {
        faults.push(InvalidField::new(
            format!("{at}.name"),
            format!(
                "{name:?} is not a step name (expected 1 to {} letters, digits, '-', '_', '.' or ':', \
                 starting with a letter or digit)",
                limits::STEP_NAME_CHARS_MAX
            ),
        ));
    } else if !crate::masking::found(name).is_empty() {
        // the name is shown everywhere, so that it cannot be masked; and it is not repeated here
        let problem = "looks like a secret (expected a name that anybody may read)";
        faults.push(InvalidField::new(format!("{at}.name"), problem));
    } else if !seen.insert(name) {
        faults.push(InvalidField::new(
            format!("{at}.name"),
            format!("{name:?} is used by an earlier step (expected a unique name)"),
        ));
    }
}

fn check_lists(spec: &StepSpec, at: &str, names: &BTreeSet<&str>, faults: &mut Vec<InvalidField>) {
    for (field, len) in [
        ("needs", spec.needs.len()),
        ("cache", spec.cache.len()),
        ("writable", spec.writable.len()),
        ("env", spec.env.len()),
    ] {
        if len > limits::LIST_ENTRIES_MAX {
            faults.push(InvalidField::new(
                format!("{at}.{field}"),
                format!("{len} entries (expected at most {})", limits::LIST_ENTRIES_MAX),
            ));
        }
    }
    for (i, need) in spec.needs.iter().enumerate() {
        if need == &spec.name || !names.contains(need.as_str()) {
            faults.push(InvalidField::new(
                format!("{at}.needs[{i}]"),
                format!("{need:?} is no other step (expected the name of another step)"),
            ));
        }
    }
    for (field, paths) in [("cache", &spec.cache), ("writable", &spec.writable)] {
        for (i, path) in paths.iter().enumerate() {
            if !is_inside(path) {
                faults.push(InvalidField::new(
                    format!("{at}.{field}[{i}]"),
                    format!(
                        "{path:?} leaves the workspace (expected a relative path without '..')"
                    ),
                ));
            }
        }
    }
    for key in spec.env.keys() {
        let fits = !key.is_empty()
            && !key.starts_with(|c: char| c.is_ascii_digit())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            faults.push(InvalidField::new(
                format!("{at}.env"),
                format!("{key:?} is not a variable name (expected letters, digits and '_')"),
            ));
        }
    }
}

/// Whether a path stays inside the workspace: relative, no `..`, no `.git`, no NUL.
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|part| part != ".." && !part.eq_ignore_ascii_case(".git"))
        && path.split('/').any(|part| !part.is_empty() && part != ".")
}

fn planned(spec: &StepSpec, at: &str, origin: &str, faults: &mut Vec<InvalidField>) -> PlannedStep {
    let mut fault = |field: &str, problem: String| {
        faults.push(InvalidField::new(format!("{at}.{field}"), problem));
    };
    let run = match &spec.run {
        Some(Command::Shell(line)) if !line.trim().is_empty() => Command::Shell(line.clone()),
        Some(Command::Argv(words)) if words.first().is_some_and(|w| !w.is_empty()) => {
            Command::Argv(words.clone())
        }
        other => {
            let given = if other.is_none() { "is missing" } else { "is empty" };
            fault("run", format!("{given} (expected a shell line or an array of words)"));
            Command::Shell(String::new())
        }
    };
    let bytes = match &run {
        Command::Shell(line) => line.len(),
        Command::Argv(words) => words.iter().map(|w| w.len() + 1).sum(),
    };
    if bytes > limits::COMMAND_BYTES_MAX {
        fault("run", format!("{bytes} bytes (expected at most {})", limits::COMMAND_BYTES_MAX));
    }
    let words = match &run {
        Command::Shell(line) => std::slice::from_ref(line),
        Command::Argv(words) => words,
    };
    let values = || spec.env.values();
    for (field, holds) in [
        ("run", words.iter().any(|word| word.contains('\0'))),
        ("fix", spec.fix.iter().any(|line| line.contains('\0'))),
        ("env", values().any(|value| value.contains('\0'))),
    ] {
        if holds {
            fault(field, "holds U+0000 (expected text that a program can be given)".to_owned());
        }
    }
    let timeout_ms = match spec.timeout.as_deref().map(parse_duration_ms) {
        None => limits::STEP_TIMEOUT_MS_DEFAULT,
        Some(Ok(ms)) if ms <= limits::STEP_TIMEOUT_MS_MAX => ms,
        Some(Ok(_)) => {
            fault("timeout", "is above 24h (expected at most 24h)".to_owned());
            limits::STEP_TIMEOUT_MS_MAX
        }
        Some(Err(problem)) => {
            fault("timeout", problem);
            limits::STEP_TIMEOUT_MS_DEFAULT
        }
    };
    let approval = match spec.approval.as_deref().map(str::parse::<ApprovalMode>) {
        None => ApprovalMode::Never,
        Some(Ok(mode)) => mode,
        Some(Err(problem)) => {
            fault("approval", problem);
            ApprovalMode::Never
        }
    };
    let runs_on = labels(&spec.runs_on).unwrap_or_else(|problem| {
        fault("runs_on", problem);
        Vec::new()
    });
    PlannedStep {
        name: spec.name.clone(),
        run,
        needs: spec.needs.clone(),
        timeout_ms,
        cache: spec.cache.clone(),
        fix: spec.fix.clone(),
        env: spec.env.clone(),
        network: spec.network,
        writable: spec.writable.clone(),
        approval,
        why: format!("step {:?} of {origin}", spec.name),
        clean_cache: false,
        runs_on,
    }
}

/// Sorts labels and drops repeated ones.
///
/// # Errors
/// Names the first that is not a label, and what was expected.
pub fn labels(given: &[String]) -> Result<Vec<String>, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let is_label =
        |l: &String| !l.is_empty() && l.len() <= limits::LABEL_CHARS_MAX && l.chars().all(allowed);
    if given.len() > limits::LABELS_MAX {
        return Err(format!("{} labels (expected at most {})", given.len(), limits::LABELS_MAX));
    }
    if let Some(bad) = given.iter().find(|l| !is_label(l)) {
        let shown: String = bad.chars().take(limits::ECHO_CHARS_MAX).collect();
        return Err(format!(
            "{shown:?} is not a label (expected 1 to {} of a-z, 0-9, '-', '_', '.')",
            limits::LABEL_CHARS_MAX
        ));
    }
    Ok(given.iter().collect::<std::collections::BTreeSet<_>>().into_iter().cloned().collect())
}

/// The first cycle among the steps, as names from a step back to itself.
pub fn find_cycle(steps: &[PlannedStep]) -> Option<Vec<String>> {
    let index: BTreeMap<&str, usize> =
        steps.iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect();
    let mut done = vec![false; steps.len()];
    for start in 0..steps.len() {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let (node, edge) = (*node, *next);
            *next += 1;
            if done[node] {
                path.pop();
                continue;
            }
            let Some(need) = steps[node].needs.get(edge) else {
                done[node] = true;
                path.pop();
                continue;
            };
            let Some(&target) = index.get(need.as_str()) else { continue };
            if let Some(from) = path.iter().position(|(n, _)| *n == target) {
                let mut names: Vec<String> =
                    path[from..].iter().map(|(n, _)| steps[*n].name.clone()).collect();
                names.push(steps[target].name.clone());
                return Some(names);
            }
            path.push((target, 0));
        }
    }
    None
}

/// The steps in an order in which every step stands after its needs; file order where free.
///
/// The steps must have no cycle (see [`find_cycle`]); steps on a cycle are left out.
pub fn in_order(steps: Vec<PlannedStep>) -> Vec<PlannedStep> {
    let mut waiting = steps;
    let mut sorted: Vec<PlannedStep> = Vec::with_capacity(waiting.len());
    loop {
        let ready = waiting
            .iter()
            .position(|s| s.needs.iter().all(|n| sorted.iter().any(|d| &d.name == n)));
        match ready {
            Some(i) => sorted.push(waiting.remove(i)),
            None => return sorted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_full_file_is_read() {
        let p = parse(
            r#"
            [[step]]
            name = "lint"
            run = "ruff check ."
            needs = ["install"]
            timeout = "5m"
            cache = ["target"]
            fix = "ruff check --fix ."
            env = { CI = "true" }
            writable = ["docs/"]
            approval = "on-fix"

            [[step]]
            name = "install"
            run = ["pip", "install", "."]
            network = true

            [autofix]
            max_per_step_attempts = 3
            "#,
        )
        .unwrap();
        assert_eq!(p.steps[0].timeout_ms, 300_000);
        assert_eq!(p.steps[0].approval, ApprovalMode::OnFix);
        assert_eq!(p.steps[1].run, Command::Argv(vec!["pip".into(), "install".into(), ".".into()]));
        assert!(p.steps[1].network);
        assert_eq!(p.overrides.max_per_step_attempts, Some(3));
        assert_eq!(in_order(p.steps)[0].name, "install");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let text = problems(
            r#"
            [[step]]
            name = "a b"
            run = ""
            timeout = "5 minutes"
            approval = "sometimes"
            cache = ["../x"]
            needs = ["nobody"]
            [[step]]
            name = "c"
            run = "true"
            [[step]]
            name = "c"
            run = []
            [autofix]
            max_total_attempts = 99
            "#,
        );
        for part in [
            "step[0].name",
            "step[0].run",
            "step[0].timeout",
            "5 minutes",
            "step[0].approval",
            "step[0].cache[0]",
            "step[0].needs[0]",
            "step[2].name",
            "step[2].run",
            "autofix.max_total_attempts",
            "99",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn a_cycle_is_shown() {
        let text = problems(
            "[[step]]\nname='a'\nrun='true'\nneeds=['b']\n[[step]]\nname='b'\nrun='true'\nneeds=['c']\n\
             [[step]]\nname='c'\nrun='true'\nneeds=['a']\n",
        );
        assert!(text.contains("a -> b -> c -> a"), "{text}");
    }

    #[test]
    fn an_unknown_field_names_its_line() {
        let text = problems("[[step]]\nname = 'a'\nrunn = 'true'\n");
        assert!(text.contains("metabuilder.toml:3") && text.contains("runn"), "{text}");
    }

    #[test]
    fn a_file_without_steps_is_refused() {
        assert!(problems("").contains("[[step]]"));
    }

    #[test]
    fn diamonds_are_no_cycles() {
        let p = parse(
            "[[step]]\nname='d'\nrun='t'\nneeds=['b','c']\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n\
             [[step]]\nname='c'\nrun='t'\nneeds=['a']\n[[step]]\nname='a'\nrun='t'\n",
        )
        .unwrap();
        let order: Vec<_> = in_order(p.steps).into_iter().map(|s| s.name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
