//! Where the installation may be sent: nowhere inside.

use crate::people::{Tenant, up};
use anyhow::{Result, ensure};
use meta_domain::role::Role;
use serde_json::json;

/// Addresses that lead inside, in many dresses.
const INSIDE: [&str; 16] = [
    "http://127.0.0.1/x",
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "http://0/x",
    "https://0/x",
    "https://2130706433/x",
    "https://0x7f.1/x",
    "https://localhost/x",
    "https://localhost./x",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1/x",
    "https://100.64.0.1/x",
    "https://[fd00::1]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://8.8.8.8:22/x",
];

#[tokio::test(flavor = "multi_thread")]
async fn h15_a_webhook_that_leads_inside_is_refused_when_it_is_saved() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let admin = tenant.role(Role::Admin);
    for url in INSIDE.into_iter().chain(["ftp://example.com", "file:///etc/passwd", ""]) {
        let refused = admin.post("/webhooks", &json!({ "url": url })).await?;
        ensure!(refused.status == 400, "{url}: {}", refused.status);
        let pointer = &refused.body["errors"][0]["source"]["pointer"];
        ensure!(pointer == "/data/attributes/url", "{url}: {:#}", refused.body);
    }
    let listed = admin.get("/webhooks").await?.with(200)?;
    ensure!(listed["data"] == json!([]), "{listed:#}");
    Ok(())
}
