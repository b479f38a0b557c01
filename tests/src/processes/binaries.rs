//! The binaries under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Every package with a binary; the binaries have the same names.
const PACKAGES: [&str; 7] = [
    "classifier",
    "flag-resolver",
    "autofixer",
    "orchestrator",
    "runner",
    "gateway",
    "metabuilder",
];

/// The path of a binary of this workspace, of the same build profile as the test.
///
/// Cargo does not build other packages' binaries for a test, so they are built here, once a process;
/// that is quick when they are fresh.
pub fn program(name: &str) -> PathBuf {
    assert!(PACKAGES.contains(&name), "there is no binary {name:?}");
    built(&PACKAGES).join(name)
}

/// The folder of the binaries, of which only these are built, for who needs no others.
pub fn only(packages: &[&str]) -> PathBuf {
    built(packages)
}

fn built(packages: &[&str]) -> PathBuf {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build(packages)) {
        Ok(folder) => folder.clone(),
        Err(said) => panic!("the binaries cannot be built:\n{said}"),
    }
}

/// Builds them; the folder in which they are, or what the compiler said.
fn build(packages: &[&str]) -> Result<PathBuf, String> {
    let test = std::env::current_exe().expect("a test has a path");
    // target/<profile folder>/deps/<test>
    let folder = test.ancestors().nth(2).expect("a test is in target/<profile>/deps").to_owned();
    let target = folder.parent().expect("a profile's folder is in the target folder");
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} has no name", folder.display()),
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins", "--profile", profile]);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    let built = cargo.output().expect("cargo can be started");
    let said = || String::from_utf8_lossy(&built.stderr).into_owned();
    if built.status.success() { Ok(folder) } else { Err(said()) }
}
