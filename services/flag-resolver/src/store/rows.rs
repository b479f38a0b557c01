//! Rows, and what they mean.

use crate::core::document::{By, Document, Origin};
use crate::core::scope::Scope;
use crate::core::write::{Terms, Write};
use meta_domain::id::TenantId;
use meta_domain::settings::{Layer, Setting};
use meta_domain::status::words;
use meta_domain::time::Timestamp;
use meta_storage::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

words! {
    /// What sort of change.
    Kind {
        /// It was in force at once.
        Written = "written",
        /// It waits.
        Scheduled = "scheduled",
        /// It waited, and is in force now.
        Applied = "applied",
        /// It waited, and was taken back.
        Canceled = "canceled",
    }
}

/// Where a scope is stored.
pub(super) struct Keys {
    pub layer: &'static str,
    pub tenant: String,
    pub run: String,
}

impl Keys {
    pub(super) fn of(scope: Scope) -> Self {
        let owner = scope.owner();
        Self {
            layer: scope.layer().as_str(),
            tenant: owner.map(|o| o.tenant.to_string()).unwrap_or_default(),
            run: owner.and_then(|o| o.run).map(|r| r.to_string()).unwrap_or_default(),
        }
    }
}

/// The scope of a row.
fn scope(table: &'static str, layer: &str, tenant: &str, run: &str) -> Result<Scope, Error> {
    let bad = |problem: String| Error::CorruptRow {
        table,
        id: format!("{layer}/{tenant}/{run}"),
        problem,
    };
    let tenant_id = || tenant.parse::<TenantId>().map_err(|e| bad(format!("tenant: {e}")));
    match layer.parse::<Layer>().map_err(|e| bad(format!("layer: {e}")))? {
        Layer::Tenant => Ok(Scope::Tenant(tenant_id()?)),
        Layer::Run => {
            let run = run.parse().map_err(|e| bad(format!("run: {e}")))?;
            Ok(Scope::Run(tenant_id()?, run))
        }
        of_all => Scope::of_platform(of_all)
            .ok_or_else(|| bad("the layer is not stored (expected another one)".to_owned())),
    }
}

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// The version of the newest change.
    pub version: u64,
    /// When the next scheduled change is due.
    pub next_due: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
pub(super) struct PulseRow {
    version: i64,
    next_due: Option<i64>,
}

impl TryFrom<PulseRow> for Pulse {
    type Error = Error;
    fn try_from(row: PulseRow) -> Result<Self, Error> {
        Ok(Self {
            version: number("snapshot", row.version)?,
            next_due: row.next_due.map(Timestamp),
        })
    }
}

/// A stored layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The version that wrote it.
    pub version: u64,
    /// What it holds.
    pub document: Document,
}

/// What a read of the store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The version after which it was read.
    pub after: u64,
    /// The version of the store at that moment.
    pub version: u64,
    /// The layers.
    pub rows: Vec<(Scope, Stored)>,
}

#[derive(sqlx::FromRow)]
pub(super) struct LayerRow {
    snapshot: i64,
    layer: Option<String>,
    tenant: Option<String>,
    run: Option<String>,
    document: Option<String>,
    version: Option<i64>,
}

impl Batch {
    /// A row whose document is bad is kept as far as it can be read; one whose owner is bad
    /// belongs to nobody, so it is an error of the store.
    pub(super) fn read(after: u64, rows: Vec<LayerRow>) -> Result<Self, Error> {
        let mut batch = Self { after, ..Self::default() };
        for row in rows {
            batch.version = number("snapshot", row.snapshot)?;
            let (Some(layer), Some(tenant), Some(run), Some(json), Some(version)) =
                (row.layer, row.tenant, row.run, row.document, row.version)
            else {
                continue;
            };
            let document = Document::parse(&json);
            for (setting, problem) in &document.bad {
                tracing::error!(layer, tenant, run, %setting, problem, "stored setting is corrupt");
            }
            let version = number("layers", version)?;
            batch
                .rows
                .push((scope("layers", &layer, &tenant, &run)?, Stored { version, document }));
        }
        Ok(batch)
    }
}

/// A change that will take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Names it.
    pub id: Uuid,
    /// What it is about.
    pub scope: Scope,
    /// What it does.
    pub write: Write,
    /// Who scheduled it, when and why.
    pub by: By,
    /// By which credential and request.
    pub origin: Origin,
    /// When it takes effect.
    pub effective_at: Timestamp,
}

#[derive(sqlx::FromRow)]
pub(super) struct ScheduledRow {
    id: String,
    layer: String,
    tenant: String,
    run: String,
    write_json: String,
    author: String,
    reason: String,
    credential: String,
    home_tenant: String,
    request_id: String,
    trace_id: String,
    created_at: i64,
    effective_at: i64,
}

