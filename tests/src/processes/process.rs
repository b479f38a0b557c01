//! One process: started, watched, signalled, ended.

use super::{LIMIT, program};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Variables of the test's own environment that a process gets; everything else is cleared.
const PASSED: [&str; 8] =
    ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "LANG", "LC_ALL", "USER"];
/// How long output is read on after the end of a process: its children may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(5);
/// Bytes of output that are shown when a test fails.
const SHOWN_BYTES: usize = 8 * 1024;

/// What a process has said so far.
#[derive(Debug, Clone, Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Said {
    fn text(&self) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.out), text(&self.err))
    }
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A process of the product. Its output is printed when it is dropped, which the test harness shows
/// when the test fails; a process that still lives then is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    said: watch::Receiver<Said>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a binary of the product in a folder, with these arguments and variables.
    pub fn start(name: &str, args: &[&str], vars: &[(&str, &str)], folder: &Path) -> Result<Self> {
        let mut command = Command::new(program(name));
        let own = meta_runtime::start::vars();
        let passed = PASSED.iter().filter_map(|n| own.get(*n).map(|v| (*n, v.as_str())));
        command.env_clear().envs(passed).envs(vars.iter().copied());
        command.args(args).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().context("a process that was just started has a pid")?;
        let (sender, said) = watch::channel(Said::default());
        let out = read(child.stdout.take(), sender.clone(), |said| &mut said.out);
        let err = read(child.stderr.take(), sender, |said| &mut said.err);
        let pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(Self { name: name.to_owned(), child, pid, said, readers: vec![out, err] })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal; only to it, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits until a line of its output says something.
    pub async fn says(&mut self, what: &str) -> Result<String> {
        self.until(|line| line.contains(what).then(|| line.to_owned()))
            .await
            .with_context(|| format!("{} never said {what:?}", self.name))
    }

    /// Waits until a whole line of its output, standard output first, is as wanted.
    pub async fn until<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let found = |said: &Said| {
            let (out, err) = said.text();
            [out, err].iter().find_map(|text| {
                text.split_inclusive('\n').filter(|l| l.ends_with('\n')).find_map(&wanted)
            })
        };
        let waited = tokio::time::timeout(LIMIT, async {
            loop {
                let now = found(&self.said.borrow_and_update());
                if let Some(value) = now {
                    return Ok(value);
                }
                if self.said.changed().await.is_err() {
                    bail!("{} closed its output", self.name);
                }
            }
        });
        match waited.await {
            Ok(result) => result,
            Err(_) => bail!("{} took longer than {LIMIT:?}", self.name),
        }
    }

    /// What it has said so far: standard output and standard error.
    pub fn said(&self) -> (String, String) {
        self.said.borrow().text()
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Result<Ended> {
        let Ok(status) = tokio::time::timeout(LIMIT, self.child.wait()).await else {
            bail!("{} does not end", self.name);
        };
        let status = status?;
        for reader in self.readers.drain(..) {
            // output that stays open belongs to a child of the process, which is not waited for
            let _ = tokio::time::timeout(DRAIN, reader).await;
        }
        let (out, err) = self.said();
        Ok(Ended { code: status.code(), signal: status.signal(), out, err })
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(self) -> Result<Ended> {
        self.signal(Signal::SIGKILL)?;
        self.ended().await
    }

    /// Asks it to stop with SIGTERM and waits until it is gone.
    pub async fn stop(self) -> Result<Ended> {
        self.signal(Signal::SIGTERM)?;
        self.ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let (out, err) = self.said();
        for (stream, text) in [("stdout", out), ("stderr", err)] {
            let from = text.len().saturating_sub(SHOWN_BYTES);
            let from = text.ceil_char_boundary(from);
            if !text.is_empty() {
                eprintln!("--- {} {} {stream} ---\n{}", self.name, self.pid, &text[from..]);
            }
        }
    }
}

fn read(
    pipe: Option<impl AsyncRead + Unpin + Send + 'static>,
    said: watch::Sender<Said>,
    part: fn(&mut Said) -> &mut Vec<u8>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
            said.send_modify(|said| part(said).extend_from_slice(&buffer[..n]));
        }
    })
}
