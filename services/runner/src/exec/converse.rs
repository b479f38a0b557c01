//! A process that is asked one thing after the other.

use super::{Pipe, Spawner, Tree};
use crate::error::{Error, doing};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

/// Digits and signs of an exit code behind its mark.
const CODE_BYTES_MAX: usize = 16;

/// A process that reads questions from its standard input, a line each. It ends an answer with a
/// line on both of its outputs: the mark that the question named, and an exit code.
///
/// Its whole process tree is killed when this is dropped.
#[derive(Debug)]
pub struct Conversation {
    stdin: ChildStdin,
    out: Pipe<ChildStdout>,
    err: Pipe<ChildStderr>,
    _tree: Tree,
    _child: Child,
}

/// An answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: Vec<u8>,
}

/// How much an answer may be, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of standard output; more is an error.
    pub stdout_bytes: usize,
    /// Bytes of standard error that are kept.
    pub stderr_bytes: usize,
    /// Time.
    pub time: Duration,
}

impl Conversation {
    /// Starts the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn start(spawner: &Spawner, mut command: Command) -> Result<Self, Error> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = spawner.spawn(command).await.map_err(doing("cannot start a process"))?;
        let stdin = child.stdin.take().ok_or_else(|| Error::failed("a process has no input"))?;
        Ok(Self {
            stdin,
            out: Pipe::new(child.stdout.take()),
            err: Pipe::new(child.stderr.take()),
            _tree: Tree::of(&child),
            _child: child,
        })
    }

    /// Asks, and waits for the answer. After an error the process is of no use any more.
    ///
    /// # Errors
    /// [`Error::Stopped`] on a stop; [`Error::Refused`] for an answer that is too large;
    /// [`Error::Failed`] when the process ends, or time runs out.
    pub async fn ask(
        &mut self,
        question: &str,
        mark: &str,
        bounds: Bounds,
        stop: &CancellationToken,
    ) -> Result<Reply, Error> {
        tokio::select! {
            answer = self.answer(question, mark, bounds) => answer,
            () = tokio::time::sleep(bounds.time) => Err(Error::failed("git took too long")),
            () = stop.cancelled() => Err(Error::Stopped),
        }
    }

    async fn answer(&mut self, question: &str, mark: &str, to: Bounds) -> Result<Reply, Error> {
        let line = format!("{question} {mark}\n");
        let sent = self.stdin.write_all(line.as_bytes()).await;
        sent.map_err(doing("cannot ask the sandbox"))?;
        let end = format!("\n{mark} ");
        let mut reply = Reply::default();
        loop {
            if let Some((length, code)) = ended(&reply.stdout, &end)
                && let Some((complaint, _)) = ended(&reply.stderr, &end)
            {
                reply.code = code;
                reply.stdout.truncate(length);
                reply.stderr.truncate(complaint);
                let excess = complaint.saturating_sub(to.stderr_bytes);
                reply.stderr.drain(..excess);
                return Ok(reply);
            }
            let n = tokio::select! {
                n = self.out.read() => {
                    reply.stdout.extend_from_slice(&self.out.buffer[..n]);
                    n
                }
                n = self.err.read() => {
                    reply.stderr.extend_from_slice(&self.err.buffer[..n]);
                    let kept = to.stderr_bytes + end.len() + CODE_BYTES_MAX;
                    let excess = reply.stderr.len().saturating_sub(kept);
                    reply.stderr.drain(..excess);
                    n
                }
            };
            if n == 0 {
                let said = String::from_utf8_lossy(&reply.stderr).trim().to_owned();
                return Err(Error::failed(format!("the sandbox ended by itself: {said}")));
            }
            if reply.stdout.len() > to.stdout_bytes + end.len() + CODE_BYTES_MAX {
                return Err(Error::refused(format!(
                    "the answer is too large (expected at most {} bytes)",
                    to.stdout_bytes
                )));
            }
        }
    }
}

/// Where an output ends and the code behind its mark, once that is there.
fn ended(output: &[u8], end: &str) -> Option<(usize, i32)> {
    let tail_from = output.len().saturating_sub(end.len() + CODE_BYTES_MAX);
    let tail = output.get(tail_from..)?.strip_suffix(b"\n")?;
    let at = tail.windows(end.len()).rposition(|window| window == end.as_bytes())?;
    let code = std::str::from_utf8(&tail[at + end.len()..]).ok()?.parse().ok()?;
    Some((tail_from + at, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: &str = "while read -r order mark; do (eval \"$order\") </dev/null; code=$?; \
                        printf '\\n%s %s\\n' \"$mark\" \"$code\" >&2; \
                        printf '\\n%s %s\\n' \"$mark\" \"$code\"; done";

    async fn shell() -> Conversation {
        let spawner = Spawner::start().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", LOOP]);
        Conversation::start(&spawner, command).await.unwrap()
    }

    const BOUNDS: Bounds =
        Bounds { stdout_bytes: 100_000, stderr_bytes: 10, time: Duration::from_secs(20) };

    #[tokio::test]
    async fn each_question_gets_its_own_answer() {
        let (mut shell, stop) = (shell().await, CancellationToken::new());
        let reply = shell.ask("pwd;exit${IFS}7", "m1", BOUNDS, &stop).await.unwrap();
        assert_eq!((reply.code, reply.stdout.ends_with(b"\n")), (7, true));
        let many = "seq${IFS}10000;seq${IFS}10000>&2;printf${IFS}m2";
        let reply = shell.ask(many, "m2", BOUNDS, &stop).await.unwrap();
        assert_eq!((reply.code, reply.stdout.len()), (0, 48_894 + 2));
        assert_eq!(reply.stderr, b"9999\n10000\n"[1..]);
        let reply = shell.ask("cat", "m3", BOUNDS, &stop).await.unwrap();
        assert!(reply.stdout.is_empty(), "it has no input");
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_an_error() {
        let stop = CancellationToken::new();
        let short = Bounds { time: Duration::from_millis(50), ..BOUNDS };
        let late = shell().await.ask("sleep${IFS}60", "m", short, &stop).await.unwrap_err();
        assert!(late.to_string().contains("too long"), "{late}");
        let gone = shell().await.ask("kill${IFS}-9${IFS}$$", "m", BOUNDS, &stop).await.unwrap_err();
        assert!(gone.to_string().contains("ended by itself"), "{gone}");
        let large = Bounds { stdout_bytes: 10, ..BOUNDS };
        let large = shell().await.ask("seq${IFS}100", "m", large, &stop).await.unwrap_err();
        assert!(large.to_string().contains("at most 10 bytes"), "{large}");
        stop.cancel();
        let stopped = shell().await.ask("sleep${IFS}60", "m", BOUNDS, &stop).await.unwrap_err();
        assert!(matches!(stopped, Error::Stopped));
    }
}
