//! Refused calls go on record in transactions of their own. Of one credential that tries the same
//! again and again the first few are written, then once a minute how often it was.

use crate::core::audit::{By, Entry};
use crate::store::Tables;
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_runtime::auth::{Denial, DenialSink};
use meta_runtime::now;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Refusals that wait to be written.
const WAITING_MAX: usize = 1_024;
/// Refusals of a tenant that are written one by one, in a minute.
const TOLD_MAX: u32 = 60;
/// Tenants whose refusals are counted at once.
const TENANTS_MAX: usize = 10_000;
/// The time in which they are counted, in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// How often it is looked whether that time is over.
const LOOK: Duration = Duration::from_secs(5);
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;

/// Hears of refused calls.
#[derive(Clone)]
pub struct Denials {
    told: mpsc::Sender<(Denial, u32)>,
    lost: Arc<AtomicU64>,
}

/// Writes them down.
pub struct Writing {
    tables: Tables,
    told: mpsc::Receiver<(Denial, u32)>,
    lost: Arc<AtomicU64>,
    counts: HashMap<TenantId, Count>,
}

/// What a tenant's callers were refused lately.
struct Count {
    since: Timestamp,
    written: u32,
    more: u32,
    last: Denial,
}

impl Denials {
    /// Over these tables, and what writes them down.
    pub fn new(tables: Tables) -> (Self, Writing) {
        let (told, heard) = mpsc::channel(WAITING_MAX);
        let lost = Arc::<AtomicU64>::default();
        let writing =
            Writing { tables, told: heard, lost: Arc::clone(&lost), counts: HashMap::new() };
        (Self { told, lost }, writing)
    }

    /// Tells of a refused call.
    pub fn tell(&self, denial: Denial) {
        self.tell_of(denial, 0);
    }

    /// Tells of a refused call, and of how many equal ones there were besides.
    pub fn tell_of(&self, denial: Denial, more: u32) {
        if self.told.try_send((denial, more)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same as a function.
    pub fn sink(&self) -> DenialSink {
        let denials = self.clone();
        Arc::new(move |denial| denials.tell(denial))
    }
}

impl Writing {
    /// Writes until the process stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some((denial, more)) = self.told.recv() => self.hear(denial, more).await,
                _ = look.tick() => self.close(now()).await,
            }
        }
        while let Ok((denial, more)) = self.told.try_recv() {
            self.hear(denial, more).await;
        }
        self.close(Timestamp(i64::MAX)).await;
    }

    async fn hear(&mut self, denial: Denial, more: u32) {
        let (at, tenant) = (now(), denial.caller.principal.tenant);
        if self.counts.len() >= TENANTS_MAX && !self.counts.contains_key(&tenant) {
            self.close(Timestamp(i64::MAX)).await;
        }
        let count = self.counts.entry(tenant).or_insert_with(|| Count {
            since: at,
            written: 0,
            more: 0,
            last: denial.clone(),
        });
        if count.written < TOLD_MAX {
            count.written += 1;
            self.write(entry(&denial, at, more)).await;
        } else {
            count.more = count.more.saturating_add(more).saturating_add(1);
            count.last = denial;
        }
    }

    /// Says of every tenant whose time is over what was not written one by one.
    async fn close(&mut self, at: Timestamp) {
        let over: Vec<TenantId> = self
            .counts
            .iter()
            .filter(|(_, count)| at.since_ms(count.since) >= WINDOW_MS)
            .map(|(tenant, _)| *tenant)
            .collect();
        for tenant in over {
            if let Some(count) = self.counts.remove(&tenant).filter(|count| count.more > 0) {
                self.write(entry(&count.last, now(), count.more - 1)).await;
            }
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "refused calls came too fast to be put on record");
        }
    }

    async fn write(&self, entry: Entry) {
        if let Err(error) = self.tables.put_on_record(vec![entry]).await {
            tracing::error!(%error, "a refused call could not be put on record");
        }
    }
}

fn entry(denial: &Denial, at: Timestamp, more: u32) -> Entry {
    let caller = &denial.caller;
    let by = By {
        credential: caller.credential.clone(),
        home: caller.home,
        request_id: denial.request_id.clone(),
        trace_id: denial.trace_id.clone(),
    };
    let principal = &caller.principal;
    let reason: String = denial.reason.chars().take(REASON_CHARS_MAX).collect();
    let action = denial.action.strip_prefix('/').unwrap_or(&denial.action);
    let after =
        if more > 0 { serde_json::json!({ "more": more }) } else { serde_json::Value::Null };
    let entry = Entry::new(principal.tenant, at, action, &principal.actor, denial.object.clone());
    let entry = entry.by(by).change(&serde_json::Value::Null, &after).because(&reason);
    Entry { denied: true, ..entry }
}
