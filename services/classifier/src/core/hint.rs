//! What a command line says about the tool that ran and what that tool is for.

use meta_domain::failure::FailureType;

/// The tool a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) tool: String,
    /// The type of failure the tool exists to report; `None` for builders and interpreters.
    pub(crate) role: Option<FailureType>,
    /// The command runs under `timeout`.
    pub(crate) limits_time: bool,
}

/// Words that run another command and say nothing by themselves.
const LAUNCHERS: &[&str] = &[
    "sudo", "env", "time", "nice", "nohup", "exec", "command", "npx", "bunx", "pnpx", "xvfb-run",
    "stdbuf", "timeout", "then", "do", "else", "if", "!", "{", "(", "dlx", "--", "set", "-m",
];
/// Two-word launchers.
const PAIRS: &[(&str, &str)] = &[
    ("poetry", "run"),
    ("uv", "run"),
    ("pipenv", "run"),
    ("hatch", "run"),
    ("pdm", "run"),
    ("bundle", "exec"),
    ("pnpm", "exec"),
    ("npm", "exec"),
    ("yarn", "exec"),
    ("conda", "run"),
    ("yarn", "run"),
    ("npm", "run"),
    ("pnpm", "run"),
    ("bun", "run"),
    ("uv", "tool"),
    ("python", "-m"),
    ("python3", "-m"),
    ("php", "-f"),
    ("dotnet", "tool"),
    ("rye", "run"),
];

const LINT: Option<FailureType> = Some(FailureType::Lint);
const TYPES: Option<FailureType> = Some(FailureType::Typecheck);
const TESTS: Option<FailureType> = Some(FailureType::TestAssert);
const SAFETY: Option<FailureType> = Some(FailureType::Security);
const SCHEMA: Option<FailureType> = Some(FailureType::SchemaMigration);
const RULES: Option<FailureType> = Some(FailureType::Policy);

