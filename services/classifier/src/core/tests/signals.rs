use super::{by_text, failed};
use crate::core::with_history;
use meta_domain::failure::FailureType::{self, Infra, Lint, RateLimit, Runtime, Unknown};
use meta_domain::failure::Severity;
use meta_domain::signal::{Location, Signal};

fn place(file: &str, line: u32, column: u32, code: &str, test: &str) -> Location {
    Location { file: file.into(), line, column, code: code.into(), test: test.into() }
}

fn first_place(log: &str) -> Location {
    by_text(log).expect(log).locations.first().expect(log).clone()
}

#[test]
fn locations_come_with_their_codes() {
    for (log, expected) in [
        ("src/a.py:1:8: F401 [*] `os` imported but unused", place("src/a.py", 1, 8, "F401", "")),
        (
            "src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.",
            place("src/a.ts", 3, 5, "TS2322", ""),
        ),
        (
            "src/a.py:3: error: Missing return statement  [return]",
            place("src/a.py", 3, 0, "return", ""),
        ),
        (
            "error[E0308]: mismatched types\n --> src/lib.rs:3:5\n",
            place("src/lib.rs", 3, 5, "E0308", ""),
        ),
        ("./a.go:5:2: undefined: fmt", place("a.go", 5, 2, "", "")),
        ("Diff in /x/src/main.rs:7:", place("/x/src/main.rs", 7, 0, "", "")),
        (
            "app/Dockerfile:1 DL3006 warning: Always tag",
            place("app/Dockerfile", 1, 0, "DL3006", ""),
        ),
        (
            "FAILED tests/test_a.py::TestA::test_x - assert 1 == 2",
            place("tests/test_a.py", 0, 0, "", "TestA::test_x"),
        ),
        (
            "src/a.c:1:10: fatal error: zlib.h: No such file or directory",
            place("src/a.c", 1, 10, "", ""),
        ),
    ] {
        assert_eq!(first_place(log), expected, "{log}");
    }
}

#[test]
fn a_code_named_below_a_place_belongs_to_it() {
    let log = "error: called `.bytes().nth()` on a `String`\n --> src/main.rs:5:13\n  |\n  = help: for further information visit https://rust-lang.github.io/rust-clippy/master/index.html#bytes_nth";
    let signal = by_text(log).expect("a signal");
    assert_eq!(signal.locations, [place("src/main.rs", 5, 13, "bytes_nth", "")]);
    assert_eq!((signal.tool.as_str(), signal.failure_type), ("clippy", Lint));
}

#[test]
fn the_tool_comes_from_the_rule_or_the_command() {
    assert_eq!(failed("make check", "src/a.ts(3,5): error TS2322: x").tool, "tsc");
    assert_eq!(failed("npx eslint .", "").tool, "eslint");
}

#[test]
fn a_server_s_wait_is_kept_in_milliseconds() {
    for (wait, expected) in [
        ("Retry-After: 120", Some(120_000)),
        ("retry after 3s", Some(3_000)),
        ("X-RateLimit-Reset: 60", Some(60_000)),
        ("X-RateLimit-Reset: 1700000000", None),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", None),
    ] {
        let signal = by_text(&format!("HTTP/1.1 429 Too Many Requests\n{wait}")).expect(wait);
        assert_eq!((signal.failure_type, signal.retry_after_ms), (RateLimit, expected), "{wait}");
    }
}

#[test]
fn secrets_never_reach_a_signal() {
    let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4");
    let log = format!(
        "+ GITHUB_TOKEN={token}\nError: request with {token} failed: HTTP 429\nPASSWORD=hunter22"
    );
    let signal = failed("./pull.sh", &log);
    let text = serde_json::to_string(&signal).expect("a signal is JSON");
    assert!(!text.contains(&token) && !text.contains("hunter22"), "{text}");
    assert!(text.contains("***"));
}

#[test]
fn the_same_failure_has_the_same_fingerprint() {
    let of = |log: &str| by_text(log).expect(log).fingerprint;
    let one =
        of("10:01:02 FAILED tests/test_a.py::test_x - assert 1 == 2\n=== 1 failed in 0.10s ===");
    let two = of(
        "noise\n23:59:58 FAILED tests/test_a.py::test_x - assert 7 == 9\n=== 1 failed in 3.00s ===",
    );
    let other = of("FAILED tests/test_a.py::test_y - KeyError\n=== 1 failed in 0.10s ===");
    assert_eq!(one, two);
    assert_ne!(one, other);
    assert_eq!(one.len(), 16);
}

#[test]
fn what_a_type_allows_is_in_the_signal() {
    let lint = failed("ruff check", "src/a.py:1:8: F401 `os` imported but unused");
    assert_eq!((lint.severity, lint.can_retry), (Severity::Low, false));
    let disk = failed("make", "write error: No space left on device");
    assert_eq!((disk.severity, disk.can_retry), (Severity::High, true));
    let leak = failed("git push", "remote: - Push cannot contain secrets");
    assert_eq!((leak.severity, leak.can_retry), (Severity::Critical, false));
}

#[test]
fn confidence_is_a_share_and_follows_the_evidence() {
    let sure =
        failed("pytest", "FAILED tests/a.py::test_x - assert 1 == 2\n=== 1 failed in 0.1s ===");
    let unsure = failed("make", "Error: something broke");
    assert!(sure.confidence > unsure.confidence);
    for confidence in [sure.confidence, unsure.confidence, failed("x", "").confidence] {
        assert!((0.0..=1.0).contains(&confidence));
    }
}

fn signal_of(failure_type: FailureType) -> Signal {
    Signal { failure_type, ..failed("x", "") }
}

#[test]
fn two_unknown_failures_in_a_row_on_a_step_ask_for_a_new_plan() {
    let again = with_history(signal_of(Unknown), &[Unknown], &[Unknown]);
    assert!(again.requires_replan);
    assert_eq!(again.source, "consecutive_unknown_failures");
    let broken_row = with_history(signal_of(Unknown), &[Unknown, Lint], &[]);
    assert!(!broken_row.requires_replan);
    let first = with_history(signal_of(Unknown), &[], &[Unknown]);
    assert!(!first.requires_replan);
}

#[test]
fn more_than_three_types_on_a_run_ask_for_a_new_plan() {
    let fourth = with_history(signal_of(Runtime), &[], &[Lint, Infra, RateLimit]);
    assert!(fourth.requires_replan);
    assert_eq!(fourth.source, "mixed_failure_types");
    let third = with_history(signal_of(Runtime), &[Lint], &[Lint, Infra, Runtime]);
    assert!(!third.requires_replan);
}

#[test]
fn the_exception_below_a_failed_test_is_evidence_too() {
    let log = "ERROR: test_up (test_m.T.test_up)\n\
               Traceback (most recent call last):\n\
               \x20 File \"/x/src/m.py\", line 2, in up\n\
               \x20   return math.ceil(n)\n\
               NameError: name 'math' is not defined\n\
               \n\
               FAILED (errors=1)\n";
    let signal = by_text(log).expect(log);
    assert_eq!(signal.failure_type, FailureType::TestAssert);
    let named = |line: &&meta_domain::signal::EvidenceLine| line.text.starts_with("NameError: ");
    assert_eq!(signal.evidence.iter().filter(named).count(), 1, "{:?}", signal.evidence);
}
