use super::*;
use serde_json::json;

fn narrow(text: &str) {
    for line in text.lines().filter(|l| !l.contains("why:")) {
        assert!(line.chars().count() <= 40, "{} columns: {line}", line.chars().count());
    }
}

fn found() -> Explained {
    serde_json::from_value(json!({
        "resolved": {
            "max_per_step_attempts": { "value": 8, "layer": "kill_switch", "layers": [
                { "layer": "platform", "value": 10, "applies": true },
                { "layer": "rollout", "value": 4, "applies": false, "percent": 25,
                  "bucket_key": "canary", "author": "user:a", "set_at": "2026-11-23T03:25:00.123Z" },
                { "layer": "tenant", "value": "many", "applies": false, "problem": "not a number" },
                { "layer": "kill_switch", "value": 8, "applies": true, "author": "user:b",
                  "set_at": "2026-11-23T03:26:00.000Z", "reason": "a reason that is rather long" },
            ] },
            "autofix_enabled": { "value": false, "layer": "fail_closed", "layers": [] },
        },
        "override": {}, "override_version": 3, "version": 12, "stale": true, "stale_ms": 4_200,
        "scheduled": [{ "id": "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f", "layer": "tenant",
            "run_id": null, "effective_at": "2026-11-24T00:00:00.000Z", "action": "clear",
            "overrides": {}, "rollouts": {}, "cleared": ["max_per_step_attempts"],
            "author": "user:a", "created_at": null, "reason": null }],
    }))
    .unwrap()
}

#[test]
fn an_explanation_tells_what_wins_what_is_shadowed_and_what_does_not_apply() {
    let text = explained(&found());
    for part in [
        "max_per_step_attempts = 8",
        " * kill_switch 8",
        "   platform    10     shadowed",
        "   rollout     4      does not apply",
        "     for 25 % of the tenants",
        "     by canary",
        "   tenant      many   cannot be read",
        "     problem: not a number",
        "     at 2026-11-23T03:26:00Z",
        "     why: a reason that is rather long",
        " * fail_closed",
        " 2026-11-24T00:00:00Z tenant",
        "   resets max_per_step_attempts",
        "stale: the store is away for 4 s",
        "version 12, override version 3",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    narrow(&text);
}

#[test]
fn values_fit_forty_columns() {
    let text = values(&Values::from(&found()));
    assert!(text.contains("max_per_step_attempts 8     kill_switch"), "{text}");
    narrow(&text);
}

#[test]
fn a_watcher_is_told_all_and_then_what_is_different() {
    let first = Values::from(&found());
    let all = change("2026-11-23T03:26:00.000Z", None, &first);
    assert!(all.contains("  max_per_step_attempts=8 kill_switch"), "{all}");
    narrow(&all);
    let mut second = Values { version: 13, stale: false, ..first.clone() };
    second.settings.remove(&Setting::AutofixEnabled);
    let text = change("2026-11-23T03:27:00.000Z", Some(&first), &second);
    assert_eq!(text, "2026-11-23T03:27:00Z version 13\n  the store is back");
}

#[test]
fn a_history_tells_who_changed_what_and_why() {
    let change: Audited = serde_json::from_value(json!({
        "kind": "scheduled", "layer": "rollout", "run_id": null, "actor": "user:a",
        "changed_at": "2026-11-23T03:25:00.000Z", "reason": "try it",
        "before": {}, "after": { "max_per_step_attempts": 5 },
        "rollouts_before": { "autofix_enabled": { "value": true, "percent": 5, "bucket_key": "k" } },
        "rollouts_after": { "max_total_attempts": { "value": 4, "percent": 25, "bucket_key": "k" } },
        "version": 7, "trace_id": null, "scheduled_id": "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f",
        "effective_at": "2026-11-24T00:00:00.000Z",
    }))
    .unwrap();
    let text = history(&[change]);
    for part in [
        "2026-11-23T03:25:00Z scheduled\n  rollout user:a\n",
        "  max_per_step_attempts - → 5",
        "  autofix_enabled is rolled back",
        "  max_total_attempts=4 for 25 % by k",
        "  for 2026-11-24T00:00:00Z",
        "  why: try it",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    narrow(&text);
    assert_eq!(history(&[]), "nothing was changed");
}

#[test]
fn a_dry_run_names_who_would_be_affected() {
    let tenant = |n: usize| {
        json!({ "tenant_id": format!("00000000-0000-7000-8000-{n:012}"), "run_id": null,
            "before": { "autofix_enabled": true }, "after": { "autofix_enabled": false } })
    };
    let would: Imagined = serde_json::from_value(json!({
        "dry_run": true, "changed": true, "affected": (0..30).map(tenant).collect::<Vec<_>>(),
        "affected_total": 45, "affects_others": true, "version": 1, "override_version": 0,
    }))
    .unwrap();
    let text = dry_run(&would);
    assert!(text.starts_with("45 tenants and runs get another value\n"), "{text}");
    assert_eq!(text.matches("autofix_enabled true → false").count(), 20);
    assert!(text.contains("and 25 more (see --output json)"), "{text}");
    assert!(text.ends_with("tenants not looked at are affected too"), "{text}");
    narrow(&text);
}
