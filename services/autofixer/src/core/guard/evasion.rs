//! Code that makes a check pass without healing anything: it never runs, it knows that it is
//! tested, it ends the process, it hooks the test runner. And code that has no place in a repair.

use super::sides::Sides;
use super::suppressions::ending;
use super::{Finding, PatchPolicy};
use crate::core::patch::FilePatch;
use meta_domain::autofix::FixerSafety;
use meta_domain::failure::FailureType;
use regex::Regex;
use std::sync::LazyLock;

/// What becomes of a patch that adds such a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Reject,
    /// Ask a human; a formatter may.
    Ask,
    /// Reject a repair of types, ask about others.
    Untyped,
}

/// What it is, what becomes of it, the endings it counts in (none: all code), what it looks like.
const EVASIONS: &[(&str, Then, &[&str], &str)] = &[
    (
        "code that never runs",
        Then::Reject,
        &[],
        r"^\s*(el)?if\s+(False|0|None|false)\s*(:|\{|;)|\bif\s*\(\s*(false|0|!1|!true)\s*\)|^\s*while\s+(False|0)\s*:|\bwhile\s*\(\s*(false|0)\s*\)|^\s*#\s*if\s+(0|false)\b|cfg\s*\(\s*(any\s*\(\s*\)|FALSE|never|not\s*\(\s*all\s*\(\s*\)\s*\)|not\s*\(\s*test\s*\)\s*,?\s*test)|^\s*if\s+false\s*;\s*then|\bif\s+not\s+True\s*:",
    ),
    (
        "code that knows that it is tested",
        Then::Reject,
        &[],
        r"PYTEST_CURRENT_TEST|[\x22']pytest[\x22']\s*(not\s+)?in\s+sys\.modules|sys\.modules\[?.{0,8}pytest|JEST_WORKER_ID|VITEST_WORKER_ID|NODE_ENV.{0,8}[=!]=+\s*.test|NODE_TEST_CONTEXT|\bcfg!\s*\(\s*test\s*\)|#\[\s*cfg\s*\(\s*not\s*\(\s*test|flag\.Lookup\(.test\.|testing\.Testing\(\)|os\.Args\[0\].*\.test|METABUILDER_[A-Z_]*",
    ),
    (
        "a hook into the test runner",
        Then::Reject,
        &["py"],
        r"\bdef\s+pytest_\w+|\bpytest_plugins\b|\bsys\.settrace\(|\batexit\.register\(|\bos\._exit\(|\bos\.abort\(|\bos\.kill\(|\bsys\.excepthook\s*=|\bsignal\.signal\(|\bbuiltins\.\w+\s*=[^=]|\b__builtins__\b|\bunittest\.TestCase\.\w+\s*=|\bsys\.stdout\s*=|\bclass\s+\w*(AlwaysEqual|AnyEqual)\w*|\bgc\.get_objects|\binspect\.(stack|currentframe)\(|\bsys\._getframe\(",
    ),
    (
        "a hook into the test runner",
        Then::Reject,
        &["js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts"],
        r"\bprocess\.on\(\s*.(exit|uncaughtException|unhandledRejection)|\bprocess\.exit(Code)?\s*(=\s*0|\(\s*0?\s*\))|\bglobal(This)?\.(expect|it|test|describe)\s*=|\bexpect\.extend\(|\bjest\.setTimeout\(\s*\d{7}",
    ),
    (
        "an end of the process",
        Then::Reject,
        &["rs", "go", "c", "cc", "cpp", "java", "kt"],
        r"\bprocess::exit\(\s*0|\bos\.Exit\(\s*0|\bSystem\.exit\(\s*0|(^|[^\w.])_?exit\(\s*(0|EXIT_SUCCESS)\s*\)|\bpanic::set_hook\(|\bcatch_unwind\(",
    ),
    (
        "an end of the process",
        Then::Ask,
        &["py"],
        r"\bsys\.exit\(\s*0?\s*\)|\braise\s+SystemExit(\(\s*0?\s*\))?\s*$|^\s*(exit|quit)\(\s*0?\s*\)",
    ),
    (
        "a download that is executed",
        Then::Reject,
        &[],
        r"\b(curl|wget|fetch)\b[^|;&]*\|\s*(sudo\s+)?(ba|z|da)?sh\b|\b(ba)?sh\s+(-c\s+)?[\x22']?\$\((curl|wget)|\beval\s+[\x22']?\$\((curl|wget)|<\(\s*(curl|wget)\b|\biex\b.*DownloadString",
    ),
    (
        "hidden code that is executed",
        Then::Reject,
        &[],
        r"\b(exec|eval|Function)\s*\(\s*(base64|atob|zlib|codecs|bytes\.fromhex|Buffer\.from|compile\(|__import__|marshal)|base64\s+(-d|--decode|-D)\b.*\|\s*(ba|z)?sh|\bmarshal\.loads\(|\bpickle\.loads\(\s*base64|/dev/(tcp|udp)/|\bnc\s+-\w*e\b|\bxxd\s+-r\b.*\|\s*(ba)?sh",
    ),
    (
        "a new way to the network or to another program",
        Then::Ask,
        &["py", "js", "mjs", "cjs", "ts", "rs", "go", "sh", "bash", ""],
        r"\bsocket\.(create_connection|socket)\(|\burllib\.request\.urlopen\(|\brequests\.(get|post|put)\(|\bhttpx?\.(get|post|request)\(|\bfetch\(\s*['\x22`]https?:|\bchild_process\b|\bexecSync\(|\bos\.(system|popen|exec[lv]\w*)\(|\bsubprocess\.\w+\(|\bCommand::new\(|\bexec\.Command\(|\bTcpStream::connect\(|\bctypes\.CDLL\(|^\s*(curl|wget|nc|ssh|scp)\s|\beval\s*\(|\bexec\s*\(|__import__\(",
    ),
    (
        "access to credentials",
        Then::Reject,
        &[],
        r"(~|\$HOME|/root|/home/\w+)/\.(ssh|aws|netrc|npmrc|pypirc|kube|docker|gnupg)\b|\bid_(rsa|ed25519|ecdsa)\b|/etc/(passwd|shadow|sudoers)|/proc/(self|1|\d+)/environ|169\.254\.169\.254|metadata\.google\.internal",
    ),
    (
        "a type that allows everything",
        Then::Untyped,
        &["ts", "tsx", "mts", "cts", "vue"],
        r"\bas\s+(any|unknown|never)\b|:\s*any\b|<any>|\bas\s+unknown\s+as\b|\bdeclare\s+(module|const|var|global)\b|\w!\.|\)!\.|\bFunction\b\s*[;,)]|Record<string,\s*any>",
    ),
    (
        "a type that allows everything",
        Then::Untyped,
        &["py", "pyi"],
        r"\bcast\(\s*(typing\.)?Any\b|:\s*(typing\.)?Any\b|->\s*(typing\.)?Any\b|\bTYPE_CHECKING\s*=|\bdef\s+\w+\(\*args,\s*\*\*kwargs\)",
    ),
    (
        "unsafe or unchecked code",
        Then::Ask,
        &["rs"],
        r"\bunsafe\s*(\{|fn|impl)|\btransmute\b|\bunwrap_unchecked\b|\b(todo|unimplemented)!\s*\(|\bmem::forget\(|\bBox::leak\(",
    ),
    (
        "an answer that equals everything",
        Then::Ask,
        &["py"],
        r"\bdef\s+__(eq|ne|bool|lt|le|gt|ge|contains)__\s*\(",
    ),
    (
        "an unfinished part",
        Then::Ask,
        &["py", "js", "ts", "tsx", "go", "java"],
        r"\braise\s+NotImplementedError\b|throw new Error\(\s*['\x22`]not implemented|panic\(\x22(not implemented|todo)",
    ),
];

