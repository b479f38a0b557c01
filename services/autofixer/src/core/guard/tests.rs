use super::*;
use std::fmt::Write as _;

pub(super) fn policy(safety: FixerSafety, failure_type: FailureType) -> PatchPolicy {
    PatchPolicy {
        writable: Vec::new(),
        grant: PathGrant::default(),
        safety,
        kind: FixerKind::Script,
        failure_type,
        approval_on_fix: false,
        command: None,
        located: Vec::new(),
        refused: Vec::new(),
        bot_commits_in_a_row: 0,
        before: Vec::new(),
    }
}

fn safe() -> PatchPolicy {
    policy(FixerSafety::Safe, FailureType::Lint)
}

/// A patch of one file: removed and added lines.
fn edit(path: &str, removed: &[&str], added: &[&str]) -> String {
    let mut out = format!(
        "diff --git a/{path} b/{path}\nindex 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n"
    );
    writeln!(out, "@@ -1,{} +1,{} @@", removed.len(), added.len()).unwrap();
    for line in removed {
        writeln!(out, "-{line}").unwrap();
    }
    for line in added {
        writeln!(out, "+{line}").unwrap();
    }
    out
}

fn create(path: &str, mode: &str, lines: &[&str]) -> String {
    let mut out = format!(
        "diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
    );
    writeln!(out, "@@ -0,0 +1,{} @@", lines.len()).unwrap();
    for line in lines {
        writeln!(out, "+{line}").unwrap();
    }
    out
}

fn accepted(patch: &str, policy: &PatchPolicy) {
    assert_eq!(review(patch, policy).verdict, GuardVerdict::Accept, "{patch}");
}

fn rejected(patch: &str, policy: &PatchPolicy, why: &str) {
    match review(patch, policy).verdict {
        GuardVerdict::Reject { reason } => {
            assert!(reason.contains(why), "{reason:?} lacks {why:?}\n{patch}");
        }
        other => panic!("{other:?}\n{patch}"),
    }
}

fn asked(patch: &str, policy: &PatchPolicy, why: &str) {
    match review(patch, policy).verdict {
        GuardVerdict::NeedsApproval { reason } => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}\n{patch}"),
    }
}

#[test]
fn a_plain_edit_in_a_writable_folder_is_taken() {
    let review = review(&edit("src/a.py", &["x=1"], &["x = 1", ""]), &safe());
    assert_eq!(review.verdict, GuardVerdict::Accept);
    assert_eq!((review.stats.files, review.stats.added, review.stats.removed), (1, 2, 1));
    assert_eq!(review.stats.sha256.len(), 64);
}

#[test]
fn patterns_compile() {
    assert!(suppressions::all_compile());
    assert!(content::all_compile());
    assert!(evasion::all_compile());
    assert!(manifests::all_compile());
    assert!(tests_kept::all_compile());
}

#[test]
fn paths_outside_the_writable_ones_are_refused_until_granted() {
    let patch = edit("crates/core/src/lib.rs", &["a"], &["b"]);
    rejected(&patch, &safe(), "crates/core/src/lib.rs: is not writable");
    let mut granted = safe();
    granted.grant.add = vec!["**/*.rs".to_owned()];
    accepted(&patch, &granted);
    accepted(&edit("main.rs", &["a"], &["b"]), &granted);
    let mut planned = safe();
    planned.writable = vec!["crates/".to_owned()];
    accepted(&patch, &planned);
    planned.writable = vec!["crates".to_owned()];
    accepted(&patch, &planned);
    rejected(&edit("srcx/a.py", &["a"], &["b"]), &safe(), "not writable");
}

#[test]
fn denied_paths_stay_denied_whatever_is_granted() {
    let mut all = safe();
    all.grant = PathGrant { add: vec!["**/*".to_owned()], modes: true, files_max: 0, lines_max: 0 };
    all.writable = vec!["**".to_owned(), ".env".to_owned(), ".git/hooks/pre-commit".to_owned()];
    for path in [
        ".git/hooks/pre-commit",
        ".GIT/config",
        "src/.git/x",
        "git~1/x",
        ".git./x",
        "src/node_modules/a/i.js",
        "src/__pycache__/a.py",
        ".env",
        "src/.env.local",
        "SRC/.ENV",
        "config/secrets/k.txt",
        "app/config/secrets.yml",
        "../outside",
        "src/../../outside",
        "src/./a",
        "src//a",
        "c:/windows",
    ] {
        rejected(&create(path, "100644", &["x"]), &all, path);
    }
    rejected(&create("src\\..\\x", "100644", &["x"]), &all, "relative path");
}