impl ScheduledRow {
    /// The id and the tenant as they are stored.
    pub(super) fn names(&self) -> (&str, &str) {
        (&self.id, &self.tenant)
    }

    /// What it is about, where that can be read.
    pub(super) fn scope(&self) -> Result<Scope, Error> {
        scope("scheduled", &self.layer, &self.tenant, &self.run)
    }

    /// The change; a term that the layer would not take is corrupt too.
    pub(super) fn read(&self) -> Result<Scheduled, Error> {
        let bad = |problem: String| corrupt("scheduled", &self.id, problem);
        let scope = self.scope()?;
        let write: Write = decoded("scheduled", &self.id, &self.write_json)?;
        write.check(scope).map_err(|fault| bad(fault.to_string()))?;
        Ok(Scheduled {
            id: self.id.parse().map_err(|e: uuid::Error| bad(e.to_string()))?,
            scope,
            write,
            by: By {
                actor: self.author.as_str().into(),
                at: Timestamp(self.created_at),
                reason: self.reason.as_str().into(),
            },
            origin: Origin {
                credential: self.credential.clone(),
                home: home(&self.home_tenant).map_err(bad)?,
                request_id: self.request_id.clone(),
                trace_id: self.trace_id.clone(),
            },
            effective_at: Timestamp(self.effective_at),
        })
    }
}

/// An audited change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audited {
    /// The version it made.
    pub version: u64,
    /// What it was about.
    pub scope: Scope,
    /// What sort.
    pub kind: Kind,
    /// Who, when and why.
    pub by: By,
    /// By which credential and request.
    pub origin: Origin,
    /// The terms before.
    pub before: Terms,
    /// The terms after.
    pub after: Terms,
    /// Of a scheduled change: its id, and when it takes effect.
    pub scheduled: Option<(String, Timestamp)>,
}

#[derive(sqlx::FromRow)]
pub(super) struct AuditRow {
    version: i64,
    layer: String,
    tenant: String,
    run: String,
    kind: String,
    actor: String,
    reason: String,
    credential: String,
    home_tenant: String,
    request_id: String,
    trace_id: String,
    changed_at: i64,
    before_json: String,
    after_json: String,
    scheduled_id: String,
    effective_at: Option<i64>,
}

impl TryFrom<AuditRow> for Audited {
    type Error = Error;
    fn try_from(row: AuditRow) -> Result<Self, Error> {
        let id = row.version.to_string();
        Ok(Self {
            version: number("changes", row.version)?,
            scope: scope("changes", &row.layer, &row.tenant, &row.run)?,
            kind: row.kind.parse().map_err(|e: String| corrupt("changes", &id, e))?,
            by: By {
                actor: row.actor.into(),
                at: Timestamp(row.changed_at),
                reason: row.reason.into(),
            },
            origin: Origin {
                credential: row.credential,
                home: home(&row.home_tenant).map_err(|e| corrupt("changes", &id, e))?,
                request_id: row.request_id,
                trace_id: row.trace_id,
            },
            before: decoded("changes", &id, &row.before_json)?,
            after: decoded("changes", &id, &row.after_json)?,
            scheduled: row.effective_at.map(|at| (row.scheduled_id, Timestamp(at))),
        })
    }
}

/// The tenant that a credential came from; empty where it acted in its own.
fn home(tenant: &str) -> Result<Option<TenantId>, String> {
    let read = |t: &str| t.parse().map_err(|e| format!("home_tenant: {e}"));
    Some(tenant).filter(|t| !t.is_empty()).map(read).transpose()
}

/// An origin's tenant as it is stored.
pub(super) fn home_of(origin: &Origin) -> String {
    origin.home.map(|home| home.to_string()).unwrap_or_default()
}

/// The names of settings, each between spaces.
pub(super) fn names(settings: &BTreeSet<Setting>) -> String {
    let names: Vec<_> = settings.iter().map(|s| s.as_str()).collect();
    format!(" {} ", names.join(" "))
}

/// A version as the store keeps it.
pub(super) fn version_of(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

pub(super) fn number(table: &'static str, version: i64) -> Result<u64, Error> {
    u64::try_from(version)
        .map_err(|_| corrupt(table, &version.to_string(), "the version is negative".to_owned()))
}

pub(super) fn encoded<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)).into())
}

fn decoded<T: DeserializeOwned>(table: &'static str, id: &str, json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|e| corrupt(table, id, e.to_string()))
}

fn corrupt(table: &'static str, id: &str, problem: String) -> Error {
    Error::CorruptRow { table, id: id.to_owned(), problem }
}
