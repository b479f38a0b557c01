//! Statuses of runs and steps as users see them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Makes an enum of lower-case words with `ALL`, `as_str`, `Display`, `FromStr` and serde.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The lower-case word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    let text: String = text.chars().take($crate::limits::ECHO_CHARS_MAX).collect();
                    format!("{text:?} is not known (expected one of {})", all.join(", "))
                })
            }
        }
    };
}
pub use words;

words! {
    /// Status of a run.
    RunStatus {
        /// Accepted, nothing has started.
        Pending = "pending",
        /// Steps run or wait for their turn.
        Running = "running",
        /// A gate waits for a human.
        PausedAwaitingApproval = "paused_awaiting_approval",
        /// Every step succeeded or was skipped.
        Succeeded = "succeeded",
        /// A step failed for good.
        Failed = "failed",
        /// Somebody canceled it.
        Canceled = "canceled",
    }
}

impl RunStatus {
    /// Whether the run has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

words! {
    /// Status of a step in a run.
    StepStatus {
        /// Waits for its turn, for its needs, or for a backoff.
        Pending = "pending",
        /// Executes, or is being healed.
        Running = "running",
        /// Passed.
        Succeeded = "succeeded",
        /// Failed for good.
        Failed = "failed",
        /// Not executed, by an operator or a re-plan.
        Skipped = "skipped",
        /// The run was canceled.
        Canceled = "canceled",
    }
}
