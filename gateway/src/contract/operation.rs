//! What one route promises.

use super::schema::{Parameter, Schema};
use crate::document::{BASE, MEDIA_TYPE};
use http::Method;
use meta_domain::role::Role;
use serde_json::Value;

/// Which credential a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// None at all.
    Nothing,
    /// A credential of at least this role.
    Role(Role),
}

/// One answer of a route.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(super) status: u16,
    pub(super) what: &'static str,
    /// Media types with their schemas; none where there is no body.
    pub(super) content: Vec<(&'static str, Schema)>,
}

/// One method of one path.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(super) method: Method,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) needs: Needs,
    pub(super) query: Vec<Parameter>,
    pub(super) headers: Vec<Parameter>,
    pub(super) body: Option<(Schema, bool)>,
    pub(super) replies: Vec<Reply>,
    /// Statuses beside those that every such route may have.
    pub(super) refusals: Vec<u16>,
    path: &'static str,
    outside: bool,
    text: bool,
}

/// An operation for viewers with this name and summary.
pub(crate) fn op(id: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: Method::GET,
        id,
        summary,
        needs: Needs::Role(Role::Viewer),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        replies: Vec::new(),
        refusals: Vec::new(),
        path: "",
        outside: false,
        text: false,
    }
}

impl Operation {
    pub(super) fn at(mut self, method: Method, path: &'static str) -> Self {
        self.method = method;
        self.path = path;
        self
    }

    /// Asks for this role at least.
    #[must_use]
    pub(crate) fn role(mut self, role: Role) -> Self {
        self.needs = Needs::Role(role);
        self
    }

    /// Asks for no credential.
    #[must_use]
    pub(crate) fn open(mut self) -> Self {
        self.needs = Needs::Nothing;
        self
    }

    /// Stands outside the API's base path.
    #[must_use]
    pub(crate) fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    /// Takes these query parameters; every other one is refused.
    #[must_use]
    pub(crate) fn query(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.query.extend(parameters);
        self
    }

    /// Minds these request headers.
    #[must_use]
    pub(crate) fn headers(mut self, headers: impl IntoIterator<Item = Parameter>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Takes a document with these attributes, with or without its envelope.
    #[must_use]
    pub(crate) fn attributes(self, attributes: Value) -> Self {
        self.document(super::schema::envelope(attributes), true)
    }

    /// The same; no body means no attributes.
    #[must_use]
    pub(crate) fn some_attributes(self, attributes: Value) -> Self {
        self.document(super::schema::envelope(attributes), false)
    }

    /// Takes a body of that schema.
    #[must_use]
    pub(crate) fn document(mut self, schema: Value, required: bool) -> Self {
        self.body = Some((schema, required));
        self
    }

    /// Answers with a JSON:API document.
    #[must_use]
    pub(crate) fn answers(self, status: u16, what: &'static str, schema: Value) -> Self {
        self.gives(status, what, MEDIA_TYPE, schema)
    }

    /// Answers with this media type; several for one status are told apart by `Accept`.
    #[must_use]
    pub(crate) fn gives(
        mut self,
        status: u16,
        what: &'static str,
        media: &'static str,
        schema: Value,
    ) -> Self {
        match self.replies.iter_mut().find(|r| r.status == status) {
            Some(reply) => reply.content.push((media, schema)),
            None => self.replies.push(Reply { status, what, content: vec![(media, schema)] }),
        }
        self
    }

    /// Answers without a body.
    #[must_use]
    pub(crate) fn empty(mut self, status: u16, what: &'static str) -> Self {
        self.replies.push(Reply { status, what, content: Vec::new() });
        self
    }

    /// May also answer with these error statuses.
    #[must_use]
    pub(crate) fn refuses(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    /// Gives text, whatever `Accept` says.
    #[must_use]
    pub(crate) fn whatever_is_accepted(mut self) -> Self {
        self.text = true;
        self
    }

    /// The whole path, with its parameters in braces.
    pub(crate) fn path(&self) -> String {
        if self.outside { self.path.to_owned() } else { format!("{BASE}{}", self.path) }
    }

    /// The names of the path's parameters.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Whether it is part of the API proper.
    pub(super) fn in_api(&self) -> bool {
        !self.outside
    }

    /// Whether `Accept` is not asked.
    pub(super) fn ignores_accept(&self) -> bool {
        self.text
    }

    /// Every error status that it may answer with, in order.
    pub(super) fn errors(&self) -> Vec<u16> {
        if !self.in_api() {
            return self.refusals.clone();
        }
        let mut all = vec![400, 401, 403, 406, 429, 500, 503, 504];
        if self.path.contains('{') {
            all.push(404);
        }
        if self.body.is_some() {
            all.extend([408, 413, 415]);
        }
        all.extend(&self.refusals);
        all.sort_unstable();
        all.dedup();
        all
    }
}
