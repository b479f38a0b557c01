//! Removes runs that ended long ago, so that the tables and the logs do not grow for ever. What is
//! removed can be archived first: its event log, a file of JSON lines for each run.

use crate::shell::Engine;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::RunId;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often runs are looked for.
const EVERY: Duration = Duration::from_mins(1);
/// Runs that are removed before others get their turn.
const BATCH: u32 = 50;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// What an installation keeps.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Days after its end for which a run is kept; 0 means for ever.
    pub days: u32,
    /// Where event logs are archived before they are removed.
    pub archive: Option<PathBuf>,
}

impl Retention {
    /// Works until stopped.
    pub async fn run(self, engine: Engine, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(fault) = forget(&engine).await {
                tracing::warn!(%fault, "cannot remove old answers and quotas; trying again later");
            }
            while !stop.is_cancelled() {
                match self.remove(&engine).await {
                    Ok(0) => break,
                    Ok(removed) => tracing::info!(removed, "removed runs that ended long ago"),
                    Err(fault) => {
                        tracing::warn!(%fault, "cannot remove old runs; trying again later");
                        break;
                    }
                }
            }
        }
    }

    /// Removes some of the runs that are too old; answers how many.
    ///
    /// # Errors
    /// When the store, the archive or the logs fail.
    pub async fn remove(&self, engine: &Engine) -> Result<u32, Fault> {
        if self.days == 0 {
            return Ok(0);
        }
        let before = engine.clock.now().plus_ms(-i64::from(self.days) * DAY_MS);
        let mut removed = 0;
        for id in engine.tables.ended_before(before, BATCH).await? {
            if let Some(folder) = &self.archive {
                archive(engine, id, folder).await?;
            }
            let run = engine.load_stored(id).await?;
            if engine.tables.prune(&run, before).await? {
                engine.forget_run(id);
                engine.logs.forget((run.tenant, id)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Forgets answers that nobody may ask for again, and quotas that are whole.
async fn forget(engine: &Engine) -> Result<(), Fault> {
    let now = engine.clock.now();
    engine.tables.prune_answers(now).await?;
    engine.tables.prune_quotas(now).await?;
    Ok(())
}

/// Writes a run's event log; the file is there whole or not at all.
async fn archive(engine: &Engine, id: RunId, folder: &Path) -> Result<(), Fault> {
    let mut text = String::new();
    for event in engine.tables.events(id, 0, i64::MAX).await? {
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap_or_default();
        let line = serde_json::json!({
            "run_id": id,
            "seq": event.seq,
            "type": event.event_type,
            "step": event.step,
            "at": event.at.to_string(),
            "data": body,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let written = async {
        tokio::fs::create_dir_all(folder).await?;
        let half = folder.join(format!("{id}.part"));
        tokio::fs::write(&half, text).await?;
        tokio::fs::File::open(&half).await?.sync_all().await?;
        tokio::fs::rename(&half, folder.join(format!("{id}.jsonl"))).await
    };
    written.await.map_err(|error| {
        let text = format!("the archive {} cannot be written: {error}", folder.display());
        Fault::new(ErrorKind::Unavailable, "ARCHIVE_UNREACHABLE", text)
    })
}
