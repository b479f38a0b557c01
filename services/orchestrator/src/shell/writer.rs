//! The writer's loop: gather, store, hand out.

use super::alarm::Alarm;
use super::cache::{Cache, Cached};
use super::hub::Hub;
use super::round::{Ahead, Claim, Wish};
use super::{Change, Clock, Engine, Leased, Op, Options};
use crate::core::queue::{Task, TaskState};
use crate::core::ready::{Candidate, Offer, Ready};
use crate::core::work::{AHEAD_MS, Work};
use crate::store::{Heard, Tables, stored_events};
use meta_domain::fault::Fault;
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Wishes that go into one transaction.
pub(super) const BATCH_MAX: usize = 256;
/// How often leases that are over, and what other processes did, are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Tasks of each tenant and set of labels that are read from the tables at once.
const REFILL_MAX: u32 = 2_000;
/// Wait before a broken store is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// Somebody who waits for tasks.
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) offer: Offer,
    room: usize,
    reply: oneshot::Sender<Vec<Leased>>,
    /// Leased for it, and not yet handed out.
    gathered: Vec<Leased>,
    /// What is gathered waits for its time.
    early: bool,
}

impl Slot {
    /// How many more tasks it takes: none while it waits for the time of one that it has.
    pub(super) fn room_left(&self) -> usize {
        if self.early { 0 } else { self.room.saturating_sub(self.gathered.len()) }
    }

    /// When what it has is handed out.
    fn due(&self) -> Option<Timestamp> {
        self.gathered.iter().map(|leased| leased.task.due).max()
    }
}

/// The only one in the process who changes runs.
pub(super) struct Writer {
    pub(super) tables: Tables,
    pub(super) clock: Clock,
    pub(super) options: Options,
    pub(super) cache: Cache,
    pub(super) hub: Hub,
    pub(super) inbox: mpsc::Receiver<Op>,
    /// What came while a batch was in the store.
    pub(super) ahead: Ahead,
    pub(super) slots: Vec<Slot>,
    slots_made: u64,
    ready: Ready,
    /// Tasks that runners hold, by tenant.
    pub(super) held: HashMap<TenantId, u32>,
    /// Leased for somebody who did not take it.
    returned: Vec<(Task, Timestamp)>,
    /// The tables may hold ready tasks that are not in `ready`.
    pub(super) stale: bool,
    sweep_at: Instant,
    /// How many tasks are held is known.
    pub(super) swept: bool,
    /// The store failed; the next round waits a little.
    failed: bool,
    /// It failed since the last sweep.
    away: bool,
    /// It refused something since the last sweep: that is tried again then.
    refused: bool,
    /// Batches whose runs are locked before they are decided: others change them too.
    pub(super) careful: u32,
    /// No lease ends before this much uptime.
    patient_until_ms: i64,
    alarm: Alarm,
}

