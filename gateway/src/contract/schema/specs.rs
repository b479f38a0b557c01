//! Tenants, specs, plans and what stands by itself.

use super::{
    Schema, any, count, flag, id, list_of, map_of, named, number, object, or_null, resource,
    some_text, some_time, text, time, words,
};
use meta_domain::failure::FailureType;
use meta_domain::plan::{ApprovalMode, PlanOpKind};
use meta_domain::role::{Role, Scope};
use serde_json::json;

pub(super) fn all() -> Vec<(&'static str, Schema)> {
    vec![
        (
            "Tenant",
            resource("tenant", object(&[("name", text()), ("created_at", some_time())]), &[]),
        ),
        ("Caller", caller()),
        ("User", user()),
        ("Key", key()),
        ("AuditEntry", audit_entry()),
        ("AuditVerification", audit_verification()),
        ("Webhook", webhook()),
        ("FlakyStep", flaky_step()),
        ("Spec", spec()),
        ("Plan", plan()),
        ("PlannedStep", object(&planned_step())),
        ("PlanOp", plan_op()),
        ("FailureSignal", signal()),
        ("Exit", exit()),
        ("FailureClassification", classification()),
    ]
}

fn caller() -> Schema {
    let attributes = object(&[("role", words(&Role::OF_CALLERS)), ("actor", text())]);
    resource("tenant", attributes, &[])
}

fn user() -> Schema {
    let attributes = object(&[
        ("email", text()),
        ("role", or_null(words(&Role::OF_CALLERS))),
        ("api_key", text()),
        ("created_at", some_time()),
    ]);
    resource("user", attributes, &[("tenant", false)])
}

fn key() -> Schema {
    let attributes = object(&[
        ("name", text()),
        ("role", or_null(words(&Role::OF_CALLERS))),
        ("scopes", list_of(or_null(words(&Scope::ALL)))),
        ("actor", some_text()),
        ("created_at", some_time()),
        ("expires_at", some_time()),
        ("last_used_at", some_time()),
        ("revoked_at", some_time()),
        ("api_key?", text()),
    ]);
    resource("key", attributes, &[("tenant", false)])
}

fn audit_entry() -> Schema {
    let attributes = object(&[
        ("at", some_time()),
        ("action", text()),
        ("denied", flag()),
        ("actor", text()),
        ("credential", some_text()),
        ("home_tenant_id", some_text()),
        ("object", some_text()),
        ("before", any()),
        ("after", any()),
        ("reason", some_text()),
        ("request_id", some_text()),
        ("trace_id", some_text()),
        ("prev_hash", text()),
        ("hash", text()),
    ]);
    resource("audit_entry", attributes, &[])
}

fn audit_verification() -> Schema {
    let attributes =
        object(&[("entries", count()), ("head_hash", some_text()), ("problems", list_of(text()))]);
    resource("audit_verification", attributes, &[])
}

fn webhook() -> Schema {
    let attributes = object(&[
        ("url", text()),
        ("events", list_of(text())),
        ("created_by", some_text()),
        ("created_at", some_time()),
        ("disabled_reason", some_text()),
        ("waiting", count()),
        ("dead", count()),
        ("last_error", some_text()),
        ("secret?", text()),
    ]);
    resource("webhook", attributes, &[])
}

fn flaky_step() -> Schema {
    let attributes = object(&[
        ("step", text()),
        ("source", some_text()),
        ("fingerprint", text()),
        ("failure_type", or_null(words(&FailureType::ALL))),
        ("message", some_text()),
        ("times", count()),
        ("first_seen", some_time()),
        ("last_seen", some_time()),
    ]);
    resource("flaky_step", attributes, &[("run", false)])
}

