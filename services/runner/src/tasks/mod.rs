//! What a runner can do: one file a kind of task.

mod archive;
mod collect;
mod commit;
mod execute;
mod heal;
mod inspect;
mod prepare;
mod propose;
mod reports;
mod sarif;
mod step;
mod sweep;
mod travel;
mod verify;

use crate::config::Config;
use crate::error::{Error, doing};
use crate::folders::{CacheFolder, RunFolder};
use crate::git::{Answer, Order, Room, Rooms, View, split_list};
use crate::nofollow::{self, Owner};
use crate::sandbox::Sandbox;
use crate::source::LocalFolders;
use crate::work::LogWriter;
pub use sweep::Kept;

use meta_domain::fault::InvalidField;
use meta_objects::Objects;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::{Task, task::Work};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// What every task works with.
#[derive(Debug)]
pub struct Workshop {
    pub(crate) data_dir: PathBuf,
    pub(crate) folders: LocalFolders,
    pub(crate) sandbox: Sandbox,
    /// One writer to a run's history at a time.
    histories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Who works in a run's folder, so that nobody removes it meanwhile.
    uses: Mutex<HashMap<String, Arc<tokio::sync::RwLock<()>>>>,
    /// Where git works on the runs' files.
    pub(crate) rooms: Rooms,
    /// Where commits travel to other runners, if they do.
    pub(crate) objects: Option<Objects>,
}

/// A task in hand.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) task_id: String,
    pub(crate) tenant: String,
    pub(crate) run_id: String,
    /// Epoch of the lease it is carried out under.
    pub(crate) lease_epoch: u64,
    /// Which execution of the step it is, from 1; 0 where a task executes no step.
    pub(crate) attempt: u32,
    pub(crate) owner: Owner,
    pub(crate) stop: CancellationToken,
    pub(crate) log: LogWriter,
}

/// Names the field of the task that is wrong.
impl From<InvalidField> for Error {
    fn from(field: InvalidField) -> Self {
        Self::refused(field.to_string())
    }
}

/// Where a run's work takes place.
struct Place {
    run: RunFolder,
    caches: CacheFolder,
    mount: PathBuf,
}

impl Workshop {
    /// A workshop whose sandbox works.
    ///
    /// # Errors
    /// When the data folder or a hidden one is not there.
    pub fn new(config: &Config, sandbox: Sandbox, objects: Option<Objects>) -> Result<Self, Error> {
        let data_dir = config.data_dir.canonicalize().map_err(doing("cannot resolve data_dir"))?;
        let folders = LocalFolders::new(config)?;
        Ok(Self {
            data_dir,
            folders,
            sandbox,
            histories: Mutex::default(),
            uses: Mutex::default(),
            rooms: Rooms::default(),
            objects,
        })
    }

    /// Carries out a task.
    ///
    /// # Errors
    /// When it could not be carried out; a step that fails is no error.
    pub async fn perform(
        &self,
        task: Task,
        stop: CancellationToken,
        log: LogWriter,
    ) -> Result<Outcome, Error> {
        let attempt = match &task.work {
            Some(Work::Step(w)) => w.attempt,
            Some(Work::Verify(w)) => w.attempt,
            _ => 0,
        };
        let run_id = match &task.work {
            Some(Work::Archive(w)) => w.run_id.clone(),
            _ => task.run_id,
        };
        let job = Job {
            owner: self.sandbox.owner(&task.tenant_id)?,
            lease_epoch: task.lease_epoch,
            attempt,
            task_id: task.task_id,
            tenant: task.tenant_id,
            run_id,
            stop,
            log,
        };
        let in_use = self.use_lock(&job.run_id);
        let _used = in_use.read().await;
        if !job.run_id.is_empty() {
            self.sandbox.volumes().attach(self.run_folder(&job)?.root()).await?;
        }
        match task.work {
            Some(Work::Inspect(w)) => self.inspect(&job, w).await.map(Outcome::Inspect),
            Some(Work::Archive(w)) => self.archive(&job, &w).await.map(Outcome::Archive),
            Some(Work::Prepare(w)) => self.prepare(&job, w).await.map(Outcome::Prepare),
            Some(Work::Step(w)) => self.step(&job, w).await.map(Outcome::Step),
            Some(Work::Propose(w)) => self.propose(&job, w).await.map(Outcome::Propose),
            Some(Work::Verify(w)) => self.verify(&job, w).await.map(Outcome::Verify),
            Some(Work::Commit(w)) => self.commit(&job, &w).await.map(Outcome::Commit),
            Some(Work::Collect(w)) => self.collect(&job, w).await.map(Outcome::Collect),
            Some(Work::Rollback(w)) => self.roll_back(&job, &w).await.map(Outcome::Rollback),
            None => {
                Err(Error::refused("work: is missing (expected a kind that this runner knows)"))
            }
        }
    }

