//! A real PostgreSQL server for tests, on a Unix socket in a temporary folder.
//!
//! A shell keeps the server: it takes orders through a pipe, and the pipe's end, however this
//! process ended, makes it stop the server and remove the folder. The shell has a process group of
//! its own, so that what kills the tests does not kill it.

use crate::Location;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The shell that keeps the server.
const SCRIPT: &str = include_str!("server.sh");
/// Where Debian's package puts the programs, by version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Where other systems put them.
const OTHER_PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"];
/// The server that the tests of this process share.
static SHARED: OnceLock<Postgres> = OnceLock::new();

/// A PostgreSQL server of the tests' own; dropped or forgotten, it is gone, its folder too.
///
/// The functions panic where the server cannot do what the test needs, and say why.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    databases: AtomicU32,
    keeper: Arc<Mutex<Keeper>>,
}

#[derive(Debug)]
struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Postgres {
    /// A fresh, empty database on the server that all tests of this process share.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn database() -> Location {
        tokio::task::spawn_blocking(|| SHARED.get_or_init(Self::run))
            .await
            .expect("the server's start ends")
            .empty()
            .await
    }

    /// A server for this test alone, which may stop and start it.
    ///
    /// # Panics
    /// As [`Postgres::database`].
    pub async fn own() -> Self {
        tokio::task::spawn_blocking(Self::run).await.expect("the server's start ends")
    }

    /// A fresh, empty database on this server.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn empty(&self) -> Location {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let options = PgConnectOptions::new_without_pgpass()
            .socket(&self.dir)
            .username("postgres")
            .database("postgres");
        let mut connection: PgConnection = options.connect().await.expect("the server answers");
        let sql = format!("CREATE DATABASE {name} TEMPLATE template0");
        connection.execute(AssertSqlSafe(sql)).await.expect("a database can be made");
        connection.close().await.expect("the server answers");
        let dir = self.dir.display();
        Location::parse(&format!("postgres:///{name}?host={dir}&user=postgres"), Path::new("/"))
            .expect("the URL is well formed")
    }

    /// Stops the server as its operator does: sessions are ended, open transactions given up.
    ///
    /// # Panics
    /// When it does not stop within a minute.
    pub async fn stop(&self) {
        self.order("stop").await;
    }

    /// Lets the server crash.
    ///
    /// # Panics
    /// As [`Postgres::stop`].
    pub async fn crash(&self) {
        self.order("kill").await;
    }

    /// Starts the stopped server again, with all that was committed.
    ///
    /// # Panics
    /// When it does not start within a minute.
    pub async fn start(&self) {
        self.order("start").await;
    }

    /// The server's folder: its data, its log, its socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A server whose commits survive a loss of power, as one in production is set: for measuring.
    ///
    /// # Panics
    /// As [`Postgres::database`].
    pub async fn durable() -> Self {
        let run = || Self::run_with("on");
        tokio::task::spawn_blocking(run).await.expect("the server's start ends")
    }

    fn run() -> Self {
        Self::run_with("off")
    }

    fn run_with(fsync: &str) -> Self {
        let programs = programs().unwrap_or_else(|| {
            panic!(
                "PostgreSQL is not installed ({VERSIONS}/*/bin/initdb is missing): install the \
                 package `postgresql`; scripts/install-deps.sh does so"
            )
        });
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(programs)
            .env("SCRIPT", SCRIPT)
            .env("FSYNC", fsync)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let orders = shell.stdin.take();
        let answers = BufReader::new(shell.stdout.take().expect("the pipe was asked for"));
        let mut keeper = Keeper { shell, orders, answers };
        let answer = keeper.answer();
        let dir = answer.strip_prefix("ready ").unwrap_or_else(|| {
            panic!("PostgreSQL does not start: {answer}");
        });
        Self { dir: dir.into(), databases: AtomicU32::new(0), keeper: Arc::new(Mutex::new(keeper)) }
    }

    async fn order(&self, order: &'static str) {
        let keeper = Arc::clone(&self.keeper);
        let obey = move || keeper.lock().unwrap_or_else(PoisonError::into_inner).obey(order);
        tokio::task::spawn_blocking(obey).await.expect("the server obeys");
    }
}

impl Keeper {
    fn obey(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("the pipe is open until the drop");
        writeln!(orders, "{order}").expect("the shell takes orders");
        assert_eq!(self.answer(), format!("done {order}"));
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the shell answers");
        line.trim_end().to_owned()
    }
}

impl Drop for Keeper {
    /// Waits until the server and its folder are gone.
    fn drop(&mut self) {
        self.orders = None;
        if let Err(error) = self.shell.wait() {
            tracing::warn!(%error, "the server's shell");
        }
    }
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|v| Some((v.file_name().to_str()?.parse::<u32>().ok()?, v.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .max();
    let others = OTHER_PLACES.iter().map(PathBuf::from).filter(|b| b.join("initdb").is_file());
    newest.map(|(_, bin)| bin).into_iter().chain(others).next()
}
