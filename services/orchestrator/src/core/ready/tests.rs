use super::*;
use uuid::Uuid;

fn tenant(n: u128) -> TenantId {
    TenantId(Uuid::from_u128(n))
}

fn candidate(n: u128, of: u128) -> Candidate {
    Candidate {
        task: Uuid::from_u128(n).into(),
        run: None,
        tenant: tenant(of),
        internal: false,
        labels: String::new(),
        avoid: String::new(),
        tries: 0,
        priority: 0,
        due: Timestamp(1),
    }
}

fn offer() -> Offer {
    Offer { owner: "r".to_owned(), internal: false, only: None, labels: Vec::new(), others: false }
}

fn ready(candidates: impl IntoIterator<Item = Candidate>) -> Ready {
    let mut ready = Ready::default();
    for candidate in candidates {
        assert!(ready.put(candidate, Timestamp(5)));
    }
    ready
}

/// Takes until nothing is left, each taken task being held from then on.
fn drain(mut ready: Ready, offer: &Offer, held: &[(u128, u32)], limit: u32) -> Vec<u128> {
    let mut held: HashMap<_, _> = held.iter().map(|(n, h)| (tenant(*n), *h)).collect();
    let mut taken = Vec::new();
    while let Some(next) = ready.take(offer, &held, limit) {
        *held.entry(next.tenant).or_default() += 1;
        taken.push(next.task.0.as_u128());
    }
    taken
}

#[test]
fn the_tenant_that_holds_the_fewest_is_next() {
    let all = || ready((0..4).map(|n| candidate(n, 1)).chain((20..22).map(|n| candidate(n, 2))));
    assert_eq!(drain(all(), &offer(), &[], 100), [0, 20, 1, 21, 2, 3]);
    assert_eq!(drain(all(), &offer(), &[(1, 2)], 100), [20, 21, 0, 1, 2, 3]);
    assert_eq!(drain(all(), &offer(), &[], 1), [0, 20]);
}

#[test]
fn the_greater_priority_goes_first_then_what_is_due_longest() {
    let first = Candidate { priority: 5, ..candidate(3, 1) };
    let oldest = Candidate { due: Timestamp(0), ..candidate(2, 1) };
    let all = ready([candidate(1, 1), oldest, first]);
    assert_eq!(drain(all, &offer(), &[], 100), [3, 2, 1]);
}

#[test]
fn a_runner_takes_only_what_it_offers() {
    let gpu = Candidate { labels: "gpu,linux".to_owned(), ..candidate(1, 1) };
    let all = || ready([gpu.clone(), candidate(2, 1)]);
    assert_eq!(drain(all(), &offer(), &[], 100), [2]);
    let labels = vec!["linux".to_owned(), "gpu".to_owned(), "big".to_owned()];
    assert_eq!(drain(all(), &Offer { labels, ..offer() }, &[], 100), [1, 2]);
}

#[test]
fn a_task_that_was_moved_away_goes_to_another_runner_where_there_is_one() {
    let moved = Candidate { avoid: "r".to_owned(), ..candidate(1, 1) };
    let others = Offer { others: true, ..offer() };
    assert_eq!(drain(ready([moved.clone()]), &others, &[], 100), [] as [u128; 0]);
    assert_eq!(drain(ready([moved.clone()]), &offer(), &[], 100), [1]);
    let again = Candidate { tries: 1, ..moved };
    assert_eq!(drain(ready([again]), &others, &[], 100), [1]);
}

#[test]
fn a_task_that_was_moved_away_does_not_wait_for_another_runner_for_ever() {
    let others = Offer { others: true, ..offer() };
    let mut all = ready([Candidate { avoid: "r".to_owned(), ..candidate(1, 1) }]);
    assert!(!all.has(&others));
    all.ripen(Timestamp(1 + 10_000));
    assert!(all.take(&others, &HashMap::new(), 9).is_some());
}

#[test]
fn what_is_not_due_waits_for_its_time() {
    let mut all = ready([Candidate { due: Timestamp(9), ..candidate(1, 1) }]);
    assert_eq!(all.next_due(), Some(Timestamp(9)));
    assert_eq!(all.take(&offer(), &HashMap::new(), 9), None);
    all.ripen(Timestamp(9));
    assert_eq!(all.next_due(), None);
    assert!(all.take(&offer(), &HashMap::new(), 9).is_some());
}

#[test]
fn a_task_is_there_once() {
    let mut all = ready([candidate(1, 1), Candidate { due: Timestamp(0), ..candidate(1, 1) }]);
    assert!(all.take(&offer(), &HashMap::new(), 9).is_some());
    assert!(all.take(&offer(), &HashMap::new(), 9).is_none());
    all.put(candidate(2, 1), Timestamp(5));
    all.remove(candidate(2, 1).task);
    assert!(all.take(&offer(), &HashMap::new(), 9).is_none());
}

