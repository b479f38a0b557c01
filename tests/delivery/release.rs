//! `make rc` and `make ga` in a scratch repository with a bare remote.

use crate::shell::{command, root, run, tool};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

/// What a release reads and writes.
const FILES: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "Makefile",
    "tests/golden/openapi.json",
    "deploy/helm/metabuilder/Chart.yaml",
    "deploy/compose.yaml",
    "scripts/release.sh",
    "scripts/set-version.py",
    "scripts/changelog.py",
    "scripts/cliff.toml",
    "scripts/tool.sh",
    "scripts/tools.txt",
];

/// A clone of a repository with these files, beside its bare remote.
struct Scratch {
    dir: TempDir,
}

impl Scratch {
    async fn new() -> Result<Self> {
        let scratch = Self { dir: tempfile::tempdir()? };
        let clone = scratch.clone_dir();
        for file in FILES {
            let to = clone.join(file);
            std::fs::create_dir_all(to.parent().context("a folder")?)?;
            std::fs::copy(root().join(file), to).with_context(|| file.to_owned())?;
        }
        std::fs::write(clone.join(".gitignore"), "/target\n")?;
        scratch.git(&["init", "-q", "-b", "main"]).await?;
        scratch.git(&["add", "."]).await?;
        scratch.git(&["commit", "-qm", "Begin with something"]).await?;
        let remote = scratch.dir.path().join("remote.git");
        run(command("git").args(["init", "-q", "--bare"]).arg(&remote)).await?.ok()?;
        let remote = remote.to_str().context("a plain path")?.to_owned();
        scratch.git(&["remote", "add", "origin", &remote]).await?;
        scratch.git(&["push", "-q", "origin", "main"]).await?;
        Ok(scratch)
    }

    fn clone_dir(&self) -> PathBuf {
        self.dir.path().join("clone")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.current_dir(self.clone_dir()).env("TOOLS_DIR", root().join("target/tools"));
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "A Person");
            command.env(format!("GIT_{who}_EMAIL"), "person@example.com");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("MAKEFLAGS", "");
        command
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        run(self.command("git").args(arguments)).await?.ok()
    }

    /// `make rc` or `make ga`; lint and tests leave a mark, or fail where they are told to.
    fn make(&self, kind: &str, tag: &str) -> Command {
        let mut make = self.command("make");
        make.args(["--no-print-directory", kind, &format!("TAG={tag}")]);
        make.env("RELEASE_LINT_COMMAND", "echo lint >>.git/ran");
        make.env("RELEASE_TEST_COMMAND", "echo test >>.git/ran");
        make
    }

    async fn refuses(&self, kind: &str, tag: &str, why: &str) -> Result<()> {
        let before = self.git(&["rev-parse", "HEAD"]).await?;
        let said = run(&mut self.make(kind, tag)).await?.refused()?;
        ensure!(said.contains(why), "{kind} {tag} said: {said}");
        assert_eq!(self.git(&["rev-parse", "HEAD"]).await?, before);
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String> {
        std::fs::read_to_string(self.clone_dir().join(file)).with_context(|| file.to_owned())
    }

    fn ran(&self) -> String {
        std::fs::read_to_string(self.clone_dir().join(".git/ran")).unwrap_or_default()
    }
}

#[tokio::test]
async fn what_must_not_be_released_is_refused_before_anything_is_touched() -> Result<()> {
    let scratch = Scratch::new().await?;
    for tag in ["", "1.0.0-rc1", "v1.0", "v1.0.0", "v1.0.0-rc0", "v01.0.0-rc1", "v1.0.0-rc1 x"] {
        scratch.refuses("rc", tag, "malformed").await?;
    }
    for tag in ["v1.0.0-rc1", "v1.0.0.0", "latest"] {
        scratch.refuses("ga", tag, "malformed").await?;
    }
    std::fs::write(scratch.clone_dir().join("new-file"), "x")?;
    scratch.refuses("rc", "v4.0.0-rc1", "the tree is dirty").await?;
    std::fs::remove_file(scratch.clone_dir().join("new-file"))?;
    std::fs::write(scratch.clone_dir().join("Makefile"), scratch.read("Makefile")? + "#\n")?;
    scratch.refuses("rc", "v4.0.0-rc1", "the tree is dirty").await?;
    scratch.git(&["checkout", "-q", "Makefile"]).await?;

    scratch.git(&["tag", "v4.0.0-rc2"]).await?;
    scratch.refuses("rc", "v4.0.0-rc2", "the tag v4.0.0-rc2 exists").await?;
    for tag in ["v4.0.0-rc1", "v3.9.9-rc7", "v0.1.0-rc1"] {
        scratch.refuses("rc", tag, "goes backwards").await?;
    }
    scratch.refuses("ga", "v4.0.1", "has no candidate").await?;
    // a tag that only the remote has
    scratch.git(&["push", "-q", "origin", "HEAD:refs/tags/v5.0.0-rc1"]).await?;
    scratch.refuses("rc", "v5.0.0-rc1", "exists at origin").await?;

    scratch.git(&["commit", "-q", "--allow-empty", "-m", "Go on elsewhere"]).await?;
    scratch.git(&["push", "-q", "origin", "main"]).await?;
    scratch.git(&["reset", "-q", "--hard", "HEAD~1"]).await?;
    scratch.refuses("rc", "v6.0.0-rc1", "is behind origin/main").await?;
    scratch.git(&["checkout", "-q", "--detach"]).await?;
    scratch.refuses("rc", "v6.0.0-rc1", "no branch").await?;
    assert_eq!(scratch.ran(), "", "nothing was linted or tested");
    Ok(())
}

