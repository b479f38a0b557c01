//! The parts of a workflow that have a meaning here: expressions, shells, actions.

use meta_domain::plan::Command;
use serde_norway::Value;
use std::collections::BTreeMap;

/// What expressions may name.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) env: BTreeMap<String, String>,
    pub(super) matrix: BTreeMap<String, String>,
}

/// A text without expressions, and what has to be said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) text: String,
    pub(super) notes: Vec<String>,
}

impl Scope {
    /// The text with every `${{ }}` replaced.
    ///
    /// # Errors
    /// The first expression that nothing here stands for.
    pub(super) fn resolve(&self, text: &str) -> Result<Resolved, String> {
        let mut resolved = Resolved::default();
        let mut rest = text;
        while let Some(start) = rest.find("${{") {
            let after = &rest[start + 3..];
            let Some(end) = after.find("}}") else { break };
            let expression = after[..end].trim();
            resolved.text.push_str(&rest[..start]);
            let value = self.value(expression).ok_or_else(|| expression.to_owned())?;
            resolved.text.push_str(&value);
            rest = &after[end + 2..];
        }
        resolved.text.push_str(rest);
        Ok(resolved)
    }

    fn value(&self, expression: &str) -> Option<String> {
        if let Some(name) = expression.strip_prefix("env.") {
            return self.env.get(name).cloned();
        }
        if let Some(name) = expression.strip_prefix("matrix.") {
            return self.matrix.get(name).cloned();
        }
        Some(
            match expression {
                "github.workspace" => ".",
                "runner.os" => "Linux",
                "runner.arch" => "X64",
                "runner.temp" => "/tmp",
                _ => return None,
            }
            .to_owned(),
        )
    }
}

/// A scalar as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The first combination of a matrix.
pub(super) fn first_of_matrix(matrix: &Value) -> BTreeMap<String, String> {
    let Value::Mapping(axes) = matrix else { return BTreeMap::new() };
    let mut first = BTreeMap::new();
    for (name, values) in axes {
        let (Some(name), Value::Sequence(values)) = (name.as_str(), values) else { continue };
        match (name, values.first()) {
            // extra combinations: the first one is taken where there is no axis
            ("include", Some(Value::Mapping(fields))) => {
                for (name, value) in fields {
                    if let (Some(name), Some(value)) = (name.as_str(), scalar(value)) {
                        first.entry(name.to_owned()).or_insert(value);
                    }
                }
            }
            ("include" | "exclude", _) | (_, None) => {}
            (name, Some(value)) => {
                if let Some(value) = scalar(value) {
                    first.insert(name.to_owned(), value);
                }
            }
        }
    }
    first
}

/// A script as the command of a step, as GitHub would run it.
///
/// # Errors
/// The shell, when it is none that is known here.
pub(super) fn command(
    script: &str,
    shell: Option<&str>,
    folder: Option<&str>,
) -> Result<Command, String> {
    let script = script.trim_end();
    let interpreter = match shell.unwrap_or_default() {
        "python" => Some("python3"),
        "" | "bash" | "sh" => None,
        custom if ["bash ", "sh "].iter().any(|s| custom.starts_with(s)) => None,
        other => return Err(other.to_owned()),
    };
    let folder = folder.map(|f| f.trim_end_matches('/')).filter(|f| !f.is_empty() && *f != ".");
    if let Some(program) = interpreter {
        return match folder {
            None => Ok(Command::Argv(vec![program.to_owned(), "-c".to_owned(), script.to_owned()])),
            Some(folder) => Err(format!("{program} in the folder {folder}")),
        };
    }
    let mut lines = Vec::new();
    // there the shell stops at the first line that fails
    match shell {
        Some("bash") => lines.push("set -eo pipefail".to_owned()),
        _ if script.lines().count() > 1 || folder.is_some() => lines.push("set -e".to_owned()),
        _ => {}
    }
    if let Some(folder) = folder {
        lines.push(format!("cd {}", quoted(folder)));
    }
    lines.push(script.to_owned());
    Ok(Command::Shell(lines.join("\n")))
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Why an action is not imported; `None` for those that prepare what is here anyway.
pub(super) fn of_action(uses: &str) -> Option<String> {
    let name = uses.split('@').next().unwrap_or_default();
    match name {
        "actions/checkout" => None,
        "actions/cache" => {
            Some("what it caches belongs into the `cache` of the steps that use it".to_owned())
        }
        name if name.split('/').next_back().is_some_and(|n| n.starts_with("setup-")) => {
            Some(format!("{name} installs a toolchain, which has to be on the machine"))
        }
        "" => Some("it neither runs nor uses anything".to_owned()),
        name => Some(format!("it uses {name}")),
    }
}

/// Whether a script looks as if it fetched something. Steps have no network unless they say so.
pub(super) fn reaches_out(script: &str) -> bool {
    const FETCHES: [&str; 22] = [
        "pip install",
        "pip3 install",
        "poetry install",
        "uv sync",
        "uv pip",
        "npm ci",
        "npm install",
        "npm i ",
        "yarn install",
        "pnpm install",
        "npx ",
        "cargo fetch",
        "cargo install",
        "go mod download",
        "go install",
        "bundle install",
        "composer install",
        "apt-get ",
        "curl ",
        "wget ",
        "git clone",
        "docker pull",
    ];
    script.lines().any(|line| {
        let line = format!("{} ", line.trim());
        !line.starts_with('#') && FETCHES.iter().any(|f| line.contains(f))
    })
}
