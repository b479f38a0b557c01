//! What a project is made of: dependencies, scripts and switches in manifests.

use super::suppressions::ending;
use super::{Finding, PatchPolicy};
use crate::core::patch::FilePatch;
use meta_domain::autofix::{FixerKind, FixerSafety};
use regex::Regex;
use std::sync::LazyLock;

/// Manifests that a model may propose to change; a human always decides.
pub(in crate::core) const OF_MODELS: &[&str] = &[
    "**/Cargo.toml",
    "Cargo.toml",
    "**/package.json",
    "package.json",
    "**/go.mod",
    "go.mod",
    "requirements.txt",
    "**/requirements.txt",
    "requirements-dev.txt",
    "**/requirements-dev.txt",
];

/// Scripts that run by themselves, and tests that are switched off.
const SCRIPTS: &str = r#"(?i)"((pre|post)?(install|publish|pack|prepare|test|lint|build|check|typecheck|format|ci|verify)[\w:-]*)"\s*:\s*"|^\s*(test|doctest|harness|bench|autotests|autobenches)\s*=\s*false|^\s*build\s*=\s*"|\[\s*(patch|replace)[.\]]|^\s*replace\s|"(overrides|resolutions|bin|husky|lint-staged|eslintConfig|jest|prettier|mocha|ava|nyc|c8)"\s*:|\[\s*lints?\b|^\s*\[profile"#;
/// Sources that are no registry.
const SOURCES: &str = r#"(?i)--(extra-)?index-url|--find-links|--trusted-host|--no-index|\bgit\s*=\s*"|\bgit\+(https?|ssh|file)|(^|["'\s])(https?|ftp|file|git|ssh)://|\bpath\s*=\s*"\.\./|"(file|link|github|git|npm):|\bregistry\s*=|^\s*-e\s|@\s*(https?|git)"#;
/// A dependency that is added by name.
const DEPENDENCY: &str = r#"^\s*"(@[\w.-]+/)?[\w.-]+"\s*:\s*"[\^~>=<*\dv]|^\s*[A-Za-z][\w.-]*\s*(\[[\w,\s-]*\])?\s*([=~><!]=|$)|^\s*[\w-]+\s*=\s*("[\^~>=<*\d]|\{)|^\s*(require\s+)?[\w.-]+\.[a-z]+/\S+\s+v\d"#;

static SCRIPT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SCRIPTS).ok());
static SOURCE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SOURCES).ok());
static ADDED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(DEPENDENCY).ok());

/// Whether a file says what the project consists of.
fn is_manifest(name: &str) -> bool {
    matches!(
        name,
        "cargo.toml"
            | "package.json"
            | "pyproject.toml"
            | "go.mod"
            | "setup.cfg"
            | "pipfile"
            | "pom.xml"
            | "build.gradle"
            | "build.gradle.kts"
            | "gemfile"
            | "composer.json"
    ) || (name.starts_with("requirements") && name.ends_with(".txt"))
}

fn is_lock(name: &str) -> bool {
    name.ends_with(".lock")
        || matches!(name, "package-lock.json" | "npm-shrinkwrap.json" | "pnpm-lock.yaml" | "go.sum")
}

/// Whether a file belongs to the migrations of a database.
pub(in crate::core) fn is_migration(path: &str) -> bool {
    let lower = path.to_lowercase();
    lower.rsplit('/').skip(1).any(|part| {
        matches!(part, "migrations" | "migration" | "versions" | "migrate" | "alembic" | "flyway")
    })
}

/// What manifests, locks and migrations may not become, or not unseen.
pub(super) fn look(file: &FilePatch, policy: &PatchPolicy, out: &mut Vec<Finding>) {
    let (name, _) = ending(file.path());
    let path = file.path();
    let model = policy.kind == FixerKind::Model;
    let manifest = is_manifest(&name);
    if manifest && comes(&SCRIPT, file) {
        out.push(Finding::reject(path, "the patch changes a script or a switch of a manifest"));
    }
    if (manifest || is_lock(&name)) && foreign_source(file, manifest) {
        out.push(Finding::ask(path, "the patch takes a dependency from outside the registries"));
    }
    if model && (manifest || is_lock(&name)) {
        out.push(Finding::ask(path, "a model changes a manifest"));
        if comes(&ADDED, file) {
            out.push(Finding::ask(
                path,
                "a model adds a dependency: check that it exists and is the one that is meant",
            ));
        }
    }
    if is_migration(path) {
        if model {
            out.push(Finding::ask(path, "a model changes a migration"));
        }
        if policy.safety != FixerSafety::Safe
            && file.old.is_some()
            && !file.removed.is_empty()
            && model
        {
            out.push(Finding::ask(
                path,
                "the patch rewrites a migration that may be applied already",
            ));
        }
    }
}

fn comes(regex: &LazyLock<Option<Regex>>, file: &FilePatch) -> bool {
    let Some(regex) = regex.as_ref() else { return true };
    let plain = |l: &str| l.chars().filter(|c| !c.is_whitespace() && *c != ',').collect::<String>();
    let old: Vec<String> = file.removed.iter().map(|l| plain(l)).collect();
    file.added.iter().any(|l| regex.is_match(l) && !old.contains(&plain(l)))
}

/// Locks name the registry's addresses; in a manifest every address is foreign.
fn foreign_source(file: &FilePatch, manifest: bool) -> bool {
    if manifest {
        let mut outside = file.clone();
        outside.added.retain(|line| !stays_inside(file.path(), line));
        return comes(&SOURCE, &outside);
    }
    let foreign = ["git+", "http://", "git://", "\"file:..", "\"file:/", "\"github:"];
    let names = |l: &String| foreign.iter().any(|s| l.contains(s));
    file.added.iter().any(|l| names(l) && !file.removed.contains(l))
}

/// Whether a line only adds a dependency on a folder of the workspace: `util = { path = "../util" }`.
fn stays_inside(manifest: &str, line: &str) -> bool {
    let Some((_, rest)) = line.split_once("path") else { return false };
    let Some(path) = rest.trim_start().strip_prefix('=').map(str::trim_start) else { return false };
    let Some(path) = path.strip_prefix('"').and_then(|p| p.split('"').next()) else { return false };
    let rest = line.replace(path, "");
    let other = ["git", "registry", "://", "url", "path", "["];
    let named = other.iter().map(|word| rest.matches(word).count()).sum::<usize>();
    let mut depth = manifest.split('/').count() - 1;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    named == 1 && !path.starts_with('/') && !path.contains(['\\', ':'])
}

/// Whether every pattern could be compiled.
#[cfg(test)]
pub(super) fn all_compile() -> bool {
    SCRIPT.is_some() && SOURCE.is_some() && ADDED.is_some()
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn only_a_folder_of_the_workspace_is_no_foreign_source() {
        for (line, inside) in [
            (r#"util = { path = "../util" }"#, true),
            (r#"util = { version = "0.1.0", path = "../../lib/util" }"#, true),
            (r#"util = { path = "../../../util" }"#, false),
            (r#"util = { path = "/util" }"#, false),
            (r#"util = { git = "https://x.io/util", path = "../util" }"#, false),
            (r#"util = "1""#, false),
        ] {
            assert_eq!(stays_inside("crates/app/Cargo.toml", line), inside, "{line}");
        }
    }
}
