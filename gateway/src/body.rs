//! Request documents: read within limits, checked strictly, as `{"data":{"attributes":{..}}}` or as
//! the attributes alone.

use crate::problem::{At, Problem, shown};
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use meta_domain::fault::InvalidField;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt;
use std::io::Read;
use std::time::Duration;

/// Bytes of a request body, on the wire and unpacked.
pub(crate) const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Bytes beyond the limit that are still read and thrown away, so that a caller who writes first
/// and reads later sees the answer and not a broken connection.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// The bytes of a request document.
#[derive(Debug)]
pub(crate) struct Payload(Bytes);

impl Payload {
    /// The bytes, unpacked.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same payload, where no more than `most` bytes make sense.
    ///
    /// # Errors
    /// 413 when it is larger.
    pub(crate) fn at_most(self, most: usize) -> Result<Self, Problem> {
        if self.0.len() > most { Err(too_large(most)) } else { Ok(self) }
    }

    /// Reads the attributes.
    ///
    /// # Errors
    /// 400 with line and column, or with a pointer to the field.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        typed(self.attributes()?)
    }

    /// Like [`Payload::read`]; no body means no attributes.
    ///
    /// # Errors
    /// As [`Payload::read`].
    pub(crate) fn read_or_empty<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            return typed(Value::Object(Map::new()));
        }
        self.read()
    }

    /// The attributes before they have a type.
    ///
    /// # Errors
    /// 400 with line and column, or naming what is wrong with the envelope.
    pub(crate) fn attributes(&self) -> Result<Value, Problem> {
        let Strict(document) = serde_json::from_slice(&self.0).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what);
            Problem::bad("malformed_json", format!("the body is not valid JSON ({place}): {what}"))
        })?;
        match document {
            Value::Object(map) if map.contains_key("data") => unwrapped(map),
            Value::Object(map) => Ok(Value::Object(map)),
            _ => Err(Problem::bad("invalid_document", "the body is not a JSON object")
                .at(At::Pointer(String::new()))),
        }
    }
}

fn unwrapped(mut document: Map<String, Value>) -> Result<Value, Problem> {
    let refuse = |pointer: String, detail: String| {
        Err(Problem::bad("invalid_document", detail).at(At::Pointer(pointer)))
    };
    let data = document.remove("data");
    if let Some(name) = document.keys().find(|k| !["jsonapi", "meta"].contains(&k.as_str())) {
        return refuse(format!("/{name}"), format!("{name:?} is not known beside \"data\""));
    }
    let Some(Value::Object(mut data)) = data else {
        return refuse("/data".to_owned(), "\"data\" is not a resource object".to_owned());
    };
    let attributes = data.remove("attributes").unwrap_or_else(|| Value::Object(Map::new()));
    if let Some(name) = data.keys().find(|k| !["type", "id", "meta"].contains(&k.as_str())) {
        let detail = format!("{name:?} is not known in \"data\" (expected type and attributes)");
        return refuse(format!("/data/{name}"), detail);
    }
    if attributes.is_object() {
        Ok(attributes)
    } else {
        refuse("/data/attributes".to_owned(), "\"attributes\" is not an object".to_owned())
    }
}

/// Gives attributes their type.
///
/// # Errors
/// 400 with a pointer to the field.
pub(crate) fn typed<T: DeserializeOwned>(attributes: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(attributes).map_err(|error| {
        let mut path = error.path().to_string();
        if path == "." {
            path.clear();
        }
        let problem = error.inner().to_string();
        let named = |start: &str| {
            problem.strip_prefix(start).and_then(|p| p.split('`').next()).map(str::to_owned)
        };
        let unknown = named("unknown field `");
        let code = if unknown.is_some() { "unknown_field" } else { "invalid_field" };
        if let Some(name) = unknown.or_else(|| named("missing field `"))
            && path.rsplit('.').next() != Some(&name)
        {
            path = if path.is_empty() { name } else { format!("{path}.{name}") };
        }
        Problem::fields(code, &[InvalidField::new(path, problem)])
    })
}

impl<S: Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let encoding = check_headers(&parts.headers)?;
        let bytes = within_limit(body, BODY_BYTES_MAX).await?;
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            check_media_type(&parts.headers)?;
        }
        match encoding {
            Encoding::Plain => Ok(Self(bytes)),
            Encoding::Gzip => unpacked(&bytes).map(Self),
        }
    }
}

enum Encoding {
    Plain,
    Gzip,
}

fn check_headers(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?"));
    match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("identity") => Ok(Encoding::Plain),
        Some("gzip" | "x-gzip") => Ok(Encoding::Gzip),
        Some(other) => {
            let detail = format!("content-encoding {other:?} is not known (expected gzip or none)");
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(Problem::new(status, "unsupported_encoding", detail)
                .at(At::Header("Content-Encoding")))
        }
    }
}

