//! Sign-ins of browsers.

use super::{invalid, refuse, store};
use crate::record::Credentials;
use crate::store::{SessionOf, SessionRow, Tables};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::Identity;
use meta_proto::convert::timestamp;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::session_service_server::SessionService;
use meta_runtime::now;
use tonic::{Request, Response, Status};

/// The shell.
#[derive(Clone)]
pub struct Sessions {
    /// Where they are kept.
    pub tables: Tables,
    /// Whose keys are whose.
    pub credentials: Credentials,
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let body = request.into_inner();
        let (of, identity) = if let Some(known) = body.known {
            let known = Identity::try_from(known).map_err(|f| invalid(f.within("known")))?;
            (SessionOf::Provider, self.credentials.here(known).await.map_err(refuse)?)
        } else {
            let identity = self.credentials.check(&body.api_key).await.map_err(refuse)?;
            (SessionOf::Key(&body.api_key), identity)
        };
        let token = meta_runtime::clock::secret();
        let kept = self.tables.insert_session(&token, of, identity, now()).await;
        let session = Some(session(&kept.map_err(store)?));
        Ok(Response::new(pb::CreateSessionResponse { session, token }))
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        let token = request.into_inner().token;
        let found = self.tables.session(&token, now()).await.map_err(store)?;
        let row = found.ok_or_else(|| {
            let text = "the session is not known, or over";
            refuse(Fault::new(ErrorKind::Unauthenticated, "UNKNOWN_SESSION", text))
        })?;
        Ok(Response::new(pb::GetSessionResponse { session: Some(session(&row)) }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        self.tables.end_session(&request.into_inner().token).await.map_err(store)?;
        Ok(Response::new(pb::EndSessionResponse {}))
    }
}

fn session(row: &SessionRow) -> pb::Session {
    pb::Session {
        caller: Some((&row.identity).into()),
        created_at: Some(timestamp(row.created_at)),
        idle_until: Some(timestamp(row.idle_until)),
        ends_at: Some(timestamp(row.ends_at)),
    }
}