#[test]
fn absolute_paths_are_refused() {
    let patch = "diff --git a//tmp/evil b//tmp/evil\nnew file mode 100644\n--- /dev/null\n+++ b//tmp/evil\n@@ -0,0 +1 @@\n+x\n";
    rejected(patch, &safe(), "relative path");
}

#[test]
fn links_submodules_binaries_and_modes_are_refused() {
    rejected(&create("src/l", "120000", &["/etc/passwd"]), &safe(), "symbolic links");
    rejected(&create("src/sub", "160000", &["Subproject commit 1"]), &safe(), "submodules");
    rejected(&create("src/run", "100755", &["#!/bin/sh"]), &safe(), "mode");
    rejected(&create("src/odd", "100600", &["x"]), &safe(), "file mode");
    let through = create("src/d", "120000", &["/tmp"]) + &create("src/d/evil", "100644", &["x"]);
    rejected(&through, &safe(), "symbolic links");
    let below = create("src/d", "100644", &["x"]) + &create("src/d/evil", "100644", &["x"]);
    rejected(&below, &safe(), "parent of the path");
    let binary = "diff --git a/src/b b/src/b\nnew file mode 100644\nindex 0000000..1111111\nGIT binary patch\nliteral 3\nKcmZ=N0000002BZK\n\nliteral 0\nHcmV?d00001\n\n";
    rejected(binary, &safe(), "binary");
    rejected(
        "diff --git a/src/b b/src/b\nindex 1..2 100644\nBinary files a/src/b and b/src/b differ\n",
        &safe(),
        "binary",
    );
}

#[test]
fn a_mode_change_needs_its_own_grant() {
    let patch = "diff --git a/src/run.sh b/src/run.sh\nold mode 100644\nnew mode 100755\n";
    rejected(patch, &policy(FixerSafety::Guarded, FailureType::Policy), "mode");
    let mut granted = policy(FixerSafety::Guarded, FailureType::Policy);
    granted.grant.modes = true;
    accepted(patch, &granted);
}

#[test]
fn both_ends_of_a_rename_count() {
    let rename = |from: &str, to: &str| {
        format!(
            "diff --git a/{from} b/{to}\nsimilarity index 100%\nrename from {from}\nrename to {to}\n"
        )
    };
    accepted(&rename("src/a", "src/b"), &safe());
    rejected(&rename("src/a", "a"), &safe(), "a: is not writable");
    rejected(&rename(".gitignore", "src/x"), &safe(), ".gitignore");
    rejected(&rename("tests/test_a.py", "src/x.py"), &safe(), "test file");
}

#[test]
fn a_path_may_be_touched_once() {
    let twice = edit("src/a.py", &["a"], &["b"]) + &edit("src/a.py", &["b"], &["c"]);
    rejected(&twice, &safe(), "twice");
    let case = edit("src/a.py", &["a"], &["b"]) + &edit("src/A.py", &["b"], &["c"]);
    rejected(&case, &safe(), "twice");
}

#[test]
fn sizes_are_limited_and_a_grant_raises_them() {
    let long: Vec<&str> = vec!["aaaa"; 501];
    let patch = create("src/big.txt", "100644", &long);
    rejected(&patch, &safe(), "501 lines (at most 500)");
    let mut granted = safe();
    granted.grant.lines_max = 6000;
    accepted(&patch, &granted);
    let many: String = (0..51).map(|n| create(&format!("src/{n}"), "100644", &["x"])).collect();
    rejected(&many, &safe(), "51 files (at most 50)");
    rejected(&create("src/x", "100644", &["x".repeat(10_000_000).as_str()]), &granted, "bytes");
    rejected("", &safe(), "changes nothing");
}

