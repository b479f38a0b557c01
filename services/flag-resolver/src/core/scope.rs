//! What a write is about.

use meta_domain::id::{RunId, TenantId};
use meta_domain::settings::{Layer, Owner};

/// One layer of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Values for everybody, on top of the environment.
    Platform,
    /// Values for a share of the tenants.
    Rollout,
    /// The override of a tenant.
    Tenant(TenantId),
    /// The override of a run.
    Run(TenantId, RunId),
    /// What holds for everybody.
    KillSwitch,
}

impl Scope {
    /// The override of an owner.
    pub fn of(owner: Owner) -> Self {
        match owner.run {
            None => Self::Tenant(owner.tenant),
            Some(run) => Self::Run(owner.tenant, run),
        }
    }

    /// The layer.
    pub fn layer(self) -> Layer {
        match self {
            Self::Platform => Layer::Platform,
            Self::Rollout => Layer::Rollout,
            Self::Tenant(_) => Layer::Tenant,
            Self::Run(..) => Layer::Run,
            Self::KillSwitch => Layer::KillSwitch,
        }
    }

    /// The layer of the whole platform with this name.
    pub fn of_platform(layer: Layer) -> Option<Self> {
        match layer {
            Layer::Platform => Some(Self::Platform),
            Layer::Rollout => Some(Self::Rollout),
            Layer::KillSwitch => Some(Self::KillSwitch),
            Layer::Tenant | Layer::Run | Layer::FailClosed => None,
        }
    }

    /// Whose it is; `None` for the whole platform.
    pub fn owner(self) -> Option<Owner> {
        match self {
            Self::Tenant(tenant) => Some(Owner::tenant(tenant)),
            Self::Run(tenant, run) => Some(Owner { tenant, run: Some(run) }),
            Self::Platform | Self::Rollout | Self::KillSwitch => None,
        }
    }

    /// Whether it concerns a tenant: its own, and the whole platform's.
    pub fn concerns(self, tenant: TenantId) -> bool {
        self.owner().is_none_or(|owner| owner.tenant == tenant)
    }
}
