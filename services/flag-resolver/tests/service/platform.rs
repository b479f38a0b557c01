//! The layers of the whole platform: its values, rollouts, and the kill switch.

use crate::{Caller, Served, autofix, because, run_id, total};
use meta_domain::settings::{Layer, Setting, Value};
use meta_proto::common::{self, Overrides, Rollout};
use meta_proto::flags as pb;
use meta_storage::testing::Fresh;
use tonic::Code;

fn share(percent: u32) -> Rollout {
    Rollout {
        setting: "max_total_attempts".to_owned(),
        value: Some(Value::Int(4).into()),
        percent,
        bucket_key: String::new(),
    }
}

meta_storage::on_both_engines! {
    whoever_changes_the_platform_says_why;
    a_kill_switch_holds_for_everybody_and_only_turns_off;
    a_rollout_reaches_its_share_and_the_same_tenants_each_time;
    a_rollout_that_is_not_valid_is_refused_with_its_field;
    a_layer_is_given_what_is_its_own;
    a_dry_run_of_the_platform_names_who_is_affected;
    the_platforms_layers_are_shown_as_they_are_set;
}

async fn whoever_changes_the_platform_says_why(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ops = served.caller().ops();
    for layer in [common::Layer::Platform, common::Layer::KillSwitch] {
        for reason in ["", "   ", "\t"] {
            let status = ops.platform(layer, total(5), because(reason)).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().starts_with("options.reason: "), "{status}");
        }
    }
    let request = pb::ClearPlatformRequest { layer: 1, ..Default::default() };
    let status = ops.client.clear_platform(ops.request(request)).await.unwrap_err();
    assert!(status.message().starts_with("options.reason: "), "{status}");
    assert_eq!(ops.version().await, 0);
    let dry = pb::WriteOptions { dry_run: true, ..Default::default() };
    ops.platform(common::Layer::Platform, total(5), dry).await.unwrap();
    ops.platform(common::Layer::Platform, total(5), because("a test")).await.unwrap();
    assert_eq!(ops.platform_changes().await.unwrap()[0].reason, "a test");
}

async fn a_kill_switch_holds_for_everybody_and_only_turns_off(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let (mut ann, run) = (served.caller(), run_id());
    let mut ops = ann.of_another_tenant().ops();
    ann.set("", autofix(true)).await.unwrap();
    ann.set(&run, autofix(true)).await.unwrap();
    let on = ops.platform(common::Layer::KillSwitch, autofix(true), because("x")).await;
    let status = on.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("autofix_enabled: "), "{status}");
    let off = Overrides { max_total_attempts: Some(1), ..autofix(false) };
    ops.platform(common::Layer::KillSwitch, off, because("an incident")).await.unwrap();
    for owner in ["", &run] {
        let got = ann.value(owner, Setting::AutofixEnabled).await;
        assert_eq!(got, (Value::Bool(false), Layer::KillSwitch));
        assert_eq!(ann.total(owner).await, (1, Layer::KillSwitch));
    }
    ann.patch("", autofix(true)).await.unwrap();
    let explained = ann.explain(&run).await.unwrap();
    let layers = &explained.settings[0].layers;
    assert_eq!(explained.settings[0].winner(), common::Layer::KillSwitch);
    let last = layers.last().unwrap();
    assert_eq!((last.author.as_str(), last.reason.as_str()), ("ops", "an incident"));
    ops.clear_platform(common::Layer::KillSwitch).await.unwrap();
    assert_eq!(ann.value(&run, Setting::AutofixEnabled).await, (Value::Bool(true), Layer::Run));
}

/// Which of these callers' tenants a rollout reaches.
async fn reached(callers: &mut [Caller]) -> Vec<bool> {
    let mut reached = Vec::new();
    for caller in callers {
        let (value, layer) = caller.total("").await;
        assert_eq!(value == 4, layer == Layer::Rollout);
        let said = caller.explain_total("").await;
        let said = said.layers.iter().find(|l| l.layer() == common::Layer::Rollout).unwrap();
        assert_eq!((said.value.as_str(), said.applies), ("4", value == 4));
        assert_eq!(said.bucket_key, "max_total_attempts");
        reached.push(value == 4);
    }
    reached
}

async fn a_rollout_reaches_its_share_and_the_same_tenants_each_time(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let ann = served.caller();
    let mut callers: Vec<_> = (0..60).map(|_| ann.of_another_tenant()).collect();
    ann.ops().roll_out(vec![share(0)]).await.unwrap();
    assert!(reached(&mut callers).await.iter().all(|in_it| !in_it));
    ann.ops().roll_out(vec![share(50)]).await.unwrap();
    let half = reached(&mut callers).await;
    let count = half.iter().filter(|in_it| **in_it).count();
    assert!((10..=50).contains(&count), "{count} of 60");
    ann.ops().roll_out(vec![share(80)]).await.unwrap();
    let more = reached(&mut callers).await;
    assert!(half.iter().zip(&more).all(|(before, after)| !before || *after), "who is in stays");
    ann.ops().roll_out(vec![share(50)]).await.unwrap();
    assert_eq!(reached(&mut callers).await, half, "the same tenants again");
    ann.ops().roll_out(vec![share(100)]).await.unwrap();
    assert!(reached(&mut callers).await.iter().all(|in_it| *in_it));
    callers[0].set("", total(9)).await.unwrap();
    assert_eq!(callers[0].total("").await, (9, Layer::Tenant), "an override is stronger");
}

