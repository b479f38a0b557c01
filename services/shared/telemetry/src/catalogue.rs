//! Every metric of the product. `docs/METRICS.md` is made from this list.

use crate::definition::{Definition, Kind, Label, Table, Values};
use crate::instrument::{Counter, Gauge, Histogram, Metric};

/// Bounds in seconds of what is usually quick: the ones that OpenTelemetry recommends for calls.
const CALLS: Kind = Kind::Histogram(&[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
]);
/// Bounds in seconds of a commit.
const COMMITS: Kind = Kind::Histogram(&[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
]);
/// Bounds in seconds of what tools do.
const WORK: Kind = Kind::Histogram(&[
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
]);
/// Bounds in seconds of waits between tries.
const BACKOFF: Kind = Kind::Histogram(&[1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]);

/// The failure types.
pub const SIGNAL_TYPES: &[&str] = &[
    "transient",
    "infra",
    "rate_limit",
    "test_assert",
    "lint",
    "typecheck",
    "runtime",
    "schema_migration",
    "security",
    "policy",
    "unknown",
];
/// What comes of a turn of the loop.
pub const OUTCOMES: &[&str] = &["retried", "patch_applied", "replanned", "escalated", "gave_up"];
/// What a human is asked.
pub const GATE_TYPES: &[&str] =
    &["patch", "security", "policy", "migration", "infra", "unknown", "before_step"];
/// Where a gate stands.
pub const GATE_STATUSES: &[&str] = &["pending", "approved", "rejected", "expired"];
/// What comes of a fixer's try.
pub const VERDICTS: &[&str] =
    &["accepted", "needs_approval", "no_change", "guard_reject", "verify_fail", "fixer_error"];
/// What a task does.
pub const TASK_KINDS: &[&str] = &[
    "inspect", "prepare", "step", "judge", "propose", "review", "verify", "commit", "rollback",
    "collect", "draft", "record", "expire", "deadline",
];
/// What the loop spends time on.
pub const OPERATIONS: &[&str] = &[
    "classify", "decide", "collect", "draft", "propose", "review", "verify", "commit", "rollback",
];
/// Runs that have not ended, by status.
pub const OPEN_STATUSES: &[&str] = &["pending", "running", "paused_awaiting_approval"];
/// How a run or a step ended, in the words of OpenTelemetry.
pub const RESULTS: &[&str] = &["success", "failure", "error", "timeout", "cancellation", "skip"];
/// Who carries out a task.
pub const WORKERS: &[&str] = &["runner", "orchestrator"];
/// Where a task stands in the queue.
pub const TASK_STATES: &[&str] = &["ready", "delayed", "blocked", "leased"];
/// What gRPC answers.
pub const RPC_CODES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The RPCs of the role matrix.
pub static RPCS: Table = Table::new("every RPC of the role matrix", 400);
/// The routes of the role matrix.
pub static ROUTES: Table = Table::new("every route of the role matrix", 400);
/// The methods of HTTP.
pub static METHODS: Table = Table::new("the methods of HTTP", 10);
/// The statuses of HTTP that are answered.
pub static STATUSES: Table = Table::new("the statuses of HTTP", 70);

const SIGNAL_TYPE: Label = Label { name: "signal_type", values: Values::Words(SIGNAL_TYPES) };
const OUTCOME: Label = Label { name: "outcome", values: Values::Words(OUTCOMES) };
const RPC_SYSTEM: Label = Label { name: "rpc.system.name", values: Values::Words(&["grpc"]) };
const RPC_METHOD: Label = Label { name: "rpc.method", values: Values::Table(&RPCS) };
const RPC_CODE: Label =
    Label { name: "rpc.response.status_code", values: Values::Words(RPC_CODES) };