/// How long one tenant's steps take from being ready to their end while another has `flood` tasks
/// that are older, with so many slots; all steps last as long as `length` says.
fn latencies(flood: usize, slots: usize, length: impl Fn(usize) -> i64) -> Vec<i64> {
    const QUIET: usize = 60;
    let mut all = Ready::default();
    for n in 0..flood {
        all.put(Candidate { due: Timestamp(0), ..candidate(n as u128 + 1, 1) }, Timestamp(0));
    }
    let mut held = HashMap::new();
    let mut running: BTreeMap<(i64, u128), u128> = BTreeMap::new();
    let (mut now, mut begun, mut done, mut since) = (0, 0, Vec::new(), None);
    let quiet = |n: usize| 1_000_000 + n as u128;
    while done.len() < QUIET {
        // One step after the other: the next one is ready when the last has ended.
        if since.is_none() && now >= 500 {
            since = Some(now);
            let next = candidate(quiet(done.len()), 2);
            all.put(Candidate { due: Timestamp(now), ..next }, Timestamp(now));
        }
        while running.len() < slots {
            let Some(next) = all.take(&offer(), &held, u32::MAX) else { break };
            *held.entry(next.tenant).or_default() += 1;
            begun += 1;
            let id = next.task.0.as_u128();
            running.insert((now + length(begun), id), if id >= quiet(0) { 2 } else { 1 });
        }
        let Some(((at, _), of)) = running.pop_first() else {
            now += 500;
            continue;
        };
        now = at;
        *held.entry(tenant(of)).or_default() -= 1;
        if let (2, Some(ready)) = (of, since) {
            done.push(now - ready);
            since = None;
        }
    }
    done.sort_unstable();
    done
}

#[test]
fn a_flood_delays_another_tenants_steps_at_most_twofold() {
    for slots in [1, 2, 8, 24] {
        let same = |_| 100;
        let (quiet, flooded) = (latencies(0, slots, same), latencies(5_000, slots, same));
        assert_eq!(quiet[quiet.len() - 1], 100);
        assert!(flooded[flooded.len() - 1] <= 200, "{slots} slots: {flooded:?}");
    }
    // Steps of 20 to 200 ms: the worst of a hundred against the worst of a hundred.
    let mixed = |n: usize| 20 + i64::try_from(n * 7919 % 181).unwrap();
    for slots in [2, 8, 24] {
        let (quiet, flooded) = (latencies(0, slots, mixed), latencies(5_000, slots, mixed));
        let worst = |of: &[i64]| of[of.len() - 1];
        assert!(worst(&flooded) <= 2 * worst(&quiet), "{slots} slots: {flooded:?} {quiet:?}");
    }
}

#[test]
fn every_second_claim_is_the_quiet_tenants_while_it_has_work() {
    let flood = (0..50_000).map(|n| Candidate { priority: 9, ..candidate(n, 1) });
    let quiet = (0..100).map(|n| candidate(60_000 + n, 2));
    let order = drain(ready(flood.chain(quiet)), &offer(), &[], 1_000);
    let places = order.iter().enumerate().filter(|(_, task)| **task >= 60_000);
    for (nth, (place, _)) in places.enumerate() {
        assert!(place <= 2 * nth + 1, "task {nth} of the quiet tenant is claim {place}");
    }
}

#[test]
fn a_flood_that_fills_the_memory_keeps_nobody_out() {
    let mut all = ready((0..READY_MAX as u128).map(|n| candidate(n, 1)));
    assert!(!all.put(candidate(READY_MAX as u128, 1), Timestamp(5)), "its own tenant's are many");
    let quiet = candidate(1 << 40, 2);
    assert!(!all.put(quiet.clone(), Timestamp(5)), "another one is read again later");
    assert_eq!(all.places.len(), READY_MAX);
    let held = HashMap::from([(tenant(1), 1)]);
    assert_eq!(all.take(&offer(), &held, 9), Some(quiet));
}

#[test]
fn a_task_of_a_run_is_taken_a_moment_early_and_by_whom_it_may() {
    let run = Some(Uuid::from_u128(9).into());
    let soon = |n, due| Candidate { run, due: Timestamp(due), ..candidate(n, 1) };
    let loose = Candidate { run: None, ..soon(1, 6) };
    let internal = Candidate { internal: true, ..soon(2, 6) };
    let labeled = Candidate { labels: "gpu".to_owned(), ..soon(3, 6) };
    let mut all = ready([loose, internal, labeled, soon(4, 8), soon(5, 7), soon(6, 9)]);
    let none = HashMap::new();
    assert!(all.take(&offer(), &none, 9).is_none(), "nothing is due");
    let full = HashMap::from([(tenant(1), 9)]);
    assert!(all.take_early(&offer(), &full, 9, Timestamp(8)).is_none());
    let mut taken = Vec::new();
    while let Some(next) = all.take_early(&offer(), &none, 9, Timestamp(8)) {
        taken.push(next.task.0.as_u128());
    }
    assert_eq!(taken, [5, 4]);
    all.ripen(Timestamp(9));
    assert_eq!(all.take(&offer(), &none, 9).map(|c| c.task.0.as_u128()), Some(1));
}
