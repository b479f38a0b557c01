//! One thread that starts every process.
//!
//! The sandbox dies with the *thread* that started it. Threads of the runtime's pools come and go;
//! this one lives as long as the process.

use std::io;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// A handle to the thread that starts processes.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::UnboundedSender<Request>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

impl Spawner {
    /// Starts the thread. Call it inside of a runtime.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (requests, mut queue) = mpsc::unbounded_channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            while let Some(mut request) = queue.blocking_recv() {
                let child = request.command.spawn();
                // Nobody waits any more: the child is dropped, and killed with it.
                let _unwanted = request.reply.send(child);
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the spawner thread has ended");
        self.requests.send(Request { command, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
