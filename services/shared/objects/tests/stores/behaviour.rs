//! What every store does.

use bytes::Bytes;
use futures::future::join_all;
use meta_objects::{Error, Objects, Put};

/// Larger than one part of an upload, in bytes.
const LARGE_BYTES: usize = 19 * 1024 * 1024;

/// The whole suite; what it made it removes.
pub async fn check(objects: &Objects) {
    objects_are_written_read_and_replaced(objects).await;
    one_of_many_writers_wins(objects).await;
    listings_are_in_order_and_of_whole_names(objects).await;
    limits_hold(objects).await;
    files_go_there_and_back(objects).await;
    objects.delete_prefix("t").await.unwrap();
    assert_eq!(objects.list("t").await.unwrap(), []);
}

async fn objects_are_written_read_and_replaced(objects: &Objects) {
    objects.put("t/a/one", "first".into()).await.unwrap();
    objects.put("t/a/one", "0123456789".into()).await.unwrap();
    assert_eq!(objects.get("t/a/one", 10).await.unwrap(), "0123456789");
    assert_eq!(objects.get_range("t/a/one", 2..5).await.unwrap(), "234");
    assert_eq!(objects.get_range("t/a/one", 8..50).await.unwrap(), "89");
    assert_eq!(objects.find("t/a/none", 10).await.unwrap(), None);
    let missing = objects.get("t/a/none", 10).await.unwrap_err();
    assert_eq!(missing, Error::Missing { key: "t/a/none".to_owned() });
    assert!(missing.may_pass());
}

async fn one_of_many_writers_wins(objects: &Objects) {
    let write = async |n: u8| {
        let put = objects.put_if_absent("t/b/next", Bytes::from(vec![n])).await;
        (n, put.unwrap())
    };
    let told = join_all((0..8).map(write)).await;
    let won: Vec<u8> =
        told.iter().filter(|(_, put)| *put == Put::Stored).map(|(n, _)| *n).collect();
    assert_eq!(won.len(), 1, "{told:?}");
    assert_eq!(objects.get("t/b/next", 1).await.unwrap()[..], won);
    assert_eq!(objects.put_if_absent("t/b/next", "x".into()).await.unwrap(), Put::Present);
}

async fn listings_are_in_order_and_of_whole_names(objects: &Objects) {
    for key in ["t/c/log/03", "t/c/log/01", "t/c/log/02", "t/c/logs/01", "t/c/deep/er/1"] {
        objects.put(key, "x".into()).await.unwrap();
    }
    let keys =
        |found: Vec<meta_objects::Entry>| found.into_iter().map(|e| e.key).collect::<Vec<_>>();
    let all = keys(objects.list("t/c/log").await.unwrap());
    assert_eq!(all, ["t/c/log/01", "t/c/log/02", "t/c/log/03"]);
    let rest = keys(objects.list_after("t/c/log", "t/c/log/01").await.unwrap());
    assert_eq!(rest, ["t/c/log/02", "t/c/log/03"]);
    assert_eq!(objects.folders("t/c").await.unwrap(), ["deep", "log", "logs"]);
    assert_eq!(objects.list("t/none").await.unwrap(), []);
    assert_eq!(objects.delete_prefix("t/c/log").await.unwrap(), 3);
    assert_eq!(keys(objects.list("t/c").await.unwrap()), ["t/c/deep/er/1", "t/c/logs/01"]);
    assert_eq!(objects.delete_prefix("t/none").await.unwrap(), 0);
}

async fn limits_hold(objects: &Objects) {
    let large = objects.get("t/a/one", 9).await.unwrap_err();
    assert!(matches!(large, Error::TooLarge { bytes: 10, bytes_max: 9, .. }), "{large}");
    for key in ["", "a//b", "../x", "a/./b"] {
        let error = objects.put(key, "x".into()).await.unwrap_err();
        assert!(matches!(error, Error::Key { .. }), "{key:?}: {error}");
    }
}

async fn files_go_there_and_back(objects: &Objects) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for bytes in [0, 3, LARGE_BYTES] {
        let body: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
        std::fs::write(&from, &body).unwrap();
        let limit = LARGE_BYTES as u64;
        let sent = objects.put_file("t/d/file", &from, limit).await.unwrap();
        assert_eq!(sent, bytes as u64);
        assert_eq!(objects.get_file("t/d/file", &to, limit).await.unwrap(), sent);
        assert!(std::fs::read(&to).unwrap() == body, "{bytes} bytes came back otherwise");
        std::fs::remove_file(&to).unwrap();
    }
    let error = objects.put_file("t/d/file", &from, 5).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let error = objects.get_file("t/d/file", &to, 5).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let error = objects.put_file("t/d/file", &folder.path().join("none"), 5).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
}
