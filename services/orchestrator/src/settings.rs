//! Settings in force, asked of the flag-resolver; its last word serves for five minutes when it is
//! away, and with none known auto-fix is off.

use meta_domain::id::RunId;
use meta_domain::role::Principal;
use meta_domain::settings::{Environment, Overrides, Settings};
use meta_domain::time::Timestamp;
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_runtime::{Transport, call, now};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an answer serves when the flag-resolver is away, in milliseconds.
const STALE_MS_MAX: u64 = 5 * 60 * 1000;
/// Runs whose last answer is remembered.
const REMEMBERED_MAX: usize = 10_000;
/// How long the flag-resolver may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The flag-resolver, with a memory.
#[derive(Clone)]
pub struct SettingsCache {
    client: FlagsServiceClient<Transport>,
    known: Arc<Mutex<BTreeMap<RunId, (Settings, Timestamp)>>>,
}

impl SettingsCache {
    /// Over a channel to the flag-resolver.
    pub fn new(transport: Transport) -> Self {
        Self { client: FlagsServiceClient::new(transport), known: Arc::default() }
    }

    /// The settings in force for a run; never fails, but fails closed.
    pub async fn of_run(&mut self, caller: &Principal, run: RunId) -> Settings {
        let request = pb::ResolveRequest { run_id: run.to_string() };
        let answer = self.client.resolve(call(caller, TIMEOUT, request)).await;
        let settings = answer
            .map_err(|status| status.to_string())
            .map(|a| a.into_inner().resolved.and_then(|r| r.settings));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match settings {
            Ok(Some(settings)) => {
                let settings = Settings::from(settings);
                if known.len() >= REMEMBERED_MAX {
                    known.pop_first();
                }
                known.insert(run, (settings, now()));
                settings
            }
            other => {
                let problem = other.err().unwrap_or_else(|| "an empty answer".to_owned());
                tracing::warn!(%run, problem, "the flag-resolver does not answer");
                last_known(known.get(&run).copied(), now())
            }
        }
    }

    /// Stores a run's overrides with the flag-resolver.
    ///
    /// # Errors
    /// The flag-resolver's own status.
    pub async fn set_run(
        &mut self,
        caller: &Principal,
        run: RunId,
        overrides: Overrides,
    ) -> Result<(), tonic::Status> {
        let request = pb::SetOverridesRequest {
            run_id: run.to_string(),
            overrides: Some(overrides.into()),
            patch: false,
        };
        self.client.set_overrides(call(caller, TIMEOUT, request)).await.map(|_| ())
    }
}

fn last_known(known: Option<(Settings, Timestamp)>, now: Timestamp) -> Settings {
    match known {
        Some((settings, at)) if now.since_ms(at) <= STALE_MS_MAX => settings,
        _ => Settings { autofix_enabled: false, ..Settings::default_of(Environment::Production) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_serves_five_minutes_and_then_auto_fix_is_off() {
        let settings = Settings::default_of(Environment::Development);
        let at = Timestamp(1_000);
        assert!(last_known(Some((settings, at)), at.plus_ms(300_000)).autofix_enabled);
        assert!(!last_known(Some((settings, at)), at.plus_ms(300_001)).autofix_enabled);
        assert!(!last_known(None, at).autofix_enabled);
    }
}
