//! The numbers of the process itself, by the names that Prometheus' clients have for them.

use std::fs;

/// Clock ticks of a second, as Linux shows them to everybody.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page on the platforms that are built for.
const PAGE_BYTES: f64 = 4096.0;

/// Name, kind, help and value; what the system does not say is left out.
pub(crate) fn numbers() -> Vec<(&'static str, &'static str, &'static str, f64)> {
    let mut numbers = Vec::new();
    if let Some(seconds) = cpu_seconds() {
        let help = "Processor time that the process took, in seconds.";
        numbers.push(("process_cpu_seconds_total", "counter", help, seconds));
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Memory that the process holds, in bytes.";
        numbers.push(("process_resident_memory_bytes", "gauge", help, bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let open = f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX));
        numbers.push(("process_open_fds", "gauge", "Files and sockets that are open.", open));
    }
    numbers
}

fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // the name of the process may hold anything, also spaces
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}
