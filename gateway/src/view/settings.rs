//! Settings, their layers and overrides, and the history of both.

use super::{at, json, text, word};
use meta_domain::settings::Layer;
use meta_proto::common as pb;
use meta_proto::convert::{Number, word_opt};
use meta_proto::flags::{
    AffectedTenant, Change, ChangeKind, ExplainResponse, GetPlatformResponse, LayerValue,
    PlatformLayer, ScheduledChange, WriteOutcome,
};
use serde_json::{Map, Value, json};

/// An override: only what it sets.
pub(crate) fn overrides(overrides: Option<&pb::Overrides>) -> Value {
    json!(meta_domain::settings::Overrides::from(overrides.copied().unwrap_or_default()))
}

/// The settings in force with the layer each value came from, and what `layer` itself overrides.
pub(crate) fn explained(explained: &ExplainResponse, layer: Layer) -> Value {
    let mut resolved = Map::new();
    let mut own = Map::new();
    for setting in &explained.settings {
        let value = json!({
            "value": json(&setting.value),
            "layer": word::<Layer>(setting.winner),
            "layers": setting.layers.iter().map(layer_value).collect::<Vec<_>>(),
        });
        resolved.insert(setting.name.clone(), value);
        let readable = |l: &&LayerValue| l.layer == layer.number() && l.problem.is_empty();
        if let Some(set) = setting.layers.iter().find(readable) {
            own.insert(setting.name.clone(), json(&set.value));
        }
    }
    json!({
        "resolved": resolved,
        "override": own,
        "override_version": explained.override_version,
        "scheduled": explained.scheduled.iter().map(scheduled).collect::<Vec<_>>(),
        "version": explained.version,
        "stale": explained.stale,
        "stale_ms": explained.stale_ms,
    })
}

fn layer_value(l: &LayerValue) -> Value {
    json!({
        "layer": word::<Layer>(l.layer),
        "value": json(&l.value),
        "author": text(&l.author),
        "set_at": at(l.set_at.as_ref()),
        "reason": text(&l.reason),
        "percent": l.percent,
        "bucket_key": text(&l.bucket_key),
        "applies": l.applies,
        "problem": text(&l.problem),
    })
}

fn scheduled(change: &ScheduledChange) -> Value {
    let action = match (change.clear, change.patch) {
        (true, _) => "clear",
        (false, true) => "patch",
        (false, false) => "replace",
    };
    json!({
        "id": change.id,
        "layer": word::<Layer>(change.layer),
        "run_id": text(&change.run_id),
        "effective_at": at(change.effective_at.as_ref()),
        "action": action,
        "overrides": overrides(change.overrides.as_ref()),
        "rollouts": rollouts(&change.rollouts),
        "cleared": change.cleared,
        "author": text(&change.author),
        "created_at": at(change.created_at.as_ref()),
        "reason": text(&change.reason),
    })
}

fn rollouts(list: &[pb::Rollout]) -> Value {
    let one = |r: &pb::Rollout| {
        let value = r.value.as_ref().and_then(|v| v.kind.as_ref());
        let value = value.map_or(Value::Null, |kind| match kind {
            pb::setting_value::Kind::Flag(v) => (*v).into(),
            pb::setting_value::Kind::Number(v) => (*v).into(),
        });
        let bucket_key = if r.bucket_key.is_empty() { &r.setting } else { &r.bucket_key };
        let rollout = json!({ "value": value, "percent": r.percent, "bucket_key": bucket_key });
        (r.setting.clone(), rollout)
    };
    list.iter().map(one).collect::<Map<_, _>>().into()
}

/// What a write would change.
pub(crate) fn dry_run(outcome: &WriteOutcome) -> Value {
    let affected = |a: &AffectedTenant| {
        json!({
            "tenant_id": a.tenant_id,
            "run_id": text(&a.run_id),
            "before": overrides(a.before.as_ref()),
            "after": overrides(a.after.as_ref()),
        })
    };
    json!({
        "dry_run": true,
        "changed": outcome.changed,
        "affected": outcome.affected.iter().map(affected).collect::<Vec<_>>(),
        "affected_total": outcome.affected_total,
        "affects_others": outcome.affects_others,
        "version": outcome.version,
        "override_version": outcome.override_version,
    })
}

/// A layer of the whole platform as it stands in paths.
pub(crate) fn segment(layer: Layer) -> &'static str {
    match layer {
        Layer::Rollout => "rollouts",
        Layer::KillSwitch => "kill-switch",
        Layer::Platform | Layer::Tenant | Layer::Run | Layer::FailClosed => layer.as_str(),
    }
}

/// The layers of the whole platform, by their paths.
pub(crate) fn platform(found: &GetPlatformResponse) -> Value {
    let layer = |l: &PlatformLayer| {
        let layer = word_opt::<Layer>("", l.layer).ok().flatten()?;
        let values = match layer {
            Layer::Rollout => ("rollouts", rollouts(&l.rollouts)),
            _ => ("overrides", overrides(l.overrides.as_ref())),
        };
        let document = json!({ "layer": layer, values.0: values.1, "override_version": l.version });
        Some((segment(layer).to_owned(), document))
    };
    let environment = found.environment.map(meta_domain::settings::Settings::from);
    json!({
        "environment": environment,
        "layers": found.layers.iter().filter_map(layer).collect::<Map<_, _>>(),
        "scheduled": found.scheduled.iter().map(scheduled).collect::<Vec<_>>(),
        "version": found.version,
    })
}

/// A change with a name of its own in its history.
pub(crate) fn change(change: &Change) -> (String, Value) {
    let kind = match change.kind() {
        ChangeKind::Unspecified => "unknown",
        ChangeKind::Written => "written",
        ChangeKind::Scheduled => "scheduled",
        ChangeKind::Applied => "applied",
        ChangeKind::Canceled => "canceled",
    };
    let id = if change.scheduled_id.is_empty() {
        format!("{kind}:{}", change.version)
    } else {
        format!("{kind}:{}", change.scheduled_id)
    };
    let attributes = json!({
        "kind": kind,
        "layer": word::<Layer>(change.layer),
        "run_id": text(&change.run_id),
        "actor": text(&change.actor),
        "changed_at": at(change.changed_at.as_ref()),
        "reason": text(&change.reason),
        "before": overrides(change.before.as_ref()),
        "after": overrides(change.after.as_ref()),
        "rollouts_before": rollouts(&change.rollouts_before),
        "rollouts_after": rollouts(&change.rollouts_after),
        "version": change.version,
        "trace_id": text(&change.trace_id),
        "scheduled_id": text(&change.scheduled_id),
        "effective_at": at(change.effective_at.as_ref()),
    });
    (id, attributes)
}
