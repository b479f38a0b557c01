//! What a run's event log promises, seen from outside.

use super::Rest;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// The names of the promises of a run that its log and its state break; empty when all hold:
/// numbers are dense from 1, a step's success is recorded once a plan version unless a patch made
/// it out of date, a failure opens one gate, a gate is decided once, and no step and no run has more attempts than its budget.
pub fn broken_promises(events: &[Value], per_step: usize, total: usize) -> Vec<String> {
    let mut broken = Vec::new();
    for (expected, event) in (1..).zip(events) {
        if event["seq"] != expected {
            broken.push(format!("event {expected} has number {}", event["seq"]));
        }
    }
    let mut version = 1;
    let mut passed: BTreeMap<(u64, String), usize> = BTreeMap::new();
    let mut gates: BTreeMap<String, usize> = BTreeMap::new();
    let mut decisions: BTreeMap<String, usize> = BTreeMap::new();
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for event in events {
        let step = event["step"].as_str().unwrap_or_default().to_owned();
        let data = &event["data"];
        match event["type"].as_str().unwrap_or_default() {
            "autofix.replanned" => version = data["version"].as_u64().unwrap_or(version + 1),
            "step.succeeded" | "step.accepted" => {
                *passed.entry((version, step.clone())).or_default() += 1;
            }
            "step.outdated" => {
                let step = data["step"].as_str().unwrap_or(&step).to_owned();
                passed.remove(&(version, step));
            }
            "autofix.escalated" | "approval.requested" => {
                *gates.entry(step.clone()).or_default() += 1;
            }
            "approval.granted" | "approval.rejected" => {
                *decisions.entry(data["gate"].to_string()).or_default() += 1;
            }
            _ => {}
        }
        if data.get("attempt").is_some_and(Value::is_object) {
            *turns.entry(step).or_default() += 1;
        }
    }
    let all: usize = turns.values().sum();
    let many = |what: &str, counts: BTreeMap<String, usize>, limit: usize| {
        let over = counts.into_iter().filter(move |(_, n)| *n > limit);
        over.map(|(name, n)| format!("{n} times {what} of {name}")).collect::<Vec<_>>()
    };
    let passed = passed.into_iter().map(|((v, s), n)| (format!("{s} in plan version {v}"), n));
    broken.extend(many("success", passed.collect(), 1));
    broken.extend(many("a gate", gates, 1));
    broken.extend(many("a decision", decisions, 1));
    broken.extend(many("an attempt", turns, per_step));
    if all > total {
        broken.push(format!("{all} attempts of the run"));
    }
    broken
}

/// The events that a reader sees who was cut off after `seen` and comes back: none twice, none lost.
pub async fn follow_up(rest: &Rest, run: &str, mut seen: Vec<Value>) -> Result<Vec<Value>> {
    let last = seen.last().map_or(Some(0), |e| e["seq"].as_u64()).context("events have numbers")?;
    let mut events = rest.follow(run, last).await?;
    while let Some(event) = events.next().await? {
        seen.push(event);
    }
    Ok(seen)
}
