//! The whole product in one process: every service wired over in-process channels.

use crate::caller;
use crate::client::Client;
use crate::data::Vars;
use crate::error::{Error, Result};
use flag_resolver::Flagd;
use meta_runtime::serve::{Drain, run};
use meta_runtime::{Host, Service, StartError, Transport, Wiring, clock};
use orchestrator::config::Limits;
use runner::config::{PathSources, SandboxMode};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the work may take to stop.
/// Hours for which the workspace of a run that ended stays, so that `--resume` can go on with it.
const WORKSPACE_HOURS: u32 = 7 * 24;
const STOP: Drain = Drain { lame_duck: Duration::ZERO, grace: Duration::from_secs(10) };

/// Which work a stack takes on.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Every run of the data folder, which nobody else works on.
    Everything {
        /// API key of the local tenant's owner, who is platform admin as well.
        dev_key: String,
        /// Folders of this machine that may be built, with what lies below them.
        folders: Vec<PathBuf>,
        /// The issuer whose tokens open the RPCs too.
        jwt: Option<meta_tokens::Issuer>,
    },
    /// This run, whose earlier process is gone, and nothing else.
    Run(String),
    /// No run: only what plans need to be made.
    Planning,
    /// Nothing: it only reads and decides.
    Reading,
}

/// The services that decide and keep nothing of a run.
pub struct Advisers {
    token: String,
    host: Host,
    data: PathBuf,
    classifier: Wiring,
    flags: Wiring,
    autofixer: Wiring,
}

/// Every service of one process.
pub struct Stack {
    /// The channel to the orchestrator.
    orchestrator: Transport,
    flags: Transport,
    wiring: Wiring,
    runner: Option<Wiring>,
}

fn channel(wiring: &Wiring, token: &str) -> Transport {
    wiring.in_process(token)
}

impl Advisers {
    /// Wires them on a data folder; flagd's clients are served where that is asked for.
    pub async fn wire(data: &Path, vars: &Vars, flagd: Option<Flagd>) -> Result<Self> {
        let host = Host::new(vars.clone());
        let config = classifier::Config { rules_dir: own_rules(vars) };
        let classifier = classifier::Classifier::wire(config, &host).await?;
        let config =
            flag_resolver::Config { data_dir: data.to_owned(), flagd, ..Default::default() };
        let flags = flag_resolver::FlagResolver::wire(config, &host).await?;
        let autofixer = autofixer::Autofixer::wire(
            autofixer::Config { data_dir: data.to_owned(), ..Default::default() },
            &host,
        )
        .await?;
        let data = data.to_owned();
        Ok(Self { token: clock::secret(), host, data, classifier, flags, autofixer })
    }

    /// Wires the orchestrator and a runner of that scope beside them.
    pub async fn stack(&self, scope: Scope) -> Result<Stack> {
        let host = self
            .host
            .clone()
            .with_peer("classifier", channel(&self.classifier, &self.token))
            .with_peer("flag-resolver", channel(&self.flags, &self.token))
            .with_peer("autofixer", channel(&self.autofixer, &self.token));
        let only = match &scope {
            Scope::Everything { .. } => None,
            Scope::Run(id) => Some(id.clone()),
            // an id of nothing: the queue then gives out only what belongs to no run
            Scope::Planning | Scope::Reading => Some(meta_runtime::new_id().to_string()),
        };
        let works = !matches!(scope, Scope::Reading);
        let steps = matches!(scope, Scope::Everything { .. } | Scope::Run(_));
        if steps && sandbox(self.host.vars())? == SandboxMode::Off {
            eprintln!("warning: METABUILDER_SANDBOX is off: steps run with all your rights");
        }
        let path_sources = path_sources(&scope);
        let serves = matches!(scope, Scope::Everything { .. });
        let own_leases = matches!(scope, Scope::Everything { .. } | Scope::Run(_));
        let (dev_key, jwt) = match scope {
            Scope::Everything { dev_key, jwt, .. } => (Some(dev_key), jwt),
            Scope::Run(_) | Scope::Planning | Scope::Reading => (None, None),
        };
        let config = orchestrator::Config {
            data_dir: self.data.clone(),
            run_id: only.clone(),
            own_leases,
            dev_key,
            jwt,
            limits: limits(serves, self.host.vars())?,
            workspace_hours: WORKSPACE_HOURS,
            ..orchestrator::Config::default()
        };
        let mut wiring = Box::pin(orchestrator::Orchestrator::wire(config, &host)).await?;
        let orchestrator = channel(&wiring, &self.token);
        let mut runner = None;
        if works {
            let mut wired = self.runner(only, path_sources, orchestrator.clone()).await?;
            wiring = wiring.merge_background(&mut wired);
            runner = Some(wired);
        }
        Ok(Stack { orchestrator, flags: channel(&self.flags, &self.token), wiring, runner })
    }

