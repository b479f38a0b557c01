//! How claims become a tenant and a role. Whoever may issue tokens has such rules in their section of
//! the configuration, beside fields of their own: [`with_rules`] says them once for all.

use meta_domain::fault::InvalidField;
use meta_domain::role::Role;

/// A section of the configuration with the rules beside its own fields, each with its default.
macro_rules! with_rules {
    (
        $(#[$about:meta])*
        pub struct $section:ident {
            $($(#[$doc:meta])* pub $field:ident: $kind:ty = $default:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $section {
            $($(#[$doc])* pub $field: $kind,)*
            /// The claim that names the tenant: a name, or a JSON pointer such as
            /// `/metabuilder/tenant`.
            pub tenant_claim: String,
            /// The tenant of everybody who is known by it; a token that names another is refused.
            pub tenant: Option<meta_domain::id::TenantId>,
            /// The claim with the roles: a word, or a list of which the highest counts.
            pub roles_claim: String,
            /// Our role for each of its words, where they are not ours.
            pub roles: std::collections::BTreeMap<String, meta_domain::role::Role>,
            /// Whether it may say `platform_admin`.
            pub platform_admins: bool,
        }

        impl Default for $section {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    tenant_claim: "tenant".to_owned(),
                    tenant: None,
                    roles_claim: "roles".to_owned(),
                    roles: std::collections::BTreeMap::new(),
                    platform_admins: false,
                }
            }
        }

        impl From<&$section> for $crate::rules::Rules {
            /// How its claims are read.
            fn from(of: &$section) -> Self {
                Self {
                    tenant_claim: of.tenant_claim.clone(),
                    tenant: of.tenant,
                    roles_claim: of.roles_claim.clone(),
                    roles: of.roles.clone(),
                    platform_admins: of.platform_admins,
                }
            }
        }
    };
}
pub(crate) use with_rules;

with_rules! {
    /// How claims become a tenant and a role.
    #[derive(Debug)]
    pub struct Rules {}
}

impl Rules {
    /// What is wrong with them.
    pub(crate) fn check(&self) -> Vec<InvalidField> {
        let mut faults = Vec::new();
        for (name, claim) in
            [("tenant_claim", &self.tenant_claim), ("roles_claim", &self.roles_claim)]
        {
            if claim.is_empty() {
                faults.push(InvalidField::new(name, "is empty (expected the name of a claim)"));
            }
        }
        if self.roles.values().any(|role| *role == Role::Runner) {
            let problem = "gives the role runner (expected a role of people)";
            faults.push(InvalidField::new("roles", problem));
        }
        faults
    }
}
