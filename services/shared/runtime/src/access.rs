//! The role matrix: who may call which RPC and which route, read from `access.toml`. What has no
//! row is refused to everybody, and a test walks the descriptors so that none is forgotten.

use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::{Identity, Role, Scope};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The matrix as it is written.
const TEXT: &str = include_str!("../access.toml");

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody, without a credential: health and reflection.
    Public,
    /// Whoever has one of these roles.
    Roles(Vec<Role>),
    /// A service of this installation, not a tenant's credential; runners where this says so.
    Machines {
        /// Whether a credential that is a runner's alone is enough.
        runners: bool,
    },
}

/// What a caller sees who names an object of another tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Other {
    /// Nothing in the request names an object of a tenant.
    #[default]
    None,
    /// The same answer as for an id that nobody has.
    Hidden,
    /// The request itself names a tenant that is not the credential's.
    Refused,
}

/// A row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who may call.
    pub who: Who,
    /// What a limited credential has to include.
    pub scope: Option<Scope>,
    /// What a caller sees who names an object of another tenant.
    pub other: Other,
}

impl Row {
    /// Whether this caller may call what the row is about; `name` is for the answer.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, name: &str, caller: &Identity) -> Result<(), Fault> {
        let denied =
            |reason, text: String| Err(Fault::new(ErrorKind::PermissionDenied, reason, text));
        let Who::Roles(roles) = &self.who else {
            let text = format!("{name} is for services of this installation");
            return if self.who == Who::Public { Ok(()) } else { denied("MACHINE_ONLY", text) };
        };
        let role = caller.principal.role;
        if !roles.contains(&role) {
            let least = roles.iter().find(|r| **r > Role::Auditor).unwrap_or(&Role::PlatformAdmin);
            let text = format!("{name} needs role {least}, this credential has {role}");
            return denied("ROLE_TOO_LOW", text);
        }
        match self.scope {
            Some(needed) if !caller.scopes.allow(needed) => {
                let (needed, scopes) = (needed.as_str(), &caller.scopes);
                let text = format!("{name} needs scope {needed}, this credential has {scopes}");
                denied("SCOPE_MISSING", text)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A row as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    who: String,
    scope: Option<Scope>,
    #[serde(default)]
    other: Other,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    who: HashMap<String, Vec<Role>>,
    rpc: HashMap<String, HashMap<String, Written>>,
    route: HashMap<String, Written>,
}

/// The rows by their names.
struct Matrix {
    rpcs: HashMap<String, Row>,
    routes: HashMap<String, Row>,
}

static MATRIX: LazyLock<Matrix> = LazyLock::new(|| {
    read(TEXT).unwrap_or_else(|problem| {
        tracing::error!(%problem, "the role matrix cannot be read: everything is refused");
        Matrix { rpcs: HashMap::new(), routes: HashMap::new() }
    })
});

fn read(text: &str) -> Result<Matrix, String> {
    let document: Document = toml::from_str(text).map_err(|e| e.to_string())?;
    let row = |name: &str, written: Written| {
        let who = match written.who.as_str() {
            "public" => Who::Public,
            "machines" => Who::Machines { runners: false },
            "runners" => Who::Machines { runners: true },
            set => match document.who.get(set) {
                Some(roles) => Who::Roles(roles.clone()),
                None => return Err(format!("{name}: {set:?} is no set of roles")),
            },
        };
        if matches!(who, Who::Roles(_)) && written.scope.is_none() {
            return Err(format!("{name}: a row for roles needs a scope"));
        }
        Ok(Row { who, scope: written.scope, other: written.other })
    };
    let mut matrix = Matrix { rpcs: HashMap::new(), routes: HashMap::new() };
    for (service, methods) in document.rpc {
        for (method, written) in methods {
            let name = format!("{service}/{method}");
            let row = row(&name, written)?;
            matrix.rpcs.insert(name, row);
        }
    }
    for (name, written) in document.route {
        let row = row(&name, written)?;
        matrix.routes.insert(name, row);
    }
    Ok(matrix)
}

const PUBLIC: [&str; 3] = [
    "grpc.health.v1.Health/",
    "grpc.reflection.v1.ServerReflection/",
    "grpc.reflection.v1alpha.ServerReflection/",
];

static OPEN: Row = Row { who: Who::Public, scope: None, other: Other::None };

/// The row of an RPC by its path (`/package.Service/Method`); without one nobody may call it.
pub fn rpc(path: &str) -> Option<&'static Row> {
    let method = path.strip_prefix('/').unwrap_or(path);
    if PUBLIC.iter().any(|p| method.starts_with(p)) {
        return Some(&OPEN);
    }
    MATRIX.rpcs.get(method)
}

/// The row of a route by its method and its pattern (`/runs/{run_id}`, with the base path); without
/// one nobody may call it. HEAD is GET without the body.
pub fn route(method: &str, pattern: &str) -> Option<&'static Row> {
    let method = if method == "HEAD" { "GET" } else { method };
    MATRIX.routes.get(&format!("{method} {pattern}"))
}

