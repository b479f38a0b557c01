//! JSON:API documents.

use crate::quota::Quota;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// The media type of JSON:API.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.api+json";
/// The path under which the API lives.
pub(crate) const BASE: &str = "/api/meta/v2";

/// A resource object.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    kind: &'static str,
    id: String,
    attributes: Value,
    relationships: Map<String, Value>,
}

impl Resource {
    /// A resource without relationships.
    pub(crate) fn new(kind: &'static str, id: impl Into<String>, attributes: Value) -> Self {
        Self { kind, id: id.into(), attributes, relationships: Map::new() }
    }

    /// Relates it to one other resource.
    #[must_use]
    pub(crate) fn one(mut self, name: &str, kind: &str, id: &str) -> Self {
        self.relationships.insert(name.to_owned(), json!({ "data": { "type": kind, "id": id } }));
        self
    }

    /// Relates it to these resources.
    #[must_use]
    pub(crate) fn many(mut self, name: &str, others: &[Resource]) -> Self {
        let data: Vec<_> = others.iter().map(|r| json!({ "type": r.kind, "id": r.id })).collect();
        self.relationships.insert(name.to_owned(), json!({ "data": data }));
        self
    }

    /// The resource object as it stands in a document.
    pub(crate) fn json(self) -> Value {
        let mut object = json!({ "type": self.kind, "id": self.id, "attributes": self.attributes });
        if !self.relationships.is_empty() {
            object["relationships"] = self.relationships.into();
        }
        object
    }
}

/// A whole document.
#[derive(Debug, Clone)]
pub(crate) struct Document(Map<String, Value>);

impl Document {
    /// A document about one resource.
    pub(crate) fn of(resource: Resource) -> Self {
        Self(Map::from_iter([("data".to_owned(), resource.json())]))
    }

    /// A document about a list of resources.
    pub(crate) fn list(resources: Vec<Resource>) -> Self {
        let data = resources.into_iter().map(Resource::json).collect();
        Self(Map::from_iter([("data".to_owned(), Value::Array(data))]))
    }

    /// Adds related resources in full.
    #[must_use]
    pub(crate) fn include(mut self, resources: Vec<Resource>) -> Self {
        let included = resources.into_iter().map(Resource::json).collect();
        self.0.insert("included".to_owned(), Value::Array(included));
        self
    }

    /// Adds a link where there is one.
    #[must_use]
    pub(crate) fn link(mut self, name: &str, target: Option<String>) -> Self {
        if let (Some(target), Value::Object(links)) =
            (target, self.0.entry("links").or_insert_with(|| json!({})))
        {
            links.insert(name.to_owned(), target.into());
        }
        self
    }

    /// Adds what is no resource.
    #[must_use]
    pub(crate) fn meta(mut self, meta: Value) -> Self {
        self.0.insert("meta".to_owned(), meta);
        self
    }
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        Answer::new(StatusCode::OK, self).into_response()
    }
}

/// A written document with its status, so that it can be kept and given again.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    location: String,
    body: Bytes,
    secret: bool,
    quota: Quota,
}

impl Answer {
    /// A document with this status.
    pub(crate) fn new(status: StatusCode, document: Document) -> Self {
        let body = Bytes::from(Value::Object(document.0).to_string());
        Self { status, location: String::new(), body, secret: false, quota: Quota::default() }
    }

    /// An answer as it was given before.
    pub(crate) fn kept(status: StatusCode, location: &str, body: Vec<u8>) -> Self {
        let (location, body) = (location.to_owned(), body.into());
        Self { status, location, body, secret: false, quota: Quota::default() }
    }

    /// A document about something that was just created.
    pub(crate) fn created(document: Document) -> Self {
        Self::new(StatusCode::CREATED, document)
    }

    /// Where the created resource is found, relative to the API.
    #[must_use]
    pub(crate) fn found_at(mut self, path: &str) -> Self {
        self.location = format!("{BASE}{path}");
        self
    }

    /// It holds a secret that is shown once.
    #[must_use]
    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Says how the caller's quota stands.
    #[must_use]
    pub(crate) fn counted(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.secret
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if !self.location.is_empty()
            && let Ok(location) = HeaderValue::try_from(self.location)
        {
            headers.insert(header::LOCATION, location);
        }
        self.quota.write(headers);
        response
    }
}
