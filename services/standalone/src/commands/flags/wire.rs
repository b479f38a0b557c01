//! The documents from the wire.

use super::document::{
    Affected, Audited, Explained, Explanation, Imagined, LayerValue, Platform, PlatformLayer,
    Scheduled, segment,
};
use meta_domain::fault::InvalidField;
use meta_domain::settings::{Layer, Overrides, Rollouts};
use meta_proto::common;
use meta_proto::convert::settings::rollouts_from;
use meta_proto::convert::{Field, instant, parse, word};
use meta_proto::flags as pb;
use serde_json::Value as Json;

type Read<T> = Result<T, InvalidField>;

fn text(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

fn at(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.map(|t| instant(t).to_string())
}

fn overrides(wire: Option<common::Overrides>) -> Overrides {
    wire.unwrap_or_default().into()
}

/// A value as it was stored, or its text where it is none.
fn stored(text: String) -> Json {
    serde_json::from_str(&text).unwrap_or(Json::String(text))
}

/// The settings of an owner; `own` is the layer that belongs to it.
pub fn explained(wire: pb::ExplainResponse, own: Layer) -> Read<Explained> {
    let mut resolved = std::collections::BTreeMap::new();
    for setting in wire.settings {
        let name = parse("settings.name", &setting.name)?;
        resolved.insert(name, explanation(setting)?);
    }
    let own = resolved.iter().filter_map(|(setting, explanation): (_, &Explanation)| {
        let mut layers = explanation.layers.iter();
        let stored = layers.find(|l| l.layer == own && l.problem.is_none())?;
        Some((*setting, serde_json::from_value(stored.value.clone()).ok()?))
    });
    Ok(Explained {
        own: own.collect(),
        override_version: wire.override_version,
        scheduled: wire.scheduled.into_iter().map(scheduled).collect::<Read<_>>()?,
        version: wire.version,
        stale: wire.stale,
        stale_ms: wire.stale_ms,
        resolved,
    })
}

fn explanation(wire: pb::SettingExplanation) -> Read<Explanation> {
    let value = serde_json::from_str(&wire.value)
        .map_err(|e| InvalidField::new("settings.value", e.to_string()))?;
    let layers = wire.layers.into_iter().map(layer_value).collect::<Read<_>>()?;
    Ok(Explanation { value, layer: word("settings.winner", wire.winner)?, layers })
}

fn layer_value(wire: pb::LayerValue) -> Read<LayerValue> {
    Ok(LayerValue {
        layer: word("layers.layer", wire.layer)?,
        value: stored(wire.value),
        author: text(wire.author),
        set_at: at(wire.set_at.as_ref()),
        reason: text(wire.reason),
        percent: wire.percent,
        bucket_key: text(wire.bucket_key),
        applies: wire.applies,
        problem: text(wire.problem),
    })
}

fn rollouts(wire: Vec<common::Rollout>) -> Read<Rollouts> {
    rollouts_from(wire)
}

fn scheduled(wire: pb::ScheduledChange) -> Read<Scheduled> {
    let action = match (wire.clear, wire.patch) {
        (true, _) => "clear",
        (false, true) => "patch",
        (false, false) => "replace",
    };
    Ok(Scheduled {
        id: wire.id,
        layer: word("layer", wire.layer).field("scheduled")?,
        run_id: text(wire.run_id),
        effective_at: at(wire.effective_at.as_ref()),
        action: action.to_owned(),
        overrides: overrides(wire.overrides),
        rollouts: rollouts(wire.rollouts).field("scheduled")?,
        cleared: wire.cleared,
        author: text(wire.author),
        created_at: at(wire.created_at.as_ref()),
        reason: text(wire.reason),
    })
}

/// What a change would do.
pub fn dry_run(wire: pb::WriteOutcome) -> Imagined {
    let affected = |a: pb::AffectedTenant| Affected {
        tenant_id: a.tenant_id,
        run_id: text(a.run_id),
        before: overrides(a.before),
        after: overrides(a.after),
    };
    Imagined {
        dry_run: true,
        changed: wire.changed,
        affected: wire.affected.into_iter().map(affected).collect(),
        affected_total: wire.affected_total,
        affects_others: wire.affects_others,
        version: wire.version,
        override_version: wire.override_version,
    }
}

/// The layers of the whole platform.
pub fn platform(wire: pb::GetPlatformResponse) -> Read<Platform> {
    let layer = |l: pb::PlatformLayer| {
        let layer: Layer = word("layers.layer", l.layer)?;
        let rolls = layer == Layer::Rollout;
        let document = PlatformLayer {
            layer,
            overrides: (!rolls).then(|| overrides(l.overrides)),
            rollouts: if rolls { Some(rollouts(l.rollouts)?) } else { None },
            override_version: l.version,
        };
        Ok((segment(layer).to_owned(), document))
    };
    Ok(Platform {
        environment: wire.environment.map(Into::into),
        layers: wire.layers.into_iter().map(layer).collect::<Read<_>>()?,
        scheduled: wire.scheduled.into_iter().map(scheduled).collect::<Read<_>>()?,
        version: wire.version,
    })
}

/// One audited change.
pub fn changed(wire: pb::Change) -> Read<Audited> {
    let kind = match wire.kind() {
        pb::ChangeKind::Unspecified => "unknown",
        pb::ChangeKind::Written => "written",
        pb::ChangeKind::Scheduled => "scheduled",
        pb::ChangeKind::Applied => "applied",
        pb::ChangeKind::Canceled => "canceled",
    };
    Ok(Audited {
        kind: kind.to_owned(),
        layer: word("changes.layer", wire.layer)?,
        run_id: text(wire.run_id),
        actor: text(wire.actor),
        changed_at: at(wire.changed_at.as_ref()),
        reason: text(wire.reason),
        before: overrides(wire.before),
        after: overrides(wire.after),
        rollouts_before: rollouts(wire.rollouts_before)?,
        rollouts_after: rollouts(wire.rollouts_after)?,
        version: wire.version,
        trace_id: text(wire.trace_id),
        scheduled_id: text(wire.scheduled_id),
        effective_at: at(wire.effective_at.as_ref()),
    })
}
