//! Tokens of an issuer, and signing in at a provider, against a running installation.

use crate::issuer::{CLIENT, Issuer, KID, SECRET};
use crate::people::{Tenant, text};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meta_domain::role::Role;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_tests::processes::Up;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tonic::{Code, Request};

/// For whom tokens of the API are.
const AUDIENCE: &str = "metabuilder-api";

/// An installation that believes the issuer, and lets people sign in there.
async fn up(issuer: &Issuer) -> Result<(Up, Tenant, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("gateway.toml");
    let (url, public) = (&issuer.url, "http://localhost:1");
    let text = format!(
        "public_url = \"{public}\"\n[jwt]\nissuer = \"{url}\"\naudience = \"{AUDIENCE}\"\n\
         jwks_url = \"{url}/jwks\"\n[oidc]\nname = \"the test\"\nissuer = \"{url}\"\n\
         client_id = \"{CLIENT}\"\nclient_secret = \"{SECRET}\"\n"
    );
    std::fs::write(&config, text)?;
    let config = config.to_str().context("a plain path")?;
    let vars = [("METABUILDER_LIMITS", "off")];
    let data = folder.path().join("data");
    let up = Up::start_with(&data, &["--config", config], &vars).await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    Ok((up, tenant, folder))
}

/// What the gateway and the orchestrator itself say of a token.
async fn shown(up: &Up, token: &str) -> Result<(u16, Code)> {
    let rest = up.rest.with_key(token).get("/caller").await?;
    let channel = meta_runtime::transport::remote(&up.grpc, "").map_err(anyhow::Error::msg)?;
    let mut request = Request::new(pb::GetCallerRequest {});
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let called = TenantServiceClient::new(channel).get_caller(request).await;
    Ok((rest.status, called.err().map_or(Code::Ok, |status| status.code())))
}

/// A token with this header, these claims and this signature.
fn written(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_h2_h3_h4_forged_and_foreign_tokens_are_refused_and_nothing_is_fetched_for_them()
-> Result<()> {
    let issuer = Issuer::start().await?;
    let elsewhere = Issuer::start().await?;
    let (up, tenant, _folder) = up(&issuer).await?;
    let claims = json!({ "sub": "ann", "tenant": tenant.id, "roles": ["admin"] });
    let good = issuer.token(AUDIENCE, &claims)?;
    ensure!(shown(&up, &good).await? == (200, Code::Ok));
    let caller = up.rest.with_key(&good).get("/caller").await?.with(200)?;
    ensure!(caller["data"]["id"] == tenant.id.as_str(), "{caller:#}");
    ensure!(caller["data"]["attributes"]["role"] == "admin", "{caller:#}");

    let seconds = meta_runtime::now().0 / 1000;
    let mut whole = claims.clone();
    for (name, value) in
        [("iss", json!(issuer.url)), ("aud", json!(AUDIENCE)), ("exp", json!(seconds + 300))]
    {
        whole[name] = value;
    }
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.token(AUDIENCE, &claims)
    };
    let public = text(&issuer.jwk()["x"])?;
    let shared = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::HS256) };
    let shared =
        jsonwebtoken::encode(&shared, &whole, &EncodingKey::from_secret(public.as_bytes()))?;
    let jku = format!("{}/jwks", elsewhere.url);
    let signed = good.rsplit_once('.').context("a signature")?.1;
    let bad = [
        ("h1 no signature", written(&json!({ "alg": "none", "kid": KID }), &whole, "")),
        ("h1 no signature, signed", written(&json!({ "alg": "None", "kid": KID }), &whole, signed)),
        ("h2 the public key as a secret", shared),
        ("h3 over since yesterday", with("exp", json!(seconds - 86_400))?),
        ("h3 from tomorrow on", with("nbf", json!(seconds + 86_400))?),
        ("h3 for somebody else", issuer.token("other", &claims)?),
        ("h3 a sign-in's token", issuer.token(CLIENT, &claims)?),
        ("h3 of somebody else", elsewhere.token(AUDIENCE, &claims)?),
        (
            "h4 a key's id that is a path",
            written(&json!({ "alg": "ES256", "kid": "../../dev/null" }), &whole, signed),
        ),
        (
            "h4 a key from elsewhere",
            written(&json!({ "alg": "ES256", "kid": "e", "jku": jku, "x5u": jku }), &whole, signed),
        ),
        (
            "h4 a key of its own",
            written(&json!({ "alg": "ES256", "jwk": elsewhere.jwk() }), &whole, signed),
        ),
        ("another body", written(&json!({ "alg": "ES256", "kid": KID }), &whole, signed)),
        ("a tenant that is not here", with("tenant", json!(crate::people::NOBODY))?),
        ("a role of the platform", with("roles", json!(["platform_admin"]))?),
        ("a role of machines", with("roles", json!("runner"))?),
    ];
    for (what, token) in bad {
        let seen = shown(&up, &token).await?;
        ensure!(seen == (401, Code::Unauthenticated), "{what}: {seen:?}");
    }
    ensure!(elsewhere.asked("/jwks") == 0, "keys were fetched from where a token said");
    // tokens that name unknown keys do not make us ask each time
    ensure!(issuer.asked("/jwks") <= 6, "{} times", issuer.asked("/jwks"));

    // a token's role is its role, and its tenant its tenant
    let viewer = issuer.token(
        AUDIENCE,
        &json!({
            "sub": "eve", "tenant": tenant.id, "roles": ["viewer", "king"],
        }),
    )?;
    let refused = up.rest.with_key(&viewer).post("/specs", &json!({})).await?;
    ensure!(refused.status == 403, "{:#}", refused.body);
    Ok(())
}