async fn a_rollout_that_is_not_valid_is_refused_with_its_field(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ops = served.caller().ops();
    let value = |v: Value| Some(v.into());
    for (rollouts, field) in [
        (vec![share(101)], "rollouts[0].percent"),
        (vec![share(256)], "rollouts[0].percent"),
        (vec![share(u32::MAX)], "rollouts[0].percent"),
        (vec![share(1), share(2)], "rollouts[1].setting"),
        (vec![Rollout { setting: "colour".into(), ..share(1) }], "rollouts[0].setting"),
        (vec![Rollout { setting: "x".repeat(100_000), ..share(1) }], "rollouts[0].setting"),
        (vec![Rollout { value: None, ..share(1) }], "rollouts[0].value"),
        (
            vec![Rollout { value: value(Value::Int(21)), ..share(1) }],
            "rollouts[0].max_total_attempts",
        ),
        (
            vec![Rollout { value: value(Value::Bool(true)), ..share(1) }],
            "rollouts[0].max_total_attempts",
        ),
        (vec![Rollout { bucket_key: "a b".into(), ..share(1) }], "rollouts[0].bucket_key"),
        (vec![Rollout { bucket_key: "x".repeat(200_000), ..share(1) }], "rollouts[0].bucket_key"),
    ] {
        let status = ops.roll_out(rollouts).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(&format!("{field}: ")), "{field}: {status}");
        assert!(status.message().len() < 500);
    }
    assert_eq!(ops.version().await, 0);
}

async fn a_layer_is_given_what_is_its_own(fresh: Fresh) {
    use common::Layer::{FailClosed, KillSwitch, Platform, Run, Tenant, Unspecified};
    let served = Served::start(&fresh).await;
    let mut ops = served.caller().ops();
    let set = |layer: i32, overrides, rollouts| pb::SetPlatformRequest {
        layer,
        overrides,
        rollouts,
        options: Some(because("x")),
        ..Default::default()
    };
    let rollout = common::Layer::Rollout;
    for (message, field) in [
        (set(Unspecified.into(), Some(total(5)), vec![]), "layer"),
        (set(Tenant.into(), Some(total(5)), vec![]), "layer"),
        (set(Run.into(), Some(total(5)), vec![]), "layer"),
        (set(FailClosed.into(), Some(total(5)), vec![]), "layer"),
        (set(99, Some(total(5)), vec![]), "layer"),
        (set(Platform.into(), None, vec![]), "overrides"),
        (set(Platform.into(), Some(total(5)), vec![share(1)]), "rollouts"),
        (set(KillSwitch.into(), None, vec![share(1)]), "rollouts"),
        (set(rollout.into(), Some(total(5)), vec![share(1)]), "overrides"),
    ] {
        let status = ops.client.set_platform(ops.request(message)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(&format!("{field}: ")), "{field}: {status}");
    }
    assert_eq!(ops.version().await, 0);
}

async fn a_dry_run_of_the_platform_names_who_is_affected(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut shadowed = served.caller();
    let mut reached = shadowed.of_another_tenant();
    let unknown = shadowed.of_another_tenant();
    shadowed.set("", total(8)).await.unwrap();
    reached.set("", autofix(false)).await.unwrap();
    let mut ops = shadowed.of_another_tenant().ops();
    let dry = pb::WriteOptions { dry_run: true, ..Default::default() };
    let message = pb::SetPlatformRequest {
        layer: common::Layer::Platform.into(),
        overrides: Some(total(5)),
        options: Some(dry.clone()),
        tenant_ids: vec![unknown.tenant()],
        ..Default::default()
    };
    let answer = ops.client.set_platform(ops.request(message.clone())).await.unwrap();
    let outcome = answer.into_inner().outcome.unwrap();
    assert!(outcome.changed && outcome.affects_others);
    assert_eq!(outcome.affected_total, 2);
    let mut named: Vec<_> = outcome.affected.iter().map(|a| a.tenant_id.clone()).collect();
    named.sort();
    let mut expected = vec![reached.tenant(), unknown.tenant()];
    expected.sort();
    assert_eq!(named, expected);
    let nothing = ops.platform(common::Layer::KillSwitch, Overrides::default(), dry).await;
    assert!(!nothing.unwrap().affects_others);
    let bad = pb::SetPlatformRequest { tenant_ids: vec!["x".into()], ..message };
    let status = ops.client.set_platform(ops.request(bad)).await.unwrap_err();
    assert!(status.message().starts_with("tenant_ids[0]: "), "{status}");
    assert_eq!(ops.version().await, 2);
    assert_eq!(ops.platform_changes().await.unwrap(), []);
}

async fn the_platforms_layers_are_shown_as_they_are_set(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ops = served.caller().ops();
    ops.platform(common::Layer::Platform, total(5), because("a")).await.unwrap();
    ops.roll_out(vec![share(25)]).await.unwrap();
    ops.platform(common::Layer::KillSwitch, autofix(false), because("b")).await.unwrap();
    let asked = ops.request(pb::GetPlatformRequest {});
    let shown = ops.client.get_platform(asked).await.unwrap().into_inner();
    assert_eq!((shown.version, shown.environment.unwrap().max_total_attempts), (3, 10));
    let [platform, rollout, kill_switch] = shown.layers.try_into().unwrap();
    assert_eq!((platform.layer(), platform.overrides), (common::Layer::Platform, Some(total(5))));
    let named = Rollout { bucket_key: "max_total_attempts".into(), ..share(25) };
    assert_eq!((rollout.rollouts, rollout.version), (vec![named], 2));
    assert_eq!((kill_switch.overrides, kill_switch.version), (Some(autofix(false)), 3));
    let at = |version| pb::WriteOptions { if_version: Some(version), ..because("c") };
    let conflict = ops.platform(common::Layer::Platform, total(6), at(3)).await.unwrap_err();
    assert_eq!(conflict.code(), Code::Aborted, "each layer has its own version");
    ops.platform(common::Layer::Platform, total(6), at(1)).await.unwrap();
}
