//! The queue's rules: which task of a run may be leased beside which.
//!
//! A task that uses its run's workspace alone waits until no other holds it; while such a task
//! waits, no new one starts beside it. A step that was leased before is executed again on restored
//! files, so it is alone as well. A dropped task (its run was canceled) holds the workspace until
//! its runner has ended it or its lease is over.

use super::transition::{Sharing, TaskKind};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::status::words;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// Where a task stands.
    TaskState {
        /// Another task of its run is in the way.
        Waiting = "waiting",
        /// It may be leased once it is due.
        Ready = "ready",
        /// Somebody works on it.
        Leased = "leased",
        /// Its run wants it no more; its holder may still be ending it.
        Dropped = "dropped",
        /// An inspection that has its result.
        Done = "done",
    }
}

/// A task as the queue holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whom it belongs to.
    pub tenant: TenantId,
    /// Its run; an inspection and a record have none.
    pub run: Option<RunId>,
    /// What it does.
    pub kind: TaskKind,
    /// For which step.
    pub step: String,
    /// How it uses the workspace.
    pub sharing: Sharing,
    /// Not before.
    pub due: Timestamp,
    /// Where it stands.
    pub state: TaskState,
    /// Who holds or held it.
    pub owner: String,
    /// Epoch of the lease; grows with each.
    pub epoch: i64,
    /// Until when it is held without a heartbeat.
    pub lease_until: Timestamp,
    /// How often it was leased.
    pub tries: i64,
    /// Of two that are due, the one with the greater number goes first.
    pub priority: i32,
    /// What a runner has to offer, sorted and joined by commas; empty means nothing special.
    pub labels: String,
    /// Rather not on this runner; empty means on any.
    pub avoid: String,
    /// What an inspection reads or a record says, as JSON.
    pub payload: String,
}

impl Task {
    /// A new task, ready from `due` on.
    pub fn new(id: TaskId, tenant: TenantId, kind: TaskKind, due: Timestamp) -> Self {
        Self {
            id,
            tenant,
            run: None,
            kind,
            step: String::new(),
            sharing: Sharing::None,
            due,
            state: TaskState::Ready,
            owner: String::new(),
            epoch: 0,
            lease_until: Timestamp(0),
            tries: 0,
            priority: 0,
            labels: String::new(),
            avoid: String::new(),
            payload: String::new(),
        }
    }

    /// Whether it is leased with this epoch.
    pub fn is_leased(&self, epoch: i64) -> bool {
        self.state == TaskState::Leased && self.epoch == epoch
    }

    /// Leases it.
    pub fn lease(&mut self, owner: &str, until: Timestamp) {
        self.sharing = if self.alone() { Sharing::Exclusive } else { self.sharing };
        self.state = TaskState::Leased;
        owner.clone_into(&mut self.owner);
        self.epoch += 1;
        self.tries += 1;
        self.lease_until = until;
    }

    /// Gives it back, to be leased again from `due` on.
    pub fn release(&mut self, due: Timestamp) {
        self.state = TaskState::Ready;
        self.owner.clear();
        self.due = due;
        self.lease_until = Timestamp(0);
    }

    /// Whether it needs the workspace alone.
    fn alone(&self) -> bool {
        let held = matches!(self.state, TaskState::Leased | TaskState::Dropped);
        let again = self.kind == TaskKind::Step && self.tries > 0 && !held;
        self.sharing == Sharing::Exclusive || (again && self.sharing != Sharing::None)
    }

    fn holds(&self) -> bool {
        self.sharing != Sharing::None
            && matches!(self.state, TaskState::Leased | TaskState::Dropped)
    }
}

/// Says of each task of one run that nobody holds whether it may be leased.
///
/// Of a run that is held no step starts; what is under way goes on.
pub fn settle(tasks: &mut [Task], now: Timestamp, held: bool) {
    for at in 0..tasks.len() {
        let open = matches!(tasks[at].state, TaskState::Ready | TaskState::Waiting);
        if open {
            let held = held && tasks[at].kind == TaskKind::Step;
            let blocked = held || is_blocked(tasks, at, now);
            tasks[at].state = if blocked { TaskState::Waiting } else { TaskState::Ready };
        }
    }
}

