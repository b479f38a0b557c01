//! One suite for both arms.

use super::record::parse;
use super::*;
use meta_domain::time::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

const RUN: Owned = (TenantId(Uuid::from_u128(1)), RunId(Uuid::from_u128(7)));
const OTHER: Owned = (TenantId(Uuid::from_u128(2)), RunId(Uuid::from_u128(8)));

fn record(text: &str) -> Record {
    Record { at: Timestamp(5), stderr: true, text: text.as_bytes().to_vec() }
}

/// Both arms, and what holds the files.
fn arms() -> (tempfile::TempDir, [Logs; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::open("memory:", &BTreeMap::new()).unwrap();
    let arms = [Logs::new(dir.path()), Logs::in_objects(objects)];
    (dir, arms)
}

async fn text(logs: &Logs, name: &str) -> String {
    String::from_utf8(logs.text(RUN, name).await.unwrap()).unwrap()
}

#[tokio::test]
async fn what_was_appended_is_read_from_any_record_on() {
    let (_dir, arms) = arms();
    for logs in arms {
        let two = [record("one\n"), record("7 o 3\nno header")];
        assert_eq!(logs.append(RUN, "a", Some(0), &two).await.unwrap(), 19);
        let (first, offset) = logs.read(RUN, "a", 0).await.unwrap();
        assert_eq!(first, two);
        assert_eq!(logs.read(RUN, "a", offset).await.unwrap(), (Vec::new(), offset));
        logs.append(RUN, "a", Some(19), &[record("two")]).await.unwrap();
        let (second, _) = logs.read(RUN, "a", offset).await.unwrap();
        assert_eq!(second, [record("two")]);
        assert!(logs.read(RUN, "nobody", 0).await.unwrap().0.is_empty());
    }
}

#[tokio::test]
async fn what_is_sent_again_is_not_kept_twice() {
    let (_dir, arms) = arms();
    for logs in arms {
        let first = [record("one "), record("two ")];
        for _ in 0..3 {
            assert_eq!(logs.append(RUN, "a", Some(0), &first).await.unwrap(), 8);
        }
        let (again, other) = (logs.clone(), [record("three ")]);
        let (one, two) = tokio::join!(
            logs.append(RUN, "a", Some(8), &other),
            again.append(RUN, "a", Some(8), &other),
        );
        assert_eq!((one.unwrap(), two.unwrap()), (6, 6));
        logs.append(RUN, "a", None, &[record("end")]).await.unwrap();
        logs.append(RUN, "a", Some(0), &first).await.unwrap();
        assert_eq!(text(&logs, "a").await, "one two three end");
    }
}

#[tokio::test]
async fn a_log_has_its_limit_and_an_end_without_an_offset() {
    let (_dir, arms) = arms();
    let piece = "x".repeat(1024 * 1024);
    for logs in arms {
        let (mut offset, mut kept) = (0, 0);
        for _ in 0..20 {
            kept += logs.append(RUN, "a", Some(offset), &[record(&piece)]).await.unwrap();
            offset += piece.len() as u64;
        }
        assert!(kept <= LOG_BYTES_MAX && kept > LOG_BYTES_MAX / 2, "{kept}");
        assert_eq!(text(&logs, "a").await.len() as u64, kept);
        for word in ["a", "b", "c"] {
            logs.append(RUN, "notes", None, &[record(word)]).await.unwrap();
        }
        assert_eq!(text(&logs, "notes").await, "abc");
    }
}

#[tokio::test]
async fn a_run_is_forgotten_and_no_other() {
    let (_dir, arms) = arms();
    for logs in arms {
        for run in [RUN, OTHER] {
            logs.append(run, "a", Some(0), &[record("x")]).await.unwrap();
        }
        logs.forget(RUN).await.unwrap();
        logs.forget(RUN).await.unwrap();
        assert_eq!(text(&logs, "a").await, "");
        assert_eq!(logs.read(OTHER, "a", 0).await.unwrap().0.len(), 1);
        assert!(logs.read(RUN, "a", 0).await.unwrap().0.is_empty());
        logs.append(RUN, "a", Some(0), &[record("again")]).await.unwrap();
        assert_eq!(text(&logs, "a").await, "again");
    }
}

#[tokio::test]
async fn a_torn_record_is_written_again_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path());
    let records = [record("one\n"), record("two\n")];
    logs.append(RUN, "a", Some(0), &records).await.unwrap();
    let path = dir.path().join(RUN.1.to_string()).join("a");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let next = Logs::new(dir.path());
    next.append(RUN, "a", Some(0), &records).await.unwrap();
    assert_eq!(text(&next, "a").await, "one\ntwo\n");
}

#[tokio::test]
async fn every_replica_reads_what_another_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let objects = Objects::open(dir.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
        Logs::in_objects(objects)
    };
    let (one, two) = (open(), open());
    one.append(RUN, "a", Some(0), &[record("first ")]).await.unwrap();
    let (_, offset) = two.read(RUN, "a", 0).await.unwrap();
    two.append(RUN, "a", Some(6), &[record("second")]).await.unwrap();
    one.append(RUN, "a", Some(6), &[record("second")]).await.unwrap();
    assert_eq!(one.read(RUN, "a", offset).await.unwrap().0, [record("second")]);
}

#[test]
fn a_torn_record_waits_and_one_without_an_offset_is_read() {
    let parsed = parse(b"5 e 3\nabc\n5 e 3\nab", 0);
    assert_eq!((parsed.records.len(), parsed.bytes, parsed.end), (1, 10, 3));
    let parsed = parse(b"5 e 3 40\nabc\n", 0);
    assert_eq!((parsed.records.len(), parsed.bytes, parsed.end), (1, 13, 43));
}
