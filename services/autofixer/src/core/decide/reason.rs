//! Words for people: what was tried, and what a failure is really about.

use crate::core::evidence;
use meta_domain::autofix::{Case, FixTry, Strategy};

/// Tries that a reason lists at most.
const TRIES_SHOWN_MAX: usize = 8;

/// What was tried on this failure, as the end of a sentence.
pub(super) fn tried(case: &Case) -> String {
    let mut parts = Vec::new();
    let count = |strategy: Strategy| case.history.iter().filter(|a| a.strategy == strategy).count();
    for (strategy, word) in [
        (Strategy::RetryStep, "retry"),
        (Strategy::RePlan, "re-plan"),
        (Strategy::Rollback, "rollback"),
    ] {
        match count(strategy) {
            0 => {}
            1 => parts.push(format!("1 {word}")),
            n if word.ends_with('y') => parts.push(format!("{n} retries")),
            n => parts.push(format!("{n} {word}s")),
        }
    }
    let tries: Vec<&FixTry> =
        case.history.iter().flat_map(|a| &a.tries).chain(&case.tried).collect();
    parts.extend(tries.iter().take(TRIES_SHOWN_MAX).map(|t| one(t)));
    if tries.len() > TRIES_SHOWN_MAX {
        parts.push(format!("{} more fixers", tries.len() - TRIES_SHOWN_MAX));
    }
    if parts.is_empty() {
        "nothing was tried: no fixer claims it".to_owned()
    } else {
        format!("tried {}", parts.join(", "))
    }
}

fn one(try_: &FixTry) -> String {
    let verdict = try_.verdict.as_str().replace('_', " ");
    if try_.detail.is_empty() {
        format!("{} ({verdict})", try_.title)
    } else {
        format!("{} ({verdict}: {})", try_.title, try_.detail)
    }
}

/// The third-party module that is missing, when that is what failed: a human can say which package
/// it comes from. A module of the project itself is plainly broken code, and `None`.
pub(super) fn missing_module(case: &Case) -> Option<String> {
    let text = evidence::text(case);
    let name = text.lines().find_map(module_in)?;
    let top = name.split(['.', '/']).next().unwrap_or(&name).to_owned();
    let ours = |f: &String| {
        f.split('/').any(|part| part == top || part.strip_suffix(".py") == Some(top.as_str()))
    };
    (!case.files.iter().any(ours)).then_some(name)
}

fn module_in(line: &str) -> Option<String> {
    const BEFORE: [&str; 7] = [
        "No module named ",
        "Cannot find module ",
        "Cannot find package ",
        "no required module provides package ",
        "No matching distribution found for ",
        "Could not find a version that satisfies the requirement ",
        "no matching package named ",
    ];
    let rest = BEFORE.iter().find_map(|b| line.split_once(b).map(|(_, rest)| rest))?;
    let name: String = rest
        .trim_start_matches(['\'', '"', '`'])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "_-./@".contains(*c))
        .collect();
    let name = name.trim_end_matches('.').to_owned();
    (!name.is_empty() && !name.starts_with(['.', '/'])).then_some(name)
}

/// The program that this machine lacks, when that is what failed: somebody has to install it.
pub(super) fn missing_tool(case: &Case) -> Option<String> {
    evidence::text(case).lines().find_map(tool_in)
}

fn tool_in(line: &str) -> Option<String> {
    const AFTER: [&str; 3] = [": command not found", ": not found", ": No such file or directory"];
    const BEFORE: [&str; 5] = [
        "command not found: ",
        "no such command: ",
        "unknown command: ",
        "executable file not found: ",
        "spawn ",
    ];
    let shell = ["bash: ", "sh: ", "zsh: ", "env: "].iter().any(|s| line.contains(s));
    let after = AFTER
        .iter()
        .filter(|_| shell)
        .find_map(|a| line.strip_suffix(a))
        .and_then(|before| before.rsplit([' ', ':']).next());
    let before = BEFORE
        .iter()
        .find_map(|b| line.split_once(b).map(|(_, rest)| rest))
        .filter(|rest| !line.contains("spawn ") || rest.contains("ENOENT"));
    // A path is a file of the project: that is plainly broken code.
    let name: String = after
        .or(before)
        .filter(|name| !name.contains('/'))?
        .trim_start_matches(['\'', '"', '`', '‘'])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "_-.+".contains(*c))
        .collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{module_in, tool_in};

    #[test]
    fn a_missing_package_is_named() {
        for (line, module) in [
            ("ModuleNotFoundError: No module named 'yaml.x'", Some("yaml.x")),
            ("ERROR: No matching distribution found for acme-sdk==1.0", Some("acme-sdk")),
            ("error: no matching package named `left_pad` found", Some("left_pad")),
            ("Error: Cannot find module './local'", None),
        ] {
            assert_eq!(module_in(line).as_deref(), module, "{line}");
        }
    }

    #[test]
    fn a_missing_tool_is_named_and_a_missing_file_is_not() {
        for (line, tool) in [
            ("bash: line 1: terraform: command not found", Some("terraform")),
            ("/bin/sh: 1: helm: not found", Some("helm")),
            ("zsh: command not found: kubectl", Some("kubectl")),
            ("error: no such command: `nextest`", Some("nextest")),
            ("env: ‘node’: No such file or directory", Some("node")),
            ("Error: spawn git ENOENT", Some("git")),
            ("sh: ./build.sh: not found", None),
            ("page not found: 404", None),
            ("spawn EACCES", None),
        ] {
            assert_eq!(tool_in(line).as_deref(), tool, "{line}");
        }
    }
}
