//! Who may do what.

use crate::{Caller, Served, because, total};
use meta_domain::role::Role;
use meta_proto::common::Layer;
use meta_proto::flags as pb;
use meta_runtime::new_id;
use meta_storage::testing::Fresh;
use tonic::{Code, Status};

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// What reading, writing, and writing for the whole platform come to.
async fn may(caller: &mut Caller) -> [Vec<Code>; 3] {
    let read = vec![
        code(caller.resolve("").await),
        code(caller.explain("").await),
        code(caller.changes("").await),
        code(caller.watch("").await),
    ];
    let write = vec![
        code(caller.set("", total(8)).await),
        code(caller.clear("", &[]).await),
        code(caller.cancel(&new_id().to_string()).await),
    ];
    let get = caller.request(pb::GetPlatformRequest {});
    let platform = vec![
        code(caller.platform(Layer::Platform, total(8), because("x")).await),
        code(caller.clear_platform(Layer::Platform).await),
        code(caller.client.get_platform(get).await),
        code(caller.platform_changes().await),
    ];
    [read, write, platform]
}

#[tokio::test]
async fn a_viewer_reads_an_admin_writes_and_a_platform_admin_writes_for_all() {
    let fresh = Fresh::sqlite();
    let served = Served::start(&fresh).await;
    let ann = served.caller();
    let denied = Code::PermissionDenied;
    for role in Role::ALL {
        let [read, write, platform] = may(&mut ann.as_role(role)).await;
        let reads = if role == Role::Runner { denied } else { Code::Ok };
        assert_eq!(read, [reads; 4], "{role}");
        let writes =
            if role >= Role::Admin { [Code::Ok, Code::Ok, Code::NotFound] } else { [denied; 3] };
        assert_eq!(write, writes, "{role}");
        let of_all = if role == Role::PlatformAdmin { Code::Ok } else { denied };
        assert_eq!(platform, [of_all; 4], "{role}");
    }
}

#[tokio::test]
async fn nobody_calls_without_a_credential() {
    let fresh = Fresh::sqlite();
    let served = Served::start(&fresh).await;
    let mut eve = served.caller().at(served.stranger());
    let refused = Code::Unauthenticated;
    assert_eq!(may(&mut eve.as_role(Role::PlatformAdmin)).await.concat(), [refused; 11]);
    assert_eq!(code(eve.follow().await), refused);
    assert_eq!(code(served.caller().follow().await), Code::Ok, "a service of the installation");
}
