//! The end of a build: the combined diff, what becomes of it, and the exit code.

use crate::args::PatchArgs;
use crate::client::Client;
use crate::data;
use crate::display::{Display, print};
use crate::error::{Error, Exit, Result};
use crate::follow::Ended;
use crate::git;
use crate::patch::{coloured, printable, summary_of, touched};
use crate::progress::Progress;
use meta_domain::status::RunStatus;
use meta_proto::orchestrator as pb;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the end of a build needs to know.
pub struct Finish<'a> {
    /// Whom to ask.
    pub client: &'a Client,
    /// The project's folder, where it is known.
    pub project: Option<&'a Path>,
    /// The data folder, for files of one moment.
    pub data: &'a Path,
    /// What becomes of the diff.
    pub wanted: &'a PatchArgs,
    /// How this program is called.
    pub program: &'a str,
    /// Milliseconds since the command began.
    pub elapsed_ms: u64,
}

/// What became of the diff.
#[derive(Debug, Default)]
struct Carried {
    patch: Option<PathBuf>,
    applied: bool,
    branch: Option<String>,
    said: Vec<String>,
    error: Option<Error>,
}

/// The exit code of a status.
pub fn exit_of(status: RunStatus) -> Exit {
    match status {
        RunStatus::Succeeded => Exit::Done,
        RunStatus::PausedAwaitingApproval => Exit::Waiting,
        RunStatus::Failed | RunStatus::Canceled | RunStatus::Pending | RunStatus::Running => {
            Exit::Failed
        }
    }
}

impl Finish<'_> {
    /// Shows the diff, carries it where it is wanted, and tells how the run ended.
    pub async fn tell(&self, ended: &Ended, display: &mut Display) -> Result<Exit> {
        display.close()?;
        let run = &ended.run;
        let exit = if ended.interrupted { Exit::Interrupted } else { exit_of(ended.status) };
        let patch = self.client.patch(&run.id).await?;
        if !patch.is_empty() {
            display.say(&format!("\n{}", shown(&patch, display).trim_end()))?;
        }
        let carried = self.carry(ended.status, run, &patch);
        let exit = carried.error.as_ref().map_or(exit, |e| match exit {
            Exit::Done => e.exit,
            Exit::Failed | Exit::Usage | Exit::Waiting | Exit::Interrupted => exit,
        });
        for line in &carried.said {
            display.say(line)?;
        }
        display.say(&self.summary(ended, &patch, &carried, display))?;
        display.show(&self.finished(ended, &patch, &carried, exit))?;
        match carried.error {
            Some(error) => Err(Error { exit, ..error }),
            None => Ok(exit),
        }
    }

    fn carry(&self, status: RunStatus, run: &pb::Run, patch: &[u8]) -> Carried {
        let mut carried = Carried::default();
        if let Some(file) = &self.wanted.patch {
            match std::fs::write(file, patch) {
                Ok(()) => carried.patch = Some(file.clone()),
                Err(e) => {
                    carried.error =
                        Some(Error::usage(format!("cannot write {}", file.display()), e));
                }
            }
        }
        let asked = self.wanted.apply || self.wanted.branch.is_some();
        if patch.is_empty() || !asked {
            return carried;
        }
        if status != RunStatus::Succeeded {
            let text = "not applied: the build has not succeeded";
            carried.said.push(text.to_owned());
            return carried;
        }
        let Some(project) = self.project else {
            carried.error = Some(no_folder());
            return carried;
        };
        if let Some(name) = &self.wanted.branch {
            match self.branch(project, name, run, patch) {
                Ok(commit) => {
                    carried.said.push(format!("committed to the branch {name} as {commit:.12}"));
                    carried.branch = Some(name.clone());
                }
                Err(error) => carried.error = Some(error),
            }
        }
        if self.wanted.apply {
            match data::scratch(self.data).and_then(|s| git::apply(project, s.path(), patch)) {
                Ok(()) => {
                    carried.said.push(format!("applied to {}", project.display()));
                    carried.applied = true;
                }
                Err(error) => carried.error = Some(error),
            }
        }
        carried
    }

    fn branch(&self, project: &Path, name: &str, run: &pb::Run, patch: &[u8]) -> Result<String> {
        let scratch = data::scratch(self.data)?;
        git::branch(project, scratch.path(), name, &message(run), patch)
    }

    fn summary(&self, ended: &Ended, patch: &[u8], carried: &Carried, display: &Display) -> String {
        let paint = display.paint();
        let run = &ended.run;
        let mut text = String::new();
        let mut line = |head: &str, what: &str| {
            // writing to a String cannot fail
            let _ = write!(text, "\n {head:<8} {what}");
        };
        let time = crate::display::lines::seconds(self.elapsed_ms);
        let counts = counts(run);
        let (word, what) = match ended.status {
            RunStatus::Succeeded => (paint.good("built"), counts),
            RunStatus::PausedAwaitingApproval => (paint.note("waiting for approval"), counts),
            RunStatus::Failed => (paint.bad("failed"), printable(&run.reason)),
            RunStatus::Canceled => (paint.bad("canceled"), printable(&run.reason)),
            RunStatus::Pending | RunStatus::Running => {
                (paint.note("goes on"), "in another process, or after --resume".to_owned())
            }
        };
        line("result", &format!("{word} in {time}   {what}"));
        line("run", &format!("{}   ({} why {} STEP)", run.id, self.program, run.id));
        for gate in run.gates.iter().filter(|g| is_pending(g)) {
            line("approve", &paint.strong(&format!("{} approve {}", self.program, gate.id)));
            line("reject", &format!("{} reject {}", self.program, gate.id));
        }
        if !patch.is_empty() {
            let left = !carried.applied && carried.branch.is_none();
            line("diff", &summary_of(patch));
            if left && ended.status == RunStatus::Succeeded {
                let command = format!("{} runs patch {}", self.program, run.id);
                let in_git = self.project.is_some_and(git::in_repository);
                let other = if in_git { "--branch NAME, --patch FILE" } else { "--patch FILE" };
                line("apply", &format!("{command} --apply   (or {other})"));
            }
        }
        if matches!(ended.status, RunStatus::Failed | RunStatus::Canceled) {
            let path = self.project.map(|p| p.display().to_string()).unwrap_or_default();
            line("go on", &format!("{} build {path} --resume", self.program));
        }
        text
    }

    fn finished(&self, ended: &Ended, patch: &[u8], carried: &Carried, exit: Exit) -> Progress {
        let files = touched(patch);
        Progress::RunFinished {
            run_id: ended.run.id.clone(),
            status: ended.status,
            reason: ended.run.reason.clone(),
            exit_code: exit as u8,
            duration_ms: self.elapsed_ms,
            patch: carried.patch.as_ref().map(|p| p.display().to_string()),
            files: u32::try_from(files.len()).unwrap_or(u32::MAX),
            added: files.iter().map(|f| f.added).sum(),
            removed: files.iter().map(|f| f.removed).sum(),
            applied: carried.applied,
            branch: carried.branch.clone(),
        }
    }
}

