//! Hostile steps against every level of the sandbox, and against none: a wall that nothing runs
//! into proves nothing.

#[path = "escape/cases.rs"]
mod cases;
#[path = "escape/scene.rs"]
mod scene;
mod support;

use cases::{CASES, Case, Expected, attempt};
use scene::{At, Scene, is_root};
use std::process::Command;

/// The known ways out; those behind them are this product's own.
const KNOWN: u32 = 55;
/// How many of the known ones `strict` has to contain.
const CONTAINED_MIN: usize = 54;
/// How many have to get through where there is no sandbox.
const ESCAPES_MIN: usize = 20;
/// Says to a test that it is in a user namespace of its own already.
const INSIDE: &str = "METABUILDER_TEST_INSIDE";

fn expected(case: &Case, at: At) -> Expected {
    match at {
        At::Strict => case.strict,
        At::Bwrap => case.bwrap,
        At::Nothing => case.nothing,
    }
}

/// Runs every case; answers those that were contained and those that got through.
async fn run_all(at: At) -> (Vec<u32>, Vec<u32>) {
    let only = std::env::vars().find(|(name, _)| name == "METABUILDER_TEST_CASE").map(|(_, v)| v);
    let (mut contained, mut escaped, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let mut scene = Scene::set(at).await;
    for case in CASES {
        let expected = expected(case, at);
        if expected == Expected::NotRun
            || only.as_ref().is_some_and(|n| *n != case.number.to_string())
        {
            continue;
        }
        let (held, said) = attempt(&scene, case).await;
        eprintln!(
            "{:>2} {} {}: {said}",
            case.number,
            if held { "held" } else { "OUT " },
            case.title
        );
        if held {
            contained.push(case.number);
        } else {
            escaped.push(case.number);
        }
        let wrong = match expected {
            Expected::Contained => !held,
            Expected::Escapes => held,
            Expected::Either | Expected::NotRun => false,
        };
        if wrong {
            faults.push(format!("{} {}: expected {expected:?}: {said}", case.number, case.title));
        }
        if case.number == 10 && !held {
            scene = Scene::set(at).await;
        }
    }
    eprintln!("{at:?}: {} contained, {} got through: {escaped:?}", contained.len(), escaped.len());
    assert!(faults.is_empty(), "at {at:?}:\n{}", faults.join("\n"));
    (contained, escaped)
}

/// A normal user can make folders of a limited size only in a user namespace: the test is started
/// again in one, as such a runner would be. Answers whether that was done.
fn was_run_inside(test: &str) -> bool {
    if is_root() || std::env::vars().any(|(name, _)| name == INSIDE) {
        return false;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-current-user", "--keep-caps", "--mount"])
        .arg(std::env::current_exe().expect("the path of this test"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("the level strict needs `unshare` for a normal user");
    assert!(status.success());
    true
}

#[test]
fn the_level_strict_contains_every_hostile_step() {
    if was_run_inside("the_level_strict_contains_every_hostile_step") {
        return;
    }
    let (contained, _) = block_on(run_all(At::Strict));
    let known = contained.iter().filter(|number| **number < KNOWN).count();
    assert!(known >= CONTAINED_MIN, "{known} of {KNOWN}");
}

#[test]
fn the_level_bwrap_contains_what_it_claims() {
    block_on(run_all(At::Bwrap));
}

#[test]
fn without_a_sandbox_hostile_steps_get_through() {
    let (_, escaped) = block_on(run_all(At::Nothing));
    assert!(escaped.len() >= ESCAPES_MIN, "only {} got through", escaped.len());
}

#[test]
fn the_page_says_what_the_levels_contain() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/SANDBOX.md");
    let text = std::fs::read_to_string(page).expect("docs/SANDBOX.md");
    for line in table().lines() {
        assert!(text.contains(line), "docs/SANDBOX.md lacks the line\n{line}\nof\n{}", table());
    }
}

/// The table of the page.
fn table() -> String {
    let mut text = String::from("| # | hostile step | about | strict | bwrap | none |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    let word = |expected: Expected| match expected {
        Expected::Contained => "contained",
        Expected::Escapes => "**gets through**",
        Expected::Either => "as the machine is",
        Expected::NotRun => "not tried",
    };
    for c in CASES {
        let levels = [c.strict, c.bwrap, c.nothing].map(word).join(" | ");
        text.push_str(&format!("| {} | {} | {} | {levels} |\n", c.number, c.title, c.about));
    }
    text
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}
