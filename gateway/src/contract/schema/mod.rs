//! JSON Schemas of the documents, in small words. Objects are closed: a document that says more or
//! less than its schema is a fault that the tests find.

mod params;
mod requests;
mod runs;
mod settings;
mod specs;

pub(crate) use params::*;
pub(crate) use requests::*;

use serde_json::{Map, Value, json};

/// A JSON Schema.
pub(crate) type Schema = Value;

/// A closed object. A name that ends in `?` may be missing.
pub(crate) fn object(fields: &[(&str, Schema)]) -> Schema {
    let plain = |name: &str| name.trim_end_matches('?').to_owned();
    let required: Vec<_> =
        fields.iter().filter(|(n, _)| !n.ends_with('?')).map(|(n, _)| n).collect();
    let properties: Map<_, _> = fields.iter().map(|(n, s)| (plain(n), s.clone())).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// Values of one schema by names that are not known before.
pub(crate) fn map_of(values: Schema) -> Schema {
    json!({ "type": "object", "additionalProperties": values })
}

/// A list.
pub(crate) fn list_of(items: Schema) -> Schema {
    json!({ "type": "array", "items": items })
}

/// The same, or null.
pub(crate) fn or_null(schema: Schema) -> Schema {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// Any text.
pub(crate) fn text() -> Schema {
    json!({ "type": "string" })
}

/// A text of so many characters.
pub(crate) fn text_of(least: usize, most: usize) -> Schema {
    json!({ "type": "string", "minLength": least, "maxLength": most })
}

/// A text, or null when there is none.
pub(crate) fn some_text() -> Schema {
    json!({ "type": ["string", "null"] })
}

/// A UUID.
pub(crate) fn id() -> Schema {
    json!({ "type": "string", "format": "uuid" })
}

/// An instant by RFC 3339.
pub(crate) fn time() -> Schema {
    json!({ "type": "string", "format": "date-time" })
}

/// An instant, or null.
pub(crate) fn some_time() -> Schema {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

/// A whole number from 0 on.
pub(crate) fn count() -> Schema {
    json!({ "type": "integer", "minimum": 0 })
}

/// A whole number of that range.
pub(crate) fn number(least: i64, most: i64) -> Schema {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// Yes or no.
pub(crate) fn flag() -> Schema {
    json!({ "type": "boolean" })
}

/// Anything.
pub(crate) fn any() -> Schema {
    json!({})
}

/// One of these words.
pub(crate) fn words<T: ToString>(all: &[T]) -> Schema {
    json!({ "type": "string", "enum": all.iter().map(ToString::to_string).collect::<Vec<_>>() })
}

/// A schema of the document by its name.
pub(crate) fn named(name: &str) -> Schema {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A resource with these attributes, and relationships where it has some.
fn resource(kind: &str, attributes: Schema, relationships: &[(&str, bool)]) -> Schema {
    let mut fields =
        vec![("type", json!({ "const": kind })), ("id", text()), ("attributes", attributes)];
    if !relationships.is_empty() {
        let related = |many: bool| {
            let one = named("Identifier");
            object(&[("data", if many { list_of(one) } else { one })])
        };
        let all: Vec<_> =
            relationships.iter().map(|(name, many)| (*name, related(*many))).collect();
        fields.push(("relationships", object(&all)));
    }
    object(&fields)
}

/// A document about one resource.
pub(crate) fn one(name: &str) -> Schema {
    object(&[("data", named(name)), ("links?", named("Links")), ("meta?", map_of(any()))])
}

/// A document about one resource, with others in full.
pub(crate) fn one_with(name: &str, included: &[&str]) -> Schema {
    let others: Vec<_> = included.iter().map(|n| named(n)).collect();
    let others = list_of(json!({ "anyOf": others }));
    object(&[("data", named(name)), ("included", others)])
}

/// A document about a list of resources.
pub(crate) fn many(name: &str) -> Schema {
    object(&[("data", list_of(named(name))), ("links?", named("Links")), ("meta?", map_of(any()))])
}

/// A request document: the attributes in their envelope, or alone.
pub(crate) fn envelope(attributes: Schema) -> Schema {
    let data = object(&[
        ("type?", text()),
        ("id?", text()),
        ("meta?", map_of(any())),
        ("attributes", attributes.clone()),
    ]);
    let whole = object(&[("data", data), ("jsonapi?", map_of(any())), ("meta?", map_of(any()))]);
    json!({ "anyOf": [whole, attributes] })
}

/// Every schema that has a name.
pub(crate) fn components() -> Value {
    let common = vec![
        ("Identifier", object(&[("type", text()), ("id", text())])),
        ("Links", object(&[("next?", text()), ("prev?", text())])),
        ("Errors", errors()),
        ("Problem", problem()),
    ];
    let all = common.into_iter().chain(specs::all()).chain(runs::all()).chain(settings::all());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect::<Map<_, _>>().into()
}

fn errors() -> Schema {
    let source = object(&[("pointer?", text()), ("parameter?", text()), ("header?", text())]);
    let meta = object(&[("request_id", text()), ("trace_id", text())]);
    let error = object(&[
        ("status", text()),
        ("code", text()),
        ("title", text()),
        ("detail", text()),
        ("source?", source),
        ("meta", meta),
    ]);
    object(&[("errors", json!({ "type": "array", "items": error, "minItems": 1 }))])
}

fn problem() -> Schema {
    let part = object(&[
        ("pointer?", text()),
        ("parameter?", text()),
        ("header?", text()),
        ("detail", text()),
    ]);
    object(&[
        ("type", text()),
        ("title", text()),
        ("status", number(400, 599)),
        ("detail", text()),
        ("code", text()),
        ("request_id", text()),
        ("trace_id", text()),
        ("errors?", list_of(part)),
    ])
}
