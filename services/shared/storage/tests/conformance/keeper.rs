//! The tests' server leaves nothing behind.

use crate::PATIENCE;
use meta_storage::testing::Postgres;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let server = Postgres::own().await;
    let dir = server.dir().to_owned();
    assert!(UnixStream::connect(socket(&dir)).is_ok());
    drop(server);
    assert!(!dir.exists());
}

fn socket(dir: &Path) -> PathBuf {
    dir.join(".s.PGSQL.5432")
}

/// Run by the test below, in a process that it kills.
#[tokio::test]
#[ignore = "waits to be killed"]
async fn holds_a_server() {
    let server = Postgres::own().await;
    let id = std::fs::read_to_string(server.dir().join("data/postmaster.pid")).unwrap();
    println!("\nheld {} {}", id.lines().next().unwrap(), server.dir().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_goes_with_a_process_that_was_killed() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keeper::holds_a_server", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|l| l.starts_with("held ")).unwrap();
    let (id, dir) = line["held ".len()..].split_once(' ').unwrap();
    let (process, dir) = (Path::new("/proc").join(id), PathBuf::from(dir));
    assert!(dir.exists() && process.exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let since = Instant::now();
    while dir.exists() || process.exists() {
        assert!(since.elapsed() < PATIENCE, "{} is still there", dir.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