fn is_blocked(tasks: &[Task], at: usize, now: Timestamp) -> bool {
    let task = &tasks[at];
    if task.sharing == Sharing::None {
        return false;
    }
    let others = tasks.iter().enumerate().filter(|(i, o)| *i != at && o.sharing != Sharing::None);
    others.map(|(_, o)| o).any(|other| {
        let held =
            other.holds() && (other.state == TaskState::Dropped || task.alone() || other.alone());
        let due_alone = !task.alone()
            && other.alone()
            && other.due <= now
            && matches!(other.state, TaskState::Ready | TaskState::Waiting);
        held || due_alone
    })
}

/// Takes back what is leased for longer than it was renewed, and forgets what is dropped for longer.
/// Answers the tasks whose holders are lost.
pub fn expire(tasks: &mut Vec<Task>, now: Timestamp) -> Vec<TaskId> {
    tasks.retain(|t| t.state != TaskState::Dropped || t.lease_until >= now);
    let mut lost = Vec::new();
    for task in tasks.iter_mut() {
        if task.state == TaskState::Leased && task.lease_until < now {
            task.release(task.due);
            lost.push(task.id);
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn task(n: u128, kind: TaskKind, sharing: Sharing) -> Task {
        let (id, tenant) = (Uuid::from_u128(n).into(), TenantId(Uuid::nil()));
        Task { sharing, ..Task::new(id, tenant, kind, Timestamp(10)) }
    }

    fn states(tasks: &mut [Task], now: i64) -> Vec<TaskState> {
        settle(tasks, Timestamp(now), false);
        tasks.iter().map(|t| t.state).collect()
    }

    #[test]
    fn steps_that_share_run_beside_each_other() {
        let mut two =
            [task(1, TaskKind::Step, Sharing::Shared), task(2, TaskKind::Step, Sharing::Shared)];
        two[0].lease("r", Timestamp(50));
        assert_eq!(states(&mut two, 20), [TaskState::Leased, TaskState::Ready]);
    }

    #[test]
    fn a_task_that_is_alone_waits_for_the_others_and_keeps_new_ones_out() {
        use TaskState::{Leased, Ready, Waiting};
        let mut three = [
            task(1, TaskKind::Step, Sharing::Shared),
            task(2, TaskKind::Commit, Sharing::Exclusive),
            task(3, TaskKind::Step, Sharing::Shared),
        ];
        three[0].lease("r", Timestamp(50));
        assert_eq!(states(&mut three, 20), [Leased, Waiting, Waiting]);
        three[0].sharing = Sharing::None;
        assert_eq!(states(&mut three, 20), [Leased, Ready, Waiting]);
        three[1].due = Timestamp(100);
        assert_eq!(states(&mut three, 20)[2], Ready, "what is not due keeps nobody out");
    }

    #[test]
    fn a_step_that_is_executed_again_is_alone() {
        let mut two =
            [task(1, TaskKind::Step, Sharing::Shared), task(2, TaskKind::Step, Sharing::Shared)];
        two[0].lease("r", Timestamp(50));
        two[1].lease("lost", Timestamp(15));
        let mut tasks = two.to_vec();
        assert_eq!(expire(&mut tasks, Timestamp(20)), [tasks[1].id]);
        assert_eq!(states(&mut tasks, 20), [TaskState::Leased, TaskState::Waiting]);
        assert_eq!((tasks[1].tries, tasks[1].epoch), (1, 1));
    }

    #[test]
    fn what_was_dropped_holds_the_workspace_until_its_lease_is_over() {
        let mut tasks = vec![
            task(1, TaskKind::Step, Sharing::Shared),
            task(2, TaskKind::Step, Sharing::Shared),
        ];
        tasks[0].lease("r", Timestamp(50));
        tasks[0].state = TaskState::Dropped;
        assert_eq!(states(&mut tasks, 20)[1], TaskState::Waiting);
        assert_eq!(expire(&mut tasks, Timestamp(51)), []);
        assert_eq!(states(&mut tasks, 51), [TaskState::Ready]);
    }

    #[test]
    fn what_does_not_touch_the_workspace_never_waits() {
        let mut two = [
            task(1, TaskKind::Commit, Sharing::Exclusive),
            task(2, TaskKind::Judge, Sharing::None),
        ];
        two[0].lease("r", Timestamp(50));
        assert_eq!(states(&mut two, 20), [TaskState::Leased, TaskState::Ready]);
    }
}
