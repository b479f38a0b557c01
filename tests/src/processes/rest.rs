//! A client of the REST API.

use super::LIMIT;
use anyhow::{Context, Result, bail, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a server is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// A caller with an API key.
#[derive(Debug, Clone)]
pub struct Rest {
    http: Client,
    url: String,
    key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The document; a string when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn of(response: Response) -> Result<Self> {
        Self::read(response).await
    }

    async fn read(response: Response) -> Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Ok(Self { status, headers, body })
    }

    /// The document, when the status is as expected.
    pub fn with(self, status: u16) -> Result<Value> {
        let (got, body) = (self.status, &self.body);
        ensure!(got == status, "expected {status}, got {got}: {body:#}");
        Ok(self.body)
    }

    /// The first error's code and all that it says.
    pub fn error(&self) -> (String, String) {
        let error = &self.body["errors"][0];
        (error["code"].as_str().unwrap_or_default().to_owned(), error.to_string())
    }
}

impl Rest {
    /// A caller of the server at this address, such as `http://127.0.0.1:5001`.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let http = Client::builder().timeout(LIMIT).build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// The same server with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// A request to a path below `/api/meta/v2`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/meta/v2{path}", self.url);
        self.http.request(method, url).bearer_auth(&self.key)
    }

    /// The caller's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A request to a path outside the base path, with the key.
    pub fn elsewhere(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// GET of a path outside the base path, such as `/readyz`.
    pub async fn outside(&self, path: &str) -> Result<Answer> {
        Answer::read(self.http.get(format!("{}{path}", self.url)).send().await?).await
    }

    /// Waits until the server says that it is ready.
    pub async fn ready(&self) -> Result<()> {
        let waited = tokio::time::timeout(LIMIT, async {
            while self.outside("/readyz").await?.status != 200 {
                tokio::time::sleep(READY_POLL).await;
            }
            Ok(())
        });
        waited.await.context("it is not ready in time")?
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        Answer::read(self.request(Method::GET, path).send().await?).await
    }

    /// POST of attributes.
    pub async fn post(&self, path: &str, attributes: &Value) -> Result<Answer> {
        let body = json!({ "data": { "attributes": attributes } });
        Answer::read(self.request(Method::POST, path).json(&body).send().await?).await
    }

    /// POST of attributes with an `Idempotency-Key`.
    pub async fn post_once(&self, path: &str, key: &str, attributes: &Value) -> Result<Answer> {
        let body = json!({ "data": { "attributes": attributes } });
        let request = self.request(Method::POST, path).header("idempotency-key", key);
        Answer::read(request.json(&body).send().await?).await
    }

    /// POST of any bytes.
    pub async fn post_bytes(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<Answer> {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        Answer::read(request.body(body).send().await?).await
    }

    /// A spec of these attributes with its plan; answers the spec's id.
    pub async fn planned(&self, attributes: &Value) -> Result<String> {
        let spec = id(&self.post("/specs", attributes).await?.with(201)?)?;
        self.post(&format!("/specs/{spec}/plan"), &json!({})).await?.with(201)?;
        Ok(spec)
    }

    /// A new run of a planned spec.
    pub async fn run(&self, spec: &str, attributes: &Value) -> Result<String> {
        let made = self.post(&format!("/specs/{spec}/runs"), attributes).await?;
        id(&made.with(201)?)
    }

    /// A run's attributes.
    pub async fn run_now(&self, run: &str) -> Result<Value> {
        let document = self.get(&format!("/runs/{run}")).await?.with(200)?;
        Ok(document["data"]["attributes"].clone())
    }

    /// A run's steps by name, each with its attributes.
    pub async fn steps(&self, run: &str) -> Result<serde_json::Map<String, Value>> {
        let document = self.get(&format!("/runs/{run}")).await?.with(200)?;
        let included = document["included"].as_array().context("included")?;
        let steps = included.iter().filter(|r| r["type"] == "step");
        let named = |r: &Value| {
            let name = r["attributes"]["name"].as_str().context("a step has a name")?;
            Ok((name.to_owned(), r["attributes"].clone()))
        };
        steps.map(named).collect()
    }

    /// A run's events as far as there are any, at most the first thousand.
    pub async fn events(&self, run: &str) -> Result<Vec<Value>> {
        let document = self.get(&format!("/runs/{run}/events")).await?.with(200)?;
        let events = document["data"].as_array().context("a list of events")?;
        Ok(events.iter().map(|e| e["attributes"].clone()).collect())
    }

    /// A run's events as they come, after the one of that number.
    pub async fn follow(&self, run: &str, after: u64) -> Result<EventStream> {
        let path = format!("/runs/{run}/events?follow=true&after={after}");
        let request = self.request(Method::GET, &path).header("accept", "application/x-ndjson");
        let response = request.send().await?;
        if response.status() != 200 {
            bail!("no events: {:#}", Answer::read(response).await?.body);
        }
        Ok(EventStream { response, rest: Vec::new() })
    }

    /// Waits until the log of a run's step says something.
    pub async fn until_logged(&self, run: &str, step: &str, what: &str) -> Result<()> {
        let path = format!("/runs/{run}/logs?follow=true&step={step}");
        let mut response = self.request(Method::GET, &path).send().await?;
        let mut text = String::new();
        while !text.contains(what) {
            let piece = response.chunk().await?;
            let piece = piece.with_context(|| format!("{step} never said {what:?}: {text}"))?;
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        Ok(())
    }

    /// Waits until a run has this status; fails when it ends with another one.
    pub async fn until_status(&self, run: &str, status: &str) -> Result<Value> {
        let waited = tokio::time::timeout(LIMIT, async {
            let mut events = self.follow(run, 0).await?;
            loop {
                let now = self.run_now(run).await?;
                if now["status"] == status {
                    return Ok(now);
                }
                if events.next().await?.is_none() {
                    let now = self.run_now(run).await?;
                    ensure!(now["status"] == status, "the run ended otherwise: {now:#}");
                    return Ok(now);
                }
            }
        });
        match waited.await {
            Ok(run) => run,
            Err(_) => bail!("not {status} in time: {:#}", self.run_now(run).await?),
        }
    }
}

/// The id of a document's resource.
fn id(document: &Value) -> Result<String> {
    Ok(document["data"]["id"].as_str().context("a resource has an id")?.to_owned())
}

/// A run's events, one JSON object a line.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    rest: Vec<u8>,
}

impl EventStream {
    /// The next event; `None` at the end of a whole stream, an error when it broke.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.response.chunk().await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// Waits for the first event that is as wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let waited = tokio::time::timeout(LIMIT, async {
            loop {
                let event = self.next().await?.context("the events ended before")?;
                if wanted(&event) {
                    return Ok(event);
                }
            }
        });
        waited.await.context("the event did not come in time")?
    }
}
