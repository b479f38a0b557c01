//! What is built, and what runners, fixers and the auto-fixer make of it: drawn.

use super::random::Random;
use meta_domain::autofix::{
    ContextPlan, Decision, FixerCommand, FixerKind, FixerSafety, GuardVerdict, PathGrant,
    TryVerdict,
};
use meta_domain::failure::{FailureType, Severity};
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::id::TenantId;
use meta_domain::plan::{PlanGraph, PlanOp, PlanOpKind};
use meta_domain::project::parse;
use meta_domain::settings::Overrides;
use meta_domain::signal::{ExitInfo, Signal};
use meta_domain::source::Source;
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use orchestrator::core::event::Execution;
use orchestrator::core::evidence::{Check, Evidence, hash};
use orchestrator::core::queue::Task;
use orchestrator::core::run::{ExpiryAction, GatePolicy, Patch, Run, State, Step};
use orchestrator::core::transition::{Input, TaskKind};

/// Attempts of a run, and of a step, that the auto-fixer pays for at most.
pub const ATTEMPTS_MAX: usize = 6;
/// See [`ATTEMPTS_MAX`].
pub const STEP_ATTEMPTS_MAX: usize = 3;
/// The longest wait before a retry, in milliseconds.
const BACKOFF_MS_MAX: i64 = 3_000;

const PROJECTS: [&str; 5] = [
    "[[step]]\nname='a'\nrun='t'\n",
    "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n",
    "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n\
     [[step]]\nname='c'\nrun='t'\nneeds=['a']\ncache=['x']\n\
     [[step]]\nname='d'\nrun='t'\nneeds=['b','c']\n",
    "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\napproval='before'\nneeds=['a']\n",
    "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\n[[step]]\nname='c'\nrun='t'\n\
     runs_on=['gpu']\n",
];

/// A run that does not exist yet.
pub fn run(random: &mut Random, tenant: TenantId, now: Timestamp) -> Run {
    let file: &str = PROJECTS[random.below(PROJECTS.len())];
    let steps = parse(file).expect("the projects are valid").steps;
    let expires_after_ms = if random.chance(300) { random.between(2_000, 9_000) } else { 0 };
    Run {
        id: random.id().into(),
        tenant,
        spec: random.id().into(),
        plan: random.id().into(),
        plan_version: 1,
        graph: PlanGraph {
            steps: steps.clone(),
            summary: String::new(),
            risk: Vec::new(),
            overrides: Overrides::default(),
        }
        .into(),
        source: Source::Path { path: "/source".into() },
        mount: String::new(),
        cache_key: "k".into(),
        max_iterations: 4,
        created_by: "somebody".into(),
        created_at: now,
        status: RunStatus::Pending,
        reason: String::new(),
        started_at: None,
        finished_at: None,
        base: String::new(),
        head: String::new(),
        steps: steps.into_iter().map(|s| Step::new(s).into()).collect(),
        attempts: Vec::new(),
        gates: Vec::new(),
        deltas: Vec::new(),
        budget_from: 0,
        failure_types: Vec::new(),
        rolling_back: false,
        gate_policy: GatePolicy {
            expires_after_ms: u64::try_from(expires_after_ms).unwrap_or(0),
            on_expiry: *random.pick(&[ExpiryAction::Fail, ExpiryAction::Cancel]),
            four_eyes: false,
        },
        bot_commits: 0,
        held_by: String::new(),
        timeout_ms: 0,
        priority: i32::try_from(random.between(0, 2)).unwrap_or(0),
        trace: String::new(),
        retried: 0,
        seq: 0,
    }
}

/// What a runner makes of a task.
#[derive(Debug, Clone)]
pub enum Made {
    /// A result for the run; how it can be told from any other, where it can.
    Result(Box<Input>, Option<String>),
    /// Another runner may fare better.
    NotNow,
}

/// What a runner makes of a task. `nonce` names this execution.
pub fn made(random: &mut Random, task: &Task, nonce: u64) -> Made {
    let (step, mark) = (task.step.clone(), format!("mark-{nonce}-"));
    if random.chance(40) {
        return Made::NotNow;
    }
    if random.chance(25) {
        let known = (task.kind != TaskKind::Step).then(|| mark.clone());
        let input = Input::TaskFailed { kind: task.kind, step, message: mark };
        return Made::Result(Box::new(input), known);
    }
    let commit = mark.clone();
    let input = match task.kind {
        TaskKind::Prepare => Input::Prepared { commit, files: 3, bot_commits: 0 },
        TaskKind::Step => {
            let code = i32::from(random.chance(350));
            let exit = ExitInfo::code(code);
            let execution = Execution { exit, duration_ms: nonce, ..Execution::default() };
            Input::StepFinished { step, execution, commit: String::new() }
        }
        TaskKind::Collect => {
            return Made::Result(Box::new(Input::Collected { step, files: 2 }), None);
        }
        TaskKind::Propose => {
            let text = format!("{mark}{}", random.below(4));
            let known = random.chance(500);
            let result = match random.below(10) {
                0 | 1 => Err((TryVerdict::NoChange, text)),
                _ if known => Ok(text),
                _ => {
                    let text = format!("diff {}", random.below(3));
                    let input = Input::Proposed { step, result: Ok(text) };
                    return Made::Result(Box::new(input), None);
                }
            };
            Input::Proposed { step, result }
        }
        TaskKind::Verify => {
            let checks = vec![Check { step: step.clone(), ..Check::default() }];
            let passed = random.chance(600);
            let evidence = Evidence { passed, detail: mark.clone(), checks, ..Evidence::default() };
            Input::Verified { step, evidence: Box::new(evidence) }
        }
        TaskKind::Rollback if random.chance(200) => {
            let input = Input::RolledBack { step, commit: String::new() };
            return Made::Result(Box::new(input), None);
        }
        TaskKind::Rollback => Input::RolledBack { step, commit },
        _ => Input::Committed { step, commit },
    };
    Made::Result(Box::new(input), Some(mark))
}

