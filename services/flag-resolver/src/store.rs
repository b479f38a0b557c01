//! The layers, their audit and what is scheduled, on either engine; the only SQL of the service.

mod rows;

pub(crate) use rows::{Audited, Batch, Kind, Pulse, Scheduled, Stored};

use crate::core::document::{By, Document, Origin};
use crate::core::scope::Scope;
use crate::core::write::{Change, Terms, change, differing};
use meta_domain::id::TenantId;
use meta_domain::settings::Setting;
use meta_domain::time::Timestamp;
use meta_storage::{Engine, Error, Location, Migrations, Tx, on, statements};
use rows::{
    AuditRow, Keys, LayerRow, PulseRow, ScheduledRow, encoded, home_of, number, version_of,
};
use sqlx::error::DatabaseError;
use std::collections::BTreeSet;
use uuid::Uuid;

statements! {
    PULSE = "pulse";
    SNAPSHOT_NEXT = "snapshot_next";
    LAYERS_SINCE = "layers_since";
    LAYER_GET = "layer_get";
    LAYER_PUT = "layer_put";
    CHANGE_INSERT = "change_insert";
    CHANGES_OF_OWNER = "changes_of_owner";
    CHANGES_AFTER = "changes_after";
    SCHEDULED_INSERT = "scheduled_insert";
    SCHEDULED_COUNT = "scheduled_count";
    SCHEDULED_OF_TENANT = "scheduled_of_tenant";
    SCHEDULED_TAKE = "scheduled_take";
    SCHEDULED_DUE = "scheduled_due";
}

/// Changes that one owner's layer may wait for.
pub(crate) const SCHEDULED_MAX: i64 = 100;
/// Scheduled changes that are carried out in one go.
const DUE_MAX: i64 = 100;
/// Who takes back a scheduled change that cannot be read.
const GIVES_UP: &str = "flag-resolver";

/// Which audited changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    /// Of this tenant, or (`None`) of the whole platform.
    pub tenant: Option<TenantId>,
    /// Only of this run.
    pub run: Option<Uuid>,
    /// Only of this setting.
    pub setting: Option<Setting>,
    /// Only before this version.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// What a scheduling came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    /// It is stored, with this version.
    Done(u64),
    /// The layer waits for [`SCHEDULED_MAX`] changes already.
    TooMany,
}

/// The store of the flag-resolver.
#[derive(Debug, Clone)]
pub(crate) struct FlagStore {
    engine: Engine,
}

impl FlagStore {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(location: &Location) -> Result<Self, Error> {
        let migrations = Migrations {
            sqlite: &sqlx::migrate!("migrations/sqlite"),
            postgres: &sqlx::migrate!("migrations/postgres"),
        };
        Ok(Self { engine: Engine::open(location, migrations).await? })
    }

    /// The version of the newest change, and when the next scheduled one is due.
    pub(crate) async fn pulse(&self) -> Result<Pulse, Error> {
        let read = self.engine.read();
        let sql = PULSE.on(&read);
        let row: PulseRow = on!(read, |db| sqlx::query_as(sql).fetch_one(db).await?);
        row.try_into()
    }

    /// Every layer that was written after a version; after 0, all of them.
    pub(crate) async fn since(&self, version: u64) -> Result<Batch, Error> {
        let read = self.engine.read();
        let (sql, after) = (LAYERS_SINCE.on(&read), version_of(version));
        let rows: Vec<LayerRow> =
            on!(read, |db| sqlx::query_as(sql).bind(after).fetch_all(db).await?);
        Batch::read(version, rows)
    }

    /// Changes a layer: `decide` sees the stored one and its version, alone. Layer, audit and
    /// version are one transaction. Returns the version it made, if it changed anything.
    pub(crate) async fn change<E: From<Error>>(
        &self,
        scope: Scope,
        origin: &Origin,
        decide: impl FnOnce(Document, u64) -> Result<Option<Change>, E> + Send,
    ) -> Result<Option<u64>, E> {
        let mut tx = self.engine.begin().await?;
        let version = next(&mut tx).await?;
        let (document, before) = get(&mut tx, scope).await?;
        let change = match decide(document, before) {
            Ok(Some(change)) => change,
            // not only dropped: the next writer waits for it
            refused => {
                tx.rollback().await?;
                return refused.map(|_| None);
            }
        };
        put(&mut tx, scope, &change.after, version).await?;
        let (kind, about) = (Kind::Written, BTreeSet::new());
        let audit = Audit { scope, origin, version, kind, about, scheduled: None };
        audit.insert(&mut tx, &change.before, &change.after.terms(), &change.by).await?;
        tx.commit().await?;
        Ok(Some(version))
    }

