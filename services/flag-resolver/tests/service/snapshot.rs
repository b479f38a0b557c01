//! Following the whole snapshot.

use crate::{PATIENCE, Served, autofix, because, run_id, total};
use meta_domain::settings::{Environment, Settings, Snapshot, SnapshotChange};
use meta_proto::common::Layer;
use meta_proto::flags::WatchSnapshotResponse;
use meta_runtime::Flags;
use meta_storage::testing::Fresh;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// Changes that fill what the service keeps for who lags, and more.
const MANY: u32 = 400;

async fn message(stream: &mut Streaming<WatchSnapshotResponse>) -> WatchSnapshotResponse {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
    message.unwrap().expect("a message")
}

/// Follows until a version has arrived.
async fn follow_to(stream: &mut Streaming<WatchSnapshotResponse>, version: u64) -> Snapshot {
    let mut snapshot = Snapshot::of(Settings::default_of(Environment::Production));
    let mut whole = false;
    while !whole || snapshot.version < version {
        let part = message(stream).await;
        assert!(part.reset || part.version >= snapshot.version, "never backwards");
        whole = !part.more;
        snapshot.take(part.try_into().unwrap());
    }
    snapshot
}

meta_storage::on_both_engines! {
    what_was_followed_equals_the_whole;
    who_lags_gets_the_whole_again;
    a_service_that_follows_decides_as_the_flag_resolver_does;
}

async fn what_was_followed_equals_the_whole(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut early = ann.follow().await.unwrap();
    let first = message(&mut early).await;
    assert!(first.reset && !first.more && first.version == 0);
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(2)).await.unwrap();
    ann.ops().platform(Layer::Platform, total(5), because("a")).await.unwrap();
    ann.ops().platform(Layer::KillSwitch, autofix(false), because("b")).await.unwrap();
    ann.clear(&run, &[]).await.unwrap();
    let late: SnapshotChange = message(&mut ann.follow().await.unwrap()).await.try_into().unwrap();
    let mut followed = Snapshot::of(Settings::default_of(Environment::Production));
    followed.take(first.try_into().unwrap());
    while followed.version < 5 {
        followed.take(message(&mut early).await.try_into().unwrap());
    }
    assert_eq!(followed.whole(), late);
    assert_eq!(late.overrides.len(), 1, "what is cleared is gone");
    let sign = message(&mut early).await;
    assert!(sign.version == 5 && sign.overrides.is_empty() && !sign.reset, "a sign of life");
}

async fn who_lags_gets_the_whole_again(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let ann = served.caller();
    let mut stream = ann.clone().follow().await.unwrap();
    message(&mut stream).await;
    let mut tenants = Vec::new();
    for n in 0..MANY {
        let mut other = ann.of_another_tenant();
        other.set("", total(n % 20 + 1)).await.unwrap();
        tenants.push(other);
    }
    let followed = follow_to(&mut stream, MANY.into()).await;
    let whole: SnapshotChange =
        message(&mut ann.clone().follow().await.unwrap()).await.try_into().unwrap();
    assert_eq!(followed.version, u64::from(MANY));
    let mut again = Snapshot::of(Settings::default_of(Environment::Production));
    again.take(whole);
    for other in &tenants {
        let tenant = other.principal.tenant;
        assert_eq!(followed.of_tenant(tenant), again.of_tenant(tenant));
    }
}

async fn a_service_that_follows_decides_as_the_flag_resolver_does(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let (flags, stop) = (Flags::default(), CancellationToken::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kept.json");
    let following =
        tokio::spawn(flags.clone().follow(served.channel(), Some(file.clone()), stop.clone()));
    let mut ann = served.caller();
    let version = ann.set("", total(8)).await.unwrap().version;
    flags.reach(version, PATIENCE).await.unwrap();
    let owner = meta_domain::settings::Owner::tenant(ann.principal.tenant);
    let answer = flags.resolve(Some(owner));
    let theirs = ann.resolve("").await.unwrap();
    assert_eq!((theirs.version, theirs.stale), (answer.version, answer.freshness.is_stale()));
    assert_eq!(answer.resolved, theirs.resolved.unwrap().try_into().unwrap());
    served.stop().await;
    let stale = async || flags.freshness().is_stale();
    assert!(crate::until(stale, |stale| *stale).await);
    assert_eq!(flags.resolve(Some(owner)).resolved, answer.resolved, "its last word serves");
    stop.cancel();
    tokio::time::timeout(PATIENCE, following).await.unwrap().unwrap();
    // another process, with nobody to follow, recalls what was written down
    let (recalled, stop) = (Flags::default(), CancellationToken::new());
    let nobody = meta_runtime::transport::remote("http://127.0.0.1:9", "token").unwrap();
    let following = tokio::spawn(recalled.clone().follow(nobody, Some(file), stop.clone()));
    recalled.reach(version, PATIENCE).await.unwrap();
    assert_eq!(recalled.resolve(Some(owner)).resolved, answer.resolved);
    stop.cancel();
    let limit = PATIENCE.min(Duration::from_secs(10));
    tokio::time::timeout(limit, following).await.unwrap().unwrap();
}
