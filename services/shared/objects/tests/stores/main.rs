//! One suite for every kind of store: memory, a folder, and S3 as a real server speaks it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod behaviour;
mod opening;
mod s3;

use meta_objects::Objects;
use std::collections::BTreeMap;

/// A store without variables.
fn open(url: &str) -> Objects {
    Objects::open(url, &BTreeMap::new()).unwrap()
}

#[tokio::test]
async fn memory_behaves() {
    behaviour::check(&open("memory:")).await;
}

#[tokio::test]
async fn a_folder_behaves_and_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    behaviour::check(&open(path.to_str().unwrap())).await;
    behaviour::check(&open(&format!("file://{}", path.join("c").display()))).await;
    let left = std::fs::read_dir(&path).unwrap().count();
    assert!(left <= 1, "removing everything leaves {left} entries");
}

#[tokio::test]
async fn a_folder_keeps_what_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    open(path).put("runs/a/b", "kept".into()).await.unwrap();
    assert_eq!(open(path).get("runs/a/b", 10).await.unwrap(), "kept");
    assert_eq!(std::fs::read(folder.path().join("runs/a/b")).unwrap(), b"kept");
}
