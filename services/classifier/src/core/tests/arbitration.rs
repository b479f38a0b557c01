use super::{by_text, ended, failed, type_of};
use meta_domain::failure::FailureType::{
    self, Infra, Lint, RateLimit, Runtime, SchemaMigration, TestAssert, Transient, Typecheck,
    Unknown,
};
use meta_domain::signal::{ExitInfo, UnknownReason};

#[test]
fn a_successful_exit_is_no_failure_whatever_the_words() {
    let log = "FATAL ERROR: everything exploded\nFAILED tests/a.py::b\nerror[E0308]: mismatched";
    assert_eq!(ended("make", log, ExitInfo::code(0)), None);
}

#[test]
fn green_logs_full_of_frightening_words_never_alarm() {
    for log in [
        "test error::handles_panic ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored",
        "=== 12 passed, 3 warnings in 0.40s ===",
        "Tests run: 9, Failures: 0, Errors: 0, Skipped: 0\n[INFO] BUILD SUCCESS",
        "  ✓ rejects ECONNREFUSED (3 ms)\n  ✓ throws TypeError: x\nTests:       2 passed, 2 total",
        "found 0 vulnerabilities\n0 errors, 0 warnings, 0 informations",
        "java.lang.IllegalStateException: expected in this test\nTests run: 3, Failures: 0, Errors: 0, Skipped: 0",
        "Compiling error-chain v0.12\nFinished dev profile",
        "",
    ] {
        assert_eq!(type_of(log), None, "{log}");
    }
}

#[test]
fn an_outside_kill_outranks_the_failures_above_it() {
    let tests = "FAILED tests/a.py::test_x - assert 1 == 2\n";
    let log = format!("{tests}error: No space left on device");
    assert_eq!(type_of(&log), Some(Infra));
    for exit in [
        ExitInfo { timed_out: true, ..ExitInfo::default() },
        ExitInfo { oom_killed: true, ..ExitInfo::default() },
        ExitInfo { runner_lost: true, ..ExitInfo::default() },
    ] {
        let signal = ended("pytest", tests, exit).expect("a signal");
        assert_eq!(signal.failure_type, Infra, "{exit:?}");
        assert!(signal.source.starts_with("exit."));
    }
}

#[test]
fn a_kill_signal_without_other_evidence_is_infra() {
    let killed = ExitInfo { signal: Some(9), ..ExitInfo::default() };
    assert_eq!(ended("make", "linking", killed).map(|s| s.failure_type), Some(Infra));
    let code = ended("make", "linking", ExitInfo::code(137));
    assert_eq!(code.map(|s| s.failure_type), Some(Infra));
    let crashed = ended("./app", "", ExitInfo::code(139)).expect("a signal");
    assert_eq!(crashed.failure_type, Runtime);
}

#[test]
fn a_time_limit_inside_the_command_is_infra() {
    let signal = ended("timeout 20 python -m pytest", "....", ExitInfo::code(124));
    assert_eq!(signal.map(|s| s.failure_type), Some(Infra));
}

#[test]
fn wrapper_lines_never_decide() {
    let log = "Error: expected ';'\nmake: *** [Makefile:3: all] Error 1\n##[error]Process completed with exit code 1.";
    let signal = failed("make", log);
    assert!(signal.message.contains("expected ';'"), "{}", signal.message);
    let only = failed("make", "##[error]Process completed with exit code 1.");
    assert_eq!(only.failure_type, Unknown);
}

#[test]
fn retried_warnings_do_not_decide() {
    let log = "warning: spurious network error (3 tries remaining): Connection reset by peer\nerror[E0308]: mismatched types\n --> src/lib.rs:3:5";
    assert_eq!(type_of(log), Some(Typecheck));
    let only = "Retrying in 2 s: Connection refused\ndone";
    assert_eq!(type_of(only), None);
}

#[test]
fn the_first_fatal_event_of_a_band_decides() {
    let log = "src/a.py:1:8: F401 `os` imported but unused\nFound 1 error.\n\n\n\n\nsrc/a.py:9: error: Missing return statement  [return]";
    assert_eq!(type_of(log), Some(Lint));
}

#[test]
fn the_tie_break_decides_within_one_event() {
    let log = "HttpError: 403 Forbidden: API rate limit exceeded for user ID 7.";
    assert_eq!(type_of(log), Some(RateLimit));
    let disk = "cc1: fatal error: error writing to /tmp/a.s: No space left on device";
    assert_eq!(type_of(disk), Some(Infra));
    let sql = "Running upgrade -> ab12 (alembic)\nsqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedTable) relation \"x\" does not exist";
    assert_eq!(type_of(sql), Some(SchemaMigration));
}

#[test]
fn a_test_that_dies_of_a_network_error_is_still_a_test() {
    let log = "E   requests.exceptions.ConnectionError: refused\nFAILED tests/a.py::test_x - requests.exceptions.ConnectionError\n=== 1 failed in 0.2s ===";
    let signal = by_text(log).expect("a signal");
    assert_eq!(signal.failure_type, TestAssert);
    assert_eq!(signal.runner_up, Some(Transient));
}

#[test]
fn a_known_checker_with_an_empty_log_is_inferred_weakly() {
    for (command, expected) in [
        ("black --check --quiet src", Lint),
        ("mypy --no-error-summary .", Typecheck),
        ("cd x && git diff --exit-code", Lint),
        ("bandit -q -r src", FailureType::Security),
    ] {
        let signal = failed(command, "");
        assert_eq!(signal.failure_type, expected, "{command}");
        assert!(signal.confidence <= 0.5, "{}", signal.confidence);
        assert!(!signal.tool.is_empty());
    }
}

#[test]
fn a_missing_checker_is_runtime_not_a_finding() {
    let signal = failed("ruff check src", "bash: line 1: ruff: command not found");
    assert_eq!(signal.failure_type, Runtime);
}

#[test]
fn a_silent_failure_is_unknown_with_no_log() {
    let signal = ended("exit 42", "", ExitInfo::code(42)).expect("a signal");
    assert_eq!(signal.failure_type, Unknown);
    assert_eq!(signal.unknown_reason, Some(UnknownReason::NoLog));
    assert!(signal.message.contains("42"));
}

#[test]
fn output_that_no_rule_knows_is_unknown_with_its_last_line() {
    let signal = failed("./x", "one\ntwo\n");
    assert_eq!(signal.unknown_reason, Some(UnknownReason::NoRule));
    assert!(signal.message.ends_with("two"));
    assert_eq!(signal.evidence.last().map(|line| line.line), Some(2));
}
