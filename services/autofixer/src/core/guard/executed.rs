//! Files that the failing step itself executes or takes its rules from: a patch that rewrites the
//! check passes the check.

use super::{Finding, PatchPolicy};
use crate::core::command::{Invocation, invocations};
use crate::core::patch::FilePatch;
use meta_domain::autofix::FixerSafety;
use meta_domain::plan::Command;

/// Programs whose first plain argument is a script.
const INTERPRETERS: &[&str] = &[
    "bash", "sh", "zsh", "dash", "ksh", "node", "deno", "bun", "tsx", "ts-node", "ruby", "perl",
    "php", "source", ".", "bats", "Rscript", "lua",
];
/// Flags whose value is a file with rules.
const CONFIG_FLAGS: &[&str] = &[
    "-c",
    "--config",
    "--config-file",
    "--config-path",
    "--rcfile",
    "--settings",
    "--conf",
    "-p",
    "--project",
    "--settings-path",
    "--ignore-path",
    "--ignore-file",
    "--setup-file",
    "-f",
    "--file",
    "--makefile",
    "--rules",
    "--rulesdir",
    "--ruleset",
    "--policy",
    "--require",
    "-r",
    "--import",
    "--loader",
    "--plugin",
    "--resolve-plugins-relative-to",
    "--baseline",
    "--globalSetup",
    "--test-env-file",
    "--env-file",
    "--load-plugins",
    "--append-config",
];

/// What a step takes from the workspace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    programs: Vec<String>,
    rules: Vec<String>,
}

fn taken(command: &Command) -> Taken {
    let mut taken = Taken::default();
    for invocation in invocations(command) {
        program(&invocation, &mut taken);
        rules(&invocation, &mut taken);
    }
    taken
}

fn program(at: &Invocation, taken: &mut Taken) {
    if let Some(dash) = at.starts_with.iter().position(|w| w == "-m") {
        let module = at.starts_with.get(dash + 1).map_or("", String::as_str).replace('.', "/");
        taken.programs.push(rooted(&at.folder, &format!("{module}.py")));
        taken.programs.push(rooted(&at.folder, &format!("{module}/__main__.py")));
        return;
    }
    if let Some(path) = at.starts_with.iter().find(|w| w.contains('/') || w.ends_with(".py")) {
        taken.programs.push(rooted(&at.folder, path.trim_matches(['\'', '"'])));
    }
    let interpreter = INTERPRETERS.contains(&at.name.as_str()) || at.name.starts_with("python");
    if !interpreter {
        return;
    }
    let mut index = 0;
    while let Some(word) = at.arg(index) {
        if word == "-c" || word == "-e" {
            return;
        }
        if !word.starts_with('-') {
            taken.programs.push(rooted(&at.folder, &word));
            return;
        }
        index += 1;
    }
}

fn rules(at: &Invocation, taken: &mut Taken) {
    for index in 0..at.args.len() {
        let Some(word) = at.arg(index) else { continue };
        let value = match word.split_once('=') {
            Some((flag, value)) if CONFIG_FLAGS.contains(&flag) => Some(value.to_owned()),
            _ if CONFIG_FLAGS.contains(&word.as_str()) => at.arg(index + 1),
            _ => None,
        };
        if let Some(value) = value.filter(|v| !v.starts_with('-')) {
            taken.rules.push(rooted(&at.folder, &value));
        }
    }
}

fn rooted(folder: &str, path: &str) -> String {
    let path = path.trim_start_matches("./");
    if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") }
}

/// Whether a patch rewrites what its own step executes or takes its rules from.
pub(super) fn look(file: &FilePatch, policy: &PatchPolicy, out: &mut Vec<Finding>) {
    let Some(command) = &policy.command else { return };
    let taken = taken(command);
    let ends = || file.old.iter().chain(&file.new);
    let path = file.path();
    let text_changes = !file.added.is_empty() || !file.removed.is_empty() || file.new.is_none();
    if !text_changes && !file.moved {
        return;
    }
    if ends().any(|p| taken.rules.contains(p)) && policy.safety != FixerSafety::Safe {
        out.push(Finding::reject(path, "the step takes its rules from this file"));
    }
    if !ends().any(|p| taken.programs.contains(p)) || policy.safety == FixerSafety::Safe {
        return;
    }
    let shell = !path.contains('.') || [".sh", ".bash", ".bats"].iter().any(|e| path.ends_with(e));
    let located = policy
        .located
        .iter()
        .any(|f| f.trim_start_matches("./") == path || f.ends_with(&format!("/{path}")));
    if !located {
        let problem =
            "the patch rewrites a program that the step executes, and the failure is not in it";
        out.push(Finding::reject(path, problem));
    } else if shell {
        out.push(Finding::ask(path, "the patch rewrites the script that the step executes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, programs: &[&str], rules: &[&str]) {
        let found = taken(&Command::Shell(line.to_owned()));
        assert_eq!(
            (found.programs, found.rules),
            (
                programs.iter().map(|p| (*p).to_owned()).collect(),
                rules.iter().map(|p| (*p).to_owned()).collect(),
            ),
            "{line}"
        );
    }

    #[test]
    fn programs_and_rules_of_a_step_are_known() {
        check("./scripts/check.sh --all", &["scripts/check.sh"], &[]);
        check("cd web && node tools/verify.js", &["web/tools/verify.js"], &[]);
        check("bash -eu ci/test.sh", &["ci/test.sh"], &[]);
        check("python -m src.app", &["src/app.py", "src/app/__main__.py"], &[]);
        check("eslint --config frontend/rules.js src", &[], &["frontend/rules.js"]);
        check("pytest -c=tests/own.ini", &[], &["tests/own.ini"]);
        check("ruff check .", &[], &[]);
    }
}
