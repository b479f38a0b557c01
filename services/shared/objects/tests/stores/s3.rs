//! S3 as a server speaks it: moto's, from PyPI, in a virtual environment of the tests' own. Where
//! that cannot be installed the test says so and does nothing; with `METABUILDER_TEST_S3=required`
//! it fails.

use crate::behaviour;
use meta_objects::{Error, Objects};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is installed.
const PACKAGE: &str = "moto[server]>=5.1,<6";
/// How long the server may take to answer.
const START_LIMIT: Duration = Duration::from_mins(1);
const SECRET: &str = "a-secret-of-the-test";

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Server {
    fn start(program: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (server, started) = (Self { process, address }, Instant::now());
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < START_LIMIT, "the S3 server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The variables with which its buckets are reached.
    fn vars(&self) -> BTreeMap<String, String> {
        let endpoint = format!("http://{}", self.address);
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
    }

    /// Makes a bucket, as an administrator would.
    fn bucket(&self, name: &str) {
        let url = format!("http://{}/{name}", self.address);
        let made = Command::new("curl").args(["-sf", "-X", "PUT", &url]).status().unwrap();
        assert!(made.success(), "no bucket {name}");
    }
}

/// The server's program, installed where it is missing; why not, where it cannot be.
fn program() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let program = venv.join("bin/moto_server");
    if program.is_file() {
        return Ok(program);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    Ok(program)
}

fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr).trim()))
}

fn server() -> Option<Server> {
    match program() {
        Ok(program) => Some(Server::start(&program)),
        Err(why) => {
            let required = std::env::vars().any(|v| v == required());
            assert!(!required, "no S3 server: {why}");
            // not by a macro, whose output a passing test keeps to itself
            let said = writeln!(std::io::stderr(), "SKIPPED: no S3 server for this test: {why}");
            said.unwrap();
            None
        }
    }
}

fn required() -> (String, String) {
    ("METABUILDER_TEST_S3".to_owned(), "required".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_behaves_below_a_prefix_and_tells_what_is_wrong() {
    let Some(server) = server() else { return };
    server.bucket("builds");
    let objects = Objects::open("s3://builds/meta/builder", &server.vars()).unwrap();
    behaviour::check(&objects).await;

    // what one prefix holds is not in another
    objects.put("t/x", "x".into()).await.unwrap();
    let whole = Objects::open("s3://builds", &server.vars()).unwrap();
    let keys: Vec<String> = whole.list("meta").await.unwrap().into_iter().map(|e| e.key).collect();
    assert_eq!(keys, ["meta/builder/t/x"]);
    let apart = Objects::open("s3://builds/other", &server.vars()).unwrap();
    assert_eq!(apart.list("t").await.unwrap(), []);

    let nowhere = Objects::open("s3://no-such-bucket", &server.vars()).unwrap();
    let error = nowhere.put("t/x", "x".into()).await.unwrap_err();
    assert!(!error.to_string().contains(SECRET), "{error}");

    let mut vars = server.vars();
    vars.insert("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    vars.insert("AWS_MAX_RETRIES".to_owned(), "0".to_owned());
    let away = Objects::open("s3://builds", &vars).unwrap();
    let get = tokio::time::timeout(START_LIMIT * 3, away.get("t/x", 1)).await.unwrap();
    let error = get.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.may_pass(), "{error}");
    assert!(!error.to_string().contains(SECRET), "{error}");
}
