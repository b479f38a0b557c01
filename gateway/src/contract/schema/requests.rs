//! What callers may say in a document. What only a check can tell (a cycle among steps, say) is not
//! in here; it is refused with 400 and a pointer to the field.

use super::{
    Schema, any, flag, id, list_of, map_of, named, number, object, or_null, text, text_of, words,
};
use meta_domain::limits::{DESCRIPTION_CHARS_MAX, TITLE_CHARS_MAX};
use meta_domain::plan::PlanOpKind;
use meta_domain::role::{Role, Scope};
use meta_domain::settings::Setting;
use serde_json::json;

/// A text in which something stands beside blanks.
fn title() -> Schema {
    json!({ "type": "string", "minLength": 1, "maxLength": TITLE_CHARS_MAX, "pattern": "\\S" })
}

/// No attributes.
pub(crate) fn nothing() -> Schema {
    object(&[])
}

/// A new tenant.
pub(crate) fn new_tenant() -> Schema {
    object(&[("name", title()), ("id?", or_null(id()))])
}

/// A new user.
pub(crate) fn new_user() -> Schema {
    let email = json!({
        "type": "string",
        "maxLength": 254,
        "pattern": "^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]{1,60}\\.[A-Za-z]{2,20}$",
    });
    object(&[("email", email), ("role", words(&Role::OF_CALLERS))])
}

/// A new API key.
pub(crate) fn new_key() -> Schema {
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 100, "pattern": "\\S" });
    let end = json!({ "type": "string", "format": "date-time" });
    object(&[
        ("name", name),
        ("role", words(&Role::OF_CALLERS)),
        ("scopes?", list_of(words(&Scope::ALL))),
        ("expires_at?", or_null(end)),
    ])
}

/// A new webhook.
pub(crate) fn new_webhook() -> Schema {
    let event = json!({ "type": "string", "pattern": "^[a-z_]+(\\.[a-z_]+)*(\\.\\*)?$" });
    let events = json!({ "type": "array", "items": event, "maxItems": 50 });
    object(&[("url", json!({ "type": "string", "format": "uri" })), ("events?", events)])
}

/// An event that is sent again.
pub(crate) fn redelivery() -> Schema {
    object(&[("run_id", id()), ("seq", number(1, i64::MAX))])
}

/// A new spec.
pub(crate) fn new_spec() -> Schema {
    let source = json!({ "anyOf": [
        object(&[("kind", json!({ "const": "git" })), ("url", text_of(1, 2000)), ("ref?", text())]),
        object(&[("kind", json!({ "const": "path" })), ("path", json!({ "type": "string", "pattern": "^/" }))]),
        object(&[("kind", json!({ "const": "inline" })), ("files", map_of(text()))]),
        { "type": "null" },
    ]});
    object(&[
        ("title", title()),
        ("mode", words(&["guided", "freeform"])),
        ("description?", text_of(0, DESCRIPTION_CHARS_MAX)),
        ("guided_input?", or_null(map_of(any()))),
        ("attachments?", or_null(list_of(any()))),
        ("source?", source),
        ("steps?", list_of(step())),
    ])
}

/// A step as users write it.
fn step() -> Schema {
    let command = json!({ "anyOf": [text(), list_of(text())] });
    object(&[
        ("name?", text()),
        ("run?", or_null(command)),
        ("needs?", list_of(text())),
        ("timeout?", or_null(json!({ "type": "string", "pattern": "^[1-9][0-9]{0,3}(s|m)$" }))),
        ("cache?", list_of(text())),
        ("fix?", or_null(text())),
        ("env?", map_of(text())),
        ("network?", flag()),
        ("writable?", list_of(text())),
        ("approval?", or_null(words(&["never", "before", "on-fix"]))),
        ("runs_on?", list_of(text())),
    ])
}

/// A new run.
pub(crate) fn new_run() -> Schema {
    let days = |n: i64| n * 24 * 3600;
    let gates = object(&[
        ("expires_after_seconds?", or_null(number(0, days(90)))),
        ("on_expiry?", or_null(words(&["fail", "cancel"]))),
        ("four_eyes?", or_null(flag())),
    ]);
    object(&[
        ("plan_id?", or_null(id())),
        ("max_iterations?", or_null(number(1, 20))),
        ("async?", flag()),
        ("settings?", or_null(named("Overrides"))),
        ("priority?", number(-100, 100)),
        ("timeout_seconds?", number(0, days(30))),
        ("gates?", or_null(gates)),
    ])
}

/// A human decision, with what the human saw.
pub(crate) fn decision() -> Schema {
    let sha256 = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
    object(&[
        ("notes?", text_of(0, 2000)),
        ("patch_sha256?", or_null(sha256)),
        ("plan_version?", or_null(number(1, i64::from(u32::MAX)))),
    ])
}

/// Why something is done.
pub(crate) fn why() -> Schema {
    object(&[("reason?", text_of(0, 500))])
}

/// A step that counts as passed, or is not needed.
pub(crate) fn marked() -> Schema {
    object(&[("status", words(&["succeeded", "skipped"])), ("reason", text_of(1, 500))])
}

/// An edit of a plan.
pub(crate) fn plan_edit() -> Schema {
    let op = object(&[
        ("kind", words(PlanOpKind::ALL)),
        ("step", text()),
        ("why?", text()),
        ("timeout?", or_null(text())),
        ("insert?", or_null(step())),
        ("needs?", list_of(text())),
        ("env?", map_of(text())),
        ("parts?", list_of(step())),
    ]);
    object(&[("ops", list_of(op)), ("plan_version", number(0, i64::from(u32::MAX)))])
}

/// A log to classify.
pub(crate) fn failure() -> Schema {
    let file = object(&[("name", text()), ("content", text())]);
    let artifact = json!({ "anyOf": [text(), file] });
    object(&[
        ("step_name", title()),
        ("logs", text()),
        ("artifacts?", list_of(artifact)),
        ("exit_code?", or_null(number(i64::from(i32::MIN), i64::from(i32::MAX)))),
    ])
}

/// Rollouts by the names of their settings.
pub(crate) fn rollouts() -> Schema {
    let rollout = |setting: Setting| {
        let rollout = object(&[
            ("value", super::settings::value_of(setting)),
            ("percent", number(0, 100)),
            ("bucket_key?", text_of(1, 100)),
        ]);
        (setting, rollout)
    };
    let all: Vec<_> = Setting::ALL.iter().map(|s| rollout(*s)).collect();
    let named: Vec<_> = all.iter().map(|(s, r)| (format!("{}?", s.as_str()), r.clone())).collect();
    object(&named.iter().map(|(n, r)| (n.as_str(), r.clone())).collect::<Vec<_>>())
}
