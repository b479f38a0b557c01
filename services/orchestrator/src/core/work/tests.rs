use super::*;
use crate::core::transition::tests::run;

fn given(now: i64, ids: &mut (dyn FnMut() -> Uuid + Send)) -> Given<'_> {
    Given { now: Timestamp(now), ids, lease_ms: 1_000 }
}

/// A run whose step is to be done again from a time on.
fn waiting(due: i64) -> Work {
    let mut next = 0;
    let mut ids = move || {
        next += 1;
        Uuid::from_u128(next)
    };
    let mut at = given(10, &mut ids);
    let mut work = Work::create(run("[[step]]\nname='a'\nrun='t'\n"), &mut at).unwrap();
    let prepare = work.tasks[0].id;
    let task = work.claim(prepare, "r", &mut at).unwrap().expect("it is ready");
    let input = Input::Prepared { commit: "c0".into(), files: 1, bot_commits: 0 };
    let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
    work.advance(input, finish, &mut at).unwrap();
    let step = work.tasks[0].id;
    let task = work.claim(step, "r", &mut at).unwrap().expect("it is ready");
    work.release(task.id, task.epoch, Timestamp(due), false, Timestamp(10)).unwrap();
    work
}

#[test]
fn a_task_is_leased_a_moment_early_and_begins_at_its_time() {
    let mut ids = Uuid::nil;
    let mut work = waiting(1_000);
    let step = work.tasks[0].id;
    let early = 1_000 - AHEAD_MS - 1;
    assert_eq!(work.claim(step, "r", &mut given(early, &mut ids)).unwrap(), None);
    let task = work.claim(step, "r", &mut given(early + 1, &mut ids)).unwrap().expect("it is near");
    assert_eq!((task.due, task.lease_until), (Timestamp(1_000), Timestamp(2_000)));
    let (at, last) = work.events.last().expect("it started");
    assert!(matches!(last, RunEvent::StepStarted { .. }), "{last:?}");
    assert_eq!(*at, Timestamp(1_000));
}
