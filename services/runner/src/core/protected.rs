//! Which files are the check itself: tests, and what configures the tools that check.

/// Folders of tests.
const TEST_FOLDERS: &[&str] = &[
    "test",
    "tests",
    "__tests__",
    "spec",
    "specs",
    "testdata",
    "snapshots",
    "__snapshots__",
    "e2e",
];
/// Marks in names of test files.
const TEST_MARKS: &[&str] = &["_test.", ".test.", ".spec.", "_spec.", "-test."];
/// Files that say what is checked, by their whole name.
const CONFIG_NAMES: &[&str] = &[
    "pytest.ini",
    "tox.ini",
    "noxfile.py",
    "setup.cfg",
    "mypy.ini",
    ".mypy.ini",
    "ruff.toml",
    ".ruff.toml",
    ".flake8",
    ".pylintrc",
    "pylintrc",
    ".coveragerc",
    "pyrightconfig.json",
    "tsconfig.json",
    ".eslintignore",
    ".prettierignore",
    "biome.json",
    "biome.jsonc",
    "deno.json",
    "clippy.toml",
    ".clippy.toml",
    "rustfmt.toml",
    ".rustfmt.toml",
    "deny.toml",
    ".golangci.yml",
    ".golangci.yaml",
    ".golangci.toml",
    ".shellcheckrc",
    ".sqlfluff",
    ".hadolint.yaml",
    ".hadolint.yml",
    ".clang-tidy",
    ".clang-format",
    ".yamllint",
    ".yamllint.yml",
    ".editorconfig",
    "makefile",
    "gnumakefile",
    "justfile",
    "taskfile.yml",
    "metabuilder.toml",
    ".pre-commit-config.yaml",
    "sonar-project.properties",
];
/// Beginnings of names of such files.
const CONFIG_STARTS: &[&str] = &[
    ".eslintrc",
    "eslint.config.",
    ".prettierrc",
    "prettier.config.",
    "jest.config.",
    "vitest.config.",
    "vite.config.",
    "babel.config.",
    ".babelrc",
    ".mocharc",
    "karma.conf.",
    "playwright.config.",
    "cypress.config.",
    ".stylelintrc",
    "stylelint.config.",
];
/// Folders of such files.
const CONFIG_FOLDERS: &[&str] = &[".github", ".gitlab", ".circleci", ".husky", ".cargo", ".config"];

/// Why a file is the check itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protected {
    /// It holds tests, or what they compare with.
    Test,
    /// It configures a tool that checks.
    Config,
}

/// What a path of the workspace is, if it is part of the check.
pub fn protected(path: &str) -> Option<Protected> {
    let lower = path.to_lowercase();
    let mut parts = lower.rsplit('/');
    let name = parts.next().unwrap_or(&lower);
    let folders: Vec<&str> = parts.collect();
    let test = folders.iter().any(|f| TEST_FOLDERS.contains(f))
        || name.starts_with("test_")
        || name == "conftest.py"
        || name.ends_with(".snap")
        || TEST_MARKS.iter().any(|mark| name.contains(mark));
    if test {
        return Some(Protected::Test);
    }
    let config = CONFIG_NAMES.contains(&name)
        || CONFIG_STARTS.iter().any(|start| name.starts_with(start))
        || folders.iter().any(|f| CONFIG_FOLDERS.contains(f))
        || (name.starts_with("tsconfig.")
            && std::path::Path::new(name).extension().is_some_and(|e| e == "json"));
    config.then_some(Protected::Config)
}

/// Whether a path may never be shown to a model or written by one, whatever else is asked for.
pub fn denied(path: &str) -> bool {
    let lower = path.to_lowercase();
    let outside = path.is_empty()
        || path.starts_with('/')
        || path.contains(['\0', '\\'])
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    outside
        || lower.starts_with("config/secrets")
        || lower.split('/').any(|part| {
            matches!(part, ".git" | "node_modules" | "__pycache__") || part.starts_with(".env")
        })
}

#[cfg(test)]
mod tests {
    use super::{Protected, denied, protected};

    #[test]
    fn what_is_denied_is_denied_in_any_spelling() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            ".git/config",
            "sub/.GIT/hooks/x",
            ".env",
            "app/.env.local",
            "config/secrets.yml",
            "Config/Secrets/x",
            "node_modules/a.js",
        ] {
            assert!(denied(path), "{path}");
        }
        assert!(!denied("src/environment.rs") && !denied(".github/x") && !denied("config/app.yml"));
    }

    #[test]
    fn tests_and_configuration_are_the_check() {
        for path in
            ["tests/a.py", "pkg/a_test.go", "src/a.test.ts", "Test/x", "conftest.py", "src/x.snap"]
        {
            assert_eq!(protected(path), Some(Protected::Test), "{path}");
        }
        for path in
            ["ruff.toml", "sub/.eslintrc.json", "tsconfig.build.json", "Makefile", ".github/ci.yml"]
        {
            assert_eq!(protected(path), Some(Protected::Config), "{path}");
        }
        for path in ["src/contest.rs", "app/latest.py", "Cargo.toml", "package.json", "src/lib.rs"]
        {
            assert_eq!(protected(path), None, "{path}");
        }
    }
}
