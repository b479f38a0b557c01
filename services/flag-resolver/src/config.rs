//! What an operator can set.

use meta_domain::fault::InvalidField;
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role};
use meta_storage::{DatabaseSetting, Location};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use uuid::Uuid;

/// The word that opens the flagd listener for the settings of every tenant.
pub const ANY_TENANT: &str = "any";
/// File of the last known settings, in the data folder, for starts while the database is away.
const KEPT: &str = "flag-resolver-snapshot.json";

/// The flag-resolver's own configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the installation's files; made when it is missing.
    pub data_dir: PathBuf,
    /// A SQLite file, as a path under `data_dir` or an absolute one, or a `postgres://` URL.
    pub database: DatabaseSetting,
    /// A listener for OpenFeature clients of flagd, which cannot send a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flagd: Option<Flagd>,
}

/// Where flagd's clients connect without a credential; they can only read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flagd {
    /// A loopback address: whoever reaches it may read.
    pub listen: SocketAddr,
    /// The tenant whose settings they read, or `any`.
    pub tenant: String,
}

impl Default for Config {
    fn default() -> Self {
        let database = "flags.db".into();
        Self { data_dir: ".metabuilder".into(), database, flagd: None }
    }
}

impl Config {
    /// Where the database is.
    ///
    /// # Errors
    /// Names the setting and what was expected; never its password.
    pub fn location(&self) -> Result<Location, InvalidField> {
        let located = self.database.locate(&self.data_dir);
        located.map_err(|problem| InvalidField::new("database", problem.to_string()))
    }

    /// Where the last known settings are kept. A SQLite file is there as long as the folder is.
    pub(crate) fn kept(&self, location: &Location) -> Option<PathBuf> {
        matches!(location, Location::Postgres(_)).then(|| self.data_dir.join(KEPT))
    }
}

impl Flagd {
    /// Who reads over the listener.
    ///
    /// # Errors
    /// Every field that is not valid.
    pub(crate) fn caller(&self) -> Result<Principal, Vec<InvalidField>> {
        let mut faults = Vec::new();
        if !self.listen.ip().is_loopback() {
            let problem = format!(
                "{} is not a loopback address (expected one such as 127.0.0.1:8013; whoever \
                 reaches it reads without a credential)",
                self.listen
            );
            faults.push(InvalidField::new("flagd.listen", problem));
        }
        let who = match self.tenant.as_str() {
            ANY_TENANT => Some((TenantId(Uuid::nil()), Role::PlatformAdmin)),
            text => match text.parse() {
                Ok(tenant) => Some((tenant, Role::Viewer)),
                Err(problem) => {
                    let problem: meta_domain::id::MalformedId = problem;
                    let problem = format!("{problem}, or {ANY_TENANT}");
                    faults.push(InvalidField::new("flagd.tenant", problem));
                    None
                }
            },
        };
        match who {
            Some((tenant, role)) if faults.is_empty() => {
                Ok(Principal { tenant, role, actor: "flagd".to_owned() })
            }
            _ => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flagd_listener_is_on_loopback_and_for_a_named_tenant() {
        let of = |listen: &str, tenant: &str| {
            Flagd { listen: listen.parse().unwrap(), tenant: tenant.to_owned() }.caller()
        };
        let tenant = "00000000-0000-7000-8000-000000000001";
        assert_eq!(of("127.0.0.1:8013", tenant).unwrap().role, Role::Viewer);
        assert_eq!(of("[::1]:8013", ANY_TENANT).unwrap().role, Role::PlatformAdmin);
        let faults = of("0.0.0.0:8013", "everyone").unwrap_err();
        let paths: Vec<_> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["flagd.listen", "flagd.tenant"]);
    }
}