fn spec() -> Schema {
    let source = json!({ "anyOf": [
        object(&[("kind", json!({ "const": "git" })), ("url", text()), ("ref", some_text())]),
        object(&[("kind", json!({ "const": "path" })), ("path", text())]),
        object(&[("kind", json!({ "const": "inline" })), ("files", map_of(text()))]),
        object(&[("kind", json!({ "const": "inline" })), ("paths", list_of(text()))]),
        { "type": "null" },
    ]});
    let attributes = object(&[
        ("title", text()),
        ("description", text()),
        ("mode", or_null(words(&["guided", "freeform"]))),
        ("source", source),
        ("steps", list_of(named("PlannedStep"))),
        ("guided_input", or_null(map_of(any()))),
        ("attachments", or_null(list_of(any()))),
        ("created_by", some_text()),
        ("created_at", some_time()),
    ]);
    let mut spec = resource("spec", attributes, &[("plan?", false), ("runs?", true)]);
    spec["required"] = json!(["type", "id", "attributes"]);
    spec
}

fn plan() -> Schema {
    let node = object(&[("id", text()), ("label", any()), ("why", text())]);
    let edge = object(&[("from", text()), ("to", text())]);
    let risk = object(&[("reason", text()), ("points", json!({ "type": "integer" }))]);
    let attributes = object(&[
        ("spec_id", id()),
        ("version", count()),
        ("summary", text()),
        ("risk_score", number(0, 100)),
        ("risk", list_of(risk)),
        ("agents_used", list_of(text())),
        ("plan_graph", object(&[("nodes", list_of(node)), ("edges", list_of(edge))])),
        ("steps", list_of(named("PlannedStep"))),
        ("settings", named("Overrides")),
        ("diff_preview", some_text()),
        ("created_at", some_time()),
    ]);
    resource("plan", attributes, &[("spec", false)])
}

/// The fields of a planned step.
pub(super) fn planned_step() -> Vec<(&'static str, Schema)> {
    let command = json!({ "anyOf": [text(), list_of(text()), { "type": "null" }] });
    vec![
        ("name", text()),
        ("run", command),
        ("needs", list_of(text())),
        ("timeout_ms", count()),
        ("cache", list_of(text())),
        ("fix", some_text()),
        ("env", map_of(text())),
        ("network", flag()),
        ("writable", list_of(text())),
        ("approval", or_null(words(ApprovalMode::ALL))),
        ("runs_on", list_of(text())),
        ("why", text()),
    ]
}

fn plan_op() -> Schema {
    object(&[
        ("kind", or_null(words(PlanOpKind::ALL))),
        ("step", text()),
        ("timeout_ms", or_null(count())),
        ("insert", or_null(named("PlannedStep"))),
        ("needs", list_of(text())),
        ("env", map_of(text())),
        ("parts", list_of(named("PlannedStep"))),
        ("why", text()),
    ])
}

fn signal() -> Schema {
    let location = object(&[
        ("file", some_text()),
        ("line", or_null(count())),
        ("column", or_null(count())),
        ("code", some_text()),
        ("test", some_text()),
    ]);
    let evidence = object(&[("line", count()), ("text", text())]);
    object(&[
        ("type", or_null(words(&FailureType::ALL))),
        ("source", text()),
        ("message", text()),
        ("severity", or_null(words(&["low", "medium", "high", "critical"]))),
        ("can_retry", flag()),
        ("requires_replan", flag()),
        ("confidence", json!({ "type": "number", "minimum": 0, "maximum": 1 })),
        ("evidence", list_of(evidence)),
        ("locations", list_of(location)),
        ("tool", some_text()),
        ("fingerprint", text()),
        ("retry_after_ms", or_null(count())),
        ("runner_up", or_null(words(&FailureType::ALL))),
        ("unknown_reason", some_text()),
    ])
}

fn exit() -> Schema {
    object(&[
        ("code", or_null(json!({ "type": "integer" }))),
        ("signal", or_null(json!({ "type": "integer" }))),
        ("timed_out", flag()),
        ("oom_killed", flag()),
        ("runner_lost", flag()),
    ])
}

fn classification() -> Schema {
    let attributes =
        object(&[("step_name", text()), ("failure_signal", or_null(named("FailureSignal")))]);
    resource("failure_classification", attributes, &[])
}

/// An event of a run's log, as it is in a stream too.
pub(super) fn event() -> Schema {
    object(&[
        ("seq", count()),
        ("type", text()),
        ("step", some_text()),
        ("at", or_null(time())),
        ("data", any()),
    ])
}