/// Known tools by their first words, longer ones first; `None` names a tool with no single role.
const TOOLS: &[(&str, Option<FailureType>)] = &[
    ("cargo clippy", LINT),
    ("cargo fmt", LINT),
    ("cargo audit", SAFETY),
    ("cargo deny", RULES),
    ("cargo test", None),
    ("cargo nextest", None),
    ("cargo check", None),
    ("cargo build", None),
    ("cargo", None),
    ("rustfmt", LINT),
    ("rustc", None),
    ("go vet", LINT),
    ("go test", None),
    ("go build", None),
    ("go", None),
    ("gofmt", LINT),
    ("goimports", LINT),
    ("gofumpt", LINT),
    ("golangci-lint", LINT),
    ("staticcheck", LINT),
    ("revive", LINT),
    ("gosec", SAFETY),
    ("govulncheck", SAFETY),
    ("ruff format", LINT),
    ("ruff", LINT),
    ("flake8", LINT),
    ("pylint", LINT),
    ("pycodestyle", LINT),
    ("pydocstyle", LINT),
    ("black", LINT),
    ("isort", LINT),
    ("yapf", LINT),
    ("autopep8", LINT),
    ("autoflake", LINT),
    ("vulture", LINT),
    ("codespell", LINT),
    ("typos", LINT),
    ("interrogate", LINT),
    ("djlint", LINT),
    ("pre-commit", LINT),
    ("bandit", SAFETY),
    ("pip-audit", SAFETY),
    ("safety", SAFETY),
    ("detect-secrets", SAFETY),
    ("semgrep", SAFETY),
    ("mypy", TYPES),
    ("dmypy", TYPES),
    ("pyright", TYPES),
    ("basedpyright", TYPES),
    ("ty check", TYPES),
    ("pyre", TYPES),
    ("pytype", TYPES),
    ("tsc", TYPES),
    ("vue-tsc", TYPES),
    ("flow", TYPES),
    ("svelte-check", TYPES),
    ("eslint", LINT),
    ("prettier", LINT),
    ("biome", LINT),
    ("stylelint", LINT),
    ("standard", LINT),
    ("xo", LINT),
    ("tslint", LINT),
    ("oxlint", LINT),
    ("dprint", LINT),
    ("markdownlint", LINT),
    ("markdownlint-cli2", LINT),
    ("commitlint", LINT),
    ("knip", LINT),
    ("shellcheck", LINT),
    ("shfmt", LINT),
    ("hadolint", LINT),
    ("yamllint", LINT),
    ("actionlint", LINT),
    ("ansible-lint", LINT),
    ("sqlfluff", LINT),
    ("taplo", LINT),
    ("buf lint", LINT),
    ("buf format", LINT),
    ("buf breaking", RULES),
    ("protolint", LINT),
    ("clang-format", LINT),
    ("clang-tidy", LINT),
    ("cppcheck", LINT),
    ("cpplint", LINT),
    ("cmake-format", LINT),
    ("rubocop", LINT),
    ("standardrb", LINT),
    ("erb_lint", LINT),
    ("haml-lint", LINT),
    ("slim-lint", LINT),
    ("brakeman", SAFETY),
    ("bundle-audit", SAFETY),
    ("srb tc", TYPES),
    ("srb", TYPES),
    ("steep", TYPES),
    ("phpcs", LINT),
    ("php-cs-fixer", LINT),
    ("phpmd", LINT),
    ("pint", LINT),
    ("phpstan", TYPES),
    ("psalm", TYPES),
    ("ktlint", LINT),
    ("detekt", LINT),
    ("swiftlint", LINT),
    ("swiftformat", LINT),
    ("scalafmt", LINT),
    ("scalafix", LINT),
    ("checkstyle", LINT),
    ("spotbugs", LINT),
    ("pmd", LINT),
    ("dotnet format", LINT),
    ("dotnet test", None),
    ("dotnet", None),
    ("tflint", LINT),
    ("terraform fmt", LINT),
    ("terraform validate", None),
    ("terraform", None),
    ("tofu", None),
    ("tfsec", SAFETY),
    ("checkov", SAFETY),
    ("trivy", SAFETY),
    ("grype", SAFETY),
    ("snyk", SAFETY),
    ("gitleaks", SAFETY),
    ("trufflehog", SAFETY),
    ("osv-scanner", SAFETY),
    ("npm audit", SAFETY),
    ("yarn audit", SAFETY),
    ("pnpm audit", SAFETY),
    ("conftest", RULES),
    ("opa", RULES),
    ("kyverno", RULES),
    ("licensee", RULES),
    ("license-checker", RULES),
    ("reuse", RULES),
    ("alembic", SCHEMA),
    ("flyway", SCHEMA),
    ("liquibase", SCHEMA),
    ("squawk", SCHEMA),
    ("prisma migrate", SCHEMA),
    ("knex migrate:latest", SCHEMA),
    ("goose", SCHEMA),
    ("dbmate", SCHEMA),
    ("atlas migrate", SCHEMA),
    ("sqlx migrate", SCHEMA),
    ("diesel migration", SCHEMA),
    ("manage.py migrate", SCHEMA),
    ("manage.py makemigrations", SCHEMA),
    ("rails db:migrate", SCHEMA),
    ("rake db:migrate", SCHEMA),
    ("pytest", TESTS),
    ("py.test", TESTS),
    ("unittest", TESTS),
    ("nosetests", TESTS),
    ("jest", TESTS),
    ("vitest", TESTS),
    ("mocha", TESTS),
    ("ava", TESTS),
    ("cypress", TESTS),
    ("playwright test", TESTS),
    ("rspec", TESTS),
    ("phpunit", TESTS),
    ("ctest", TESTS),
    ("bats", TESTS),
    ("gotestsum", None),
    ("tox", None),
    ("nox", None),
    ("npm", None),
    ("yarn", None),
    ("pnpm", None),
    ("pip", None),
    ("poetry", None),
    ("uv", None),
    ("mvn", None),
    ("gradle", None),
    ("gradlew", None),
    ("make", None),
    ("cmake", None),
    ("ninja", None),
    ("bazel", None),
    ("docker", None),
    ("kubectl", None),
    ("helm", None),
    ("git diff", LINT),
    ("python", None),
    ("node", None),
    ("gcc", None),
    ("clang", None),
    ("javac", None),
];

