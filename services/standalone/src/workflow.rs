//! A GitHub Actions workflow read as steps of a `metabuilder.toml`. Pure. What can be carried over
//! is: `run:` steps with their shell, folder, variables and time limits, and the order of jobs.
//! What cannot is never dropped in silence: it becomes a comment that says why.

mod file;
mod words;

use meta_domain::limits::STEP_NAME_CHARS_MAX;
use meta_domain::project::StepSpec;
use serde::Deserialize;
use serde_norway::Value;
use std::collections::{BTreeMap, BTreeSet};
use words::{Resolved, Scope};

/// Bytes of a workflow at most.
pub const WORKFLOW_BYTES_MAX: usize = 1024 * 1024;

/// A workflow as far as it concerns steps; what GitHub adds later is not ours to refuse.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workflow {
    name: String,
    env: BTreeMap<String, Value>,
    defaults: Defaults,
    // a mapping keeps the order in which jobs are written
    jobs: serde_norway::Mapping,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Defaults {
    run: RunDefaults,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct RunDefaults {
    shell: Option<String>,
    working_directory: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Job {
    needs: Value,
    r#if: Value,
    uses: Option<String>,
    env: BTreeMap<String, Value>,
    defaults: Defaults,
    strategy: Strategy,
    container: Value,
    services: BTreeMap<String, Value>,
    steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Strategy {
    matrix: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Step {
    name: Option<String>,
    id: Option<String>,
    r#if: Value,
    uses: Option<String>,
    run: Option<String>,
    shell: Option<String>,
    working_directory: Option<String>,
    env: BTreeMap<String, Value>,
    timeout_minutes: Value,
    continue_on_error: Value,
}

/// A part of the file that is made: a step, or what is said in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Step { notes: Vec<String>, spec: Box<StepSpec> },
    Note(String),
}

/// The text of a `metabuilder.toml` with the steps of a workflow; `origin` names the workflow.
///
/// # Errors
/// Why it is no workflow, or that none of its steps can be carried over.
pub fn import(text: &str, origin: &str) -> Result<String, String> {
    let workflow: Workflow = serde_norway::from_str(text).map_err(|e| e.to_string())?;
    if workflow.jobs.is_empty() {
        return Err("it has no jobs (expected a GitHub Actions workflow)".to_owned());
    }
    let mut jobs = Vec::new();
    for (id, job) in &workflow.jobs {
        let id = id.as_str().ok_or("a job's name is no text")?.to_owned();
        let job = serde_norway::from_value(job.clone()).map_err(|e| format!("jobs.{id}: {e}"))?;
        jobs.push((id, job));
    }
    let parts = Import::new(&workflow, jobs.len() > 1).jobs(&jobs);
    if !parts.iter().any(|p| matches!(p, Part::Step { .. })) {
        return Err("none of its steps is a `run:` that can be carried over".to_owned());
    }
    Ok(file::text(&workflow.name, origin, &parts))
}

struct Import<'a> {
    workflow: &'a Workflow,
    /// Step names begin with their job's when there is more than one.
    prefixed: bool,
    names: BTreeSet<String>,
    /// The last step of each job so far: what a job that needs it waits for.
    ends: BTreeMap<String, Vec<String>>,
}

impl<'a> Import<'a> {
    fn new(workflow: &'a Workflow, prefixed: bool) -> Self {
        Self { workflow, prefixed, names: BTreeSet::new(), ends: BTreeMap::new() }
    }

    /// Jobs in an order in which those that are needed come first.
    fn jobs(mut self, jobs: &[(String, Job)]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut open: Vec<&(String, Job)> = jobs.iter().collect();
        while !open.is_empty() {
            let ready = |(_, job): &(String, Job)| {
                needs(job).iter().all(|n| !open.iter().any(|(id, _)| id == n))
            };
            // needs that go round in a circle are no workflow; the first job is taken then
            let at = open.iter().position(|job| ready(job)).unwrap_or(0);
            let (id, job) = open.remove(at);
            self.job(id, job, &mut parts);
        }
        parts
    }

    fn job(&mut self, id: &str, job: &Job, parts: &mut Vec<Part>) {
        let mut before: Vec<String> =
            needs(job).iter().flat_map(|n| self.ends.get(n).cloned().unwrap_or_default()).collect();
        before.sort();
        before.dedup();
        if let Some(uses) = &job.uses {
            parts.push(Part::Note(format!("job {id} is not imported: it uses {uses}")));
        }
        if !job.services.is_empty() {
            let names: Vec<_> = job.services.keys().cloned().collect();
            let names = names.join(", ");
            parts
                .push(Part::Note(format!("job {id} has services ({names}): start them in a step")));
        }
        if !job.container.is_null() {
            parts.push(Part::Note(format!(
                "job {id} runs in a container: its tools have to be here"
            )));
        }
        if let Some(condition) = condition(&job.r#if) {
            parts.push(Part::Note(format!("job {id} only runs if {condition}")));
        }
        let matrix = words::first_of_matrix(&job.strategy.matrix);
        if !matrix.is_empty() {
            let chosen: Vec<_> = matrix.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            let chosen = chosen.join(", ");
            parts.push(Part::Note(format!("job {id} has a matrix: imported with {chosen}")));
        }
        for step in &job.steps {
            match self.step(id, job, step, &matrix, &before) {
                Ok((notes, spec)) => {
                    before = vec![spec.name.clone()];
                    parts.push(Part::Step { notes, spec: Box::new(spec) });
                }
                Err(Some(note)) => parts.push(Part::Note(note)),
                Err(None) => {}
            }
        }
        self.ends.insert(id.to_owned(), before);
    }

    /// A step, or why there is none; `None` for what needs no word.
    fn step(
        &mut self,
        id: &str,
        job: &Job,
        step: &Step,
        matrix: &BTreeMap<String, String>,
        before: &[String],
    ) -> Result<(Vec<String>, StepSpec), Option<String>> {
        let title = title(step);
        let not = |why: String| Some(format!("{title:?} of job {id} is not imported: {why}"));
        let Some(run) = &step.run else {
            return Err(words::of_action(step.uses.as_deref().unwrap_or_default()).and_then(not));
        };
        if let Some(condition) = condition(&step.r#if)
            && ["failure()", "always()", "cancelled()"].iter().any(|f| condition.contains(f))
        {
            return Err(not(format!("it only runs if {condition}")));
        }
        let mut notes = Vec::new();
        let scope = self.scope(job, step, matrix, &mut notes);
        let run = scope
            .resolve(run)
            .map_err(|unknown| not(format!("nothing here stands for ${{{{ {unknown} }}}}")))?;
        let defaults = [&job.defaults.run, &self.workflow.defaults.run];
        let shell =
            step.shell.as_deref().or_else(|| defaults.iter().find_map(|d| d.shell.as_deref()));
        let folder = step
            .working_directory
            .as_deref()
            .or_else(|| defaults.iter().find_map(|d| d.working_directory.as_deref()));
        let folder = folder
            .map(|f| scope.resolve(f))
            .transpose()
            .map_err(|unknown| not(format!("its folder is ${{{{ {unknown} }}}}")))?;
        let command = words::command(&run.text, shell, folder.as_ref().map(|f| f.text.as_str()));
        let command = command.map_err(|shell| not(format!("its shell is {shell}")))?;
        notes.extend(run.notes);
        if let Some(condition) = condition(&step.r#if) {
            notes.push(format!("there it only runs if {condition}"));
        }
        if step.continue_on_error.as_bool() == Some(true) {
            notes.push("there its failure does not fail the job".to_owned());
        }
        let network = words::reaches_out(&run.text);
        if network {
            notes.push("it looks as if it fetches something: it gets network".to_owned());
        }
        let name = self.unique(id, step, &title);
        let spec = StepSpec {
            name,
            run: Some(command),
            needs: before.to_vec(),
            timeout: step.timeout_minutes.as_u64().map(|m| format!("{}m", m.clamp(1, 24 * 60))),
            env: scope.env,
            network,
            ..StepSpec::default()
        };
        Ok((notes, spec))
    }

    /// The variables of a step, those of its job and of the workflow below them.
    fn scope(
        &self,
        job: &Job,
        step: &Step,
        matrix: &BTreeMap<String, String>,
        notes: &mut Vec<String>,
    ) -> Scope {
        let mut scope = Scope { env: BTreeMap::new(), matrix: matrix.clone() };
        for (name, value) in self.workflow.env.iter().chain(&job.env).chain(&step.env) {
            let Some(value) = words::scalar(value) else { continue };
            match scope.resolve(&value) {
                Ok(Resolved { text, .. }) => {
                    scope.env.insert(name.clone(), text);
                }
                Err(unknown) => {
                    scope.env.remove(name);
                    notes.push(format!(
                        "{name} is not set: nothing here stands for ${{{{ {unknown} }}}}"
                    ));
                }
            }
        }
        scope
    }

    /// A name that no other step has.
    fn unique(&mut self, job: &str, step: &Step, title: &str) -> String {
        let own = slug(step.id.as_deref().unwrap_or(title));
        let wanted = if self.prefixed { format!("{}-{own}", slug(job)) } else { own };
        let wanted: String = wanted.chars().take(STEP_NAME_CHARS_MAX - 4).collect();
        let wanted = wanted.trim_end_matches('-').to_owned();
        let mut name = wanted.clone();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        name
    }
}

fn needs(job: &Job) -> Vec<String> {
    match &job.needs {
        Value::String(one) => vec![one.clone()],
        Value::Sequence(many) => many.iter().filter_map(words::scalar).collect(),
        _ => Vec::new(),
    }
}

fn condition(value: &Value) -> Option<String> {
    let text = words::scalar(value)?;
    let text = text.trim();
    let inner = text.strip_prefix("${{").and_then(|t| t.strip_suffix("}}")).unwrap_or(text).trim();
    (!inner.is_empty() && inner != "true" && inner != "success()").then(|| inner.to_owned())
}

/// What a step is called: its name, else its first line.
fn title(step: &Step) -> String {
    let first = |text: &str| text.trim().lines().next().unwrap_or_default().to_owned();
    match (&step.name, &step.run, &step.uses) {
        (Some(name), _, _) => first(name),
        (None, Some(run), _) => first(run),
        (None, None, uses) => uses.clone().unwrap_or_default(),
    }
}

/// A text as part of a step's name.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => slug.push(c.to_ascii_lowercase()),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "step".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests;
