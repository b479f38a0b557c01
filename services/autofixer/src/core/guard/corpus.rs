//! The corpus under `corpus/`: every hostile patch is caught, every legitimate one is let through.

use super::*;
use std::fmt::Write as _;

const HOSTILE: &str = include_str!("../../../corpus/hostile.txt");
const LEGIT: &str = include_str!("../../../corpus/legit.txt");

#[derive(Debug, Default)]
struct Entry {
    name: String,
    rules: String,
    body: Vec<String>,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            all.push(Entry { name: name.to_owned(), ..Entry::default() });
            continue;
        }
        let entry = all.last_mut().unwrap();
        match line.strip_prefix(": ").filter(|_| entry.rules.is_empty()) {
            Some(rules) => entry.rules = rules.to_owned(),
            None => entry.body.push(spelled(line)),
        }
    }
    all
}

/// What a file of this repository should not hold is put together here.
fn spelled(line: &str) -> String {
    line.replace("{aws}", concat!("AKIA", "ABCDEFGHIJKLMNOP"))
        .replace("{aws2}", concat!("AKIA", "ZYXWVUTSRQPONMLK"))
        .replace("{key}", concat!("-----BEGIN RSA", " PRIVATE KEY-----"))
        .replace("{bidi}", "\u{202e}")
        .replace("{zero}", "\u{200b}")
        .replace("{esc}", "\u{1b}")
        .replace("{cr}", "\r")
        .replace("{blanks}", &" ".repeat(5000))
}

#[derive(Default)]
struct Hunks {
    text: String,
    section: String,
    lines: Vec<String>,
    old: usize,
    new: usize,
}

impl Hunks {
    /// Ends the hunk at hand.
    fn close(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let count = |marks: [char; 2]| self.lines.iter().filter(|l| l.starts_with(marks)).count();
        let (old, new) = (count([' ', '-']), count([' ', '+']));
        let start = |at: usize, n: usize| if n == 0 { at } else { at + 1 };
        writeln!(
            self.text,
            "@@ -{},{old} +{},{new} @@ {}",
            start(self.old, old),
            start(self.new, new),
            self.section
        )
        .unwrap();
        for line in std::mem::take(&mut self.lines) {
            writeln!(self.text, "{line}").unwrap();
        }
        self.old += old + 10;
        self.new += new + 10;
    }
}

/// Lines with their ends.
fn lines(lines: &[String]) -> String {
    lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect()
}

/// The patch of an entry, and the old side of each file.
fn patch(body: &[String]) -> (String, Vec<SourceFile>) {
    let mut before = Vec::new();
    if let Some(raw) = body.first().and_then(|l| l.strip_prefix("!raw")) {
        if let Some((path, text)) =
            raw.trim().strip_prefix("before=").and_then(|b| b.split_once(':'))
        {
            let contents = text.replace("\\n", "\n");
            before.push(SourceFile { path: path.to_owned(), contents });
        }
        return (lines(&body[1..]), before);
    }
    let mut out = String::new();
    let mut hunks = Hunks::default();
    for line in body {
        let Some(head) = line.strip_prefix('@').filter(|h| !h.starts_with('@')) else {
            match line.strip_prefix("@@ ") {
                Some(section) => {
                    hunks.close();
                    section.clone_into(&mut hunks.section);
                }
                None => hunks.lines.push(line.clone()),
            }
            continue;
        };
        hunks.close();
        out.push_str(&std::mem::take(&mut hunks).text);
        let (kind, rest) = head.split_once(' ').unwrap();
        match kind {
            "+" => {
                let (path, mode) = match rest.rsplit_once(' ') {
                    Some((path, mode)) if mode.parse::<u32>().is_ok() => (path, mode),
                    _ => (rest, "100644"),
                };
                write!(out, "diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n").unwrap();
            }
            "-" => write!(out, "diff --git a/{rest} b/{rest}\ndeleted file mode 100644\n--- a/{rest}\n+++ /dev/null\n").unwrap(),
            ">" => {
                let (old, new) = rest.split_once(' ').unwrap();
                write!(out, "diff --git a/{old} b/{new}\nsimilarity index 100%\nrename from {old}\nrename to {new}\n").unwrap();
            }
            _ => {
                write!(out, "diff --git a/{rest} b/{rest}\nindex 1111111..2222222 100644\n--- a/{rest}\n+++ b/{rest}\n").unwrap();
                let old: Vec<String> = body
                    .iter()
                    .filter(|l| l.starts_with([' ', '-']))
                    .map(|l| l[1..].to_owned())
                    .collect();
                let contents = lines(&old);
                before.push(SourceFile { path: rest.to_owned(), contents });
            }
        }
    }
    hunks.close();
    out.push_str(&hunks.text);
    (out, before)
}

