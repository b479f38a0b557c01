//! Evaluation as flagd's clients ask for it.

use crate::{Served, autofix, because, run_id, total};
use meta_domain::settings::Value;
use meta_proto::common::{self, Rollout};
use meta_proto::flagd::evaluation::{v1, v2};
use meta_runtime::Transport;
use meta_storage::testing::Fresh;
use prost_types::value::Kind;
use prost_types::{Struct, Value as Attr};
use std::collections::BTreeMap;
use tonic::{Code, Request, Status};

pub type V1 = v1::service_client::ServiceClient<Transport>;
pub type V2 = v2::service_client::ServiceClient<Transport>;

/// A context of attributes.
pub fn context(attributes: &[(&str, Kind)]) -> Option<Struct> {
    let attr =
        |(name, kind): &(&str, Kind)| ((*name).to_owned(), Attr { kind: Some(kind.clone()) });
    Some(Struct { fields: attributes.iter().map(attr).collect::<BTreeMap<_, _>>() })
}

fn text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

async fn int(
    client: &mut V2,
    key: &str,
    context: Option<Struct>,
) -> Result<v2::ResolveIntResponse, Status> {
    let request = v2::ResolveIntRequest { flag_key: key.to_owned(), context };
    Ok(client.resolve_int(request).await?.into_inner())
}

/// Value, reason, variant, and the names of the metadata, which are primitives all.
fn told(answer: v2::ResolveIntResponse) -> (i64, String, String) {
    let metadata = answer.metadata.unwrap();
    let names: Vec<_> = metadata.fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["flagSetId", "layer", "stale", "version"]);
    for attr in metadata.fields.values() {
        let kind = attr.kind.as_ref().unwrap();
        let plain =
            matches!(kind, Kind::StringValue(_) | Kind::NumberValue(_) | Kind::BoolValue(_));
        assert!(plain, "{kind:?}");
    }
    let layer = metadata.fields["layer"].kind.clone();
    let variant = answer.variant.unwrap();
    assert_eq!(layer, Some(text(&variant)));
    assert_ne!(answer.reason, "STATIC");
    (answer.value.unwrap(), answer.reason, variant)
}

meta_storage::on_both_engines! {
    every_layer_has_its_reason_and_variant;
    a_number_is_read_as_int_and_as_float_and_as_nothing_else;
    both_versions_of_the_interface_say_the_same;
}

async fn every_layer_has_its_reason_and_variant(fresh: Fresh) {
    let served = Served::with_flagd(&fresh, "any").await;
    let (mut ann, run) = (served.caller(), run_id());
    let mut ops = ann.ops();
    let mut flagd = V2::new(served.flagd());
    let own = context(&[("tenantId", text(&ann.tenant())), ("runId", text(&run))]);
    let mut expect = async |value: i64, reason: &str, variant: &str| {
        let answer = int(&mut flagd, "max_total_attempts", own.clone()).await.unwrap();
        let expected = (value, reason.to_owned(), variant.to_owned());
        assert_eq!(told(answer), expected);
    };
    expect(10, "DEFAULT", "platform").await;
    ops.platform(common::Layer::Platform, total(5), because("a")).await.unwrap();
    expect(5, "DEFAULT", "platform").await;
    let rollout = Rollout {
        setting: "max_total_attempts".into(),
        value: Some(Value::Int(4).into()),
        percent: 100,
        bucket_key: String::new(),
    };
    ops.roll_out(vec![rollout]).await.unwrap();
    expect(4, "SPLIT", "rollout").await;
    ann.set("", total(8)).await.unwrap();
    expect(8, "TARGETING_MATCH", "tenant").await;
    ann.set(&run, total(2)).await.unwrap();
    expect(2, "TARGETING_MATCH", "run").await;
    ops.platform(common::Layer::KillSwitch, total(1), because("b")).await.unwrap();
    expect(1, "TARGETING_MATCH", "kill-switch").await;
}

async fn a_number_is_read_as_int_and_as_float_and_as_nothing_else(fresh: Fresh) {
    let served = Served::with_flagd(&fresh, "any").await;
    let mut flagd = V2::new(served.flagd());
    let (number, flag) = ("max_total_attempts".to_owned(), "autofix_enabled".to_owned());
    let context = None;
    let float = v2::ResolveFloatRequest { flag_key: number.clone(), context: context.clone() };
    let float = flagd.resolve_float(float).await.unwrap().into_inner();
    assert!((float.value.unwrap() - 10.0).abs() < f64::EPSILON);
    let on = v2::ResolveBooleanRequest { flag_key: flag.clone(), context: context.clone() };
    let on = flagd.resolve_boolean(on).await.unwrap().into_inner();
    assert_eq!((on.value, on.variant.as_deref()), (Some(true), Some("platform")));
    let mut refused = Vec::new();
    let asked = v2::ResolveBooleanRequest { flag_key: number.clone(), context: context.clone() };
    refused.push(flagd.resolve_boolean(asked).await.unwrap_err());
    refused.push(int(&mut flagd, &flag, None).await.unwrap_err());
    let asked = v2::ResolveFloatRequest { flag_key: flag.clone(), context: context.clone() };
    refused.push(flagd.resolve_float(asked).await.unwrap_err());
    for flag_key in [number, flag] {
        let asked =
            v2::ResolveStringRequest { flag_key: flag_key.clone(), context: context.clone() };
        refused.push(flagd.resolve_string(asked).await.unwrap_err());
        let asked = v2::ResolveObjectRequest { flag_key, context: context.clone() };
        refused.push(flagd.resolve_object(asked).await.unwrap_err());
    }
    assert!(refused.iter().all(|s| s.code() == Code::InvalidArgument), "{refused:?}");
}

