//! Sync, for clients that evaluate in their own process: the flags of one tenant, now and after
//! every change.

use super::events::changed;
use super::{About, selector};
use crate::core::flagd::configuration;
use crate::held::News;
use crate::resolver::{Resolver, stopping};
use futures::{Stream, stream};
use meta_proto::flagd::sync::v1::flag_sync_service_server::FlagSyncService;
use meta_proto::flagd::sync::v1::{
    FetchAllFlagsRequest, FetchAllFlagsResponse, GetMetadataRequest, GetMetadataResponse,
    SyncFlagsRequest, SyncFlagsResponse,
};
use meta_proto::status::to_status;
use meta_runtime::principal;
use prost_types::Struct;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::{Request, Response, Status};

/// How often a stream looks whether its flags have become stale.
const STALE_CHECK: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Sync {
    pub resolver: Arc<Resolver>,
}

#[tonic::async_trait]
impl FlagSyncService for Sync {
    type SyncFlagsStream = Pin<Box<dyn Stream<Item = Result<SyncFlagsResponse, Status>> + Send>>;

    async fn sync_flags(
        &self,
        request: Request<SyncFlagsRequest>,
    ) -> Result<Response<Self::SyncFlagsStream>, Status> {
        let chosen = selector(&request, &request.get_ref().selector);
        let about = About::of(&principal(&request)?, chosen)?;
        is_ready(&self.resolver)?;
        let (_, news) = self.resolver.follow();
        let resolver = Arc::clone(&self.resolver);
        let syncing = Syncing { resolver, about, news, last: None };
        let flags = stream::unfold(Some(syncing), |syncing| async {
            let mut syncing = syncing?;
            let next = syncing.next().await;
            let rest = next.is_ok().then_some(syncing);
            Some((next, rest))
        });
        Ok(Response::new(Box::pin(flags)))
    }

    async fn fetch_all_flags(
        &self,
        request: Request<FetchAllFlagsRequest>,
    ) -> Result<Response<FetchAllFlagsResponse>, Status> {
        let chosen = selector(&request, &request.get_ref().selector);
        let about = About::of(&principal(&request)?, chosen)?;
        is_ready(&self.resolver)?;
        let flag_configuration = flags(&self.resolver, about);
        Ok(Response::new(FetchAllFlagsResponse { flag_configuration }))
    }

    async fn get_metadata(
        &self,
        _: Request<GetMetadataRequest>,
    ) -> Result<Response<GetMetadataResponse>, Status> {
        Ok(Response::new(GetMetadataResponse { metadata: Some(Struct::default()) }))
    }
}

fn is_ready(resolver: &Resolver) -> Result<(), Status> {
    if resolver.flags.is_ready() {
        return Ok(());
    }
    Err(Status::unavailable("no settings are known yet"))
}

fn flags(resolver: &Resolver, about: About) -> String {
    let freshness = resolver.flags.freshness();
    configuration(&resolver.flags.snapshot(), freshness, about.tenant())
}

struct Syncing {
    resolver: Arc<Resolver>,
    about: About,
    news: broadcast::Receiver<Arc<News>>,
    /// How fresh the flags were that were sent last; `None` before the first.
    last: Option<Freshness>,
}

/// What of the freshness is in the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Freshness {
    stale: bool,
    expired: bool,
}

impl Syncing {
    async fn next(&mut self) -> Result<SyncFlagsResponse, Status> {
        let ending = self.resolver.ending();
        while self.last == Some(self.freshness()) {
            let news = tokio::select! {
                () = ending.cancelled() => return Err(to_status(&stopping())),
                () = tokio::time::sleep(STALE_CHECK) => continue,
                news = self.news.recv() => news,
            };
            match news {
                Ok(news) if changed(&news, self.about).is_empty() => {}
                Ok(_) | Err(RecvError::Lagged(_)) => self.last = None,
                Err(RecvError::Closed) => return Err(to_status(&stopping())),
            }
        }
        self.last = Some(self.freshness());
        let flag_configuration = flags(&self.resolver, self.about);
        Ok(SyncFlagsResponse { flag_configuration, sync_context: Some(Struct::default()) })
    }

    fn freshness(&self) -> Freshness {
        let now = self.resolver.flags.freshness();
        let expired = matches!(now, meta_domain::settings::Freshness::Expired { .. });
        Freshness { stale: now.is_stale(), expired }
    }
}
