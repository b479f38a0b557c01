//! Streams: an owner's settings, and the whole snapshot.
//!
//! Nothing is queued for a watcher of an owner. Each time it asks, it gets the newest answer; one
//! that lags misses what was overtaken and always arrives at what is in force. Who follows the
//! snapshot gets every change in its order, or after lagging too far the whole again.

use crate::held::News;
use crate::resolver::{Resolver, stopping};
use futures::{Stream, stream};
use meta_domain::fault::Fault;
use meta_domain::settings::{Owner, Resolved, SnapshotChange};
use meta_proto::flags::WatchSnapshotResponse;
use meta_runtime::flags::Answer;
use meta_runtime::now;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

/// How often a watcher looks whether its answer has become stale.
const STALE_CHECK: Duration = Duration::from_secs(1);
/// How often who follows the snapshot hears something.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Overrides in one part of a snapshot.
const PART_OVERRIDES_MAX: usize = 5_000;

/// Watches an owner's settings. The stream ends only with a fault.
pub(crate) fn watch(
    resolver: Arc<Resolver>,
    owner: Owner,
) -> impl Stream<Item = Result<Answer, Fault>> {
    let versions = resolver.flags.versions();
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
    last: Option<(Resolved, bool)>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Answer, Fault> {
        let ending = self.resolver.ending();
        loop {
            self.versions.mark_unchanged();
            let answer = self.resolver.resolve(self.owner)?;
            let said = Some((answer.resolved, answer.freshness.is_stale()));
            if self.last != said {
                self.last = said;
                return Ok(answer);
            }
            tokio::select! {
                () = ending.cancelled() => return Err(stopping()),
                changed = self.versions.changed() => changed.map_err(|_| stopping())?,
                () = tokio::time::sleep(STALE_CHECK) => {}
            }
        }
    }
}

/// The snapshot in parts, then every change, and a sign of life in between. The stream ends only
/// with a fault.
pub(crate) fn follow(
    resolver: Arc<Resolver>,
) -> impl Stream<Item = Result<WatchSnapshotResponse, Fault>> {
    let (whole, news) = resolver.follow();
    let version = whole.version;
    let follower = Follower { resolver, news, version, parts: parts(whole) };
    stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        let part = follower.next().await;
        let rest = part.is_ok().then_some(follower);
        Some((part, rest))
    })
}

struct Follower {
    resolver: Arc<Resolver>,
    news: broadcast::Receiver<Arc<News>>,
    /// What was sent, or waits in `parts`.
    version: u64,
    parts: VecDeque<WatchSnapshotResponse>,
}

impl Follower {
    async fn next(&mut self) -> Result<WatchSnapshotResponse, Fault> {
        let ending = self.resolver.ending();
        loop {
            if let Some(mut part) = self.parts.pop_front() {
                part.stale_ms = now().since_ms(self.resolver.flags.heard_at());
                return Ok(part);
            }
            tokio::select! {
                () = ending.cancelled() => return Err(stopping()),
                news = self.news.recv() => self.hear(news)?,
                () = tokio::time::sleep(SIGN_OF_LIFE) => self.say_something(),
            }
        }
    }

    fn hear(&mut self, news: Result<Arc<News>, RecvError>) -> Result<(), Fault> {
        match news {
            Ok(news) if news.change.reset || news.change.version > self.version => {
                self.send(news.change.clone());
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => {
                let (whole, news) = self.resolver.follow();
                self.news = news;
                self.send(whole);
            }
            Err(RecvError::Closed) => return Err(stopping()),
        }
        Ok(())
    }

    /// A change in which nothing has changed, of the version that was sent last.
    fn say_something(&mut self) {
        let snapshot = self.resolver.flags.snapshot();
        if snapshot.version == self.version {
            let sign = SnapshotChange {
                version: snapshot.version,
                reset: false,
                platform: snapshot.platform,
                kill_switch: snapshot.kill_switch,
                rollouts: snapshot.rollouts.clone(),
                overrides: Vec::new(),
            };
            self.parts.push_back(sign.into());
        }
    }

    fn send(&mut self, change: SnapshotChange) {
        self.version = change.version;
        self.parts = parts(change);
    }
}

/// A change in parts that fit a message.
fn parts(mut change: SnapshotChange) -> VecDeque<WatchSnapshotResponse> {
    let mut parts = VecDeque::new();
    while change.overrides.len() > PART_OVERRIDES_MAX {
        let rest = change.overrides.split_off(PART_OVERRIDES_MAX);
        let next = SnapshotChange { overrides: rest, reset: false, ..change.clone() };
        let part = std::mem::replace(&mut change, next);
        parts.push_back(WatchSnapshotResponse { more: true, ..part.into() });
    }
    parts.push_back(change.into());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::settings::{Environment, Overrides, Settings, Snapshot};
    use uuid::Uuid;

    #[test]
    fn a_large_snapshot_goes_in_parts_that_come_to_the_whole() {
        let over = Overrides { max_total_attempts: Some(3), ..Overrides::default() };
        let whole = SnapshotChange {
            version: 9,
            overrides: (0..12_001)
                .map(|n| (Owner::tenant(Uuid::from_u128(n).into()), over))
                .collect(),
            ..Snapshot::of(Settings::default_of(Environment::Staging)).whole()
        };
        let parts = parts(whole.clone());
        let flags: Vec<_> = parts.iter().map(|p| (p.reset, p.more, p.overrides.len())).collect();
        assert_eq!(flags, [(true, true, 5_000), (false, true, 5_000), (false, false, 2_001)]);
        let joined = parts.into_iter().flat_map(|p| p.overrides).collect();
        let whole_again = WatchSnapshotResponse { overrides: joined, ..whole.clone().into() };
        assert_eq!(SnapshotChange::try_from(whole_again).unwrap(), whole);
    }
}
