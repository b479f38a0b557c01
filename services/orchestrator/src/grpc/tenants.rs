//! Tenants, users, and who a key belongs to.

use super::{invalid, page_size, refuse, store};
use crate::store::{Tables, TenantRow};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::id::{TenantId, UserId};
use meta_domain::limits::TITLE_CHARS_MAX;
use meta_domain::role::{Principal, Role};
use meta_domain::time::Timestamp;
use meta_proto::convert::{Number, parse, parse_opt, timestamp, word};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::tenant_service_server::TenantService;
use meta_runtime::{new_id, now, principal};
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
}

/// Who an API key belongs to.
///
/// # Errors
/// `Unauthenticated` when nobody has it.
pub async fn authenticate(tables: &Tables, key: &str) -> Result<Principal, Fault> {
    tables.key_owner(key).await?.ok_or_else(|| {
        Fault::new(ErrorKind::Unauthenticated, "UNKNOWN_KEY", "the API key is not known")
    })
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let body = request.into_inner();
        let name = body.name.trim();
        if name.is_empty() || name.chars().count() > TITLE_CHARS_MAX {
            let problem =
                format!("{name:?} is not a name (expected 1 to {TITLE_CHARS_MAX} characters)");
            return Err(invalid(InvalidField::new("name", problem)));
        }
        let id = parse_opt::<TenantId>("id", &body.id).map_err(invalid)?;
        let id = id.unwrap_or_else(|| new_id().into());
        let at = now();
        if !self.tables.insert_tenant(id, name, at).await.map_err(store)? {
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
        let caller = principal(&request)?;
        let body = request.into_inner();
        let tenant: TenantId = parse("tenant_id", &body.tenant_id).map_err(invalid)?;
        let elsewhere = tenant != caller.tenant && caller.role != Role::PlatformAdmin;
        if elsewhere || !self.tables.tenant_exists(tenant).await.map_err(store)? {
            return Err(refuse(Fault::not_found("TENANT_NOT_FOUND", "tenant", tenant)));
        }
        let email = checked_email(&body.email).map_err(invalid)?;
        let role: Role = word("role", body.role).map_err(invalid)?;
        if role > caller.role {
            let text = format!("role {role} is above the caller's own ({})", caller.role);
            return Err(refuse(Fault::new(ErrorKind::PermissionDenied, "ROLE_TOO_HIGH", text)));
        }
        let user = UserId(new_id());
        let key =
            format!("mb_{}_{}", &user.0.simple().to_string()[20..], meta_runtime::clock::secret());
        let at: Timestamp = now();
        let done =
            self.tables.insert_user((tenant, user), &email, role, &key, at).await.map_err(store)?;
        if !done {
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
        Ok(Response::new(pb::CreateUserResponse { user: Some(user), api_key: key }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let key = request.into_inner().api_key;
        let caller = authenticate(&self.tables, &key).await.map_err(refuse)?;
        Ok(Response::new(pb::AuthenticateResponse { caller: Some(encode(&caller)) }))
    }

    async fn get_caller(
        &self,
        request: Request<pb::GetCallerRequest>,
    ) -> Result<Response<pb::GetCallerResponse>, Status> {
        let caller = principal(&request)?;
        Ok(Response::new(pb::GetCallerResponse { caller: Some(encode(&caller)) }))
    }
}

fn tenant(row: TenantRow) -> pb::Tenant {
    pb::Tenant {
        id: row.id.to_string(),
        name: row.name,
        created_at: Some(timestamp(row.created_at)),
    }
}

pub(super) fn encode(caller: &Principal) -> pb::Caller {
    pb::Caller {
        tenant_id: caller.tenant.to_string(),
        role: caller.role.number(),
        actor: caller.actor.clone(),
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
