//! A connection that is kept at hand between transactions of one call: a pool would ask each that
//! comes back whether it lives, which costs as much as the transaction.

use crate::Error;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Pool};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

/// A connection that rested for so long may have lost its server: it is asked before it is used.
pub(crate) const PING_AFTER: Duration = Duration::from_millis(100);

/// A connection at rest, and since when.
type Resting<DB> = Option<(PoolConnection<DB>, Instant)>;

/// The place where the connection of a pool rests.
#[derive(Debug)]
pub(crate) struct Kept<DB: Database> {
    pool: Pool<DB>,
    place: Arc<Mutex<Resting<DB>>>,
}

/// The connection in use. One that is dropped without [`Held::keep`] is closed: what it was doing is
/// not known.
#[derive(Debug)]
pub struct Held<DB: Database> {
    connection: Option<PoolConnection<DB>>,
    place: OwnedMutexGuard<Resting<DB>>,
}

impl<DB: Database> Clone for Kept<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), place: Arc::clone(&self.place) }
    }
}

impl<DB: Database> Kept<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        Self { pool, place: Arc::default() }
    }

    /// The connection, once nobody else uses it.
    ///
    /// # Errors
    /// When none can be had in time.
    pub(crate) async fn take(&self) -> Result<Held<DB>, Error> {
        let mut place = Arc::clone(&self.place).lock_owned().await;
        let connection = match place.take() {
            Some((rested, since)) => alive(rested, since).await,
            None => None,
        };
        let connection = match connection {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(Held { connection: Some(connection), place })
    }

    /// Gives the resting connection back to its pool, whose only one it may be. Nobody takes it to
    /// rest again while the answer lives.
    pub(crate) async fn give_back(&self) -> impl Drop + use<DB> {
        let mut place = Arc::clone(&self.place).lock_owned().await;
        place.take();
        place
    }
}

async fn alive<DB: Database>(
    mut rested: PoolConnection<DB>,
    since: Instant,
) -> Option<PoolConnection<DB>> {
    if since.elapsed() > PING_AFTER && rested.ping().await.is_err() {
        drop(rested.detach());
        return None;
    }
    Some(rested)
}

impl<DB: Database> Held<DB> {
    /// Nothing is under way on it: it may be used again.
    pub fn keep(mut self) {
        *self.place = self.connection.take().map(|connection| (connection, Instant::now()));
    }
}

impl<DB: Database> Drop for Held<DB> {
    fn drop(&mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

impl<DB: Database> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect("it is taken only where the value ends")
    }
}

impl<DB: Database> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect("it is taken only where the value ends")
    }
}
