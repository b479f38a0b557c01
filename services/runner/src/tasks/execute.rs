//! Executes a command of a step in a workspace, and sends what it prints.

use super::{Job, Workshop, reports};
use crate::core::output::Output;
use crate::core::tally::{Reader, Tally};
use crate::error::{Error, doing};
use crate::exec::{Ended, Event};
use crate::folders::{CacheFolder, plain};
use crate::git::OBJECTS;
use crate::sandbox::{Bind, Jail, Network};
use meta_domain::limits::{STEP_TIMEOUT_MS_DEFAULT, STEP_TIMEOUT_MS_MAX};
use meta_domain::masking::{Masker, secret_values};
use meta_domain::plan::{Command, PlannedStep};
use meta_domain::signal::ExitInfo;
use meta_proto::runner::{Execution, TestCount};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of waiting output that are sent at once instead of at the next tick.
const BATCH_BYTES: usize = 256 * 1024;
/// How long a count of the kernel's kills is good enough.
const KILLS_KEPT: Duration = Duration::from_secs(1);
/// A shell's way of saying that its command was killed.
const CODE_KILLED: i32 = 128 + 9;

/// Where and with what a step's command is executed.
pub(super) struct Stage<'a> {
    pub(super) workspace: PathBuf,
    pub(super) mount: &'a Path,
    pub(super) objects: PathBuf,
    pub(super) caches: &'a CacheFolder,
}

/// How an execution went.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) exit: ExitInfo,
    pub(super) execution: Execution,
    pub(super) tally: Tally,
}

impl Workshop {
    /// What a command of the step sees: its variables, its caches, its home.
    pub(super) fn jail(
        &self,
        job: &Job,
        step: &PlannedStep,
        stage: &Stage<'_>,
        network: bool,
    ) -> Result<Jail, Error> {
        let mut env = self.sandbox.visible().base_env(network);
        env.extend(step.env.clone());
        env.extend(identity(job, step));
        env.retain(|name, value| is_name(name) && !value.contains('\0'));
        let mut binds = vec![self.sandbox.show(&stage.objects, OBJECTS, false)];
        for path in &step.cache {
            let host = stage.caches.folder(path)?;
            if stage.mount == stage.workspace {
                link(&host, &stage.workspace.join(plain(path)))?;
            } else {
                binds.push(Bind { host, inside: stage.mount.join(plain(path)), writable: true });
            }
        }
        Ok(Jail {
            workspace: stage.workspace.clone(),
            mount: stage.mount.to_owned(),
            home: Some(stage.caches.home()?),
            binds,
            network: if network { Network::Step } else { Network::None },
            owner: job.owner,
            env,
            ..Jail::default()
        })
    }

    /// Executes the step's own command.
    pub(super) async fn execute(
        &self,
        job: &Job,
        step: &PlannedStep,
        stage: &Stage<'_>,
        header: Option<&str>,
    ) -> Result<Executed, Error> {
        let mut jail = self.jail(job, step, stage, step.network)?;
        jail.command = match &step.run {
            Command::Shell(line) => self.shell(line),
            Command::Argv(words) => words.clone(),
        };
        let mut output = Output::new(self.masker(step));
        if let Some(line) = header {
            output.note(line, meta_runtime::now());
        }
        let kills_before = oom_kills_before();
        let mut tests = Reader::default();
        let (started, since) = (Instant::now(), reports::now());
        let ended = self
            .sandbox
            .run(&jail, time_limit(step), &job.stop, |event| {
                match event {
                    Event::Output(stream, bytes) => {
                        tests.push(stream, bytes);
                        output.push(stream, bytes, meta_runtime::now());
                    }
                    Event::Tick => {
                        job.log.send(output.take_ready());
                        return;
                    }
                }
                if output.ready_bytes() >= BATCH_BYTES {
                    job.log.send(output.take_ready());
                }
            })
            .await?;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (rest, cut_bytes) = output.finish(meta_runtime::now());
        job.log.send(rest);
        let exit = exit_info(ended, kills_before);
        let mut tally = tests.finish();
        tally.add(reports::read(&stage.workspace, stage.mount, step, since));
        let execution = Execution {
            exit: Some(exit.into()),
            duration_ms,
            cut_bytes,
            sandbox: self.sandbox.level_of(step.network),
            tests: counts(&tally),
        };
        Ok(Executed { exit, execution, tally })
    }

