//! The service, started as its process starts it.

use crate::{Caller, PATIENCE};
use flag_resolver::{Config, FlagResolver, Flagd};
use meta_runtime::auth::{Auth, Mode};
use meta_runtime::serve::{Bound, Drain, run};
use meta_runtime::transport::remote;
use meta_runtime::{Host, Service, StartError, Transport, Wiring};
use meta_storage::Location;
use meta_storage::testing::Fresh;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const TOKEN: &str = "token";

/// Wires the service, with these environment variables.
pub async fn wire(config: Config, vars: &[(&str, &str)]) -> Result<Wiring, StartError> {
    let vars: BTreeMap<String, String> =
        vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    FlagResolver::wire(config, &Host::new(vars)).await
}

/// The configuration for a database and a folder of its own.
pub fn config(location: &Location, data: &Path) -> Config {
    let database = location.to_setting().as_str().into();
    Config { data_dir: data.to_owned(), database, ..Config::default() }
}

/// A service that serves until it is dropped or stopped.
pub struct Served {
    address: String,
    flagd: Option<String>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
    /// A folder that goes with it.
    data: Option<tempfile::TempDir>,
}

impl Served {
    /// On an empty database.
    pub async fn start(fresh: &Fresh) -> Self {
        Self::with(fresh, &[]).await
    }

    /// The same with environment variables.
    pub async fn with(fresh: &Fresh, vars: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut served = Self::of(config(fresh.location(), data.path()), vars).await;
        served.data = Some(data);
        served
    }

    /// The same with a listener for flagd's clients, for a tenant or `any`.
    pub async fn with_flagd(fresh: &Fresh, tenant: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let flagd = Some(Flagd { listen, tenant: tenant.to_owned() });
        let config = Config { flagd, ..config(fresh.location(), data.path()) };
        let mut served = Self::of(config, &[]).await;
        served.data = Some(data);
        served
    }

    /// With a configuration.
    pub async fn of(config: Config, vars: &[(&str, &str)]) -> Self {
        let mut wiring = wire(config, vars).await.unwrap();
        let auth = Auth::new(Mode::Token, TOKEN, None);
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut bound = vec![Bound::new(listen, &[&wiring], &auth).await.unwrap()];
        bound.extend(Bound::open(&mut [&mut wiring]).await.unwrap());
        let at = |b: &Bound| format!("http://{}", b.address().unwrap());
        let (address, flagd) = (at(&bound[0]), bound.get(1).map(at));
        let stop = CancellationToken::new();
        let token = stop.clone();
        let drain = Drain { lame_duck: Duration::ZERO, grace: PATIENCE };
        let task = tokio::spawn(async move { run(bound, &mut wiring, token, drain).await });
        Self { address, flagd, stop, task, data: None }
    }

    /// An admin of a fresh tenant.
    pub fn caller(&self) -> Caller {
        Caller::of(self.channel())
    }

    /// A channel with the service token.
    pub fn channel(&self) -> Transport {
        remote(&self.address, TOKEN).unwrap()
    }

    /// A channel without any credential.
    pub fn stranger(&self) -> Transport {
        remote(&self.address, "").unwrap()
    }

    /// A channel to the listener for flagd's clients.
    pub fn flagd(&self) -> Transport {
        remote(self.flagd.as_deref().unwrap(), "").unwrap()
    }

    /// What it says of its health.
    pub async fn health(&self) -> ServingStatus {
        let mut client = HealthClient::new(self.stranger());
        let answer = client.check(HealthCheckRequest::default()).await.unwrap();
        answer.into_inner().status()
    }

    /// Asks it to stop and waits for the end of its drain.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, &mut self.task).await;
        ended.expect("it stops in time").unwrap().unwrap();
    }

    /// Asks it to stop, and does not wait.
    pub fn begin_to_stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.data.take();
    }
}