async fn both_versions_of_the_interface_say_the_same(fresh: Fresh) {
    let served = Served::with_flagd(&fresh, "any").await;
    let mut ann = served.caller();
    ann.set("", total(8)).await.unwrap();
    let own = context(&[("tenantId", text(&ann.tenant()))]);
    let new = int(&mut V2::new(served.flagd()), "max_total_attempts", own.clone()).await.unwrap();
    let mut old = V1::new(served.flagd());
    let asked =
        v1::ResolveIntRequest { flag_key: "max_total_attempts".into(), context: own.clone() };
    let one = old.resolve_int(asked).await.unwrap().into_inner();
    assert_eq!((Some(one.value), Some(one.variant)), (new.value, new.variant));
    assert_eq!((one.reason, one.metadata), (new.reason, new.metadata));
    let all = v1::ResolveAllRequest { context: own };
    let all = old.resolve_all(all).await.unwrap().into_inner().flags;
    let mut names: Vec<_> = all.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected =
        ["autofix_enabled", "backoff_cap_seconds", "max_per_step_attempts", "max_total_attempts"];
    assert_eq!(names, expected);
    assert_eq!(all["max_total_attempts"].value, Some(v1::any_flag::Value::DoubleValue(8.0)));
    assert!(all.values().all(|f| !f.variant.is_empty() && f.reason != "STATIC"));
}

#[tokio::test]
async fn whoever_reads_over_the_open_listener_reads_its_tenants_settings_alone() {
    let fresh = Fresh::sqlite();
    let tenant = run_id();
    let served = Served::with_flagd(&fresh, &tenant).await;
    let mut ann = served.caller();
    ann.principal.tenant = tenant.parse().unwrap();
    let mut eve = ann.of_another_tenant();
    ann.set("", total(8)).await.unwrap();
    eve.set("", total(3)).await.unwrap();
    let mut flagd = V2::new(served.flagd());
    let own = |kind| context(&[("tenantId", kind)]);
    for (about, expected) in [
        (None, Ok(8)),
        (context(&[]), Ok(8)),
        (own(Kind::NullValue(0)), Ok(8)),
        (own(text(&tenant)), Ok(8)),
        (own(Kind::NumberValue(5.0)), Ok(10)),
        (own(Kind::BoolValue(true)), Ok(10)),
        (own(text(&eve.tenant())), Err(Code::NotFound)),
        (own(text("*")), Err(Code::NotFound)),
        (own(text("")), Err(Code::NotFound)),
    ] {
        let answer = int(&mut flagd, "max_total_attempts", about.clone()).await;
        let got = answer.map(|a| a.value.unwrap()).map_err(|s| s.code());
        assert_eq!(got, expected, "{about:?}");
    }
}

#[tokio::test]
async fn a_hostile_key_is_no_flag_and_is_never_repeated() {
    let fresh = Fresh::sqlite();
    let served = Served::with_flagd(&fresh, "any").await;
    let mut flagd = V2::new(served.flagd());
    let long = "k".repeat(200_000);
    for key in [&long, "", "\0", "max_total_attempts\0", "MAX_TOTAL_ATTEMPTS", "%ff", "../x", "ü"]
    {
        let status = int(&mut flagd, key, None).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{key:.20}");
        assert_eq!(status.message(), "no such flag");
        // the connection still serves
        assert_eq!(int(&mut flagd, "max_total_attempts", None).await.unwrap().value, Some(10));
    }
    let deep =
        (0..20).fold(text("x"), |inner, _| Kind::StructValue(context(&[("a", inner)]).unwrap()));
    let strange = context(&[("runId", deep), ("targetingKey", text(&long))]);
    assert_eq!(int(&mut flagd, "max_total_attempts", strange).await.unwrap().value, Some(10));
}

#[tokio::test]
async fn the_open_listener_serves_flagds_calls_and_nothing_else() {
    let fresh = Fresh::sqlite();
    let served = Served::with_flagd(&fresh, "any").await;
    let mut eve = served.caller().ops().at(served.flagd());
    let refused = [Code::Unimplemented, Code::PermissionDenied];
    for status in [
        eve.resolve("").await.unwrap_err(),
        eve.set("", autofix(true)).await.unwrap_err(),
        eve.platform(common::Layer::KillSwitch, autofix(false), because("x")).await.unwrap_err(),
        eve.clear_platform(common::Layer::Platform).await.unwrap_err(),
        eve.platform_changes().await.unwrap_err(),
        eve.watch("").await.unwrap_err(),
        eve.follow().await.unwrap_err(),
    ] {
        assert!(refused.contains(&status.code()), "{status}");
    }
    assert_eq!(served.caller().version().await, 0);
    let mut closed = V2::new(served.stranger());
    let asked = v2::ResolveBooleanRequest { flag_key: "autofix_enabled".into(), context: None };
    let status = closed.resolve_boolean(Request::new(asked)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "elsewhere a credential is asked for");
}
