use super::*;
use crate::core::decide::{case, decide, open_fixers};
use crate::core::patch::sha256;
use crate::core::registry::Registry;
use meta_domain::autofix::Decision;

const DAY_MS: i64 = 24 * 3_600_000;
const NOW: Timestamp = Timestamp(1_000 * DAY_MS);
const PATCH: &str = "diff --git a/src/a.py b/src/a.py\nindex 1111111..2222222 100644\n--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1 @@\n-x=1\n+x = 1\n";

fn lint() -> Case {
    case("ruff check . && black --check .", FailureType::Lint)
}

fn record(fixer: &str, outcome: FixOutcome, days_ago: i64) -> Record {
    Record {
        fingerprint: "print".to_owned(),
        failure_type: FailureType::Lint,
        tool: String::new(),
        fixer: fixer.to_owned(),
        outcome,
        at: Timestamp(NOW.0 - days_ago * DAY_MS),
    }
}

fn remembered(records: Vec<Record>) -> Memory {
    Memory { records, healed: Vec::new(), now: NOW }
}

fn order(memory: &Memory) -> Vec<String> {
    let registry = Registry::builtin().unwrap();
    open_fixers(&lint(), &registry, memory).into_iter().map(|c| c.command.id).collect()
}

fn many(fixer: &str, outcome: FixOutcome, n: usize) -> Vec<Record> {
    vec![record(fixer, outcome, 1); n]
}

#[test]
fn five_outcomes_overrule_the_shipped_order_and_four_do_not() {
    let shipped = order(&Memory::default());
    let last = shipped.iter().find(|id| *id == "ruff_unsafe").unwrap();
    assert_ne!(&shipped[0], last);
    assert_eq!(order(&remembered(many(last, FixOutcome::Accepted, 4))), shipped);
    assert_eq!(&order(&remembered(many(last, FixOutcome::Accepted, 5)))[0], last);
    let worse = order(&remembered(many(&shipped[0], FixOutcome::NoChange, 5)));
    assert_eq!(worse.last(), shipped.first());
    assert_eq!(worse.len(), shipped.len(), "the past only reorders");
}

#[test]
fn other_failures_of_the_same_tool_count_when_this_one_has_too_few() {
    let mut other = many("ruff_unsafe", FixOutcome::Accepted, 5);
    for r in &mut other {
        r.fingerprint = "another".to_owned();
    }
    assert_eq!(order(&remembered(other.clone()))[0], "ruff_unsafe");
    for r in &mut other {
        r.tool = "black".to_owned();
    }
    assert_eq!(order(&remembered(other)), order(&Memory::default()));
}

#[test]
fn three_failed_verifications_mute_for_a_day() {
    let failed = |days| remembered(vec![record("ruff_check", FixOutcome::VerifyFail, days); 3]);
    assert!(!order(&failed(0)).contains(&"ruff_check".to_owned()));
    assert!(order(&failed(2)).contains(&"ruff_check".to_owned()), "a day is over");
    let mut broken = failed(0);
    broken.records[1].outcome = FixOutcome::Accepted;
    assert!(order(&broken).contains(&"ruff_check".to_owned()), "not in a row");
    broken.records[1].outcome = FixOutcome::VerifyFail;
    broken.records[1].fingerprint = "another".to_owned();
    assert!(order(&broken).contains(&"ruff_check".to_owned()), "not this failure");
}

#[test]
fn old_outcomes_weigh_less_and_a_revert_weighs_three() {
    let score = |records| remembered(records).success(&lint(), "x").unwrap();
    let mut mixed = many("x", FixOutcome::Accepted, 3);
    mixed.extend(many("x", FixOutcome::VerifyFail, 3));
    let even = score(mixed.clone());
    assert!((even - 0.5).abs() < 0.01, "{even}");
    for r in &mut mixed[3..] {
        r.at = Timestamp(NOW.0 - 365 * DAY_MS);
    }
    assert!(score(mixed.clone()) > 0.7);
    mixed[3].at = NOW;
    mixed[3].outcome = FixOutcome::Reverted;
    assert!(score(mixed) < 0.55);
}

