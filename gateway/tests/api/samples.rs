//! The answers the peers give.

use meta_proto::{common, flags, orchestrator as pb};

pub const TENANT: &str = "0197a2c4-0000-7c11-9f6d-000000000001";
pub const OTHER_TENANT: &str = "0197a2c4-0000-7c11-9f6d-000000000002";
pub const THIRD_TENANT: &str = "0197a2c4-0000-7c11-9f6d-000000000003";
pub const SCHEDULED: &str = "0197a2c4-0000-7c11-9f6d-000000000060";
pub const SPEC: &str = "0197a2c4-0000-7c11-9f6d-000000000010";
pub const PLAN: &str = "0197a2c4-0000-7c11-9f6d-000000000020";
pub const NEW_PLAN: &str = "0197a2c4-0000-7c11-9f6d-000000000021";
pub const RUN: &str = "0197a2c4-0000-7c11-9f6d-000000000030";
pub const RUN_UNKNOWN: &str = "0197a2c4-0000-7c11-9f6d-000000000031";
pub const RUN_LIMITED: &str = "0197a2c4-0000-7c11-9f6d-000000000032";
pub const RUN_BROKEN: &str = "0197a2c4-0000-7c11-9f6d-000000000033";
pub const RUN_SLOW: &str = "0197a2c4-0000-7c11-9f6d-000000000034";
pub const RUN_PANIC: &str = "0197a2c4-0000-7c11-9f6d-000000000035";
pub const RUN_TORN: &str = "0197a2c4-0000-7c11-9f6d-000000000036";
pub const RUN_QUIET: &str = "0197a2c4-0000-7c11-9f6d-000000000037";
pub const GATE: &str = "0197a2c4-0000-7c11-9f6d-000000000040";
pub const GATE_DECIDED: &str = "0197a2c4-0000-7c11-9f6d-000000000041";
pub const FIRST_ATTEMPT: &str = "0197a2c4-0000-7c11-9f6d-000000000050";
pub const SECOND_ATTEMPT: &str = "0197a2c4-0000-7c11-9f6d-000000000051";
pub const PATCH: &str = "--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1,2 @@\n+\n x\n";

fn at(second: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_700_000_000 + second, nanos: 0 })
}

pub fn signal() -> common::FailureSignal {
    common::FailureSignal {
        r#type: common::FailureType::Lint.into(),
        source: "lint.ruff".into(),
        message: "E302 expected 2 blank lines".into(),
        severity: common::Severity::Low.into(),
        confidence: 0.95,
        evidence: vec![common::EvidenceLine { line: 3, text: "a.py:1:1 E302".into() }],
        locations: vec![common::Location {
            file: "a.py".into(),
            line: 1,
            column: 0,
            code: "E302".into(),
            test: String::new(),
        }],
        tool: "ruff".into(),
        fingerprint: "f00d".into(),
        ..common::FailureSignal::default()
    }
}

fn step(name: &str, needs: &[&str]) -> common::PlannedStep {
    common::PlannedStep {
        name: name.into(),
        run: Some(common::Command {
            kind: Some(common::command::Kind::Shell(format!("make {name}"))),
        }),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        timeout_ms: 1000,
        approval: common::ApprovalMode::OnFix.into(),
        why: format!("target {name:?} of the Makefile"),
        ..common::PlannedStep::default()
    }
}

pub fn plan() -> pb::Plan {
    pb::Plan {
        id: PLAN.into(),
        spec_id: SPEC.into(),
        version: 2,
        graph: Some(common::PlanGraph {
            steps: vec![step("lint", &[]), step("test", &["lint"])],
            summary: "two steps".into(),
            risk: vec![common::RiskPart { reason: "network".into(), points: 12 }],
            overrides: Some(common::Overrides {
                max_total_attempts: Some(3),
                ..common::Overrides::default()
            }),
        }),
        risk_score: 12,
        created_at: at(0),
    }
}

