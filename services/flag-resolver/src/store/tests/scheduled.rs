//! Changes that wait: stored, taken back, carried out once.

use super::*;
use meta_runtime::new_id;

/// A change that waits for a moment.
pub(super) fn at(scope: Scope, ms: i64) -> Scheduled {
    Scheduled {
        id: new_id(),
        scope,
        write: total(4),
        by: by("ann"),
        origin: origin(),
        effective_at: Timestamp(ms),
    }
}

meta_storage::on_both_engines! {
    a_scheduled_change_waits_for_its_time_and_is_in_the_audit_before_and_after;
    what_is_due_is_carried_out_in_the_order_of_its_times;
    a_change_is_taken_back_by_its_owner_alone;
    of_two_stores_one_carries_a_change_out;
    a_change_is_taken_back_or_carried_out_but_not_both;
    a_layer_waits_for_so_many_changes_and_no_more;
    a_change_that_cannot_be_read_holds_up_nothing;
}

async fn a_scheduled_change_waits_for_its_time_and_is_in_the_audit_before_and_after(fresh: Fresh) {
    let store = open(&fresh).await;
    write(&store, OWN, &total(8)).await;
    let waiting = at(OWN, 50);
    assert_eq!(store.schedule(&waiting).await.unwrap(), Scheduling::Done(2));
    assert_eq!(store.scheduled(Some(TENANT)).await.unwrap(), std::slice::from_ref(&waiting));
    assert_eq!(store.scheduled(None).await.unwrap(), []);
    assert_eq!(store.apply_due(Timestamp(49)).await.unwrap(), 0);
    assert_eq!(values(&store.since(0).await.unwrap()), [(OWN, 1, Some(Value::Int(8)))]);
    assert_eq!(store.apply_due(Timestamp(50)).await.unwrap(), 1);
    assert_eq!(store.apply_due(Timestamp(51)).await.unwrap(), 0);
    assert_eq!(values(&store.since(0).await.unwrap()), [(OWN, 3, Some(Value::Int(4)))]);
    let told = store.changes(filter()).await.unwrap();
    let kinds: Vec<_> = told.iter().map(|c| (c.kind, c.by.at.0)).collect();
    assert_eq!(kinds, [(Kind::Applied, 50), (Kind::Scheduled, 7), (Kind::Written, 7)]);
    for change in &told[..2] {
        assert_eq!((&change.before, &change.after), (&total(8).terms(), &total(4).terms()));
        assert_eq!(change.scheduled, Some((waiting.id.to_string(), Timestamp(50))));
        assert_eq!((&*change.by.actor, &*change.by.reason), ("ann", "because"));
        assert_eq!(change.origin, origin());
    }
}

async fn what_is_due_is_carried_out_in_the_order_of_its_times(fresh: Fresh) {
    let store = open(&fresh).await;
    for (n, ms) in [(9, 30), (7, 10), (8, 20), (6, 40)] {
        store.schedule(&Scheduled { write: total(n), ..at(OWN, ms) }).await.unwrap();
    }
    let pulse = store.pulse().await.unwrap();
    assert_eq!(pulse.next_due, Some(Timestamp(10)));
    assert_eq!(store.apply_due(Timestamp(30)).await.unwrap(), 3);
    assert_eq!(values(&store.since(0).await.unwrap()), [(OWN, 7, Some(Value::Int(9)))]);
    assert_eq!(store.pulse().await.unwrap().next_due, Some(Timestamp(40)));
}

async fn a_change_is_taken_back_by_its_owner_alone(fresh: Fresh) {
    let store = open(&fresh).await;
    let (own, run, platform) = (at(OWN, 50), at(RUN, 50), at(Scope::Platform, 50));
    for one in [&own, &run, &platform] {
        store.schedule(one).await.unwrap();
    }
    for (id, tenant) in [
        (own.id, Some(OTHER)),
        (run.id, Some(OTHER)),
        (platform.id, Some(TENANT)),
        (own.id, None),
        (new_id(), Some(TENANT)),
    ] {
        assert_eq!(store.cancel(id, tenant, &by("eve"), &origin()).await.unwrap(), None);
    }
    let none = Origin::default();
    for (version, (id, tenant)) in
        (4..).zip([(own.id, Some(TENANT)), (run.id, Some(TENANT)), (platform.id, None)])
    {
        assert_eq!(store.cancel(id, tenant, &by("bob"), &none).await.unwrap(), Some(version));
        assert_eq!(store.cancel(id, tenant, &by("bob"), &none).await.unwrap(), None);
    }
    assert_eq!(store.apply_due(Timestamp(60)).await.unwrap(), 0);
    let told = store.changes(filter()).await.unwrap();
    assert_eq!((told[0].kind, &*told[0].by.actor), (Kind::Canceled, "bob"));
    assert_eq!((&told[0].before, &told[0].after), (&total(4).terms(), &Terms::new()));
}