    /// Stores a change for later, and audits that somebody did.
    pub(crate) async fn schedule(&self, scheduled: &Scheduled) -> Result<Scheduling, Error> {
        let mut tx = self.engine.begin().await?;
        let version = next(&mut tx).await?;
        let keys = Keys::of(scheduled.scope);
        let sql = SCHEDULED_COUNT.on(&tx);
        let waiting: i64 = on!(tx, |db| sqlx::query_scalar(sql)
            .bind(keys.layer)
            .bind(&keys.tenant)
            .bind(&keys.run)
            .fetch_one(db)
            .await?);
        if waiting >= SCHEDULED_MAX {
            tx.rollback().await?;
            return Ok(Scheduling::TooMany);
        }
        let (sql, write_json) = (SCHEDULED_INSERT.on(&tx), encoded(&scheduled.write)?);
        on!(tx, |db| sqlx::query(sql)
            .bind(scheduled.id.to_string())
            .bind(keys.layer)
            .bind(&keys.tenant)
            .bind(&keys.run)
            .bind(&write_json)
            .bind(&*scheduled.by.actor)
            .bind(&*scheduled.by.reason)
            .bind(&scheduled.origin.trace_id)
            .bind(scheduled.by.at.0)
            .bind(scheduled.effective_at.0)
            .bind(&scheduled.origin.credential)
            .bind(home_of(&scheduled.origin))
            .bind(&scheduled.origin.request_id)
            .execute(db)
            .await
            .map(drop)?);
        let (before, _) = get(&mut tx, scheduled.scope).await?;
        let after = match change(&before, &scheduled.write, &scheduled.by) {
            Some(change) => change.after.terms(),
            None => before.terms(),
        };
        let audit = Audit::of(scheduled, version, Kind::Scheduled);
        audit.insert(&mut tx, &before.terms(), &after, &scheduled.by).await?;
        tx.commit().await?;
        Ok(Scheduling::Done(version))
    }

    /// Takes a scheduled change back, and audits that. `None` when there is none with this id of
    /// this tenant, or (no tenant) of the whole platform.
    pub(crate) async fn cancel(
        &self,
        id: Uuid,
        tenant: Option<TenantId>,
        by: &By,
        origin: &Origin,
    ) -> Result<Option<u64>, Error> {
        let mut tx = self.engine.begin().await?;
        let version = next(&mut tx).await?;
        let tenant = tenant.map(|t| t.to_string()).unwrap_or_default();
        let Some(row) = take(&mut tx, &id.to_string(), &tenant).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let scheduled = row.read()?;
        let (before, after) = (scheduled.write.terms(), Terms::new());
        let audit = Audit { origin, ..Audit::of(&scheduled, version, Kind::Canceled) };
        audit.insert(&mut tx, &before, &after, by).await?;
        tx.commit().await?;
        Ok(Some(version))
    }

    /// Carries out what is due; returns how many changes that were. Each is one transaction, so of
    /// several processes one does it. What cannot be read is taken back, so that it holds up
    /// nothing else.
    pub(crate) async fn apply_due(&self, now: Timestamp) -> Result<u32, Error> {
        let read = self.engine.read();
        let sql = SCHEDULED_DUE.on(&read);
        let rows: Vec<ScheduledRow> =
            on!(read, |db| sqlx::query_as(sql).bind(now.0).bind(DUE_MAX).fetch_all(db).await?);
        let mut applied = 0;
        for row in rows {
            let (id, tenant) = row.names();
            applied += u32::from(self.apply(id, tenant, now).await?);
        }
        Ok(applied)
    }

