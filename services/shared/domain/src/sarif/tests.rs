use super::*;
use serde_json::json;

const ROOT: &str = "/workspace";

/// A log of one run with these members.
fn log(run: Value) -> Vec<u8> {
    json!({ "version": "2.1.0", "runs": [run] }).to_string().into_bytes()
}

/// A result with a fix that replaces regions of files.
fn result(replacements: &[(&str, Value, &str)]) -> Value {
    let changes: Vec<Value> = replacements
        .iter()
        .map(|(uri, region, text)| {
            json!({ "artifactLocation": { "uri": uri }, "replacements":
                [{ "deletedRegion": region, "insertedContent": { "text": text } }] })
        })
        .collect();
    json!({ "fixes": [{ "artifactChanges": changes }] })
}

fn at(line: u32, from: u32, to: u32) -> Value {
    json!({ "startLine": line, "startColumn": from, "endColumn": to })
}

fn apply(log: &[u8], files: &[(&str, &str)]) -> Applied {
    let files = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
    Fixes::read(log, ROOT).unwrap().apply(&files)
}

/// Applies results to `src/a.py`: its text afterwards, and how many fixes were left out.
fn on_a(before: &str, results: &[Value]) -> (String, usize) {
    let done = apply(&log(json!({ "results": results })), &[("src/a.py", before)]);
    assert_eq!(done.applied + done.left_out.len(), results.len());
    let text = done.edits.first().and_then(|edit| edit.contents.clone());
    (text.unwrap_or_else(|| before.to_owned()), done.left_out.len())
}

fn check(before: &str, region: Value, text: &str, after: &str) {
    assert_eq!(on_a(before, &[result(&[("src/a.py", region, text)])]).0, after);
}

#[test]
fn several_replacements_of_a_file_are_made_where_they_were_meant() {
    let results = [
        result(&[("src/a.py", at(1, 5, 6), "10"), ("src/a.py", at(3, 1, 2), "zed")]),
        result(&[("src/a.py", at(2, 1, 2), "why")]),
    ];
    let (after, left_out) = on_a("x = 1\ny = 2\nz = 3\n", &results);
    assert_eq!((after.as_str(), left_out), ("x = 10\nwhy = 2\nzed = 3\n", 0));
}

#[test]
fn a_fix_that_overlaps_is_left_out_whole() {
    let first = result(&[("src/a.py", at(1, 1, 4), "a")]);
    let second = result(&[("src/a.py", at(2, 1, 2), "b"), ("src/a.py", at(1, 3, 5), "b")]);
    assert_eq!(on_a("x = 1\ny = 2\n", &[first, second]), ("a 1\ny = 2\n".to_owned(), 1));
    let twice = result(&[("src/a.py", at(1, 1, 3), "a"), ("src/a.py", at(1, 2, 4), "b")]);
    assert_eq!(on_a("x = 1\n", &[twice]), ("x = 1\n".to_owned(), 1));
    let insert = |text| result(&[("src/a.py", at(1, 1, 1), text)]);
    assert_eq!(on_a("x\n", &[insert("a"), insert("b")]), ("ax\n".to_owned(), 1));
}

#[test]
fn replacements_may_touch() {
    let results = [
        result(&[("src/a.py", at(1, 1, 2), "a")]),
        result(&[("src/a.py", at(1, 3, 3), "+")]),
        result(&[("src/a.py", at(1, 2, 3), "b")]),
    ];
    assert_eq!(on_a("xyz\n", &results), ("ab+z\n".to_owned(), 0));
}

#[test]
fn a_fix_that_two_results_propose_is_made_once() {
    let twice = || result(&[("src/a.py", at(1, 1, 1), "import os\n")]);
    assert_eq!(on_a("x\n", &[twice(), twice()]), ("import os\nx\n".to_owned(), 0));
}

#[test]
fn columns_count_in_the_unit_that_the_run_names() {
    let before = "'\u{1f600}\u{e9}' = 1\n";
    let fix = |column, kind: Option<&str>| {
        let result = result(&[("src/a.py", at(1, column, column + 1), "2")]);
        let mut run = json!({ "results": [result] });
        if let Some(kind) = kind {
            run["columnKind"] = json!(kind);
        }
        let done = apply(&log(run), &[("src/a.py", before)]);
        done.edits.first().and_then(|edit| edit.contents.clone()).unwrap_or_default()
    };
    let after = "'\u{1f600}\u{e9}' = 2\n";
    assert_eq!(fix(9, None), after, "half a surrogate pair is a unit where nothing is said");
    assert_eq!(fix(9, Some("utf16CodeUnits")), after);
    assert_eq!(fix(8, Some("unicodeCodePoints")), after);
    assert_eq!(fix(3, None), "", "the middle of a character is no place");
}

#[test]
fn regions_are_named_by_bytes_and_characters_too() {
    let before = "\u{e9} = 1\n";
    check(before, json!({ "byteOffset": 5, "byteLength": 1 }), "2", "\u{e9} = 2\n");
    check(before, json!({ "charOffset": 4, "charLength": 1 }), "2", "\u{e9} = 2\n");
    check(before, json!({ "charOffset": 0 }), "a", "a\u{e9} = 1\n");
    for nowhere in [
        json!({ "byteOffset": 1, "byteLength": 1 }),
        json!({ "byteOffset": 5, "byteLength": 9 }),
        json!({ "charOffset": 40 }),
        json!({}),
    ] {
        check(before, nowhere, "2", before);
    }
}

