//! The audit of a tenant.

use super::{check_line, invalid, page_size, refuse, store};
use crate::core::audit::{Hash, Sealed};
use crate::record::Denials;
use crate::store::Tables;
use meta_domain::fault::{Fault, InvalidField};
use meta_domain::role::Identity;
use meta_proto::convert::{Field, timestamp};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::audit_service_server::AuditService;
use meta_runtime::auth::Denial;
use meta_runtime::principal;
use tonic::{Request, Response, Status};

/// Entries on a page, unless the caller says otherwise.
const PAGE_DEFAULT: u32 = 100;
/// Entries on a page at most.
const PAGE_MAX: u32 = 500;
/// Denials of one message.
const DENIALS_MAX: usize = 1_000;
/// Characters of an action that is asked for.
const ACTION_CHARS_MAX: usize = 200;

/// The shell.
#[derive(Clone)]
pub struct Audit {
    /// Where it is kept.
    pub tables: Tables,
    /// What puts refused calls on record.
    pub denials: Denials,
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<pb::ListAuditResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let before = (!body.page_token.is_empty()).then(|| body.page_token.parse::<u64>());
        let before = before.transpose().map_err(|_| {
            let problem = format!("{:?} is none (expected one of an answer)", body.page_token);
            invalid(InvalidField::new("page_token", problem))
        })?;
        if body.action.chars().count() > ACTION_CHARS_MAX {
            let problem = format!("is too long (expected at most {ACTION_CHARS_MAX} characters)");
            return Err(invalid(InvalidField::new("action", problem)));
        }
        check_line("action", &body.action).map_err(invalid)?;
        let size = page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX);
        let found = self.tables.audit(tenant, before, &body.action, size + 1).await;
        let mut found = found.map_err(store)?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more).map(|entry| entry.seq.to_string());
        Ok(Response::new(pb::ListAuditResponse {
            entries: found.into_iter().map(encode).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    async fn verify_audit(
        &self,
        request: Request<pb::VerifyAuditRequest>,
    ) -> Result<Response<pb::VerifyAuditResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let known = match (body.known_seq, unhex(&body.known_hash)) {
            (0, _) if body.known_hash.is_empty() => None,
            (seq, Some(hash)) if seq > 0 => Some((seq, hash)),
            _ => {
                let problem = "does not name an entry (expected its number and 64 hex digits)";
                return Err(invalid(InvalidField::new("known_hash", problem)));
            }
        };
        let found = self.tables.verify_audit(tenant, known).await.map_err(store)?;
        Ok(Response::new(pb::VerifyAuditResponse {
            entries: found.entries,
            head_hash: hex(&found.head),
            problems: found.problems,
        }))
    }

    async fn record_denials(
        &self,
        request: Request<pb::RecordDenialsRequest>,
    ) -> Result<Response<pb::RecordDenialsResponse>, Status> {
        let body = request.into_inner();
        if body.denials.len() > DENIALS_MAX {
            let problem = format!("has {} (expected at most {DENIALS_MAX})", body.denials.len());
            return Err(invalid(InvalidField::new("denials", problem)));
        }
        for (n, denial) in body.denials.into_iter().enumerate() {
            let path = format!("denials[{n}].caller");
            let caller = Identity::try_from(denial.caller.unwrap_or_default()).field(&path);
            let caller = caller.map_err(|fault| refuse(Fault::from(fault)))?;
            let told = Denial {
                caller,
                action: denial.action,
                object: denial.object,
                reason: denial.reason,
                request_id: denial.request_id,
                trace_id: denial.trace_id,
            };
            self.denials.tell_of(told, denial.more);
        }
        Ok(Response::new(pb::RecordDenialsResponse {}))
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<Hash> {
    let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut hash = Hash::default();
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)).take(32 * usize::from(digits)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    digits.then_some(hash)
}

fn encode(sealed: Sealed) -> pb::AuditEntry {
    let entry = sealed.entry;
    pb::AuditEntry {
        seq: sealed.seq,
        at: Some(timestamp(entry.at)),
        action: entry.action,
        denied: entry.denied,
        actor: entry.actor,
        credential: entry.by.credential,
        home_tenant_id: entry.by.home.map(|home| home.to_string()).unwrap_or_default(),
        object: entry.object,
        before_json: entry.before,
        after_json: entry.after,
        reason: entry.reason,
        request_id: entry.by.request_id,
        trace_id: entry.by.trace_id,
        prev_hash: hex(&sealed.prev),
        hash: hex(&sealed.hash),
    }
}
