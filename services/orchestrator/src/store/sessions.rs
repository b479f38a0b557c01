//! Sign-ins of browsers. A session is stored as the hash of its token. One that belongs to a key ends
//! with the key: who it is and what they may do is read from there each time. One of somebody whom a
//! provider signed in keeps who that is, and ends soon, since nobody says when it should.

use super::keys::KeyRow;
use super::tenants::hash;
use super::{Tables, corrupt};
use meta_domain::role::Identity;
use meta_domain::time::Timestamp;
use meta_storage::{Error, on, statements};

statements! {
    SESSION_INSERT = "session_insert";
    SESSION_GET = "session_get";
    SESSION_TOUCH = "session_touch";
    SESSION_END = "session_end";
    SESSIONS_OVER = "sessions_over";
    SESSIONS_TRIM = "sessions_trim";
}

/// A session that nobody uses for this long is over, in milliseconds: twelve hours.
pub const SESSION_IDLE_MS: i64 = 12 * 60 * 60 * 1000;
/// A session is over after this long, in milliseconds: seven days.
pub const SESSION_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;
/// A session of somebody whom a provider signed in is over after this long, in milliseconds: eight
/// hours.
pub const SESSION_OF_PROVIDER_MS_MAX: i64 = 8 * 60 * 60 * 1000;
/// Sessions of one key; the oldest ends when there is one more.
pub const SESSIONS_OF_KEY_MAX: i64 = 50;
/// Use is written down once in this time, in milliseconds.
const TOUCH_MS: i64 = 60 * 1000;

/// What a session belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOf<'a> {
    /// A key that was checked a moment ago.
    Key(&'a str),
    /// What a provider said.
    Provider,
}

/// A session that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose key it was made with.
    pub identity: Identity,
    /// Since when.
    pub created_at: Timestamp,
    /// When it is over unless it is used before.
    pub idle_until: Timestamp,
    /// When it is over whatever happens.
    pub ends_at: Timestamp,
}

