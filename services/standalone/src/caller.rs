//! Who works on this machine: the tenant of local mode and its one user.

use crate::data::Vars;
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role};
use std::os::unix::fs::MetadataExt;
use uuid::Uuid;

/// The tenant of local mode; the same on every machine and after every start.
pub const LOCAL_TENANT: TenantId =
    TenantId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// The caller of local commands.
pub fn local(vars: &Vars) -> Principal {
    Principal { tenant: LOCAL_TENANT, role: Role::Owner, actor: format!("user:{}", login(vars)) }
}

fn login(vars: &Vars) -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|n| vars.get(*n).filter(|v| !v.is_empty()));
    if let Some(name) = named {
        return name.clone();
    }
    let uid =
        std::fs::metadata("/proc/self").map_or_else(|_| "?".to_owned(), |m| m.uid().to_string());
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&users, &uid).unwrap_or_else(|| format!("uid-{uid}"))
}

/// The name of a user id in the text of `/etc/passwd`.
fn name_of(users: &str, uid: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_tenant_is_a_fixed_uuid() {
        assert_eq!(LOCAL_TENANT, orchestrator::DEFAULT_TENANT);
        assert_eq!(LOCAL_TENANT.to_string(), "00000000-0000-7000-8000-000000000001");
    }

    #[test]
    fn the_actor_is_the_login_name() {
        let vars = Vars::from([("USER".to_owned(), "ada".to_owned())]);
        assert_eq!(local(&vars).actor, "user:ada");
        assert_eq!(
            name_of("root:x:0:0::/root:/bin/sh\nada:x:7:7::/:\n", "7").as_deref(),
            Some("ada")
        );
        assert_eq!(name_of("root:x:0:0::/root:/bin/sh\n", "7"), None);
    }
}
