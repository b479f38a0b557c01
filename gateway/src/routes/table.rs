//! The table of the API: every route with its handler and what it promises.

use super::{
    about, approvals, audit, classify, control, create_run, events, flaky, health, keys, logs,
    plans, runs, settings, specs, tenants, webhooks, why,
};
use crate::contract::schema::{
    any, cleared, decision, failure, flag, idempotency_key, if_match, last_event_id, many, map_of,
    named, new_key, new_run, new_spec, new_tenant, new_user, new_webhook, nothing, number, object,
    one, one_with, page, page_token, parameter, per_page, plan_edit, redelivery, rollouts,
    run_filters, setting, text, words, write_options,
};
use crate::contract::schema::{id, marked, why as reason};
use crate::contract::{Operation, Routes, op};
use meta_domain::gate::GateStatus;
use meta_domain::role::Role;

const LINES: &str = "application/x-ndjson";
const LIVE: &str = "text/event-stream";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Every route.
pub(super) fn routes() -> Routes {
    tenants_and_users()
        .merge(tenant_settings())
        .merge(run_settings())
        .merge(platform_settings())
        .merge(specs_and_plans())
        .merge(lists_of_runs())
        .merge(histories())
        .merge(streams())
        .merge(run_actions())
        .merge(decisions())
        .merge(hooks())
        .merge(keys_and_audit())
        .merge(super::ofrep::routes())
        .merge(outside())
}

/// What every POST that creates has.
fn creates(id: &'static str, summary: &'static str, resource: &'static str) -> Operation {
    op(id, summary)
        .headers([idempotency_key()])
        .answers(201, "It is made", one(resource))
        .refuses(&[409, 422])
}

fn tenants_and_users() -> Routes {
    Routes::default()
        .get(
            "/caller",
            tenants::caller,
            op("getCaller", "Whose key this is").answers(200, "The caller's tenant", one("Caller")),
        )
        .get(
            "/tenants",
            tenants::list,
            op("listTenants", "All tenants in the order of their ids")
                .role(Role::PlatformAdmin)
                .query([per_page(), page_token()])
                .answers(200, "A page of tenants", many("Tenant")),
        )
        .post(
            "/tenants",
            tenants::create,
            creates("createTenant", "Create a tenant", "Tenant")
                .role(Role::PlatformAdmin)
                .attributes(new_tenant()),
        )
        .post(
            "/tenants/{tenant_id}/users",
            tenants::create_user,
            creates("createUser", "Create a user; answers once with the API key", "User")
                .role(Role::Owner)
                .attributes(new_user()),
        )
}

/// What a write of settings answers.
fn writes(id: &'static str, summary: &'static str, resource: &'static str) -> Operation {
    let now = serde_json::json!({ "anyOf": [one(resource), one("SettingsDryRun")] });
    op(id, summary)
        .query(write_options())
        .headers([if_match()])
        .answers(200, "How the settings are now, or what would change", now)
        .answers(202, "The change is scheduled", one("ScheduledChange"))
        .refuses(&[409, 412])
}