static COMPILED: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| EVASIONS.iter().map(|(_, _, _, text)| Regex::new(text).ok()).collect());

/// The evasions that a patch adds.
pub(super) fn look(
    file: &FilePatch,
    sides: &[Sides],
    policy: &PatchPolicy,
    out: &mut Vec<Finding>,
) {
    let (_, ending) = ending(file.path());
    let prose = matches!(ending.as_str(), "md" | "rst" | "txt" | "csv" | "html" | "svg" | "lock");
    let safe = policy.safety == FixerSafety::Safe;
    for ((what, then, endings, _), regex) in EVASIONS.iter().zip(COMPILED.iter()) {
        if prose || !(endings.is_empty() || endings.contains(&ending.as_str())) {
            continue;
        }
        let count = |lines: &[String]| -> usize {
            lines.iter().map(|l| regex.as_ref().map_or(1, |r| r.find_iter(l).count())).sum()
        };
        if count(&file.added) <= count(&file.removed) {
            continue;
        }
        let problem = format!("the patch adds {what}");
        let reject = match then {
            Then::Reject => true,
            Then::Ask => false,
            Then::Untyped => policy.failure_type == FailureType::Typecheck,
        };
        match (reject, safe) {
            (true, _) => out.push(Finding::reject(file.path(), &problem)),
            (false, false) => out.push(Finding::ask(file.path(), &problem)),
            // A formatter or an upgrade tool rewrites such calls, it does not invent them.
            (false, true) => {}
        }
    }
    losses(file, sides, policy, out);
}

/// Lines that a repair may take away before a human should look.
const LOST_LINES_MAX: usize = 20;

/// Code that goes away: a check on what is not there finds nothing.
fn losses(file: &FilePatch, sides: &[Sides], policy: &PatchPolicy, out: &mut Vec<Finding>) {
    if policy.safety == FixerSafety::Safe {
        return;
    }
    let path = file.path();
    let empty = file.new.is_some()
        && sides
            .iter()
            .any(|s| s.old.lines.len() > 1 && s.new.lines.iter().all(|l| l.trim().is_empty()));
    if file.new.is_none() {
        out.push(Finding::ask(path, "the patch deletes a file"));
    } else if empty {
        out.push(Finding::ask(path, "the patch empties a file"));
    } else if file.removed.len() >= LOST_LINES_MAX && file.removed.len() > 3 * file.added.len() {
        out.push(Finding::ask(path, "the patch takes away much more than it adds"));
    }
}

/// Whether every pattern could be compiled.
#[cfg(test)]
pub(super) fn all_compile() -> bool {
    COMPILED.iter().all(Option::is_some)
}
