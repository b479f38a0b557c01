//! The OpenFeature Remote Evaluation Protocol, 0.3.0. Every answer comes from the settings in this
//! process's memory, so no other service is asked, but for who an API key belongs to.

mod answer;
mod cors;
mod events;
mod request;

use super::App;
use crate::auth::RemoteCaller;
use crate::body::within_limit;
use crate::contract::schema::{any, map_of, parameter, text};
use crate::contract::{Operation, Routes, op};
use crate::problem::Problem;
pub(super) use cors::Foreign;

use answer::{Refused, Tag, bulk_json, evaluation_json};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use meta_domain::role::Principal;
use meta_domain::settings::openfeature::{RUN_ATTRIBUTE, TENANT_ATTRIBUTE, owner};
use meta_domain::settings::{Owner, Setting};
use meta_runtime::flags::Evaluated;
use request::{Context, Key};
use std::sync::Arc;

/// Bytes of an evaluation's request body.
const BODY_BYTES_MAX: usize = 64 * 1024;
const EVALUATE: &str = "/ofrep/v1/evaluate/flags";
const EVENTS: &str = "/ofrep/v1/events";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

type Asking = Result<RemoteCaller, Problem>;

/// The routes, which stand outside the API's base path.
pub(super) fn routes() -> Routes {
    let refused = |of: Operation| {
        let error = || map_of(any());
        [400, 401, 404, 413, 429, 500, 503]
            .iter()
            .fold(of, |of, status| of.gives(*status, "An OFREP error", "application/json", error()))
            .refuses(&[401, 403, 408, 504])
    };
    let ofrep = |id, summary| op(id, summary).outside();
    let evaluates = |id, summary| {
        let of = ofrep(id, summary).document(map_of(any()), false);
        refused(of.gives(200, "What holds", "application/json", map_of(any())))
    };
    let context = [TENANT_ATTRIBUTE, RUN_ATTRIBUTE].map(|name| parameter(name, text(), ""));
    let live = ofrep("followFlags", "Hear that flags have changed").query(context);
    Routes::default()
        .post(EVALUATE, bulk, evaluates("evaluateFlags", "Every flag").empty(304, "As before"))
        .post("/ofrep/v1/evaluate/flags/{key}", evaluate, evaluates("evaluateFlag", "One flag"))
        .get(
            EVENTS,
            events::events,
            refused(live.gives(200, "Events", "text/event-stream", text())),
        )
}

/// `POST /ofrep/v1/evaluate/flags/{key}`
async fn evaluate(State(app): State<Arc<App>>, caller: Asking, uri: Uri, body: Body) -> Response {
    let last = uri.path().strip_prefix(EVALUATE).and_then(|p| p.strip_prefix('/'));
    let key = Key::read(last.unwrap_or_default());
    match evaluated(&app, caller, &key, body).await {
        Ok((setting, found)) => written(evaluation_json(setting, &found)),
        Err(refused) => refused.into_response(Some(&key.shown)),
    }
}

async fn evaluated(
    app: &App,
    caller: Asking,
    key: &Key<'_>,
    body: Body,
) -> Result<(Setting, Evaluated), Refused> {
    let caller = known(app, caller)?;
    let setting = key.setting.clone()?;
    let bytes = within_limit(body, BODY_BYTES_MAX).await?;
    let owner = Context::read(&bytes)?.owner(&caller)?;
    Ok((setting, app.settings.evaluate(setting, owner)))
}

/// `POST /ofrep/v1/evaluate/flags`: every flag, or 304 when the client has them already.
async fn bulk(
    State(app): State<Arc<App>>,
    caller: Asking,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let owner = async {
        let caller = known(&app, caller)?;
        let bytes = within_limit(body, BODY_BYTES_MAX).await?;
        Context::read(&bytes)?.owner(&caller)
    };
    let owner = match owner.await {
        Ok(owner) => owner,
        Err(refused) => return refused.into_response(None),
    };
    let found = app.settings.resolve(owner);
    let tag = Tag::of(owner, &found);
    let mut response = if tag.is_named(&headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        written(bulk_json(owner, &found))
    };
    response.headers_mut().insert(header::ETAG, tag.header());
    response
}

/// The caller, once there is something to tell.
fn known(app: &App, caller: Asking) -> Result<Principal, Refused> {
    let RemoteCaller(caller) = caller?;
    if *app.settings.ready().borrow() {
        Ok(caller.principal)
    } else {
        Err(Refused::Unavailable("the settings are not known here yet"))
    }
}

impl Context<'_> {
    /// Whose settings are asked for.
    fn owner(&self, caller: &Principal) -> Result<Option<Owner>, Refused> {
        owner(caller, self.tenant.as_domain(), self.run.as_domain()).map_err(|_| Refused::NotFound)
    }
}

fn written(json: Vec<u8>) -> Response {
    let mut response = Response::new(json.into());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}
