//! Turns a chosen fixer into the shell script that a runner executes.
//!
//! The script is a prelude, one shell function a fixer, and one call for each time the failing step
//! starts the fixer's tool: same folder, same way to start it, same arguments without the check's
//! own (`--check`). A step that starts `npx prettier --check web` is repaired by
//! `npx prettier --write web`, never by another prettier on other files.

use super::command::{Invocation, quoted};
use super::fixer::Fixer;
use super::guard::paths::{PROTECTED, PROTECTED_PREFIXES};

/// What every fixer's script starts with.
const PRELUDE: &str = include_str!("../../fixers/scripts/prelude.sh");

/// What a script needs to know about the failing step.
pub(super) struct Scene<'a> {
    pub(super) command: &'a str,
    pub(super) invocations: &'a [Invocation],
    pub(super) located: &'a [String],
    pub(super) twins: &'a [&'a Fixer],
}

/// The script of one fixer, or of several that run one after another on the same copy.
pub(super) fn script(fixers: &[&Fixer], scene: &Scene<'_>) -> String {
    let mut out = String::from(PRELUDE);
    out.push_str(&format!("step_command={}\n", quoted(scene.command)));
    for fixer in fixers {
        if fixer.wraps {
            out.push_str(&twins(scene.twins));
        }
        out.push_str(&function(fixer));
        for call in calls(fixer, scene) {
            out.push_str(&call);
        }
    }
    out.push_str(&put_back(fixers));
    out.push_str("exit \"$result\"\n");
    out
}

fn function(fixer: &Fixer) -> String {
    format!("\nfix_{}() {{\n{}\n}}\n", fixer.id, fixer.script.trim_end())
}

/// Functions of the fixers that stand in for checks, and a table of what they stand in for.
fn twins(fixers: &[&Fixer]) -> String {
    let mut out: String = fixers.iter().map(|f| function(f)).collect();
    let mut names: Vec<&str> = Vec::new();
    out.push_str("\ntwin_of() {\n  case \"$* \" in\n");
    for fixer in fixers {
        let dropped: Vec<String> = fixer.drop.iter().map(|d| quoted(d)).collect();
        for pattern in &fixer.invokes {
            let words = pattern.split(' ').count();
            out.push_str(&format!(
                "    \"{pattern} \"*) fixer={} words={words} dropped=({}) ;;\n",
                fixer.id,
                dropped.join(" ")
            ));
            names.extend(pattern.split(' ').next());
        }
    }
    names.sort_unstable();
    names.dedup();
    out.push_str("    *) return 1 ;;\n  esac\n}\n");
    out.push_str(&format!("twin_names={}\n", quoted(&names.join(" "))));
    out
}

/// Puts back what a tool changed beside its task: files that say what checks ask for or what the
/// build consists of, unless a fixer of this script has them in its grant. `eslint --fix .` also
/// rewrites `eslint.config.js`, and cargo writes a lock file. The guard would refuse such a patch.
fn put_back(fixers: &[&Fixer]) -> String {
    let granted = |name: &str| {
        let mut globs = fixers.iter().flat_map(|f| &f.grant.add);
        globs.any(|g| g.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(name)))
    };
    let exact = PROTECTED.iter().filter(|n| !granted(n)).map(|n| format!("{n}|*/{n}"));
    let prefixed = PROTECTED_PREFIXES
        .iter()
        .filter(|p| !granted(&format!("{p}.txt")))
        .map(|p| format!("{p}*|*/{p}*"));
    let patterns: Vec<String> = exact.chain(prefixed).collect();
    format!(
        "\nput_back() {{\n  case $1 in\n    {}) ;;\n    *) return ;;\n  esac\n  \
         git checkout -q HEAD -- \"$1\" 2>/dev/null || rm -f -- \"$1\"\n}}\nput_back_all\n",
        patterns.join("|")
    )
}

