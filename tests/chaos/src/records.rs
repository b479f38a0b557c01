//! What the clients of a test saw: every call with its answer, every event that a stream showed.
//! Kept in memory for the checks and on disk for whoever looks into a failure.

use anyhow::{Context, Result};
use meta_domain::time::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tonic::{Code, Status};

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A run, with the key that makes the call idempotent.
    CreateRun {
        /// The key.
        key: String,
    },
    /// A run's end.
    Cancel {
        /// The run.
        run: String,
    },
    /// A decision.
    Decide {
        /// The run.
        run: String,
        /// The gate.
        gate: String,
        /// Yes or no.
        approve: bool,
        /// Who says so; each decider of a test has a name of their own.
        actor: String,
    },
    /// A run of another tenant.
    ReadForeign {
        /// The run.
        run: String,
    },
    /// The runs of the tenant.
    List,
    /// A run of the tenant.
    Read {
        /// The run.
        run: String,
    },
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; the ids that the answer names.
    Done(Vec<String>),
    /// It was not done, and the answer says so.
    Refused {
        /// The gRPC code.
        code: String,
        /// Its text.
        text: String,
    },
    /// It may have been done.
    Unknown {
        /// The gRPC code.
        code: String,
        /// Its text.
        text: String,
    },
}

impl Answer {
    /// What a failed call says.
    pub fn of(status: &Status) -> Self {
        let (code, text) = (format!("{:?}", status.code()), status.message().to_owned());
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal => Self::Unknown { code, text },
            _ => Self::Refused { code, text },
        }
    }
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
    /// When the answer was there.
    pub done_ms: i64,
    /// Whose it was.
    pub tenant: String,
    /// What was asked.
    pub ask: Ask,
    /// What came back.
    pub answer: Answer,
}

/// An event that a stream showed to a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The watcher; it comes back with the last number it saw.
    pub watcher: u64,
    /// The run.
    pub run: String,
    /// The event's number.
    pub seq: u64,
    /// Names the event's content.
    pub digest: String,
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Injected {
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it was over: the process started again or went on, the network worked.
    pub over_ms: i64,
    /// What it was.
    pub fault: String,
    /// How long after its end the first new step began; unknown when none did.
    pub first_step_ms: Option<i64>,
}

/// Names an event's content.
pub fn digest(kind: &str, step: &str, data: &str) -> String {
    let hash = Sha256::digest(format!("{kind}\0{step}\0{data}").as_bytes());
    hash.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The clients' record of a test.
#[derive(Debug)]
pub struct Records {
    calls: Mutex<(Vec<Call>, File)>,
    sightings: Mutex<(Vec<Sighting>, File)>,
}

impl Records {
    /// An empty record in a folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))
        };
        let calls = Mutex::new((Vec::new(), file("calls.jsonl")?));
        let sightings = Mutex::new((Vec::new(), file("sightings.jsonl")?));
        Ok(Self { calls, sightings })
    }

    /// Notes a call.
    pub fn call(&self, tenant: &str, sent: Timestamp, ask: Ask, answer: Answer) -> Result<()> {
        let done_ms = meta_runtime::now().0;
        let call = Call { sent_ms: sent.0, done_ms, tenant: tenant.to_owned(), ask, answer };
        keep(&self.calls, call)
    }

    /// Notes an event that was seen.
    pub fn sighting(&self, sighting: Sighting) -> Result<()> {
        keep(&self.sightings, sighting)
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Every sighting so far.
    pub fn sightings(&self) -> Vec<Sighting> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

fn keep<T: Serialize>(list: &Mutex<(Vec<T>, File)>, item: T) -> Result<()> {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    let mut line = serde_json::to_string(&item)?;
    line.push('\n');
    list.1.write_all(line.as_bytes())?;
    list.0.push(item);
    Ok(())
}