impl Tables {
    /// Keeps a sign-in.
    pub async fn insert_session(
        &self,
        token: &str,
        of: SessionOf<'_>,
        identity: Identity,
        now: Timestamp,
    ) -> Result<SessionRow, Error> {
        let (owner, most, kept) = match of {
            SessionOf::Key(key) => (hash(key), SESSION_MS_MAX, String::new()),
            SessionOf::Provider => {
                // no key begins so
                let owner = hash(&format!("provider\n{}", identity.credential));
                let kept = serde_json::to_string(&identity)
                    .map_err(|e| corrupt("sessions", &identity.credential, e))?;
                (owner, SESSION_OF_PROVIDER_MS_MAX, kept)
            }
        };
        let ends_at = Timestamp(now.0 + most);
        let row = SessionRow {
            identity: Identity { expires: None, ..identity },
            created_at: now,
            idle_until: Timestamp(ends_at.0.min(now.0 + SESSION_IDLE_MS)),
            ends_at,
        };
        let mut tx = self.begin().await?;
        let sql = SESSIONS_OVER.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(now.0).execute(db).await.map(drop)?);
        let sql = SESSION_INSERT.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(hash(token))
            .bind(&owner)
            .bind(row.identity.principal.tenant.0)
            .bind(row.created_at.0)
            .bind(row.idle_until.0)
            .bind(row.ends_at.0)
            .bind(&kept)
            .execute(db)
            .await
            .map(drop)?);
        let sql = SESSIONS_TRIM.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(&owner)
            .bind(SESSIONS_OF_KEY_MAX)
            .execute(db)
            .await
            .map(drop)?);
        self.commit(tx).await?;
        Ok(row)
    }

    /// The session of a token; `None` when it is over, or its key is gone. Using it keeps it from
    /// being idle.
    pub async fn session(&self, token: &str, now: Timestamp) -> Result<Option<SessionRow>, Error> {
        let Some(mut row) = self.stored_session(token, now).await? else { return Ok(None) };
        let fresh = row.ends_at.0.min(now.0 + SESSION_IDLE_MS);
        if fresh - row.idle_until.0 >= TOUCH_MS {
            let mut tx = self.begin().await?;
            let sql = SESSION_TOUCH.on(&tx);
            on!(tx, |db| sqlx::query(sql)
                .bind(hash(token))
                .bind(fresh)
                .execute(db)
                .await
                .map(drop)?);
            self.commit(tx).await?;
            row.idle_until = Timestamp(fresh);
        }
        Ok(Some(row))
    }

    async fn stored_session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<SessionRow>, Error> {
        let read = self.read()?;
        let sql = SESSION_GET.on(&read);
        let row: Option<(Vec<u8>, i64, i64, i64, String)> = on!(read, |db| {
            sqlx::query_as(sql).bind(hash(token)).bind(now.0).fetch_optional(db).await?
        });
        let Some((key, created_at, idle_until, ends_at, kept)) = row else { return Ok(None) };
        let identity = if kept.is_empty() {
            let key = self.key_by_hash(&key).await?.filter(|key| key.in_force(now));
            key.as_ref().map(KeyRow::identity)
        } else {
            // the provider's token may be over: the session has an end of its own
            let known = serde_json::from_str::<Identity>(&kept);
            let known = known.map_err(|e| corrupt("sessions", "identity", e))?;
            Some(Identity { expires: None, ..known })
        };
        Ok(identity.map(|identity| SessionRow {
            identity,
            created_at: Timestamp(created_at),
            idle_until: Timestamp(idle_until),
            ends_at: Timestamp(ends_at),
        }))
    }

    /// Signs out.
    pub async fn end_session(&self, token: &str) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let sql = SESSION_END.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(hash(token)).execute(db).await.map(drop)?);
        self.commit(tx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::audit::Entry;
    use crate::store::NewKey;
    use crate::{DEFAULT_TENANT, DEFAULT_USER};
    use meta_domain::id::KeyId;
    use meta_domain::role::Role;
    use meta_storage::on_both_engines;
    use meta_storage::testing::{Fresh, prepare_all};
    use uuid::Uuid;

    on_both_engines! {
        statements_can_be_prepared;
        a_session_is_over_when_it_is_idle_or_old;
        a_session_ends_with_its_key;
        a_key_has_a_limited_number_of_sessions;
        whom_a_provider_signed_in_stays_for_eight_hours;
        only_the_hash_of_a_token_is_kept;
    }

    async fn open(fresh: &Fresh) -> (Tables, Identity) {
        let tables = Tables::open(fresh.location()).await.unwrap();
        tables.insert_tenant(DEFAULT_TENANT, "default", Timestamp(0)).await.unwrap();
        let id = KeyId(Uuid::from_u128(7));
        let key = NewKey::new(DEFAULT_TENANT, Role::Admin, "ann", id, "");
        let key = NewKey { text: "mb_1".to_owned(), ..key };
        tables.ensure_key(DEFAULT_USER, &key, Timestamp(0)).await.unwrap();
        let kept = tables.key("mb_1").await.unwrap().unwrap();
        (tables, kept.identity())
    }

    async fn statements_can_be_prepared(fresh: Fresh) {
        let (tables, _) = open(&fresh).await;
        prepare_all(&tables.engine, ALL).await.unwrap();
    }

    async fn a_session_is_over_when_it_is_idle_or_old(fresh: Fresh) {
        let (tables, ann) = open(&fresh).await;
        let made = tables
            .insert_session("t", SessionOf::Key("mb_1"), ann.clone(), Timestamp(10))
            .await
            .unwrap();
        assert_eq!(tables.session("t", Timestamp(20)).await.unwrap(), Some(made));
        assert_eq!(tables.session("T", Timestamp(20)).await.unwrap(), None);

        // Used every few hours it goes on, but not for ever.
        let mut now = 10;
        while now < 10 + SESSION_MS_MAX {
            let row = tables.session("t", Timestamp(now)).await.unwrap().expect("still there");
            assert_eq!(row.identity, ann);
            assert!(row.idle_until.0 <= row.ends_at.0);
            now += SESSION_IDLE_MS / 2;
        }
        assert_eq!(tables.session("t", Timestamp(10 + SESSION_MS_MAX)).await.unwrap(), None);

        tables.insert_session("u", SessionOf::Key("mb_1"), ann, Timestamp(10)).await.unwrap();
        assert!(tables.session("u", Timestamp(9 + SESSION_IDLE_MS)).await.unwrap().is_some());
        tables.end_session("u").await.unwrap();
        assert_eq!(tables.session("u", Timestamp(30)).await.unwrap(), None);
        tables.end_session("u").await.unwrap();
    }

    async fn a_session_ends_with_its_key(fresh: Fresh) {
        let (tables, ann) = open(&fresh).await;
        tables
            .insert_session("t", SessionOf::Key("mb_1"), ann.clone(), Timestamp(10))
            .await
            .unwrap();
        tables.insert_session("u", SessionOf::Key("mb_gone"), ann, Timestamp(10)).await.unwrap();
        assert!(tables.session("t", Timestamp(20)).await.unwrap().is_some());
        assert_eq!(tables.session("u", Timestamp(20)).await.unwrap(), None);
        let (id, at) = (KeyId(Uuid::from_u128(7)), Timestamp(30));
        let entry = Entry::new(DEFAULT_TENANT, at, "key.revoked", "ann", format!("key/{id}"));
        assert!(tables.revoke_key(DEFAULT_TENANT, id, at, entry).await.unwrap());
        assert_eq!(tables.session("t", Timestamp(40)).await.unwrap(), None);
    }

    async fn a_key_has_a_limited_number_of_sessions(fresh: Fresh) {
        let (tables, ann) = open(&fresh).await;
        for n in 0..=SESSIONS_OF_KEY_MAX {
            let token = format!("t{n}");
            tables
                .insert_session(&token, SessionOf::Key("mb_1"), ann.clone(), Timestamp(n))
                .await
                .unwrap();
        }
        assert_eq!(tables.session("t0", Timestamp(99)).await.unwrap(), None);
        assert!(tables.session("t1", Timestamp(99)).await.unwrap().is_some());
    }

    async fn whom_a_provider_signed_in_stays_for_eight_hours(fresh: Fresh) {
        let (tables, ann) = open(&fresh).await;
        let named = Identity { credential: "token:https://issuer.example#ann".to_owned(), ..ann };
        let token = Identity { expires: Some(Timestamp(30)), ..named.clone() };
        tables.insert_session("t", SessionOf::Provider, token, Timestamp(10)).await.unwrap();
        let last = Timestamp(9 + SESSION_OF_PROVIDER_MS_MAX);
        let row = tables.session("t", last).await.unwrap().expect("still there");
        assert_eq!(row.identity, named, "its token may be over before");
        let over = Timestamp(10 + SESSION_OF_PROVIDER_MS_MAX);
        assert_eq!(tables.session("t", over).await.unwrap(), None);
    }

    async fn only_the_hash_of_a_token_is_kept(fresh: Fresh) {
        let (tables, ann) = open(&fresh).await;
        tables
            .insert_session("secret-token", SessionOf::Key("mb_1"), ann, Timestamp(10))
            .await
            .unwrap();
        let read = tables.read().unwrap();
        let kept: (Vec<u8>,) =
            on!(read, |db| sqlx::query_as("SELECT hash FROM sessions").fetch_one(db).await)
                .unwrap();
        assert_eq!(kept.0, hash("secret-token"));
    }
}
