//! `metabuilder up`: every service in this process, on two ports, until it is told to stop.

use super::build::project;
use crate::args::{FlagdTenant, UpArgs};
use crate::caller::LOCAL_TENANT;
use crate::data::{self, Lock};
use crate::display::print;
use crate::embedded::{Advisers, Scope};
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use flag_resolver::{ANY_TENANT, Flagd};
use meta_runtime::auth::{Auth, Mode};
use meta_runtime::serve::{Bound, Drain, run as serve};
use meta_runtime::telemetry::Telemetry;
use meta_runtime::{Host, Service, StartError, Wiring, logs};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How it stops: not ready for a moment, then requests in flight may end.
const DRAIN: Drain =
    Drain { lame_duck: Duration::from_millis(200), grace: Duration::from_secs(10) };

/// Serves until SIGTERM or ctrl-C.
pub async fn run(args: UpArgs, session: &Session) -> Result<Exit> {
    let dir = data::absolute(&args.data)?;
    data::create(&dir)?;
    let _lock = Lock::exclusive(&dir)?;
    let pretty = std::io::stderr().is_terminal();
    let format = if pretty { logs::Format::Pretty } else { logs::Format::Json };
    let log = logs::Config { format, level: args.log.clone() };
    let telemetry = Telemetry::start("up", &session.vars, &log)
        .map_err(|faults| Error::from(StartError::Config(faults)))?;
    let done = served(args, dir, session).await;
    telemetry.end().await;
    done
}

/// Wires and serves until the process is told to stop.
async fn served(args: UpArgs, dir: PathBuf, session: &Session) -> Result<Exit> {
    let folders = args.allow_path.iter().map(|p| project(p)).collect::<Result<Vec<_>>>()?;
    let dev_key = data::dev_token(&dir)?;

    let edge = edge(args.config.as_deref(), args.public_url)?;
    let flagd = args.flagd.map(|listen| flagd(listen, args.flagd_tenant));
    let advisers = Advisers::wire(&dir, &session.vars, flagd).await?;
    let jwt = edge.jwt.clone();
    let scope = Scope::Everything { dev_key: dev_key.clone(), folders, jwt };
    let stack = advisers.stack(scope).await?;
    let host = Host::new(session.vars.clone())
        .with_peer("orchestrator", stack.orchestrator())
        .with_peer("classifier", advisers.classifier())
        .with_peer("flag-resolver", stack.flags());
    let gateway = gateway::Gateway::wire(edge, &host).await?;

    let token = advisers.token().to_owned();
    let mut wirings: Vec<Wiring> = Vec::new();
    wirings.extend(stack.into_wirings());
    wirings.extend(advisers.into_wirings());
    let served: Vec<&Wiring> = wirings.iter().collect();
    let keys = served.iter().find_map(|w| w.keys());
    let denials = served.iter().find_map(|w| w.denials());
    let auth = Auth::new(Mode::Token, &token, keys).telling(denials);
    let grpc = Bound::new(args.grpc, &served, &auth).await?;
    let http = Bound::new(args.listen, &[&gateway], &auth).await?;
    let (url, grpc_at) = (http.address()?, grpc.address()?);

    let mut bound = vec![http, grpc];
    let open = Bound::open(&mut wirings.iter_mut().collect::<Vec<_>>()).await?;
    let flagd_at = open.first().map(Bound::address).transpose()?;
    bound.extend(open);
    let mut admin_at = None;
    if let Some(listen) = args.admin {
        let admin = Bound::admin(listen, &bound).await?;
        admin_at = Some(admin.address()?);
        bound.push(admin);
    }

    let mut background = gateway;
    for wiring in &mut wirings {
        background = background.merge_background(wiring);
    }
    print(&format!("Meta-Builder serves on   http://{url}"))?;
    print(&format!("gRPC                     {grpc_at}"))?;
    if let Some(address) = flagd_at {
        print(&format!("OpenFeature (flagd)      {address}"))?;
    }
    if let Some(address) = admin_at {
        print(&format!("metrics and health       http://{address}/metrics"))?;
    }
    print(&format!("data                     {}", dir.display()))?;
    print(&format!("development token        {dev_key}"))?;
    print("")?;
    print(&format!("  export METABUILDER_URL=http://{url} METABUILDER_TOKEN={dev_key}"))?;
    tracing::info!(http = %url, grpc = %grpc_at, "serving");
    let ended = serve(bound, &mut background, session.stop.clone(), DRAIN).await;
    tracing::info!("stopped");
    ended?;
    Ok(Exit::Done)
}

/// The gateway's settings: those of the file, and where browsers find it.
fn edge(file: Option<&Path>, public_url: Option<String>) -> Result<gateway::Config> {
    let mut config: gateway::Config = match file {
        None => gateway::Config::default(),
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::usage(format!("--config {shown} cannot be read"), e))?;
            toml::from_str(&text).map_err(|e| Error::usage(format!("--config {shown}"), e))?
        }
    };
    config.public_url = public_url.or(config.public_url);
    Ok(config)
}

/// What flagd's clients are served: the local tenant's settings unless another one's are named.
fn flagd(listen: SocketAddr, tenant: Option<FlagdTenant>) -> Flagd {
    let tenant = match tenant {
        Some(FlagdTenant::Any) => ANY_TENANT.to_owned(),
        Some(FlagdTenant::Only(tenant)) => tenant.to_string(),
        None => LOCAL_TENANT.to_string(),
    };
    Flagd { listen, tenant }
}
