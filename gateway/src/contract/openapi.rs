//! The OpenAPI 3.1 document of the table.

use super::schema::{self, Parameter};
use super::{Needs, Operation, Reply};
use crate::document::MEDIA_TYPE;
use crate::problem::PROBLEM_MEDIA_TYPE;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

const DESCRIPTION: &str = "Meta-Builder builds a spec, heals what fails and asks a human where it \
    has to. Documents are JSON:API; errors are JSON:API errors, or RFC 9457 problems for \
    `Accept: application/problem+json`. A list's query parameters may also be written as \
    `filter[name]`, `page[number]`, `page[size]` and `page[token]`.";

/// The document of these operations.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path()).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Meta-Builder",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: `Authorization: Bearer mb_...`",
                },
            },
            "schemas": schema::components(),
            "responses": errors(operations),
        },
    })
}

fn described(of: &Operation) -> Value {
    let mut parameters: Vec<Value> = of.path_parameters().map(schema::path_parameter).collect();
    parameters.extend(of.query.iter().map(|p| parameter(p, "query")));
    parameters.extend(of.headers.iter().map(|p| parameter(p, "header")));
    let mut responses: Map<String, Value> =
        of.replies.iter().map(|r| (r.status.to_string(), reply(r, of))).collect();
    for status in of.errors() {
        let reference = json!({ "$ref": format!("#/components/responses/E{status}") });
        responses.entry(status.to_string()).or_insert(reference);
    }
    let mut described = json!({
        "operationId": of.id,
        "summary": of.summary,
        "tags": [tag(of)],
        "responses": responses,
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    match of.needs {
        Needs::Nothing => described["security"] = json!([]),
        Needs::Role(role) => described["x-role"] = role.as_str().into(),
    }
    if let Some((schema, required)) = &of.body {
        let content = if of.in_api() {
            json!({ MEDIA_TYPE: { "schema": schema }, "application/json": { "schema": schema } })
        } else {
            json!({ "application/json": { "schema": schema } })
        };
        described["requestBody"] = json!({ "required": required, "content": content });
    }
    described
}

/// The first part of the path that says something.
fn tag(of: &Operation) -> String {
    let path = of.path();
    let plain = path.strip_prefix(crate::document::BASE).unwrap_or(&path).to_owned();
    plain.split('/').find(|p| !p.is_empty()).unwrap_or("about").to_owned()
}

fn parameter(p: &Parameter, place: &str) -> Value {
    let mut parameter = json!({ "name": p.name, "in": place, "schema": p.schema });
    if !p.what.is_empty() {
        parameter["description"] = p.what.into();
    }
    parameter
}

fn reply(reply: &Reply, of: &Operation) -> Value {
    let mut described = json!({ "description": reply.what });
    if !reply.content.is_empty() {
        let content = reply.content.iter();
        let content: Map<_, _> =
            content.map(|(m, s)| ((*m).to_owned(), json!({ "schema": s }))).collect();
        described["content"] = content.into();
    }
    if reply.status == 201 && of.method == Method::POST {
        described["headers"] = json!({
            "Idempotency-Replayed": { "schema": { "const": "true" } },
            "Location": { "schema": { "type": "string" } },
        });
    }
    described
}

/// The error answers, each once.
fn errors(operations: &[Operation]) -> Value {
    let mut statuses: Vec<u16> = operations.iter().flat_map(Operation::errors).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let error = |status: u16| {
        let text = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
        let mut described = json!({
            "description": text.unwrap_or("An error"),
            "content": {
                MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Errors" } },
                PROBLEM_MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } },
            },
        });
        if [429, 503].contains(&status) {
            described["headers"] =
                json!({ "Retry-After": { "schema": { "type": "integer", "minimum": 1 } } });
        }
        (format!("E{status}"), described)
    };
    statuses.into_iter().map(error).collect::<Map<_, _>>().into()
}