/// Every RPC with its row, in the order of the names.
pub fn rpcs() -> Vec<(&'static str, &'static Row)> {
    in_order(&MATRIX.rpcs)
}

/// Every route (`GET /api/...`) with its row, in the order of the names.
pub fn routes() -> Vec<(&'static str, &'static Row)> {
    in_order(&MATRIX.routes)
}

fn in_order(rows: &'static HashMap<String, Row>) -> Vec<(&'static str, &'static Row)> {
    let mut all: Vec<_> = rows.iter().map(|(name, row)| (name.as_str(), row)).collect();
    all.sort_by_key(|(name, _)| *name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn every_rpc_has_exactly_one_row_and_every_row_an_rpc() {
        let set =
            prost_types::FileDescriptorSet::decode(meta_proto::DESCRIPTORS).expect("descriptors");
        let mut methods: Vec<String> = Vec::new();
        for file in &set.file {
            let ours = ["metabuilder.", "flagd."].iter().any(|p| file.package().starts_with(p));
            for service in file.service.iter().filter(|_| ours) {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    methods.push(format!("{package}.{service}/{}", method.name()));
                }
            }
        }
        methods.sort();
        let rows: Vec<String> = rpcs().into_iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(methods, rows);
    }

    #[test]
    fn an_unknown_rpc_and_an_unknown_route_are_refused() {
        assert_eq!(rpc("/metabuilder.flags.v1.FlagsService/Nope"), None);
        assert_eq!(rpc("/grpc.health.v1.Health/Check").map(|r| &r.who), Some(&Who::Public));
        assert_eq!(route("GET", "/api/meta/v2/nope"), None);
        assert_eq!(route("HEAD", "/healthz"), route("GET", "/healthz"));
    }

    #[test]
    fn sets_of_roles_grow_and_auditors_only_read() {
        for (name, row) in rpcs().into_iter().chain(routes()) {
            let Who::Roles(roles) = &row.who else { continue };
            assert!(roles.contains(&Role::PlatformAdmin), "{name}");
            assert!(!roles.contains(&Role::Runner), "{name}");
            let from = roles.iter().filter(|r| **r > Role::Auditor).min().expect("a person");
            let up = Role::ALL.into_iter().filter(|r| r >= from);
            assert!(up.clone().all(|r| roles.contains(&r)), "{name}: {roles:?}");
            let reads = matches!(row.scope, Some(Scope::Read | Scope::Audit));
            assert_eq!(roles.contains(&Role::Auditor), reads, "{name}");
        }
    }

    #[test]
    fn a_matrix_with_a_fault_says_where() {
        let base = "[who]\nall = [\"viewer\"]\n[rpc.\"a.B\"]\n";
        for (row, problem) in [
            ("C = { who = \"some\", scope = \"read\" }", "no set of roles"),
            ("C = { who = \"all\" }", "needs a scope"),
            ("C = { who = \"all\", scope = \"king\" }", "king"),
        ] {
            let text = format!("{base}{row}\n[route]\n");
            let error = read(&text).err().expect(row);
            assert!(error.contains(problem), "{error}");
        }
    }
}
