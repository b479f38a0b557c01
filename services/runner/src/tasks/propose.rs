//! Lets a fixer change a fresh copy of the workspace. The difference is the patch: it is made
//! here, whatever the fixer says it did.

use super::heal::Copy;
use super::{Job, Place, Workshop, sarif};
use crate::core::protected::denied;
use crate::error::{Error, doing};
use crate::exec::{Ended, Event};
use crate::git::{
    DIFF_OF_FIXER, EDIT, EXIT_REFUSED, OBJECTS_OF, Room, SHOWN_BYTES_MAX, copy_for_fixer,
    split_difference, split_objects,
};
use crate::sandbox::{HeldJail, Jail};
use meta_domain::autofix::{FixerCommand, FixerKind, TryVerdict};
use meta_domain::limits::PATCH_BYTES_MAX;
use meta_domain::masking::Masker;
use meta_domain::plan::PlannedStep;
use meta_domain::signal::Signal;
use meta_proto::common::FileEdit;
use meta_proto::convert::{Field, Number, Required};
use meta_proto::runner::{ProposeResult, ProposeWork};
use std::os::unix::fs::lchown;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a fixer may take when it says nothing, or at most.
const FIXER_LIMIT_MS: std::ops::RangeInclusive<u64> = 1..=3_600_000;
const FIXER_LIMIT_MS_DEFAULT: u64 = 300_000;
/// Bytes of a fixer's output that are kept for the detail.
const SAID_BYTES_MAX: usize = 16 * 1024;
/// Characters of a detail.
const DETAIL_CHARS_MAX: usize = 300;
/// Larger patches are not even handed on to the guard.
const PATCH_BYTES_SENT_MAX: usize = 8 * PATCH_BYTES_MAX;

/// What a fixer's exit says: nothing to do.
const EXIT_NOTHING: i32 = 3;
/// It cannot fix this safely.
const EXIT_UNSAFE: i32 = 4;

/// What became of a proposal that has no patch, and why.
pub(super) type Verdict = (TryVerdict, String);

impl Workshop {
    pub(super) async fn propose(
        &self,
        job: &Job,
        work: ProposeWork,
    ) -> Result<ProposeResult, Error> {
        let step = PlannedStep::try_from(work.step.required("step")?).field("step")?;
        let fixer = FixerCommand::try_from(work.fixer.required("fixer")?).field("fixer")?;
        let signal = Signal::try_from(work.signal.required("signal")?).field("signal")?;
        let started = Instant::now();
        let place = self.place(job, &work.head, (&work.cache_key, &work.mount)).await?;
        let copy = Copy::new(job, &place)?;
        let mut room = self.room(job, &place.run, Some(&place.caches)).await?;
        let steps = std::slice::from_ref(&step);
        let fill = copy.filled(&room.seen, &place, steps, copy_for_fixer())?;
        let (litter, ended) = match fixer.kind {
            FixerKind::Script => {
                lay_out(&copy.state, job, &fixer, &signal, &work.log)?;
                let jail = || self.fixers_jail(job, &step, &fixer, &place, &copy);
                let filling = room.carry_out(&fill, &job.stop);
                // The sandbox gets ready while the copy is made, unless something is to be bound
                // into the copy, which has to be there then.
                let (litter, held) = if step.cache.is_empty() {
                    tokio::try_join!(filling, self.sandbox.hold(jail()?))?
                } else {
                    (filling.await?, self.sandbox.hold(jail()?).await?)
                };
                let (ended, said) = follow(held, &fixer, &job.stop).await?;
                let verdict = match verdict_of(ended, &said, &self.masker(&step)) {
                    None if fixer.sarif => sarif::apply(job, &mut room, &copy).await?,
                    verdict => verdict,
                };
                (litter.stdout, verdict)
            }
            FixerKind::Model => {
                let litter = room.carry_out(&fill, &job.stop).await?.stdout;
                (litter, edit(job, &mut room, &copy, &fixer, work.edits).await?)
            }
        };
        let mut result = match ended {
            Some((verdict, detail)) => {
                ProposeResult { verdict: verdict.number(), detail, ..ProposeResult::default() }
            }
            None => patch_of(job, &mut room, &copy, litter).await?,
        };
        self.rooms.leave(room);
        result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(result)
    }

