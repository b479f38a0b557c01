//! What is played: a project, what its steps do, and what a client does meanwhile.

use meta_domain::autofix::{
    ContextPlan, Decision, FixerCommand, FixerKind, FixerSafety, GuardVerdict, PathGrant,
};
use meta_domain::failure::{FailureType, Severity};
use meta_domain::fault::Fault;
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::plan::PlanGraph;
use meta_domain::project::parse;
use meta_domain::settings::Overrides;
use meta_domain::signal::{ExitInfo, Signal};
use meta_domain::source::Source;
use meta_domain::status::RunStatus;
use orchestrator::core::event::Execution;
use orchestrator::core::evidence::{Check, Evidence, hash};
use orchestrator::core::run::{GatePolicy, Patch, Run, State, Step};
use orchestrator::core::transition::{Input, TaskKind};

const ONE: &str = "[[step]]\nname='a'\nrun='t'\n";
const DIAMOND: &str = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n\
    [[step]]\nname='c'\nrun='t'\nneeds=['a']\n[[step]]\nname='d'\nrun='t'\nneeds=['b','c']\n";

/// What a client does beside starting the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Waits.
    Waits,
    /// Asks for the same run twice.
    RepeatsRequest,
    /// Approves the gate.
    Approves,
    /// Cancels once a step was started.
    Cancels,
}

/// See the module.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The project.
    pub project: &'static str,
    /// What the client does.
    pub client: Client,
    /// How the run ends.
    pub ends: RunStatus,
    /// How often the first step fails.
    failures: u32,
    decision: fn() -> Decision,
}

/// All of them.
pub const ALL: [Scenario; 6] = [
    Scenario {
        name: "diamond",
        project: DIAMOND,
        client: Client::Waits,
        ends: RunStatus::Succeeded,
        failures: 0,
        decision: retry,
    },
    Scenario {
        name: "retry",
        project: ONE,
        client: Client::Waits,
        ends: RunStatus::Succeeded,
        failures: 2,
        decision: retry,
    },
    Scenario {
        name: "fix",
        project: ONE,
        client: Client::Waits,
        ends: RunStatus::Succeeded,
        failures: 1,
        decision: fix,
    },
    Scenario {
        name: "gate",
        project: ONE,
        client: Client::Approves,
        ends: RunStatus::Succeeded,
        failures: 1,
        decision: ask,
    },
    Scenario {
        name: "cancel",
        project: DIAMOND,
        client: Client::Cancels,
        ends: RunStatus::Canceled,
        failures: 0,
        decision: retry,
    },
    Scenario {
        name: "repeat",
        project: ONE,
        client: Client::RepeatsRequest,
        ends: RunStatus::Succeeded,
        failures: 0,
        decision: retry,
    },
];

fn retry() -> Decision {
    Decision::RetryStep { backoff_ms: 30, reason: "again".into() }
}

fn ask() -> Decision {
    let (gate, effect) = (GateType::Security, GateEffect::Accept);
    Decision::ManualIntervention { gate, effect, reason: "look".into() }
}

fn fix() -> Decision {
    let fixer = FixerCommand {
        id: "fixer".into(),
        title: "fixer".into(),
        script: "true".into(),
        files: Vec::new(),
        network: false,
        timeout_ms: 1_000,
        safety: FixerSafety::Safe,
        grant: PathGrant::default(),
        kind: FixerKind::Script,
        context: ContextPlan::default(),
        sarif: false,
    };
    Decision::FixSpecificIssue { fixers: vec![fixer], reason: "it can".into() }
}

impl Scenario {
    /// What comes of a task on a run as it is now.
    pub fn made(&self, kind: TaskKind, name: &str, run: &Run) -> Result<Input, Fault> {
        let step = name.to_owned();
        let gone = || Fault::not_found("STEP_NOT_FOUND", "step", name);
        Ok(match kind {
            TaskKind::Prepare => {
                Input::Prepared { commit: "first".into(), files: 1, bot_commits: 0 }
            }
            TaskKind::Step => {
                let healed = run.head != run.base;
                let paid = u32::try_from(run.attempts.len()).unwrap_or(u32::MAX);
                let fails = !healed && paid < self.failures;
                let exit = ExitInfo::code(i32::from(fails));
                let execution = Execution { exit, ..Execution::default() };
                Input::StepFinished { step, execution, commit: String::new() }
            }
            TaskKind::Judge => Input::Judged {
                signal: signal(),
                decision: (self.decision)(),
                paid: run.paid_attempts().count(),
                step,
            },
            TaskKind::Propose => Input::Proposed { step, result: Ok("diff".into()) },
            TaskKind::Review => {
                let at = run.step(name).ok_or_else(gone)?;
                let State::Healing(_) = &at.state else { return Err(gone()) };
                let sha256 = hash(b"diff");
                let patch = Patch { text: "diff".into(), sha256, files: 1, added: 1, removed: 0 };
                let (verdict, reasons) = (GuardVerdict::Accept, Vec::new());
                Input::Reviewed { step, verdict, patch, reasons, risk: 0 }
            }
            TaskKind::Verify => {
                let checks = vec![Check { step: step.clone(), ..Check::default() }];
                let evidence = Evidence { passed: true, checks, ..Evidence::default() };
                Input::Verified { step, evidence: Box::new(evidence) }
            }
            TaskKind::Commit => Input::Committed { step, commit: "second".into() },
            _ => return Err(gone()),
        })
    }

    /// A run of it.
    pub fn run(&self) -> Run {
        let steps = parse(self.project).expect("the projects are valid").steps;
        Run {
            id: meta_runtime::new_id().into(),
            tenant: orchestrator::DEFAULT_TENANT,
            spec: meta_runtime::new_id().into(),
            plan: meta_runtime::new_id().into(),
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
            created_by: "ann".into(),
            created_at: meta_runtime::now(),
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
            gate_policy: GatePolicy::default(),
            bot_commits: 0,
            held_by: String::new(),
            timeout_ms: 0,
            priority: 0,
            trace: String::new(),
            retried: 0,
            seq: 0,
        }
    }
}

fn signal() -> Signal {
    Signal {
        failure_type: FailureType::Lint,
        source: "rule".into(),
        message: "it failed".into(),
        severity: Severity::Low,
        can_retry: true,
        requires_replan: false,
        confidence: 0.9,
        evidence: Vec::new(),
        locations: Vec::new(),
        tool: "t".into(),
        fingerprint: "f".into(),
        retry_after_ms: None,
        runner_up: None,
        unknown_reason: None,
    }
}