impl Hint {
    /// Reads a shell line; the last command of it that is a known tool counts.
    pub(crate) fn from_command(command: &str) -> Option<Self> {
        let limits_time = command.split_whitespace().any(|word| word == "timeout");
        let tool = segments(command).filter_map(tool_of).last();
        match tool {
            Some((tool, role)) => Some(Self { tool: tool.to_owned(), role, limits_time }),
            None if limits_time => Some(Self { tool: String::new(), role: None, limits_time }),
            None => None,
        }
    }
}

fn segments(command: &str) -> impl Iterator<Item = &str> {
    command.split(['\n', ';', '|', '&', '(', ')', '`']).filter(|part| !part.trim().is_empty())
}

fn tool_of(segment: &str) -> Option<(&'static str, Option<FailureType>)> {
    let words = program_words(segment);
    let (first, second) = (words.first()?, words.get(1));
    if first == "git" {
        let checks = words.iter().any(|word| word == "--exit-code" || word == "--quiet");
        return checks.then_some(("git diff", LINT));
    }
    let pair = second.map(|second| format!("{first} {second}"));
    let known = |name: &str| TOOLS.iter().find(|(tool, _)| *tool == name).copied();
    pair.and_then(|pair| known(&pair)).or_else(|| known(first))
}

/// The program and its first arguments without launchers, options of launchers and assignments.
fn program_words(segment: &str) -> Vec<String> {
    let mut words: Vec<&str> = segment.split_whitespace().collect();
    loop {
        let Some(first) = words.first().copied() else { return Vec::new() };
        let base = basename(first);
        let second = words.get(1).copied().unwrap_or_default();
        let script = base.starts_with("python") && second.ends_with(".py");
        if PAIRS.contains(&(base, second)) {
            words.drain(..2);
        } else if script || LAUNCHERS.contains(&base) || is_launcher_detail(first) {
            words.remove(0);
        } else {
            break;
        }
    }
    words.iter().map(|word| basename(word).trim_matches(['"', '\'']).to_owned()).collect()
}

/// An assignment before the program, or an option or a number of seconds of a launcher.
fn is_launcher_detail(word: &str) -> bool {
    let assigns = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    assigns
        || word.starts_with('-')
        || word.trim_end_matches(['s', 'm', 'h']).parse::<f64>().is_ok()
}

fn basename(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_found_behind_launchers() {
        for (command, tool, role) in [
            ("ruff check src", "ruff", LINT),
            ("cd app && poetry run mypy .", "mypy", TYPES),
            ("timeout -k 2 20 python -m pytest -q tests", "pytest", TESTS),
            ("CI=1 npx --yes eslint frontend", "eslint", LINT),
            ("./gradlew test", "gradlew", None),
            ("cargo clippy --locked -q", "cargo clippy", LINT),
            ("python app/gen.py && git diff --exit-code", "git diff", LINT),
            ("python manage.py migrate --noinput", "manage.py migrate", SCHEMA),
            ("black --check --quiet src || { black --check src; exit 1; }", "black", LINT),
        ] {
            let hint = Hint::from_command(command).expect(command);
            assert_eq!((hint.tool.as_str(), hint.role), (tool, role), "{command}");
        }
    }

    #[test]
    fn an_unknown_command_hints_at_nothing() {
        for command in ["", "exit 42", "git status", "echo mypy", "./deploy.sh ruff"] {
            assert_eq!(Hint::from_command(command), None, "{command}");
        }
    }

    #[test]
    fn a_time_limit_in_the_command_is_seen() {
        assert!(Hint::from_command("timeout 5 ./slow").is_some_and(|hint| hint.limits_time));
    }
}
