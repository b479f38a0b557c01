//! The contract of the HTTP API: one table from which both the router and the OpenAPI document are
//! made, so that neither can have a route that the other has not.

mod guard;
mod openapi;
mod operation;
pub(crate) mod schema;

pub(crate) use openapi::document;
pub(crate) use operation::{Needs, Operation, Reply, op};

use crate::routes::App;
use axum::Router;
use axum::handler::Handler;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use guard::Guard;
use http::{HeaderValue, Method, StatusCode, header};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Routes with what they promise.
#[derive(Default)]
pub(crate) struct Routes {
    handlers: Vec<MethodRouter<Arc<App>>>,
    operations: Vec<Operation>,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $method:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub(crate) fn $name<H, T>(self, path: &'static str, handler: H, of: Operation) -> Self
            where
                H: Handler<T, Arc<App>>,
                T: 'static,
            {
                self.with(Method::$method, path, on(MethodFilter::$method, handler), of)
            }
        )+
    };
}

impl Routes {
    methods! {
        /// A route that only reads; HEAD comes with it.
        get: GET,
        /// A route that does something.
        post: POST,
        /// A route that replaces.
        put: PUT,
        /// A route that changes in part.
        patch: PATCH,
        /// A route that removes.
        delete: DELETE,
    }

    fn with(
        mut self,
        method: Method,
        path: &'static str,
        handler: MethodRouter<Arc<App>>,
        of: Operation,
    ) -> Self {
        let of = of.at(method, path);
        let guard = Guard::of(&of);
        self.handlers.push(handler.layer(guard));
        self.operations.push(of);
        self
    }

    /// Both tables.
    #[must_use]
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.handlers.extend(other.handlers);
        self.operations.extend(other.operations);
        self
    }

    /// What every route promises.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The routes; each path also answers OPTIONS with the methods that it knows.
    pub(crate) fn router(self) -> Router<Arc<App>> {
        let mut paths: BTreeMap<String, (MethodRouter<Arc<App>>, Vec<Method>)> = BTreeMap::new();
        for (handler, operation) in self.handlers.into_iter().zip(self.operations) {
            let (merged, methods) = paths.entry(operation.path()).or_default();
            *merged = std::mem::take(merged).merge(handler);
            methods.push(operation.method);
        }
        paths.into_iter().fold(Router::new(), |router, (path, (handler, methods))| {
            let allow = allow(&methods);
            let options =
                move || std::future::ready((StatusCode::NO_CONTENT, [allow]).into_response());
            router.route(&path, handler.on(MethodFilter::OPTIONS, options))
        })
    }
}

/// The header that names the methods of a path.
fn allow(methods: &[Method]) -> (header::HeaderName, HeaderValue) {
    let mut words: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if words.contains(&"GET") {
        words.push("HEAD");
    }
    words.push("OPTIONS");
    words.sort_unstable();
    let text = words.join(", ");
    let value = HeaderValue::from_str(&text).expect("method names are plain words");
    (header::ALLOW, value)
}

#[cfg(test)]
mod tests {
    use super::Needs;
    use crate::routes::routes;
    use meta_domain::role::Role;
    use meta_runtime::access::{self, Row, Who};
    use std::collections::BTreeSet;

    /// The weakest role that a row admits, auditors aside: they are of their own kind.
    fn weakest(row: &Row) -> Option<Role> {
        match &row.who {
            Who::Roles(roles) => roles.iter().copied().filter(|r| *r > Role::Auditor).min(),
            Who::Public | Who::Machines { .. } => None,
        }
    }

    #[test]
    fn every_operation_has_a_row_in_the_role_matrix_that_says_the_same() {
        let all = routes();
        let mut documented = BTreeSet::new();
        for operation in all.operations() {
            let (method, path) = (operation.method.as_str(), operation.path());
            documented.insert(format!("{method} {path}"));
            let row = access::route(method, &path);
            let row = row.unwrap_or_else(|| panic!("{method} {path} has no row in access.toml"));
            let needs = match operation.needs {
                Needs::Nothing => None,
                Needs::Role(role) => Some(role),
            };
            assert_eq!(weakest(row), needs, "{method} {path}");
        }
        for (name, _) in access::routes() {
            let path = name.split_once(' ').map_or("", |(_, path)| path);
            let of_api = path.starts_with(crate::document::BASE) || path.starts_with("/ofrep");
            assert!(!of_api || documented.contains(name), "{name} has a row and no route");
        }
    }
}
