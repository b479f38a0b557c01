//! Which paths a patch may touch, and in what way.

use super::PatchPolicy;
use crate::core::patch::{FilePatch, Patch};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::HashSet;

/// Folders at the top of a workspace that patches may change.
const WRITABLE: &[&str] = &["src", "app", "lib", "backend", "frontend", "tests", "migrations"];
/// Folders that no patch may touch, at any depth, whatever is granted.
const DENIED_FOLDERS: &[&str] = &[".git", "node_modules", "__pycache__"];
/// Files and folders that hold credentials.
const CREDENTIALS: &[&str] = &[
    ".ssh",
    ".aws",
    ".gnupg",
    ".kube",
    ".docker",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".git-credentials",
    "id_rsa",
    "id_ed25519",
    "id_ecdsa",
];
/// Endings of keys.
const KEY_ENDINGS: &[&str] = &[".pem", ".key", ".p12", ".pfx", ".jks", ".keystore"];
/// Files that an interpreter runs before anything else.
const STARTUP: &[&str] =
    &["sitecustomize.py", "usercustomize.py", ".pythonrc", ".bashrc", ".profile"];
/// Names that are devices on some systems.
const DEVICES: &[&str] =
    &["con", "prn", "aux", "nul", "com1", "com2", "com3", "lpt1", "lpt2", "lpt3"];
/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Longest name in a path, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Files that decide what a check asks for, or what a build consists of. Only a grant or a plan that
/// names the file itself (no wildcard in the name) opens them.
pub(in crate::core) const PROTECTED: &[&str] = &[
    "metabuilder.toml",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "tox.ini",
    "noxfile.py",
    "pytest.ini",
    ".pytest.ini",
    "mypy.ini",
    ".mypy.ini",
    "ruff.toml",
    ".ruff.toml",
    ".flake8",
    ".isort.cfg",
    ".pylintrc",
    "pylintrc",
    ".coveragerc",
    ".bandit",
    "bandit.yaml",
    ".style.yapf",
    ".pre-commit-config.yaml",
    "pyrightconfig.json",
    "manifest.in",
    "clippy.toml",
    ".clippy.toml",
    "rustfmt.toml",
    ".rustfmt.toml",
    "deny.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    "build.rs",
    "cargo.toml",
    "cargo.lock",
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "pnpm-workspace.yaml",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    "biome.json",
    "biome.jsonc",
    "deno.json",
    "deno.jsonc",
    "dprint.json",
    "uv.lock",
    "poetry.lock",
    "pipfile",
    "pipfile.lock",
    "go.mod",
    "go.sum",
    "go.work",
    ".golangci.yml",
    ".golangci.yaml",
    ".golangci.toml",
    ".clang-format",
    ".clang-tidy",
    ".editorconfig",
    ".shellcheckrc",
    ".hadolint.yaml",
    ".sqlfluff",
    ".squawk.toml",
    ".yamllint",
    ".yamllint.yaml",
    ".yamllint.yml",
    "makefile",
    "gnumakefile",
    "justfile",
    "cmakelists.txt",
    "jenkinsfile",
    "codeowners",
    ".gitignore",
    ".gitattributes",
    ".gitmodules",
    ".gitlab-ci.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "sonar-project.properties",
    "alembic.ini",
    "conftest.toml",
    ".secrets.baseline",
    ".trivyignore",
    ".snyk",
    "build.gradle",
    "build.gradle.kts",
    "pom.xml",
];
/// Protected files whose names vary.
pub(in crate::core) const PROTECTED_PREFIXES: &[&str] = &[
    "tsconfig",
    "jsconfig",
    ".eslintrc",
    "eslint.config.",
    ".eslintignore",
    ".prettierrc",
    ".prettierignore",
    "prettier.config.",
    ".stylelintrc",
    "stylelint.config.",
    "jest.config.",
    "vitest.config.",
    "vite.config.",
    "babel.config.",
    ".babelrc",
    "webpack.config.",
    "rollup.config.",
    "playwright.config.",
    "cypress.config.",
    ".markdownlint",
    ".oxlintrc",
    "requirements",
    "docker-compose",
    ".commitlintrc",
];
/// Folders whose files configure the build's own checks.
const PROTECTED_FOLDERS: &[&str] =
    &[".github", ".gitlab", ".circleci", ".cargo", ".husky", ".ci", ".config", ".vscode"];

/// Mode of a plain file.
const MODE_PLAIN: u32 = 0o100_644;
/// Mode of an executable file.
const MODE_EXECUTABLE: u32 = 0o100_755;

