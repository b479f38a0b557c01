//! Every route of the role matrix as every role, with the tenant's own objects and with another's.

use crate::people::{Objects, Tenant, text, up};
use anyhow::{Context, Result, ensure};
use meta_domain::role::{Identity, Principal, Role};
use meta_runtime::access::{Other, Row, Who, routes};
use meta_tests::processes::Rest;
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Somebody who calls routes: clients by key, and for the pages the browser that they signed in.
struct Person<'a> {
    rest: &'a Rest,
    cookie: String,
    csrf: String,
    url: String,
}

impl<'a> Person<'a> {
    async fn sign_in(rest: &'a Rest, url: &str) -> Result<Self> {
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let form = format!("to=%2Fruns&key={}", rest.key());
        let request = http.post(format!("{url}/sign-in")).header("origin", url).body(form);
        let answer =
            request.header("content-type", "application/x-www-form-urlencoded").send().await?;
        let cookie = answer.headers().get("set-cookie").context("a cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let page = http.get(format!("{url}/runs")).header("cookie", &cookie).send().await?;
        let page = page.text().await?;
        let csrf = page.split("name=\"csrf\" value=\"").nth(1).context("a form's token")?;
        let csrf = csrf.split('"').next().unwrap_or_default().to_owned();
        Ok(Self { rest, cookie, csrf, url: url.to_owned() })
    }

    async fn call(&self, route: &Route, objects: &Objects) -> Result<Seen> {
        let path = objects.fill(route.pattern);
        let sent = if route.is_page() {
            let http =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
            let request = http.request(route.method.clone(), format!("{}{path}", self.url));
            let request = request.header("cookie", &self.cookie).header("origin", &self.url);
            let form = format!("csrf={}&decision=reject", self.csrf);
            let form_type = "application/x-www-form-urlencoded";
            request.header("content-type", form_type).body(form).send().await?
        } else {
            let request = self.rest.elsewhere(route.method.clone(), &path);
            let writes = [Method::POST, Method::PUT, Method::PATCH].contains(&route.method);
            let body = json!({ "data": { "attributes": route.attributes() } });
            if writes { request.json(&body).send().await? } else { request.send().await? }
        };
        Seen::of(sent, objects).await
    }
}

/// A row of the matrix.
struct Route {
    name: &'static str,
    method: Method,
    pattern: &'static str,
    row: &'static Row,
}

impl Route {
    fn all() -> Result<Vec<Self>> {
        let route = |(name, row): (&'static str, &'static Row)| {
            let (method, pattern) = name.split_once(' ').context("a method and a path")?;
            Ok(Self { name, method: method.parse()?, pattern, row })
        };
        routes().into_iter().map(route).collect()
    }

    /// What the route wants before it looks at what its path names.
    fn attributes(&self) -> Value {
        match self.pattern.rsplit('/').next() {
            Some("plan-edit") => json!({ "plan_version": 1, "ops": [
                { "kind": "extend_timeout", "step": "first", "timeout": "30m" },
            ]}),
            Some("redeliver") => json!({ "run_id": crate::people::NOBODY, "seq": 1 }),
            Some("mark") => json!({ "status": "skipped", "reason": "not needed" }),
            Some("users") => json!({ "email": "eve@example.org", "role": "viewer" }),
            Some("keys") => json!({ "name": "k", "role": "viewer" }),
            Some("settings") => json!({ "max_total_attempts": 6 }),
            _ => json!({}),
        }
    }

    fn is_page(&self) -> bool {
        !self.pattern.starts_with("/api/") && !self.pattern.starts_with("/ofrep/")
    }

    fn admits(&self, role: Role) -> bool {
        let tenant = meta_runtime::new_id().into();
        let caller = Identity::from(Principal { tenant, role, actor: String::new() });
        self.row.admits(self.name, &caller).is_ok()
    }

    /// Whether an earlier call of the same walk may have ended what the path names.
    fn ends_what_it_names(&self) -> bool {
        ["{webhook_id}", "{scheduled_id}"].iter().any(|id| self.pattern.contains(id))
    }

