//! Rows on both engines.

use super::*;
use crate::webhooks::store::{ALL, Claimed, WEBHOOKS_MAX};
use meta_storage::testing::{prepare_all, unpaired};

#[test]
fn both_engines_have_this_modules_migration() {
    let migrations = Migrations {
        sqlite: &sqlx::migrate!("migrations/sqlite"),
        postgres: &sqlx::migrate!("migrations/postgres"),
    };
    assert_eq!(unpaired(migrations), Vec::<i64>::new());
}

meta_storage::on_both_engines! {
    every_statement_prepares;
    webhooks_belong_to_their_tenant;
    a_tenant_has_its_limit;
    events_and_their_messages_are_one_transaction;
    a_message_is_in_one_hand_at_a_time;
    many_senders_send_each_message_once;
    a_slow_receiver_holds_up_no_other;
    a_late_result_of_another_try_changes_nothing;
    what_fails_waits_or_is_given_up;
    a_disabled_webhook_is_told_nothing;
    an_event_is_sent_again_to_its_own_tenants_webhook;
    another_process_knows_of_a_webhook_once_it_looks;
}

async fn every_statement_prepares(fresh: Fresh) {
    prepare_all(&open(&fresh).await.engine, ALL).await.unwrap();
}

async fn webhooks_belong_to_their_tenant(fresh: Fresh) {
    let store = open(&fresh).await;
    let (one, two) =
        (row(10, "https://a.example/", &["run.*"]), row(11, "https://b.example/", &[]));
    assert!(store.create(TENANT, &one).await.unwrap());
    assert!(store.create(OTHER, &two).await.unwrap());
    assert_eq!(store.list(TENANT).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.list(OTHER).await.unwrap(), [two]);
    assert!(!store.delete(OTHER, one.id).await.unwrap());
    put(&store, &[told(one.id, 1)]).await;
    assert_eq!(store.list(TENANT).await.unwrap()[0].waiting, 1);
    assert!(store.delete(TENANT, one.id).await.unwrap());
    assert!(!store.delete(TENANT, one.id).await.unwrap());
    assert_eq!(store.next_due().await.unwrap(), None);
}

async fn a_tenant_has_its_limit(fresh: Fresh) {
    let store = open(&fresh).await;
    for n in 0..u128::try_from(WEBHOOKS_MAX).unwrap() {
        assert!(store.create(TENANT, &row(100 + n, "https://a.example/", &[])).await.unwrap());
    }
    assert!(!store.create(TENANT, &row(99, "https://a.example/", &[])).await.unwrap());
    assert!(store.create(OTHER, &row(99, "https://a.example/", &[])).await.unwrap());
}

async fn events_and_their_messages_are_one_transaction(fresh: Fresh) {
    let store = open(&fresh).await;
    store.create(TENANT, &row(10, "https://a.example/", &["run.*"])).await.unwrap();
    store.create(OTHER, &row(11, "https://b.example/", &[])).await.unwrap();
    for commits in [false, true] {
        let mut tx = store.engine.begin().await.unwrap();
        let events = [(1, "run.created"), (2, "step.started"), (3, "run.succeeded")];
        let written = events.map(|(seq, event)| (TENANT, RUN, seq, event));
        store.tell(&mut tx, written, NOW).await.unwrap();
        // a transaction that is tried again after a lost answer
        store.tell(&mut tx, written, NOW).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        let waiting = store.list(TENANT).await.unwrap()[0].waiting;
        assert_eq!(waiting, if commits { 2 } else { 0 });
    }
}

async fn claim(store: &WebhookStore, at: Timestamp) -> Vec<Claimed> {
    store.claim((at, at.plus_ms(1_000)), 100, 4).await.unwrap()
}

async fn a_message_is_in_one_hand_at_a_time(fresh: Fresh) {
    let store = open(&fresh).await;
    put(&store, &[told(webhook(10), 1)]).await;
    assert_eq!(claim(&store, NOW.plus_ms(-1)).await, []);
    let first = claim(&store, NOW).await;
    assert_eq!((first.len(), first[0].tries, first[0].seq), (1, 1, 1));
    assert_eq!(claim(&store, NOW.plus_ms(999)).await, []);
    let again = claim(&store, NOW.plus_ms(1_000)).await;
    assert_eq!(again[0].tries, 2, "its sender must have died");
}