async fn of_two_stores_one_carries_a_change_out(fresh: Fresh) {
    let (one, other) = (open(&fresh).await, open(&fresh).await);
    for round in 1..=10_i64 {
        let scope = Scope::Tenant(Uuid::from_u128(round.unsigned_abs().into()).into());
        one.schedule(&at(scope, round)).await.unwrap();
        let now = Timestamp(round);
        let (a, b) = tokio::join!(one.apply_due(now), other.apply_due(now));
        assert_eq!(a.unwrap() + b.unwrap(), 1, "round {round}");
    }
    assert_eq!(one.pulse().await.unwrap(), Pulse { version: 20, next_due: None });
}

async fn a_change_is_taken_back_or_carried_out_but_not_both(fresh: Fresh) {
    let (one, other) = (open(&fresh).await, open(&fresh).await);
    for round in 1..=10_i64 {
        let waiting = Scheduled { write: total(u32::try_from(round).unwrap()), ..at(OWN, round) };
        one.schedule(&waiting).await.unwrap();
        let (canceler, origin) = (by("bob"), Origin::default());
        let (applied, canceled) = tokio::join!(
            one.apply_due(Timestamp(round)),
            other.cancel(waiting.id, Some(TENANT), &canceler, &origin),
        );
        let (applied, canceled) = (applied.unwrap() == 1, canceled.unwrap().is_some());
        assert!(applied != canceled, "round {round}: {applied}, {canceled}");
    }
    assert_eq!(one.changes(filter()).await.unwrap().len(), 20);
}

async fn a_layer_waits_for_so_many_changes_and_no_more(fresh: Fresh) {
    let store = open(&fresh).await;
    for ms in 1..=SCHEDULED_MAX {
        assert!(matches!(store.schedule(&at(OWN, ms)).await, Ok(Scheduling::Done(_))));
    }
    let version = store.pulse().await.unwrap().version;
    assert_eq!(store.schedule(&at(OWN, 1)).await.unwrap(), Scheduling::TooMany);
    assert_eq!(store.pulse().await.unwrap().version, version, "nothing was stored");
    assert_eq!(store.schedule(&at(RUN, 1)).await.unwrap(), Scheduling::Done(version + 1));
    assert_eq!(store.apply_due(Timestamp(200)).await.unwrap(), 100, "in two goes");
    assert_eq!(store.apply_due(Timestamp(200)).await.unwrap(), 1);
}

async fn a_change_that_cannot_be_read_holds_up_nothing(fresh: Fresh) {
    let store = open(&fresh).await;
    for (scope, ms) in [(OWN, 1), (RUN, 2), (Scope::KillSwitch, 3), (Scope::Tenant(OTHER), 4)] {
        store.schedule(&at(scope, ms)).await.unwrap();
    }
    for sql in [
        "UPDATE scheduled SET write_json = 'broken' WHERE effective_at = 1",
        "UPDATE scheduled SET run = 'nobody' WHERE effective_at = 2",
        "UPDATE scheduled SET write_json = replace(write_json, ':4', ':400') WHERE effective_at = 3",
    ] {
        assert_eq!(execute(&store, sql).await.unwrap(), 1, "{sql}");
    }
    assert_eq!(store.scheduled(Some(TENANT)).await.unwrap(), [], "they are passed over");
    assert_eq!(store.apply_due(Timestamp(9)).await.unwrap(), 4);
    let batch = store.since(0).await.unwrap();
    assert_eq!(values(&batch), [(Scope::Tenant(OTHER), 8, Some(Value::Int(4)))]);
    let own = store.changes(filter()).await.unwrap();
    assert_eq!((own[0].kind, &*own[0].by.actor), (Kind::Canceled, "flag-resolver"));
    assert!(own[0].by.reason.contains("corrupt"), "{}", own[0].by.reason);
    let of_all = store.changes(Filter { tenant: None, ..filter() }).await.unwrap();
    let told: Vec<_> = of_all.iter().map(|c| (c.version, c.kind, c.scope)).collect();
    let expected = [
        (7, Kind::Canceled, Scope::KillSwitch),
        (6, Kind::Canceled, Scope::Platform),
        (3, Kind::Scheduled, Scope::KillSwitch),
    ];
    assert_eq!(told, expected);
    assert_eq!(store.pulse().await.unwrap().next_due, None);
}
