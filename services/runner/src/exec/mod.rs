//! Processes: starting them, reading what they print, ending all of them.

mod converse;
mod spawner;

pub use converse::{Bounds, Conversation, Reply};
pub use spawner::Spawner;

use crate::core::output::Stream;
use crate::error::{Error, doing};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often collected output is handed on.
pub const TICK: Duration = Duration::from_millis(100);
/// How long output is still read after the process has ended: a daemon may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(300);
const READ_BYTES: usize = 64 * 1024;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Its time limit passed and it was killed.
    TimedOut,
}

/// What happens while a process runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// It printed something.
    Output(Stream, &'a [u8]),
    /// Time passes.
    Tick,
}

/// Runs a command to its end, its time limit or a stop, whichever comes first. Its whole process
/// tree is dead afterwards.
///
/// # Errors
/// [`Error::Stopped`] on a stop, [`Error::Failed`] when it cannot be started.
pub async fn run(
    spawner: &Spawner,
    mut command: Command,
    limit: Duration,
    stop: &CancellationToken,
    on: impl FnMut(Event<'_>),
) -> Result<Ended, Error> {
    command.stdin(Stdio::null());
    Started::new(spawner, command).await?.follow(limit, stop, on).await
}

/// A process that was started ahead of time and waits for a line of input before it does anything.
/// It is killed when this is dropped.
#[derive(Debug)]
pub struct Held(Started);

impl Held {
    /// Starts the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn start(spawner: &Spawner, mut command: Command) -> Result<Self, Error> {
        command.stdin(Stdio::piped());
        Started::new(spawner, command).await.map(Self)
    }

    /// Lets it go on, and follows it like [`run`]. Its time begins now.
    ///
    /// # Errors
    /// [`Error::Stopped`] on a stop, [`Error::Failed`] when it cannot be followed.
    pub async fn go(
        mut self,
        limit: Duration,
        stop: &CancellationToken,
        on: impl FnMut(Event<'_>),
    ) -> Result<Ended, Error> {
        if let Some(mut stdin) = self.0.child.stdin.take() {
            // One that has ended already says by its status what was wrong.
            let _gone = stdin.write_all(b"go\n").await;
        }
        self.0.follow(limit, stop, on).await
    }
}

/// A process with its tree.
#[derive(Debug)]
struct Started {
    child: Child,
    tree: Tree,
}

impl Started {
    async fn new(spawner: &Spawner, mut command: Command) -> Result<Self, Error> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let child = spawner.spawn(command).await.map_err(doing("cannot start a process"))?;
        Ok(Self { tree: Tree::of(&child), child })
    }

    async fn follow(
        self,
        limit: Duration,
        stop: &CancellationToken,
        mut on: impl FnMut(Event<'_>),
    ) -> Result<Ended, Error> {
        let Self { mut child, tree } = self;
        let deadline = Instant::now() + limit;
        let mut out = Pipe::new(child.stdout.take());
        let mut err = Pipe::new(child.stderr.take());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                n = out.read() => on(Event::Output(Stream::Stdout, &out.buffer[..n])),
                n = err.read() => on(Event::Output(Stream::Stderr, &err.buffer[..n])),
                status = child.wait() => {
                    break Ok(ended(status.map_err(doing("cannot wait for a process"))?));
                }
                () = tokio::time::sleep_until(deadline) => break Ok(Ended::TimedOut),
                () = stop.cancelled() => break Err(Error::Stopped),
                _ = tick.tick() => on(Event::Tick),
            }
        };
        tree.kill();
        child.wait().await.map_err(doing("cannot wait for a process"))?;
        let drained = Instant::now() + DRAIN;
        while out.open() || err.open() {
            tokio::select! {
                n = out.read() => on(Event::Output(Stream::Stdout, &out.buffer[..n])),
                n = err.read() => on(Event::Output(Stream::Stderr, &err.buffer[..n])),
                () = tokio::time::sleep_until(drained) => break,
            }
        }
        ended
    }
}

fn ended(status: std::process::ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// The process group of a child; killed when dropped, so that a canceled future leaves nothing.
#[derive(Debug)]
struct Tree(Option<Pid>);

impl Tree {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn kill(mut self) {
        self.kill_once();
    }

    fn kill_once(&mut self) {
        if let Some(group) = self.0.take() {
            // The group is gone already when everything ended by itself.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill_once();
    }
}

#[derive(Debug)]
struct Pipe<R> {
    reader: Option<R>,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(reader: Option<R>) -> Self {
        Self { reader, buffer: vec![0; READ_BYTES] }
    }

    fn open(&self) -> bool {
        self.reader.is_some()
    }

    /// Reads some bytes into the buffer; never ready again once the pipe is closed.
    async fn read(&mut self) -> usize {
        let Some(reader) = self.reader.as_mut() else { return std::future::pending().await };
        let n = reader.read(&mut self.buffer).await.unwrap_or(0);
        if n == 0 {
            self.reader = None;
        }
        n
    }
}
