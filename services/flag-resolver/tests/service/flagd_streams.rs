//! flagd's streams: events, and the flags for those who evaluate by themselves.

use crate::{Caller, PATIENCE, Served, because, run_id, total};
use meta_domain::role::Role;
use meta_proto::common::Layer;
use meta_proto::flagd::evaluation::v2;
use meta_proto::flagd::sync::v1::flag_sync_service_client::FlagSyncServiceClient;
use meta_proto::flagd::sync::v1::{FetchAllFlagsRequest, SyncFlagsRequest};
use meta_runtime::Transport;
use meta_storage::testing::Fresh;
use prost_types::value::Kind;
use serde_json::Value as Json;
use std::time::Duration;
use tonic::{Code, Request, Status, Streaming};

type Sync = FlagSyncServiceClient<Transport>;

/// Long enough for a wrong message to arrive.
const QUIET: Duration = Duration::from_millis(600);

async fn message<T>(stream: &mut Streaming<T>) -> T {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
    message.unwrap().expect("a message")
}

async fn events(channel: Transport) -> Streaming<v2::EventStreamResponse> {
    let mut client = crate::flagd::V2::new(channel);
    let asked = v2::EventStreamRequest::default();
    client.event_stream(asked).await.unwrap().into_inner()
}

/// The flags that an event says have changed, each with how.
fn changed(event: v2::EventStreamResponse) -> Vec<(String, String)> {
    assert_eq!(event.r#type, "configuration_change");
    let flags = event.data.unwrap().fields.remove("flags").unwrap();
    let Some(Kind::StructValue(flags)) = flags.kind else { panic!("a map of flags") };
    let how = |value: prost_types::Value| match value.kind {
        Some(Kind::StructValue(how)) => match &how.fields["type"].kind {
            Some(Kind::StringValue(how)) => how.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    flags.fields.into_iter().map(|(name, value)| (name, how(value))).collect()
}

meta_storage::on_both_engines! {
    events_begin_with_ready_and_name_what_changed;
    flags_are_sent_for_one_tenant_now_and_after_every_change;
}

async fn events_begin_with_ready_and_name_what_changed(fresh: Fresh) {
    let tenant = run_id();
    let served = Served::with_flagd(&fresh, &tenant).await;
    let mut ann = served.caller();
    ann.principal.tenant = tenant.parse().unwrap();
    let mut stream = events(served.flagd()).await;
    assert_eq!(message(&mut stream).await.r#type, "provider_ready");
    ann.of_another_tenant().set("", total(3)).await.unwrap();
    let quiet = tokio::time::timeout(QUIET, stream.message()).await;
    assert!(quiet.is_err(), "a foreign change is nobody else's business: {quiet:?}");
    let update = |name: &str| vec![(name.to_owned(), "update".to_owned())];
    ann.set("", total(8)).await.unwrap();
    assert_eq!(changed(message(&mut stream).await), update("max_total_attempts"));
    let off = crate::autofix(false);
    ann.ops().platform(Layer::KillSwitch, off, because("x")).await.unwrap();
    assert_eq!(changed(message(&mut stream).await), update("autofix_enabled"));
    served.begin_to_stop();
    let ended = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable, "not a clean end");
    drop((stream, ann));
    served.stop().await;
}

/// The flags that somebody is sent.
async fn sync(
    caller: &Caller,
    channel: Transport,
    selector: &str,
) -> Result<Streaming<meta_proto::flagd::sync::v1::SyncFlagsResponse>, Status> {
    let asked =
        SyncFlagsRequest { selector: selector.to_owned(), provider_id: "a test".to_owned() };
    let mut request = caller.request(asked);
    request.metadata_mut().remove("grpc-timeout");
    Ok(Sync::new(channel).sync_flags(request).await?.into_inner())
}

fn flags(text: &str) -> Json {
    let all: Json = serde_json::from_str(text).unwrap();
    all["flags"].clone()
}

async fn flags_are_sent_for_one_tenant_now_and_after_every_change(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut eve = ann.of_another_tenant();
    ann.set("", total(8)).await.unwrap();
    eve.set("", total(17)).await.unwrap();
    let mut stream = sync(&ann.as_role(Role::Viewer), served.channel(), "").await.unwrap();
    let first = message(&mut stream).await.flag_configuration;
    assert_eq!(flags(&first)["max_total_attempts"]["variants"]["tenant"], 8);
    assert!(!first.contains("17") && !first.contains(&eve.tenant()), "{first}");
    eve.set("", total(18)).await.unwrap();
    assert!(tokio::time::timeout(QUIET, stream.message()).await.is_err());
    ann.set("", total(9)).await.unwrap();
    let next = message(&mut stream).await.flag_configuration;
    assert_eq!(flags(&next)["max_total_attempts"]["variants"]["tenant"], 9);
    let fetched = FetchAllFlagsRequest { provider_id: String::new(), selector: String::new() };
    let fetched = Sync::new(served.channel()).fetch_all_flags(ann.request(fetched)).await.unwrap();
    assert_eq!(fetched.into_inner().flag_configuration, next);
    for (who, selector, expected) in [
        (&ann, format!("tenant={}", ann.tenant()), Ok(Some(9))),
        (&ann, eve.tenant(), Err(Code::NotFound)),
        (&ann, "tenant=nobody".to_owned(), Err(Code::NotFound)),
        (&ann.ops(), eve.tenant(), Ok(Some(18))),
        (&ann.ops(), String::new(), Ok(None)),
    ] {
        let got = match sync(who, served.channel(), &selector).await {
            Ok(mut stream) => {
                let text = message(&mut stream).await.flag_configuration;
                Ok(flags(&text)["max_total_attempts"]["variants"]["tenant"].as_u64())
            }
            Err(status) => Err(status.code()),
        };
        assert_eq!(got, expected, "{selector}");
    }
    let mut by_header: Request<SyncFlagsRequest> = ann.ops().request(SyncFlagsRequest::default());
    by_header.metadata_mut().insert("flagd-selector", ann.tenant().parse().unwrap());
    let mut stream = Sync::new(served.channel()).sync_flags(by_header).await.unwrap().into_inner();
    let text = message(&mut stream).await.flag_configuration;
    assert_eq!(flags(&text)["max_total_attempts"]["variants"]["tenant"], 9);
}
