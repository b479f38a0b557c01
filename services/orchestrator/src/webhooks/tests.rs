//! The store on both engines, and deliveries to a receiver on loopback.

mod delivery;
mod rows;
mod rpcs;

use super::*;
use crate::core::webhook::{EventFilter, OutboxRow, Policy};
use meta_domain::id::{RunId, TenantId, WebhookId};
use meta_domain::time::Timestamp;
use meta_storage::testing::Fresh;
use meta_storage::{Engine, Migrations};
use uuid::Uuid;

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const OTHER: TenantId = TenantId(Uuid::from_u128(2));
const RUN: RunId = RunId(Uuid::from_u128(3));
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn webhook(n: u128) -> WebhookId {
    WebhookId(Uuid::from_u128(n))
}

async fn open(fresh: &Fresh) -> WebhookStore {
    let migrations = Migrations {
        sqlite: &sqlx::migrate!("migrations/sqlite"),
        postgres: &sqlx::migrate!("migrations/postgres"),
    };
    WebhookStore::new(Engine::open(fresh.location(), migrations).await.unwrap())
}

fn row(n: u128, url: &str, events: &[&str]) -> WebhookRow {
    WebhookRow {
        id: webhook(n),
        url: url.to_owned(),
        events: events.iter().map(|e| e.parse::<EventFilter>().unwrap()).collect(),
        created_by: "user:test".to_owned(),
        created_at: NOW,
        disabled_reason: String::new(),
        waiting: 0,
        dead: 0,
        last_error: String::new(),
    }
}

fn told(webhook: WebhookId, seq: u64) -> OutboxRow {
    OutboxRow { tenant: TENANT, webhook, run: RUN, seq, due: NOW }
}

async fn put(store: &WebhookStore, rows: &[OutboxRow]) {
    let mut tx = store.engine.begin().await.unwrap();
    insert(&mut tx, rows).await.unwrap();
    tx.commit().await.unwrap();
}

/// Loopback is allowed, as an operator may.
fn loopback() -> Policy {
    Policy {
        allow_http: true,
        ports: (1..=u16::MAX).collect(),
        networks: vec!["127.0.0.0/8".parse().unwrap()],
    }
}

/// A run with one event of that number.
async fn put_event(store: &WebhookStore, tenant: TenantId, run: RunId, seq: i64) {
    let mut tx = store.engine.begin().await.unwrap();
    meta_storage::on!(&mut tx, |db| sqlx::query(
        "INSERT INTO runs (id, tenant_id, spec_id, status, seq, rev, body, body_seq, created_at) \
         VALUES ($1, $2, $1, 'running', 1, 1, '{}', 1, 1)",
    )
    .bind(run.0)
    .bind(tenant.0)
    .execute(db)
    .await
    .map(drop)
    .unwrap());
    meta_storage::on!(&mut tx, |db| sqlx::query(
        "INSERT INTO events (run_id, seq, type, step, at, body) \
         VALUES ($1, $2, 'run.created', '', 1, '{}')",
    )
    .bind(run.0)
    .bind(seq)
    .execute(db)
    .await
    .map(drop)
    .unwrap());
    tx.commit().await.unwrap();
}