#[test]
fn odd_names_and_contents_are_refused() {
    let quoted = "diff --git \"a/src/a\\rb\" \"b/src/a\\rb\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/src/a\\rb\"\n@@ -0,0 +1 @@\n+x\n";
    rejected(quoted, &safe(), "invisible");
    let nul = "diff --git \"a/src/a\\000b\" \"b/src/a\\000b\"\nnew file mode 100644\n";
    rejected(nul, &safe(), "invisible");
    rejected(
        &create("src/a.py", "100644", &["x = 1  # \u{202e} } if ok"]),
        &safe(),
        "bidirectional",
    );
    rejected(&create("src/a.py", "100644", &["<<<<<<< HEAD"]), &safe(), "merge conflict");
    accepted(&edit("src/a.py", &["x=1\r"], &["x = 1\r"]), &safe());
}

#[test]
fn secrets_are_refused_unless_they_only_move() {
    let key = format!("key = \"AKIA{}\"", "IOSFODNN7EXAMPLE");
    rejected(&edit("src/a.py", &["x"], &[&key]), &safe(), "secret");
    accepted(&edit("src/a.py", &[&format!("  {key}")], &[&key]), &safe());
    rejected(
        &create("src/a.env.py", "100644", &["password = 'correct-horse-battery'"]),
        &safe(),
        "secret",
    );
    rejected(&create("src/k", "100644", &["-----BEGIN RSA PRIVATE KEY-----"]), &safe(), "secret");
}

#[test]
fn new_suppressions_are_refused() {
    for (path, line) in [
        ("src/a.py", "import os  # noqa"),
        ("src/a.py", "x = f()  # type: ignore[arg-type]"),
        ("src/a.py", "x = 1  # nosec"),
        ("src/a.py", "def f():  # pragma: no cover"),
        ("frontend/a.js", "/* eslint-disable */"),
        ("frontend/a.ts", "// @ts-nocheck"),
        ("frontend/a.ts", "// @ts-expect-error later"),
        ("src/a.rs", "#![allow(clippy::all)]"),
        ("src/a.rs", "    #[ignore]"),
        ("src/a.rs", "#[cfg_attr(test, ignore)]"),
        ("src/a.cpp", "int x; // NOLINT"),
        ("src/a.sh", "# shellcheck disable=all"),
        ("src/a.sh", "make test || true"),
        ("app/Dockerfile", "# hadolint global ignore=DL3006"),
        ("tests/test_a.py", "@pytest.mark.skip(reason='flaky')"),
        ("tests/test_a.py", "@pytest.mark.xfail"),
        ("frontend/tests/a.test.js", "test.skip(\"greets\", () => {});"),
        ("frontend/tests/a.test.js", "describe.only(\"greets\", () => {});"),
        ("src/a_test.go", "\tt.Skip(\"later\")"),
        ("tests/conftest.py", "collect_ignore_glob = [\"*\"]"),
    ] {
        rejected(&edit(path, &["old"], &["old", line]), &safe(), "suppression");
    }
    accepted(&edit("src/a.py", &["import  os  # noqa"], &["import os  # noqa"]), &safe());
    accepted(&edit("src/a.rs", &["x.iter().nth(1)"], &["x.iter().skip(1).next()"]), &safe());
    accepted(&edit("src/a.js", &["a"], &["const b = c || true;"]), &safe());
}

#[test]
fn tests_cannot_be_weakened() {
    let gone = "diff --git a/tests/test_a.py b/tests/test_a.py\ndeleted file mode 100644\n--- a/tests/test_a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    rejected(gone, &safe(), "deletes or moves a test file");
    rejected(
        &edit("tests/test_a.py", &["    assert f() == 1"], &["    pass"]),
        &safe(),
        "assertion",
    );
    rejected(
        &edit("tests/test_a.py", &["def test_a():", "    x()"], &["    x()"]),
        &safe(),
        "removes a test",
    );
    rejected(
        &edit("src/lib.rs", &["    #[test]", "    fn a() {}"], &[]),
        &safe(),
        "removes a test",
    );
    rejected(
        &edit("src/lib.rs", &["        assert_eq!(a, b);"], &["        a;"]),
        &safe(),
        "assertion",
    );
    let weaker = edit(
        "src/a.test.js",
        &["  expect(f()).toBe(\"Hello\");"],
        &["  expect(f()).toBe(\"Helo\");"],
    );
    rejected(&weaker, &policy(FixerSafety::Unsafe, FailureType::Lint), "asserts");
    let data = edit("tests/data/a.json", &["[1]"], &["[]"]);
    rejected(&data, &policy(FixerSafety::Guarded, FailureType::Runtime), "read-only");
    accepted(&edit("src/lib.rs", &["let a = f().expect(\"x\");"], &["let a = f()?;"]), &safe());
}