    async fn apply(&self, id: &str, tenant: &str, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.engine.begin().await?;
        let version = next(&mut tx).await?;
        let Some(row) = take(&mut tx, id, tenant).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        match row.read() {
            Ok(scheduled) => carry_out(&mut tx, &scheduled, version, now).await?,
            Err(error) => give_up(&mut tx, &row, version, &error, now).await?,
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The audited changes, newest first.
    pub(crate) async fn changes(&self, filter: Filter) -> Result<Vec<Audited>, Error> {
        let read = self.engine.read();
        let sql = CHANGES_OF_OWNER.on(&read);
        let tenant = filter.tenant.map(|t| t.to_string()).unwrap_or_default();
        let run = filter.run.map(|r| r.to_string()).unwrap_or_default();
        let setting = filter.setting.map(|s| format!("% {s} %")).unwrap_or_default();
        let before = filter.before.map_or(i64::MAX, version_of);
        let rows: Vec<AuditRow> = on!(read, |db| sqlx::query_as(sql)
            .bind(&tenant)
            .bind(&run)
            .bind(&setting)
            .bind(before)
            .bind(i64::from(filter.limit))
            .fetch_all(db)
            .await?);
        rows.into_iter().map(Audited::try_from).collect()
    }

    /// The audited changes of everybody after a version, oldest first.
    pub(crate) async fn changes_after(
        &self,
        version: u64,
        limit: u32,
    ) -> Result<Vec<Audited>, Error> {
        let read = self.engine.read();
        let sql = CHANGES_AFTER.on(&read);
        let rows: Vec<AuditRow> = on!(read, |db| sqlx::query_as(sql)
            .bind(version_of(version))
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        rows.into_iter().map(Audited::try_from).collect()
    }

    /// What is scheduled for a tenant and its runs, or (no tenant) for the whole platform.
    pub(crate) async fn scheduled(
        &self,
        tenant: Option<TenantId>,
    ) -> Result<Vec<Scheduled>, Error> {
        let read = self.engine.read();
        let sql = SCHEDULED_OF_TENANT.on(&read);
        let tenant = tenant.map(|t| t.to_string()).unwrap_or_default();
        let rows: Vec<ScheduledRow> =
            on!(read, |db| sqlx::query_as(sql).bind(&tenant).fetch_all(db).await?);
        let read = |row: &ScheduledRow| {
            let (id, _) = row.names();
            let told =
                |error: &Error| tracing::error!(id, %error, "a scheduled change is passed over");
            row.read().inspect_err(told).ok()
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}

/// Makes a scheduled change, and audits that.
async fn carry_out(
    tx: &mut Tx,
    scheduled: &Scheduled,
    version: u64,
    now: Timestamp,
) -> Result<(), Error> {
    let by = By { at: now, ..scheduled.by.clone() };
    let (before, _) = get(tx, scheduled.scope).await?;
    let mut after = before.terms();
    if let Some(change) = change(&before, &scheduled.write, &by) {
        after = change.after.terms();
        put(tx, scheduled.scope, &change.after, version).await?;
    }
    let audit = Audit::of(scheduled, version, Kind::Applied);
    audit.insert(tx, &before.terms(), &after, &by).await
}

/// Audits that a scheduled change was taken back because it cannot be read; where its owner
/// cannot be read either, among the changes of the whole platform.
async fn give_up(
    tx: &mut Tx,
    row: &ScheduledRow,
    version: u64,
    error: &Error,
    now: Timestamp,
) -> Result<(), Error> {
    let (id, _) = row.names();
    tracing::error!(id, %error, "a scheduled change is given up");
    let by = By { actor: GIVES_UP.into(), at: now, reason: error.to_string().into() };
    let audit = Audit {
        scope: row.scope().unwrap_or(Scope::Platform),
        origin: &Origin::default(),
        version,
        kind: Kind::Canceled,
        about: BTreeSet::new(),
        scheduled: Some((id.to_owned(), now)),
    };
    audit.insert(tx, &Terms::new(), &Terms::new(), &by).await
}

/// Whether a server may be away and come back by itself. One that refuses the credentials, or has
/// no such database, is there: somebody has to change something.
pub(crate) fn may_come_back(error: &sqlx::Error) -> bool {
    const INVALID_AUTHORIZATION: &str = "28";
    const NO_SUCH_DATABASE: &str = "3D000";
    let code = error.as_database_error().and_then(DatabaseError::code).unwrap_or_default();
    !code.starts_with(INVALID_AUTHORIZATION) && code != NO_SUCH_DATABASE
}

/// Takes the next version; other writers wait from here on.
async fn next(tx: &mut Tx) -> Result<u64, Error> {
    let sql = SNAPSHOT_NEXT.on(tx);
    let version: i64 = on!(tx, |db| sqlx::query_scalar(sql).fetch_one(db).await?);
    number("snapshot", version)
}

/// A layer and its version; an empty one of version 0 when there never was one.
async fn get(tx: &mut Tx, scope: Scope) -> Result<(Document, u64), Error> {
    let (keys, sql) = (Keys::of(scope), LAYER_GET.on(tx));
    let row: Option<(String, i64)> = on!(tx, |db| sqlx::query_as(sql)
        .bind(keys.layer)
        .bind(&keys.tenant)
        .bind(&keys.run)
        .fetch_optional(db)
        .await?);
    match row {
        None => Ok((Document::default(), 0)),
        Some((json, version)) => Ok((Document::parse(&json), number("layers", version)?)),
    }
}

async fn put(tx: &mut Tx, scope: Scope, document: &Document, version: u64) -> Result<(), Error> {
    let (keys, sql) = (Keys::of(scope), LAYER_PUT.on(tx));
    let json = encoded(&document.fields)?;
    on!(tx, |db| sqlx::query(sql)
        .bind(keys.layer)
        .bind(&keys.tenant)
        .bind(&keys.run)
        .bind(&json)
        .bind(version_of(version))
        .execute(db)
        .await
        .map(drop)?);
    Ok(())
}

async fn take(tx: &mut Tx, id: &str, tenant: &str) -> Result<Option<ScheduledRow>, Error> {
    let sql = SCHEDULED_TAKE.on(tx);
    Ok(on!(tx, |db| sqlx::query_as(sql).bind(id).bind(tenant).fetch_optional(db).await?))
}

/// One row of the audit.
struct Audit<'a> {
    scope: Scope,
    origin: &'a Origin,
    version: u64,
    kind: Kind,
    /// The settings that it is about, besides those that differ.
    about: BTreeSet<Setting>,
    scheduled: Option<(String, Timestamp)>,
}

impl<'a> Audit<'a> {
    fn of(scheduled: &'a Scheduled, version: u64, kind: Kind) -> Self {
        Self {
            scope: scheduled.scope,
            origin: &scheduled.origin,
            version,
            kind,
            about: scheduled.write.settings(),
            scheduled: Some((scheduled.id.to_string(), scheduled.effective_at)),
        }
    }

    async fn insert(
        &self,
        tx: &mut Tx,
        before: &Terms,
        after: &Terms,
        by: &By,
    ) -> Result<(), Error> {
        let keys = Keys::of(self.scope);
        let (sql, before_json, after_json) =
            (CHANGE_INSERT.on(tx), encoded(before)?, encoded(after)?);
        let (id, effective_at) = self.scheduled.as_ref().map(|(id, at)| (id, at.0)).unzip();
        let mut settings = differing(before, after);
        settings.extend(&self.about);
        on!(tx, |db| sqlx::query(sql)
            .bind(version_of(self.version))
            .bind(keys.layer)
            .bind(&keys.tenant)
            .bind(&keys.run)
            .bind(self.kind.as_str())
            .bind(&*by.actor)
            .bind(&*by.reason)
            .bind(&self.origin.trace_id)
            .bind(by.at.0)
            .bind(rows::names(&settings))
            .bind(&before_json)
            .bind(&after_json)
            .bind(id.map_or("", String::as_str))
            .bind(effective_at)
            .bind(&self.origin.credential)
            .bind(home_of(self.origin))
            .bind(&self.origin.request_id)
            .execute(db)
            .await
            .map(drop)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