async fn many_senders_send_each_message_once(fresh: Fresh) {
    let store = open(&fresh).await;
    let rows: Vec<OutboxRow> = (0..40).map(|n| told(webhook(10 + n), 1)).collect();
    put(&store, &rows).await;
    let senders = (0..4).map(|_| async {
        let mut claimed = Vec::new();
        loop {
            match store.claim((NOW, NOW.plus_ms(1_000)), 3, 4).await {
                Ok(more) if more.is_empty() => return claimed,
                Ok(more) => claimed.extend(more.into_iter().map(|c| c.webhook)),
                // the loser of a conflict tries again
                Err(meta_storage::Error::Unreachable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut all = futures::future::join_all(senders).await.concat();
    assert_eq!(all.len(), 40);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 40);
}

async fn a_slow_receiver_holds_up_no_other(fresh: Fresh) {
    let store = open(&fresh).await;
    let mut rows: Vec<OutboxRow> = (1..=50).map(|seq| told(webhook(10), seq)).collect();
    rows.push(OutboxRow { due: NOW.plus_ms(5), ..told(webhook(11), 1) });
    put(&store, &rows).await;
    let at = NOW.plus_ms(5);
    let seqs = |claimed: Vec<Claimed>| {
        claimed.iter().map(|c| (c.webhook.0.as_u128(), c.seq)).collect::<Vec<_>>()
    };
    let mut first = seqs(store.claim((at, at.plus_ms(1_000)), 100, 4).await.unwrap());
    first.sort_unstable();
    assert_eq!(first, [(10, 1), (10, 2), (10, 3), (10, 4), (11, 1)]);
    assert_eq!(claim(&store, at).await, [], "four are on their way");
}

async fn a_late_result_of_another_try_changes_nothing(fresh: Fresh) {
    let store = open(&fresh).await;
    store.create(TENANT, &row(10, "https://a.example/", &[])).await.unwrap();
    put(&store, &[told(webhook(10), 1)]).await;
    let late = claim(&store, NOW).await[0];
    let newer = claim(&store, NOW.plus_ms(1_000)).await[0];
    store.done(&late).await.unwrap();
    store.put_back(&late, None, NOW, "late").await.unwrap();
    let listed = &store.list(TENANT).await.unwrap()[0];
    assert_eq!((listed.waiting, listed.dead), (1, 0));
    store.done(&newer).await.unwrap();
    assert_eq!(store.list(TENANT).await.unwrap()[0].waiting, 0);
}

async fn what_fails_waits_or_is_given_up(fresh: Fresh) {
    let store = open(&fresh).await;
    store.create(TENANT, &row(10, "https://a.example/", &[])).await.unwrap();
    put(&store, &[told(webhook(10), 1), told(webhook(10), 2)]).await;
    let claimed = claim(&store, NOW).await;
    let later = NOW.plus_ms(60_000);
    store.put_back(&claimed[0], Some(later), NOW, "first").await.unwrap();
    store.put_back(&claimed[1], None, NOW.plus_ms(1), "second").await.unwrap();
    let listed = &store.list(TENANT).await.unwrap()[0];
    assert_eq!((listed.waiting, listed.dead), (1, 1));
    assert!(["first", "second"].contains(&listed.last_error.as_str()));
    assert_eq!(store.next_due().await.unwrap(), Some(later));
    assert_eq!(store.forget(NOW.plus_ms(1)).await.unwrap(), 0);
    assert_eq!(store.forget(NOW.plus_ms(2)).await.unwrap(), 1);
    assert_eq!(claim(&store, later).await.len(), 1);
}

async fn a_disabled_webhook_is_told_nothing(fresh: Fresh) {
    let store = open(&fresh).await;
    store.create(TENANT, &row(10, "https://a.example/", &[])).await.unwrap();
    put(&store, &[told(webhook(10), 1)]).await;
    assert_eq!(store.url(webhook(10)).await.unwrap().as_deref(), Some("https://a.example/"));
    store.disable(webhook(10), NOW, "gone").await.unwrap();
    store.disable(webhook(10), NOW, "gone again").await.unwrap();
    assert_eq!(store.url(webhook(10)).await.unwrap(), None);
    let listed = &store.list(TENANT).await.unwrap()[0];
    assert_eq!((listed.disabled_reason.as_str(), listed.waiting, listed.dead), ("gone", 0, 1));
    assert!(!store.anybody());
    assert_eq!(claim(&store, NOW).await, []);
}

async fn an_event_is_sent_again_to_its_own_tenants_webhook(fresh: Fresh) {
    let store = open(&fresh).await;
    store.create(TENANT, &row(10, "https://a.example/", &["run.*"])).await.unwrap();
    store.create(OTHER, &row(11, "https://b.example/", &[])).await.unwrap();
    put_event(&store, TENANT, RUN, 7).await;
    let again = async |tenant, id: u128, seq| {
        store.again_as(tenant, webhook(id), (RUN, seq), NOW, None).await.unwrap()
    };
    assert!(again(TENANT, 10, 7).await, "it was never told of it");
    let sent = claim(&store, NOW).await;
    store.put_back(&sent[0], None, NOW, "refused").await.unwrap();
    assert_eq!(store.list(TENANT).await.unwrap()[0].dead, 1);
    assert!(again(TENANT, 10, 7).await, "it was given up");
    let sent = claim(&store, NOW).await;
    assert_eq!((sent.len(), sent[0].tries, sent[0].seq), (1, 1, 7));
    store.done(&sent[0]).await.unwrap();
    assert!(!again(TENANT, 10, 8).await, "no such event");
    assert!(!again(TENANT, 11, 7).await, "another tenant's webhook");
    assert!(!again(OTHER, 11, 7).await, "another tenant's run");
    store.disable(webhook(10), NOW, "gone").await.unwrap();
    assert!(!again(TENANT, 10, 7).await, "it is told nothing any more");
    assert_eq!(claim(&store, NOW).await, []);
}

async fn another_process_knows_of_a_webhook_once_it_looks(fresh: Fresh) {
    let (one, two) = (open(&fresh).await, open(&fresh).await);
    one.create(TENANT, &row(10, "https://a.example/", &[])).await.unwrap();
    assert!(one.anybody() && !two.anybody());
    two.refresh().await.unwrap();
    assert!(two.anybody());
    two.delete(TENANT, webhook(10)).await.unwrap();
    one.refresh().await.unwrap();
    assert!(!one.anybody() && !two.anybody());
}
