//! A real Prometheus with the project's own rules, on loopback.

use super::{Ended, LIMIT};
use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Pause between two looks at something that comes by itself.
const PAUSE: Duration = Duration::from_millis(200);

/// A Prometheus that scrapes every second, with the recording and the alerting rules.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    url: String,
    client: Client,
}

/// A sample of an instant query: its labels, and its value.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The labels, with `__name__` where there is one.
    pub labels: Value,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty when it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

/// A program of Prometheus; a test that needs it fails where it is not installed.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
    found.with_context(|| format!("there is no {name}: run scripts/install-deps.sh"))
}

/// A program of Prometheus, run to its end.
pub async fn promtool(args: &[&str], folder: &Path) -> Result<Ended> {
    let mut command = Command::new(program("promtool")?);
    let done = command.args(args).current_dir(folder).kill_on_drop(true).output();
    let done = tokio::time::timeout(LIMIT, done).await.context("promtool does not end")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    Ok(Ended { code: done.status.code(), signal: None, out, err })
}

impl Prometheus {
    /// Starts one that scrapes these addresses, all of one environment, with the rules of `ops`.
    pub async fn start(folder: &Path, targets: &[String], environment: &str) -> Result<Self> {
        let rules =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/prometheus").canonicalize()?;
        let own = std::fs::read_to_string(rules.join("prometheus.yml"))?;
        let config = configured(&own, &rules, targets, environment)?;
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(program("prometheus")?);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"]);
        command.args(["--query.lookback-delta=1m", "--log.level=info"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().context("cannot start prometheus")?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
        let waited = tokio::time::timeout(LIMIT, async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await? {
                let at = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
                if let Some(at) = at.filter(|_| line.contains("Listening on")) {
                    return Ok(format!("http://{}", at.trim_matches('"')));
                }
                said.push_str(&line);
                said.push('\n');
            }
            bail!("prometheus ended:\n{said}")
        });
        let url = waited.await.context("prometheus does not listen in time")??;
        // what it says is read on, or it would stop at a full pipe
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let prometheus = Self { child, url, client: Client::new() };
        let targets = targets.len();
        prometheus.ready().await?;
        prometheus.until("up == 1", |samples| samples.len() == targets).await?;
        Ok(prometheus)
    }

    /// Its address, for who draws from it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until it has read its storage: before, it listens and answers 503.
    async fn ready(&self) -> Result<()> {
        let url = format!("{}/-/ready", self.url);
        let waited = tokio::time::timeout(LIMIT, async {
            while !self.client.get(&url).send().await?.status().is_success() {
                tokio::time::sleep(PAUSE).await;
            }
            Ok::<_, anyhow::Error>(())
        });
        waited.await.context("prometheus is not ready in time")?
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), query)?;
        let answer: Value = self.client.get(url).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {answer:#}");
        Ok(answer["data"].clone())
    }

    /// What an expression comes to now.
    pub async fn query(&self, expr: &str) -> Result<Vec<Sample>> {
        let data = self.get("/api/v1/query", &[("query", expr)]).await?;
        if data["resultType"] == "scalar" {
            let value = data["result"][1].as_str().context("a value")?.parse()?;
            return Ok(vec![Sample { labels: Value::Null, value }]);
        }
        let results = data["result"].as_array().context("a vector")?;
        let sample = |one: &Value| {
            let value = one["value"][1].as_str().context("a value")?.parse()?;
            Ok(Sample { labels: one["metric"].clone(), value })
        };
        results.iter().map(sample).collect()
    }

    /// What an expression came to over the last minutes, as it is drawn.
    pub async fn range(&self, expr: &str, minutes: u32) -> Result<Value> {
        let now = self.query("time()").await?.first().context("the time")?.value;
        let (start, end) = (now - f64::from(minutes) * 60.0, now);
        let (start, end) = (start.to_string(), end.to_string());
        let query = [("query", expr), ("start", &start), ("end", &end), ("step", "2")];
        Ok(self.get("/api/v1/query_range", &query).await?["result"].clone())
    }

    /// Waits until an expression comes to what is wanted.
    pub async fn until(
        &self,
        expr: &str,
        wanted: impl Fn(&[Sample]) -> bool,
    ) -> Result<Vec<Sample>> {
        let mut last = Vec::new();
        let waited = tokio::time::timeout(LIMIT, async {
            loop {
                last = self.query(expr).await?;
                if wanted(&last) {
                    return Ok::<_, anyhow::Error>(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        match waited.await {
            Ok(done) => done.map(|()| last),
            Err(_) => bail!("{expr} did not come to what is wanted: {last:#?}"),
        }
    }

    /// Every rule with its state.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.get("/api/v1/rules", &[]).await?;
        let groups = data["groups"].as_array().context("groups")?;
        Ok(groups
            .iter()
            .flat_map(|g| g["rules"].as_array().into_iter().flatten())
            .cloned()
            .collect())
    }

    /// The exemplars of a metric in the last minutes.
    pub async fn exemplars(&self, expr: &str) -> Result<Value> {
        let now = self.query("time()").await?.first().context("the time")?.value;
        let (start, end) = ((now - 600.0).to_string(), (now + 1.0).to_string());
        self.get("/api/v1/query_exemplars", &[("query", expr), ("start", &start), ("end", &end)])
            .await
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// The project's own configuration with other addresses, and quick.
fn configured(own: &str, rules: &Path, targets: &[String], environment: &str) -> Result<String> {
    let (head, _) = own.split_once("      - targets:").context("targets in prometheus.yml")?;
    let head = head.replace("interval: 15s", "interval: 1s");
    let head = head.replace("  - recording.yml", &format!("  - {}/recording.yml", rules.display()));
    let head = head.replace("  - alerts.yml", &format!("  - {}/alerts.yml", rules.display()));
    let list: Vec<String> = targets.iter().map(|t| format!("          - {t}\n")).collect();
    let list = list.concat();
    Ok(format!(
        "{head}      - targets:\n{list}        labels:\n          environment: {environment}\n"
    ))
}
