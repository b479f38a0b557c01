//! Reads files of a run's workspace for a model: as they are in the last commit, never from what
//! steps left behind, and never what is denied.

use super::{Job, Workshop};
use crate::core::protected::denied;
use crate::error::Error;
use crate::git::{COLLECT, SHOWN_BYTES_MAX, split_shown};
use meta_proto::common::SourceFile;
use meta_proto::runner::{CollectResult, CollectWork};

/// Files that are read at most, whatever is asked for.
const FILES_MAX: usize = 256;
/// Bytes of one file at most, whatever is asked for.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

impl Workshop {
    pub(super) async fn collect(
        &self,
        job: &Job,
        work: CollectWork,
    ) -> Result<CollectResult, Error> {
        let run = self.arrived(job, &work.head).await?;
        let plan = work.plan.unwrap_or_default();
        let mut wanted: Vec<String> = Vec::new();
        for file in plan.files {
            if !denied(&file.path) && !wanted.contains(&file.path) && wanted.len() < FILES_MAX {
                wanted.push(file.path);
            }
        }
        if wanted.is_empty() {
            return Ok(CollectResult::default());
        }
        let answer = self
            .ask(job, &run, COLLECT, |order| {
                order
                    .set("FILE_MAX", plan.file_bytes_max.min(FILE_BYTES_MAX).to_string())
                    .set("SHOWN_MAX", plan.bytes_max.min(SHOWN_BYTES_MAX).to_string())
                    .arguments(wanted)
            })
            .await?;
        Ok(CollectResult { files: texts(split_shown(&answer.stdout)) })
    }
}

/// The files that are text.
pub(super) fn texts(files: Vec<(String, Vec<u8>)>) -> Vec<SourceFile> {
    let text = |(path, bytes): (String, Vec<u8>)| {
        let contents = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
        Some(SourceFile { path, contents })
    };
    files.into_iter().filter_map(text).collect()
}