/// Whether the diff of a build can be carried where it is wanted, as far as that is known before.
pub fn check_targets(wanted: &PatchArgs, project: &Path) -> Result<()> {
    if let Some(file) = &wanted.patch {
        writable(file).map_err(|e| Error::usage(format!("cannot write {}", file.display()), e))?;
    }
    if let Some(name) = &wanted.branch {
        git::branchable(project, name)?;
    }
    Ok(())
}

/// Whether a file can be written; nothing is changed.
fn writable(file: &Path) -> std::io::Result<()> {
    if std::fs::metadata(file).is_ok() {
        return std::fs::OpenOptions::new().append(true).open(file).map(drop);
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map(drop)
}

/// Only `--patch`, `--apply` and `--branch` for a run that ended earlier.
impl Finish<'_> {
    /// Prints the combined diff, or carries it where it is wanted.
    pub async fn patch_only(&self, run: &pb::Run, colour: bool) -> Result<Exit> {
        let patch = self.client.patch(&run.id).await?;
        if patch.is_empty() {
            eprintln!("the run changed nothing");
            return Ok(Exit::Done);
        }
        let wanted = self.wanted;
        if wanted.patch.is_none() && !wanted.apply && wanted.branch.is_none() {
            use std::io::Write as _;
            let mut out = std::io::stdout().lock();
            if colour {
                out.write_all(coloured(&patch).as_bytes())?;
            } else {
                out.write_all(&patch)?;
            }
            return Ok(Exit::Done);
        }
        let carried = self.carry(crate::client::status_of(run)?, run, &patch);
        for line in carried.said {
            print(&line)?;
        }
        match carried.error {
            Some(error) => Err(error),
            None => Ok(Exit::Done),
        }
    }
}

