//! The RPCs, through the layers that every call passes.

use super::*;
use crate::core::webhook::{Secret, SigningKey};
use futures::FutureExt;
use meta_domain::role::{Principal, Role};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::webhook_service_client::WebhookServiceClient;
use meta_proto::orchestrator::webhook_service_server::WebhookServiceServer;
use meta_runtime::{Transport, Wiring, call};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request};

const LIMIT: Duration = Duration::from_secs(10);

async fn service(fresh: &Fresh) -> (Wiring, SigningKey) {
    let key = SigningKey::parse(&"k".repeat(32)).unwrap();
    let lookup: Lookup = Arc::new(|name| {
        let inside: IpAddr = [10, 0, 0, 1].into();
        let public: IpAddr = [93, 184, 216, 34].into();
        let found = match name.as_str() {
            "public.example" => Ok(vec![public]),
            "mixed.example" => Ok(vec![public, inside]),
            _ => Err(std::io::Error::other("no such name")),
        };
        async move { found }.boxed()
    });
    let policy = Config::default().policy().unwrap();
    let http = Http::new(policy, lookup).unwrap();
    let webhooks = Webhooks { store: open(fresh).await, http, key: key.clone() };
    (Wiring::default().serve(WebhookServiceServer::new(webhooks)), key)
}

fn client(wiring: &Wiring) -> WebhookServiceClient<Transport> {
    WebhookServiceClient::new(wiring.in_process("token"))
}

fn from<T>(tenant: TenantId, role: Role, message: T) -> Request<T> {
    call(&Principal { tenant, role, actor: "user:test".to_owned() }, LIMIT, message)
}

fn create(url: &str, events: &[&str]) -> pb::CreateWebhookRequest {
    let events = events.iter().map(|e| (*e).to_owned()).collect();
    pb::CreateWebhookRequest { url: url.to_owned(), events }
}

#[tokio::test]
async fn a_webhook_is_made_listed_and_removed_by_its_tenant_alone() {
    let fresh = Fresh::sqlite();
    let (wiring, key) = service(&fresh).await;
    let mut client = client(&wiring);
    let asked = create("https://public.example/hook", &["run.*"]);
    let made = client.create_webhook(from(TENANT, Role::Admin, asked)).await.unwrap().into_inner();
    let webhook = made.webhook.unwrap();
    let id: WebhookId = webhook.id.parse().unwrap();
    assert_eq!(Secret::parse(&made.secret), Some(key.secret_of(id)));
    let list = async |tenant| {
        let request = from(tenant, Role::Admin, pb::ListWebhooksRequest {});
        client.clone().list_webhooks(request).await.unwrap().into_inner().webhooks
    };
    assert_eq!(list(TENANT).await, std::slice::from_ref(&webhook));
    assert_eq!(list(OTHER).await, []);
    let delete = async |tenant| {
        let request = pb::DeleteWebhookRequest { webhook_id: webhook.id.clone() };
        client.clone().delete_webhook(from(tenant, Role::Admin, request)).await
    };
    assert_eq!(delete(OTHER).await.unwrap_err().code(), Code::NotFound);
    delete(TENANT).await.unwrap();
    assert_eq!(delete(TENANT).await.unwrap_err().code(), Code::NotFound);
    let member = from(TENANT, Role::Member, pb::ListWebhooksRequest {});
    let denied = client.clone().list_webhooks(member).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn what_may_not_be_called_is_refused_at_once_and_names_the_field() {
    let fresh = Fresh::sqlite();
    let (wiring, _) = service(&fresh).await;
    let mut client = client(&wiring);
    for (url, events, field) in [
        ("http://public.example/", vec![], "url"),
        ("https://127.0.0.1/", vec![], "url"),
        ("https://mixed.example/", vec![], "url"),
        ("https://nowhere.example/", vec![], "url"),
        ("https://public.example:22/", vec![], "url"),
        ("https://public.example/", vec!["run.*", "Run"], "events[1]"),
        ("https://public.example/", vec!["a"; 51], "events"),
    ] {
        let request = from(TENANT, Role::Admin, create(url, &events));
        let status = client.create_webhook(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{url}: {status}");
        assert!(status.message().starts_with(field), "{url}: {status}");
    }
    let request = from(TENANT, Role::Admin, pb::ListWebhooksRequest {});
    assert_eq!(client.list_webhooks(request).await.unwrap().into_inner().webhooks, []);
}

#[test]
fn a_key_is_made_once_and_a_short_one_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let secret = |config: &Config| {
        signing_key(config, data.path()).map(|key| key.secret_of(webhook(1)).text())
    };
    let first = secret(&Config::default()).unwrap();
    assert_eq!(secret(&Config::default()).unwrap(), first);
    let told = Config { key: Some("k".repeat(40)), ..Config::default() };
    assert_ne!(secret(&told).unwrap(), first);
    let short = Config { key: Some("hunter2".to_owned()), ..Config::default() };
    let error = secret(&short).unwrap_err().to_string();
    assert!(error.contains("webhooks.key") && !error.contains("hunter2"), "{error}");
    let networks = vec!["10.0.0.0/8".to_owned(), "x".to_owned()];
    let faults = Config { networks, ..Config::default() }.policy().unwrap_err();
    assert_eq!(faults[0].path, "webhooks.networks[1]");
}
