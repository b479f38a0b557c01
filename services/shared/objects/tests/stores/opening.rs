//! What names a store, and what does not.

use meta_objects::Objects;
use std::collections::BTreeMap;

fn refused(url: &str, vars: &[(&str, &str)]) -> String {
    let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Objects::open(url, &vars).unwrap_err().to_string()
}

#[test]
fn what_is_no_store_is_refused_with_field_value_and_expectation() {
    for (url, part) in [
        ("", "is empty"),
        ("ftp://host/x", "ftp://host/x"),
        ("s3:", "expected"),
        ("file://host/x", "expected"),
        ("/dev/null/x", "cannot be made"),
    ] {
        let said = refused(url, &[]);
        assert!(said.starts_with("objects: "), "{said}");
        assert!(said.contains(part) && said.contains("s3://bucket/prefix"), "{said}");
    }
}

#[test]
fn no_error_and_no_debug_text_tells_a_secret() {
    let said = refused("ftp://me:hunter2@host/x?sig=abcdef", &[]);
    assert!(!said.contains("hunter2") && !said.contains("abcdef"), "{said}");
    let vars =
        [("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false")];
    let said = refused("s3://bucket/x", &vars);
    assert!(said.contains("AccessKeyId") && !said.contains("hunter2"), "{said}");
    let objects = Objects::open("s3://bucket/a?x=hunter2", &BTreeMap::new()).unwrap();
    let shown = format!("{objects:?} {}", objects.shown());
    assert!(shown.contains("s3://bucket/a") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_providers_are_known() {
    for (url, vars) in [
        ("s3://bucket/prefix/", vec![("AWS_REGION", "eu-west-1")]),
        ("gs://bucket/prefix", vec![("GOOGLE_SKIP_SIGNATURE", "true")]),
        ("az://container/prefix", vec![("AZURE_STORAGE_ACCOUNT_NAME", "a")]),
    ] {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(Objects::open(url, &vars).unwrap().shown(), url);
    }
}