fn no_folder() -> Error {
    Error::usage("there is nothing to apply the diff to", "the run's source is no folder")
        .next("use --patch FILE")
}

fn is_pending(gate: &pb::Gate) -> bool {
    gate.status == i32::from(meta_proto::common::GateStatus::Pending)
}

fn shown(patch: &[u8], display: &Display) -> String {
    if display.paint().is_coloured() {
        coloured(patch)
    } else {
        String::from_utf8_lossy(patch).into_owned()
    }
}

/// `3 healed, 1 flaky`
fn counts(run: &pb::Run) -> String {
    use meta_proto::common::Outcome;
    let healed: std::collections::BTreeSet<_> = run
        .attempts
        .iter()
        .filter(|a| a.outcome == i32::from(Outcome::PatchApplied) && a.rollback_to_step.is_empty())
        .map(|a| &a.step)
        .collect();
    let flaky = run.steps.iter().filter(|s| s.flaky).count();
    let parts = [(healed.len(), "healed"), (flaky, "flaky")];
    let parts: Vec<_> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    parts.join(", ")
}

/// The message of the commit on a branch.
fn message(run: &pb::Run) -> String {
    use meta_proto::common::Outcome;
    let mut text = "Heal the build\n\n".to_owned();
    for attempt in &run.attempts {
        if attempt.outcome == i32::from(Outcome::PatchApplied) {
            let reason = attempt.reason.lines().next().unwrap_or_default();
            // writing to a String cannot fail
            let _ = writeln!(text, "- {}: {reason}", attempt.step);
        }
    }
    let _ = writeln!(text, "\nMeta-Builder-Run: {}", run.id);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_proto::common::Outcome;

    fn attempt(step: &str, outcome: Outcome) -> pb::Attempt {
        pb::Attempt {
            step: step.to_owned(),
            outcome: outcome.into(),
            reason: "rustfmt (it claims lint)".to_owned(),
            ..Default::default()
        }
    }

    fn run() -> pb::Run {
        pb::Run {
            id: "r".to_owned(),
            attempts: vec![
                attempt("fmt", Outcome::PatchApplied),
                attempt("fmt", Outcome::PatchApplied),
                attempt("fetch", Outcome::Retried),
            ],
            steps: vec![pb::RunStep { flaky: true, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn a_step_healed_twice_counts_once() {
        assert_eq!(counts(&run()), "1 healed, 1 flaky");
        assert_eq!(counts(&pb::Run::default()), "");
    }

    #[test]
    fn the_commit_says_what_was_healed_and_by_which_run() {
        let text = message(&run());
        assert!(text.starts_with("Heal the build\n\n- fmt: rustfmt"), "{text}");
        assert!(text.ends_with("\nMeta-Builder-Run: r\n") && !text.contains("fetch"), "{text}");
    }

    #[test]
    fn a_target_that_cannot_be_is_refused_before_a_build() {
        let dir = tempfile::tempdir().unwrap();
        let check = |patch: Option<&str>, branch: Option<&str>| {
            let patch = patch.map(|name| dir.path().join(name));
            let wanted = PatchArgs { patch, apply: false, branch: branch.map(str::to_owned) };
            check_targets(&wanted, dir.path())
        };
        std::fs::write(dir.path().join("there"), "mine").unwrap();
        check(None, None).unwrap();
        check(Some("new"), None).unwrap();
        check(Some("there"), None).unwrap();
        assert!(!dir.path().join("new").exists(), "the check leaves nothing behind");
        assert_eq!(std::fs::read_to_string(dir.path().join("there")).unwrap(), "mine");
        for (patch, branch) in [(Some("none/new"), None), (Some(""), None), (None, Some("heal"))] {
            assert_eq!(check(patch, branch).unwrap_err().exit, Exit::Usage, "{patch:?} {branch:?}");
        }
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            (RunStatus::Succeeded, 0),
            (RunStatus::Failed, 1),
            (RunStatus::Canceled, 1),
            (RunStatus::PausedAwaitingApproval, 3),
        ];
        for (status, code) in codes {
            assert_eq!(exit_of(status) as u8, code, "{status}");
        }
    }
}
