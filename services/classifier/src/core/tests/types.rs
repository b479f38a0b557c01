use super::{failed, type_of};
use meta_domain::failure::FailureType::{
    self, Infra, Lint, Policy, RateLimit, Runtime, SchemaMigration, Security, TestAssert,
    Transient, Typecheck,
};

fn check(cases: &[(&str, FailureType)]) {
    for (log, expected) in cases {
        assert_eq!(type_of(log), Some(*expected), "{log}");
    }
}

#[test]
fn network_failures_are_transient() {
    check(&[
        (
            "curl: (7) Failed to connect to 127.0.0.1 port 9 after 0 ms: Could not connect to server",
            Transient,
        ),
        ("npm error code EAI_AGAIN\nnpm error syscall getaddrinfo", Transient),
        (
            "fatal: unable to access 'https://git.example.org/x/': The requested URL returned error: 503",
            Transient,
        ),
        ("E: Failed to fetch http://deb.example.org/a.deb  502  Bad Gateway", Transient),
        (
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='pypi.example.org', port=443): Read timed out.",
            Transient,
        ),
    ]);
}

#[test]
fn platform_failures_are_infra() {
    check(&[
        (
            "<--- Last few GCs --->\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            Infra,
        ),
        ("tar: out.bin: Cannot write: No space left on device", Infra),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            Infra,
        ),
        (
            "Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\nMemoryError",
            Infra,
        ),
        (
            "npm error code EUSAGE\nnpm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync.",
            Infra,
        ),
        ("manifest for registry.example.org/x:9 not found: manifest unknown", Infra),
        ("##[error]The runner has received a shutdown signal.", Infra),
    ]);
}

#[test]
fn a_remote_that_says_too_many_is_rate_limit() {
    check(&[
        (
            "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
            RateLimit,
        ),
        ("HttpError: 403 API rate limit exceeded for installation ID 7.", RateLimit),
        ("pull failed: HTTP 429 Too Many Requests\nRetry-After: 120", RateLimit),
        ("An error occurred (ThrottlingException) when calling X: Rate exceeded", RateLimit),
    ]);
}

#[test]
fn failed_expectations_are_test_assert() {
    check(&[
        (
            "=== FAILURES ===\n____ test_x ____\nE       assert 1 == 2\ntests/test_a.py:3: AssertionError\nFAILED tests/test_a.py::test_x - assert 1 == 2\n1 failed, 2 passed in 0.03s",
            TestAssert,
        ),
        (
            "test tests::adds ... FAILED\n\nfailures:\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored",
            TestAssert,
        ),
        (
            "--- FAIL: TestAdd (0.00s)\n    add_test.go:7: got 3\nFAIL\nFAIL\texample.org/app\t0.002s",
            TestAssert,
        ),
        (
            " FAIL  src/a.test.ts > adds > works\nAssertionError: expected 3 to be 4\n Test Files  1 failed (1)\n      Tests  1 failed (1)",
            TestAssert,
        ),
        ("[ERROR] Tests run: 4, Failures: 1, Errors: 0, Skipped: 0", TestAssert),
        ("<testsuite name=\"a\" tests=\"2\" failures=\"1\" errors=\"0\">", TestAssert),
        ("5 examples, 2 failures", TestAssert),
    ]);
}

#[test]
fn style_findings_are_lint() {
    check(&[
        (
            "src/a.py:1:8: F401 [*] `os` imported but unused\nFound 1 error.\n[*] 1 fixable with the `--fix` option.",
            Lint,
        ),
        ("would reformat src/a.py\nOh no! 1 file would be reformatted.", Lint),
        (
            "/x/a.js\n  1:1  error  Unexpected var, use let or const instead  no-var\n\n✖ 1 problem (1 error, 0 warnings)",
            Lint,
        ),
        (
            "Checking formatting...\n[warn] src/a.js\n[warn] Code style issues found in the above file. Run Prettier with --write to fix.",
            Lint,
        ),
        (
            "error: unneeded `return` statement\n --> src/lib.rs:2:5\n  = note: `-D clippy::needless-return` implied by `-D warnings`",
            Lint,
        ),
        ("Diff in /x/src/main.rs:1:\n-fn main(){}\n+fn main() {}", Lint),
        (
            "In app/script.sh line 3:\nrm $1\n   ^-- SC2086 (info): Double quote to prevent globbing.",
            Lint,
        ),
        ("app/Dockerfile:1 DL3006 warning: Always tag the version of an image explicitly", Lint),
        ("src/a.cpp:3:5: error: code should be clang-formatted [-Wclang-format-violations]", Lint),
    ]);
}

