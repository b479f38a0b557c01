//! Sending a step's output while it runs.

use super::{CALL_LIMIT, Orchestrator, Refusal, Retry};
use crate::core::output::{Chunk, Stream};
use meta_domain::time::Timestamp;
use meta_proto::convert::timestamp;
use meta_proto::runner::{AppendLogRequest, LogChunk, LogStream};
use meta_runtime::auth::machine_call;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes in one message.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// Where a task's output goes. What waits here is bounded by what is kept of an output at all.
#[derive(Debug, Clone)]
pub struct LogWriter {
    queue: mpsc::UnboundedSender<Vec<Chunk>>,
}

/// The other end: sends what was written.
#[derive(Debug)]
pub struct LogSender {
    queue: mpsc::UnboundedReceiver<Vec<Chunk>>,
}

/// A writer and its sender.
pub fn channel() -> (LogWriter, LogSender) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (LogWriter { queue: sender }, LogSender { queue: receiver })
}

impl LogWriter {
    /// Writes chunks. They are lost when the lease is.
    pub fn send(&self, chunks: Vec<Chunk>) {
        if !chunks.is_empty() {
            let _lease_lost = self.queue.send(chunks);
        }
    }
}

impl LogWriter {
    /// Writes a line of the runner's own.
    pub fn note(&self, line: &str, at: Timestamp) {
        let text = format!("[{line}]\n").into_bytes();
        self.send(vec![Chunk { at, stream: Stream::Stderr, text }]);
    }
}

impl LogSender {
    /// Sends until the writer is gone and everything is acknowledged, or `stop`; a lost lease
    /// cancels `stop`.
    pub async fn run(
        mut self,
        mut client: Orchestrator,
        task_id: String,
        lease_epoch: u64,
        stop: CancellationToken,
    ) {
        let mut offset = 0;
        while let Some(first) = self.queue.recv().await {
            let mut bytes = size(&first);
            let mut chunks = first;
            while bytes < MESSAGE_BYTES {
                let Ok(more) = self.queue.try_recv() else { break };
                bytes += size(&more);
                chunks.extend(more);
            }
            for messages in pack(&task_id, lease_epoch, &mut offset, chunks) {
                let sent = send(&mut client, messages, &stop);
                tokio::select! {
                    () = sent => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

async fn send(
    client: &mut Orchestrator,
    messages: Vec<AppendLogRequest>,
    stop: &CancellationToken,
) {
    let mut retry = Retry::new();
    loop {
        let stream = tokio_stream::iter(messages.clone());
        match client.append_log(machine_call(CALL_LIMIT, stream)).await {
            Ok(_) => return,
            Err(status) => match Refusal::of(&status) {
                Refusal::Lost => {
                    tracing::info!(%status, "the lease is lost, stopping its task");
                    stop.cancel();
                    return;
                }
                Refusal::Never => {
                    tracing::warn!(%status, "a piece of a log was refused");
                    return;
                }
                Refusal::Later | Refusal::Perhaps => retry.wait().await,
            },
        }
    }
}

fn size(chunks: &[Chunk]) -> usize {
    chunks.iter().map(|c| c.text.len()).sum()
}

/// Calls of one message each: one that is tried again then repeats no other's text. `offset` is how
/// much text went before.
fn pack(
    task_id: &str,
    lease_epoch: u64,
    offset: &mut u64,
    chunks: Vec<Chunk>,
) -> Vec<Vec<AppendLogRequest>> {
    let mut calls = Vec::new();
    let mut message: Vec<LogChunk> = Vec::new();
    let mut bytes = 0;
    let mut call = |chunks: Vec<LogChunk>| {
        let before = *offset;
        *offset += chunks.iter().map(|c| c.text.len() as u64).sum::<u64>();
        let task_id = task_id.to_owned();
        vec![AppendLogRequest { task_id, lease_epoch, chunks, offset: Some(before) }]
    };
    for chunk in chunks {
        bytes += chunk.text.len();
        message.push(wire(chunk));
        if bytes >= MESSAGE_BYTES {
            calls.push(call(std::mem::take(&mut message)));
            bytes = 0;
        }
    }
    if !message.is_empty() {
        calls.push(call(message));
    }
    calls
}

fn wire(chunk: Chunk) -> LogChunk {
    let stream = match chunk.stream {
        Stream::Stdout => LogStream::Stdout,
        Stream::Stderr => LogStream::Stderr,
    };
    LogChunk { at: Some(timestamp(chunk.at)), stream: stream.into(), text: chunk.text }
}