    /// What a fixer sees.
    fn fixers_jail(
        &self,
        job: &Job,
        step: &PlannedStep,
        fixer: &FixerCommand,
        place: &Place,
        copy: &Copy,
    ) -> Result<Jail, Error> {
        let mut jail = self.jail(job, step, &copy.stage(place), fixer.network)?;
        let state = self.sandbox.show(&copy.state, "state", true);
        for (name, path) in [
            ("WORKTREE", jail.mount.clone()),
            ("STATE_DIR", state.inside.clone()),
            ("LOG", state.inside.join(LOG_FILE)),
            ("FAILURE_JSON", state.inside.join(FAILURE_FILE)),
        ] {
            jail.env.insert(name.to_owned(), path.to_string_lossy().into_owned());
        }
        jail.binds.push(state);
        jail.command = self.shell(&fixer.script);
        Ok(jail)
    }
}

/// Lets a fixer work; answers how it ended and the end of what it said.
async fn follow(
    held: HeldJail,
    fixer: &FixerCommand,
    stop: &CancellationToken,
) -> Result<(Ended, Vec<u8>), Error> {
    let given = if fixer.timeout_ms == 0 { FIXER_LIMIT_MS_DEFAULT } else { fixer.timeout_ms };
    let limit = Duration::from_millis(given.min(*FIXER_LIMIT_MS.end()));
    let mut said = Vec::new();
    let ended = held
        .go(limit, stop, |event| {
            if let Event::Output(_, bytes) = event {
                said.extend_from_slice(bytes);
                let excess = said.len().saturating_sub(SAID_BYTES_MAX);
                said.drain(..excess);
            }
        })
        .await?;
    Ok((ended, said))
}

/// Writes a model's edits into the copy; answers why not, when they may not be written.
async fn edit(
    job: &Job,
    room: &mut Room,
    copy: &Copy,
    fixer: &FixerCommand,
    edits: Vec<FileEdit>,
) -> Result<Option<Verdict>, Error> {
    let shown = |path: &str| fixer.context.files.iter().any(|f| f.path == path && f.read_only);
    if let Some(edit) = edits.iter().find(|edit| denied(&edit.path) || shown(&edit.path)) {
        let detail = format!("the model edits {:?}, which it may not", edit.path);
        return Ok(Some((TryVerdict::GuardReject, detail)));
    }
    write_edits(job, room, copy, edits).await
}

/// Writes files of the copy anew; answers why not, when a link is in the way.
pub(super) async fn write_edits(
    job: &Job,
    room: &mut Room,
    copy: &Copy,
    edits: Vec<FileEdit>,
) -> Result<Option<Verdict>, Error> {
    let mut order = copy.order(&room.seen, EDIT);
    for (i, edit) in edits.into_iter().enumerate() {
        let name = edit.contents.as_ref().map(|_| format!("edit-{i}")).unwrap_or_default();
        if let Some(contents) = edit.contents {
            order = order.file(&name, contents.into());
        }
        order = order.arguments([edit.path, name]);
    }
    let answer = room.carry_out(&order, &job.stop).await?;
    Ok((answer.code == EXIT_REFUSED)
        .then(|| (TryVerdict::GuardReject, format!("it edits a link: {}", answer.why()))))
}

