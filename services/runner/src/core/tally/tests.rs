use super::{Counts, Tally, junit, of_log};

fn check(log: &str, tool: &str, executed: u64, failed: u64, skipped: u64) {
    let tally = of_log(log.as_bytes());
    let expected = Counts { executed, failed, skipped };
    assert_eq!(tally.tools.get(tool), Some(&expected), "{log}\n{tally:?}");
}

#[test]
fn tools_that_sum_up_are_understood() {
    check("=== 1 failed, 2 passed, 1 skipped, 1 xfailed in 0.03s ===\n", "pytest", 3, 1, 2);
    check("\x1b[32m3 passed\x1b[0m, 1 warning in 0.01s\n", "pytest", 3, 0, 0);
    check("1 passed in 61.20s (0:01:01)", "pytest", 1, 0, 0);
    check("=== no tests ran in 0.00s ===\n", "pytest", 0, 0, 0);
    check("Ran 4 tests in 0.001s\n\nOK (skipped=1, expected failures=1)\n", "unittest", 2, 0, 2);
    check("Ran 4 tests in 0.001s\n\nFAILED (failures=1, errors=1)\n", "unittest", 4, 2, 0);
    let cargo = "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 2 filtered out; \
                 finished in 0.00s\n";
    check(cargo, "cargo test", 2, 1, 3);
    let ok = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    check(&format!("{ok}{ok}"), "cargo test", 6, 0, 0);
    let nextest = "     Summary [   0.010s] 3 tests run: 2 passed, 1 failed, 1 skipped\n";
    check(nextest, "nextest", 3, 1, 1);
    check("Tests:       1 failed, 1 skipped, 2 passed, 4 total\n", "jest", 3, 1, 1);
    check("      Tests  1 failed | 2 passed | 1 skipped (4)\n", "vitest", 3, 1, 1);
    check("  2 passing (5ms)\n  1 pending\n  1 failing\n", "mocha", 3, 1, 1);
    check("ℹ tests 4\nℹ pass 2\nℹ fail 1\nℹ skipped 1\n", "node", 3, 1, 1);
    check("ok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no\n", "tap", 2, 1, 1);
    check("[ERROR] Tests run: 3, Failures: 1, Errors: 0, Skipped: 1\n", "surefire", 2, 1, 1);
    check("3 examples, 1 failure, 1 pending\n", "rspec", 2, 1, 1);
    check("Tests: 3, Assertions: 3, Failures: 1.\n", "phpunit", 3, 1, 0);
    check("100% tests passed, 0 tests failed out of 3\n", "ctest", 3, 0, 0);
    check("Passed!  - Failed:     0, Passed:     3, Skipped:     1, Total: 4\n", "dotnet", 3, 0, 1);
}

#[test]
fn go_counts_packages_and_with_v_its_tests() {
    let quiet = "--- FAIL: TestA (0.00s)\n    a_test.go:5: no\nFAIL\nFAIL\tx/a\t0.01s\nok  \tx/b\t0.01s\n\
                 ?   \tx/c\t[no test files]\n";
    check(quiet, "go packages", 2, 1, 0);
    assert!(!of_log(quiet.as_bytes()).tools.contains_key("go test"));
    let verbose = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n--- SKIP: TestB (0.00s)\n\
                   ok  \tx/a\t0.01s\n";
    check(verbose, "go test", 1, 0, 1);
    check("ok  \tx/a\t0.01s [no tests to run]\n", "go packages", 0, 0, 0);
}

#[test]
fn names_tell_which_test_is_newly_skipped() {
    for (before, after, name) in [
        ("t.py::test_a FAILED [ 50%]", "t.py::test_a SKIPPED (no) [ 50%]", "t.py::test_a"),
        ("test tests::a ... FAILED", "test tests::a ... ignored", "tests::a"),
        (
            "test_a (t.T.test_a) ... FAIL",
            "test_a (t.T.test_a) ... skipped 'no'",
            "test_a (t.T.test_a)",
        ),
        ("not ok 1 - adds", "ok 1 - adds # SKIP", "adds"),
        ("  ✕ adds (3 ms)", "  ○ skipped adds", "adds"),
    ] {
        let newly = of_log(after.as_bytes()).newly_skipped(&of_log(before.as_bytes()));
        assert_eq!(newly, [name], "{before}");
        assert!(of_log(before.as_bytes()).newly_skipped(&of_log(after.as_bytes())).is_empty());
    }
}

#[test]
fn junit_reports_are_counted_by_their_cases() {
    let report = "<?xml version=\"1.0\"?><testsuites><testsuite tests=\"9\">\
        <testcase classname=\"a.B\" name=\"ok\" time=\"0\"/>\
        <testcase classname=\"a.B\" name=\"bad\"><failure message=\"x\">y</failure></testcase>\
        <testcase name=\"later\" classname=\"a.B\"><skipped/></testcase>\
        </testsuite></testsuites>";
    let tally = junit::read(report);
    let counts = Counts { executed: 2, failed: 1, skipped: 1 };
    assert_eq!(tally.tools["junit"], counts);
    assert!(tally.executed.contains("a.B::bad") && tally.skipped.contains("a.B::later"));
    assert!(junit::read("<testcase name=\"torn").is_empty());
}

#[test]
fn the_most_of_several_executions_is_the_measure() {
    let first = of_log(b"5 passed in 0.1s\n");
    let crashed = of_log(b"=== 1 error in 0.1s ===\n");
    let most = crashed.clone().most(first.clone());
    assert_eq!(most.tools["pytest"].executed, 5);
    assert_eq!(first.most(crashed).tools["pytest"].executed, 5);
}

#[test]
fn lines_that_only_look_alike_count_nothing() {
    for line in [
        "waiting in 5s",
        "3 files changed in 2s",
        "OK",
        "ok then",
        "FAILED (errors=1)",
        "Tests: none",
        "Ran 3 jobs in 2s",
        "test this ... please",
        "4 passing references were found elsewhere in 2",
    ] {
        let tally = of_log(line.as_bytes());
        assert!(tally.tools.is_empty() || line.contains("passing"), "{line}: {tally:?}");
    }
}

#[test]
fn output_that_is_no_text_and_very_long_lines_are_survived() {
    let mut log = vec![b'x'; 10 * 1024 * 1024];
    log.extend_from_slice(b"\n\xff\xfe\x00\x1b[\n3 passed in 0.1s\n");
    assert_eq!(of_log(&log).tools["pytest"].executed, 3);
    assert_eq!(of_log(b""), Tally::default());
}