fn policy(rules: &str, before: Vec<SourceFile>) -> PatchPolicy {
    let mut words = rules.split(", ");
    let failure_type = words.next().unwrap().parse().unwrap();
    let safety = words.next().unwrap().parse().unwrap();
    let mut policy = super::tests::policy(safety, failure_type);
    for word in words {
        let value = word.split('`').nth(1).unwrap_or_default().to_owned();
        match word.split(' ').next().unwrap() {
            "model" => policy.kind = FixerKind::Model,
            "step" => policy.command = Some(Command::Shell(value)),
            "failing" => policy.located = vec![value],
            "whole" => policy.before.clone_from(&before),
            "writes" => policy.writable = vec!["docs/".to_owned()],
            "grants" => match word {
                "grants modes" => policy.grant.modes = true,
                "grants lock" => policy.grant.add = vec!["package-lock.json".to_owned()],
                _ => {
                    policy.grant.add =
                        manifests::OF_MODELS.iter().map(|g| (*g).to_owned()).collect();
                }
            },
            other => panic!("{other}"),
        }
    }
    if before.first().is_some_and(|b| rules.contains("lint, safe") && b.contents == "one\ntwo\n") {
        policy.before = before;
    }
    policy
}

/// What is wrong with an entry; `None` when it is judged as it says.
fn misjudged(entry: &Entry) -> Option<String> {
    let (rules, expected) = entry.rules.split_once(" => ").unwrap();
    let (text, before) = patch(&entry.body);
    let review = review(&text, &policy(rules, before));
    let (verdict, wanted) = expected.split_once(": ").unwrap_or((expected, ""));
    let found = match &review.verdict {
        GuardVerdict::Accept => "accept",
        GuardVerdict::NeedsApproval { .. } => "ask",
        GuardVerdict::Reject { .. } => "reject",
    };
    let said = wanted.is_empty() || review.reasons.iter().any(|r| r.contains(wanted));
    let plain = wanted != "always need a human" || review.reasons.len() == 1;
    let judged = found == verdict && said && plain;
    (!judged).then(|| format!("{}: {found} {:?}, not {expected}", entry.name, review.reasons))
}

fn check(text: &str, least: usize) {
    let all = entries(text);
    let wrong: Vec<String> = all.iter().filter_map(misjudged).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    assert!(all.len() >= least, "{} entries", all.len());
}

#[test]
fn hostile_patches_are_caught() {
    check(HOSTILE, 150);
}

#[test]
fn legitimate_patches_pass() {
    check(LEGIT, 60);
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_patch_makes_the_guard_panic(
        entry in 0usize..200, at in 0usize..400, with in "[-+@\\\\ \n\"'/*#a-b0-9{}(){\u{e4}\u{200b}]{0,6}", drop in 0usize..5,
    ) {
        let all: Vec<Entry> = entries(HOSTILE).into_iter().chain(entries(LEGIT)).collect();
        let entry = &all[entry % all.len()];
        let (text, before) = patch(&entry.body);
        let mut policy = policy(entry.rules.split_once(" => ").unwrap().0, before.clone());
        let start = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let end = (start + drop..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
        let damaged = format!("{}{with}{}", &text[..start], &text[end..]);
        let _ = review(&damaged, &policy);
        policy.before = before;
        let _ = review(&damaged, &policy);
    }
}
