//! Answers to requests that named a key, shared by everybody on the tables.

use super::{ANSWER_FINISH, ANSWER_GET, ANSWER_RELEASE, ANSWER_TAKE, ANSWERS_PRUNE, Tables};
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, on};
use uuid::Uuid;

/// How long an answer is kept, in milliseconds: a day.
pub const ANSWER_MS: i64 = 24 * 3_600_000;

/// A key of a tenant, as SHA-256 of who asked and what key they named.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub hash: &'a [u8],
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u32,
    /// Where what was made is found; empty for nowhere.
    pub location: String,
    /// The document; `None` when it was too large.
    pub body: Option<Vec<u8>>,
    /// The document is encrypted for the credential that asked.
    pub sealed: bool,
}

/// What is known about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// It was free, and is held under this name now.
    Taken(Uuid),
    /// Another request has it.
    Working,
    /// It has its answer.
    Answered(KeptAnswer),
    /// It was used for another request.
    OtherRequest,
}

type Row = (Vec<u8>, String, i64, String, Option<Vec<u8>>, i64);

impl Tables {
    /// Takes a key for a request, in one statement, so that of two at the same time one has it.
    /// A key whose holder was not heard of for `lease_ms` may be taken by the same request.
    pub async fn begin_answer(
        &self,
        slot: Slot<'_>,
        request: &[u8],
        (now, lease_ms): (Timestamp, i64),
    ) -> Result<KeyState, Error> {
        let holder = meta_runtime::new_id();
        let mut tx = self.begin().await?;
        let sql = ANSWER_TAKE.on(&tx);
        let taken: Option<(Uuid,)> = on!(tx, |db| sqlx::query_as(sql)
            .bind(slot.tenant.0)
            .bind(slot.hash)
            .bind(request)
            .bind(holder)
            .bind(now.0)
            .bind(now.plus_ms(lease_ms).0)
            .bind(now.plus_ms(-ANSWER_MS).0)
            .fetch_optional(db)
            .await?);
        if taken.is_some() {
            self.commit(tx).await?;
            return Ok(KeyState::Taken(holder));
        }
        let sql = ANSWER_GET.on(&tx);
        let row: Option<Row> = on!(tx, |db| sqlx::query_as(sql)
            .bind(slot.tenant.0)
            .bind(slot.hash)
            .fetch_optional(db)
            .await?);
        let Some((first, state, status, location, body, sealed)) = row else {
            // given back in this instant: whoever asks again finds it free
            return Ok(KeyState::Working);
        };
        Ok(if first != request {
            KeyState::OtherRequest
        } else if state == "done" {
            let status = u32::try_from(status).unwrap_or_default();
            KeyState::Answered(KeptAnswer { status, location, body, sealed: sealed != 0 })
        } else {
            KeyState::Working
        })
    }

    /// Keeps the answer of whoever holds the key; false when somebody else does by now.
    pub async fn finish_answer(
        &self,
        slot: Slot<'_>,
        holder: Uuid,
        answer: &KeptAnswer,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = ANSWER_FINISH.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(slot.tenant.0)
            .bind(slot.hash)
            .bind(holder)
            .bind(i64::from(answer.status))
            .bind(answer.location.as_str())
            .bind(answer.body.as_deref())
            .bind(i64::from(answer.sealed))
            .execute(db)
            .await?
            .rows_affected());
        self.commit(tx).await?;
        Ok(rows == 1)
    }

    /// Gives a key back.
    pub async fn release_answer(&self, slot: Slot<'_>, holder: Uuid) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let sql = ANSWER_RELEASE.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(slot.tenant.0)
            .bind(slot.hash)
            .bind(holder)
            .execute(db)
            .await
            .map(drop)?);
        self.commit(tx).await
    }

    /// Forgets answers that are older than a day.
    pub async fn prune_answers(&self, now: Timestamp) -> Result<u64, Error> {
        let before = now.plus_ms(-ANSWER_MS);
        let mut tx = self.begin().await?;
        let sql = ANSWERS_PRUNE.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql).bind(before.0).execute(db).await?.rows_affected());
        self.commit(tx).await?;
        Ok(rows)
    }
}