    /// Whether this role may name any tenant in the path.
    fn enters(&self, role: Role) -> bool {
        role == Role::PlatformAdmin && self.pattern.contains("{tenant_id}")
    }
}

/// What came back, of which nothing that goes on is waited for.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    code: String,
    body: String,
}

impl Seen {
    async fn of(response: Response, objects: &Objects) -> Result<Self> {
        let status = response.status().as_u16();
        if status < 400 {
            return Ok(Self { status, code: String::new(), body: String::new() });
        }
        let headers = response.headers().clone();
        let mut body = objects.without_ids(&response.text().await?);
        for name in ["x-request-id", "traceparent"] {
            let id = headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let id = id.split('-').nth(1).filter(|_| name == "traceparent").unwrap_or(id);
            body = body.replace(id, "");
        }
        let document: Value = serde_json::from_str(&body).unwrap_or_default();
        let code = text(&document["errors"][0]["code"]).unwrap_or_default();
        Ok(Self { status, code, body })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h6_another_tenants_object_is_like_an_unknown_id_on_every_route_for_every_role()
-> Result<()> {
    let (up, _folder) = up().await?;
    let (own, other) = (Tenant::new(&up.rest, "own").await?, Tenant::new(&up.rest, "other").await?);
    let theirs = other.objects().await?;
    let before = theirs.state(other.role(Role::Owner)).await?;
    let mut compared = 0;
    for (role, rest) in own.people() {
        let person = Person::sign_in(rest, &up.url).await?;
        for route in Route::all()?.iter().filter(|r| r.row.who != Who::Public) {
            let what = format!("{} as {role}", route.name);
            if !route.admits(role) {
                let seen = person.call(route, &theirs).await?;
                ensure!(seen.status == 403, "{what}: {seen:?}");
                continue;
            }
            if route.row.other != Other::Hidden || route.enters(role) {
                continue;
            }
            let seen = person.call(route, &theirs).await?;
            let unknown = person.call(route, &theirs.of_nobody()).await?;
            ensure!(seen.status == 404, "{what}: {seen:?}");
            ensure!(seen == unknown, "{what}: {seen:?} is not {unknown:?}");
            compared += 1;
        }
    }
    ensure!(compared > 150, "{compared} were compared");
    let after = theirs.state(other.role(Role::Owner)).await?;
    ensure!(before == after, "{before:#} became {after:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h10_every_route_asks_for_the_roles_of_its_row_and_for_a_credential() -> Result<()> {
    let (up, _folder) = up().await?;
    let own = Tenant::new(&up.rest, "own").await?;
    let objects = own.objects().await?;
    let nobody = up.rest.with_key("mb_nobody");
    for (role, rest) in own.people() {
        let person = Person::sign_in(rest, &up.url).await?;
        for route in Route::all()?.iter().filter(|r| r.row.who != Who::Public) {
            let what = format!("{} as {role}", route.name);
            let seen = person.call(route, &objects).await?;
            if route.admits(role) {
                let refused = [401, 403].contains(&seen.status);
                let found = seen.status != 404 || route.ends_what_it_names();
                ensure!(!refused && found, "{what}: {seen:?}");
            } else {
                ensure!(seen.status == 403, "{what}: {seen:?}");
                ensure!(route.is_page() || seen.code == "role_too_low", "{what}: {seen:?}");
            }
        }
    }
    let stranger = Person {
        rest: &nobody,
        cookie: format!("mb_session={}", "0".repeat(64)),
        csrf: String::new(),
        url: up.url.clone(),
    };
    for route in Route::all()?.iter().filter(|r| r.row.who != Who::Public) {
        let seen = stranger.call(route, &objects).await?;
        // a browser is led to where it signs in; an address that guesses on is stopped
        ensure!([401, 429, 303].contains(&seen.status), "{}: {seen:?}", route.name);
    }
    Ok(())
}
