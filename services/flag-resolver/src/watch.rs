//! A stream of an owner's settings: now, and after every change.
//!
//! Nothing is queued for a watcher. Each time it asks, it gets the newest answer; one that lags
//! misses what was overtaken and always arrives at what is in force.

use crate::held::{Marks, Owner};
use crate::resolver::{Answer, RECHECK, Resolver, stopping};
use futures::{Stream, stream};
use meta_domain::fault::Fault;
use std::sync::Arc;
use tokio::sync::watch;

/// Watches an owner's settings. The stream ends only with a fault.
pub(crate) fn watch(
    resolver: Arc<Resolver>,
    owner: Owner,
) -> impl Stream<Item = Result<Answer, Fault>> {
    let versions = resolver.versions();
    let watcher = Watcher { resolver, owner, versions, last: None };
    stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        let answer = watcher.next().await;
        let rest = answer.is_ok().then_some(watcher);
        Some((answer, rest))
    })
}

struct Watcher {
    resolver: Arc<Resolver>,
    owner: Owner,
    versions: watch::Receiver<u64>,
    last: Option<Marks>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Answer, Fault> {
        loop {
            self.versions.mark_unchanged();
            let answer = match self.last {
                None => self.resolver.resolve(self.owner).await?,
                Some(_) => self.resolver.peek(self.owner)?,
            };
            if self.last != Some(answer.marks) {
                self.last = Some(answer.marks);
                return Ok(answer);
            }
            tokio::select! {
                () = self.resolver.ending() => return Err(stopping()),
                changed = self.versions.changed() => changed.map_err(|_| stopping())?,
                () = tokio::time::sleep(RECHECK) => self.resolver.recheck().await?,
            }
        }
    }
}