fn tenant_settings() -> Routes {
    let path = "/tenants/{tenant_id}/settings";
    Routes::default()
        .get(
            path,
            settings::tenant,
            op("getTenantSettings", "A tenant's settings and where each value comes from").answers(
                200,
                "The settings",
                one("Settings"),
            ),
        )
        .put(
            path,
            settings::set_tenant,
            writes("replaceTenantSettings", "Replace a tenant's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .patch(
            path,
            settings::set_tenant,
            writes("changeTenantSettings", "Change a tenant's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .delete(
            path,
            settings::clear_tenant,
            writes("clearTenantSettings", "Remove a tenant's override", "Settings")
                .role(Role::Admin)
                .query([cleared()]),
        )
        .get(
            "/tenants/{tenant_id}/settings/history",
            settings::history::tenant,
            op("listTenantSettingsChanges", "What was changed for a tenant and its runs")
                .query([setting(), per_page(), page_token()])
                .answers(200, "Changes, newest first", many("SettingsChange")),
        )
        .delete(
            "/tenants/{tenant_id}/settings/scheduled/{scheduled_id}",
            settings::cancel_scheduled,
            op("cancelScheduledChange", "Take back a scheduled change")
                .role(Role::Admin)
                .answers(200, "It is taken back", one("ScheduledChange"))
                .refuses(&[409]),
        )
        .post(
            "/settings/validate",
            settings::validate,
            op("validateSettings", "Check an override without storing it")
                .attributes(map_of(any()))
                .answers(200, "What is wrong with it", one("SettingsValidation")),
        )
}

fn run_settings() -> Routes {
    let path = "/runs/{run_id}/settings";
    Routes::default()
        .get(
            path,
            settings::run,
            op("getRunSettings", "A run's settings and where each value comes from").answers(
                200,
                "The settings",
                one("Settings"),
            ),
        )
        .put(
            path,
            settings::set_run,
            writes("replaceRunSettings", "Replace a run's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .patch(
            path,
            settings::set_run,
            writes("changeRunSettings", "Change a run's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .delete(
            path,
            settings::clear_run,
            writes("clearRunSettings", "Remove a run's override", "Settings")
                .role(Role::Admin)
                .query([cleared()]),
        )
        .get(
            "/runs/{run_id}/settings/history",
            settings::history::run,
            op("listRunSettingsChanges", "What was changed for a run")
                .query([setting(), per_page(), page_token()])
                .answers(200, "Changes, newest first", many("SettingsChange")),
        )
}

fn platform_settings() -> Routes {
    let path = "/settings/platform/{layer}";
    let document = || serde_json::json!({ "anyOf": [named("Overrides"), rollouts()] });
    Routes::default()
        .get(
            "/settings/platform",
            settings::platform::show,
            op("getPlatformSettings", "The layers of the whole platform")
                .role(Role::PlatformAdmin)
                .answers(200, "The layers", one("PlatformSettings")),
        )
        .put(
            path,
            settings::platform::set,
            writes("replacePlatformLayer", "Replace a layer", "PlatformSettings")
                .role(Role::PlatformAdmin)
                .attributes(document()),
        )
        .patch(
            path,
            settings::platform::set,
            writes("changePlatformLayer", "Change a layer", "PlatformSettings")
                .role(Role::PlatformAdmin)
                .attributes(document()),
        )
        .delete(
            path,
            settings::platform::clear,
            writes("clearPlatformLayer", "Clear a layer", "PlatformSettings")
                .role(Role::PlatformAdmin)
                .query([cleared()]),
        )
        .get(
            "/settings/platform/history",
            settings::history::platform,
            op("listPlatformChanges", "What was changed for the whole platform")
                .role(Role::PlatformAdmin)
                .query([setting(), per_page(), page_token()])
                .answers(200, "Changes, newest first", many("SettingsChange")),
        )
        .delete(
            "/settings/platform/scheduled/{scheduled_id}",
            settings::platform::cancel_scheduled,
            op("cancelPlatformScheduledChange", "Take back a scheduled change of the platform")
                .role(Role::PlatformAdmin)
                .answers(200, "It is taken back", one("ScheduledChange"))
                .refuses(&[409]),
        )
}

fn specs_and_plans() -> Routes {
    Routes::default()
        .get(
            "/specs",
            specs::list,
            op("listSpecs", "Specs, newest first").query([per_page(), page_token()]).answers(
                200,
                "A page of specs",
                many("Spec"),
            ),
        )
        .post(
            "/specs",
            specs::create,
            creates("createSpec", "Say what to build", "Spec")
                .role(Role::Member)
                .attributes(new_spec()),
        )
        .get(
            "/specs/{spec_id}",
            specs::show,
            op("getSpec", "A spec with its latest plan and its most recent runs").answers(
                200,
                "The spec",
                one_with("Spec", &["Plan", "Run"]),
            ),
        )
        .post(
            "/specs/{spec_id}/plan",
            plans::create,
            creates("createPlan", "Make a plan, a new version", "Plan")
                .role(Role::Member)
                .some_attributes(nothing()),
        )
        .post(
            "/specs/{spec_id}/runs",
            create_run::create,
            creates("createRun", "Start a run", "Run").role(Role::Admin).some_attributes(new_run()),
        )
}

fn lists_of_runs() -> Routes {
    let parts = ["Spec", "Plan", "Step", "Approval", "Diff", "Evaluation", "Artifact"];
    Routes::default()
        .get(
            "/runs",
            runs::list,
            op("listRuns", "Runs, newest first, by page or by cursor")
                .query(run_filters())
                .query([page(), per_page(), page_token()])
                .answers(200, "A page of runs", many("Run")),
        )
        .get(
            "/runs/{run_id}",
            runs::show,
            op("getRun", "A run with all that hangs on it").answers(
                200,
                "The run",
                one_with("Run", &parts),
            ),
        )
        .get(
            "/flaky",
            flaky::list,
            op("listFlakySteps", "Failures that went away without a change, last seen first")
                .query([per_page()])
                .answers(200, "Flaky steps", many("FlakyStep")),
        )
        .post(
            "/classify-failure",
            classify::classify,
            op("classifyFailure", "Classify a log; it may be sent compressed with gzip")
                .role(Role::Member)
                .attributes(failure())
                .answers(
                    200,
                    "The signal, or null without a failure",
                    one("FailureClassification"),
                ),
        )
}

fn histories() -> Routes {
    Routes::default()
        .get(
            "/runs/{run_id}/autofix",
            runs::autofix,
            op("getAutofix", "The turns of the auto-fix loop, newest first").answers(
                200,
                "The turns",
                one("Autofix"),
            ),
        )
        .get(
            "/runs/{run_id}/escalation",
            runs::escalation,
            op("getEscalation", "The run's gates, newest first").answers(
                200,
                "The gates",
                one("Escalation"),
            ),
        )
        .get(
            "/runs/{run_id}/plan-delta",
            runs::plan_delta,
            op("getPlanDelta", "The run's changes of plan, newest first").answers(
                200,
                "The changes",
                one("PlanDelta"),
            ),
        )
        .get(
            "/runs/{run_id}/steps/{step}/why",
            why::why,
            op("explainStep", "Why a step is as it is, with the evidence").answers(
                200,
                "The explanation",
                one("Explanation"),
            ),
        )
        .get(
            "/runs/{run_id}/verify",
            control::verify,
            op("verifyRun", "Whether the event log and the tables say the same").answers(
                200,
                "What was found",
                one("RunVerification"),
            ),
        )
}

fn streams() -> Routes {
    let after = parameter("after", number(0, i64::MAX), "Only events after this one");
    let many_events = parameter("per_page", number(1, 1000), "Events in one list");
    let follow = || parameter("follow", flag(), "Go on until the run has ended");
    Routes::default()
        .get(
            "/runs/{run_id}/events",
            events::events,
            op("listEvents", "The run's event log: a list, or a stream as Accept says")
                .query([after, follow(), many_events])
                .headers([last_event_id()])
                .answers(200, "Events", many("Event"))
                .gives(200, "", LIVE, text())
                .gives(200, "", LINES, text()),
        )
        .get(
            "/runs/{run_id}/logs",
            logs::logs,
            op("getLogs", "The steps' logs as text, or as a stream as Accept says")
                .query([parameter("step", text(), "Only this step's"), follow()])
                .headers([last_event_id()])
                .gives(200, "The log", PLAIN, text())
                .gives(200, "", LIVE, text())
                .gives(200, "", LINES, text()),
        )
        .get(
            "/runs/{run_id}/artifacts/{name}",
            logs::artifact,
            op("getArtifact", "Download the workspace, the patch or the log")
                .whatever_is_accepted()
                .gives(200, "The artifact", PLAIN, text())
                .gives(200, "", "text/x-diff; charset=utf-8", text())
                .gives(
                    200,
                    "",
                    "application/gzip",
                    serde_json::json!({ "type": "string", "format": "binary" }),
                )
                .refuses(&[409]),
        )
}

/// What does something to a run and answers how it is then.
fn changes(id: &'static str, summary: &'static str) -> Operation {
    op(id, summary).role(Role::Admin).answers(200, "The run", one("Run")).refuses(&[409])
}

fn run_actions() -> Routes {
    Routes::default()
        .post(
            "/runs/{run_id}/cancel",
            runs::cancel,
            changes("cancelRun", "Stop the steps' whole process trees").some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/retry",
            runs::retry,
            changes("retryRun", "Go on from the failed step with a fresh budget")
                .some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/rollback",
            runs::rollback,
            changes("rollbackRun", "Back to the last good commit").some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/pause",
            control::pause,
            changes("pauseRun", "Start nothing new of it").some_attributes(reason()),
        )
        .post(
            "/runs/{run_id}/resume",
            control::resume,
            changes("resumeRun", "Go on").some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/steps/{step}/mark",
            control::mark,
            changes("markStep", "A step counts as passed, or is not needed").attributes(marked()),
        )
        .post(
            "/runs/{run_id}/plan-edit",
            control::edit,
            changes("editPlan", "A new plan version while the run goes on").attributes(plan_edit()),
        )
}

fn decisions() -> Routes {
    let decides = |id, summary| {
        op(id, summary)
            .role(Role::Admin)
            .some_attributes(decision())
            .answers(200, "The gate", one("Approval"))
            .refuses(&[409])
    };
    Routes::default()
        .get(
            "/approvals",
            approvals::list,
            op("listApprovals", "The gates that wait for a human, or those of another status")
                .query([
                    parameter("status", words(GateStatus::ALL), "pending unless given"),
                    parameter("run_id", id(), "Only this run's"),
                ])
                .answers(200, "Gates", many("Approval"))
                .refuses(&[404]),
        )
        .post(
            "/runs/{run_id}/approve",
            approvals::approve_run,
            decides("approveRun", "Approve the run's one pending gate"),
        )
        .post(
            "/runs/{run_id}/reject",
            approvals::reject_run,
            decides("rejectRun", "Reject the run's one pending gate"),
        )
        .post(
            "/approvals/{gate_id}/approve",
            approvals::approve,
            decides("approveGate", "Approve a gate"),
        )
        .post(
            "/approvals/{gate_id}/reject",
            approvals::reject,
            decides("rejectGate", "Reject a gate"),
        )
}

fn hooks() -> Routes {
    Routes::default()
        .get(
            "/webhooks",
            webhooks::list,
            op("listWebhooks", "Who is told of events, and how deliveries go")
                .role(Role::Admin)
                .answers(200, "Webhooks", many("Webhook")),
        )
        .post(
            "/webhooks",
            webhooks::create,
            creates("createWebhook", "Add a webhook; answers once with its secret", "Webhook")
                .role(Role::Admin)
                .attributes(new_webhook()),
        )
        .get(
            "/webhooks/{webhook_id}",
            webhooks::show,
            op("getWebhook", "One webhook").role(Role::Admin).answers(
                200,
                "The webhook",
                one("Webhook"),
            ),
        )
        .delete(
            "/webhooks/{webhook_id}",
            webhooks::delete,
            op("deleteWebhook", "Remove a webhook and what it was still to be told")
                .role(Role::Admin)
                .empty(204, "It is removed"),
        )
        .post(
            "/webhooks/{webhook_id}/redeliver",
            webhooks::redeliver,
            op("redeliverWebhook", "Send one event once more, whatever became of it before")
                .role(Role::Admin)
                .attributes(redelivery())
                .empty(204, "It is sent again")
                .refuses(&[409]),
        )
}

fn keys_and_audit() -> Routes {
    let path = "/tenants/{tenant_id}/keys";
    Routes::default()
        .get(
            path,
            keys::list,
            op("listKeys", "A tenant's API keys, newest first, without their secrets")
                .role(Role::Admin)
                .query([per_page(), page_token()])
                .answers(200, "A page of keys", many("Key")),
        )
        .post(
            path,
            keys::create,
            creates("createKey", "Make an API key; answers once with it", "Key")
                .role(Role::Admin)
                .attributes(new_key()),
        )
        .delete(
            "/tenants/{tenant_id}/keys/{key_id}",
            keys::revoke,
            op("revokeKey", "End an API key, within seconds; again is fine")
                .role(Role::Admin)
                .answers(200, "The key, ended", one("Key")),
        )
        .get(
            "/audit",
            audit::list,
            op("listAudit", "Who did what, newest first; also for auditors")
                .role(Role::Admin)
                .query([
                    parameter("action", text(), "Only this action, or those below it (`key.`)"),
                    per_page(),
                    page_token(),
                ])
                .answers(200, "A page of entries", many("AuditEntry")),
        )
        .get(
            "/audit/verify",
            audit::verify,
            op("verifyAudit", "Read the whole chain, and find what was changed in it")
                .role(Role::Admin)
                .query([
                    parameter("known_seq", text(), "The number of an entry that was noted"),
                    parameter("known_hash", text(), "Its hash: the chain has to hold it still"),
                ])
                .answers(200, "What was found", one("AuditVerification")),
        )
}

fn outside() -> Routes {
    let json = "application/json";
    let alive = object(&[("status", words(&["ok"]))]);
    let ready = object(&[
        ("status", words(&["ready", "not_ready"])),
        ("peers", map_of(text())),
        ("settings", words(&["fresh", "stale", "expired", "unknown"])),
    ]);
    let open = |id, summary| op(id, summary).open().outside();
    Routes::default()
        .get(
            "/healthz",
            health::alive,
            open("isAlive", "The process lives").gives(200, "It does", json, alive),
        )
        .get(
            "/readyz",
            health::ready,
            open("isReady", "The services behind it serve and the settings are known")
                .gives(200, "It is ready", json, ready.clone())
                .gives(503, "It is not", json, ready),
        )
        .get(
            "/openapi.json",
            about::openapi,
            open("getOpenApi", "This document").gives(200, "OpenAPI 3.1", json, map_of(any())),
        )
        .get(
            "/docs",
            about::docs,
            open("getDocs", "This document for people").gives(
                200,
                "A page",
                "text/html; charset=utf-8",
                text(),
            ),
        )
        .get(
            "/docs/docs.js",
            about::script,
            open("getDocsScript", "What the page does").gives(
                200,
                "A script",
                "text/javascript; charset=utf-8",
                text(),
            ),
        )
        .get(
            "/docs/docs.css",
            about::style,
            open("getDocsStyle", "What the page looks like").gives(
                200,
                "A style sheet",
                "text/css; charset=utf-8",
                text(),
            ),
        )
}