#[tokio::test]
async fn a_candidate_that_does_not_pass_leaves_everything_as_it_was() -> Result<()> {
    let scratch = Scratch::new().await?;
    let before = scratch.read("Cargo.toml")?;
    for failing in ["RELEASE_LINT_COMMAND", "RELEASE_TEST_COMMAND"] {
        let mut make = scratch.make("rc", "v4.0.0-rc1");
        let said = run(make.env(failing, "echo not today >&2; false")).await?.refused()?;
        ensure!(said.contains("not today") && said.contains("put back"), "{said}");
        assert_eq!(scratch.git(&["status", "--porcelain"]).await?, "");
        assert_eq!(scratch.read("Cargo.toml")?, before);
        assert_eq!(scratch.git(&["tag"]).await?, "");
    }
    Ok(())
}

#[tokio::test]
async fn a_candidate_gets_its_version_changelog_and_tag_and_is_promoted() -> Result<()> {
    if tool("git-cliff").await?.is_none() {
        return Ok(());
    }
    let scratch = Scratch::new().await?;
    let said = run(&mut scratch.make("rc", "v0.1.0-rc1")).await?.ok()?;
    ensure!(said.contains("v0.1.0-rc1 is at origin"), "{said}");
    assert_eq!(scratch.ran(), "lint\ntest\n");
    assert_eq!(scratch.git(&["log", "-1", "--format=%s"]).await?.trim(), "Release v0.1.0-rc1");
    for file in &FILES[..7] {
        if !["CHANGELOG.md", "Makefile"].contains(file) {
            ensure!(scratch.read(file)?.contains("0.1.0-rc1"), "{file}");
        }
    }
    let locked = |file: &str| file.matches("\nversion = \"0.1.0-rc1\"\n").count();
    ensure!(locked(&scratch.read("Cargo.lock")?) >= 12, "every crate of the workspace");
    let changelog = scratch.read("CHANGELOG.md")?;
    ensure!(changelog.contains("## 0.1.0-rc1 (2"), "{changelog}");
    ensure!(changelog.contains("- Begin with something ("), "{changelog}");
    ensure!(changelog.contains("## Unreleased\n\n## 0.1.0-rc1"), "{changelog}");
    let remote = scratch.git(&["ls-remote", "origin"]).await?;
    ensure!(remote.contains("refs/tags/v0.1.0-rc1"), "{remote}");
    let head = scratch.git(&["rev-parse", "HEAD"]).await?;
    ensure!(remote.contains(&format!("{}\trefs/heads/main", head.trim())), "{remote}");

    // another candidate, with one more note and one more commit
    note(&scratch.clone_dir(), "- A second note.")?;
    scratch.git(&["commit", "-qam", "Mend what the first candidate showed"]).await?;
    scratch.refuses("ga", "v0.1.0", "differ from v0.1.0-rc1").await?;
    run(&mut scratch.make("rc", "v0.1.0-rc2")).await?.ok()?;
    run(&mut scratch.make("ga", "v0.1.0")).await?.ok()?;
    let changelog = scratch.read("CHANGELOG.md")?;
    let section = changelog.split("\n## ").nth(2).context("the section of the release")?;
    ensure!(section.starts_with("0.1.0 (2"), "{section}");
    for part in ["A second note.", "Mend what the first candidate", "Begin with something"] {
        assert_eq!(section.matches(part).count(), 1, "{part} in\n{section}");
    }
    ensure!(!changelog.contains("0.1.0-rc"), "its candidates are part of it: {changelog}");
    ensure!(scratch.read("Cargo.toml")?.contains("version = \"0.1.0\""));
    scratch.refuses("rc", "v0.1.0-rc3", "goes backwards").await?;
    scratch.refuses("ga", "v0.1.0", "exists").await
}

fn note(clone: &Path, note: &str) -> Result<()> {
    let path = clone.join("CHANGELOG.md");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(
        &path,
        text.replacen("## Unreleased\n", &format!("## Unreleased\n\n{note}\n"), 1),
    )?;
    Ok(())
}