#[test]
fn type_errors_are_typecheck() {
    check(&[
        (
            "src/a.py:3: error: Missing return statement  [return]\nFound 1 error in 1 file (checked 1 source file)",
            Typecheck,
        ),
        (
            "src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.",
            Typecheck,
        ),
        (
            "error[E0308]: mismatched types\n --> src/lib.rs:3:5\nerror: could not compile `app` (lib) due to 1 previous error",
            Typecheck,
        ),
        ("# example.org/app\n./a.go:5:2: undefined: fmt", Typecheck),
        ("error[E0432]: unresolved import `crate::shapes::Circle`\n --> src/lib.rs:1:5", Typecheck),
    ]);
}

#[test]
fn crashes_and_compile_errors_are_runtime() {
    check(&[
        (
            "Traceback (most recent call last):\n  File \"app.py\", line 1, in <module>\nModuleNotFoundError: No module named 'yaml'",
            Runtime,
        ),
        (
            "  File \"src/t.py\", line 3\n    x = 1\nTabError: inconsistent use of tabs and spaces in indentation",
            Runtime,
        ),
        (
            "error[E0433]: failed to resolve: use of unresolved module or unlinked crate `serde`\n --> src/lib.rs:1:5\nerror: could not compile `app` (lib)",
            Runtime,
        ),
        (
            "src/a.c:1:10: fatal error: zlib.h: No such file or directory\ncompilation terminated.",
            Runtime,
        ),
        ("thread 'main' panicked at src/main.rs:2:5:\nboom", Runtime),
        ("Segmentation fault (core dumped)", Runtime),
        ("bash: line 1: cmake: command not found", Runtime),
        (
            "==================================== ERRORS ====\n___ ERROR collecting tests/test_a.py ___\nE   ModuleNotFoundError: No module named 'x'\n1 error in 0.05s",
            Runtime,
        ),
    ]);
}

#[test]
fn migration_tools_that_stop_are_schema_migration() {
    check(&[
        (
            "  FAILED: Multiple head revisions are present for given argument 'head'; please specify a specific target revision",
            SchemaMigration,
        ),
        (
            "CommandError: Conflicting migrations detected; multiple leaf nodes in the migration graph: (0002_a, 0002_b in shop).",
            SchemaMigration,
        ),
        (
            "warning[adding-required-field]: Adding a new column that is `NOT NULL` and has no default value to an existing table effectively makes it required.",
            SchemaMigration,
        ),
        ("Error: P3009\n\nmigrate found failed migrations in the target database", SchemaMigration),
        (
            "ERROR: Migration of schema \"public\" to version \"3 - x\" failed! Changes successfully rolled back.",
            SchemaMigration,
        ),
    ]);
}

#[test]
fn findings_of_scanners_and_refused_credentials_are_security() {
    check(&[
        (
            ">> Issue: [B202:tarfile_unsafe_members] tarfile.extractall used without any validation.\n   Severity: High   Confidence: High",
            Security,
        ),
        (
            "      {\n        \"type\": \"AWS Access Key\",\n        \"hashed_secret\": \"aa\",",
            Security,
        ),
        ("error: 1 vulnerability found!\nID: RUSTSEC-2023-0001", Security),
        ("npm error code E401\nnpm error Incorrect or missing password.", Security),
        ("Total: 2 (HIGH: 2, CRITICAL: 0)", Security),
    ]);
}

#[test]
fn refusals_of_control_planes_and_rules_are_policy() {
    check(&[
        (
            "error[rejected]: failed to satisfy license requirements\n  ┌─ gpl-thing 0.1.0:4:12\nlicenses FAILED",
            Policy,
        ),
        ("remote: error: GH006: Protected branch update failed for refs/heads/main.", Policy),
        ("##[error]Resource not accessible by integration", Policy),
        ("FAIL - deploy.yaml - main - Containers must not run as root", Policy),
        (
            "Error from server (Forbidden): deployments.apps is forbidden: User \"ci\" cannot create resource \"deployments\" in API group \"apps\"",
            Policy,
        ),
    ]);
}

#[test]
fn a_failure_that_nothing_explains_is_unknown() {
    let signal = failed("./deploy.sh", "starting\nall quiet\n");
    assert_eq!(signal.failure_type, FailureType::Unknown);
}
