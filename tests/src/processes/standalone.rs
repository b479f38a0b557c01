//! The `metabuilder` command.

use super::{Ended, Process, Rest};
use anyhow::{Context, Result};
use std::path::Path;

/// Runs `metabuilder` in a folder to its end.
pub async fn metabuilder(folder: &Path, args: &[&str], vars: &[(&str, &str)]) -> Result<Ended> {
    Process::start("metabuilder", args, vars, folder)?.ended().await
}

/// A running `metabuilder up`.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub process: Process,
    /// Address of the REST API, such as `http://127.0.0.1:5001`.
    pub url: String,
    /// Address of the gRPC services.
    pub grpc: String,
    /// The development token.
    pub key: String,
    /// A caller with that token.
    pub rest: Rest,
}

impl Up {
    /// Starts it on free ports with a data folder, and waits until it is ready.
    pub async fn start(data: &Path, vars: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(data, &[], vars).await
    }

    /// The same with further arguments.
    pub async fn start_with(data: &Path, more: &[&str], vars: &[(&str, &str)]) -> Result<Self> {
        let folder = data.parent().context("a data folder is in a folder")?;
        let place = data.to_str().context("a plain path")?;
        let args = ["up", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data", place];
        let args: Vec<_> = args.iter().chain(more).copied().collect();
        let mut process = Process::start("metabuilder", &args, vars, folder)?;
        let url = said(&mut process, "Meta-Builder serves on").await?;
        let grpc = format!("http://{}", said(&mut process, "gRPC").await?);
        let key = said(&mut process, "development token").await?;
        let rest = Rest::new(&url, &key)?;
        rest.ready().await?;
        Ok(Self { process, url, grpc, key, rest })
    }
}

impl Up {
    /// The last word of the line of its greeting that begins so.
    pub async fn greeting(&mut self, start: &str) -> Result<String> {
        said(&mut self.process, start).await
    }
}

/// The last word of the line that begins so.
async fn said(process: &mut Process, start: &str) -> Result<String> {
    process
        .until(|line| {
            line.strip_prefix(start).and_then(|l| l.split_whitespace().last()).map(str::to_owned)
        })
        .await
}
