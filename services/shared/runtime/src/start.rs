//! From the command line to a served service, and to the exit code.

use crate::auth::{Auth, Mode};
use crate::config::{self, Common};
use crate::serve::{Bound, Drain, run};
use crate::service::{Host, Service, StartError};
use crate::telemetry::Telemetry;
use crate::{logs, probe, transport};
use clap::Parser;
use meta_domain::fault::InvalidField;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Flags of every service.
#[derive(Debug, Parser)]
struct Flags {
    /// TOML configuration file.
    #[arg(long, env = "METABUILDER_CONFIG")]
    config: Option<PathBuf>,
    /// Overrides one key, such as `--set listen=127.0.0.1:50051`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Prints the resolved configuration, secrets masked, and exits.
    #[arg(long)]
    print_config: bool,
    /// Asks the service that runs with this configuration whether it serves; exit code 0 or 1.
    #[arg(long)]
    probe: bool,
    /// Makes the tables or brings them up to this version, and exits.
    #[arg(long, conflicts_with = "probe")]
    migrate: bool,
}

/// Runs a service as a process: 0 after a drain, 1 when something fails, 64 when the
/// configuration is wrong.
pub fn main<S: Service>() -> ExitCode {
    let flags = Flags::parse();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(logs::before_park)
        .build()
        .map_err(|e| StartError::failed("runtime", e))
        .and_then(|runtime| {
            let result = runtime.block_on(serve::<S>(flags));
            runtime.shutdown_timeout(Duration::from_millis(200));
            logs::end();
            result
        });
    report(S::NAME, result)
}

/// A runtime for everything in one process, whose store has a thread of its own that is busy as
/// often as all the rest together: a worker for each processor but one, and one at least. Two workers
/// on two processors wake each other for each other's tasks, and take the processor that the store's
/// thread could have.
///
/// # Errors
/// When the system starts no thread.
pub fn embedded_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism()?.get();
    let workers = processors.saturating_sub(1).max(1);
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

/// Prints why a process ends and picks its exit code.
pub fn report(name: &str, result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            match error {
                StartError::Config(_) => ExitCode::from(config::EXIT_CONFIG),
                StartError::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

async fn serve<S: Service>(flags: Flags) -> Result<(), StartError> {
    let document = config::layers(flags.config.as_deref(), &flags.sets)
        .map_err(|fault| StartError::Config(vec![fault]))?;
    let (common, own) = split::<S>(document)?;
    let listen = common.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, S::PORT)));
    if flags.print_config {
        return print::<S>(&common, &own, listen);
    }
    if flags.probe {
        return probe::serves(listen).await.map_err(StartError::Failed);
    }
    let faults = common.check(listen);
    if !faults.is_empty() {
        return Err(StartError::Config(faults));
    }
    let telemetry = Telemetry::start(S::NAME, &vars(), &common.log).map_err(StartError::Config)?;
    let served = if flags.migrate {
        S::migrate(own).await.inspect(|()| {
            tracing::info!(service = S::NAME, "the tables are those of this version");
        })
    } else {
        served::<S>(&common, own, listen).await
    };
    telemetry.end().await;
    served
}

/// Wires and serves until the process is told to stop.
async fn served<S: Service>(
    common: &Common,
    own: S::Config,
    listen: SocketAddr,
) -> Result<(), StartError> {
    let token = common.auth.service_token.as_str();
    let mut host = Host::new(vars());
    for (name, address) in &common.peers {
        let peer = transport::remote(address, token).map_err(|problem| {
            StartError::Config(vec![InvalidField::new(format!("peers.{name}"), problem)])
        })?;
        host = host.with_peer(name, peer);
    }
    let mut wiring = S::wire(own, &host).await?;
    let auth =
        Auth::new(common.auth.mode, token, wiring.keys.clone()).telling(wiring.denials.clone());
    let bound = Bound::new(listen, &[&wiring], &auth).await?;
    let address = bound.address()?;
    if common.auth.mode == Mode::None {
        tracing::warn!(%address, "auth.mode is none: every caller is believed");
    }
    tracing::info!(service = S::NAME, %address, "serving");
    let drain = Drain {
        lame_duck: Duration::from_millis(common.lame_duck_ms),
        grace: Duration::from_millis(common.drain_ms),
    };
    let mut bounds = vec![bound];
    bounds.extend(Bound::open(&mut [&mut wiring]).await?);
    if let Some(listen) = common.admin {
        let admin = Bound::admin(listen, &bounds).await?;
        tracing::info!(address = %admin.address()?, "serving metrics and health");
        bounds.push(admin);
    }
    let result = run(bounds, &mut wiring, stop_signal(), drain).await;
    tracing::info!(service = S::NAME, "stopped");
    result
}

/// Splits the document into what every service has and what is this service's own.
fn split<S: Service>(document: serde_json::Value) -> Result<(Common, S::Config), StartError> {
    const COMMON: [&str; 7] =
        ["listen", "admin", "log", "auth", "peers", "lame_duck_ms", "drain_ms"];
    let mut common = serde_json::Map::new();
    let mut own = serde_json::Map::new();
    if let serde_json::Value::Object(map) = document {
        for (key, value) in map {
            let side = if COMMON.contains(&key.as_str()) { &mut common } else { &mut own };
            side.insert(key, value);
        }
    }
    let common = config::parse::<Common>(common.into());
    let own = config::parse::<S::Config>(own.into());
    match (common, own) {
        (Ok(common), Ok(own)) => Ok((common, own)),
        (common, own) => {
            let mut faults = common.err().unwrap_or_default();
            faults.extend(own.err().unwrap_or_default());
            Err(StartError::Config(faults))
        }
    }
}

fn print<S: Service>(
    common: &Common,
    own: &S::Config,
    listen: SocketAddr,
) -> Result<(), StartError> {
    let failed = |e: &dyn std::fmt::Display| StartError::failed("print-config", e);
    let mut document = serde_json::to_value(common).map_err(|e| failed(&e))?;
    let own = serde_json::to_value(own).map_err(|e| failed(&e))?;
    if let (Some(all), serde_json::Value::Object(own)) = (document.as_object_mut(), own) {
        all.extend(own);
        all.insert("listen".to_owned(), listen.to_string().into());
        all.retain(|_, value| !value.is_null());
    }
    let mut masked = config::masked(document);
    drop_nulls(&mut masked);
    println!("{}", toml::to_string_pretty(&masked).map_err(|e| failed(&e))?);
    Ok(())
}

fn drop_nulls(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(map) = value {
        map.retain(|_, v| !v.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

/// A token that the first SIGTERM or SIGINT cancels; a second one ends the process at once.
pub fn stop_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let child = token.clone();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut term), Ok(mut int)) => {
            tokio::spawn(async move {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                child.cancel();
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                logs::end();
                std::process::exit(130);
            });
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals; the process stops only by force");
        }
    }
    token
}

/// The process's environment variables.
pub fn vars() -> BTreeMap<String, String> {
    std::env::vars().collect()
}
