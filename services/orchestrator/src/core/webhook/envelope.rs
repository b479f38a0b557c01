//! An event in the words of CloudEvents 1.0, as JSON.

use meta_domain::id::{RunId, TenantId};
use meta_domain::secrecy;
use meta_domain::time::Timestamp;
use serde_json::{Value, json};

/// The type of the body.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// Bytes of an event's own data; a larger one is only named.
const DATA_BYTES_MAX: usize = 256 * 1024;

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The tenant.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// Its number in the run's log.
    pub seq: u64,
    /// Its type, such as `run.created`.
    pub event_type: String,
    /// The step it happened to; may be empty.
    pub step: String,
    /// When.
    pub at: Timestamp,
    /// What the log holds, as JSON.
    pub body: String,
}

/// The id of the message about an event: the same whenever it is sent.
pub fn message_id(run: RunId, seq: u64) -> String {
    format!("{run}:{seq}")
}

/// The message about an event. What a viewer of the run may not see is masked.
pub fn envelope(event: &Happened) -> Value {
    let subject = match event.step.as_str() {
        "" => format!("runs/{}", event.run),
        step => format!("runs/{}/steps/{step}", event.run),
    };
    let mut data = json!({ "run_id": event.run.to_string(), "seq": event.seq, "step": event.step });
    match shown(&event.body) {
        Some(body) => data["event"] = body,
        None => data["truncated"] = true.into(),
    }
    json!({
        "specversion": "1.0",
        "id": message_id(event.run, event.seq),
        "source": format!("/tenants/{}/runs", event.tenant),
        "type": format!("metabuilder.{}", event.event_type),
        "subject": subject,
        "time": event.at.to_string(),
        "datacontenttype": "application/json",
        "data": data,
    })
}

fn shown(body: &str) -> Option<Value> {
    if body.len() > DATA_BYTES_MAX {
        return None;
    }
    let mut value = serde_json::from_str(body).ok()?;
    secrecy::shown_json(&mut value);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn happened(body: &str) -> Happened {
        Happened {
            tenant: TenantId(Uuid::from_u128(1)),
            run: RunId(Uuid::from_u128(2)),
            seq: 7,
            event_type: "step.failed".to_owned(),
            step: "test".to_owned(),
            at: Timestamp(1_700_000_000_123),
            body: body.to_owned(),
        }
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let body = r#"{"type":"step.failed","env":{"A_TOKEN":"x1y2"}}"#;
        let told = envelope(&happened(body));
        let run = "00000000-0000-0000-0000-000000000002";
        assert_eq!(told["specversion"], "1.0");
        assert_eq!(told["id"], format!("{run}:7"));
        assert_eq!(told["source"], "/tenants/00000000-0000-0000-0000-000000000001/runs");
        assert_eq!(told["type"], "metabuilder.step.failed");
        assert_eq!(told["subject"], format!("runs/{run}/steps/test"));
        assert_eq!(told["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(told["data"]["event"]["type"], "step.failed");
        assert!(!told.to_string().contains("x1y2"), "{told}");
    }

    #[test]
    fn what_is_too_large_is_only_named() {
        let body = format!("{:?}", "x".repeat(DATA_BYTES_MAX));
        let told = envelope(&happened(&body));
        assert_eq!(told["data"]["truncated"], true);
        assert!(told["data"].get("event").is_none());
    }
}