/// The first path that may not be touched, or not in this way.
pub(super) fn problem(patch: &Patch, policy: &PatchPolicy) -> Option<String> {
    let allowed = match Allowed::of(policy) {
        Ok(allowed) => allowed,
        Err(problem) => return Some(problem),
    };
    let mut seen = HashSet::new();
    for file in &patch.files {
        let mut ends: Vec<&str> = file.old.iter().chain(&file.new).map(String::as_str).collect();
        ends.dedup();
        for path in ends {
            if let Some(problem) = denied(path).or_else(|| allowed.problem(path)) {
                return Some(problem);
            }
            if !seen.insert(path.to_lowercase()) {
                return Some(format!("{path}: the patch touches the path twice"));
            }
        }
        if let Some(problem) = shadows(file, policy) {
            return Some(format!("{}: {problem}", file.path()));
        }
        if let Some(problem) = way_problem(file, policy) {
            return Some(format!("{}: {problem}", file.path()));
        }
    }
    let parent = |path: &str| path.match_indices('/').any(|(at, _)| seen.contains(&path[..at]));
    seen.iter()
        .find(|p| parent(p))
        .map(|p| format!("{p}: the patch also changes a parent of the path"))
}

/// Why a path is closed whatever is granted.
fn denied(path: &str) -> Option<String> {
    let lower = path.to_lowercase();
    if path.starts_with('/') || path.contains('\\') || lower.as_bytes().get(1) == Some(&b':') {
        return Some(format!("{path}: is not a relative path inside the workspace"));
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|p| p.len() > NAME_BYTES_MAX) {
        return Some(format!(
            "{}...: is too long a path",
            path.chars().take(60).collect::<String>()
        ));
    }
    if path.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Some(format!("{path:?}: has invisible characters in its name"));
    }
    let parts: Vec<&str> = lower.split('/').collect();
    if parts.iter().any(|p| matches!(*p, "" | "." | "..")) {
        return Some(format!("{path}: leaves the workspace or is not a plain path"));
    }
    let folder = |p: &&str| DENIED_FOLDERS.contains(&p.trim_end_matches(['.', ' ']));
    if parts.iter().any(folder) || parts.iter().any(|p| p.starts_with("git~")) {
        return Some(format!("{path}: is a denied path"));
    }
    if parts.iter().any(|p| p.contains(':') || p.ends_with([' ', '.']) || p.starts_with('-')) {
        return Some(format!("{path}: has a name that not every system or tool takes for a file"));
    }
    let stem = |p: &str| p.split('.').next().unwrap_or(p).to_owned();
    if parts.iter().any(|p| DEVICES.contains(&stem(p).as_str())) {
        return Some(format!("{path}: names a device"));
    }
    if parts.iter().any(|p| CREDENTIALS.contains(p))
        || parts.last().is_some_and(|p| KEY_ENDINGS.iter().any(|e| p.ends_with(e)))
    {
        return Some(format!("{path}: credentials are denied"));
    }
    if parts.last().is_some_and(|p| STARTUP.contains(p) || p.ends_with(".pth")) {
        return Some(format!("{path}: runs by itself before any check"));
    }
    if parts.iter().any(|p| p.starts_with(".env")) {
        return Some(format!("{path}: environment files are denied"));
    }
    if parts.windows(2).any(|w| w[0] == "config" && w[1].starts_with("secrets")) {
        return Some(format!("{path}: secrets are denied"));
    }
    None
}

