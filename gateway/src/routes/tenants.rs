//! Tenants and their users.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document, Resource};
use crate::idempotency as once;
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params, id};
use crate::problem::Problem;
use crate::view::{at, word};
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use meta_domain::fault::InvalidField;
use meta_domain::id::TenantId;
use meta_domain::limits::TITLE_CHARS_MAX;
use meta_domain::role::Role;
use meta_proto::convert::Number;
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Characters of an e-mail address.
const EMAIL_CHARS_MAX: usize = 254;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    name: String,
    id: Option<String>,
}

/// `GET /tenants`: in the order of their ids, for platform administrators.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let caller = caller.with_role(Role::PlatformAdmin)?;
    let known = ["per_page", "page_token"];
    let params = Params::read(&uri, &known)?;
    let page_size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
    let page_token = params.text("page_token").unwrap_or_default().to_owned();
    let message = caller.message(pb::ListTenantsRequest { page_size, page_token });
    let found = caller.ask(app.peers.tenants().list_tenants(message)).await;
    let found = found.map_err(|problem| problem.in_query(&known))?;
    let next = Some(found.next_page_token).filter(|token| !token.is_empty());
    let link = next.as_ref().map(|token| params.link("/tenants", "page_token", token));
    let meta = json!({ "per_page": page_size, "next_page_token": next });
    let tenants = found.tenants.into_iter().map(resource).collect();
    Ok(Document::list(tenants).link("next", link).meta(meta))
}

fn resource(tenant: pb::Tenant) -> Resource {
    let created_at = at(tenant.created_at.as_ref());
    let attributes = json!({ "name": tenant.name, "created_at": created_at });
    Resource::new("tenant", tenant.id, attributes)
}

/// `GET /caller`: whose key this is.
pub(super) async fn caller(Caller { principal, .. }: Caller) -> Document {
    let attributes = json!({ "role": principal.role.as_str(), "actor": principal.actor });
    Document::of(Resource::new("tenant", principal.tenant.to_string(), attributes))
}

/// `POST /tenants`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let new: NewTenant = payload.read()?;
    let mut faults = Vec::new();
    if !(1..=TITLE_CHARS_MAX).contains(&new.name.trim().chars().count()) {
        let problem = format!("is not a name (expected 1 to {TITLE_CHARS_MAX} characters)");
        faults.push(InvalidField::new("name", problem));
    }
    let asked = new.id.as_deref().map(str::parse::<TenantId>).transpose();
    let asked = asked.unwrap_or_else(|e| {
        faults.push(InvalidField::new("id", e.to_string()));
        None
    });
    if !faults.is_empty() {
        return Err(Problem::fields("invalid_field", &faults));
    }
    let path = "/tenants".to_owned();
    let body = (path, &headers, payload.bytes());
    once::create(app, &caller, body, |app, asking| async move {
        let id = asked.map(|id| id.to_string()).unwrap_or_default();
        let message = asking.message(pb::CreateTenantRequest { name: new.name, id });
        let made = asking.ask(app.peers.tenants().create_tenant(message)).await?;
        Ok(Answer::created(Document::of(resource(made.tenant.unwrap_or_default()))))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    role: String,
}

/// `POST /tenants/{tenant_id}/users`: the answer holds the API key, this once.
pub(super) async fn create_user(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let new: NewUser = payload.read()?;
    let (email, role) = checked(&new).map_err(|f| Problem::fields("invalid_field", &f))?;
    if role > caller.principal.role {
        let detail = format!("a user with role {role} can only be made by one who has that role");
        return Err(Problem::new(StatusCode::FORBIDDEN, "role_too_high", detail));
    }
    let tenant_id = caller.principal.tenant.to_string();
    let body = (format!("/tenants/{tenant_id}/users"), &headers, payload.bytes());
    once::create(app, &caller, body, |app, asking| async move {
        let request = pb::CreateUserRequest { tenant_id, email, role: role.number() };
        let message = asking.message(request);
        let made = asking.ask(app.peers.tenants().create_user(message)).await?;
        let user = made.user.unwrap_or_default();
        let attributes = json!({
            "email": user.email,
            "role": word::<Role>(user.role),
            "api_key": made.api_key,
            "created_at": at(user.created_at.as_ref()),
        });
        let resource = Resource::new("user", user.id, attributes);
        let resource = resource.one("tenant", "tenant", &user.tenant_id);
        Ok(Answer::created(Document::of(resource)).secret())
    })
    .await
}

fn checked(new: &NewUser) -> Result<(String, Role), Vec<InvalidField>> {
    let mut faults = Vec::new();
    let email = new.email.trim();
    let fits = email.len() <= EMAIL_CHARS_MAX
        && !email.contains(|c: char| c.is_whitespace() || c.is_control())
        && email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !fits {
        let problem = format!("{:?} is not an e-mail address (expected name@host)", new.email);
        faults.push(InvalidField::new("email", problem));
    }
    match new.role.parse() {
        Ok(role) if faults.is_empty() => Ok((email.to_owned(), role)),
        Ok(_) => Err(faults),
        Err(problem) => {
            faults.push(InvalidField::new("role", problem));
            Err(faults)
        }
    }
}
