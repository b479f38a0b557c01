//! Webhooks, as far as they are decisions: who is told of which event, in which words, how it is
//! signed, which addresses may be called, and when it is tried again.

pub mod envelope;
pub mod filter;
pub mod schedule;
pub mod signature;

pub use envelope::{Happened, envelope};
pub use filter::EventFilter;
pub use meta_domain::address::{self, Network, Policy, Target};
pub use schedule::{Answer, Next, next};
pub use signature::{Secret, SigningKey, sign, verify};

use meta_domain::id::{RunId, TenantId, WebhookId};
use meta_domain::time::Timestamp;

/// Who wants to be told, of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The webhook.
    pub webhook: WebhookId,
    /// Of these events; none means of all.
    pub events: Vec<EventFilter>,
}

/// One event that one webhook is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The run.
    pub run: RunId,
    /// The event's number in the run's log.
    pub seq: u64,
    /// Not before.
    pub due: Timestamp,
}

/// What the tenant's webhooks are to be told of a run's new events, each with its number and type.
pub fn outbox_rows<'a>(
    (tenant, run): (TenantId, RunId),
    events: impl IntoIterator<Item = (u64, &'a str)>,
    subscriptions: &[Subscription],
    now: Timestamp,
) -> Vec<OutboxRow> {
    let mut rows = Vec::new();
    if subscriptions.is_empty() {
        return rows;
    }
    for (seq, event_type) in events {
        for subscription in subscriptions {
            let wanted = &subscription.events;
            if wanted.is_empty() || wanted.iter().any(|filter| filter.takes(event_type)) {
                rows.push(OutboxRow { tenant, webhook: subscription.webhook, run, seq, due: now });
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn each_subscription_gets_the_events_that_it_takes() {
        let (tenant, run) = (TenantId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let subscription = |n: u128, events: &[&str]| Subscription {
            webhook: WebhookId(Uuid::from_u128(n)),
            events: events.iter().map(|e| e.parse().unwrap()).collect(),
        };
        let all = [
            subscription(10, &[]),
            subscription(11, &["run.*", "step.failed"]),
            subscription(12, &["autofix.retry"]),
        ];
        let events = [(1, "run.created"), (2, "step.started"), (3, "step.failed")];
        let rows = outbox_rows((tenant, run), events, &all, Timestamp(9));
        let told: Vec<(u128, u64)> =
            rows.iter().map(|row| (row.webhook.0.as_u128(), row.seq)).collect();
        assert_eq!(told, [(10, 1), (11, 1), (10, 2), (10, 3), (11, 3)]);
        assert!(rows.iter().all(|row| row.due == Timestamp(9) && row.tenant == tenant));
        assert_eq!(outbox_rows((tenant, run), events, &[], Timestamp(9)), []);
    }
}