    /// Hides the secrets that are registered for a step: those of its variables, and the runner's.
    pub(super) fn masker(&self, step: &PlannedStep) -> Masker {
        Masker::new(secret_values(&step.env).chain(secret_values(self.sandbox.visible().vars())))
    }

    /// A shell line as a command.
    pub(super) fn shell(&self, line: &str) -> Vec<String> {
        [self.sandbox.shell(), "-c", line].map(str::to_owned).to_vec()
    }
}

/// What tells an execution apart from every other one, for the step's own records.
fn identity(job: &Job, step: &PlannedStep) -> [(String, String); 4] {
    [
        ("METABUILDER_RUN_ID", job.run_id.clone()),
        ("METABUILDER_STEP", step.name.clone()),
        ("METABUILDER_ATTEMPT", job.attempt.to_string()),
        ("METABUILDER_LEASE_EPOCH", job.lease_epoch.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// The numbers of a tally, for the wire.
pub(super) fn counts(tally: &Tally) -> Vec<TestCount> {
    let count = |(tool, c): (&String, &crate::core::tally::Counts)| TestCount {
        tool: tool.clone(),
        executed: c.executed,
        failed: c.failed,
        skipped: c.skipped,
    };
    tally.tools.iter().map(count).collect()
}

fn time_limit(step: &PlannedStep) -> Duration {
    let ms = if step.timeout_ms == 0 { STEP_TIMEOUT_MS_DEFAULT } else { step.timeout_ms };
    Duration::from_millis(ms.min(STEP_TIMEOUT_MS_MAX))
}

/// Without a sandbox nothing can be bound: a link stands in.
fn link(cache: &Path, at: &Path) -> Result<(), Error> {
    let what = || doing(format!("cannot link the cache {}", at.display()));
    if at.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(parent) = at.parent() {
        std::fs::create_dir_all(parent).map_err(what())?;
    }
    std::os::unix::fs::symlink(cache, at).map_err(what())
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn exit_info(ended: Ended, kills_before: Option<u64>) -> ExitInfo {
    const SIGKILL: i32 = 9;
    let killed = matches!(ended, Ended::Code(CODE_KILLED) | Ended::Signal(SIGKILL));
    let oom_killed = killed && kills_before.is_some() && oom_kills() > kills_before;
    match ended {
        Ended::Code(code) => ExitInfo { code: Some(code), oom_killed, ..ExitInfo::default() },
        Ended::Signal(signal) => {
            ExitInfo { signal: Some(signal), oom_killed, ..ExitInfo::default() }
        }
        Ended::TimedOut => {
            ExitInfo { signal: Some(SIGKILL), timed_out: true, ..ExitInfo::default() }
        }
    }
}

/// The count before a step, at most [`KILLS_KEPT`] old: to read it takes longer than some steps.
fn oom_kills_before() -> Option<u64> {
    static LAST: Mutex<Option<(Instant, Option<u64>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match *last {
        Some((at, kills)) if at.elapsed() < KILLS_KEPT => kills,
        _ => last.insert((Instant::now(), oom_kills())).1,
    }
}

/// How often the kernel of this machine has killed a process for memory.
fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// How an execution ended, in words.
pub(super) fn in_words(exit: &ExitInfo, step: &PlannedStep) -> String {
    match (exit.timed_out, exit.oom_killed, exit.code, exit.signal) {
        (true, ..) => format!("ran out of time after {} ms", time_limit(step).as_millis()),
        (_, true, ..) => "was killed for memory".to_owned(),
        (_, _, Some(code), _) => format!("exited with {code}"),
        (_, _, None, Some(signal)) => format!("died of signal {signal}"),
        (_, _, None, None) => "ended in an unknown way".to_owned(),
    }
}