    fn run_folder(&self, job: &Job) -> Result<RunFolder, Error> {
        RunFolder::new(&self.data_dir, &job.run_id)
    }

    /// The run's workspace as it is at `head` (empty: as it is), with the caches of its source.
    async fn place(
        &self,
        job: &Job,
        head: &str,
        (cache_key, mount): (&str, &str),
    ) -> Result<Place, Error> {
        let run = self.arrived(job, head).await?;
        let caches = CacheFolder::new(&self.data_dir, &job.tenant, cache_key, job.owner);
        self.sandbox.volumes().keep(caches.folder_of_all(), self.sandbox.caches_size()).await?;
        let mount = self.sandbox.mount(&run.workspace(), mount)?;
        Ok(Place { run, caches, mount })
    }

    /// A room of the run, for scripts that follow each other. `caches` are those of the run, where
    /// they are known: every room of a run that copies its caches shows them.
    pub(crate) async fn room(
        &self,
        job: &Job,
        run: &RunFolder,
        caches: Option<&CacheFolder>,
    ) -> Result<Room, Error> {
        let view = View { run, caches, owner: job.owner };
        self.rooms.enter(&self.sandbox, &self.data_dir, &view).await
    }

    /// Carries out one order on the run's workspace and history.
    async fn ask(
        &self,
        job: &Job,
        run: &RunFolder,
        text: &'static str,
        with: impl FnOnce(Order) -> Order,
    ) -> Result<Answer, Error> {
        let mut room = self.room(job, run, None).await?;
        let order = with(Order::on_history(&room.seen, text));
        let answer = room.carry_out(&order, &job.stop).await?;
        self.rooms.leave(room);
        Ok(answer)
    }

    /// Empty folders for a run; what was there before goes.
    async fn make_run(&self, job: &Job, run: &RunFolder) -> Result<(), Error> {
        self.rooms.close(run);
        self.sandbox.volumes().make(run.root(), self.sandbox.run_size()).await?;
        nofollow::make_own(&run.workspace(), job.owner)?;
        nofollow::make_own(&run.history(), job.owner)
    }

    /// The lock on a run's history.
    fn history_lock(&self, run_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(run_id.to_owned()).or_default())
    }
}

/// What a script that moved the history reports.
struct Report {
    head: String,
    files: Vec<String>,
    combined_patch: Vec<u8>,
}

/// Reads a script's report (head, files, combined patch) and keeps the combined patch.
fn keep_report(run: &RunFolder, answer: &Answer) -> Result<Report, Error> {
    let (head, rest) = answer.split_line();
    let (files, patch) = split_list(rest);
    let what = || doing("cannot keep the combined patch");
    let mut file = tempfile::NamedTempFile::new_in(run.root()).map_err(what())?;
    std::io::Write::write_all(&mut file, patch).map_err(what())?;
    file.persist(run.combined_patch()).map_err(|e| what()(e.error))?;
    Ok(Report { head, files, combined_patch: patch.to_vec() })
}

/// Everything that a run changed since its first commit, as a patch.
///
/// # Errors
/// When the run is not on this runner.
pub async fn run_patch(data_dir: &std::path::Path, run_id: &str) -> Result<Vec<u8>, Error> {
    let run = RunFolder::new(data_dir, run_id)?;
    run.require()?;
    match tokio::fs::read(run.combined_patch()).await {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(doing("cannot read the combined patch")),
    }
}
