//! The flag-resolver through its real wiring, over TCP and the generated clients, on both engines.

#![expect(clippy::unwrap_used, reason = "these are tests, the helpers between them too")]

mod away;
mod caller;
mod flagd;
mod flagd_streams;
mod history;
mod hostile;
mod platform;
mod process;
mod resolve;
mod roles;
mod scheduled;
mod served;
mod snapshot;
mod start;
mod watch;
mod write;

use caller::Caller;
use meta_proto::common::Overrides;
use meta_proto::flags as pb;
use meta_runtime::new_id;
use served::Served;
use std::time::Duration;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// A change is in force everywhere within this time.
const IN_FORCE: Duration = Duration::from_secs(1);

fn total(n: u32) -> Overrides {
    Overrides { max_total_attempts: Some(n), ..Overrides::default() }
}

fn per_step(n: u32) -> Overrides {
    Overrides { max_per_step_attempts: Some(n), ..Overrides::default() }
}

fn autofix(on: bool) -> Overrides {
    Overrides { autofix_enabled: Some(on), ..Overrides::default() }
}

/// Options with a reason.
fn because(reason: &str) -> pb::WriteOptions {
    pb::WriteOptions { reason: reason.to_owned(), ..pb::WriteOptions::default() }
}

fn run_id() -> String {
    new_id().to_string()
}

/// Asks until the answer is as wanted.
async fn until<T>(mut ask: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it comes to that in time")
}
