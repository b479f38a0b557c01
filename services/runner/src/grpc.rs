//! What a runner says of itself.

use crate::work::Leases;
use meta_proto::runner::runner_service_server::RunnerService;
use meta_proto::runner::{GetStatusRequest, GetStatusResponse};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Answers for one runner.
#[derive(Debug)]
pub struct Grpc {
    /// Its name.
    pub runner_id: Arc<str>,
    /// Its sandbox level.
    pub sandbox: &'static str,
    /// How many tasks it carries out at a time.
    pub capacity: usize,
    /// The tasks in hand.
    pub leases: Leases,
}

#[tonic::async_trait]
impl RunnerService for Grpc {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(GetStatusResponse {
            runner_id: self.runner_id.to_string(),
            sandbox: self.sandbox.to_owned(),
            capacity: u32::try_from(self.capacity).unwrap_or(u32::MAX),
            in_flight: u32::try_from(self.leases.count()).unwrap_or(u32::MAX),
        }))
    }
}