macro_rules! metrics {
    ($($of:literal { $(
        $(#[doc = $help:literal])+
        $id:ident: $type:ident($name:literal, $kind:expr, $unit:literal, [$($label:expr),* $(,)?]);
    )+ })+) => {
        $($(
            $(#[doc = $help])+
            pub static $id: $type = $type::new(Definition {
                name: $name,
                kind: $kind,
                unit: $unit,
                labels: &[$($label),*],
                help: concat!($($help),+).trim_ascii(),
                of: $of,
            });
        )+)+

        /// Every metric, in the order of the reference.
        pub static ALL: &[&Metric] = &[$($(&$id.0),+),+];
    };
}

metrics! {
    "orchestrator" {
        /// Turns of the auto-fix loop, by what had failed and what came of it.
        AUTOFIX_ATTEMPTS: Counter("autofix_attempts_total", Kind::Counter, "{attempt}", [SIGNAL_TYPE, OUTCOME]);
        /// Of these, the ones whose step went on to pass; counted when it passes.
        AUTOFIX_PASSED: Counter("autofix_attempts_passed_total", Kind::Counter, "{attempt}", [SIGNAL_TYPE, OUTCOME]);
        /// Waits that the loop decided on before a retry.
        AUTOFIX_BACKOFF: Histogram("autofix_backoff_seconds", BACKOFF, "s", []);
        /// New plan versions that the loop put in force.
        AUTOFIX_REPLANS: Counter("autofix_replans_total", Kind::Counter, "{replan}", []);
        /// Gates by what they ask: `pending` counts those that were opened, the others how they ended.
        APPROVAL_REQUESTS: Counter("approval_requests_total", Kind::Counter, "{gate}", [
            Label { name: "gate_type", values: Values::Words(GATE_TYPES) },
            Label { name: "status", values: Values::Words(GATE_STATUSES) },
        ]);
        /// Failures that were classified, by type.
        CLASSIFIED: Counter("autofix_classified_total", Kind::Counter, "{failure}", [SIGNAL_TYPE]);
        /// Tries of fixers, by what came of them.
        FIXER_TRIES: Counter("autofix_fixer_tries_total", Kind::Counter, "{try}", [
            Label { name: "verdict", values: Values::Words(VERDICTS) },
        ]);
        /// From the start of a run to its end.
        RUN_DURATION: Histogram("cicd.pipeline.run.duration", WORK, "s", [
            Label { name: "cicd.pipeline.result", values: Values::Words(RESULTS) },
        ]);
        /// Runs that failed, by the failure that nothing helped against.
        RUN_ERRORS: Counter("cicd.pipeline.run.errors", Kind::Counter, "{error}", [
            Label { name: "error.type", values: Values::Words(SIGNAL_TYPES) },
        ]);
        /// Runs that have not ended. Every orchestrator on one store sees the same ones.
        RUNS_OPEN: Gauge("metabuilder_runs_open", Kind::Gauge, "{run}", [
            Label { name: "status", values: Values::Words(OPEN_STATUSES) },
        ]);
        /// Executions of steps, by how they ended.
        STEP_DURATION: Histogram("metabuilder_step_duration_seconds", WORK, "s", [
            Label { name: "result", values: Values::Words(RESULTS) },
        ]);
        /// Tasks in the queue: ready to be taken, delayed to a time, blocked by another task of their run, or leased. Every orchestrator on one store sees the same ones.
        QUEUE_TASKS: Gauge("metabuilder_queue_tasks", Kind::Gauge, "{task}", [
            Label { name: "worker", values: Values::Words(WORKERS) },
            Label { name: "state", values: Values::Words(TASK_STATES) },
        ]);
        /// For how long the task has been due that waits longest for somebody to take it.
        QUEUE_OLDEST: Gauge("metabuilder_queue_oldest_seconds", Kind::Gauge, "s", [
            Label { name: "worker", values: Values::Words(WORKERS) },
        ]);
        /// Steps that runners execute now, verifications of patches among them.
        STEPS_IN_FLIGHT: Gauge("metabuilder_steps_in_flight", Kind::Gauge, "{step}", []);
        /// Runners that this orchestrator heard: at work, without work, or not heard for a minute.
        RUNNERS: Gauge("cicd.worker.count", Kind::Gauge, "{worker}", [
            Label { name: "cicd.worker.state", values: Values::Words(&["available", "busy", "offline"]) },
        ]);
        /// Leases that ran out because nobody renewed them.
        LEASE_LOSSES: Counter("metabuilder_lease_losses_total", Kind::Counter, "{lease}", [
            Label { name: "kind", values: Values::Words(TASK_KINDS) },
        ]);
        /// From the start of a transaction with the changes of many runs to its durable end.
        STORE_COMMIT: Histogram("metabuilder_store_commit_seconds", COMMITS, "s", []);
        /// Transactions that the store did not take.
        STORE_FAILURES: Counter("metabuilder_store_failures_total", Kind::Counter, "{transaction}", []);
        /// Chains of the audit by what the last verification found.
        AUDIT_CHAINS: Gauge("metabuilder_audit_chains", Kind::Gauge, "{chain}", [
            Label { name: "state", values: Values::Words(&["whole", "broken"]) },
        ]);
        /// When the audit's chains were last verified, in seconds since the epoch.
        AUDIT_VERIFIED_AT: Gauge("metabuilder_audit_verified_timestamp_seconds", Kind::Gauge, "s", []);
    }
    "orchestrator and runner" {
        /// What the auto-fix loop spends time on. Calls to services and models are the orchestrator's, work on files the runners'.
        AUTOFIX_PROCESSING: Histogram("autofix_processing_seconds", WORK, "s", [
            Label { name: "operation", values: Values::Words(OPERATIONS) },
        ]);
    }
    "orchestrator and gateway" {
        /// How long ago the settings in memory were last confirmed by the flag-resolver's store.
        FLAGS_AGE: Gauge("metabuilder_flags_age_seconds", Kind::Gauge, "s", []);
    }
    "gateway" {
        /// Requests over HTTP, from the head to the answer.
        HTTP_SERVER: Histogram("http.server.request.duration", CALLS, "s", [
            Label { name: "http.request.method", values: Values::Table(&METHODS) },
            Label { name: "http.route", values: Values::Table(&ROUTES) },
            Label { name: "http.response.status_code", values: Values::Table(&STATUSES) },
            Label { name: "url.scheme", values: Values::Words(&["http"]) },
        ]);
    }
    "every process" {
        /// Calls that were served. A stream counts to its end.
        RPC_SERVER: Histogram("rpc.server.call.duration", CALLS, "s", [RPC_SYSTEM, RPC_METHOD, RPC_CODE]);
        /// Calls that were made of other services, up to the head of the answer.
        RPC_CLIENT: Histogram("rpc.client.call.duration", CALLS, "s", [RPC_SYSTEM, RPC_METHOD, RPC_CODE]);
        /// What could not be sent to the collector.
        EXPORT_FAILURES: Counter("metabuilder_telemetry_export_failures_total", Kind::Counter, "{batch}", [
            Label { name: "signal", values: Values::Words(&["traces", "metrics", "logs"]) },
        ]);
        /// Spans and lines of logs that reach no collector: it is away, or too many wait for it.
        TELEMETRY_DROPPED: Counter("metabuilder_telemetry_dropped_total", Kind::Counter, "{item}", [
            Label { name: "signal", values: Values::Words(&["traces", "logs"]) },
        ]);
    }
}

/// Shows the counters of the orchestrator, also while they are zero.
pub fn announce_orchestrator() {
    let counters = [
        &AUTOFIX_ATTEMPTS,
        &AUTOFIX_PASSED,
        &AUTOFIX_REPLANS,
        &APPROVAL_REQUESTS,
        &CLASSIFIED,
        &FIXER_TRIES,
        &RUN_ERRORS,
        &LEASE_LOSSES,
        &STORE_FAILURES,
    ];
    for counter in counters {
        counter.0.announce();
    }
    for histogram in
        [&AUTOFIX_BACKOFF, &RUN_DURATION, &STEP_DURATION, &STORE_COMMIT, &AUTOFIX_PROCESSING]
    {
        histogram.0.announce();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::autofix::{Outcome, TryVerdict};
    use meta_domain::failure::FailureType;
    use meta_domain::gate::{GateStatus, GateType};
    use std::collections::BTreeSet;

    /// Series that one process may hold, whatever happens.
    const SERIES_MAX: usize = 20_000;

    #[test]
    fn labels_have_the_words_of_the_domain() {
        let types: BTreeSet<_> = FailureType::ALL.iter().map(|t| t.as_str()).collect();
        assert_eq!(types, SIGNAL_TYPES.iter().copied().collect());
        let words: Vec<_> = Outcome::ALL.iter().map(|o| o.as_str()).collect();
        assert_eq!(words, OUTCOMES);
        let words: Vec<_> = GateType::ALL.iter().map(|o| o.as_str()).collect();
        assert_eq!(words, GATE_TYPES);
        let words: Vec<_> = GateStatus::ALL.iter().map(|o| o.as_str()).collect();
        assert_eq!(words, GATE_STATUSES);
        let words: Vec<_> = TryVerdict::ALL.iter().map(|o| o.as_str()).collect();
        assert_eq!(words, VERDICTS);
    }

    #[test]
    fn the_contracts_metrics_have_their_names_labels_and_bounds() {
        let find = |name: &str| {
            let found = ALL.iter().find(|m| m.definition.prometheus() == name);
            &found.unwrap_or_else(|| panic!("there is no {name}")).definition
        };
        for (name, labels) in [
            ("autofix_attempts_total", &["signal_type", "outcome"][..]),
            ("autofix_backoff_seconds", &[]),
            ("autofix_replans_total", &[]),
            ("approval_requests_total", &["gate_type", "status"]),
            ("autofix_processing_seconds", &["operation"]),
        ] {
            let names: Vec<_> = find(name).labels.iter().map(|l| l.name).collect();
            assert_eq!(names, labels, "{name}");
        }
        let bounds = &[1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
        assert_eq!(find("autofix_backoff_seconds").kind, Kind::Histogram(bounds));
        for name in [
            "http_server_request_duration_seconds",
            "rpc_server_call_duration_seconds",
            "rpc_client_call_duration_seconds",
            "cicd_pipeline_run_duration_seconds",
            "cicd_pipeline_run_errors_total",
            "cicd_worker_count",
        ] {
            find(name);
        }
    }

    #[test]
    fn no_label_is_without_bounds() {
        let telling = ["tenant", "run", "step", "user", "actor", "key", "id", "path", "name"];
        let mut names = BTreeSet::new();
        let mut sum = 0;
        for metric in ALL {
            let definition = &metric.definition;
            assert!(names.insert(definition.prometheus()), "{} is there twice", definition.name);
            assert!(!definition.help.is_empty() && !definition.unit.is_empty());
            let mut series = 1;
            for label in definition.labels {
                let last = label.name.rsplit(['.', '_']).next().unwrap_or_default();
                let system = label.name == "rpc.system.name";
                assert!(system || !telling.contains(&last), "{}: {}", definition.name, label.name);
                series *= match &label.values {
                    Values::Words(words) => {
                        assert!((1..=20).contains(&words.len()), "{}", label.name);
                        words.len()
                    }
                    // what is not in the table is one more value, and never more than that
                    Values::Table(table) => {
                        assert!(table.max <= 400, "{}", table.what);
                        1
                    }
                };
            }
            sum += series;
        }
        assert!(sum < SERIES_MAX);
    }

    #[test]
    fn a_value_that_nobody_knows_makes_no_series() {
        let before = crate::instrument::lost();
        AUTOFIX_ATTEMPTS.add(&["lint", "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f"], 1);
        AUTOFIX_ATTEMPTS.add(&["lint"], 1);
        assert_eq!(crate::instrument::lost(), before + 2);
        HTTP_SERVER.record(&["BREW", "/runs/17", "200", "http"], std::time::Duration::ZERO);
        let mut seen = Vec::new();
        HTTP_SERVER.0.each(|place, _| seen.push(HTTP_SERVER.0.definition.values(place)));
        assert!(seen.iter().flatten().all(|v| *v != "/runs/17" && *v != "BREW"), "{seen:?}");
    }
}