impl Writer {
    /// A writer of an engine.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(super) fn new(engine: &Engine, inbox: mpsc::Receiver<Op>) -> io::Result<Self> {
        Ok(Self {
            tables: engine.tables.clone(),
            clock: engine.clock.clone(),
            options: engine.options,
            cache: engine.cache.clone(),
            hub: engine.hub.clone(),
            inbox,
            ahead: Ahead::default(),
            slots: Vec::new(),
            slots_made: 0,
            ready: Ready::default(),
            held: HashMap::new(),
            returned: Vec::new(),
            stale: true,
            sweep_at: Instant::now(),
            swept: false,
            failed: false,
            away: false,
            refused: false,
            careful: 0,
            patient_until_ms: engine.options.lease_ms,
            alarm: Alarm::new()?,
        })
    }

    /// Hears what other processes change, where there are others.
    pub(super) async fn hear(&self, ops: mpsc::WeakSender<Op>) -> Result<(), Fault> {
        let Some(mut ear) = self.tables.listen().await? else { return Ok(()) };
        let hub = self.hub.clone();
        tokio::spawn(async move {
            while let Some(heard) = ear.next().await {
                let Some(ops) = ops.upgrade() else { return };
                match heard {
                    Heard::Runs(runs) => runs.into_iter().for_each(|run| hub.changed(run)),
                    Heard::Queue => {}
                    // What was said meanwhile is lost.
                    Heard::Again => hub.all_changed(),
                }
                // A full inbox means the writer is about to look anyway.
                let _ = ops.try_send(Op::Look);
            }
        });
        Ok(())
    }

    /// Works until the last engine is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let mut ops = Vec::new();
            if self.ahead.len() == 0 {
                let wake = self.wake_at();
                tokio::select! {
                    op = self.inbox.recv() => match op {
                        Some(op) => ops.push(op),
                        None => return,
                    },
                    () = self.alarm.until(wake) => {}
                }
            }
            // Whoever the last round woke asks at once: one transaction then serves them all.
            tokio::task::yield_now().await;
            while ops.len() + self.ahead.len() < BATCH_MAX {
                let Ok(op) = self.inbox.try_recv() else { break };
                ops.push(op);
            }
            self.round(ops).await;
        }
    }

    /// When there is something to do without being asked.
    fn wake_at(&self) -> Instant {
        if self.failed {
            return Instant::now() + STORE_PAUSE;
        }
        if !self.returned.is_empty() {
            return Instant::now();
        }
        let early = self.slots.iter().filter_map(Slot::due).min();
        let open = self.slots.iter().any(|slot| !slot.early);
        let now = self.clock.now();
        // what nobody took a moment early is looked at again when its time has come
        let next = self.ready.next_due().filter(|_| open).map(|due| {
            let soon = due.plus_ms(-AHEAD_MS);
            if soon > now { soon } else { due }
        });
        let due = early.into_iter().chain(next).min();
        due.map_or(self.sweep_at, |due| self.sweep_at.min(self.clock.instant(due)))
    }

    async fn round(&mut self, ops: Vec<Op>) {
        self.failed = false;
        let (mut wishes, draft) = std::mem::take(&mut self.ahead).into_parts();
        wishes.extend(self.returns().await);
        for op in ops {
            wishes.extend(self.take_in(op));
        }
        if Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + SWEEP_EVERY;
            match self.sweep().await {
                Ok(more) => wishes.extend(more),
                Err(fault) => self.store_failed(&fault),
            }
        }
        self.slots.retain(|slot| slot.early || !slot.reply.is_closed());
        self.ready.ripen(self.clock.now());
        if self.stale
            && self.slots.iter().any(|slot| !self.ready.has(&slot.offer))
            && let Err(fault) = self.refill().await
        {
            self.store_failed(&fault);
        }
        let claims = self.choose().await;
        if !wishes.is_empty() || !claims.is_empty() {
            self.store(wishes, claims, draft).await;
        }
        self.hand_out();
    }

    /// Takes what somebody asks for; what is about a run is answered.
    pub(super) fn take_in(&mut self, op: Op) -> Option<Wish> {
        match op {
            Op::Create { run, request_id, by, reply } => {
                return Some(Wish::create(run, request_id, by, reply));
            }
            Op::Change { run, change, reply } => return Some(Wish::change(run, change, reply)),
            Op::Poll { offer, room, reply } => {
                self.slots_made += 1;
                let (id, gathered) = (self.slots_made, Vec::new());
                self.slots.push(Slot { id, offer, room, reply, gathered, early: false });
            }
            Op::Note(candidate) => self.note(candidate),
            Op::Look => self.stale = true,
        }
        None
    }

    pub(super) fn store_failed(&mut self, fault: &Fault) {
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(%fault, "the store failed; trying again");
        }
        self.failed = true;
        meta_telemetry::catalogue::STORE_FAILURES.add(&[], 1);
    }

    pub(super) fn store_refused(&mut self, fault: &Fault) {
        if !std::mem::replace(&mut self.refused, true) {
            tracing::error!(%fault, "the store refuses a change");
        }
        meta_telemetry::catalogue::STORE_FAILURES.add(&[], 1);
    }

    /// Leases that are over; and, where others change the tables too, what they did.
    async fn sweep(&mut self) -> Result<Vec<Wish>, Fault> {
        if !self.swept {
            self.held = self.tables.held().await?;
            self.swept = true;
        }
        self.stale |= std::mem::take(&mut self.refused);
        if self.tables.is_shared() {
            let asked = Instant::now();
            let shown = self.tables.clock().await?;
            self.clock.follow(asked, shown);
            self.held = self.tables.held().await?;
            self.stale = true;
        }
        // Right after a start, or an outage of the store, runners that could reach nobody must be
        // heard first.
        if std::mem::take(&mut self.away) {
            self.patient_until_ms = self.clock.uptime_ms() + self.options.lease_ms;
        }
        if self.clock.uptime_ms() < self.patient_until_ms {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        for kind in self.tables.release_overdue_loose(now).await? {
            self.stale = true;
            meta_telemetry::catalogue::LEASE_LOSSES.add(&[kind.as_str()], 1);
        }
        let overdue = self.tables.overdue(now).await?;
        Ok(overdue.into_iter().map(|run| Wish::change(run, Change::Expire, None)).collect())
    }

    /// Reads from the tables which tasks could be leased.
    async fn refill(&mut self) -> Result<(), Fault> {
        let now = self.clock.now();
        let mut whole = true;
        for internal in [false, true] {
            let only = self.options.only;
            let found = self.tables.candidates(internal, only, REFILL_MAX).await?;
            whole &= found.len() < REFILL_MAX as usize;
            for candidate in found {
                whole &= self.ready.put(candidate, now);
            }
        }
        self.stale = !whole;
        self.ready.ripen(now);
        Ok(())
    }

    /// Gives everyone who waits the tasks whose turn it is. What belongs to no run is leased here;
    /// the rest is to be claimed under its run's lock.
    async fn choose(&mut self) -> Vec<Claim> {
        let limit = self.options.tenant_tasks_max;
        let mut held = self.held.clone();
        let (mut claims, mut loose) = (Vec::new(), Vec::new());
        let soon = self.clock.now().plus_ms(AHEAD_MS);
        for slot in &self.slots {
            let mut idle = true;
            for _ in 0..slot.room_left() {
                let due = self.ready.take(&slot.offer, &held, limit);
                idle &= due.is_none();
                // who has nothing else to do waits for the rest of a wait, while that is stored
                let early = || self.ready.take_early(&slot.offer, &held, limit, soon);
                let Some(next) = due.or_else(|| idle.then(early).flatten()) else { break };
                if !next.internal {
                    *held.entry(next.tenant).or_default() += 1;
                }
                let (slot, owner) = (slot.id, slot.offer.owner.clone());
                match next.run {
                    Some(run) => claims.push(Claim { slot, owner, run, task: next.task }),
                    None => loose.push((slot, owner, next.task)),
                }
            }
        }
        for (slot, owner, task) in loose {
            let until = self.clock.now().plus_ms(self.options.lease_ms);
            match self.tables.lease_loose(task, &owner, until).await {
                Ok(Some(task)) => self.gather(slot, Leased { task, run: None }),
                Ok(None) => {}
                Err(error) => {
                    self.stale = true;
                    self.store_failed(&Fault::from(error));
                }
            }
        }
        claims
    }

    pub(super) fn gather(&mut self, slot: u64, leased: Leased) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.id == slot) {
            slot.gathered.push(leased);
        }
    }

    /// Hands out what was leased and may begin. What nobody takes any more is given back in the next
    /// round.
    fn hand_out(&mut self) {
        let now = self.clock.now();
        let (full, mut waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.slots)
            .into_iter()
            .partition(|slot| slot.due().is_some_and(|due| due <= now));
        for slot in &mut waiting {
            slot.early = !slot.gathered.is_empty();
        }
        self.slots = waiting;
        for slot in full {
            if let Err(back) = slot.reply.send(slot.gathered) {
                let due = self.clock.now();
                self.returned.extend(back.into_iter().map(|leased| (leased.task, due)));
            }
        }
    }

    /// Wishes to give back what nobody took.
    async fn returns(&mut self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (task, due) in std::mem::take(&mut self.returned) {
            let (id, epoch) = (task.id, task.epoch);
            match task.run {
                Some(run) => {
                    let change = Change::Release { task: id, epoch, due, unused: true };
                    wishes.push(Wish::change(run, change, None));
                }
                // Its lease runs out when this fails.
                None => match self.tables.release_loose(id, epoch, due).await {
                    Ok(_) => self.stale = true,
                    Err(error) => self.store_failed(&Fault::from(error)),
                },
            }
        }
        wishes
    }

    fn note(&mut self, candidate: Candidate) {
        if !self.ready.put(candidate, self.clock.now()) {
            self.stale = true;
        }
    }

    /// What a stored change means for those who wait.
    pub(super) fn stored(&mut self, mut work: Work) {
        let id = work.run.id;
        let tasks = Arc::new(std::mem::take(&mut work.tasks));
        if work.run.status.is_terminal() && tasks.is_empty() {
            self.cache.forget(id);
        } else {
            let (run, tasks) = (Arc::clone(&work.run), Arc::clone(&tasks));
            self.cache.put(Cached { run, rev: work.rev + 1, tasks });
        }
        for task in work.before.iter() {
            self.ready.remove(task.id);
            self.count(task, -1);
        }
        for task in tasks.iter().chain(&work.loose) {
            self.count(task, 1);
            if let Some(candidate) = Candidate::of(task) {
                self.note(candidate);
            }
        }
        if !work.events.is_empty() {
            self.hub.happened(id, || stored_events(&work));
        }
    }

    fn count(&mut self, task: &Task, by: i32) {
        if task.state == TaskState::Leased && !task.kind.is_internal() {
            let held = self.held.entry(task.tenant).or_default();
            *held = held.saturating_add_signed(by);
            if *held == 0 {
                self.held.remove(&task.tenant);
            }
        }
    }
}
