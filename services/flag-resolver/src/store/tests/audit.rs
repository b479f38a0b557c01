//! The audit: it only grows, and is found by owner and by setting.

use super::*;

meta_storage::on_both_engines! {
    the_database_itself_refuses_to_change_the_audit;
    an_entry_says_who_changed_what_why_and_by_which_credential_and_request;
    changes_are_found_by_owner;
    changes_are_found_by_setting;
    pages_follow_each_other_without_gap_or_overlap;
}

async fn the_database_itself_refuses_to_change_the_audit(fresh: Fresh) {
    let store = open(&fresh).await;
    write(&store, OWN, &total(8)).await;
    let before = store.changes(filter()).await.unwrap();
    let mut attempts = vec![
        "UPDATE changes SET actor = 'x'",
        "UPDATE changes SET version = 99 WHERE version = 1",
        "DELETE FROM changes",
        "DELETE FROM changes WHERE version = 1",
    ];
    if store.engine.dialect() == Dialect::Postgres {
        attempts.push("TRUNCATE changes");
    }
    for sql in attempts {
        let error = match execute(&store, sql).await {
            Err(Error::Statement(error)) => error.to_string(),
            other => panic!("{sql}: {other:?}"),
        };
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(store.changes(filter()).await.unwrap(), before);
}

async fn an_entry_says_who_changed_what_why_and_by_which_credential_and_request(fresh: Fresh) {
    let store = open(&fresh).await;
    write(&store, RUN, &total(8)).await;
    write(&store, RUN, &total(9)).await;
    let [newer, older] = store.changes(filter()).await.unwrap().try_into().unwrap();
    assert_eq!((newer.version, older.version), (2, 1));
    assert_eq!((newer.scope, newer.kind, newer.by), (RUN, Kind::Written, by("ann")));
    assert_eq!((newer.origin, newer.scheduled), (origin(), None));
    assert_eq!((newer.before, newer.after), (total(8).terms(), total(9).terms()));
    assert_eq!(older.before, Terms::new());
}

async fn changes_are_found_by_owner(fresh: Fresh) {
    let store = open(&fresh).await;
    let scopes = [OWN, RUN, Scope::Tenant(OTHER), Scope::Platform, Scope::KillSwitch, OWN];
    for (n, scope) in (1..).zip(scopes) {
        write(&store, scope, &total(n)).await;
    }
    let found = async |tenant, run: Option<u128>| {
        let run = run.map(Uuid::from_u128);
        let found = store.changes(Filter { tenant, run, ..filter() }).await.unwrap();
        found.iter().map(|c| c.version).collect::<Vec<_>>()
    };
    assert_eq!(found(Some(TENANT), None).await, [6, 2, 1], "its runs included");
    assert_eq!(found(Some(TENANT), Some(3)).await, [2]);
    assert_eq!(found(Some(OTHER), None).await, [3]);
    assert_eq!(found(Some(OTHER), Some(3)).await, [0; 0], "a run is its tenant's alone");
    assert_eq!(found(None, None).await, [5, 4], "the whole platform");
}

async fn changes_are_found_by_setting(fresh: Fresh) {
    let store = open(&fresh).await;
    let off = Overrides { autofix_enabled: Some(false), ..Overrides::default() };
    write(&store, OWN, &total(8)).await;
    write(&store, OWN, &Write::Patch(terms(&off))).await;
    write(&store, OWN, &clear()).await;
    let later = Write::Clear(BTreeSet::from([Setting::BackoffCapSeconds]));
    let waiting = Scheduled { write: later, ..scheduled::at(OWN, 50) };
    store.schedule(&waiting).await.unwrap();
    store.cancel(waiting.id, Some(TENANT), &by("bob"), &origin()).await.unwrap();
    for (setting, expected) in [
        (Setting::MaxTotalAttempts, vec![3, 1]),
        (Setting::AutofixEnabled, vec![3, 2]),
        (Setting::MaxPerStepAttempts, vec![]),
        (Setting::BackoffCapSeconds, vec![5, 4]),
    ] {
        let asked = Filter { setting: Some(setting), ..filter() };
        let found = store.changes(asked).await.unwrap();
        let found: Vec<_> = found.iter().map(|c| c.version).collect();
        assert_eq!(found, expected, "{setting}");
    }
}

async fn pages_follow_each_other_without_gap_or_overlap(fresh: Fresh) {
    let store = open(&fresh).await;
    for n in 1..=10 {
        write(&store, OWN, &total(n)).await;
        write(&store, Scope::Tenant(OTHER), &total(n)).await;
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.changes(Filter { before, limit: 3, ..filter() }).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        before = Some(last.version);
        seen.extend(page.iter().map(|c| c.version));
    }
    assert_eq!(seen, (0..10).rev().map(|n| n * 2 + 1).collect::<Vec<u64>>());
}