/// JSON only: a form of a foreign page can not send it unasked.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let given = all.next().and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut parts = given.split(';').map(str::trim);
    let media = parts.next().unwrap_or("").to_ascii_lowercase();
    let fits = match media.as_str() {
        "application/json" => true,
        crate::document::MEDIA_TYPE => parts.all(|p| p.starts_with("profile=")),
        _ => false,
    };
    if fits && all.next().is_none() {
        return Ok(());
    }
    let detail = format!(
        "content-type {} is not accepted (expected once application/vnd.api+json without \
         parameters, or application/json)",
        shown(given)
    );
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
        .at(At::Header("Content-Type")))
}

fn too_large(most: usize) -> Problem {
    let detail = format!("the body is larger than {most} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// Reads a body to its end.
///
/// # Errors
/// 413 when it is larger than `most` bytes, 408 when it does not arrive in time, 400 when it breaks.
pub(crate) async fn within_limit(body: Body, most: usize) -> Result<Bytes, Problem> {
    tokio::time::timeout(BODY_TIMEOUT, read_within(body, most)).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    })?
}

async fn read_within(mut body: Body, most: usize) -> Result<Bytes, Problem> {
    let mut kept = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Problem::bad("broken_body", format!("the body could not be read to its end: {e}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= most {
            kept.extend_from_slice(&data);
        } else {
            kept = Vec::new();
            if seen > DISCARD_BYTES_MAX {
                break;
            }
        }
    }
    if seen > most { Err(too_large(most)) } else { Ok(kept.into()) }
}

fn unpacked(packed: &[u8]) -> Result<Bytes, Problem> {
    let mut plain = Vec::new();
    let limit = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(limit).read_to_end(&mut plain).map_err(|e| {
        Problem::bad("malformed_gzip", format!("the body is not valid gzip: {e}"))
            .at(At::Header("Content-Encoding"))
    })?;
    if plain.len() > BODY_BYTES_MAX { Err(too_large(BODY_BYTES_MAX)) } else { Ok(plain.into()) }
}

/// A JSON value in which no object has the same key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(list.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Attributes {
        title: String,
        count: u32,
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        name: String,
    }

    fn read(text: &str) -> Result<Attributes, Problem> {
        Payload(Bytes::copy_from_slice(text.as_bytes())).read()
    }

    fn pointer_of(text: &str) -> Option<At> {
        read(text).unwrap_err().errors[0].at.clone()
    }

    #[test]
    fn both_forms_are_read() {
        for text in [
            r#"{"title":"a","count":2,"list":[{"name":"n"}]}"#,
            r#"{"data":{"type":"spec","attributes":{"title":"a","count":2,"list":[{"name":"n"}]}}}"#,
        ] {
            let got = read(text).unwrap();
            assert_eq!((got.title.as_str(), got.count, got.list[0].name.as_str()), ("a", 2, "n"));
        }
    }

    #[test]
    fn unknown_and_wrong_fields_are_pointed_at() {
        for (text, pointer) in [
            (r#"{"titel":"a"}"#, "/data/attributes/titel"),
            (r#"{"__proto__":{}}"#, "/data/attributes/__proto__"),
            (r#"{"count":-1}"#, "/data/attributes/count"),
            (r#"{"count":1.5}"#, "/data/attributes/count"),
            (r#"{"count":-0}"#, "/data/attributes/count"),
            (r#"{"count":9007199254740993}"#, "/data/attributes/count"),
            (r#"{"list":[{"name":"n"},{"nam":"n"}]}"#, "/data/attributes/list/1/nam"),
            (r#"{"list":[{}]}"#, "/data/attributes/list/0/name"),
            (r#"{"data":{"attributes":{"x":1}}}"#, "/data/attributes/x"),
            (r#"{"data":{"attribute":{}}}"#, "/data/attribute"),
            (r#"{"data":[]}"#, "/data"),
            (r#"{"data":{},"extra":1}"#, "/extra"),
        ] {
            assert_eq!(pointer_of(text), Some(At::Pointer(pointer.to_owned())), "{text}");
        }
    }

    #[test]
    fn broken_json_names_line_and_column() {
        for (text, part) in [
            ("{\n \"title\": }", "line 2"),
            (r#"{"title":"a","title":"b"}"#, "twice"),
            (r#"{"count":1e309}"#, "column"),
            ("", "line 1"),
            ("\u{feff}{}", "line 1"),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!(problem.errors[0].code, "malformed_json", "{text}");
            assert!(problem.errors[0].detail.contains(part), "{}", problem.errors[0].detail);
        }
        let deep = "[".repeat(10_000);
        assert_eq!(read(&deep).unwrap_err().errors[0].code, "malformed_json");
    }
}
