//! Follows a run: reads its event log as it grows and shows what happens.

use crate::client::{Client, status_of};
use crate::display::Display;
use crate::error::{Error, Result};
use crate::progress::{Happened, Progress, Tracker};
use meta_domain::status::RunStatus;
use meta_proto::orchestrator as pb;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

/// How long a canceled run may take until its steps are dead.
const CANCEL_GRACE: Duration = Duration::from_secs(15);
/// Pause before an interrupted stream is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How often in a row an interrupted stream is opened again.
const RECONNECTS_MAX: u32 = 20;
/// Pieces of log that may wait to be printed.
const LOG_QUEUE: usize = 256;

/// What to follow and how.
pub struct Follow<'a> {
    /// Whom to ask.
    pub client: &'a Client,
    /// The run.
    pub run_id: &'a str,
    /// Events up to this one are known to the user and only read for their meaning.
    pub told: u64,
    /// How this program is called.
    pub program: &'a str,
    /// Also print the output of the steps.
    pub verbose: bool,
    /// Executions of the steps that the user has seen.
    pub seen: BTreeMap<String, u32>,
    /// Canceled when the user wants to stop.
    pub stop: &'a CancellationToken,
    /// Whether stopping cancels the run, or only the watching.
    pub cancels: bool,
}

/// How following ended.
#[derive(Debug)]
pub struct Ended {
    /// The run as it is now.
    pub run: pb::Run,
    /// Its status.
    pub status: RunStatus,
    /// The user stopped it.
    pub interrupted: bool,
}

impl Follow<'_> {
    /// Follows until the run ends, waits for a person, or the user stops it.
    pub async fn until_end(&self, display: &mut Display) -> Result<Ended> {
        let interrupted = tokio::select! {
            result = self.show(display) => { result?; false }
            () = self.stop.cancelled() => true,
        };
        if interrupted && self.cancels {
            self.cancel().await?;
        }
        let run = self.client.run(self.run_id).await?;
        let status = status_of(&run)?;
        Ok(Ended { run, status, interrupted })
    }

    async fn show(&self, display: &mut Display) -> Result<()> {
        let (sender, mut logs) = mpsc::channel(LOG_QUEUE);
        let reader = self.verbose.then(|| {
            let (client, run_id) = (self.client.clone(), self.run_id.to_owned());
            let seen = self.seen.clone();
            tokio::spawn(async move { read_logs(&client, &run_id, &seen, sender).await })
        });
        let mut tracker = Tracker::new(self.program);
        let mut seq = 0;
        let mut reconnects = 0;
        let result = loop {
            let before = seq;
            let ended = self.stream(&mut seq, &mut tracker, &mut logs, display).await;
            let run = match (ended, self.client.run(self.run_id).await) {
                (Ok(()), Ok(run)) => run,
                (Err(error), _) | (Ok(()), Err(error)) if reconnects >= RECONNECTS_MAX => {
                    break Err(error);
                }
                (Err(_), _) | (Ok(()), Err(_)) => {
                    reconnects += 1;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    continue;
                }
            };
            let status = status_of(&run)?;
            let at_rest = status.is_terminal() || status == RunStatus::PausedAwaitingApproval;
            if at_rest && run.last_seq <= seq {
                break Ok(());
            }
            if seq > before {
                reconnects = 0;
                continue;
            }
            reconnects += 1;
            if reconnects > RECONNECTS_MAX {
                break Err(Error::failed("the run cannot be followed", "its event log ends early"));
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        };
        if let Some(reader) = reader {
            if result.is_ok() {
                while let Ok(Some(log)) = tokio::time::timeout(RECONNECT_PAUSE, logs.recv()).await {
                    display.show(&log)?;
                }
            }
            reader.abort();
        }
        result
    }

    /// Reads one stream to its end.
    async fn stream(
        &self,
        seq: &mut u64,
        tracker: &mut Tracker,
        logs: &mut mpsc::Receiver<Progress>,
        display: &mut Display,
    ) -> Result<()> {
        let failed = |s: &tonic::Status| Error::status("follow the run", s);
        let stream = self.client.events(self.run_id, *seq, true).await.map_err(|s| failed(&s))?;
        tokio::pin!(stream);
        loop {
            tokio::select! {
                biased;
                Some(log) = logs.recv() => display.show(&log)?,
                next = stream.next() => {
                    let Some(answer) = next else { return Ok(()) };
                    let Some(event) = answer.map_err(|s| failed(&s))?.event else { continue };
                    *seq = event.seq;
                    let happened = Happened::read(&event.r#type, &event.data_json);
                    let happened = happened.map_err(|e| {
                        let what = format!("event {} ({})", event.seq, event.r#type);
                        Error::failed(format!("{what} is not understood"), e)
                    })?;
                    let paused = happened == Happened::Paused;
                    for progress in tracker.next(happened) {
                        if event.seq > self.told {
                            display.show(&progress)?;
                        }
                    }
                    // the caller looks whether it still waits, or whether this is history
                    if paused && event.seq > self.told {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Cancels the run and waits until its steps are dead.
    async fn cancel(&self) -> Result<()> {
        let run = self.client.run(self.run_id).await?;
        if !status_of(&run)?.is_terminal() {
            self.client.cancel(self.run_id).await?;
        }
        let dead = async {
            loop {
                let stream = self.client.events(self.run_id, run.last_seq, true).await;
                let Ok(stream) = stream else { return };
                tokio::pin!(stream);
                while let Some(Ok(_)) = stream.next().await {}
                let run = self.client.run(self.run_id).await;
                if run.is_ok_and(|r| status_of(&r).is_ok_and(RunStatus::is_terminal)) {
                    return;
                }
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        };
        match tokio::time::timeout(CANCEL_GRACE, dead).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::failed("the run is not canceled yet", "its steps do not end")),
        }
    }
}

async fn read_logs(
    client: &Client,
    run_id: &str,
    seen: &BTreeMap<String, u32>,
    sender: mpsc::Sender<Progress>,
) -> Result<()> {
    let mut stream = client.logs(run_id, "", true).await?;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|s| Error::status("read the logs", &s))?;
        if seen.get(&piece.step).is_some_and(|last| piece.attempt <= *last) {
            continue;
        }
        let text = String::from_utf8_lossy(&piece.text).into_owned();
        let log = Progress::Log { step: piece.step, stderr: piece.stderr, text };
        if sender.send(log).await.is_err() {
            break;
        }
    }
    Ok(())
}
