//! Programs that are not ours: run to their end, within a limit.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long one program may take; installing packages is the slowest.
const LIMIT: Duration = Duration::from_mins(10);
/// Exit code of scripts that need what this machine has not.
const NOT_HERE: i32 = 3;

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Its output when it went well.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!("exit code {}\n{}\n{}", self.code, self.out, self.err);
        }
        Ok(self.out)
    }

    /// What it says when it refuses.
    pub fn refused(self) -> Result<String> {
        if self.code == 0 {
            bail!("it was expected to refuse:\n{}\n{}", self.out, self.err);
        }
        Ok(self.err)
    }
}

/// The checkout.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(Path::to_owned).unwrap_or_default()
}

/// A command in the checkout.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub async fn run(command: &mut Command) -> Result<Ended> {
    let shown = format!("{:?}", command.as_std());
    let ended = tokio::time::timeout(LIMIT, command.output());
    let ended = ended.await.with_context(|| format!("{shown} took too long"))?;
    let ended = ended.with_context(|| format!("{shown} cannot be started"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = ended.status.code().unwrap_or(-1);
    Ok(Ended { code, out: text(&ended.stdout), err: text(&ended.stderr) })
}

/// A tool of scripts/tools.txt; says so and answers `None` where it cannot be had.
pub async fn tool(name: &str) -> Result<Option<PathBuf>> {
    let ended = run(command("scripts/tool.sh").arg(name)).await?;
    if ended.code == NOT_HERE {
        skipped(&ended.err);
        return Ok(None);
    }
    Ok(Some(ended.ok()?.trim().into()))
}

/// Says visibly that a test does not run here: past the capture of passing tests' output.
pub fn skipped(why: &str) {
    // who closed standard error does not want to know
    let _ = writeln!(std::io::stderr(), "SKIPPED: {}", why.trim());
}
