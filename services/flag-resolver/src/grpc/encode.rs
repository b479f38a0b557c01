//! To the wire.

use crate::core::affected::Affected;
use crate::core::document::Origin;
use crate::core::explain::{Explanation, LayerValue};
use crate::core::scope::Scope;
use crate::core::write::{Terms, Write};
use crate::resolver::{Explained, Outcome};
use crate::store::{Audited, Kind, Scheduled, Stored};
use meta_domain::settings::{Freshness, Overrides, Rollouts, Setting, Settings};
use meta_proto::convert::settings::rollouts;
use meta_proto::convert::{Number, timestamp};
use meta_proto::flags as pb;
use meta_runtime::flags::Answer;
use std::sync::Arc;

/// Affected tenants in one answer.
const AFFECTED_MAX: usize = 1_000;

fn stale_ms(freshness: Freshness) -> u64 {
    match freshness {
        Freshness::Fresh => 0,
        Freshness::Stale { age_ms } | Freshness::Expired { age_ms } => age_ms,
    }
}

pub(super) fn resolved(answer: Answer) -> pb::ResolveResponse {
    pb::ResolveResponse {
        resolved: Some(answer.resolved.into()),
        version: answer.version,
        stale: answer.freshness.is_stale(),
        stale_ms: stale_ms(answer.freshness),
    }
}

pub(super) fn watched(answer: Answer) -> pb::WatchResponse {
    pb::WatchResponse {
        resolved: Some(answer.resolved.into()),
        version: answer.version,
        stale: answer.freshness.is_stale(),
        stale_ms: stale_ms(answer.freshness),
    }
}

pub(super) fn outcome(outcome: Outcome) -> pb::WriteOutcome {
    let total = outcome.affected.len();
    pb::WriteOutcome {
        version: outcome.version,
        override_version: outcome.override_version,
        changed: outcome.changed,
        scheduled_id: outcome.scheduled.map(|id| id.to_string()).unwrap_or_default(),
        affected: outcome.affected.into_iter().take(AFFECTED_MAX).map(affected).collect(),
        affected_total: u64::try_from(total).unwrap_or(u64::MAX),
        affects_others: outcome.affects_others,
    }
}

fn affected(one: Affected) -> pb::AffectedTenant {
    pb::AffectedTenant {
        tenant_id: one.owner.tenant.to_string(),
        run_id: one.owner.run.map(|r| r.to_string()).unwrap_or_default(),
        before: Some(one.before.into()),
        after: Some(one.after.into()),
    }
}

pub(super) fn explained(explained: Explained) -> pb::ExplainResponse {
    let answer = explained.answer;
    pb::ExplainResponse {
        settings: explained.settings.into_iter().map(explanation).collect(),
        version: answer.version,
        stale: answer.freshness.is_stale(),
        stale_ms: stale_ms(answer.freshness),
        override_version: explained.override_version,
        scheduled: explained.scheduled.into_iter().map(scheduled).collect(),
    }
}

fn explanation(setting: Explanation) -> pb::SettingExplanation {
    pb::SettingExplanation {
        name: setting.setting.as_str().to_owned(),
        value: setting.value.to_string(),
        winner: setting.winner.number(),
        layers: setting.layers.into_iter().map(layer_value).collect(),
    }
}

fn layer_value(says: LayerValue) -> pb::LayerValue {
    let (author, set_at, reason) = match says.set {
        Some(set) => (set.author, Some(timestamp(set.at)), set.reason),
        None => (String::new(), None, String::new()),
    };
    let (percent, bucket_key) = says.share.unzip();
    pb::LayerValue {
        layer: says.layer.number(),
        value: says.value,
        author,
        set_at,
        reason,
        percent: percent.map(u32::from),
        bucket_key: bucket_key.unwrap_or_default(),
        applies: says.applies,
        problem: says.problem.unwrap_or_default(),
    }
}

