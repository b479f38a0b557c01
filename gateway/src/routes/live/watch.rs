//! A watcher of a run's events: first the log from where it left off, read with its own credential,
//! then the feed that all watchers of the run share.

use super::feed::{Feed, Next};
use super::{Follower, torn, written};
use axum::response::sse::Event;
use futures::{Stream, stream};
use meta_proto::orchestrator as pb;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;

/// The pause before a feed that is over is opened again.
const AGAIN: Duration = Duration::from_millis(250);

enum Source {
    /// The log as far as it goes.
    Log(Streaming<pb::StreamEventsResponse>),
    /// What comes.
    Feed(Arc<Feed>, watch::Receiver<()>),
}

pub(super) struct Watcher {
    follower: Follower,
    source: Source,
    ready: VecDeque<Event>,
    seen: u64,
    follow: bool,
    until: Instant,
}

impl Watcher {
    pub(super) fn new(
        follower: Follower,
        log: Streaming<pb::StreamEventsResponse>,
        (seen, follow): (u64, bool),
    ) -> Self {
        let until = Instant::now() + Duration::from_millis(follower.app.config.stream_ms);
        Self { follower, source: Source::Log(log), ready: VecDeque::new(), seen, follow, until }
    }

    /// Every event once, in order, and what ends the stream.
    pub(super) fn events(self) -> impl Stream<Item = Event> + Send {
        stream::unfold(Some(self), |open| async move {
            let mut watcher = open?;
            let (app, until) = (Arc::clone(&watcher.follower.app), watcher.until);
            let step = tokio::select! {
                step = watcher.next() => step,
                () = sleep_until(until) => return None,
                () = app.stopping.cancelled() => return None,
            };
            match step {
                Step::Event(event) => Some((event, Some(watcher))),
                Step::Last(event) => Some((event, None)),
            }
        })
    }

    async fn next(&mut self) -> Step {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Step::Event(event);
            }
            match &mut self.source {
                Source::Log(log) => match log.message().await {
                    Ok(Some(message)) => {
                        let event = message.event.unwrap_or_default();
                        self.seen = event.seq;
                        return Step::Event(written(&event));
                    }
                    Ok(None) if self.follow => self.join(),
                    Ok(None) => return Step::Last(self.follower.end().await),
                    Err(status) => return Step::Last(torn(status)),
                },
                Source::Feed(feed, changes) => match feed.next(self.seen) {
                    Next::Events(events, last) => {
                        self.ready = events.into();
                        self.seen = last;
                    }
                    Next::Nothing => {
                        if changes.changed().await.is_err() {
                            self.join();
                        }
                    }
                    Next::Behind => match self.follower.open(self.seen, false).await {
                        Ok(log) => self.source = Source::Log(log),
                        Err(problem) => return Step::Last(super::problem(&problem)),
                    },
                    Next::End => return Step::Last(self.follower.end().await),
                    Next::Over => {
                        tokio::time::sleep(AGAIN).await;
                        self.join();
                    }
                    Next::Torn(status) => return Step::Last(torn(status)),
                },
            }
        }
    }

    fn join(&mut self) {
        let whose = (&self.follower.app, &self.follower.caller);
        let feeds = &self.follower.app.feeds;
        let (feed, changes) = feeds.join(whose, self.follower.run_id, self.seen);
        self.source = Source::Feed(feed, changes);
    }
}

enum Step {
    Event(Event),
    /// Nothing comes after it.
    Last(Event),
}
