//! The gRPC shell: decode, classify, encode.

use crate::core::check;
use crate::core::{ClassifyInput, LogStream, Rules, classify, with_history};
use crate::store::Store;
use meta_domain::failure::FailureType;
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::signal::Signal;
use meta_proto::classifier as pb;
use meta_proto::classifier::classifier_service_server::ClassifierService;
use meta_proto::convert::{Field, Number, word};
use meta_proto::status::to_status;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of one log that is sent in chunks. It is never held in memory; the limit ends a stream
/// that would not end by itself.
const STREAM_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// The shell.
#[derive(Clone)]
pub(crate) struct Grpc {
    pub(crate) store: Arc<Store>,
}

impl Grpc {
    /// Classifies a whole log on a thread that may block: a long one takes its time.
    async fn classified(
        &self,
        context: pb::ClassifyContext,
        log: Vec<u8>,
    ) -> Result<Option<Signal>, Status> {
        let rules = self.store.rules();
        let done = blocking(move || decide(&rules, &context, &log)).await?;
        done.map_err(|field| to_status(&field.into()))
    }
}

/// Runs work that may take long outside the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "classification died");
        to_status(&Fault::new(ErrorKind::Internal, "INTERNAL", "the classification failed"))
    })
}

fn decide(
    rules: &Rules,
    context: &pb::ClassifyContext,
    log: &[u8],
) -> Result<Option<Signal>, InvalidField> {
    decide_by(context, |input| classify(rules, &ClassifyInput { log, ..input }))
}

/// Reads the context, asks `verdict`, and applies the rules across a run's signals.
fn decide_by(
    context: &pb::ClassifyContext,
    verdict: impl FnOnce(ClassifyInput) -> Option<Signal>,
) -> Result<Option<Signal>, InvalidField> {
    let types = |name: &str, numbers: &[i32]| -> Result<Vec<FailureType>, InvalidField> {
        numbers.iter().map(|n| word(name, *n).field("context")).collect()
    };
    let of_step = types("previous_types_of_step", &context.previous_types_of_step)?;
    let of_run = types("types_of_run", &context.types_of_run)?;
    let input = ClassifyInput {
        step_name: &context.step_name,
        command: &context.command,
        log: &[],
        exit: context.exit.map(Into::into),
    };
    Ok(verdict(input).map(|signal| with_history(signal, &of_step, &of_run)))
}

#[tonic::async_trait]
impl ClassifierService for Grpc {
    async fn classify(
        &self,
        request: Request<pb::ClassifyRequest>,
    ) -> Result<Response<pb::ClassifyResponse>, Status> {
        let body = request.into_inner();
        let signal = self.classified(body.context.unwrap_or_default(), body.log).await?;
        Ok(Response::new(pb::ClassifyResponse { signal: signal.map(Into::into) }))
    }

    async fn classify_stream(
        &self,
        request: Request<Streaming<pb::ClassifyStreamRequest>>,
    ) -> Result<Response<pb::ClassifyStreamResponse>, Status> {
        use pb::classify_stream_request::Part;
        let mut parts = request.into_inner();
        let mut context = None;
        let mut bytes = 0;
        let mut stream = LogStream::new(self.store.rules());
        while let Some(part) = parts.message().await? {
            match part.part {
                Some(Part::Context(c)) if context.is_none() && bytes == 0 => context = Some(c),
                Some(Part::Chunk(chunk)) if bytes + chunk.len() as u64 <= STREAM_BYTES_MAX => {
                    bytes += chunk.len() as u64;
                    stream = blocking(move || stream.with(&chunk)).await?;
                }
                other => return Err(to_status(&bad_part(other.as_ref()).into())),
            }
        }
        let context = context.unwrap_or_default();
        let decided = blocking(move || decide_by(&context, |input| stream.finish(&input))).await?;
        let signal = decided.map_err(|field| to_status(&field.into()))?;
        Ok(Response::new(pb::ClassifyStreamResponse { signal: signal.map(Into::into) }))
    }

    async fn list_rules(
        &self,
        _request: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        let rules = check::list(&self.store.rules())
            .into_iter()
            .map(|r| pb::Rule {
                id: r.id,
                r#type: r.failure_type.number(),
                tool: r.tool,
                strength: u32::from(r.strength),
            })
            .collect();
        Ok(Response::new(pb::ListRulesResponse { rules }))
    }
}

fn bad_part(part: Option<&pb::classify_stream_request::Part>) -> InvalidField {
    use pb::classify_stream_request::Part;
    match part {
        None => InvalidField::new("part", "is missing (expected context or chunk)"),
        Some(Part::Context(_)) => {
            InvalidField::new("context", "came late or twice (expected once, as the first part)")
        }
        Some(Part::Chunk(_)) => {
            InvalidField::new("chunk", format!("the log is above {STREAM_BYTES_MAX} bytes"))
        }
    }
}
