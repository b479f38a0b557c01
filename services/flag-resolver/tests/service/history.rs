//! The audit as it is read.

use crate::caller::TRACE;
use crate::{PATIENCE, Served, autofix, because, per_step, run_id, total};
use meta_domain::id::TenantId;
use meta_domain::role::Identity;
use meta_proto::common::{self, Overrides};
use meta_proto::convert::instant;
use meta_proto::flags as pb;
use meta_runtime::auth::machine_call;
use meta_runtime::{call_as, new_id, now};
use meta_storage::testing::Fresh;
use tonic::Code;

meta_storage::on_both_engines! {
    the_audit_says_who_changed_what_from_what_when_why_and_in_which_trace;
    history_is_read_by_setting_and_page_by_page;
    the_platforms_history_is_its_own;
    what_the_audit_follows_names_the_credential_and_the_request;
}

async fn the_audit_says_who_changed_what_from_what_when_why_and_in_which_trace(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let run = run_id();
    let began = now();
    ann.set_with("", total(8), because("first")).await.unwrap();
    ann.named("bob").patch("", per_step(4)).await.unwrap();
    ann.named("bob").patch("", per_step(4)).await.unwrap();
    ann.named("cy").clear("", &[]).await.unwrap();
    ann.set(&run, total(3)).await.unwrap();
    let both = Overrides { max_per_step_attempts: Some(4), ..total(8) };
    let none = Overrides::default();
    let changes = ann.changes("").await.unwrap();
    let told: Vec<_> =
        changes.iter().map(|c| (c.actor.as_str(), c.before.unwrap(), c.after.unwrap())).collect();
    let expected = [
        ("ann", none, total(3)),
        ("cy", both, none),
        ("bob", total(8), both),
        ("ann", none, total(8)),
    ];
    assert_eq!(told, expected);
    let times: Vec<_> = changes.iter().map(|c| instant(c.changed_at.as_ref().unwrap())).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older) && times[3] >= began);
    assert!(changes.iter().all(|c| c.trace_id == TRACE && c.kind() == pb::ChangeKind::Written));
    assert_eq!(changes[3].reason, "first");
    assert_eq!((changes[0].run_id.as_str(), changes[0].layer()), (&*run, common::Layer::Run));
    let versions: Vec<_> = changes.iter().map(|c| c.version).collect();
    assert_eq!(versions, [4, 3, 2, 1], "a repeated write is no change");
    assert_eq!(ann.changes(&run).await.unwrap(), changes[..1]);
}

async fn history_is_read_by_setting_and_page_by_page(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    for n in 1..=7 {
        ann.patch("", total(n)).await.unwrap();
        ann.of_another_tenant().set("", total(n)).await.unwrap();
    }
    ann.patch("", autofix(false)).await.unwrap();
    let asked = |setting: &str, page_size, token: &str| pb::ListChangesRequest {
        setting: setting.to_owned(),
        page_size,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = ann.list(asked("max_total_attempts", 3, &token)).await.unwrap();
        seen.extend(page.changes.iter().map(|c| c.version));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        assert_eq!(page.changes.len(), 3);
    }
    assert_eq!(seen, [13, 11, 9, 7, 5, 3, 1]);
    let of_flag = ann.list(asked("autofix_enabled", 0, "")).await.unwrap();
    assert_eq!((of_flag.changes.len(), of_flag.next_page_token.as_str()), (1, ""));
    assert_eq!(ann.list(asked("", 8, "")).await.unwrap().next_page_token, "", "the last page");
    for (request, field) in [
        (asked("colour", 0, ""), "setting"),
        (asked(&"x".repeat(100_000), 0, ""), "setting"),
        (asked("", 201, ""), "page_size"),
        (asked("", u32::MAX, ""), "page_size"),
        (asked("", 0, "-1"), "page_token"),
        (asked("", 0, "x"), "page_token"),
    ] {
        let status = ann.list(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(&format!("{field}: ")), "{status}");
    }
    assert!(ann.list(asked("", 200, &u64::MAX.to_string())).await.is_ok());
}

async fn the_platforms_history_is_its_own(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut ops = ann.ops();
    ann.set("", total(8)).await.unwrap();
    ops.platform(common::Layer::Platform, total(5), because("a")).await.unwrap();
    ops.platform(common::Layer::KillSwitch, autofix(false), because("b")).await.unwrap();
    let told = ops.platform_changes().await.unwrap();
    let layers: Vec<_> = told.iter().map(|c| (c.version, c.layer())).collect();
    assert_eq!(layers, [(3, common::Layer::KillSwitch), (2, common::Layer::Platform)]);
    assert!(told.iter().all(|c| c.actor == "ops" && c.trace_id == TRACE));
    assert_eq!(ann.changes("").await.unwrap().len(), 1);
}

async fn what_the_audit_follows_names_the_credential_and_the_request(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let ann = served.caller();
    let home = TenantId(new_id());
    let identity = Identity {
        credential: "key:7".to_owned(),
        home: Some(home),
        ..Identity::from(ann.principal.clone())
    };
    let body = pb::SetOverridesRequest {
        overrides: Some(total(8)),
        options: Some(because("first")),
        ..Default::default()
    };
    let mut request = call_as(&identity, PATIENCE, body);
    request.metadata_mut().insert("x-request-id", "asked-once".parse().unwrap());
    ann.client.clone().set_overrides(request).await.unwrap();
    ann.clone().set("", total(9)).await.unwrap();
    let asked = machine_call(PATIENCE, pb::ReadChangesRequest::default());
    let told = ann.client.clone().read_changes(asked).await.unwrap().into_inner().changes;
    let by = |c: &pb::TenantChange| {
        (c.credential.clone(), c.home_tenant_id.clone(), c.request_id.clone())
    };
    let named = ("key:7".to_owned(), home.to_string(), "asked-once".to_owned());
    assert_eq!(told.iter().map(by).collect::<Vec<_>>(), [named, Default::default()]);
    assert!(told.iter().all(|c| c.tenant_id == ann.tenant()));
}