/// What comes of one of the orchestrator's own tasks; nothing when the task fits the run no longer.
pub fn own(random: &mut Random, run: &Run, task: &Task) -> Option<Input> {
    let step = run.step(&task.step)?;
    let name = task.step.clone();
    Some(match task.kind {
        TaskKind::Judge => Input::Judged {
            step: name,
            signal: step.signal.clone().unwrap_or_else(|| signal(random)),
            decision: decision(random, run, step),
            paid: run.paid_attempts().count(),
        },
        TaskKind::Review => {
            let State::Healing(healing) = &step.state else { return None };
            let text = healing.patch.as_ref()?.text.clone();
            let sha256 = hash(text.as_bytes());
            let verdict = match random.below(10) {
                0 => GuardVerdict::Reject { reason: "no".into() },
                1..=3 => GuardVerdict::NeedsApproval { reason: "look".into() },
                _ => GuardVerdict::Accept,
            };
            let patch = Patch { text, sha256, files: 1, added: 1, removed: 1 };
            Input::Reviewed { step: name, verdict, patch, reasons: Vec::new(), risk: 10 }
        }
        TaskKind::Draft => {
            let result = match random.below(4) {
                0 => Err((TryVerdict::FixerError, "no answer".into())),
                _ => Ok(("model".into(), "because".into())),
            };
            Input::Drafted { step: name, result, tokens: 7 }
        }
        TaskKind::Expire => Input::GateExpired { step: name },
        _ => return None,
    })
}

fn signal(random: &mut Random) -> Signal {
    let types = [FailureType::Lint, FailureType::Transient, FailureType::Security];
    Signal {
        failure_type: *random.pick(&types),
        source: "rule".into(),
        message: "it failed".into(),
        severity: Severity::Low,
        can_retry: true,
        requires_replan: false,
        confidence: 0.9,
        evidence: Vec::new(),
        locations: Vec::new(),
        tool: "t".into(),
        fingerprint: format!("f{}", random.below(2)),
        retry_after_ms: None,
        runner_up: None,
        unknown_reason: None,
    }
}

fn decision(random: &mut Random, run: &Run, step: &Step) -> Decision {
    let name = &step.planned.name;
    let spent =
        run.paid_attempts().count() >= ATTEMPTS_MAX || run.history(name).len() >= STEP_ATTEMPTS_MAX;
    let reason = "drawn".to_owned();
    let choice = if spent { 8 + random.below(4) } else { random.below(12) };
    match choice {
        0..=2 => {
            let backoff_ms = u64::try_from(random.between(0, BACKOFF_MS_MAX)).unwrap_or(0);
            Decision::RetryStep { backoff_ms, reason }
        }
        3..=5 => {
            let count = 1 + random.below(2);
            let fixers = (0..count).map(|n| fixer(random, n)).collect();
            Decision::FixSpecificIssue { fixers, reason }
        }
        6 => Decision::RePlan { ops: vec![op(random, name)], triggered_by: "rule".into(), reason },
        7 => Decision::Rollback { reason },
        8 | 9 => {
            let (gate, effect) = *random.pick(&[
                (GateType::Security, GateEffect::Accept),
                (GateType::Infra, GateEffect::Retry),
            ]);
            Decision::ManualIntervention { gate, effect, reason }
        }
        _ => Decision::GiveUp { reason },
    }
}

fn fixer(random: &mut Random, number: usize) -> FixerCommand {
    FixerCommand {
        id: format!("fixer-{number}"),
        title: format!("fixer {number}"),
        script: "true".into(),
        files: Vec::new(),
        network: false,
        timeout_ms: 1_000,
        safety: FixerSafety::Safe,
        grant: PathGrant::default(),
        kind: *random.pick(&[FixerKind::Script, FixerKind::Script, FixerKind::Model]),
        context: ContextPlan::default(),
        sarif: false,
    }
}

fn op(random: &mut Random, step: &str) -> PlanOp {
    let kinds = [
        PlanOpKind::CleanCache,
        PlanOpKind::Serialise,
        PlanOpKind::ExtendTimeout,
        PlanOpKind::InsertBefore,
        PlanOpKind::MoveRunner,
        PlanOpKind::SetEnv,
    ];
    let op = PlanOp::new(*random.pick(&kinds), step, "drawn");
    let number = random.below(1_000);
    match op.kind {
        PlanOpKind::ExtendTimeout => PlanOp { timeout_ms: Some(90_000 + number as u64), ..op },
        PlanOpKind::SetEnv => PlanOp { env: [("N".to_owned(), number.to_string())].into(), ..op },
        PlanOpKind::InsertBefore => {
            let file = format!("[[step]]\nname='n{number}'\nrun='t'\n");
            let insert = parse(&file).ok().and_then(|p| p.steps.into_iter().next());
            PlanOp { insert, ..op }
        }
        _ => op,
    }
}
