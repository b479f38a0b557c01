//! Settings as text. Every line but those with somebody's own words fits a narrow terminal.

use super::document::{
    Affected, Audited, Explained, Explanation, Imagined, Later, LayerValue, Platform, Scheduled,
    Values, segment,
};
use crate::patch::printable;
use meta_domain::settings::{Layer, Overrides, Rollout, Rollouts, Setting, Settings};
use serde_json::Value as Json;

/// Tenants of a dry run that are named.
const AFFECTED_SHOWN_MAX: usize = 20;

/// The settings in force.
pub fn values(values: &Values) -> String {
    let mut lines = vec![columns("SETTING", "VALUE", "FROM")];
    lines.extend(
        values
            .settings
            .iter()
            .map(|(s, v)| columns(s.as_str(), &v.value.to_string(), v.layer.as_str())),
    );
    lines.extend(staleness(values.stale, values.stale_ms));
    lines.extend(values.override_version.map(|v| format!("override version {v}")));
    lines.join("\n")
}

fn columns(setting: &str, value: &str, from: &str) -> String {
    format!("{setting:<21} {value:<5} {from}").trim_end().to_owned()
}

fn staleness(stale: bool, ms: u64) -> Option<String> {
    let seconds = ms / 1000;
    stale.then(|| format!("stale: the store is away for {seconds} s"))
}

/// What a watcher is told: all at first, later what is different.
pub fn change(at: &str, before: Option<&Values>, now: &Values) -> String {
    let mut lines = vec![format!("{} version {}", when(at), now.version)];
    let known = |s: &Setting| before.and_then(|b| b.settings.get(s));
    for (setting, v) in now.settings.iter().filter(|(s, v)| known(s) != Some(*v)) {
        lines.push(format!("  {setting}={} {}", v.value, v.layer));
    }
    let was_stale = before.is_some_and(|b| b.stale);
    lines.extend(staleness(now.stale, now.stale_ms).map(|l| format!("  {l}")));
    if was_stale && !now.stale {
        lines.push("  the store is back".to_owned());
    }
    lines.join("\n")
}

/// How every setting came to its value.
pub fn explained(found: &Explained) -> String {
    let mut lines = Vec::new();
    for (setting, explanation) in &found.resolved {
        lines.push(format!("{setting} = {}", explanation.value));
        lines.extend(explanation.layers.iter().rev().flat_map(|l| layer(explanation, l)));
        if explanation.layer == Layer::FailClosed {
            lines.push(" * fail_closed: nothing was heard for".to_owned());
            lines.push("     too long, so auto-fix is off".to_owned());
        }
    }
    lines.extend(scheduled(&found.scheduled));
    lines.extend(staleness(found.stale, found.stale_ms));
    lines.push(format!("version {}, override version {}", found.version, found.override_version));
    lines.join("\n")
}

fn layer(of: &Explanation, l: &LayerValue) -> Vec<String> {
    let wins = l.layer == of.layer;
    let mark = if wins { '*' } else { ' ' };
    let role = match (&l.problem, l.applies, wins) {
        (Some(_), ..) => "  cannot be read",
        (None, false, _) => "  does not apply",
        (None, true, false) => "  shadowed",
        (None, true, true) => "",
    };
    let text = l.value.as_str().map_or_else(|| l.value.to_string(), ToOwned::to_owned);
    let value = printable(&text);
    let mut lines =
        vec![format!(" {mark} {:<11} {value:<5}{role}", l.layer.as_str()).trim_end().to_owned()];
    if let Some(percent) = l.percent {
        lines.push(format!("     for {percent} % of the tenants"));
        lines.extend(l.bucket_key.as_deref().map(|key| format!("     by {}", printable(key))));
    }
    if let Some(problem) = &l.problem {
        lines.push(format!("     problem: {}", printable(problem)));
    }
    lines.extend(record(l.author.as_deref(), l.set_at.as_deref(), l.reason.as_deref()));
    lines
}

/// Who, when, why.
fn record(author: Option<&str>, at: Option<&str>, reason: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(author.map(|a| format!("     by {}", printable(a))));
    lines.extend(at.map(|at| format!("     at {}", when(at))));
    lines.extend(reason.map(|r| format!("     why: {}", printable(r))));
    lines
}

/// A time to the second.
fn when(at: &str) -> String {
    match at.split_once('.') {
        Some((seconds, rest)) if rest.ends_with('Z') => format!("{seconds}Z"),
        Some(_) | None => printable(at),
    }
}

fn scheduled(list: &[Scheduled]) -> Vec<String> {
    let mut lines = Vec::new();
    if !list.is_empty() {
        lines.push("scheduled".to_owned());
    }
    for one in list {
        let at = one.effective_at.as_deref().map(when).unwrap_or_default();
        lines.push(format!(" {at} {}", one.layer));
        lines.push(format!("   {}", printable(&one.id)));
        lines.extend(one.run_id.as_deref().map(|r| format!("   run {}", printable(r))));
        if one.action == "replace" {
            lines.push("   replaces all by".to_owned());
        }
        lines.extend(one.overrides.iter().map(|(s, v)| format!("   {s}={v}")));
        lines.extend(rollouts(&one.rollouts).map(|l| format!("   {l}")));
        if one.action == "clear" && one.cleared.is_empty() {
            lines.push("   resets all".to_owned());
        }
        lines.extend(one.cleared.iter().map(|name| format!("   resets {}", printable(name))));
        lines.extend(record(one.author.as_deref(), None, one.reason.as_deref()));
    }
    lines
}

fn rollouts(all: &Rollouts) -> impl Iterator<Item = String> {
    all.iter().map(|(setting, one)| format!("{setting}={}", share(one)))
}