    async fn runner(
        &self,
        only: Option<String>,
        path_sources: PathSources,
        orchestrator: Transport,
    ) -> Result<Wiring> {
        let config = runner::config::Config {
            data_dir: self.data.join("runner"),
            sandbox: sandbox(self.host.vars())?,
            profile: runner::config::Profile::Local,
            path_sources,
            hidden: vec![self.data.clone()],
            run_id: only,
            ..Default::default()
        };
        let host = Host::new(self.host.vars().clone()).with_peer("orchestrator", orchestrator);
        runner::Runner::wire(config, &host).await.map_err(no_runner)
    }

    /// Starts what they do in the background, beside any number of stacks: the flag-resolver hears
    /// its store. Were it to break down, settings would be stale and then fail closed.
    pub fn start(&mut self) -> Work {
        let mut own = Wiring::default();
        for wiring in [&mut self.classifier, &mut self.flags, &mut self.autofixer] {
            own = own.merge_background(wiring);
        }
        Work::start(own)
    }

    /// The services' own wirings, to be served, and their background work.
    pub(crate) fn into_wirings(self) -> [Wiring; 3] {
        [self.classifier, self.flags, self.autofixer]
    }

    /// A channel to the classifier.
    pub(crate) fn classifier(&self) -> Transport {
        channel(&self.classifier, &self.token)
    }