pub fn spec() -> pb::Spec {
    let files = [("a.py".to_owned(), "x = 1\n".to_owned())];
    pb::Spec {
        id: SPEC.into(),
        title: "Build it".into(),
        mode: pb::SpecMode::Freeform.into(),
        source: Some(common::Source {
            kind: Some(common::source::Kind::Inline(common::InlineSource {
                files: files.into_iter().collect(),
            })),
        }),
        guided_input_json: r#"{"language":"python"}"#.into(),
        created_at: at(0),
        ..pb::Spec::default()
    }
}

pub fn gate() -> pb::Gate {
    pb::Gate {
        id: GATE.into(),
        run_id: RUN.into(),
        step: "test".into(),
        r#type: common::GateType::Patch.into(),
        status: common::GateStatus::Pending.into(),
        effect: common::GateEffect::ApplyPatch.into(),
        reason: "the patch touches a test".into(),
        proposed_patch: PATCH.into(),
        fixer: "ruff_format".into(),
        created_at: at(9),
        signal: Some(signal()),
        ..pb::Gate::default()
    }
}

fn attempt(id: &str, number: u32, backoff_ms: u64, patch: &str) -> pb::Attempt {
    let retried = patch.is_empty();
    pb::Attempt {
        id: id.into(),
        step: "lint".into(),
        number,
        signal: Some(signal()),
        strategy: if retried {
            common::Strategy::RetryStep.into()
        } else {
            common::Strategy::FixSpecificIssue.into()
        },
        outcome: if retried {
            common::Outcome::Retried.into()
        } else {
            common::Outcome::PatchApplied.into()
        },
        backoff_ms,
        patch: patch.into(),
        created_at: at(i64::from(number)),
        ..pb::Attempt::default()
    }
}

pub fn run() -> pb::Run {
    pb::Run {
        id: RUN.into(),
        spec_id: SPEC.into(),
        plan_id: PLAN.into(),
        plan_version: 2,
        status: pb::RunStatus::PausedAwaitingApproval.into(),
        steps: vec![
            pb::RunStep {
                step: Some(step("lint", &[])),
                status: pb::StepStatus::Succeeded.into(),
                executions: 3,
                attempts: 2,
                ..pb::RunStep::default()
            },
            pb::RunStep {
                step: Some(step("test", &["lint"])),
                status: pb::StepStatus::Running.into(),
                signal: Some(signal()),
                ..pb::RunStep::default()
            },
        ],
        attempts: vec![attempt(FIRST_ATTEMPT, 1, 1500, ""), attempt(SECOND_ATTEMPT, 2, 0, PATCH)],
        gates: vec![gate()],
        deltas: vec![pb::PlanDelta {
            id: "0197a2c4-0000-7c11-9f6d-000000000060".into(),
            original_plan_id: PLAN.into(),
            new_plan_id: NEW_PLAN.into(),
            ops: vec![common::PlanOp {
                kind: common::PlanOpKind::CleanCache.into(),
                step: "lint".into(),
                why: "stale cache".into(),
                ..common::PlanOp::default()
            }],
            triggered_by: "consecutive_unknown_failures".into(),
            created_at: at(5),
        }],
        max_iterations: 4,
        created_by: "key:1".into(),
        created_at: at(0),
        last_seq: 3,
        ..pb::Run::default()
    }
}

pub fn event(seq: u64) -> pb::StreamEventsResponse {
    pb::StreamEventsResponse {
        event: Some(pb::RunEvent {
            seq,
            r#type: "step.started".into(),
            step: "lint".into(),
            at: at(1),
            data_json: r#"{"text":"two\nlines"}"#.into(),
        }),
    }
}