/// A browser that keeps cookies by hand.
struct Browser {
    http: Client,
    url: String,
    cookies: Vec<(String, String)>,
}

impl Browser {
    fn new(up: &Up) -> Result<Self> {
        let http = Client::builder().redirect(Policy::none()).build()?;
        Ok(Self { http, url: up.url.clone(), cookies: Vec::new() })
    }

    async fn get(&mut self, path: &str) -> Result<Response> {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.get(format!("{}{path}", self.url));
        let answer = request.header("cookie", cookies.join("; ")).send().await?;
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str()?;
            ensure!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
            let (name, value) =
                cookie.split(';').next().and_then(|c| c.split_once('=')).context("a cookie")?;
            self.cookies.retain(|(n, _)| n != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(answer)
    }

    /// Goes to the provider and comes back with what it gave; the path to call.
    async fn at_provider(&mut self) -> Result<String> {
        let left = self.get("/sign-in/provider?to=%2Fapprovals").await?;
        ensure!(left.status() == 303, "{}", left.status());
        let location = left.headers()["location"].to_str()?.to_owned();
        let back = self.http.get(location).send().await?;
        ensure!(back.status() == 302, "{}", back.status());
        let back = back.headers()["location"].to_str()?.to_owned();
        let path = back.strip_prefix("http://localhost:1").context("the redirect URI")?;
        Ok(path.to_owned())
    }

    fn has_session(&self) -> bool {
        self.cookies.iter().any(|(name, _)| name == "mb_session")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_at_the_provider_and_acts_as_who_it_says() -> Result<()> {
    let issuer = Issuer::start().await?;
    let (up, tenant, _folder) = up(&issuer).await?;
    issuer.person(json!({
        "sub": "ann", "email": "ann@example.org", "email_verified": true,
        "tenant": tenant.id, "roles": ["admin"],
    }));
    let mut ann = Browser::new(&up)?;
    let page = ann.get("/sign-in").await?.text().await?;
    ensure!(page.contains("Sign in with the test"), "{page}");
    let back = ann.at_provider().await?;
    let came = ann.get(&back).await?;
    ensure!(came.status() == 303 && came.headers()["location"] == "/approvals", "{came:?}");
    ensure!(ann.has_session(), "{:?}", ann.cookies);
    let page = ann.get("/runs").await?;
    ensure!(page.status() == 200, "{}", page.status());
    ensure!(page.text().await?.contains("ann@example.org"));
    let caller: Value = ann.get("/api/meta/v2/caller").await?.json().await?;
    ensure!(caller["data"]["id"] == tenant.id.as_str(), "{caller:#}");
    ensure!(caller["data"]["attributes"]["role"] == "admin", "{caller:#}");
    ensure!(caller["data"]["attributes"]["actor"] == "ann@example.org", "{caller:#}");
    // a code counts once
    let again = ann.get(&back).await?;
    ensure!(again.status() == 422, "{}", again.status());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_not_this_browsers_or_not_for_us_signs_nobody_in() -> Result<()> {
    let issuer = Issuer::start().await?;
    let (up, tenant, _folder) = up(&issuer).await?;
    let person = json!({ "sub": "ann", "tenant": tenant.id, "roles": ["admin"] });
    issuer.person(person.clone());
    // another browser's code and state
    let (mut ann, mut eve) = (Browser::new(&up)?, Browser::new(&up)?);
    let back = ann.at_provider().await?;
    ensure!(eve.get(&back).await?.status() == 422 && !eve.has_session());
    let own = eve.at_provider().await?;
    let code = back.split("code=").nth(1).and_then(|c| c.split('&').next()).context("a code")?;
    let state = own.split("state=").nth(1).context("a state")?;
    let mixed = format!("/sign-in/callback?code={code}&state={state}");
    ensure!(eve.get(&mixed).await?.status() == 422 && !eve.has_session(), "PKCE");
    for path in [
        "/sign-in/callback".to_owned(),
        format!("{own}&state=x"),
        format!("{own}&iss=https%3A%2F%2Felsewhere.example"),
        format!("/sign-in/callback?error=access_denied&state={state}"),
    ] {
        let mut browser = Browser::new(&up)?;
        browser.at_provider().await?;
        ensure!(browser.get(&path).await?.status() == 422 && !browser.has_session(), "{path}");
    }
    // claims that do not fit
    for (name, value) in [
        ("nonce", json!("another")),
        ("aud", json!("somebody-else")),
        ("aud", json!([CLIENT, "somebody-else"])),
        ("azp", json!("somebody-else")),
        ("iss", json!("https://elsewhere.example")),
        ("exp", json!(1)),
        ("roles", json!(["platform_admin"])),
        ("tenant", json!(crate::people::NOBODY)),
    ] {
        let mut claims = person.clone();
        claims[name] = value;
        issuer.person(claims);
        let mut browser = Browser::new(&up)?;
        let back = browser.at_provider().await?;
        let came = browser.get(&back).await?;
        ensure!(came.status() == 422 && !browser.has_session(), "{name}: {}", came.status());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_administrator_acts_in_a_tenant_on_record_and_nobody_else_does() -> Result<()> {
    let issuer = Issuer::start().await?;
    let (up, tenant, _folder) = up(&issuer).await?;
    let own = up.rest.get("/caller").await?.with(200)?["data"]["id"].clone();
    let act = |rest: &meta_tests::processes::Rest, path: &str, tenant: &str| {
        rest.request(reqwest::Method::GET, path).header("x-act-as-tenant", tenant).send()
    };
    let seen: Value = act(&up.rest, "/caller", &tenant.id).await?.json().await?;
    ensure!(seen["data"]["id"] == tenant.id.as_str(), "{seen:#}");
    let spec = json!({ "title": "t", "mode": "freeform" });
    let request = up.rest.request(reqwest::Method::POST, "/specs").json(&spec);
    let made = request.header("x-act-as-tenant", &tenant.id).send().await?;
    ensure!(made.status() == 201, "{}", made.status());
    let owner = tenant.role(Role::Owner);
    let listed = owner.get("/specs").await?.with(200)?;
    ensure!(listed["data"].as_array().map(Vec::len) == Some(1), "{listed:#}");
    for action in ["tenant.acted_in", "meta.spec.created"] {
        let found = owner.get(&format!("/audit?action={action}")).await?.with(200)?;
        let entry = &found["data"][0]["attributes"];
        ensure!(entry["actor"] == "user:dev" && entry["home_tenant_id"] == own, "{found:#}");
        ensure!(found["data"].as_array().map(Vec::len) == Some(1), "{found:#}");
    }
    for (role, rest) in tenant.people().filter(|(role, _)| *role != Role::PlatformAdmin) {
        let other = text(&own)?;
        let refused = act(rest, "/caller", &other).await?;
        ensure!(refused.status() == 403, "{role}: {}", refused.status());
        ensure!(act(rest, "/caller", &tenant.id).await?.status() == 200, "{role}");
    }
    ensure!(act(&up.rest, "/caller", "acme").await?.status() == 400);
    ensure!(act(&up.rest, "/caller", crate::people::NOBODY).await?.status() == 404);
    let told = owner.get("/audit?action=tenant.acted_in&per_page=50").await?.with(200)?;
    let refused = told["data"].as_array().context("entries")?;
    let refused = refused.iter().filter(|e| e["attributes"]["denied"] == true).count();
    ensure!(refused >= 1, "{told:#}");
    Ok(())
}
