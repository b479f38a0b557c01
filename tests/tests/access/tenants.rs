//! What a tenant is told of another one: nothing.

use crate::people::{NOBODY, Tenant, text, up};
use anyhow::{Result, ensure};
use meta_domain::role::Role;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_tests::processes::Answer;
use reqwest::Method;
use serde_json::json;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn h7_a_tenant_in_the_request_has_to_be_the_credentials() -> Result<()> {
    let (up, _folder) = up().await?;
    let (own, other) = (Tenant::new(&up.rest, "own").await?, Tenant::new(&up.rest, "other").await?);
    let owner = own.role(Role::Owner);
    let channel = meta_runtime::transport::remote(&up.grpc, owner.key());
    let mut tenants = TenantServiceClient::new(channel.map_err(anyhow::Error::msg)?);
    for tenant in [&other.id, NOBODY] {
        let request = pb::CreateUserRequest {
            tenant_id: tenant.to_owned(),
            email: "eve@example.org".to_owned(),
            role: pb::Role::Viewer.into(),
        };
        let refused = tenants.create_user(request).await.err();
        ensure!(refused.is_some_and(|s| s.code() == Code::PermissionDenied), "{tenant}");
    }
    // no document has a place for a tenant
    let named = json!({ "title": "t", "mode": "freeform", "tenant_id": other.id });
    let refused = owner.post("/specs", &named).await?;
    ensure!((refused.status, refused.error().0.as_str()) == (400, "unknown_field"));
    // a context of OpenFeature that names another tenant finds no settings
    for tenant in [other.id.as_str(), NOBODY] {
        let context = json!({ "context": { "targetingKey": "x", "tenantId": tenant } });
        for path in ["/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/autofix_enabled"] {
            let asked = owner.elsewhere(Method::POST, path).json(&context).send().await?;
            ensure!([403, 404].contains(&asked.status().as_u16()), "{path}: {}", asked.status());
        }
    }
    let mine = json!({ "context": { "targetingKey": "x", "tenantId": own.id } });
    let asked =
        owner.elsewhere(Method::POST, "/ofrep/v1/evaluate/flags").json(&mine).send().await?;
    ensure!(asked.status() == 200, "{}", asked.status());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h8_lists_exports_tags_and_repeated_answers_hold_nothing_of_another_tenant() -> Result<()> {
    let (up, _folder) = up().await?;
    let (own, other) = (Tenant::new(&up.rest, "own").await?, Tenant::new(&up.rest, "other").await?);
    let (eve, ann) = (own.role(Role::Owner), other.role(Role::Owner));
    let theirs = other.objects().await?;
    let three = json!({ "data": { "attributes": { "max_total_attempts": 3 } } });
    let settings = format!("/tenants/{}/settings", other.id);
    let set = ann.request(Method::PATCH, &settings).json(&three).send().await?;
    Answer::of(set).await?.with(200)?;
    for path in [
        "/specs",
        "/runs",
        "/approvals",
        "/approvals?status=approved",
        "/flaky",
        "/webhooks",
        "/audit?per_page=100",
        "/caller",
    ] {
        let seen = eve.get(path).await?.with(200)?.to_string();
        ensure!(theirs.without_ids(&seen) == seen, "{path}: {seen}");
        ensure!(!seen.contains("other.example"), "{path}: {seen}");
    }
    let filtered = eve.get(&format!("/runs?spec_id={}", theirs.fill("{spec_id}"))).await?;
    ensure!(filtered.status == 404 || filtered.body["data"] == json!([]), "{:#}", filtered.body);

    // a cursor and a tag of the other tenant lead to the own things alone
    ann.post("/specs", &json!({ "title": "2", "mode": "freeform" })).await?.with(201)?;
    let page = ann.get("/specs?per_page=1").await?.with(200)?;
    if let Ok(token) = text(&page["meta"]["next_page_token"]) {
        let seen =
            eve.get(&format!("/specs?per_page=1&page_token={token}")).await?.body.to_string();
        ensure!(theirs.without_ids(&seen) == seen, "{seen}");
    }
    let flags = "/ofrep/v1/evaluate/flags";
    let tagged = ann.elsewhere(Method::POST, flags).send().await?;
    let tag = tagged.headers()["etag"].clone();
    let asked = eve.elsewhere(Method::POST, flags).header("if-none-match", tag).send().await?;
    ensure!(asked.status() == 200, "another tenant's tag is answered {}", asked.status());
    ensure!(!asked.text().await?.contains(&other.id));

    // the same key of the same request, and another tenant's answer is not repeated
    let spec = json!({ "title": "t", "mode": "freeform" });
    let first = ann.post_once("/specs", "k-1", &spec).await?.with(201)?;
    let second = eve.post_once("/specs", "k-1", &spec).await?;
    ensure!(!second.headers.contains_key("idempotency-replayed"));
    ensure!(second.with(201)?["data"]["id"] != first["data"]["id"]);
    Ok(())
}
