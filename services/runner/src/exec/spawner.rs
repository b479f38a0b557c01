//! Threads that start every process.
//!
//! The sandbox dies with the *thread* that started it. Threads of the runtime's pools come and go;
//! these live as long as the process. A thread waits until what it started has become its program, so
//! there are a few.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// How many threads start processes.
const THREADS: usize = 4;

struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// A handle to the threads that start processes.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: Sender<Request>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

impl Spawner {
    /// Starts the threads. Call it inside of a runtime.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (requests, queue) = channel::<Request>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (queue, runtime) = (Arc::clone(&queue), tokio::runtime::Handle::current());
            std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
                let _inside = runtime.enter();
                while let Some(mut request) = next(&queue) {
                    let child = request.command.spawn();
                    // Nobody waits any more: the child is dropped, and killed with it.
                    let _unwanted = request.reply.send(child);
                }
            })?;
        }
        Ok(Self { requests })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the spawner threads have ended");
        self.requests.send(Request { command, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The next process to be started; `None` when nobody can ask for one any more.
fn next(queue: &Mutex<Receiver<Request>>) -> Option<Request> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
