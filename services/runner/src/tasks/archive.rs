//! Packs the files of a run's workspace for a download: what is committed, never what steps left
//! behind.

use super::{Job, Workshop};
use crate::error::Error;
use crate::git::ARCHIVE;
use meta_proto::runner::{ArchiveResult, ArchiveWork};

impl Workshop {
    pub(super) async fn archive(
        &self,
        job: &Job,
        work: &ArchiveWork,
    ) -> Result<ArchiveResult, Error> {
        let run = self.arrived(job, &work.head).await?;
        let head = work.head.clone();
        let answer = self.ask(job, &run, ARCHIVE, |order| order.set("HEAD", head)).await?;
        Ok(ArchiveResult { tar_gz: answer.stdout })
    }
}