/// The patch that a copy has become, and the files that it touches as they were.
async fn patch_of(
    job: &Job,
    room: &mut Room,
    copy: &Copy,
    litter: Vec<u8>,
) -> Result<ProposeResult, Error> {
    let order = copy.order(&room.seen, DIFF_OF_FIXER).file("litter", without_slashes(&litter));
    let answer = room.carry_out(&order, &job.stop).await?;
    let without = |verdict: TryVerdict, detail: String| ProposeResult {
        verdict: verdict.number(),
        detail,
        ..ProposeResult::default()
    };
    let (touched, patch) = split_difference(&answer.stdout);
    if patch.is_empty() {
        return Ok(without(TryVerdict::NoChange, "the fixer changed nothing".to_owned()));
    }
    if patch.len() > PATCH_BYTES_SENT_MAX {
        let detail = format!("its patch is too large: {} bytes", patch.len());
        return Ok(without(TryVerdict::FixerError, detail));
    }
    let mut before = Vec::new();
    if !touched.is_empty() {
        let order = copy
            .order(&room.seen, OBJECTS_OF)
            .set("FILE_MAX", BEFORE_BYTES_MAX.to_string())
            .set("SHOWN_MAX", SHOWN_BYTES_MAX.to_string())
            .arguments(touched.iter().map(|file| file.object.clone()));
        let answer = room.carry_out(&order, &job.stop).await?;
        before = split_objects(&answer.stdout, touched);
    }
    Ok(ProposeResult {
        patch: patch.to_vec(),
        before: super::collect::texts(before),
        ..ProposeResult::default()
    })
}

/// A list of paths without the slash that git puts behind a folder with a repository of its own.
fn without_slashes(list: &[u8]) -> Vec<u8> {
    let paths = list.split(|b| *b == 0).filter(|path| !path.is_empty());
    paths.flat_map(|path| [path.strip_suffix(b"/").unwrap_or(path), b"\0"].concat()).collect()
}

/// A touched file that is larger is not shown to the guard whole, in bytes.
const BEFORE_BYTES_MAX: u64 = 512 * 1024;

const LOG_FILE: &str = "failed-step.log";
const FAILURE_FILE: &str = "failure.json";

/// Writes what a fixer finds in its scratch folder.
fn lay_out(
    state: &Path,
    job: &Job,
    fixer: &FixerCommand,
    signal: &Signal,
    log: &[u8],
) -> Result<(), Error> {
    let signal = serde_json::to_vec_pretty(signal)
        .map_err(|e| Error::failed(format!("cannot write the signal: {e}")))?;
    let own = [(LOG_FILE, log), (FAILURE_FILE, signal.as_slice())];
    let files = fixer.files.iter().map(|f| (f.name.as_str(), f.contents.as_bytes()));
    for (name, bytes) in own.into_iter().chain(files) {
        let path = state.join(name);
        let what = || doing(format!("cannot write the fixer's file {name}"));
        std::fs::write(&path, bytes).map_err(what())?;
        lchown(&path, job.owner, job.owner).map_err(what())?;
    }
    Ok(())
}

/// What the exit alone decides; `None` leaves it to the difference.
fn verdict_of(ended: Ended, said: &[u8], masker: &Masker) -> Option<Verdict> {
    let last = || last_line(said, masker);
    match ended {
        Ended::Code(0) => None,
        Ended::Code(EXIT_NOTHING) => Some((TryVerdict::NoChange, or(last(), "nothing to do"))),
        Ended::Code(EXIT_UNSAFE) => {
            Some((TryVerdict::NoChange, or(last(), "the fixer cannot fix this safely")))
        }
        Ended::Code(code) => {
            Some((TryVerdict::FixerError, format!("exit code {code}: {}", last())))
        }
        Ended::Signal(signal) => {
            Some((TryVerdict::FixerError, format!("died of signal {signal}: {}", last())))
        }
        Ended::TimedOut => Some((TryVerdict::FixerError, "ran out of time".to_owned())),
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// The last line that says something, without secrets.
fn last_line(said: &[u8], masker: &Masker) -> String {
    let masked = masker.mask(said, &mut false).into_owned();
    let text = String::from_utf8_lossy(&masked);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_mean_what_the_contract_says() {
        let verdict =
            |ended| verdict_of(ended, b"why\n\n", &Masker::new([])).map(|(v, d)| (v.as_str(), d));
        let is = |v, d: &str| Some((v, d.to_owned()));
        assert_eq!(verdict(Ended::Code(0)), None);
        assert_eq!(verdict(Ended::Code(3)), is("no_change", "why"));
        assert_eq!(verdict(Ended::Code(4)), is("no_change", "why"));
        assert_eq!(verdict(Ended::Code(127)), is("fixer_error", "exit code 127: why"));
        assert_eq!(verdict(Ended::TimedOut), is("fixer_error", "ran out of time"));
    }
}
