//! What a decision about a setting costs, printed as one JSON document: of the services' processes
//! over loopback (`make bench-flags`), and of the snapshot in a service's own memory.
//!
//! A remote evaluation's cost is the processor time of the process that answers, user and system,
//! without what it takes when idle, divided by the calls. Every answer is checked.

mod in_process;
mod load;
mod remote;
mod services;

use anyhow::Result;
use serde_json::{Value, json};
use services::Services;

/// Tenants with an override, in the order in which they are measured.
const OVERRIDES: [usize; 2] = [1, 10_000];
/// Microseconds of processor time that one remote evaluation may take.
const REMOTE_CPU_US_MAX: f64 = 40.0;
/// Nanoseconds that one decision in a service's own memory may take.
const IN_PROCESS_NS_MAX: f64 = 200.0;

#[tokio::main]
async fn main() -> Result<()> {
    let in_process = in_process::measure(OVERRIDES[1]);
    let services = Services::start().await?;
    let mut remote = Vec::new();
    let mut written = 0;
    let mut write_seconds = 0.0;
    for overrides in OVERRIDES {
        write_seconds += services.write(written..overrides).await?;
        written = overrides;
        remote.extend(remote::measure(&services, overrides).await?);
    }
    let meets = |value: &Value, name: &str, most: f64| value[name].as_f64() <= Some(most);
    let both = ["evaluate_ns", "resolve_ns"];
    let in_process_met = both.iter().all(|name| meets(&in_process, name, IN_PROCESS_NS_MAX));
    let targets = json!({
        "remote_cpu_us_max": REMOTE_CPU_US_MAX,
        "remote_met": remote.iter().all(|r| meets(r, "cpu_us", REMOTE_CPU_US_MAX)),
        "in_process_ns_max": IN_PROCESS_NS_MAX,
        "in_process_met": in_process_met,
    });
    let report = json!({
        "processors": std::thread::available_parallelism()?,
        "in_process": in_process,
        "remote": remote,
        "writes": { "count": written, "seconds": write_seconds },
        "targets": targets,
    });
    println!("{report:#}");
    Ok(())
}
