//! The last word on a failure: ask a human where a human can change the outcome, else give up.

use super::reason::{missing_module, missing_tool, tried};
use meta_domain::autofix::{Case, Decision};
use meta_domain::failure::FailureType;
use meta_domain::gate::{GateEffect, GateType};

/// Nothing is left to try.
pub(super) fn last_word(case: &Case) -> Decision {
    let signal = &case.signal;
    let start = match signal.failure_type {
        FailureType::Transient | FailureType::RateLimit => "the step did not recover".to_owned(),
        FailureType::Infra => "the platform is broken".to_owned(),
        FailureType::TestAssert => {
            "a test fails, also when it is run again, and no fixer may touch that".to_owned()
        }
        FailureType::Lint | FailureType::Typecheck | FailureType::Runtime => {
            "the code is broken and no fixer helped".to_owned()
        }
        FailureType::SchemaMigration => "a migration needs a human's decision".to_owned(),
        FailureType::Security => "a security finding needs a human's decision".to_owned(),
        FailureType::Policy => "a policy finding needs a human's decision".to_owned(),
        FailureType::Unknown => "nobody knows what failed".to_owned(),
    };
    close(case, &start)
}

/// A budget is used up.
pub(super) fn budget_spent(case: &Case, spent: &str) -> Decision {
    close(case, spent)
}

/// The loop keeps patching: a human should look.
pub(super) fn too_many_patches(case: &Case) -> Decision {
    Decision::ManualIntervention {
        gate: GateType::Unknown,
        effect: GateEffect::Retry,
        reason: format!(
            "the last attempts were all patches and the step still fails; {}",
            tried(case)
        ),
    }
}

fn close(case: &Case, start: &str) -> Decision {
    let (gate, effect) = match case.signal.failure_type {
        FailureType::Infra => (GateType::Infra, GateEffect::Retry),
        FailureType::SchemaMigration => (GateType::Migration, GateEffect::Retry),
        FailureType::Security => (GateType::Security, GateEffect::Accept),
        FailureType::Policy => (GateType::Policy, GateEffect::Accept),
        FailureType::Unknown => (GateType::Unknown, GateEffect::Retry),
        FailureType::Runtime => return missing(case).unwrap_or_else(|| give_up(case, start)),
        FailureType::Transient
        | FailureType::RateLimit
        | FailureType::TestAssert
        | FailureType::Lint
        | FailureType::Typecheck => return give_up(case, start),
    };
    Decision::ManualIntervention { gate, effect, reason: sentence(case, start) }
}

/// Something is missing that only a human can bring.
fn missing(case: &Case) -> Option<Decision> {
    let (gate, what) = match (missing_module(case), missing_tool(case)) {
        (Some(name), _) => (
            GateType::Unknown,
            format!(
                "the module {name:?} is missing and only a human can say which package to trust"
            ),
        ),
        (None, Some(name)) => (
            GateType::Infra,
            format!("the tool {name:?} is not on the runner's machine; install it and approve"),
        ),
        (None, None) => return None,
    };
    let reason = format!("{what}; {}", tried(case));
    Some(Decision::ManualIntervention { gate, effect: GateEffect::Retry, reason })
}

fn give_up(case: &Case, start: &str) -> Decision {
    Decision::GiveUp { reason: sentence(case, start) }
}

fn sentence(case: &Case, start: &str) -> String {
    format!("{start}: {}; {}", case.signal.message, tried(case))
}
