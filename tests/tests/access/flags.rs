//! Settings as somebody writes them who means harm, and evaluations of other sites' scripts.

use crate::people::{Tenant, up, up_with};
use anyhow::{Context, Result, ensure};
use meta_domain::role::Role;
use meta_tests::processes::{Answer, Rest, Up};
use reqwest::Method;
use serde_json::{Value, json};

async fn write(rest: &Rest, path: &str, attributes: &Value) -> Result<Answer> {
    let body = json!({ "data": { "attributes": attributes } });
    Answer::of(rest.request(Method::PATCH, path).json(&body).send().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn h23_a_setting_out_of_its_range_is_refused_by_name_and_nothing_is_stored() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let admin = tenant.role(Role::Admin);
    let path = format!("/tenants/{}/settings", tenant.id);
    let before = admin.get(&path).await?.with(200)?;
    let number = "max_total_attempts";
    for (name, value) in [
        (number, json!(0)),
        (number, json!(-1)),
        (number, json!(2_147_483_648_u64)),
        (number, json!(3.5)),
        (number, json!("6")),
        (number, json!(true)),
        ("autofix_enabled", json!(1)),
        ("autofix_enabled", json!("true")),
        ("backoff_cap_seconds", json!(301)),
        ("king", json!(1)),
    ] {
        // a good one beside it is not stored either
        let refused =
            write(admin, &path, &json!({ name: value, "max_per_step_attempts": 2 })).await?;
        ensure!(refused.status == 400, "{name}={value}: {}", refused.status);
        let text = refused.body["errors"].to_string();
        ensure!(text.contains(name), "{name}={value}: {text}");
    }
    ensure!(admin.get(&path).await?.with(200)? == before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h24_keys_of_flags_that_nobody_means_are_errors_and_the_connection_goes_on() -> Result<()> {
    let (up, _folder) = up().await?;
    let long = "k".repeat(8_000);
    for key in [long.as_str(), "%ff", "%00", "%2e%2e%2fx", "autofix_enabled%00", "%", "a%zz"] {
        let path = format!("/ofrep/v1/evaluate/flags/{key}");
        let answer = Answer::of(up.rest.elsewhere(Method::POST, &path).send().await?).await?;
        ensure!(
            [400, 404].contains(&answer.status),
            "{}: {}",
            &key[..key.len().min(20)],
            answer.status
        );
        let next = up.rest.elsewhere(Method::POST, "/ofrep/v1/evaluate/flags/autofix_enabled");
        ensure!(next.send().await?.status() == 200, "after {}", &key[..key.len().min(20)]);
    }
    // 200 kB of a path are no request at all
    let path = format!("/ofrep/v1/evaluate/flags/{}", "k".repeat(200_000));
    let answer = up.rest.elsewhere(Method::POST, &path).send().await;
    ensure!(answer.is_err() || answer.is_ok_and(|a| a.status().is_client_error()));
    up.rest.get("/caller").await?.with(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h25_a_write_over_another_version_than_was_read_is_a_conflict() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let admin = tenant.role(Role::Admin);
    let path = format!("/tenants/{}/settings", tenant.id);
    let read = admin.get(&path).await?;
    let tag = read.headers.get("etag").context("a tag")?.clone();
    write(admin, &path, &json!({ "max_total_attempts": 3 })).await?.with(200)?;
    let body = json!({ "data": { "attributes": { "max_total_attempts": 9 } } });
    let stale = admin.request(Method::PATCH, &path).header("if-match", tag).json(&body);
    let refused = Answer::of(stale.send().await?).await?;
    ensure!([409, 412].contains(&refused.status), "{}: {:#}", refused.status, refused.body);
    let now = admin.get(&path).await?.with(200)?;
    ensure!(now["data"]["attributes"]["override"]["max_total_attempts"] == 3, "{now:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_other_sites_evaluate_flags_only_where_the_operator_named_them() -> Result<()> {
    let path = "/ofrep/v1/evaluate/flags";
    let asked = |up: &Up, origin: &str, method: Method| {
        let request = up.rest.elsewhere(method, path).header("origin", origin);
        request.header("access-control-request-method", "POST").send()
    };
    let allowed = "access-control-allow-origin";
    let (up, _folder) = up().await?;
    let answer = asked(&up, "https://app.example", Method::POST).await?;
    ensure!(answer.status() == 200 && !answer.headers().contains_key(allowed), "off by default");

    let folder = tempfile::tempdir()?;
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, "cors_origins = [\"https://app.example\"]\n")?;
    let config = config.to_str().context("a plain path")?;
    let (up, _folder) = up_with(&[("METABUILDER_CONFIG", config)]).await?;
    for (origin, named) in [("https://app.example", true), ("https://evil.example", false)] {
        let asking = asked(&up, origin, Method::OPTIONS).await?;
        ensure!(asking.status() == 204, "{origin}: {}", asking.status());
        ensure!(asking.headers().contains_key(allowed) == named, "{origin}");
        let answer = asked(&up, origin, Method::POST).await?;
        ensure!(answer.status() == 200, "{origin}: {}", answer.status());
        ensure!(answer.headers().contains_key(allowed) == named, "{origin}");
        ensure!(!answer.headers().contains_key("access-control-allow-credentials"));
    }
    // and nothing else of the API
    let request = up.rest.request(Method::GET, "/caller").header("origin", "https://app.example");
    ensure!(!request.send().await?.headers().contains_key(allowed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_tries_keys_at_the_sign_in_is_stopped() -> Result<()> {
    let (up, _folder) = up().await?;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let mut statuses = Vec::new();
    for n in 0..40 {
        let request = http.post(format!("{}/sign-in", up.url)).header("origin", &up.url);
        let form = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = form.body(format!("key=mb_guess_{n}&to=%2F")).send().await?;
        statuses.push(answer.status().as_u16());
    }
    ensure!(statuses[..30].iter().all(|s| *s == 422), "{statuses:?}");
    ensure!(statuses[35..].contains(&429), "{statuses:?}");
    Ok(())
}
