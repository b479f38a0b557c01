//! Holds the crate edges and the purity of the cores (ARCHITECTURE.md).
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SERVICES: [&str; 5] = ["classifier", "flag-resolver", "autofixer", "orchestrator", "runner"];

/// What each of our crates may use of ours.
fn allowed(name: &str) -> Vec<&'static str> {
    match name {
        "meta-domain" => vec![],
        "meta-objects" | "meta-proto" | "meta-storage" | "meta-telemetry" | "meta-tokens" => {
            vec!["meta-domain"]
        }
        "meta-runtime" => vec!["meta-domain", "meta-proto", "meta-telemetry"],
        "classifier" => vec!["meta-domain", "meta-proto", "meta-runtime"],
        "gateway" => {
            vec!["meta-domain", "meta-proto", "meta-runtime", "meta-telemetry", "meta-tokens"]
        }
        "runner" => {
            vec!["meta-domain", "meta-objects", "meta-proto", "meta-runtime", "meta-telemetry"]
        }
        "flag-resolver" | "autofixer" => {
            vec!["meta-domain", "meta-proto", "meta-runtime", "meta-storage"]
        }
        "orchestrator" => {
            vec![
                "meta-domain",
                "meta-objects",
                "meta-proto",
                "meta-runtime",
                "meta-storage",
                "meta-telemetry",
                "meta-tokens",
            ]
        }
        _ => vec![
            "meta-domain",
            "meta-objects",
            "meta-proto",
            "meta-runtime",
            "meta-storage",
            "meta-telemetry",
            "meta-tokens",
            "classifier",
            "flag-resolver",
            "autofixer",
            "orchestrator",
            "runner",
            "gateway",
            "metabuilder",
        ],
    }
}

/// Which of our crates may name an outside one.
const FENCED: [(&str, &[&str]); 5] = [
    ("object_store", &["meta-objects"]),
    ("sqlx", &["meta-storage", "flag-resolver", "autofixer", "orchestrator"]),
    ("axum", &["meta-runtime", "gateway"]),
    ("opentelemetry", &["meta-telemetry"]),
    (
        "tonic",
        &[
            "meta-proto",
            "meta-runtime",
            "classifier",
            "flag-resolver",
            "autofixer",
            "orchestrator",
            "runner",
            "gateway",
            "metabuilder",
            "meta-tests",
            "meta-chaos",
        ],
    ),
];

fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    metadata
        .packages
        .iter()
        .map(|p| {
            let used = p.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
            (p.name.to_string(), used.map(|d| d.name.clone()).collect())
        })
        .collect()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let edges = edges();
    assert!(edges.len() >= 12, "{:?}", edges.keys());
    for (name, used) in &edges {
        let allowed = allowed(name);
        for other in used.iter().filter(|u| edges.contains_key(*u)) {
            assert!(allowed.contains(&other.as_str()), "{name} may not use {other}");
        }
    }
}

#[test]
fn only_those_who_may_name_the_fenced_crates() {
    for (name, used) in edges() {
        for (fenced, may) in FENCED {
            if used.contains(fenced) {
                assert!(may.contains(&name.as_str()), "{name} may not name {fenced}");
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn cores_are_pure() {
    const FORBIDDEN: [&str; 12] = [
        "tokio::",
        "tonic::",
        "sqlx::",
        "axum::",
        "reqwest::",
        "meta_runtime::",
        "meta_storage::",
        "std::env::var",
        "std::fs::",
        "std::process::",
        "SystemTime::",
        "rand::",
    ];
    let mut files = Vec::new();
    for service in SERVICES {
        rust_files(&root().join("services").join(service).join("src/core"), &mut files);
    }
    rust_files(&root().join("services/shared/domain/src"), &mut files);
    files.retain(|f| !f.iter().any(|part| part == "tests" || part == "tests.rs"));
    assert!(files.len() > 40, "{} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let mut paths = code.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
            let named = paths.find(|path| FORBIDDEN.iter().any(|f| path.starts_with(f)));
            assert!(named.is_none(), "{}:{} names {named:?}", file.display(), number + 1);
        }
    }
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let mut seen = 0;
    for package in MetadataCommand::new().no_deps().exec().unwrap().packages {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{}", package.name);
        seen += 1;
    }
    assert!(seen >= 12);
}

#[test]
fn a_main_is_a_handful_of_lines() {
    for service in SERVICES.iter().map(|s| format!("services/{s}")).chain(["gateway".into()]) {
        let text = std::fs::read_to_string(root().join(&service).join("src/main.rs")).unwrap();
        assert!(text.lines().count() <= 15, "{service}/src/main.rs has a room of its own");
    }
}
