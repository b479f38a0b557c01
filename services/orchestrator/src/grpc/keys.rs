//! The API keys of a tenant.

use super::asking::{Asking, asking};
use super::{check_text, invalid, page_size, refuse, store};
use crate::core::audit::Entry;
use crate::store::{KeyRow, NewKey, Tables};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::id::KeyId;
use meta_domain::role::{Role, Scope, Scopes};
use meta_domain::time::Timestamp;
use meta_proto::convert::{Number, instant, parse, parse_opt, timestamp, word};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::key_service_server::KeyService;
use meta_runtime::{clock, new_id, now, principal};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

/// Characters of a key's name.
const NAME_CHARS_MAX: usize = 100;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;
/// Keys on a page, unless the caller says otherwise.
const PAGE_DEFAULT: u32 = 100;
/// Keys on a page at most.
const PAGE_MAX: u32 = 1_000;

/// The shell.
#[derive(Clone)]
pub struct Keys {
    /// Where they are kept.
    pub tables: Tables,
}

/// Whether somebody of this role may make and end keys of that role.
fn manages(own: Role, of: Role) -> Result<(), Fault> {
    let denied = |reason, text: String| Err(Fault::new(ErrorKind::PermissionDenied, reason, text));
    match of {
        Role::Runner => denied("ROLE_OF_SERVICES", "runners are services, not callers".to_owned()),
        Role::Owner if own < Role::Owner => {
            denied("ROLE_TOO_LOW", format!("keys of owners need role owner, this one has {own}"))
        }
        of if of > own => {
            denied("ROLE_TOO_HIGH", format!("role {of} is above the caller's own ({own})"))
        }
        _ => Ok(()),
    }
}

/// Whether a credential of these scopes may make one of those: what is limited hands on no more than
/// it may do itself.
pub(super) fn hands_on(own: &Scopes, of: &Scopes) -> Result<(), Fault> {
    if of.within(own) {
        return Ok(());
    }
    let text = format!("this credential is limited to {own} (expected no more than that)");
    Err(Fault::new(ErrorKind::PermissionDenied, "SCOPE_TOO_WIDE", text))
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn create_key(
        &self,
        request: Request<pb::CreateKeyRequest>,
    ) -> Result<Response<pb::CreateKeyResponse>, Status> {
        let asking = asking(&request)?;
        let at = now();
        let key = new_key(&asking, request.into_inner(), at).map_err(refuse)?;
        manages(asking.role, key.role).map_err(refuse)?;
        hands_on(&asking.scopes, &key.scopes).map_err(refuse)?;
        let row = key.row(at);
        let entry = Entry::new(key.tenant, at, "key.created", &asking.actor, object(&row));
        let entry = entry.by(asking.by).change(&Value::Null, &shown(&row));
        self.tables.insert_key(&key, at, entry).await.map_err(store)?;
        let api_key = key.text.clone();
        Ok(Response::new(pb::CreateKeyResponse { key: Some(encode(row)), api_key }))
    }

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<pb::ListKeysResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let before = parse_opt::<KeyId>("page_token", &body.page_token).map_err(invalid)?;
        let size = page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX);
        let mut rows = self.tables.keys(tenant, before, size + 1).await.map_err(store)?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let last = rows.last().filter(|_| more).map(|row| row.id.to_string());
        let keys = rows.into_iter().map(encode).collect();
        Ok(Response::new(pb::ListKeysResponse { keys, next_page_token: last.unwrap_or_default() }))
    }

    async fn revoke_key(
        &self,
        request: Request<pb::RevokeKeyRequest>,
    ) -> Result<Response<pb::RevokeKeyResponse>, Status> {
        let asking = asking(&request)?;
        let body = request.into_inner();
        let id: KeyId = parse("key_id", &body.key_id).map_err(invalid)?;
        if body.reason.chars().count() > REASON_CHARS_MAX {
            let problem = format!("is too long (expected at most {REASON_CHARS_MAX} characters)");
            return Err(invalid(InvalidField::new("reason", problem)));
        }
        check_text("reason", &body.reason).map_err(invalid)?;
        let unknown = || refuse(Fault::not_found("KEY_NOT_FOUND", "key", id));
        let row =
            self.tables.key_of(asking.tenant, id).await.map_err(store)?.ok_or_else(unknown)?;
        manages(asking.role, row.role).map_err(refuse)?;
        let at = now();
        let entry = Entry::new(row.tenant, at, "key.revoked", &asking.actor, object(&row));
        let entry = entry.by(asking.by).change(&shown(&row), &json!({ "revoked": true }));
        let entry = entry.because(&body.reason);
        self.tables.revoke_key(row.tenant, id, at, entry).await.map_err(store)?;
        let row =
            self.tables.key_of(asking.tenant, id).await.map_err(store)?.ok_or_else(unknown)?;
        Ok(Response::new(pb::RevokeKeyResponse { key: Some(encode(row)) }))
    }
}

fn new_key(asking: &Asking, body: pb::CreateKeyRequest, at: Timestamp) -> Result<NewKey, Fault> {
    let mut faults = Vec::new();
    let name = body.name.trim().to_owned();
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.contains(char::is_control) {
        let problem = format!("is not a name (expected 1 to {NAME_CHARS_MAX} characters)");
        faults.push(InvalidField::new("name", problem));
    }
    let role = word::<Role>("role", body.role).map_err(|fault| faults.push(fault));
    let mut scopes: Vec<Scope> = Vec::new();
    for (n, number) in body.scopes.into_iter().enumerate() {
        match word(&format!("scopes[{n}]"), number) {
            Ok(scope) => scopes.push(scope),
            Err(fault) => faults.push(fault),
        }
    }
    let expires_at = body.expires_at.as_ref().map(instant);
    if expires_at.is_some_and(|end| end <= at) {
        faults.push(InvalidField::new("expires_at", "is not in the future"));
    }
    match role {
        Ok(role) if faults.is_empty() => {
            let id = KeyId(new_id());
            // It acts for whoever made it, so that one person stays one person (four eyes).
            let key = NewKey::new(asking.tenant, role, &asking.actor, id, &clock::secret());
            Ok(NewKey { name, scopes: Scopes::new(scopes), expires_at, ..key })
        }
        _ => Err(Fault::invalid(faults)),
    }
}

fn object(row: &KeyRow) -> String {
    format!("key/{}", row.id)
}

fn shown(row: &KeyRow) -> Value {
    json!({
        "name": row.name,
        "role": row.role,
        "scopes": row.scopes,
        "expires_at": row.expires_at.map(|end| end.to_string()),
    })
}

fn encode(row: KeyRow) -> pb::Key {
    pb::Key {
        id: row.id.to_string(),
        tenant_id: row.tenant.to_string(),
        name: row.name,
        role: row.role.number(),
        scopes: row.scopes.iter().map(Number::number).collect(),
        actor: row.actor,
        created_at: Some(timestamp(row.created_at)),
        expires_at: row.expires_at.map(timestamp),
        last_used_at: row.last_used_at.map(timestamp),
        revoked_at: row.revoked_at.map(timestamp),
    }
}
