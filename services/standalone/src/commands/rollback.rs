//! Taking a local run's newest patch back: this process does the work, so it stays until it is done.

use crate::client::Client;
use crate::embedded::Scope;
use crate::error::{Error, Result};
use crate::progress::Happened;
use crate::session::{Local, Session};
use meta_proto::orchestrator as pb;
use std::time::Duration;
use tokio_stream::StreamExt;

/// How long a rollback may take.
const LIMIT: Duration = Duration::from_mins(1);
/// Pause before the event log of an ended run is read again.
const PAUSE: Duration = Duration::from_millis(200);

/// How a rollback that a person asked for stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    /// Nobody asked, or an earlier one has ended.
    None,
    /// It is to be carried out.
    Pending,
    /// The head afterwards.
    Done(String),
    /// Why not.
    Failed(String),
}

impl Stand {
    /// How it stands after one more entry of the log.
    fn after(self, happened: Happened) -> Self {
        match happened {
            Happened::RollbackStarted { step } if step.is_empty() => Self::Pending,
            Happened::RolledBack { attempt: None, commit } => Self::Done(commit),
            Happened::RollbackFailed { reason } => Self::Failed(reason),
            _ => self,
        }
    }
}

/// Rolls a run back and waits until that is done; answers the head afterwards, or nothing when the
/// user does not want to wait. One that an earlier process left behind is carried to its end.
pub(super) async fn run(local: &Local, run_id: &str, session: &Session) -> Result<Option<String>> {
    let claim = local.claim(run_id)?;
    let stack = local.stack(Scope::Run(run_id.to_owned())).await?;
    let client = stack.client(&session.vars);
    let (mut seq, mut stand) = (0, Stand::None);
    read(&client, run_id, &mut seq, &mut stand).await?;
    let mut work = stack.start();
    let ended = work
        .beside(async {
            if stand != Stand::Pending {
                client.rollback(run_id).await?;
                stand = Stand::Pending;
            }
            tokio::select! {
                ended = tokio::time::timeout(LIMIT, until_end(&client, run_id, seq, stand)) => {
                    ended.unwrap_or_else(|_| Err(late())).map(Some)
                }
                () = session.stop.cancelled() => Ok(None),
            }
        })
        .await;
    work.stop().await?;
    drop(claim);
    ended
}

fn late() -> Error {
    Error::failed(
        "the run is not rolled back yet",
        format!("it takes longer than {} s", LIMIT.as_secs()),
    )
    .next("give the same command again to go on with it")
}

async fn until_end(
    client: &Client,
    run_id: &str,
    mut seq: u64,
    mut stand: Stand,
) -> Result<String> {
    loop {
        read(client, run_id, &mut seq, &mut stand).await?;
        match stand {
            Stand::Done(commit) => return Ok(commit),
            Stand::Failed(reason) => {
                return Err(Error::failed("the run was not rolled back", reason));
            }
            Stand::None | Stand::Pending => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Reads what the log has after `seq`.
async fn read(client: &Client, run_id: &str, seq: &mut u64, stand: &mut Stand) -> Result<()> {
    let failed = |s: &tonic::Status| Error::status("follow the run", s);
    let mut stream = client.events(run_id, *seq, false).await.map_err(|s| failed(&s))?;
    while let Some(answer) = stream.next().await {
        let Some(event) = answer.map_err(|s| failed(&s))?.event else { continue };
        *seq = event.seq;
        *stand = std::mem::replace(stand, Stand::None).after(happened(&event)?);
    }
    Ok(())
}

fn happened(event: &pb::RunEvent) -> Result<Happened> {
    Happened::read(&event.r#type, &event.data_json).map_err(|e| {
        let what = format!("event {} ({})", event.seq, event.r#type);
        Error::failed(format!("{what} is not understood"), e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(log: &[(&str, &str)]) -> Stand {
        log.iter().fold(Stand::None, |stand, (kind, data)| {
            stand.after(Happened::read(kind, data).unwrap())
        })
    }

    #[test]
    fn a_rollback_ends_with_a_head_or_a_reason() {
        let asked = ("autofix.rollback_started", r#"{"step":"","reason":"asked by a"}"#);
        let of_step = ("autofix.rollback_started", r#"{"step":"test","reason":"worse"}"#);
        let done = ("autofix.rolled_back", r#"{"attempt":null,"commit":"abc"}"#);
        let failed = ("autofix.rollback_failed", r#"{"reason":"later commits"}"#);
        let other = ("step.queued", r#"{"step":"test"}"#);
        assert_eq!(stand(&[other, of_step]), Stand::None);
        assert_eq!(stand(&[asked, other]), Stand::Pending);
        assert_eq!(stand(&[asked, other, done]), Stand::Done("abc".to_owned()));
        assert_eq!(stand(&[asked, failed]), Stand::Failed("later commits".to_owned()));
        assert_eq!(stand(&[asked, failed, asked]), Stand::Pending);
    }
}
