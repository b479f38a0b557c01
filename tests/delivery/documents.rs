//! Every command that a page marks as `console run` is run as it is written, in a fresh folder, and
//! says what the page says that it says. `…` in a page stands for anything.

use crate::shell::{command, root, run};
use anyhow::{Context, Result, bail, ensure};
use meta_tests::processes::{program, write_files};
use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;

/// The pages.
const PAGES: [&str; 12] = [
    "docs/META_BUILDER_V3.md",
    "docs/API.md",
    "docs/DEPLOY.md",
    "docs/DOGFOODING.md",
    "docs/RELEASE_PROCESS.md",
    "docs/SECURITY.md",
    "docs/SETTINGS.md",
    "docs/RULES.md",
    "docs/quickstart/engineer.md",
    "docs/quickstart/approver.md",
    "docs/quickstart/operator.md",
    "docs/quickstart/integrator.md",
];
/// Ports that the pages name; the test takes free ones.
const PORTS: [&str; 2] = ["50051", "5001"];

/// A command of a page, and what it says.
struct Line {
    command: String,
    says: Vec<String>,
}

/// The commands of a page's `console run` blocks.
fn commands(page: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console run";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            lines.push(Line { command: command.to_owned(), says: Vec::new() });
        } else if inside && let Some(last) = lines.last_mut() {
            match line.strip_prefix("> ").or_else(|| line.strip_prefix('>')) {
                Some(more) => last.command += &format!("\n{more}"),
                None if !line.trim().is_empty() => last.says.push(line.trim().to_owned()),
                None => {}
            }
        }
    }
    lines
}

/// Whether a line that was said is as the page has it.
fn fits(wanted: &str, said: &str) -> bool {
    let mut rest = said;
    for part in wanted.split('…').map(str::trim) {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Runs a page's commands in one shell.
async fn follow(page: &str) -> Result<usize> {
    let text = std::fs::read_to_string(root().join(page)).with_context(|| page.to_owned())?;
    let lines = commands(&text);
    let folder = tempfile::tempdir()?;
    let home = folder.path();
    let mut script =
        "set -euo pipefail\ntrap 'set +e; kill $(jobs -p) 2>/dev/null; wait' EXIT\n".to_owned();
    for (number, line) in lines.iter().enumerate() {
        writeln!(script, "echo '@@@ {number}'\n{}", line.command)?;
    }
    let free = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
    let ports = [free()?, free()?];
    for (named, taken) in PORTS.iter().zip(ports) {
        script = script.replace(named, &taken.to_string());
    }
    write_files(home, &[("script.sh", &script)])?;
    // a checkout without its history, for pages that begin in one
    let work = home.join("meta-builder");
    std::fs::create_dir(&work)?;
    for part in ["scripts", "proto", "tests", "deploy", "docs", "Makefile"] {
        std::os::unix::fs::symlink(root().join(part), work.join(part))?;
    }
    let bins = program("metabuilder").parent().map(Path::to_owned).context("a folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([bins].into_iter().chain(std::env::split_paths(&path)))?;
    let mut shell = command("bash");
    shell.arg(home.join("script.sh")).current_dir(&work).env("PATH", path);
    shell.env("METABUILDER_DATA", home.join("data")).env("XDG_STATE_HOME", home.join("state"));
    shell.env("METABUILDER_LISTEN", format!("127.0.0.1:{}", ports[1]));
    shell.env("METABUILDER_GRPC", format!("127.0.0.1:{}", ports[0]));
    shell.env("TOOLS_DIR", root().join("target/tools")).env("NO_COLOR", "1");
    shell.env_remove("METABUILDER_URL").env_remove("METABUILDER_TOKEN");
    let ended = run(&mut shell).await?;
    let said: Vec<&str> = ended.out.split("@@@ ").skip(1).collect();
    let last = said.len().checked_sub(1).and_then(|n| lines.get(n)).map(|l| l.command.as_str());
    ensure!(
        ended.code == 0,
        "{page}: {last:?} ended with {}:\n{}\n{}",
        ended.code,
        ended.out,
        ended.err
    );
    for (line, said) in lines.iter().zip(&said) {
        for wanted in &line.says {
            let wanted = PORTS.iter().zip(ports).fold(wanted.clone(), |text, (named, taken)| {
                text.replace(named, &taken.to_string())
            });
            if !said.lines().any(|said| fits(&wanted, said)) {
                bail!("{page}: {:?} did not say {wanted:?}, but:\n{said}", line.command);
            }
        }
    }
    Ok(lines.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_pages_does_what_they_say() -> Result<()> {
    let mut ran = 0;
    for page in PAGES {
        ran += follow(page).await?;
    }
    ensure!(ran >= 40, "the pages have {ran} commands");
    Ok(())
}

#[test]
fn links_between_pages_lead_somewhere() -> Result<()> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/quickstart", "docs/adr", "docs/runbooks"] {
        let Ok(entries) = std::fs::read_dir(root().join(folder)) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    for page in pages {
        let text = std::fs::read_to_string(&page)?;
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            let there = page.parent().is_some_and(|folder| folder.join(file).exists());
            ensure!(there, "{}: {target} leads nowhere", page.display());
        }
    }
    Ok(())
}

#[test]
fn a_page_is_read_as_commands_and_what_they_say() {
    let page = "```console run\n$ a \\\n> b\none …\n\n$ c\n```\n```console\n$ d\n```\n";
    let lines = commands(page);
    let read: Vec<_> = lines.iter().map(|l| (l.command.as_str(), l.says.len())).collect();
    assert_eq!(read, [("a \\\nb", 1), ("c", 0)]);
    assert!(fits("run … ended", "the run 7 ended") && !fits("run … ended", "ended run"));
}
