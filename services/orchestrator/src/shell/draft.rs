//! A batch as far as it is decided: what was wished for and what is claimed, in the pure core.

use super::cache::Cached;
use super::round::{Claim, What, Wish};
use super::{Change, Options};
use crate::core::audit::By;
use crate::core::queue::Task;
use crate::core::run::Run;
use crate::core::work::{Given, Work};
use crate::store::Writes;
use meta_domain::fault::Fault;
use meta_domain::id::{RunId, TenantId};
use std::collections::HashMap;
use std::sync::Arc;

/// What a batch comes to.
#[derive(Default)]
pub(super) struct Draft {
    /// Its runs, with what happens to them.
    pub(super) works: HashMap<RunId, Work>,
    /// To the wishes, in their order.
    pub(super) answers: Vec<Result<RunId, Fault>>,
    /// What is leased: to whom, and of which run.
    pub(super) given: Vec<(u64, RunId, Task)>,
    /// Runs of earlier requests.
    pub(super) others: HashMap<RunId, Arc<Run>>,
    /// New runs by their callers' request ids.
    requests: HashMap<(TenantId, String), RunId>,
    /// The store was asked for something.
    pub(super) asked: bool,
}

impl Draft {
    /// One for which the store is asked.
    pub(super) fn of_the_store() -> Self {
        Self { asked: true, ..Self::default() }
    }

    /// Adds a run as it is now.
    pub(super) fn put(&mut self, run: RunId, cached: Cached) {
        self.works.insert(run, Work::new(cached.run, cached.rev, cached.tasks));
    }

    /// Whether a run that somebody wanted something of stays as it was.
    pub(super) fn leaves_runs(&self) -> bool {
        self.works.values().any(|work| !work.is_changed())
    }

    /// The new run that an earlier wish of this batch made for the same request.
    pub(super) fn of_request(&self, tenant: TenantId, request_id: &str) -> Option<RunId> {
        self.requests.get(&(tenant, request_id.to_owned())).copied()
    }

    /// Decides a wish. A run that it wants to change is here, or does not exist; a run that it wants
    /// to make is not known by its request.
    pub(super) fn decide(&mut self, wish: &Wish, options: &Options, given: &mut Given<'_>) {
        let answer = match &wish.what {
            What::Change { run, change } => match self.works.get_mut(run) {
                Some(work) => apply(work, change, options, given).map(|()| *run),
                None => Err(Fault::not_found("RUN_NOT_FOUND", "run", run)),
            },
            What::Create { run, request_id, by } => {
                self.create(run, request_id.as_ref(), by.as_ref(), given)
            }
        };
        self.answers.push(answer);
    }

    fn create(
        &mut self,
        run: &Run,
        request_id: Option<&String>,
        by: Option<&Arc<By>>,
        given: &mut Given<'_>,
    ) -> Result<RunId, Fault> {
        let mut work = Work::create(run.clone(), given)?;
        work.note_asked(0, by);
        work.request_id = request_id.cloned();
        if let Some(key) = request_id {
            self.requests.insert((run.tenant, key.clone()), run.id);
        }
        self.works.insert(run.id, work);
        Ok(run.id)
    }

    /// Leases one task; false when it cannot be leased any more.
    pub(super) fn claim(&mut self, claim: &Claim, given: &mut Given<'_>) -> bool {
        let Some(work) = self.works.get_mut(&claim.run) else { return false };
        match work.claim(claim.task, &claim.owner, given) {
            Ok(Some(task)) => {
                self.given.push((claim.slot, claim.run, task));
                true
            }
            Ok(None) => false,
            Err(fault) => {
                tracing::error!(%fault, run = %claim.run, task = %claim.task, "cannot lease a task");
                false
            }
        }
    }

    /// What it takes to store it.
    pub(super) fn writes(&self) -> Writes {
        let mut writes = Writes::default();
        self.works.values().filter(|work| work.is_changed()).for_each(|work| writes.add(work));
        // everybody locks rows in the same order
        writes.runs.sort_unstable_by_key(|row| row.run.id);
        writes
    }
}

fn apply(
    work: &mut Work,
    change: &Change,
    options: &Options,
    given: &mut Given<'_>,
) -> Result<(), Fault> {
    let now = given.now;
    match change {
        Change::Advance(input, finish, by) => {
            let from = work.events.len();
            let done = work.advance((**input).clone(), finish.clone(), given);
            work.note_asked(from, by.as_ref());
            done
        }
        Change::Release { task, epoch, due, unused } => {
            work.release(*task, *epoch, *due, *unused, now)
        }
        Change::Forget { task, epoch } => {
            work.forget(*task, *epoch, now);
            Ok(())
        }
        Change::Expire => {
            for task in work.expire(now) {
                tracing::warn!(run = %work.run.id, %task, "a lease ran out");
            }
            Ok(())
        }
        Change::Restart => {
            work.restart(options.own_leases, now, given.lease_ms);
            Ok(())
        }
    }
}
