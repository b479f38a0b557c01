//! Settings in force, from the process's own memory of the flag-resolver's snapshot, and a run's
//! overrides, which the flag-resolver keeps.

use meta_domain::fault::Fault;
use meta_domain::id::RunId;
use meta_domain::role::{Identity, Principal};
use meta_domain::settings::{Overrides, Owner, Settings};
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::status::to_status;
use meta_runtime::{Flags, Transport, call_as};
use std::time::Duration;

/// How long the flag-resolver may take to store an override, and the override to arrive here.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the first decision waits for the first snapshot; without one auto-fix is off.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone)]
pub struct RunSettings {
    client: FlagsServiceClient<Transport>,
    flags: Flags,
}

impl RunSettings {
    /// Over a channel to the flag-resolver, and the memory that follows it.
    pub fn new(transport: Transport, flags: Flags) -> Self {
        Self { client: FlagsServiceClient::new(transport), flags }
    }

    /// Waits a while for the first snapshot.
    pub async fn known(&self) {
        let mut ready = self.flags.ready();
        if tokio::time::timeout(FIRST_SNAPSHOT, ready.wait_for(|r| *r)).await.is_err() {
            tracing::warn!("no settings are known yet: auto-fix is off until there are");
        }
    }

    /// The settings in force for a run.
    pub fn of_run(&self, caller: &Principal, run: RunId) -> Settings {
        let owner = Owner { tenant: caller.tenant, run: Some(run) };
        self.flags.resolve(Some(owner)).resolved.settings
    }

    /// Stores a run's overrides with the flag-resolver and waits until they have arrived here, so
    /// that the run's first decision already sees them. The request's name goes on record there.
    ///
    /// # Errors
    /// The flag-resolver's own status, or `UNAVAILABLE` when they do not arrive.
    pub async fn set_run(
        &self,
        caller: &Identity,
        request_id: &str,
        run: RunId,
        overrides: Overrides,
    ) -> Result<(), tonic::Status> {
        let request = pb::SetOverridesRequest {
            run_id: run.to_string(),
            overrides: Some(overrides.into()),
            patch: false,
            options: None,
        };
        let mut request = call_as(caller, TIMEOUT, request);
        if let Ok(name) = request_id.parse() {
            request.metadata_mut().insert("x-request-id", name);
        }
        let answer = self.client.clone().set_overrides(request).await?;
        let arrived = self.flags.reach(answer.into_inner().version, TIMEOUT).await;
        arrived.map_err(|fault: Fault| to_status(&fault))
    }
}
