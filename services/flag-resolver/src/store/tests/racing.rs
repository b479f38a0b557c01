//! Many writers at once, over two handles of one database.

use super::*;
use futures::future::join_all;

/// Writers in a round, and rounds.
const WRITERS: u32 = 20;
const ROUNDS: u64 = 10;

meta_storage::on_both_engines! {
    of_many_writers_that_read_the_same_version_one_wins_each_round;
    writers_of_different_layers_lose_nothing_and_versions_are_dense;
    a_reader_never_sees_a_version_without_its_rows;
}

async fn of_many_writers_that_read_the_same_version_one_wins_each_round(fresh: Fresh) {
    let stores = [open(&fresh).await, open(&fresh).await];
    let mut version = 0;
    for round in 1..=ROUNDS {
        // never what the last round's winner wrote
        let other = if round % 2 == 0 { 10 } else { 0 };
        let writes = (0..WRITERS).map(|n| {
            let store = &stores[usize::try_from(n % 2).unwrap()];
            write_if(store, OWN, n % 10 + 1 + other, version)
        });
        let (won, lost): (Vec<_>, Vec<_>) =
            join_all(writes).await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        assert!(lost.iter().all(|l| l.as_ref().is_err_and(|f| f.reason == "VERSION_CHANGED")));
        version = *won[0].as_ref().unwrap();
        assert_eq!(version, round, "who loses uses up no version");
    }
    assert_eq!(stores[0].changes(filter()).await.unwrap().len(), 10);
}

async fn writers_of_different_layers_lose_nothing_and_versions_are_dense(fresh: Fresh) {
    let stores = [open(&fresh).await, open(&fresh).await];
    let writes = (0..WRITERS).map(async |n| {
        let store = &stores[usize::try_from(n % 2).unwrap()];
        let scope = Scope::Tenant(Uuid::from_u128(u128::from(n)).into());
        write(store, scope, &total(n % 20 + 1)).await.unwrap()
    });
    let mut versions = join_all(writes).await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=u64::from(WRITERS)).collect::<Vec<_>>());
    assert_eq!(stores[1].since(0).await.unwrap().rows.len(), 20);
}

async fn a_reader_never_sees_a_version_without_its_rows(fresh: Fresh) {
    let (writer, reader) = (open(&fresh).await, open(&fresh).await);
    let writing = async {
        for n in 0..60_u32 {
            let scope = Scope::Tenant(Uuid::from_u128(u128::from(n % 3)).into());
            write(&writer, scope, &total(n / 3 % 20 + 1)).await;
        }
    };
    let reading = async {
        let mut seen = 0;
        while seen < 60 {
            let batch = reader.since(seen).await.unwrap();
            assert!(batch.version >= seen);
            let newest = batch.rows.iter().map(|(_, s)| s.version).max().unwrap_or(seen);
            assert_eq!(newest, batch.version, "every version here wrote a layer");
            seen = batch.version;
        }
    };
    tokio::join!(writing, reading);
}
