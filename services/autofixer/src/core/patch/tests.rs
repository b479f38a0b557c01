use super::*;

fn parse(text: &str) -> Result<Patch, Error> {
    Patch::parse(text)
}

const EDIT: &str = "diff --git a/src/a.txt b/src/a.txt\nindex 587be6b..4c1d4a0 100644\n--- a/src/a.txt\n+++ b/src/a.txt\n@@ -1 +1,2 @@ fn x() {\n-x\n+fixed\n+more\n\\ No newline at end of file\n";

#[test]
fn an_edit_is_read_with_its_lines_and_modes() {
    let patch = parse(EDIT).unwrap();
    let file = &patch.files[0];
    assert_eq!((file.old.as_deref(), file.new.as_deref()), (Some("src/a.txt"), Some("src/a.txt")));
    assert_eq!((file.old_mode, file.new_mode), (Some(0o100_644), Some(0o100_644)));
    assert_eq!(
        (file.removed.join("|"), file.added.join("|")),
        ("x".to_owned(), "fixed|more".to_owned())
    );
}

#[test]
fn new_deleted_renamed_and_mode_changes_are_told_apart() {
    let text = "diff --git a/n b/n\nnew file mode 100644\nindex 0000000..e69de29\n\
        diff --git a/d b/d\ndeleted file mode 100755\nindex 587be6b..0000000\n--- a/d\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
        diff --git a/a b b/c d\nsimilarity index 100%\nrename from a b\nrename to c d\n\
        diff --git a/m x b/m x\nold mode 100644\nnew mode 100755\n";
    let files = parse(text).unwrap().files;
    assert_eq!(files.len(), 4);
    assert_eq!((files[0].old.as_deref(), files[0].new.as_deref()), (None, Some("n")));
    assert_eq!((files[1].old.as_deref(), files[1].new.as_deref()), (Some("d"), None));
    assert_eq!(
        (files[2].old.as_deref(), files[2].new.as_deref(), files[2].moved),
        (Some("a b"), Some("c d"), true)
    );
    assert_eq!((files[3].path(), files[3].new_mode), ("m x", Some(0o100_755)));
}

#[test]
fn quoted_names_are_unquoted() {
    let text = "diff --git \"a/t\\303\\244.txt\" \"b/t\\303\\244.txt\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/t\\303\\244.txt\"\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(parse(text).unwrap().files[0].path(), "tä.txt");
    let dots = "diff --git \"a/src/\\056\\056/e\" \"b/src/\\056\\056/e\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/src/\\056\\056/e\"\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(parse(dots).unwrap().files[0].path(), "src/../e");
}

#[test]
fn lines_that_look_like_headers_stay_content() {
    let text = "diff --git a/q.sql b/q.sql\n--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1,2 @@\n--- old comment\n+++ new comment\n x\n";
    let file = &parse(text).unwrap().files[0];
    assert_eq!(
        (file.removed[0].as_str(), file.added[0].as_str()),
        ("-- old comment", "++ new comment")
    );
}

#[test]
fn what_git_does_not_print_is_refused() {
    let refused = |text: &str, why: &str| {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}\nfor {text}");
    };
    refused("Sure! Here is the fix.", "diff --git");
    refused("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "diff --git");
    refused("diff --git a/x b/y\n--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "cannot be told apart");
    refused(
        "diff --git a/src/a b/src/a\n--- a/src/a\n+++ b/Cargo.toml\n@@ -1 +1 @@\n-a\n+b\n",
        "is not the file",
    );
    refused("diff --git a/x b/x\nrename from x\nrename to /etc/y\n", "cannot be told apart");
    refused("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,9 +1 @@\n-a\n+b\n", "ends inside a hunk");
    refused("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n+c\n", "diff --git");
    refused("diff --git a/x b/x\n--- a/x\n+++ b/x\n", "hunk");
    refused("diff --git a/x b/x\nnew file mode 99\n", "file mode");
    refused("diff --git \"a/x\\q\" \"b/x\\q\"\nnew file mode 100644\n", "told apart");
    refused(
        "diff --git a//tmp/e b//tmp/e\nnew file mode 100644\n--- /dev/null\n+++ /tmp/e\n@@ -0,0 +1 @@\n+x\n",
        "does not start with b/",
    );
    refused(&"x".repeat(PATCH_BYTES_MAX + 1), "bytes");
}

#[test]
fn an_empty_patch_has_no_files() {
    assert!(parse("").unwrap().files.is_empty());
}

#[test]
fn the_hash_is_sha256() {
    assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_damage_to_a_patch_makes_the_reader_panic(cut in 0usize..150, with in "[-+@\\\\ \n\"/a-b0-9]{0,12}") {
        let cut = (0..=cut.min(EDIT.len())).rev().find(|c| EDIT.is_char_boundary(*c)).unwrap_or(0);
        let _ = parse(&format!("{}{with}{}", &EDIT[..cut], &EDIT[cut..]));
        let _ = parse(&format!("{}{with}", &EDIT[..cut]));
    }
}
