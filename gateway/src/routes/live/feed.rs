//! One stream of a run's events for all who watch it here: a thousand watchers cost the
//! orchestrator one.

use crate::auth::{Caller, ask_within};
use crate::routes::App;
use axum::response::sse::Event;
use meta_domain::id::RunId;
use meta_proto::orchestrator as pb;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Code, Status};

/// Events that are kept for watchers who are a little behind; who is further behind reads the log.
const EVENTS_KEPT_MAX: usize = 512;

/// The feeds of this gateway, by run.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<RunId, Weak<Feed>>>);

/// What a feed has for a watcher.
pub(super) enum Next {
    /// Events that follow what the watcher has.
    Events(Vec<Event>, u64),
    /// Nothing yet.
    Nothing,
    /// The watcher lacks events that are not kept here.
    Behind,
    /// The run has ended, and the watcher has every event.
    End,
    /// The stream is over although the run is not: another feed goes on.
    Over,
    /// The stream broke.
    Torn(Status),
}

struct Held {
    events: VecDeque<(u64, Event)>,
    /// The last event that is not kept any more, or was there before the feed.
    before: u64,
    over: Option<Next>,
}

/// A run's events from some point on.
pub(super) struct Feed {
    held: Mutex<Held>,
    changes: watch::Sender<()>,
}

impl Feeds {
    /// The feed of a run for a watcher who has the events up to `seen`, opened with the watcher's
    /// own credential when there is none.
    pub(super) fn join(
        &self,
        (app, caller): (&Arc<App>, &Caller),
        run: RunId,
        seen: u64,
    ) -> (Arc<Feed>, watch::Receiver<()>) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&run).and_then(Weak::upgrade)
            && feed.held().over.is_none()
        {
            let changes = feed.changes.subscribe();
            return (feed, changes);
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let held = Held { events: VecDeque::new(), before: seen, over: None };
        let (changes, receiver) = watch::channel(());
        let feed = Arc::new(Feed { held: Mutex::new(held), changes });
        feeds.insert(run, Arc::downgrade(&feed));
        tokio::spawn(follow(Arc::clone(&feed), Arc::clone(app), caller.clone(), (run, seen)));
        (feed, receiver)
    }
}

impl Feed {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for a watcher who has the events up to `seen`.
    pub(super) fn next(&self, seen: u64) -> Next {
        let held = self.held();
        if seen < held.before {
            return Next::Behind;
        }
        let new = held.events.iter().filter(|(seq, _)| *seq > seen);
        let events: Vec<Event> = new.map(|(_, event)| event.clone()).collect();
        match (held.events.back(), &held.over) {
            (Some((last, _)), _) if !events.is_empty() => Next::Events(events, *last),
            (_, None) => Next::Nothing,
            (_, Some(Next::Torn(status))) => Next::Torn(status.clone()),
            (_, Some(Next::Over)) => Next::Over,
            (_, Some(_)) => Next::End,
        }
    }

    fn push(&self, seq: u64, event: Event) {
        let mut held = self.held();
        held.events.push_back((seq, event));
        if held.events.len() > EVENTS_KEPT_MAX
            && let Some((seq, _)) = held.events.pop_front()
        {
            held.before = seq;
        }
        drop(held);
        self.changes.send_replace(());
    }
}

async fn follow(feed: Arc<Feed>, app: Arc<App>, caller: Caller, (run, seen): (RunId, u64)) {
    let read = read(&feed, &app, &caller, (run, seen));
    let over = tokio::select! {
        () = feed.changes.closed() => return,
        () = app.stopping.cancelled() => Next::Over,
        over = read => over,
    };
    feed.held().over = Some(over);
    feed.changes.send_replace(());
}

async fn read(feed: &Feed, app: &App, caller: &Caller, (run, after_seq): (RunId, u64)) -> Next {
    let whole = Duration::from_millis(app.config.stream_ms);
    let request = pb::StreamEventsRequest { run_id: run.to_string(), after_seq, follow: true };
    let mut runs = app.peers.runs();
    let opening = runs.stream_events(caller.message_within(whole, request));
    let mut log = match ask_within(app.config.request_timeout(), opening).await {
        Ok(log) => log,
        Err(problem) => {
            let detail = problem.errors.first().map_or("", |e| e.detail.as_str());
            return Next::Torn(Status::unavailable(detail));
        }
    };
    loop {
        match log.message().await {
            Ok(Some(message)) => {
                let event = message.event.unwrap_or_default();
                feed.push(event.seq, super::written(&event));
            }
            Ok(None) => return Next::End,
            Err(status) if status.code() == Code::DeadlineExceeded => return Next::Over,
            Err(status) => return Next::Torn(status),
        }
    }
}
