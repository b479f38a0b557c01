//! `metabuilder doctor`: what is missing on this machine, and what each thing is needed for.

use crate::args::{Output, OutputArgs};
use crate::data;
use crate::display::{print, print_json, table::table};
use crate::error::{Error, Exit, Result};
use crate::row;
use crate::session::Session;
use runner::config::SandboxMode;
use serde::Serialize;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// One thing that a machine has or has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    /// Without it nothing is built.
    required: bool,
    found: bool,
    /// Its version, or what is wrong.
    detail: String,
    /// What it is needed for.
    needed_for: &'static str,
    /// How to get it.
    get: &'static str,
}

/// A program to look for: name, whether it is required, how it tells its version, what it is
/// needed for, how to get it.
type Tool = (&'static str, bool, &'static str, &'static str, &'static str);

const TOOLS: &[Tool] = &[
    ("bwrap", true, "--version", "the sandbox of every step", "apt-get install bubblewrap"),
    ("git", true, "--version", "workspaces, patches and branches", "apt-get install git"),
    ("bash", true, "--version", "shell lines of steps, and fixers", "apt-get install bash"),
    ("pasta", false, "--version", "network for steps at the level strict", "apt-get install passt"),
    ("python3", false, "--version", "several fixers; Python projects", "apt-get install python3"),
    ("node", false, "--version", "Node and TypeScript projects", "apt-get install nodejs npm"),
    ("npm", false, "--version", "Node and TypeScript projects", "apt-get install npm"),
    ("cargo", false, "--version", "Rust projects", "https://rustup.rs"),
    ("rustfmt", false, "--version", "healing Rust formatting", "rustup component add rustfmt"),
    ("cargo-clippy", false, "--version", "healing Rust lints", "rustup component add clippy"),
    ("go", false, "version", "Go projects", "apt-get install golang-go"),
    ("make", false, "--version", "projects with a Makefile", "apt-get install make"),
    ("ruff", false, "--version", "healing Python lints and formatting", "pip install ruff"),
    ("shellcheck", false, "--version", "healing shell scripts", "apt-get install shellcheck"),
];

/// Looks at this machine.
pub async fn run(args: OutputArgs, session: &Session) -> Result<Exit> {
    let path = session.vars.get("PATH").map(String::as_str).unwrap_or_default();
    let mut findings: Vec<Finding> = TOOLS.iter().map(|tool| look(tool, path)).collect();
    findings.push(sandbox(session).await);
    findings.push(strict(session).await);
    findings.push(data_folder(session));
    match args.output {
        Output::Json => print_json(&findings)?,
        Output::Text => print(&text(&findings))?,
    }
    let missing = findings.iter().filter(|f| f.required && !f.found).count();
    Ok(if missing == 0 { Exit::Done } else { Exit::Failed })
}

fn look(&(name, required, version, needed_for, get): &Tool, path: &str) -> Finding {
    let program = find(name, path);
    let detail = match &program {
        None => "not found on PATH".to_owned(),
        Some(program) => {
            let output = Command::new(program).arg(version).stdin(Stdio::null()).output();
            let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            let text = text.unwrap_or_else(|e| e.to_string());
            let versioned = text.lines().find(|l| l.contains(|c: char| c.is_ascii_digit()));
            versioned.unwrap_or_default().trim().to_owned()
        }
    };
    Finding { name, required, found: program.is_some(), detail, needed_for, get }
}

fn find(name: &str, path: &str) -> Option<PathBuf> {
    let runs = |p: &PathBuf| {
        p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|dir| dir.join(name)).find(runs)
}

/// The runner's own proof that steps cannot escape, at the level that is configured.
async fn sandbox(session: &Session) -> Finding {
    let mode = crate::embedded::sandbox(&session.vars);
    let proof = match mode {
        Ok(mode) => prove(session, mode).await,
        Err(error) => Err(error),
    };
    Finding {
        name: "sandbox",
        required: true,
        found: proof.is_ok(),
        detail: match proof {
            Ok(level) if level == "none" => "none: METABUILDER_SANDBOX is off".to_owned(),
            Ok(level) => format!("{level}: tried to escape in every known way, and could not"),
            Err(error) => error.to_string(),
        },
        needed_for: "keeping steps away from your files and the network",
        get: "a kernel with user namespaces, or a container with CAP_SYS_ADMIN",
    }
}

/// Whether this machine could build for tenants who do not trust each other.
async fn strict(session: &Session) -> Finding {
    let proof = prove(session, SandboxMode::Strict).await;
    Finding {
        name: "strict sandbox",
        required: false,
        found: proof.is_ok(),
        detail: match proof {
            Ok(level) => format!("{level}: METABUILDER_SANDBOX=strict would hold here"),
            Err(error) => error.to_string(),
        },
        needed_for: "building for tenants who do not trust each other",
        get: "root, or a runner in a user namespace: see docs/SANDBOX.md",
    }
}

/// Proves a level; answers its name.
async fn prove(session: &Session, mode: SandboxMode) -> Result<String> {
    let dir = tempfile::tempdir().map_err(|e| Error::failed("no folder for the test", e))?;
    let config = runner::config::Config {
        data_dir: dir.path().to_owned(),
        sandbox: mode,
        profile: runner::config::Profile::Local,
        ..Default::default()
    };
    let opened = runner::sandbox::Sandbox::open(&config, &session.vars).await;
    opened
        .map(|sandbox| sandbox.level().to_string())
        .map_err(|e| Error::failed("the sandbox does not hold", e))
}

fn data_folder(session: &Session) -> Finding {
    let ready = data::local_dir(&session.vars).and_then(|dir| {
        data::create(&dir)?;
        let scratch = data::scratch(&dir)?;
        drop(scratch);
        Ok(dir)
    });
    Finding {
        name: "data folder",
        required: true,
        found: ready.is_ok(),
        detail: match ready {
            Ok(dir) => dir.display().to_string(),
            Err(error) => error.to_string(),
        },
        needed_for: "keeping runs, workspaces and caches",
        get: "set METABUILDER_DATA to a folder that you may write to",
    }
}

fn text(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|f| {
            let mark = match (f.found, f.required) {
                (true, _) => "ok",
                (false, true) => "MISSING",
                (false, false) => "missing",
            };
            row![format!(" {mark}"), f.name, f.needed_for, f.detail]
        })
        .collect();
    let mut lines = vec![table(&rows)];
    for missing in findings.iter().filter(|f| !f.found) {
        let weight = if missing.required { "required" } else { "optional" };
        lines.push(format!(" {} ({weight}): {}", missing.name, missing.get));
    }
    let ready = findings.iter().all(|f| f.found || !f.required);
    lines.push(if ready { "ready to build" } else { "not ready to build" }.to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_how_to_get_it() {
        let tool = ("no-such-program", true, "--version", "a test", "make it");
        let finding = look(&tool, "/usr/bin:/bin");
        assert!(!finding.found);
        let text = text(&[finding]);
        assert!(text.contains("MISSING") && text.contains("(required): make it"), "{text}");
        assert!(text.ends_with("not ready to build"));
    }

    #[test]
    fn what_is_there_tells_its_version() {
        let finding = look(&("bash", true, "--version", "a test", ""), "/usr/bin:/bin");
        assert!(finding.found && finding.detail.contains("bash"), "{finding:?}");
    }
}