pub fn explanation() -> flags::ExplainResponse {
    let value = |layer: common::Layer, value: &str| flags::LayerValue {
        layer: layer.into(),
        value: value.into(),
        applies: true,
        ..flags::LayerValue::default()
    };
    let missed = flags::LayerValue {
        percent: Some(25),
        bucket_key: "canary".into(),
        reason: "try".into(),
        applies: false,
        ..value(common::Layer::Rollout, "5")
    };
    let broken = |layer| flags::LayerValue {
        problem: "is not a boolean".into(),
        applies: false,
        ..value(layer, "7")
    };
    flags::ExplainResponse {
        settings: vec![
            flags::SettingExplanation {
                name: "autofix_enabled".into(),
                value: "true".into(),
                winner: common::Layer::Platform.into(),
                layers: vec![
                    value(common::Layer::Platform, "true"),
                    broken(common::Layer::Tenant),
                    broken(common::Layer::Run),
                ],
            },
            flags::SettingExplanation {
                name: "max_total_attempts".into(),
                value: "4".into(),
                winner: common::Layer::Run.into(),
                layers: vec![
                    value(common::Layer::Platform, "10"),
                    missed,
                    value(common::Layer::Tenant, "8"),
                    value(common::Layer::Run, "4"),
                ],
            },
        ],
        version: 5,
        stale: true,
        stale_ms: 4_000,
        override_version: 7,
        scheduled: vec![flags::ScheduledChange {
            id: SCHEDULED.into(),
            layer: common::Layer::Rollout.into(),
            effective_at: at(60),
            author: "ann".into(),
            reason: "try it".into(),
            rollouts: vec![rollout()],
            patch: true,
            ..flags::ScheduledChange::default()
        }],
    }
}

pub fn total(value: u32) -> common::Overrides {
    common::Overrides { max_total_attempts: Some(value), ..common::Overrides::default() }
}

pub fn rollout() -> common::Rollout {
    let value = common::setting_value::Kind::Number(4);
    common::Rollout {
        setting: "max_total_attempts".into(),
        value: Some(common::SettingValue { kind: Some(value) }),
        percent: 25,
        bucket_key: String::new(),
    }
}

/// The tenant has 9 attempts, its run 2; another tenant has auto-fix off.
pub fn snapshot() -> flags::WatchSnapshotResponse {
    let owned = |tenant: &str, run: &str, overrides| flags::OwnedOverrides {
        tenant_id: tenant.into(),
        run_id: run.into(),
        overrides: Some(overrides),
    };
    let off = common::Overrides { autofix_enabled: Some(false), ..common::Overrides::default() };
    flags::WatchSnapshotResponse {
        version: 5,
        reset: true,
        platform: Some(common::Settings {
            autofix_enabled: true,
            max_total_attempts: 6,
            max_per_step_attempts: 3,
            backoff_cap_seconds: 60,
        }),
        overrides: vec![
            owned(TENANT, "", total(9)),
            owned(TENANT, RUN, total(2)),
            owned(OTHER_TENANT, "", off),
        ],
        ..flags::WatchSnapshotResponse::default()
    }
}

pub fn affected() -> flags::AffectedTenant {
    flags::AffectedTenant {
        tenant_id: TENANT.into(),
        run_id: String::new(),
        before: Some(total(6)),
        after: Some(total(8)),
    }
}

pub fn change() -> flags::Change {
    flags::Change {
        actor: "ann".into(),
        changed_at: at(10),
        before: Some(total(6)),
        after: Some(total(8)),
        version: 5,
        kind: flags::ChangeKind::Written.into(),
        reason: "more patience".into(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        layer: common::Layer::Tenant.into(),
        ..flags::Change::default()
    }
}

pub fn platform() -> flags::GetPlatformResponse {
    let layer = |layer: common::Layer, overrides, rollouts, version| flags::PlatformLayer {
        layer: layer.into(),
        overrides,
        rollouts,
        version,
    };
    let off = common::Overrides { autofix_enabled: Some(false), ..common::Overrides::default() };
    flags::GetPlatformResponse {
        environment: snapshot().platform,
        layers: vec![
            layer(common::Layer::Platform, Some(total(7)), vec![], 1),
            layer(common::Layer::Rollout, None, vec![rollout()], 2),
            layer(common::Layer::KillSwitch, Some(off), vec![], 3),
        ],
        scheduled: vec![],
        version: 9,
    }
}