#[test]
fn line_ends_stay_as_they_are() {
    let before = "one\r\ntwo\r\nthree\r\n";
    check(before, json!({ "startLine": 2 }), "2", "one\r\n2\r\nthree\r\n");
    check(before, json!({ "startLine": 1, "endLine": 2 }), "1", "1\r\nthree\r\n");
    check(before, json!({ "startLine": 2, "startColumn": 4 }), "!", "one\r\ntwo!\r\nthree\r\n");
    let line = json!({ "startLine": 2, "startColumn": 1, "endLine": 3, "endColumn": 1 });
    check(before, line, "", "one\r\nthree\r\n");
    check(before, at(2, 5, 5), "x", before);
    check("last", json!({ "startLine": 1, "startColumn": 5, "endColumn": 5 }), "!", "last!");
}

#[test]
fn a_region_that_the_text_does_not_have_changes_nothing() {
    let backwards = json!({ "startLine": 2, "endLine": 1 });
    for nowhere in [at(9, 1, 2), at(1, 1, 9), at(0, 1, 2), at(1, 0, 2), at(1, 4, 2), backwards] {
        check("x = 1\ny = 2\n", nowhere, "y", "x = 1\ny = 2\n");
    }
}

#[test]
fn nothing_outside_of_the_workspace_is_named() {
    let path = |location: Value| {
        let run = json!({
            "originalUriBaseIds": {
                "TOP": { "uri": "file:///workspace/" },
                "SRC": { "uri": "src/", "uriBaseId": "TOP" },
                "OUT": { "uri": "file:///etc/" },
                "LOOP": { "uri": "x/", "uriBaseId": "LOOP" },
            },
            "artifacts": [{ "location": { "uri": "lib/b.py" } }],
            "results": [{ "fixes": [{ "artifactChanges": [
                { "artifactLocation": location, "replacements": [] }] }] }],
        });
        let fixes = Fixes::read(&log(run), ROOT).unwrap();
        fixes.paths().first().map(|path| (*path).to_owned())
    };
    let named = |uri: &str| path(json!({ "uri": uri }));
    let based = |uri: &str, base: &str| path(json!({ "uri": uri, "uriBaseId": base }));
    let is = |path: &str| Some(path.to_owned());
    assert_eq!(named("src/a.py"), is("src/a.py"));
    assert_eq!(named("./src/../src/a%20b.py"), is("src/a b.py"));
    assert_eq!(named("file:///workspace/src/a.py"), is("src/a.py"));
    assert_eq!(named("file:/workspace/src/a.py"), is("src/a.py"));
    assert_eq!(based("a.py", "SRC"), is("src/a.py"));
    assert_eq!(based("src/a.py", "%SRCROOT%"), is("src/a.py"));
    assert_eq!(path(json!({ "index": 0 })), is("lib/b.py"));
    for outside in [
        "../a.py",
        "src/../../a.py",
        "%2e%2e/a.py",
        "/etc/passwd",
        "file:///etc/passwd",
        "file:///workspace/../etc/passwd",
        "file:///workspacex/a.py",
        "file://elsewhere/workspace/a.py",
        "https://example.com/a.py",
        "a%00.py",
        "a%ff.py",
        "",
    ] {
        assert_eq!(named(outside), None, "{outside}");
    }
    assert_eq!(based("passwd", "OUT"), None);
    assert_eq!(based("../../etc/passwd", "SRC"), None);
    assert_eq!(based("a.py", "LOOP"), None);
    assert_eq!(path(json!({ "index": 7 })), None);
}

#[test]
fn a_file_that_is_not_shown_is_left_out() {
    let two = result(&[("src/a.py", at(1, 1, 2), "y"), ("src/b.py", at(1, 1, 2), "y")]);
    assert_eq!(on_a("x\n", &[two]), ("x\n".to_owned(), 1));
}

#[test]
fn what_is_suppressed_or_no_fix_is_passed_over() {
    let fix = result(&[("src/a.py", at(1, 1, 2), "y")]);
    let mut suppressed = fix.clone();
    suppressed["suppressions"] = json!([{ "kind": "inSource" }]);
    let run = json!({ "results": [suppressed, { "fixes": [] }, {}, { "fixes": null }] });
    assert_eq!(apply(&log(run), &[("src/a.py", "x\n")]), Applied::default());
    let broken = json!({ "fixes": [{ "artifactChanges": [{ "replacements": 1 }] }] });
    assert_eq!(on_a("x\n", &[broken, fix]), ("y\n".to_owned(), 1));
}

#[test]
fn a_log_that_is_none_is_refused() {
    for wrong in ["", "{", "[]", "{\"version\": \"1.0.0\", \"runs\": []}", "{\"runs\": 3}"] {
        assert!(Fixes::read(wrong.as_bytes(), ROOT).is_err(), "{wrong}");
    }
    assert!(Fixes::read(b"\xef\xbb\xbf{\"version\": \"2.1.0\", \"runs\": []}", ROOT).is_ok());
}

#[test]
fn a_log_of_very_many_fixes_ends_at_the_limit() {
    let one = result(&[("src/a.py", at(1, 1, 1), "a")]);
    let results = vec![one; REPLACEMENTS_MAX + 3];
    assert_eq!(on_a("x\n", &results), ("ax\n".to_owned(), 3));
}
