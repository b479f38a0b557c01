//! Tenants, users, and who a key belongs to.

use super::asking::asking;
use super::keys::hands_on;
use super::{check_line, invalid, page_size, refuse, store};
use crate::core::audit::{By, Entry};
use crate::record::Credentials;
use crate::store::{NewKey, Tables, TenantRow};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::id::{KeyId, TenantId, UserId};
use meta_domain::limits::TITLE_CHARS_MAX;
use meta_domain::role::{Identity, Principal, Role, Scopes};
use meta_domain::time::Timestamp;
use meta_proto::convert::{Number, parse, parse_opt, timestamp, word};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::tenant_service_server::TenantService;
use meta_runtime::auth::Denial;
use meta_runtime::{asked, identity, new_id, now};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

/// Tenants on a page, unless the caller says otherwise.
const PAGE_TENANTS_DEFAULT: u32 = 100;
/// Tenants on a page at most.
const PAGE_TENANTS_MAX: u32 = 1000;

/// The shell.
#[derive(Clone)]
pub struct Tenants {
    /// Where they are kept.
    pub tables: Tables,
    /// Whose keys are whose.
    pub credentials: Credentials,
}

impl Tenants {
    /// The caller in another tenant, which only a platform administrator may enter; it goes on
    /// record there.
    async fn acting_in(
        &self,
        caller: Identity,
        tenant: TenantId,
        by: By,
    ) -> Result<Identity, Status> {
        let own = caller.principal.tenant;
        if tenant == own {
            return Ok(caller);
        }
        if caller.principal.role != Role::PlatformAdmin {
            let text = "only a platform administrator may act in another tenant";
            self.credentials.denials().tell(Denial {
                caller,
                action: "tenant.acted_in".to_owned(),
                object: format!("tenant/{tenant}"),
                reason: text.to_owned(),
                request_id: by.request_id,
                trace_id: by.trace_id,
            });
            let fault = Fault::new(ErrorKind::PermissionDenied, "OTHER_TENANT", text);
            return Err(refuse(fault));
        }
        if !self.tables.tenant_exists(tenant).await.map_err(store)? {
            return Err(refuse(Fault::not_found("TENANT_NOT_FOUND", "tenant", tenant)));
        }
        let object = format!("tenant/{tenant}");
        let by = By { credential: caller.credential.clone(), home: Some(own), ..by };
        let actor = caller.principal.actor.clone();
        let entry = Entry::new(tenant, now(), "tenant.acted_in", &actor, object).by(by);
        self.tables.put_on_record(vec![entry]).await.map_err(store)?;
        let principal = Principal { tenant, ..caller.principal };
        Ok(Identity { principal, home: Some(own), ..caller })
    }
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let asking = asking(&request)?;
        let body = request.into_inner();
        let name = body.name.trim();
        if name.is_empty() || name.chars().count() > TITLE_CHARS_MAX {
            let problem =
                format!("{name:?} is not a name (expected 1 to {TITLE_CHARS_MAX} characters)");
            return Err(invalid(InvalidField::new("name", problem)));
        }
        check_line("name", name).map_err(invalid)?;
        let id = parse_opt::<TenantId>("id", &body.id).map_err(invalid)?;
        let id = id.unwrap_or_else(|| new_id().into());
        let at = now();
        let home = asking.by.home.unwrap_or(asking.tenant);
        let by = By { home: Some(home), ..asking.by };
        let entry = Entry::new(id, at, "tenant.created", &asking.actor, format!("tenant/{id}"));
        let entry = entry.by(by).change(&Value::Null, &json!({ "name": name }));
        let made = self.tables.insert_tenant_as(id, name, at, Some(entry)).await;
        if !made.map_err(store)? {
            let text = format!("tenant {id} exists already");
            return Err(refuse(Fault::new(ErrorKind::AlreadyExists, "TENANT_EXISTS", text)));
        }
        let tenant = tenant(TenantRow { id, name: name.to_owned(), created_at: at });
        Ok(Response::new(pb::CreateTenantResponse { tenant: Some(tenant) }))
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        let body = request.into_inner();
        let after = parse_opt::<TenantId>("page_token", &body.page_token).map_err(invalid)?;
        let size = page_size(body.page_size, PAGE_TENANTS_DEFAULT, PAGE_TENANTS_MAX);
        let mut rows = self.tables.tenants(after, size + 1).await.map_err(store)?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next_page_token =
            rows.last().filter(|_| more).map(|r| r.id.to_string()).unwrap_or_default();
        let tenants = rows.into_iter().map(tenant).collect();
        Ok(Response::new(pb::ListTenantsResponse { tenants, next_page_token }))
    }

    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        let asking = asking(&request)?;
        let body = request.into_inner();
        let tenant: TenantId = parse("tenant_id", &body.tenant_id).map_err(invalid)?;
        if tenant != asking.tenant {
            let text = "tenant_id is not the tenant of the credential";
            return Err(refuse(Fault::new(ErrorKind::PermissionDenied, "OTHER_TENANT", text)));
        }
        if !self.tables.tenant_exists(tenant).await.map_err(store)? {
            return Err(refuse(Fault::not_found("TENANT_NOT_FOUND", "tenant", tenant)));
        }
        let email = checked_email(&body.email).map_err(invalid)?;
        let role: Role = word("role", body.role).map_err(invalid)?;
        if role > asking.role || role == Role::Runner {
            let text = format!("role {role} is not one that the caller may give ({})", asking.role);
            return Err(refuse(Fault::new(ErrorKind::PermissionDenied, "ROLE_TOO_HIGH", text)));
        }
        // the key of a user is not limited
        hands_on(&asking.scopes, &Scopes::default()).map_err(refuse)?;
        let (user, at): (UserId, Timestamp) = (UserId(new_id()), now());
        let secret = meta_runtime::clock::secret();
        let key = NewKey::new(tenant, role, &email, KeyId(new_id()), &secret);
        let entry = Entry::new(tenant, at, "user.created", &asking.actor, format!("user/{user}"));
        let after = json!({ "email": email, "role": role, "key": key.id });
        let entry = entry.by(asking.by).change(&Value::Null, &after);
        if !self.tables.insert_user(user, &key, at, entry).await.map_err(store)? {
            let text = format!("a user with the e-mail address {email:?} exists already");
            return Err(refuse(Fault::new(ErrorKind::AlreadyExists, "USER_EXISTS", text)));
        }
        let user = pb::User {
            id: user.to_string(),
            tenant_id: tenant.to_string(),
            email,
            role: role.number(),
            created_at: Some(timestamp(at)),
        };
        Ok(Response::new(pb::CreateUserResponse { user: Some(user), api_key: key.text }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let asked = asked(&request);
        let body = request.into_inner();
        let caller = match body.known {
            Some(known) => {
                let known = Identity::try_from(known).map_err(|f| invalid(f.within("known")))?;
                self.credentials.here(known).await.map_err(refuse)?
            }
            None => self.credentials.check(&body.api_key).await.map_err(refuse)?,
        };
        let act_as = parse_opt("act_as_tenant_id", &body.act_as_tenant_id).map_err(invalid)?;
        let caller = match act_as {
            Some(tenant) => {
                let (request_id, trace_id) = (asked.request_id, asked.trace_id);
                let by = By { request_id, trace_id, ..By::default() };
                self.acting_in(caller, tenant, by).await?
            }
            None => caller,
        };
        Ok(Response::new(pb::AuthenticateResponse { caller: Some((&caller).into()) }))
    }

    async fn get_caller(
        &self,
        request: Request<pb::GetCallerRequest>,
    ) -> Result<Response<pb::GetCallerResponse>, Status> {
        let caller = identity(&request)?;
        Ok(Response::new(pb::GetCallerResponse { caller: Some((&caller).into()) }))
    }
}

fn tenant(row: TenantRow) -> pb::Tenant {
    pb::Tenant {
        id: row.id.to_string(),
        name: row.name,
        created_at: Some(timestamp(row.created_at)),
    }
}

fn checked_email(text: &str) -> Result<String, InvalidField> {
    let text = text.trim();
    let fits = text.len() <= 254
        && text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && host.contains('.') && !host.contains('@')
        })
        && !text.contains(char::is_whitespace)
        && !text.contains(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        let shown: String = text.chars().take(80).collect();
        Err(InvalidField::new(
            "email",
            format!("{shown:?} is not an e-mail address (expected name@host.example)"),
        ))
    }
}