fn healed(approved: bool) -> Memory {
    let healed = Healed {
        fixer: "ruff_check".to_owned(),
        patch: PATCH.to_owned(),
        sha256: sha256(PATCH),
        approved,
    };
    Memory { records: Vec::new(), healed: vec![healed], now: NOW }
}

#[test]
fn an_accepted_patch_comes_back_first_with_no_more_than_its_makers_rights() {
    let registry = Registry::builtin().unwrap();
    let open = open_fixers(&lint(), &registry, &healed(false));
    let (replay, maker) =
        (&open[0].command, &open.iter().find(|c| c.command.id == "ruff_check").unwrap().command);
    assert_eq!(replay.id, format!("replay_{}", &sha256(PATCH)[..12]));
    assert_eq!((replay.safety, &replay.grant), (maker.safety, &maker.grant));
    assert!(replay.script.contains("same src/a.py 1111111\n"), "{}", replay.script);
    assert_eq!(replay.files[0].contents, PATCH);
    let asked = open_fixers(&lint(), &registry, &healed(true));
    assert_eq!(
        asked[0].command.safety,
        FixerSafety::ApprovalAlways,
        "an approval is for one patch"
    );
    let other = case("shellcheck a.sh", FailureType::Lint);
    let open = open_fixers(&other, &registry, &healed(false));
    assert!(
        open.iter().all(|c| !c.command.id.starts_with("replay")),
        "its maker does not claim this"
    );
}

#[test]
fn a_patch_that_does_not_say_what_it_changed_is_not_brought_back() {
    let mode = "diff --git a/src/a b/src/a\nold mode 100644\nnew mode 100755\n";
    assert_eq!(pre_images(mode), None);
    let new = "diff --git a/src/n b/src/n\nnew file mode 100644\n--- /dev/null\n+++ b/src/n\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(pre_images(new).as_deref(), Some("absent src/n\n"));
}

#[test]
fn the_decision_brings_the_patch_back() {
    let registry = Registry::builtin().unwrap();
    let Decision::FixSpecificIssue { fixers, .. } = decide(&lint(), &registry, &healed(false), 0.0)
    else {
        panic!("expected fixers")
    };
    assert!(fixers[0].id.starts_with("replay_"));
}

/// Runs a script in a folder; its exit code.
fn bash(folder: &std::path::Path, script: &str) -> i32 {
    let state = folder.parent().unwrap();
    let mut command = std::process::Command::new("bash");
    command.args(["-c", script]).current_dir(folder).env("STATE_DIR", state);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap().status.code().unwrap()
}

#[test]
fn a_replay_is_laid_down_only_where_its_files_are_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("it's work");
    std::fs::create_dir_all(work.join("src")).unwrap();
    std::fs::write(work.join("src/a b.py"), "x=1\n").unwrap();
    let diff = "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm a && \
                echo 'x = 1' > 'src/a b.py' && echo new > src/n.py && git add -A && \
                git diff --cached --binary > ../replay.patch && git reset -q --hard";
    assert_eq!(bash(&work, diff), 0);
    let patch = std::fs::read_to_string(folder.path().join("replay.patch")).unwrap();
    let registry = Registry::builtin().unwrap();
    let maker = registry.claims(&lint()).remove(0).command;
    let sha256 = sha256(&patch);
    let healed = Healed { fixer: maker.id.clone(), patch, sha256, approved: false };
    let script = replay(&healed, &maker).unwrap().script;
    assert_eq!(bash(&work, &script), 0);
    assert_eq!(std::fs::read_to_string(work.join("src/a b.py")).unwrap(), "x = 1\n");
    assert_eq!(bash(&work, &script), 3, "it is laid down already");
    assert_eq!(bash(&work, "git reset -q --hard; rm -f src/n.py; echo y >> 'src/a b.py'"), 0);
    assert_eq!(bash(&work, &script), 3, "the file is another one");
    assert_eq!(bash(&work, "git reset -q --hard; echo other > src/n.py"), 0);
    assert_eq!(bash(&work, &script), 3, "the new file is there");
}