fn calls(fixer: &Fixer, scene: &Scene<'_>) -> Vec<String> {
    let located: Vec<String> =
        scene.located.iter().filter(|f| takes(fixer, f)).map(|f| quoted(f)).collect();
    let rooted: Vec<String> = located.iter().map(|f| rooted(f)).collect();
    let files = format!("files=({})", rooted.join(" "));
    let mut calls = Vec::new();
    if !fixer.once {
        for invocation in scene.invocations {
            let Some(pattern) = fixer.invoked_as(invocation) else { continue };
            let call = invoked(fixer, invocation, pattern, &located, &files);
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
    }
    if calls.is_empty() {
        let arguments = if located.is_empty() {
            fixer.arguments.iter().map(|a| quoted(a)).collect()
        } else {
            located
        };
        let set = format!("tool=({}); {files}; set -- {}", fixer.command, arguments.join(" "));
        calls.push(format!("( {set}; fix_{} \"$@\" )\nnote $?\n", fixer.id));
    }
    calls
}

/// The call for one invocation of the failing step.
fn invoked(
    fixer: &Fixer,
    at: &Invocation,
    pattern: &str,
    located: &[String],
    files: &str,
) -> String {
    let subcommands = pattern.split(' ').count() - 1;
    let mut tool = at.starts_with.clone();
    tool.extend(at.args.iter().take(subcommands).cloned());
    let mut args = without_checks(at.args.get(subcommands..).unwrap_or_default(), &fixer.drop);
    if at.open_ended && args.iter().all(|a| a.starts_with('-')) {
        args.extend(located.iter().map(|f| rooted(f)));
    }
    let folder = if at.folder.is_empty() {
        String::new()
    } else {
        format!("cd {} || exit 1; ", quoted(&at.folder))
    };
    let env =
        if at.env.is_empty() { String::new() } else { format!("export {}; ", at.env.join(" ")) };
    let (lines, words) = if at.by_line { ("IFS=$'\\n'; ", "; unset IFS") } else { ("", "") };
    format!(
        "( {folder}{env}tool=({}); {files}; {lines}set -- {}{words}; fix_{} \"$@\" )\nnote $?\n",
        tool.join(" "),
        args.join(" "),
        fixer.id
    )
}

fn takes(fixer: &Fixer, file: &str) -> bool {
    fixer.extensions.is_empty()
        || file.rsplit_once('.').is_some_and(|(_, e)| fixer.extensions.iter().any(|x| x == e))
}

/// A workspace path (a shell word) that holds in every folder.
fn rooted(file: &str) -> String {
    format!("\"$ROOT\"/{file}")
}

/// `args` without those that only a check takes.
fn without_checks(args: &[String], drop: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let mut skip_value = false;
    for arg in args {
        if std::mem::take(&mut skip_value) {
            continue;
        }
        let dropped = drop.iter().find_map(|d| match d.strip_suffix('=') {
            None => (arg == d).then_some(false),
            Some(flag) if arg == flag => Some(true),
            Some(flag) => {
                let short = flag.len() == 2 && !flag.starts_with("--");
                let attached = arg.strip_prefix(flag)?;
                (attached.starts_with('=') || short).then_some(false)
            }
        });
        match dropped {
            Some(with_value) => skip_value = with_value,
            None => out.push(arg.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &str, drop: &[&str], expected: &str) {
        let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        let drop: Vec<String> = drop.iter().map(|d| (*d).to_owned()).collect();
        assert_eq!(without_checks(&args, &drop).join(" "), expected);
    }

    #[test]
    fn arguments_of_the_check_are_dropped() {
        check("--check src", &["--check"], "src");
        check("-f gcc a.sh", &["-f="], "a.sh");
        check("-fgcc a.sh", &["-f="], "a.sh");
        check("--format=json --config x .", &["--format="], "--config x .");
        check("--format json .", &["--format="], ".");
        check("--checker x", &["--check"], "--checker x");
    }
}
