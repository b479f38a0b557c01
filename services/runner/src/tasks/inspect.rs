//! Reads a source and lists it for the planner.

use super::{Job, Workshop};
use crate::error::Error;
use crate::nofollow;
use crate::source;
use meta_domain::source::{Source, SourceListing};
use meta_proto::convert::{Field, Required};
use meta_proto::runner::{InspectResult, InspectWork};
use std::path::PathBuf;

impl Workshop {
    pub(super) async fn inspect(
        &self,
        job: &Job,
        work: InspectWork,
    ) -> Result<InspectResult, Error> {
        let source = Source::try_from(work.source.required("source")?).field("source")?;
        let listing = match source {
            Source::Inline { files } => source::list_inline(&files),
            Source::Path { path } => list(self.folders.resolve(&path)?).await?,
            Source::Git { url, reference } => {
                let id: String = job.task_id.chars().filter(char::is_ascii_alphanumeric).collect();
                let volume = self.sandbox.scratch().join(format!("inspect-{id}"));
                self.sandbox.volumes().make(&volume, self.sandbox.run_size()).await?;
                let tree = volume.join("tree");
                nofollow::make_own(&tree, job.owner)?;
                let from = (url.as_str(), reference.as_str());
                let (sandbox, data_dir) = (&self.sandbox, &self.data_dir);
                let (folders, stop) = (&self.folders, &job.stop);
                let fetched =
                    source::fetch(sandbox, data_dir, job.owner, from, folders, &tree, stop).await;
                let listed = match fetched {
                    Ok(_) => list(tree).await,
                    Err(error) => Err(error),
                };
                self.sandbox.volumes().remove(&volume).await?;
                listed?
            }
        };
        Ok(InspectResult { listing: Some(listing.into()) })
    }
}

async fn list(folder: PathBuf) -> Result<SourceListing, Error> {
    tokio::task::spawn_blocking(move || source::list_tree(&folder))
        .await
        .map_err(|e| Error::failed(format!("listing the source failed: {e}")))
}
