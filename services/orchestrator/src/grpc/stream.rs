//! Events and logs as streams: what is there, then what comes.

use super::{encode, refuse, store};
use crate::core::run::Run;
use crate::shell::{Engine, stopping};
use meta_domain::id::RunId;
use meta_domain::status::StepStatus;
use meta_proto::convert::timestamp;
use meta_proto::orchestrator as pb;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A stream of answers.
pub type Items<T> = ReceiverStream<Result<T, Status>>;

/// Answers waiting for a slow reader.
const BUFFERED_MAX: usize = 64;
/// Events read at once.
const BATCH_MAX: i64 = 200;
/// How long a follower of events waits before it looks again.
const EVENT_WAIT: Duration = Duration::from_millis(500);

/// The run's events after `after`; follows until the run has ended, or the process stops.
pub fn events(
    engine: Engine,
    run: RunId,
    after: u64,
    follow: bool,
) -> Items<pb::StreamEventsResponse> {
    let (sender, receiver) = mpsc::channel(BUFFERED_MAX);
    spawn(async move {
        let mut seq = after;
        let mut changes = engine.watch(run);
        loop {
            let recent = changes.borrow_and_update().after(seq);
            let read = match recent.as_slice() {
                // another process may have stored more; who follows comes to it
                [_, ..] if follow => Ok(recent),
                _ => engine.tables.events(run, seq, BATCH_MAX).await,
            };
            let batch = match read {
                Ok(batch) => batch,
                Err(error) => return fail(&sender, store(error)).await,
            };
            let full = i64::try_from(batch.len()).is_ok_and(|n| n == BATCH_MAX);
            let last = batch.last().map(|e| e.event_type.clone());
            for event in batch {
                seq = event.seq;
                let item = pb::StreamEventsResponse { event: Some(encode::event(event)) };
                if sender.send(Ok(item)).await.is_err() {
                    return;
                }
            }
            if full {
                continue;
            }
            if !follow {
                return;
            }
            if last.is_none_or(|word| may_be_last(&word)) {
                match engine.load_stored(run).await {
                    // it went on since the events were read
                    Ok(run) if run.seq > seq => continue,
                    Ok(run) if run.status.is_terminal() => return,
                    Ok(_) => {}
                    Err(fault) => return fail(&sender, refuse(fault)).await,
                }
            }
            tokio::select! {
                () = sender.closed() => return,
                () = engine.stopping.cancelled() => return fail(&sender, refuse(stopping())).await,
                () = Engine::wait(&mut changes, EVENT_WAIT) => {}
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Whether a run can be over with an event of that type: it concerns the whole run.
fn may_be_last(word: &str) -> bool {
    !word.starts_with("step.")
}

/// The logs of one step or of all; follows until the run has ended, or the process stops.
pub fn logs(
    engine: Engine,
    id: RunId,
    step: String,
    follow: bool,
) -> Items<pb::StreamLogsResponse> {
    let (sender, receiver) = mpsc::channel(BUFFERED_MAX);
    spawn(async move {
        let mut offsets = Offsets::new();
        loop {
            let run = match engine.load_stored(id).await {
                Ok(run) => run,
                Err(fault) => return fail(&sender, refuse(fault)).await,
            };
            let ended = run.status.is_terminal();
            match send_new(&engine, &run, &step, &mut offsets, &sender).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(status) => return fail(&sender, status).await,
            }
            if ended || !follow {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = engine.stopping.cancelled() => return fail(&sender, refuse(stopping())).await,
                () = tokio::time::sleep(engine.logs.look_again()) => {}
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// How far each log was read; `None` when nothing can come any more.
type Offsets = BTreeMap<String, Option<u64>>;

async fn send_new(
    engine: &Engine,
    run: &Run,
    only: &str,
    offsets: &mut Offsets,
    sender: &mpsc::Sender<Result<pb::StreamLogsResponse, Status>>,
) -> Result<bool, Status> {
    for step in run.steps.iter().filter(|s| only.is_empty() || s.planned.name == only) {
        for (i, log) in step.logs.iter().enumerate() {
            let seen = offsets.entry(log.name.clone()).or_insert(Some(0));
            let Some(offset) = *seen else { continue };
            let of = (run.tenant, run.id);
            let (records, next) = engine.logs.read(of, &log.name, offset).await.map_err(refuse)?;
            let last = i + 1 == step.logs.len();
            let goes_on =
                last && matches!(step.status(), StepStatus::Pending | StepStatus::Running);
            *seen = goes_on.then_some(next);
            for record in records {
                let item = pb::StreamLogsResponse {
                    step: step.planned.name.clone(),
                    attempt: log.execution,
                    at: Some(timestamp(record.at)),
                    stderr: record.stderr,
                    text: record.text,
                };
                if sender.send(Ok(item)).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

async fn fail<T>(sender: &mpsc::Sender<Result<T, Status>>, status: Status) {
    // A reader that is gone does not need the reason.
    let _ = sender.send(Err(status)).await;
}

/// A stream's producer; it ends with its reader.
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
