//! Hearing the store: what other processes wrote, what is due, and whether it is there at all.

use crate::resolver::{Kept, Resolver};
use crate::store::{FlagStore, may_come_back};
use meta_domain::fault::{ErrorKind, Fault};
use meta_runtime::flags::Keeper;
use meta_runtime::now;
use meta_storage::{Error, Location};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the store is asked for its version: changes of other processes are in force, and
/// scheduled ones carried out, about so late.
const EVERY: Duration = Duration::from_millis(250);
/// The same while it does not answer; each time is a line in the log.
const EVERY_WHILE_AWAY: Duration = Duration::from_secs(1);
/// How long the store may take to answer. A connection whose other end is gone without a word
/// would be waited for much longer, and the store not heard meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The store, and the file that stands in for it at a start without.
pub(crate) struct Hearing {
    resolver: Arc<Resolver>,
    location: Location,
    keeper: Keeper,
}

impl Hearing {
    /// Over a resolver and where its store is.
    pub(crate) fn new(resolver: Arc<Resolver>, location: Location, kept: Option<PathBuf>) -> Self {
        Self { resolver, location, keeper: Keeper::new(kept) }
    }

    /// Opens the store for the first time.
    ///
    /// # Errors
    /// When it cannot be opened, unless that may pass and the service can wait for it: a server
    /// that is away. What is kept then serves meanwhile.
    pub(crate) async fn start(&self) -> Result<(), Fault> {
        match FlagStore::open(&self.location).await {
            Ok(store) => self.resolver.adopt(store).await,
            Err(Error::Unreachable(error)) if self.keeper.keeps() && may_come_back(&error) => {
                tracing::warn!(database = %self.location, %error, "the database is away");
                self.recall().await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn recall(&self) {
        let Some(kept) = self.keeper.recall::<Kept>().await else {
            tracing::warn!("no settings are kept: not ready until it is back");
            return;
        };
        let (version, heard_at) = (kept.snapshot.version, kept.heard_at);
        tracing::info!(version, %heard_at, "serving kept settings");
        self.resolver.recall(kept);
    }

    /// Hears the store until told to stop; what is known then is written down.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.hear(&stop).await;
        let version = self.resolver.flags.snapshot().version;
        self.keeper.keep(version, || self.resolver.kept()).await;
    }

    async fn hear(&mut self, stop: &CancellationToken) {
        let mut away = false;
        while !stop.is_cancelled() {
            let heard = tokio::select! {
                heard = self.once() => heard,
                () = stop.cancelled() => return,
            };
            match &heard {
                Ok(()) if away => tracing::info!("the store is heard again"),
                Err(fault) if !away => tracing::error!(%fault, "the store is not heard"),
                Ok(()) | Err(_) => {}
            }
            away = heard.is_err();
            let version = self.resolver.flags.snapshot().version;
            self.keeper.keep_when_due(version, || self.resolver.kept()).await;
            tokio::select! {
                () = tokio::time::sleep(if away { EVERY_WHILE_AWAY } else { EVERY }) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn once(&self) -> Result<(), Fault> {
        if !self.resolver.is_open() {
            let store = FlagStore::open(&self.location).await?;
            self.resolver.adopt(store).await?;
        }
        let heard = tokio::time::timeout(ANSWER_MAX, self.resolver.hear(now())).await;
        heard.unwrap_or_else(|_| {
            let text = format!("the store has not answered within {ANSWER_MAX:?}");
            Err(Fault::new(ErrorKind::Unavailable, "STORE_UNREACHABLE", text))
        })
    }
}
