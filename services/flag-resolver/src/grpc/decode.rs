//! From the wire.

use crate::core::document::{By, Origin};
use crate::core::scope::Scope;
use crate::core::write::{Terms, Write, rollout_terms, terms as terms_of};
use crate::resolver::Request as Asked;
use meta_domain::fault::InvalidField;
use meta_domain::id::TenantId;
use meta_domain::role::Principal;
use meta_domain::settings::{Layer, Overrides, Owner, Setting};
use meta_proto::common;
use meta_proto::convert::settings::rollouts_from;
use meta_proto::convert::{Field, Required, instant, parse, parse_opt, word};
use meta_proto::flags as pb;
use meta_proto::status::to_status;
use meta_runtime::{asked, identity, now, principal};
use std::collections::BTreeSet;
use tonic::{Request, Status};

/// Changes in one answer when the caller names no number, and at most.
const CHANGES_DEFAULT: u32 = 50;
const CHANGES_MAX: u32 = 200;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;
/// Tenants that a dry run may name.
const TENANTS_MAX: usize = 100_000;

pub(super) fn invalid(fault: InvalidField) -> Status {
    to_status(&fault.into())
}

/// The request without its message, which is given beside it.
pub(super) fn split<T>(request: Request<T>) -> (Request<()>, T) {
    let (metadata, extensions, body) = request.into_parts();
    (Request::from_parts(metadata, extensions, ()), body)
}

/// The tenant comes from the credential alone, so an override can only be the caller's.
pub(super) fn owner(caller: &Principal, run_id: &str) -> Result<Owner, Status> {
    let run = parse_opt("run_id", run_id).map_err(invalid)?;
    Ok(Owner { tenant: caller.tenant, run })
}

pub(super) fn terms(wire: Option<common::Overrides>) -> Result<Terms, Status> {
    let overrides: Overrides = wire.required("overrides").map_err(invalid)?.into();
    Ok(terms_of(&overrides))
}

/// The setting that a filter names; empty means all.
pub(super) fn setting_filter(name: &str) -> Result<Option<Setting>, InvalidField> {
    parse_opt("setting", name)
}

pub(super) fn settings(names: &[String]) -> Result<BTreeSet<Setting>, InvalidField> {
    let name = |(i, name): (usize, &String)| parse(&format!("settings[{i}]"), name);
    names.iter().enumerate().map(name).collect()
}

pub(super) fn tenants(ids: &[String]) -> Result<Vec<TenantId>, InvalidField> {
    if ids.len() > TENANTS_MAX {
        let problem = format!("has {} entries (expected at most {TENANTS_MAX})", ids.len());
        return Err(InvalidField::new("tenant_ids", problem));
    }
    let tenant = |(i, id): (usize, &String)| parse(&format!("tenant_ids[{i}]"), id);
    ids.iter().enumerate().map(tenant).collect()
}

pub(super) fn platform_scope(layer: i32) -> Result<Scope, InvalidField> {
    let layer: Layer = word("layer", layer)?;
    Scope::of_platform(layer).ok_or_else(|| {
        let problem = format!("{layer} is not valid (expected platform, rollout or kill_switch)");
        InvalidField::new("layer", problem)
    })
}

pub(super) fn platform_write(
    scope: Scope,
    overrides: Option<common::Overrides>,
    rollouts: Vec<common::Rollout>,
    patch: bool,
) -> Result<Write, InvalidField> {
    let foreign = |field: &str| {
        let problem = format!("is given, but the layer is {}", scope.layer());
        Err(InvalidField::new(field, problem))
    };
    let terms = match scope {
        Scope::Rollout if overrides.is_some() => return foreign("overrides"),
        Scope::Rollout => rollout_terms(rollouts_from(rollouts)?),
        _ if !rollouts.is_empty() => return foreign("rollouts"),
        _ => terms_of(&overrides.required("overrides")?.into()),
    };
    Ok(if patch { Write::Patch(terms) } else { Write::Replace(terms) })
}

/// Who writes, now.
pub(super) fn by(caller: &Principal, reason: &str) -> By {
    By { actor: caller.actor.as_str().into(), at: now(), reason: reason.into() }
}

/// By which credential and with which request somebody writes.
pub(super) fn origin<T>(request: &Request<T>) -> Result<Origin, Status> {
    let (caller, asked) = (identity(request)?, asked(request));
    Ok(Origin {
        credential: caller.credential,
        home: caller.home,
        request_id: asked.request_id,
        trace_id: asked.trace_id,
    })
}

/// A write with its options.
pub(super) fn options(
    request: &Request<()>,
    scope: Scope,
    write: Write,
    wire: Option<pb::WriteOptions>,
) -> Result<Asked, Status> {
    let caller = principal(request)?;
    let wire = wire.unwrap_or_default();
    let reason = reason(&wire.reason).field("options").map_err(invalid)?;
    Ok(Asked {
        scope,
        write,
        by: by(&caller, reason),
        origin: origin(request)?,
        if_version: wire.if_version,
        dry_run: wire.dry_run,
        effective_at: wire.effective_at.as_ref().map(instant),
        others: Vec::new(),
    })
}

fn reason(text: &str) -> Result<&str, InvalidField> {
    let chars = text.chars().count();
    if chars > REASON_CHARS_MAX || text.chars().any(char::is_control) {
        let problem = format!(
            "is not valid: {chars} characters (expected one line of at most {REASON_CHARS_MAX})"
        );
        return Err(InvalidField::new("reason", problem));
    }
    Ok(text.trim())
}

/// Whoever changes something for everybody says why; who only looks need not.
pub(super) fn reason_is_given(asked: &Asked) -> Result<(), InvalidField> {
    if asked.by.reason.is_empty() && !asked.dry_run {
        let problem = "is missing (expected why the whole platform's settings change)";
        return Err(InvalidField::new("options.reason", problem));
    }
    Ok(())
}

/// The size of a page, and the version before which it begins.
pub(super) fn page(size: u32, token: &str) -> Result<(u32, Option<u64>), InvalidField> {
    if size > CHANGES_MAX {
        let problem = format!("{size} is out of range (expected 0 to {CHANGES_MAX})");
        return Err(InvalidField::new("page_size", problem));
    }
    let limit = if size == 0 { CHANGES_DEFAULT } else { size };
    let before = match token {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            let problem = "is not valid (expected next_page_token of an earlier answer)";
            InvalidField::new("page_token", problem)
        })?),
    };
    Ok((limit, before))
}
