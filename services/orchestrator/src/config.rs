//! The orchestrator's own configuration.

use crate::core::quota::{Action, Quota};
use crate::core::run::{ExpiryAction, GatePolicy};
use crate::core::workspace::Workspaces;
use crate::shell::Options;
use crate::webhooks;
use meta_domain::fault::InvalidField;
use meta_domain::id::{MalformedId, RunId};
use meta_storage::{DatabaseSetting, Location};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// Beside what every service has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the logs, and of the database where it is a file; made when it is missing.
    pub data_dir: PathBuf,
    /// A SQLite file, as a path under `data_dir` or an absolute one, or a `postgres://` URL. Any
    /// number of orchestrators share a PostgreSQL database; a SQLite file belongs to one.
    pub database: DatabaseSetting,
    /// How long a task is held without a heartbeat of its runner, in milliseconds.
    pub lease_ms: u32,
    /// Tasks of one tenant that runners work on at once, at most.
    pub tenant_tasks_max: u32,
    /// Days after its end for which a run is kept, with its log; 0 means for ever.
    pub retention_days: u32,
    /// Hours after its end for which runners keep a run's workspace. Without an object store it can
    /// neither be retried nor taken back later.
    pub workspace_hours: u32,
    /// Folder for the event logs of runs that are removed, a file of JSON lines each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// Only work on this run (the command line's local mode).
    pub run_id: Option<String>,
    /// Every other process on this data folder is known to be dead: give back what it had leased.
    pub own_leases: bool,
    /// Seconds after which an approval gate decides itself; 0 means never.
    pub gates_expire_after_seconds: u64,
    /// What happens to the run then: `fail` or `cancel`.
    pub gates_on_expiry: ExpiryAction,
    /// Whoever started a run may not approve its gates.
    pub gates_four_eyes: bool,
    /// URL of the object store that holds the logs, for several orchestrators; without one they are
    /// files in the data folder.
    pub objects: Option<String>,
    /// How often each tenant may do what is dear.
    pub limits: Limits,
    /// How webhooks are signed, and which addresses they may have.
    pub webhooks: webhooks::Config,
    /// The issuer whose tokens open the RPCs; none unless it is named.
    pub jwt: Option<meta_tokens::Issuer>,
    /// An API key for the default tenant's owner, made at start; for development.
    pub dev_key: Option<String>,
}

/// How often a tenant may do something; 0 means as often as it likes. Platform administrators are
/// not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Specs an hour.
    pub specs_per_hour: u32,
    /// Plans an hour.
    pub plans_per_hour: u32,
    /// Runs an hour.
    pub runs_per_hour: u32,
    /// Decisions of gates an hour.
    pub approvals_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { specs_per_hour: 20, plans_per_hour: 20, runs_per_hour: 10, approvals_per_hour: 50 }
    }
}

impl Limits {
    /// No limits: for a machine with one user, and for measurements.
    pub const NONE: Self =
        Self { specs_per_hour: 0, plans_per_hour: 0, runs_per_hour: 0, approvals_per_hour: 0 };

    /// The quota of an action; `None` where there is none.
    pub fn of(self, action: Action) -> Option<Quota> {
        Quota::per_hour(match action {
            Action::Specs => self.specs_per_hour,
            Action::Plans => self.plans_per_hour,
            Action::Runs => self.runs_per_hour,
            Action::Approvals => self.approvals_per_hour,
        })
    }
}

impl FromStr for Limits {
    type Err = String;

    /// `off`, nothing for the defaults, or `runs=100,specs=0` for what differs from them.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        match text.trim() {
            "off" => return Ok(Self::NONE),
            "" => return Ok(limits),
            _ => {}
        }
        for part in text.split(',') {
            let (action, times) =
                part.split_once('=').ok_or_else(|| format!("{part:?} has no number"))?;
            let times = times.trim().parse().map_err(|_| format!("{part:?} has no number"))?;
            match action.trim().parse()? {
                Action::Specs => limits.specs_per_hour = times,
                Action::Plans => limits.plans_per_hour = times,
                Action::Runs => limits.runs_per_hour = times,
                Action::Approvals => limits.approvals_per_hour = times,
            }
        }
        Ok(limits)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".metabuilder"),
            database: "metabuilder.db".into(),
            lease_ms: LEASE_MS_DEFAULT,
            tenant_tasks_max: TENANT_TASKS_MAX_DEFAULT,
            retention_days: RETENTION_DAYS_DEFAULT,
            workspace_hours: WORKSPACE_HOURS_DEFAULT,
            archive: None,
            run_id: None,
            own_leases: false,
            gates_expire_after_seconds: 0,
            gates_on_expiry: ExpiryAction::Fail,
            gates_four_eyes: false,
            objects: None,
            jwt: None,
            limits: Limits::default(),
            webhooks: webhooks::Config::default(),
            dev_key: None,
        }
    }
}

/// How long a task is held without a heartbeat, in milliseconds.
const LEASE_MS_DEFAULT: u32 = 15_000;
/// Shortest and longest lease that may be set, in milliseconds.
const LEASE_MS: std::ops::RangeInclusive<u32> = 1_000..=600_000;
/// Days for which an ended run is kept, where nothing else is set.
const RETENTION_DAYS_DEFAULT: u32 = 90;
/// Hours for which the workspace of an ended run is kept, where nothing else is set.
const WORKSPACE_HOURS_DEFAULT: u32 = 24;
/// Tasks of one tenant that runners work on at once, where nothing else is set.
const TENANT_TASKS_MAX_DEFAULT: u32 = 1_000;

impl Config {
    /// Where the database is.
    ///
    /// # Errors
    /// Names the setting and what was expected; never its password.
    pub fn location(&self) -> Result<Location, InvalidField> {
        let located = self.database.locate(&self.data_dir);
        located.map_err(|problem| InvalidField::new("database", problem.to_string()))
    }

    /// What the engine goes by.
    ///
    /// # Errors
    /// Every field that is not valid.
    pub fn options(&self) -> Result<Options, Vec<InvalidField>> {
        let mut faults = Vec::new();
        let only = self.run_id.as_deref().map(str::parse::<RunId>).transpose();
        let only = only.unwrap_or_else(|problem: MalformedId| {
            faults.push(InvalidField::new("run_id", problem.to_string()));
            None
        });
        if !LEASE_MS.contains(&self.lease_ms) {
            let (least, most) = (LEASE_MS.start(), LEASE_MS.end());
            let problem = format!("{} is out of range (expected {least} to {most})", self.lease_ms);
            faults.push(InvalidField::new("lease_ms", problem));
        }
        if self.tenant_tasks_max == 0 {
            let problem = "0 would let no task start (expected at least 1)";
            faults.push(InvalidField::new("tenant_tasks_max", problem));
        }
        let options = Options {
            lease_ms: i64::from(self.lease_ms),
            tenant_tasks_max: self.tenant_tasks_max,
            only,
            own_leases: self.own_leases,
            workspaces: Workspaces::new(self.workspace_hours, self.objects.is_some()),
        };
        if faults.is_empty() { Ok(options) } else { Err(faults) }
    }

    /// How gates are decided where a run names nothing else.
    pub fn gates(&self) -> GatePolicy {
        GatePolicy {
            expires_after_ms: self.gates_expire_after_seconds.saturating_mul(1000),
            on_expiry: self.gates_on_expiry,
            four_eyes: self.gates_four_eyes,
        }
    }
}