fn share(one: &Rollout) -> String {
    let key = printable(&one.bucket_key);
    format!("{} for {} % by {key}", one.value, one.percent)
}

/// One layer of the whole platform.
pub fn platform(found: &Platform, layer: Layer) -> String {
    let mut lines = Vec::new();
    let held = found.layers.get(segment(layer));
    let overrides = held.and_then(|l| l.overrides).unwrap_or_default();
    let environment = found.environment.as_ref().filter(|_| layer == Layer::Platform);
    if let Some(environment) = environment {
        lines.extend(over(environment, &overrides));
    } else {
        lines.extend(overrides.iter().map(|(s, v)| format!("{s}={v}")));
        lines.extend(held.and_then(|l| l.rollouts.as_ref()).into_iter().flat_map(rollouts));
    }
    if lines.is_empty() {
        lines.push(format!("nothing is set in the layer {layer}"));
    }
    let own: Vec<_> = found.scheduled.iter().filter(|s| s.layer == layer).cloned().collect();
    lines.extend(scheduled(&own));
    lines.push(format!("override version {}", held.map_or(0, |l| l.override_version)));
    lines.join("\n")
}

fn over(environment: &Settings, set: &Overrides) -> Vec<String> {
    let mut lines = vec![columns("SETTING", "VALUE", "FROM")];
    for setting in Setting::ALL {
        let (value, from) = match set.get(*setting) {
            Some(value) => (value, "platform"),
            None => (environment.get(*setting), "environment"),
        };
        lines.push(columns(setting.as_str(), &value.to_string(), from));
    }
    lines
}

/// What a change would do.
pub fn dry_run(would: &Imagined) -> String {
    let mut lines = Vec::new();
    lines.push(match (would.changed, would.affected_total) {
        (false, _) => "nothing would be stored".to_owned(),
        (true, 0) => "nobody known would get another value".to_owned(),
        (true, 1) => "1 tenant or run gets another value".to_owned(),
        (true, n) => format!("{n} tenants and runs get another value"),
    });
    for one in would.affected.iter().take(AFFECTED_SHOWN_MAX) {
        lines.extend(affected(one));
    }
    let shown = would.affected.len().min(AFFECTED_SHOWN_MAX) as u64;
    let more = would.affected_total.saturating_sub(shown);
    if more > 0 {
        lines.push(format!("and {more} more (see --output json)"));
    }
    if would.affects_others {
        lines.push("tenants not looked at are affected too".to_owned());
    }
    lines.join("\n")
}

fn affected(one: &Affected) -> Vec<String> {
    let mut lines = vec![printable(&one.tenant_id)];
    lines.extend(one.run_id.as_deref().map(|r| format!(" {}", printable(r))));
    lines.extend(difference(&one.before, &one.after).map(|l| format!("  {l}")));
    lines
}

fn difference(before: &Overrides, after: &Overrides) -> impl Iterator<Item = String> {
    let (before, after) = (*before, *after);
    let word =
        |v: Option<meta_domain::settings::Value>| v.map_or("-".to_owned(), |v| v.to_string());
    Setting::ALL.iter().filter_map(move |s| {
        let (from, to) = (before.get(*s), after.get(*s));
        (from != to).then(|| format!("{s} {} → {}", word(from), word(to)))
    })
}

/// A change that was scheduled.
pub fn later(later: &Later) -> String {
    let at = later.effective_at.as_deref().map(when).unwrap_or_default();
    format!("scheduled for {at}\n{}", printable(&later.id))
}

/// Who changed what, newest first.
pub fn history(changes: &[Audited]) -> String {
    if changes.is_empty() {
        return "nothing was changed".to_owned();
    }
    changes.iter().map(changed).collect::<Vec<_>>().join("\n")
}

fn changed(one: &Audited) -> String {
    let at = one.changed_at.as_deref().map(when).unwrap_or_default();
    let mut lines = vec![format!("{at} {}", printable(&one.kind))];
    lines.push(format!("  {} {}", one.layer, printable(one.actor.as_deref().unwrap_or("?"))));
    lines.extend(one.run_id.as_deref().map(|r| format!("  {}", printable(r))));
    lines.extend(difference(&one.before, &one.after).map(|l| format!("  {l}")));
    lines.extend(rolled(&one.rollouts_before, &one.rollouts_after).map(|l| format!("  {l}")));
    let due = one.effective_at.as_deref().filter(|_| one.kind == "scheduled");
    lines.extend(due.map(|at| format!("  for {}", when(at))));
    lines.extend(one.scheduled_id.as_deref().map(|id| format!("  {}", printable(id))));
    lines.extend(one.reason.as_deref().map(|r| format!("  why: {}", printable(r))));
    lines.join("\n")
}

fn rolled(before: &Rollouts, after: &Rollouts) -> impl Iterator<Item = String> {
    Setting::ALL.iter().filter_map(|s| match (before.get(s), after.get(s)) {
        (from, to) if from == to => None,
        (Some(_), None) => Some(format!("{s} is rolled back")),
        (_, Some(to)) => Some(format!("{s}={}", share(to))),
        (None, None) => None,
    })
}

/// The same as JSON.
pub fn platform_json(found: &Platform, layer: Layer) -> Json {
    let mut document = serde_json::json!(found.layers.get(segment(layer)));
    let own: Vec<_> = found.scheduled.iter().filter(|s| s.layer == layer).collect();
    if let Some(fields) = document.as_object_mut() {
        fields.insert("scheduled".to_owned(), serde_json::json!(own));
        fields.insert("version".to_owned(), found.version.into());
        if layer == Layer::Platform {
            fields.insert("environment".to_owned(), serde_json::json!(found.environment));
        }
    }
    document
}

#[cfg(test)]
mod tests;
