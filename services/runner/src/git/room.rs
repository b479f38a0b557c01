//! A run's room: a sandbox that stays, in which the scripts on the run's files and history follow
//! each other. A launch costs more than what most of them do.
//!
//! What steps and fixers execute never enters it: they get sandboxes of their own, with their own
//! processes, and of the run's files only what they always see. A room belongs to one run; nothing of
//! one script is left for the next but what it wrote to the run's own folders.

use super::{
    ANSWER_BYTES_MAX, Answer, COMBINED_BYTES_MAX, COMPLAINT_BYTES_MAX, GIT_LIMIT, HISTORY, OBJECTS,
    PRELUDE, base_jail,
};
use crate::error::{Error, doing};
use crate::exec::{Bounds, Conversation};
use crate::folders::{CacheFolder, RunFolder};
use crate::nofollow::{self, Owner};
use crate::sandbox::{Sandbox, quoted, write_for};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Rooms without work that are kept.
const IDLE_MAX: usize = 8;
/// How long a room without work is kept.
const IDLE: Duration = Duration::from_mins(1);
/// The sandbox's own loop: each order is a file, carried out in a process of its own that has no
/// input; then come the mark and its exit code, and what it left in the scratch folder goes.
const LOOP: &str = r#"
TMPDIR=$TMPDIR/room; export TMPDIR
mkdir "$TMPDIR"
while read -r order mark; do
  ( . "$order" ) < /dev/null
  code=$?
  printf '\n%s %s\n' "$mark" "$code" >&2
  printf '\n%s %s\n' "$mark" "$code"
  set -- "$TMPDIR"/*
  [ ! -e "$1" ] || rm -rf -- "$@"
done
"#;

/// Where a room sees the run's folders.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The workspace.
    pub workspace: PathBuf,
    /// The history.
    pub history: PathBuf,
    /// The history's objects, where steps see them as well.
    pub objects: PathBuf,
    /// Copies of the workspace.
    pub heal: PathBuf,
    /// The caches of the run's source; they cannot be changed there.
    pub caches: PathBuf,
    orders: PathBuf,
}

/// What a room shows.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The run.
    pub run: &'a RunFolder,
    /// Its caches, for scripts that copy them.
    pub caches: Option<&'a CacheFolder>,
    /// Who the room runs as.
    pub owner: Owner,
}

/// One script and what it needs.
#[derive(Debug)]
pub struct Order {
    text: String,
    folder: PathBuf,
    vars: Vec<(&'static str, String)>,
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
}

impl Order {
    /// A script on a run's workspace and history.
    pub fn on_history(seen: &Seen, text: impl Into<String>) -> Self {
        let combined = COMBINED_BYTES_MAX.to_string();
        Self::on(seen, &seen.workspace, &seen.history, text).set("PATCH_MAX", combined)
    }

    /// A script on a tree and a repository that the room sees.
    pub fn on(seen: &Seen, tree: &Path, repository: &Path, text: impl Into<String>) -> Self {
        let order = Self {
            text: text.into(),
            folder: tree.to_owned(),
            vars: Vec::new(),
            files: Vec::new(),
            arguments: Vec::new(),
        };
        order.path("GIT_DIR", repository).path("GIT_WORK_TREE", tree).path("OBJECTS", &seen.objects)
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.vars.push((name, value.into()));
        self
    }

    /// Sets a variable to a place that the room sees.
    #[must_use]
    pub fn path(self, name: &'static str, inside: &Path) -> Self {
        self.set(name, inside.to_string_lossy())
    }

    /// Shows the script a file, as `"$ORDER.name"`.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.files.push((name.into(), bytes));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = String>) -> Self {
        self.arguments.extend(arguments);
        self
    }

    fn script(&self, inside: &Path) -> String {
        let place = |path: &Path| quoted(&path.to_string_lossy());
        let mut text = format!("cd -P {} || exit 126\n", place(&self.folder));
        for (name, value) in &self.vars {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        text.push_str(&format!("ORDER={}\nset --", place(inside)));
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(&quoted(argument));
        }
        text.push('\n');
        text.push_str(PRELUDE);
        text.push_str(&self.text);
        text
    }
}

impl Seen {
    fn new(sandbox: &Sandbox, view: &View<'_>, scratch: &Path) -> Result<Self, Error> {
        let show = |host: &Path, name: &str| sandbox.show(host, name, false).inside;
        let caches = match view.caches {
            Some(caches) => show(caches.root()?, "caches"),
            None => PathBuf::new(),
        };
        Ok(Self {
            workspace: sandbox.mount(&view.run.workspace(), "")?,
            history: show(&view.run.history(), HISTORY),
            objects: show(&view.run.objects(), OBJECTS),
            heal: show(&view.run.heal(), "heal"),
            caches,
            orders: show(&scratch.join("orders"), "orders"),
        })
    }
}

/// The rooms of this runner that have nothing to do.
#[derive(Debug, Clone, Default)]
pub struct Rooms(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    rooms: Vec<Room>,
    swept: bool,
}

/// A sandbox for the scripts of one run.
#[derive(Debug)]
pub struct Room {
    root: PathBuf,
    caches: Option<PathBuf>,
    owner: Owner,
    /// Where it sees things.
    pub seen: Seen,
    conversation: Conversation,
    /// Holds the launch script and the orders.
    scratch: TempDir,
    since: Instant,
}

impl Room {
    async fn open(sandbox: &Sandbox, data_dir: &Path, view: &View<'_>) -> Result<Self, Error> {
        let (run, owner) = (view.run, view.owner);
        nofollow::make_way(&run.heal(), owner)?;
        let scratch = tempfile::Builder::new()
            .tempdir_in(sandbox.scratch())
            .map_err(doing("cannot make a scratch folder"))?;
        let orders = scratch.path().join("orders");
        nofollow::make_way(&orders, owner)?;
        let mut jail = base_jail(sandbox, data_dir, owner, &run.workspace())?;
        jail.binds.push(sandbox.show(&run.history(), HISTORY, true));
        jail.binds.push(sandbox.show(&run.objects(), OBJECTS, false));
        jail.binds.push(sandbox.show(&run.heal(), "heal", true));
        jail.binds.push(sandbox.show(&orders, "orders", false));
        if let Some(caches) = view.caches {
            jail.binds.push(sandbox.show(caches.root()?, "caches", false));
        }
        jail.command = ["sh", "-c", LOOP].map(str::to_owned).to_vec();
        let seen = Seen::new(sandbox, view, scratch.path())?;
        let conversation = sandbox.converse(&jail, scratch.path()).await?;
        let (root, caches) = (run.root().to_owned(), root_of(view)?);
        Ok(Self { root, caches, owner, seen, conversation, scratch, since: Instant::now() })
    }

    /// Carries an order out. After an error the room is of no use any more.
    ///
    /// # Errors
    /// When the script fails in another way than by saying no, or is stopped.
    pub async fn carry_out(
        &mut self,
        order: &Order,
        stop: &CancellationToken,
    ) -> Result<Answer, Error> {
        let id = meta_runtime::new_id().simple().to_string();
        let orders = self.scratch.path().join("orders");
        let inside = self.seen.orders.join(&id);
        let mut written = Vec::new();
        let script = order.script(&inside);
        let files = order.files.iter().map(|(name, bytes)| (format!("{id}.{name}"), &bytes[..]));
        for (name, bytes) in files.chain([(id.clone(), script.as_bytes())]) {
            let host = orders.join(name);
            write_for(&host, bytes, self.owner)?;
            written.push(host);
        }
        let bounds = Bounds {
            stdout_bytes: ANSWER_BYTES_MAX,
            stderr_bytes: COMPLAINT_BYTES_MAX,
            time: GIT_LIMIT,
        };
        // The mark is nothing that a file of the project could hold.
        let mark = format!("end-{}", meta_runtime::new_id().simple());
        let question = inside.to_string_lossy().into_owned();
        let reply = self.conversation.ask(&question, &mark, bounds, stop).await?;
        for host in written {
            std::fs::remove_file(host).map_err(doing("cannot remove an order"))?;
        }
        Answer::new(reply.code, reply.stdout, &reply.stderr)
    }
}

impl Rooms {
    /// A room of the run: one that has nothing to do, or a new one.
    ///
    /// # Errors
    /// When no sandbox can be started.
    pub async fn enter(
        &self,
        sandbox: &Sandbox,
        data_dir: &Path,
        view: &View<'_>,
    ) -> Result<Room, Error> {
        let caches = root_of(view)?;
        let fits = |room: &Room| {
            room.root == view.run.root() && (caches.is_none() || room.caches == caches)
        };
        let found = {
            let mut idle = self.lock();
            idle.rooms.iter().rposition(fits).map(|at| idle.rooms.remove(at))
        };
        match found {
            Some(room) => Ok(room),
            None => Room::open(sandbox, data_dir, view).await,
        }
    }

    /// Takes a room back whose work is done.
    pub fn leave(&self, mut room: Room) {
        room.since = Instant::now();
        let mut idle = self.lock();
        idle.rooms.push(room);
        let gone = (idle.rooms.len() > IDLE_MAX).then(|| idle.rooms.remove(0));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
        drop(idle);
        drop(gone);
    }

    /// Closes the rooms of a run.
    pub fn close(&self, run: &RunFolder) {
        let mut idle = self.lock();
        idle.rooms.retain(|room| room.root != run.root());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes rooms that had nothing to do for long, until there are none.
async fn sweep(rooms: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(rooms) = rooms.upgrade() else { return };
        let mut idle = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        idle.rooms.retain(|room| room.since.elapsed() < IDLE);
        if idle.rooms.is_empty() {
            idle.swept = false;
            return;
        }
    }
}

fn root_of(view: &View<'_>) -> Result<Option<PathBuf>, Error> {
    view.caches.map(|caches| caches.root().map(Path::to_owned)).transpose()
}
