//! The limits of tenants, asked after the credential and before the work.

use super::{refuse, store};
use crate::config::Limits;
use crate::core::quota::{Action, Standing};
use crate::shell::Engine;
use crate::store::Taken;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::{Principal, Role};
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

const POLICY: &str = "ratelimit-policy";
const NOW: &str = "ratelimit";

/// How the quota stands after a request took one of it.
#[derive(Debug, Clone, Copy)]
pub struct Counted(Option<(Action, Standing)>);

/// Takes one of the caller's quota. Platform administrators operate the installation and are not
/// counted.
///
/// # Errors
/// `ResourceExhausted` with how long to wait; then nothing was taken.
pub async fn count(
    engine: &Engine,
    limits: Limits,
    caller: &Principal,
    action: Action,
) -> Result<Counted, Status> {
    let Some(quota) = limits.of(action).filter(|_| caller.role != Role::PlatformAdmin) else {
        return Ok(Counted(None));
    };
    let now = engine.clock.now();
    let taken = engine.tables.take(caller.tenant, (action, quota), now).await.map_err(store)?;
    match taken {
        Taken::Yes(full_at) => Ok(Counted(Some((action, quota.standing(full_at, now))))),
        Taken::No(full_at) => {
            let standing = quota.standing(full_at, now);
            let wait = u64::try_from(standing.next_in_ms.max(1)).unwrap_or(1);
            let text = format!(
                "the tenant's {action} are used up for now ({}; the next one in {} s)",
                standing.policy(action),
                wait.div_ceil(1000)
            );
            let fault = Fault::new(ErrorKind::ResourceExhausted, action.reason(), text);
            let mut status = refuse(fault.retry_after(Duration::from_millis(wait)));
            write(status.metadata_mut(), action, &standing);
            Err(status)
        }
    }
}

impl Counted {
    /// An answer that says how the quota stands.
    pub fn answer<T>(self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Some((action, standing)) = &self.0 {
            write(response.metadata_mut(), *action, standing);
        }
        response
    }
}

fn write(metadata: &mut MetadataMap, action: Action, standing: &Standing) {
    for (name, text) in [(POLICY, standing.policy(action)), (NOW, standing.now(action))] {
        if let Ok(value) = MetadataValue::try_from(text) {
            metadata.insert(name, value);
        }
    }
}
