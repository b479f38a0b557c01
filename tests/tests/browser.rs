//! The web pages in a real browser. What the test needs beside a browser it installs in a temporary
//! folder; where that cannot be had it says so and is skipped.

use anyhow::{Context, Result, bail};
use meta_tests::processes::Up;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The driver of the browser, and what looks for barriers.
const PLAYWRIGHT: &str = "playwright>=1.50,<2";
const AXE: &str = "axe-core@4.10.3";
/// How long the whole may take.
const LIMIT: Duration = Duration::from_mins(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_watches_a_run_decides_and_changes_a_setting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tools = match tools(folder.path()).await {
        Ok(tools) => tools,
        Err(missing) => {
            eprintln!("SKIPPED: no browser test here: {missing:#}");
            return Ok(());
        }
    };
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shots = root.join("../target/browser");
    let mut driver = Command::new(&tools.python);
    driver.arg(root.join("browser/pages.py")).args([&up.url, &up.key]);
    driver.args([&tools.browser, &tools.axe, &shots]).kill_on_drop(true);
    let status =
        tokio::time::timeout(LIMIT, driver.status()).await.context("it took too long")??;
    if !status.success() {
        bail!("the pages are not as they should be (screenshots: {})", shots.display());
    }
    Ok(())
}

struct Tools {
    browser: PathBuf,
    python: PathBuf,
    axe: PathBuf,
}

async fn tools(folder: &Path) -> Result<Tools> {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .context("there is no Chromium (Debian: apt-get install chromium)")?;
    let venv = folder.join("venv");
    done(Command::new("python3").args(["-m", "venv"]).arg(&venv)).await?;
    let python = venv.join("bin/python");
    done(Command::new(&python).args(["-m", "pip", "install", "--quiet", PLAYWRIGHT])).await?;
    let npm = folder.join("npm");
    std::fs::create_dir(&npm)?;
    let mut install = Command::new("npm");
    install.args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ]);
    done(install.arg(&npm).arg(AXE)).await?;
    Ok(Tools { browser, python, axe: npm.join("node_modules/axe-core/axe.min.js") })
}

/// Runs a command to its end.
async fn done(command: &mut Command) -> Result<()> {
    let named = format!("{:?}", command.as_std());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("too slow")?;
    let output = output.with_context(|| named.clone())?;
    if !output.status.success() {
        bail!("{named}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