#[test]
fn a_formatter_may_reformat_tests() {
    accepted(&edit("tests/test_a.py", &["assert f( 1 )==2"], &["assert f(1) == 2"]), &safe());
    let unused = edit("tests/test_a.py", &["import assertpy"], &[]);
    accepted(&unused, &safe());
    let runtime = policy(FixerSafety::Safe, FailureType::Runtime);
    accepted(&edit("tests/test_a.py", &["x"], &["import os", "x"]), &runtime);
    rejected(
        &edit("tests/data/a.json", &["[1]", "[2]"], &["[1]"]),
        &runtime,
        "test lines are kept",
    );
}

#[test]
fn what_a_check_asks_for_is_not_writable() {
    let mut wide = safe();
    wide.grant.add = vec!["**/*".to_owned(), "**/*.toml".to_owned()];
    for path in [
        "pyproject.toml",
        "src/ruff.toml",
        "frontend/.eslintrc.json",
        "frontend/eslint.config.mjs",
        "tsconfig.json",
        "frontend/tsconfig.app.json",
        "clippy.toml",
        "setup.cfg",
        "pytest.ini",
        ".github/workflows/ci.yml",
        "Makefile",
        "metabuilder.toml",
        "deny.toml",
        "Cargo.toml",
        "frontend/package.json",
        "requirements-dev.txt",
        ".cargo/config.toml",
        "src/vitest.config.ts",
        ".gitignore",
    ] {
        rejected(&edit(path, &["a"], &["b"]), &wide, "not granted");
    }
    wide.grant.add = vec!["**/Cargo.toml".to_owned(), "package-lock.json".to_owned()];
    accepted(&edit("crates/a/Cargo.toml", &["a"], &["b"]), &wide);
    accepted(&edit("package-lock.json", &["a"], &["b"]), &wide);
    wide.grant.add = Vec::new();
    wide.writable = vec!["pyproject.toml".to_owned()];
    accepted(&edit("pyproject.toml", &["a"], &["b"]), &wide);
    accepted(&edit("src/requirements.py", &["a"], &["b"]), &safe());
}

#[test]
fn some_patches_need_a_human() {
    let plain = edit("src/a.py", &["a"], &["b"]);
    let mut on_fix = safe();
    on_fix.approval_on_fix = true;
    asked(&plain, &on_fix, "asks before any patch");
    asked(&plain, &policy(FixerSafety::ApprovalAlways, FailureType::Lint), "always need a human");
    asked(&plain, &policy(FixerSafety::Guarded, FailureType::Security), "security");
    asked(&plain, &policy(FixerSafety::Guarded, FailureType::Policy), "policy");
    let drop = create("migrations/2.sql", "100644", &["DROP TABLE users;"]);
    asked(&drop, &policy(FixerSafety::Guarded, FailureType::SchemaMigration), "destroys data");
    let silent = edit("src/a.py", &["x()"], &["try:", "    x()", "except Exception: pass"]);
    asked(&silent, &policy(FixerSafety::Unsafe, FailureType::Runtime), "swallows");
}

#[test]
fn a_patch_that_already_failed_is_refused() {
    let patch = edit("src/a.py", &["a"], &["b"]);
    let mut again = safe();
    again.refused = vec![review(&patch, &safe()).stats.sha256];
    rejected(&patch, &again, "already tried");
}

#[test]
fn prose_is_no_patch() {
    rejected("Sure! Here is the fix: change x to fixed.", &safe(), "cannot be read");
    rejected(
        "diff --git a/src/a.txt b/src/a.txt\n--- a/src/a.txt\n+++ b/Cargo.toml\n@@ -1 +1 @@\n-x\n+y\n",
        &safe(),
        "cannot be read",
    );
}

proptest::proptest! {
    #[test]
    fn no_path_leaves_the_workspace(path in "[.a-z/\\\\]{1,12}") {
        let verdict = review(&create(&path, "100644", &["x"]), &safe()).verdict;
        if verdict == GuardVerdict::Accept {
            proptest::prop_assert!(!path.split('/').any(|p| p.is_empty() || p == "." || p == ".."));
        }
    }
}
