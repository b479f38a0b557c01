use super::*;
use crate::error::Exit;
use std::os::unix::fs::PermissionsExt;

fn git(dir: &Path, args: &[&str]) -> String {
    Git { project: dir, index: None, instead: None }.run(args, b"").unwrap()
}

/// A project whose file `a.txt` is `one`, and the diff that makes it `two` and adds `run.sh`.
fn project(repository: bool) -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("a.txt"), "head\none\ntail\n").unwrap();
    git(&work, &["init", "-q"]);
    git(&work, &["config", "user.name", "a"]);
    git(&work, &["config", "user.email", "a@example.invalid"]);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "start"]);
    fs::write(work.join("a.txt"), "head\ntwo\ntail\n").unwrap();
    fs::write(work.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(work.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    git(&work, &["add", "-A"]);
    let mut patch = git(&work, &["diff", "--cached", "--binary"]).into_bytes();
    patch.push(b'\n');
    git(&work, &["reset", "-q", "--hard"]);
    if !repository {
        fs::remove_dir_all(work.join(".git")).unwrap();
    }
    (dir, patch)
}

#[test]
fn a_diff_is_applied_with_and_without_a_repository() {
    for repository in [true, false] {
        let (dir, patch) = project(repository);
        let work = dir.path().join("work");
        apply(&work, dir.path(), &patch).unwrap();
        assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), "head\ntwo\ntail\n");
        assert_eq!(work.join("run.sh").metadata().unwrap().permissions().mode() & 0o111, 0o111);
    }
}

#[test]
fn no_filter_and_no_hook_of_the_project_is_run() {
    let (dir, patch) = project(true);
    let work = dir.path().join("work");
    let mark = dir.path().join("executed");
    let program = format!("touch {} && tr a-z A-Z", mark.display());
    for (name, value) in [
        ("filter.theirs.clean", program.as_str()),
        ("filter.theirs.smudge", &program),
        ("filter.theirs.required", "true"),
        ("core.autocrlf", "true"),
    ] {
        git(&work, &["config", name, value]);
    }
    fs::write(work.join(".gitattributes"), "*.txt filter=theirs text eol=crlf\n* ident\n").unwrap();
    fs::create_dir_all(work.join(".git/info")).unwrap();
    fs::write(work.join(".git/info/attributes"), "*.txt filter=theirs\n").unwrap();
    fs::create_dir_all(work.join(".git/hooks")).unwrap();
    for hook in ["reference-transaction", "post-index-change", "applypatch-msg", "post-checkout"] {
        let hook = work.join(".git/hooks").join(hook);
        fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    branch(&work, dir.path(), "heal", "Heal\n", &patch).unwrap();
    apply(&work, dir.path(), &patch).unwrap();
    assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), "head\ntwo\ntail\n");
    assert!(!mark.exists(), "something of the project was executed");
}

#[test]
fn a_file_that_changed_meanwhile_is_left_alone() {
    let (dir, patch) = project(true);
    let work = dir.path().join("work");
    let mine = "head\none\ntail\nmine\n";
    fs::write(work.join("a.txt"), mine).unwrap();
    let error = apply(&work, dir.path(), &patch).unwrap_err();
    assert!(error.to_string().contains("a.txt has changed"), "{error}");
    assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), mine);
    assert!(!work.join("run.sh").exists());
}

#[test]
fn a_file_that_appeared_meanwhile_is_not_overwritten() {
    let (dir, patch) = project(false);
    let work = dir.path().join("work");
    fs::write(work.join("run.sh"), "mine").unwrap();
    assert!(apply(&work, dir.path(), &patch).unwrap_err().to_string().contains("run.sh exists"));
    assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), "head\none\ntail\n");
}

#[test]
fn a_project_inside_a_repository_of_somebody_is_applied_to_where_it_is() {
    let (dir, patch) = project(false);
    git(dir.path(), &["init", "-q"]);
    let work = dir.path().join("work");
    apply(&work, dir.path(), &patch).unwrap();
    assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), "head\ntwo\ntail\n");
}

#[test]
fn a_branch_is_made_without_touching_files_or_index() {
    let (dir, patch) = project(true);
    let work = dir.path().join("work");
    fs::write(work.join("mine.txt"), "mine").unwrap();
    let before = git(&work, &["status", "--porcelain"]);
    let commit = branch(&work, dir.path(), "heal/it", "Heal\n", &patch).unwrap();
    assert_eq!(git(&work, &["rev-parse", "heal/it"]), commit);
    assert_eq!(git(&work, &["rev-parse", "heal/it^"]), git(&work, &["rev-parse", "HEAD"]));
    assert_eq!(git(&work, &["show", "heal/it:a.txt"]), "head\ntwo\ntail");
    assert_eq!(git(&work, &["status", "--porcelain"]), before);
    assert_eq!(fs::read_to_string(work.join("a.txt")).unwrap(), "head\none\ntail\n");
}

#[test]
fn a_branch_of_a_subfolder_changes_that_subfolder() {
    let (dir, patch) = project(false);
    let top = dir.path();
    git(top, &["init", "-q"]);
    git(top, &["add", "work"]);
    let me = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"];
    git(top, &[&me[..], &["commit", "-q", "-m", "start"]].concat());
    let scratch = tempfile::tempdir().unwrap();
    branch(&top.join("work"), scratch.path(), "heal", "Heal\n", &patch).unwrap();
    assert_eq!(git(top, &["show", "heal:work/a.txt"]), "head\ntwo\ntail");
}

#[test]
fn a_branch_is_refused_clearly() {
    let (dir, patch) = project(false);
    let work = dir.path().join("work");
    let error = branch(&work, dir.path(), "heal", "m", &patch).unwrap_err();
    assert!(error.to_string().contains("not in a git repository"), "{error}");
    assert_eq!(error.exit, Exit::Usage);

    let (dir, patch) = project(true);
    let work = dir.path().join("work");
    assert!(branch(&work, dir.path(), "a..b", "m", &patch).is_err());
    git(&work, &["branch", "taken"]);
    let error = branch(&work, dir.path(), "taken", "m", &patch).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
}