fn is_invisible(c: char) -> bool {
    super::content::is_bidi(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Why a new file may not have its name: an interpreter would take it for the tool itself.
fn shadows(file: &FilePatch, policy: &PatchPolicy) -> Option<String> {
    if file.old.is_some() && !file.moved {
        return None;
    }
    let path = file.new.as_deref()?.to_lowercase();
    let name = path.rsplit('/').next()?;
    let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
    let module = match name {
        "__init__.py" | "__main__.py" | "index.js" => path.rsplit('/').nth(1).unwrap_or(stem),
        _ if matches!(ending, "py" | "pyc" | "so" | "") => stem,
        _ => return None,
    };
    let tools = policy.command.as_ref().map(super::super::command::invocations).unwrap_or_default();
    let known = TOOLS.contains(&module)
        || tools.iter().any(|t| t.name == module && !t.starts_with.iter().any(|w| w.contains('/')));
    known.then(|| format!("a file of this name stands in the way of the tool {module:?}"))
}

/// Modules that check Python projects.
const TOOLS: &[&str] = &[
    "pytest",
    "_pytest",
    "unittest",
    "ruff",
    "mypy",
    "flake8",
    "pylint",
    "black",
    "isort",
    "bandit",
    "coverage",
    "hypothesis",
    "tox",
    "nox",
    "pyright",
    "assertpy",
    "doctest",
    "conftest",
];

/// Why a file may not be changed in this way: what it becomes, not where it stands.
fn way_problem(file: &FilePatch, policy: &PatchPolicy) -> Option<String> {
    if file.binary {
        return Some("binary content is never taken".to_owned());
    }
    for mode in [file.old_mode, file.new_mode].into_iter().flatten() {
        match mode {
            MODE_PLAIN | MODE_EXECUTABLE => {}
            0o120_000 => return Some("symbolic links are never made or changed".to_owned()),
            0o160_000 => return Some("submodules are never made or changed".to_owned()),
            other => return Some(format!("file mode {other:o} is not known")),
        }
    }
    let made_executable = file.new_mode == Some(MODE_EXECUTABLE) && file.old_mode != file.new_mode;
    let changed = file.old.is_some() && file.new.is_some() && file.old_mode != file.new_mode;
    if (made_executable && file.new.is_some() || changed) && !policy.grant.modes {
        return Some("the patch changes the file's mode".to_owned());
    }
    None
}

/// The paths that a fixer may write, asked before there is a patch.
pub(in crate::core) struct Reach(Result<Allowed, String>);

impl Reach {
    /// What the plan lists and what is granted, beside the default folders.
    pub(in crate::core) fn of(writable: &[String], granted: &[String]) -> Self {
        Self(Allowed::from_globs(writable.iter().chain(granted)))
    }

    /// Why a path may not be written.
    pub(in crate::core) fn problem(&self, path: &str) -> Option<String> {
        match &self.0 {
            Ok(allowed) => denied(path).or_else(|| allowed.problem(path)),
            Err(problem) => Some(problem.clone()),
        }
    }

    /// Whether a path may be written.
    pub(in crate::core) fn opens(&self, path: &str) -> bool {
        self.problem(path).is_none()
    }
}

/// The globs that open paths.
struct Allowed {
    all: GlobSet,
    exact: GlobSet,
}

impl Allowed {
    fn of(policy: &PatchPolicy) -> Result<Self, String> {
        Self::from_globs(policy.grant.add.iter().chain(&policy.writable))
    }

    fn from_globs<'a>(globs: impl Iterator<Item = &'a String>) -> Result<Self, String> {
        let mut all = GlobSetBuilder::new();
        let mut exact = GlobSetBuilder::new();
        for pattern in globs {
            for pattern in spelled_out(pattern) {
                let glob = GlobBuilder::new(&pattern)
                    .literal_separator(true)
                    .build()
                    .map_err(|e| format!("{pattern}: is not a glob: {}", e.kind()))?;
                let name = pattern.rsplit('/').next().unwrap_or(&pattern);
                if !name.contains(['*', '?', '[', '{']) {
                    exact.add(glob.clone());
                }
                all.add(glob);
            }
        }
        let built =
            |set: GlobSetBuilder| set.build().map_err(|e| format!("the grant is not valid: {e}"));
        Ok(Self { all: built(all)?, exact: built(exact)? })
    }

    fn problem(&self, path: &str) -> Option<String> {
        if is_protected(path) {
            return (!self.exact.is_match(path)).then(|| {
                format!(
                    "{path}: configures the build or its checks and is not granted to this fixer"
                )
            });
        }
        let top = path.split_once('/').map_or("", |(top, _)| top);
        let open = WRITABLE.contains(&top) || self.all.is_match(path);
        (!open).then(|| {
            format!("{path}: is not writable (add it to the step's `writable` if it should be)")
        })
    }
}

/// A pattern and, where it names a folder (`docs/`, `docs`), everything in it.
fn spelled_out(pattern: &str) -> Vec<String> {
    let pattern = pattern.trim_start_matches("./");
    match pattern.strip_suffix('/') {
        Some(folder) => vec![format!("{folder}/**")],
        None => vec![pattern.to_owned(), format!("{pattern}/**")],
    }
}

/// Whether a file says what checks ask for or what the build consists of.
pub(super) fn is_protected(path: &str) -> bool {
    let lower = path.to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    let code = name.ends_with(".py") && name != "setup.py" && name != "noxfile.py";
    PROTECTED.contains(&name)
        || (!code && PROTECTED_PREFIXES.iter().any(|p| name.starts_with(p)))
        || lower.split('/').any(|part| PROTECTED_FOLDERS.contains(&part))
}
