//! Server-sent events over real processes: many watchers, two gateways, and coming back.

use anyhow::{Context, Result, bail, ensure};
use meta_tests::processes::{Deployment, LIMIT, Rest, Up};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Watchers of one run.
const WATCHERS: usize = 60;

/// An event as it was sent.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    id: String,
    name: String,
    data: Value,
}

/// Server-sent events as they come.
struct Watch {
    response: Response,
    rest: String,
}

impl Watch {
    async fn open(rest: &Rest, path: &str, last: Option<&str>) -> Result<Self> {
        let mut request = rest.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await?;
        ensure!(response.status() == 200, "{}", response.status());
        ensure!(response.headers()["x-accel-buffering"] == "no");
        Ok(Self { response, rest: String::new() })
    }

    /// The next event; `None` at the end of the connection.
    async fn next(&mut self) -> Result<Option<Sent>> {
        loop {
            while let Some((block, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|l| l.strip_prefix(name));
                    line.map(|l| l.trim().to_owned()).unwrap_or_default()
                };
                let (name, id, data) = (field("event:"), field("id:"), field("data:"));
                let rest = rest.to_owned();
                self.rest = rest;
                if !name.is_empty() {
                    return Ok(Some(Sent { id, name, data: serde_json::from_str(&data)? }));
                }
            }
            match self.response.chunk().await? {
                Some(bytes) => self.rest.push_str(std::str::from_utf8(&bytes)?),
                None => return Ok(None),
            }
        }
    }

    /// Everything until `end`.
    async fn all(&mut self) -> Result<Vec<Sent>> {
        let read = async {
            let mut all = Vec::new();
            while let Some(sent) = self.next().await? {
                let end = sent.name == "end";
                all.push(sent);
                if end {
                    return Ok(all);
                }
            }
            bail!("the stream ended without a word after {:?}", all.last())
        };
        tokio::time::timeout(LIMIT, read).await.context("no end in time")?
    }
}

/// A run whose step waits for a human, so that watchers can gather.
async fn waiting(rest: &Rest) -> Result<String> {
    let steps = json!([
        { "name": "first", "run": "echo one; echo two", "approval": "before" },
        { "name": "second", "run": "echo three", "needs": ["first"] },
    ]);
    let spec = rest.planned(&json!({ "title": "t", "mode": "freeform", "steps": steps })).await?;
    rest.run(&spec, &json!({ "async": false })).await
}

/// Dense numbers from `first` on, then the end.
fn whole(sent: &[Sent], first: u64) -> Result<()> {
    let (end, events) = sent.split_last().context("an end")?;
    ensure!(end.name == "end" && end.data["status"] == "succeeded", "{end:?}");
    for (n, event) in (first..).zip(events) {
        ensure!(event.id == n.to_string() && event.data["seq"] == n, "{n}: {event:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_of_a_run_see_every_event_once_and_in_order() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let run = waiting(&up.rest).await?;
    let path = format!("/runs/{run}/events");
    let mut watchers = Vec::new();
    for n in 0..WATCHERS {
        let after = (n % 3).to_string();
        let mut watch = Watch::open(&up.rest, &path, Some(&after)).await?;
        watchers.push(tokio::spawn(async move { (n % 3, watch.all().await) }));
    }
    up.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    let mut last = None;
    for watcher in watchers {
        let (after, sent) = watcher.await?;
        let sent = sent?;
        whole(&sent, after as u64 + 1)?;
        let seen = sent.iter().rev().nth(1).map(|s| s.id.clone());
        ensure!(last.is_none() || last == seen, "{last:?} {seen:?}");
        last = seen;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_goes_on_at_another_gateway_where_it_was_cut_off() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (other, rest) = deployment.another_gateway().await?;
    let run = waiting(&deployment.rest).await?;
    let path = format!("/runs/{run}/events");
    let mut here = Watch::open(&deployment.rest, &path, None).await?;
    let mut there = Watch::open(&rest, &path, None).await?;
    let (first, same) = (here.next().await?, there.next().await?);
    ensure!(first == same && first.as_ref().is_some_and(|s| s.id == "1"), "{first:?} {same:?}");
    let second = there.next().await?.context("a second event")?;
    other.process.kill().await?;
    let mut back = Watch::open(&deployment.rest, &path, Some(&second.id)).await?;
    deployment.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    whole(&back.all().await?, 3)?;
    whole(&here.all().await?, 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_logs_comes_back_to_where_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let run = waiting(&up.rest).await?;
    let path = format!("/runs/{run}/logs");
    let mut live = Watch::open(&up.rest, &path, None).await?;
    up.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    let all = live.all().await?;
    let text = |sent: &[Sent]| {
        let pieces = sent.iter().filter_map(|s| s.data["text"].as_str());
        pieces.collect::<String>()
    };
    ensure!(text(&all) == "one\ntwo\nthree\n", "{all:#?}");
    let first = all.first().context("a piece")?;
    let rest = Watch::open(&up.rest, &path, Some(&first.id)).await?.all().await?;
    ensure!(rest[..] == all[1..], "{rest:#?}");
    Ok(())
}
