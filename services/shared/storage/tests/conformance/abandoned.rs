//! Callers that wait for a transaction no longer: whoever gets their connection works in none.

use crate::{COUNTER_NEXT, PATIENCE, counter, open};
use meta_storage::testing::Fresh;
use meta_storage::{Engine, Side, on_both_engines};
use std::pin::pin;
use std::time::{Duration, Instant};

/// Callers that give up, each a little later than the one before.
const TIMES: i64 = 16;

on_both_engines! {
    a_begin_that_nobody_waits_for_leaves_no_transaction_open;
}

/// Adds one to a counter in one call.
async fn count_alone(engine: &Engine) {
    let next = COUNTER_NEXT.on(engine);
    match engine.hold().await.unwrap() {
        Side::Sqlite(mut held) => {
            sqlx::query(next).bind("runs").execute(&mut *held).await.unwrap();
            held.keep();
        }
        Side::Postgres(mut held) => {
            sqlx::query(next).bind("runs").execute(&mut *held).await.unwrap();
            held.keep();
        }
    }
}

/// Waits until nobody uses a connection: the next caller gets the one that was used last.
async fn back_in_the_pool(engine: &Engine) {
    let Side::Postgres(pool) = engine.read() else { return };
    let since = Instant::now();
    while pool.num_idle() < pool.size() as usize {
        assert!(since.elapsed() < PATIENCE, "{} of {}", pool.num_idle(), pool.size());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn a_begin_that_nobody_waits_for_leaves_no_transaction_open(fresh: Fresh) {
    let other = open(fresh.location()).await;
    for polls in 1..=TIMES {
        let engine = open(fresh.location()).await;
        {
            let mut begin = pin!(engine.begin());
            for _ in 0..polls {
                if futures::poll!(begin.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        back_in_the_pool(&engine).await;
        count_alone(&engine).await;
        assert_eq!(counter(&other, "runs").await.unwrap(), Some(polls), "{polls} polls");
        engine.close().await;
    }
}
