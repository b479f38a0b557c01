//! The orchestrator's own record, read when the faults are over: each run with its whole log.

use crate::client::Client;
use anyhow::{Context, Result};
use meta_proto::orchestrator as pb;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// An entry of a run's log.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// Such as `step.started`.
    pub kind: String,
    /// Its step, if any.
    pub step: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Its fields.
    pub data: Value,
    /// Names its content.
    pub digest: String,
}

impl Event {
    /// A number among its fields.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.data[name].as_i64()
    }

    /// The id of the gate that it opens or decides.
    pub fn gate(&self) -> Option<&str> {
        let gate = &self.data["gate"];
        gate.as_str().or_else(|| gate["id"].as_str())
    }
}

impl TryFrom<pb::RunEvent> for Event {
    type Error = anyhow::Error;

    fn try_from(wire: pb::RunEvent) -> Result<Self> {
        Ok(Self {
            digest: crate::records::digest(&wire.r#type, &wire.step, &wire.data_json),
            data: serde_json::from_str(&wire.data_json).context("an event's fields")?,
            at_ms: wire.at.as_ref().map_or(0, |t| meta_proto::convert::instant(t).0),
            seq: wire.seq,
            kind: wire.r#type,
            step: wire.step,
        })
    }
}

/// A step as the run's row has it.
#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    /// Its name.
    pub name: String,
    /// Its status, in lower case.
    pub status: String,
    /// How often it was executed.
    pub executions: u32,
    /// What it waits for.
    pub needs: Vec<String>,
    /// It asks before it starts.
    pub gated: bool,
}

/// A run as it is at the end.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// Its id.
    pub run: String,
    /// Whose it is.
    pub tenant: String,
    /// Its status, in lower case.
    pub status: String,
    /// The number of its last event, by its row.
    pub last_seq: u64,
    /// Its plan's version.
    pub plan_version: u32,
    /// Its steps.
    pub steps: Vec<StepRow>,
    /// Its log.
    pub events: Vec<Event>,
}

impl History {
    /// Reads a run and its log.
    pub async fn read(client: &Client, id: &str) -> Result<Self> {
        let run = client.run(id).await?;
        let events = client.events(id).await?;
        let events = events.into_iter().map(Event::try_from).collect::<Result<_>>()?;
        let word = |name: &str, prefix: &str| {
            name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
        };
        let step = |s: &pb::RunStep| {
            let planned = s.step.clone().unwrap_or_default();
            StepRow {
                gated: planned.approval() == meta_proto::common::ApprovalMode::Before,
                name: planned.name,
                needs: planned.needs,
                status: word(s.status().as_str_name(), "STEP_STATUS_"),
                executions: s.executions,
            }
        };
        Ok(Self {
            run: id.to_owned(),
            tenant: client.tenant(),
            status: word(run.status().as_str_name(), "RUN_STATUS_"),
            last_seq: run.last_seq,
            plan_version: run.plan_version,
            steps: run.steps.iter().map(step).collect(),
            events,
        })
    }

    /// The events of a kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |e| e.kind == kind)
    }

    /// How often a step was made ready to be executed.
    pub fn queued(&self, step: &str) -> usize {
        let queues = |e: &&Event| e.kind == "step.queued" || e.kind == "autofix.retry";
        self.events.iter().filter(queues).filter(|e| e.step == step).count()
    }

    /// Whether it has ended, or waits for a human.
    pub fn is_at_rest(&self) -> bool {
        ["succeeded", "failed", "canceled", "paused_awaiting_approval"]
            .contains(&self.status.as_str())
    }

    /// The version of the plan that was in force at each event.
    pub fn versions(&self) -> BTreeMap<u64, i64> {
        let mut version = 1;
        let of = |e: &Event| {
            if e.kind == "run.created" {
                version = e.data["run"]["plan_version"].as_i64().unwrap_or(version);
            }
            if e.kind == "autofix.replanned" {
                version = e.number("version").unwrap_or(version + 1);
            }
            (e.seq, version)
        };
        self.events.iter().map(of).collect()
    }
}
