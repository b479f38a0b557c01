//! Changes of settings go on record here, in the order in which the flag-resolver made them, each
//! once: with how far it came, in one transaction. The flag-resolver has written them in the
//! transaction of the change, so that none is missing that was in force.

use crate::DEFAULT_TENANT;
use crate::core::audit::{By, Entry};
use crate::store::Tables;
use meta_domain::fault::{Fault, InvalidField};
use meta_domain::settings::{Layer, Overrides};
use meta_proto::common::setting_value::Kind;
use meta_proto::convert::{instant, parse_opt, word};
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::status::from_status;
use meta_runtime::auth::machine_call;
use meta_runtime::{Flags, Transport};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Changes that are read at once.
const BATCH: u32 = 200;
/// How long the flag-resolver may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked for changes that nobody told of.
const LOOK: Duration = Duration::from_secs(5);

/// Puts changes of settings on record.
pub struct Changes {
    tables: Tables,
    resolver: Transport,
    /// Says when there is something new.
    flags: Flags,
}

impl Changes {
    /// Of this flag-resolver, whose snapshot `flags` is.
    pub fn new(tables: Tables, resolver: Transport, flags: Flags) -> Self {
        Self { tables, resolver, flags }
    }

    /// Until the process stops.
    pub async fn run(self, stop: CancellationToken) {
        let mut versions = self.flags.versions();
        loop {
            match self.catch_up().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(fault) => tracing::warn!(%fault, "changes of settings are not on record yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
                changed = versions.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Puts the next changes on record; whether there may be more.
    async fn catch_up(&self) -> Result<bool, Fault> {
        let from = self.tables.settings_on_record().await?;
        let request = pb::ReadChangesRequest { after_version: from, page_size: BATCH };
        let mut resolver = FlagsServiceClient::new(self.resolver.clone())
            .max_decoding_message_size(meta_domain::limits::MESSAGE_BYTES_MAX);
        let asked = resolver.read_changes(machine_call(ASK_LIMIT, request)).await;
        let changes = asked.map_err(|status| said(&status))?.into_inner().changes;
        let Some(last) = changes.last().and_then(|one| one.change.as_ref()) else {
            return Ok(false);
        };
        let (to, full) = (last.version, changes.len() >= BATCH as usize);
        let entries: Result<Vec<Entry>, InvalidField> = changes.into_iter().map(entry).collect();
        let put = self.tables.put_settings_on_record((from, to), entries?).await?;
        Ok(full || !put)
    }
}

fn said(status: &tonic::Status) -> Fault {
    let got = from_status(status);
    Fault::new(got.kind, "FLAG_RESOLVER", got.message)
}

/// What goes on record of a change. Those of the whole platform belong to the tenant that was there
/// first, whose administrators run the installation.
fn entry(one: pb::TenantChange) -> Result<Entry, InvalidField> {
    let tenant = parse_opt("tenant_id", &one.tenant_id)?.unwrap_or(DEFAULT_TENANT);
    let change = one.change.unwrap_or_default();
    let layer: Layer = word("layer", change.layer)?;
    let object = if change.run_id.is_empty() {
        format!("settings/{layer}")
    } else {
        format!("settings/run/{}", change.run_id)
    };
    let action = match change.kind() {
        pb::ChangeKind::Scheduled => "settings.scheduled",
        pb::ChangeKind::Canceled => "settings.schedule_canceled",
        pb::ChangeKind::Unspecified | pb::ChangeKind::Written | pb::ChangeKind::Applied => {
            "settings.changed"
        }
    };
    let at = change.changed_at.as_ref().map(instant).unwrap_or_default();
    let before = terms(change.before, &change.rollouts_before);
    let mut after = terms(change.after, &change.rollouts_after);
    if let (Some(effective), Value::Object(after)) = (&change.effective_at, &mut after) {
        after.insert("scheduled_id".to_owned(), change.scheduled_id.as_str().into());
        after.insert("effective_at".to_owned(), instant(effective).to_string().into());
    }
    let by = By {
        credential: one.credential,
        home: parse_opt("home_tenant_id", &one.home_tenant_id)?,
        request_id: one.request_id,
        trace_id: change.trace_id,
    };
    let entry = Entry::new(tenant, at, action, &change.actor, object).by(by);
    Ok(entry.change(&before, &after).because(&change.reason))
}

/// The terms of a layer as JSON.
fn terms(
    overrides: Option<meta_proto::common::Overrides>,
    rollouts: &[meta_proto::common::Rollout],
) -> Value {
    let overrides = Overrides::from(overrides.unwrap_or_default());
    let mut all: Map<String, Value> = match serde_json::to_value(overrides) {
        Ok(Value::Object(all)) => all.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        Ok(_) | Err(_) => Map::new(),
    };
    for one in rollouts {
        let value = match one.value.as_ref().and_then(|value| value.kind.as_ref()) {
            Some(Kind::Flag(flag)) => json!(flag),
            Some(Kind::Number(number)) => json!(number),
            None => Value::Null,
        };
        all.insert(one.setting.clone(), json!({ "value": value, "percent": one.percent }));
    }
    json!(all)
}
