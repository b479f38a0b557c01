//! How much the sandbox contains, as it is configured, proven, shown and recorded.

use std::fmt;

/// The levels, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// L0: steps run with the rights of the runner.
    None,
    /// L1: namespaces, a system call filter and no privileges, on a machine whose owner trusts the
    /// projects not to exhaust it: nothing but the number of processes is limited, and a step that
    /// asks for network shares the host's.
    Bwrap,
    /// L2: for tenants who do not trust each other. Everything a step uses is limited, and it sees
    /// and reaches nothing of the host.
    Strict,
}

impl Level {
    /// Its name in configuration and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bwrap => "bwrap",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