    /// The token that the services of this process share.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

/// The folder of the installation's own rules.
fn own_rules(vars: &Vars) -> Option<PathBuf> {
    vars.get("METABUILDER_RULES").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Who sits at this machine builds as often as they like; what serves others has the usual limits,
/// or those of `METABUILDER_LIMITS`.
fn limits(serves: bool, vars: &Vars) -> Result<Limits> {
    if !serves {
        return Ok(Limits::NONE);
    }
    let text = vars.get("METABUILDER_LIMITS").map(String::as_str).unwrap_or_default();
    text.parse().map_err(|problem| {
        let expected =
            "expected off, or times an hour such as specs=20,plans=20,runs=10,approvals=50";
        Error::usage(format!("METABUILDER_LIMITS: {problem}"), expected)
    })
}

/// Which folders of this machine are built. Who sits at it may build all that they can read; who
/// comes over the network only what was allowed when the service was started.
fn path_sources(scope: &Scope) -> PathSources {
    match scope {
        Scope::Everything { folders, .. } if folders.is_empty() => PathSources::Any(false),
        Scope::Everything { folders, .. } => PathSources::Below(folders.clone()),
        Scope::Run(_) | Scope::Planning => PathSources::Any(true),
        Scope::Reading => PathSources::Any(false),
    }
}

/// The least that contains steps. Only a plain word turns the sandbox off, and then it is said.
pub(crate) fn sandbox(vars: &Vars) -> Result<SandboxMode> {
    match vars.get("METABUILDER_SANDBOX").map(String::as_str) {
        None | Some("" | "required") => Ok(SandboxMode::Required),
        Some("strict") => Ok(SandboxMode::Strict),
        Some("off") => Ok(SandboxMode::Off),
        Some(other) => Err(Error::usage(
            format!("METABUILDER_SANDBOX is {other:?}"),
            "expected required, strict, or off where every project is trusted",
        )),
    }
}

fn no_runner(error: StartError) -> Error {
    Error::from(error).next("see what is missing on this machine: metabuilder doctor")
}

impl Stack {
    /// A client of this stack for the person at this machine.
    pub fn client(&self, vars: &Vars) -> Client {
        Client::new(self.orchestrator.clone(), self.flags.clone(), caller::local(vars))
    }

    /// A channel to the orchestrator.
    pub(crate) fn orchestrator(&self) -> Transport {
        self.orchestrator.clone()
    }

    /// A channel to the flag-resolver.
    pub(crate) fn flags(&self) -> Transport {
        self.flags.clone()
    }

    /// The orchestrator's wiring with all background work, and the runner's.
    pub(crate) fn into_wirings(self) -> Vec<Wiring> {
        std::iter::once(self.wiring).chain(self.runner).collect()
    }

    /// Starts the work in the background.
    pub fn start(self) -> Work {
        Work::start(self.wiring)
    }
}

/// Work that goes on in the background until it is stopped or dropped.
#[derive(Debug)]
pub struct Work {
    stop: DropGuard,
    task: JoinHandle<std::result::Result<(), StartError>>,
}

impl Work {
    fn start(mut wiring: Wiring) -> Self {
        let stop = CancellationToken::new();
        let child = stop.clone();
        let task = tokio::spawn(async move { run(Vec::new(), &mut wiring, child, STOP).await });
        Self { stop: stop.drop_guard(), task }
    }

    /// Does something beside the work; ends early, with an error, when the work breaks down.
    pub async fn beside<T>(&mut self, done: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = done => result,
            ended = &mut self.task => Err(match ended {
                Ok(Err(error)) => Error::from(error),
                Ok(Ok(())) => Error::failed("the work stopped", "nobody asked it to"),
                Err(error) => Error::failed("the work broke down", error),
            }),
        }
    }

    /// Stops the work and waits for it.
    pub async fn stop(self) -> Result<()> {
        drop(self.stop);
        if self.task.is_finished() {
            return Ok(());
        }
        match self.task.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Error::failed("the work broke down", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_builds_no_folder_that_was_not_allowed() {
        let up = |folders: &[&str]| {
            let folders = folders.iter().map(PathBuf::from).collect();
            path_sources(&Scope::Everything { dev_key: "k".to_owned(), folders, jwt: None })
        };
        let (root, allowed) = (Path::new("/"), tempfile::tempdir().unwrap());
        let inside = allowed.path().canonicalize().unwrap().join("project");
        assert!(up(&[]).is_none() && !up(&[]).allows(root) && !up(&[]).allows(&inside));
        let some = up(&[allowed.path().to_str().unwrap()]);
        assert!(some.allows(&inside) && !some.allows(root));
        assert!(path_sources(&Scope::Planning).allows(&inside));
        assert!(path_sources(&Scope::Run("r".to_owned())).allows(&inside));
        assert!(path_sources(&Scope::Reading).is_none());
    }

    #[test]
    fn only_the_word_off_turns_the_sandbox_off() {
        let mode = |word: &str| {
            sandbox(&Vars::from([("METABUILDER_SANDBOX".to_owned(), word.to_owned())]))
        };
        assert_eq!(sandbox(&Vars::new()).unwrap(), SandboxMode::Required);
        assert_eq!(mode("").unwrap(), SandboxMode::Required);
        assert_eq!(mode("strict").unwrap(), SandboxMode::Strict);
        assert_eq!(mode("off").unwrap(), SandboxMode::Off);
        assert!(mode("none").is_err() && mode("Off").is_err());
    }
}
