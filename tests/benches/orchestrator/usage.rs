//! What this process took of the machine.

use anyhow::{Context, Result};
use std::time::Duration;

/// Processor time, user and system.
pub struct Usage(Duration);

impl Usage {
    /// So far.
    pub fn now() -> Result<Self> {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
        let of = |t: nix::sys::time::TimeVal| -> Result<Duration> {
            Ok(Duration::from_secs(u64::try_from(t.tv_sec())?)
                + Duration::from_micros(u64::try_from(t.tv_usec())?))
        };
        Ok(Self(of(usage.user_time())? + of(usage.system_time())?))
    }

    /// Since an earlier time.
    pub fn since(&self, before: &Self) -> Duration {
        self.0.saturating_sub(before.0)
    }

    /// The most memory that was ever resident.
    pub fn peak_rss_mib() -> Result<u64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024)
    }
}
