//! Changes that take effect later.

use crate::{Caller, IN_FORCE, Served, because, run_id, total, until};
use meta_domain::settings::Layer;
use meta_domain::time::Timestamp;
use meta_proto::common;
use meta_proto::convert::{instant, timestamp};
use meta_proto::flags as pb;
use meta_runtime::{new_id, now};
use meta_storage::testing::Fresh;
use tonic::Code;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn at(when: Timestamp) -> pb::WriteOptions {
    pb::WriteOptions { effective_at: Some(timestamp(when)), ..because("a window") }
}

fn tomorrow() -> pb::WriteOptions {
    at(now().plus_ms(DAY_MS))
}

meta_storage::on_both_engines! {
    a_change_takes_effect_within_a_second_of_its_time;
    what_waits_is_explained_and_can_be_taken_back;
    a_time_out_of_range_is_refused;
    a_foreign_change_cannot_be_taken_back;
    what_waits_for_the_platform_is_explained_to_everybody;
}

async fn a_change_takes_effect_within_a_second_of_its_time(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut stream = ann.watch("").await.unwrap();
    stream.message().await.unwrap().unwrap();
    ann.set("", total(8)).await.unwrap();
    stream.message().await.unwrap().unwrap();
    let when = now().plus_ms(700);
    let outcome = ann.set_with("", total(3), at(when)).await.unwrap();
    assert_eq!((outcome.changed, outcome.version, outcome.override_version), (false, 2, 1));
    assert_eq!(ann.total("").await, (8, Layer::Tenant));
    let waiting = ann.explain("").await.unwrap().scheduled;
    assert_eq!((waiting.len(), waiting[0].id.as_str()), (1, outcome.scheduled_id.as_str()));
    let told = tokio::time::timeout(crate::PATIENCE, stream.message()).await;
    let (told, arrived) = (told.expect("in time").unwrap().unwrap(), now());
    let resolved = told.resolved.unwrap();
    assert_eq!(resolved.settings.unwrap().max_total_attempts, 3);
    assert!(arrived >= when, "not before its time");
    let late = arrived.since_ms(when);
    println!("in force {late} ms after its time");
    assert!(u128::from(late) < IN_FORCE.as_millis(), "{late} ms late");
    assert_eq!(ann.explain("").await.unwrap().scheduled, []);
    let [applied, scheduled, _] = ann.changes("").await.unwrap().try_into().unwrap();
    for (change, kind) in
        [(&applied, pb::ChangeKind::Applied), (&scheduled, pb::ChangeKind::Scheduled)]
    {
        assert_eq!((change.kind(), &change.scheduled_id), (kind, &outcome.scheduled_id));
        assert_eq!((change.before, change.after), (Some(total(8)), Some(total(3))));
        assert_eq!((change.actor.as_str(), change.reason.as_str()), ("ann", "a window"));
        assert_eq!(change.effective_at.as_ref().map(instant), Some(when));
    }
    assert!(instant(applied.changed_at.as_ref().unwrap()) >= when);
}

async fn what_waits_is_explained_and_can_be_taken_back(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let (mut ann, run) = (served.caller(), run_id());
    // they are shown in the order in which they are due
    let set = ann.set_with(&run, total(2), tomorrow()).await.unwrap();
    let clear = pb::ClearOverridesRequest { options: Some(tomorrow()), ..Default::default() };
    let cleared = ann.client.clear_overrides(ann.request(clear)).await.unwrap().into_inner();
    let cleared = cleared.outcome.unwrap().scheduled_id;
    let of_run = ann.explain(&run).await.unwrap().scheduled;
    let shown: Vec<_> = of_run.iter().map(|s| (s.run_id.as_str(), s.clear)).collect();
    assert_eq!(shown, [(run.as_str(), false), ("", true)], "its own and its tenant's");
    assert_eq!(of_run[0].overrides, Some(total(2)));
    assert_eq!((of_run[0].layer(), of_run[0].author.as_str()), (common::Layer::Run, "ann"));
    let of_other = ann.explain(&run_id()).await.unwrap().scheduled;
    assert_eq!(of_other.len(), 1, "nothing of another run");
    assert_eq!(ann.cancel(&set.scheduled_id).await.unwrap(), 3);
    let again = ann.cancel(&set.scheduled_id).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    assert_eq!(ann.explain(&run).await.unwrap().scheduled.len(), 1);
    assert_eq!(ann.named("bob").cancel(&cleared).await.unwrap(), 4);
    let told = ann.changes("").await.unwrap();
    assert_eq!((told[0].kind(), told[0].actor.as_str()), (pb::ChangeKind::Canceled, "bob"));
    assert_eq!(told[0].scheduled_id, cleared);
    for bad in ["", "x", "\0", &"7".repeat(100_000)] {
        let status = ann.cancel(bad).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("id: ") && status.message().len() < 500);
    }
}