/// Terms as overrides and as rollouts; one of the two is empty.
fn both(terms: &Terms) -> (Overrides, Rollouts) {
    let plain = terms.iter().filter(|(_, t)| t.share.is_none()).map(|(s, t)| (*s, t.value));
    let shares = terms.iter().filter_map(|(s, t)| Some((*s, t.rollout()?)));
    (plain.collect(), shares.collect())
}

fn scheduled(one: Scheduled) -> pb::ScheduledChange {
    let (set, shares) = both(&one.write.terms());
    let (patch, clear, cleared) = match &one.write {
        Write::Replace(_) => (false, false, Vec::new()),
        Write::Patch(_) => (true, false, Vec::new()),
        Write::Clear(settings) => (false, true, settings.iter().copied().map(name).collect()),
    };
    pb::ScheduledChange {
        id: one.id.to_string(),
        layer: one.scope.layer().number(),
        run_id: run_id(one.scope),
        effective_at: Some(timestamp(one.effective_at)),
        author: one.by.actor.to_string(),
        created_at: Some(timestamp(one.by.at)),
        reason: one.by.reason.to_string(),
        overrides: Some(set.into()),
        rollouts: rollouts(&shares),
        patch,
        cleared,
        clear,
    }
}

fn name(setting: Setting) -> String {
    setting.as_str().to_owned()
}

fn run_id(scope: Scope) -> String {
    scope.owner().and_then(|o| o.run).map(|r| r.to_string()).unwrap_or_default()
}

pub(super) fn tenant_change(change: Audited) -> pb::TenantChange {
    let tenant = change.scope.owner().map(|owner| owner.tenant.to_string());
    let Origin { credential, home, request_id, .. } = change.origin.clone();
    pb::TenantChange {
        tenant_id: tenant.unwrap_or_default(),
        change: Some(self::change(change)),
        credential,
        home_tenant_id: home.map(|home| home.to_string()).unwrap_or_default(),
        request_id,
    }
}

pub(super) fn change(change: Audited) -> pb::Change {
    let (before, rollouts_before) = both(&change.before);
    let (after, rollouts_after) = both(&change.after);
    let (scheduled_id, effective_at) = change.scheduled.unzip();
    pb::Change {
        actor: change.by.actor.to_string(),
        changed_at: Some(timestamp(change.by.at)),
        before: Some(before.into()),
        after: Some(after.into()),
        run_id: run_id(change.scope),
        version: change.version,
        kind: kind(change.kind).into(),
        reason: change.by.reason.to_string(),
        trace_id: change.origin.trace_id,
        layer: change.scope.layer().number(),
        rollouts_before: rollouts(&rollouts_before),
        rollouts_after: rollouts(&rollouts_after),
        scheduled_id: scheduled_id.unwrap_or_default(),
        effective_at: effective_at.map(timestamp),
    }
}

fn kind(kind: Kind) -> pb::ChangeKind {
    match kind {
        Kind::Written => pb::ChangeKind::Written,
        Kind::Scheduled => pb::ChangeKind::Scheduled,
        Kind::Applied => pb::ChangeKind::Applied,
        Kind::Canceled => pb::ChangeKind::Canceled,
    }
}

pub(super) fn platform(
    environment: Settings,
    layers: [(Scope, Arc<Stored>); 3],
    waiting: Vec<Scheduled>,
    version: u64,
) -> pb::GetPlatformResponse {
    let layer = |(scope, stored): (Scope, Arc<Stored>)| {
        let (set, shares) = both(&stored.document.terms());
        pb::PlatformLayer {
            layer: scope.layer().number(),
            overrides: Some(set.into()),
            rollouts: rollouts(&shares),
            version: stored.version,
        }
    };
    pb::GetPlatformResponse {
        environment: Some(environment.into()),
        layers: layers.map(layer).into(),
        scheduled: waiting.into_iter().map(scheduled).collect(),
        version,
    }
}