async fn a_time_out_of_range_is_refused(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let seconds = |seconds| pb::WriteOptions {
        effective_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..Default::default()
    };
    for options in [
        at(now().plus_ms(-1)),
        at(now().plus_ms(367 * DAY_MS)),
        seconds(0),
        seconds(i64::MAX),
        seconds(i64::MIN),
        pb::WriteOptions { if_version: Some(0), ..tomorrow() },
        pb::WriteOptions { dry_run: true, ..at(now().plus_ms(-1)) },
    ] {
        let status = ann.set_with("", total(3), options).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("options.effective_at: "), "{status}");
    }
    let status = ann.set_with("", total(21), tomorrow()).await.unwrap_err();
    assert!(status.message().starts_with("max_total_attempts: 21 "), "{status}");
    assert_eq!(ann.version().await, 0);
    assert_eq!(ann.explain("").await.unwrap().scheduled, []);
}

async fn a_foreign_change_cannot_be_taken_back(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut eve = ann.of_another_tenant();
    let own = ann.set_with("", total(3), tomorrow()).await.unwrap().scheduled_id;
    let of_all = ann.ops().platform(common::Layer::Platform, total(3), tomorrow()).await;
    let of_all = of_all.unwrap().scheduled_id;
    for (id, caller) in [(&own, &mut eve), (&of_all, &mut ann)] {
        let foreign = caller.cancel(id).await.unwrap_err();
        let unknown = caller.cancel(&new_id().to_string()).await.unwrap_err();
        assert_eq!((foreign.code(), unknown.code()), (Code::NotFound, Code::NotFound));
        let same = |s: &tonic::Status, id: &str| s.message().replace(id, "_");
        assert!(same(&foreign, id).len() <= unknown.message().len(), "nothing gives it away");
    }
    let status = cancel_of_platform(&mut ann.ops(), &own).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(eve.explain("").await.unwrap().scheduled.len(), 1, "the platform's alone");
    assert_eq!(ann.explain("").await.unwrap().scheduled.len(), 2, "both are still there");
}

async fn cancel_of_platform(ops: &mut Caller, id: &str) -> Result<u64, tonic::Status> {
    let request = ops.request(pb::CancelPlatformScheduledRequest { id: id.to_owned() });
    Ok(ops.client.cancel_platform_scheduled(request).await?.into_inner().version)
}

async fn what_waits_for_the_platform_is_explained_to_everybody(fresh: Fresh) {
    use pb::ChangeKind::{Applied, Canceled, Scheduled};
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut ops = ann.ops();
    let outcome = ops.platform(common::Layer::Platform, total(3), tomorrow()).await.unwrap();
    let shown = ann.explain(&run_id()).await.unwrap().scheduled;
    assert_eq!((shown.len(), shown[0].layer()), (1, common::Layer::Platform));
    assert_eq!(cancel_of_platform(&mut ops, &outcome.scheduled_id).await.unwrap(), 2);
    let soon = now().plus_ms(300);
    ops.platform(common::Layer::Platform, total(3), at(soon)).await.unwrap();
    let total = async || ann.clone().total("").await;
    assert_eq!(until(total, |got| got.0 == 3).await, (3, Layer::Platform));
    let kinds: Vec<_> =
        ops.platform_changes().await.unwrap().iter().map(pb::Change::kind).collect();
    assert_eq!(kinds, [Applied, Scheduled, Canceled, Scheduled]);
}
