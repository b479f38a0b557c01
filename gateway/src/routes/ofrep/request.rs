//! What is asked: the flag's key out of the path, and the two attributes of the context that count.
//! Nothing else of a request is kept, so a large context costs no memory.

use super::answer::Refused;
use meta_domain::settings::Setting;
use meta_domain::settings::openfeature::{self, RUN_ATTRIBUTE, TENANT_ATTRIBUTE};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use std::borrow::Cow;
use std::fmt;

/// Characters of a flag's key.
const KEY_CHARS_MAX: usize = 256;

/// A flag's key.
#[derive(Debug)]
pub(super) struct Key<'a> {
    /// As an error repeats it, which is cut when it is long.
    pub(super) shown: Cow<'a, str>,
    /// The flag, when there is one.
    pub(super) setting: Result<Setting, Refused>,
}

impl<'a> Key<'a> {
    /// Reads the last part of a path.
    pub(super) fn read(encoded: &'a str) -> Self {
        let Some(key) = decoded(encoded) else {
            let problem = "the flag's key is not percent-encoded UTF-8";
            return Self { shown: cut(encoded.into()), setting: Err(Refused::Malformed(problem)) };
        };
        let short = key.len() <= KEY_CHARS_MAX || key.chars().count() <= KEY_CHARS_MAX;
        let setting = if short {
            Setting::ALL.iter().copied().find(|s| s.as_str() == key).ok_or(Refused::NotFound)
        } else {
            Err(Refused::Malformed("the flag's key is too long (expected at most 256 characters)"))
        };
        Self { shown: cut(key), setting }
    }
}

fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.char_indices().nth(KEY_CHARS_MAX) {
        None => text,
        Some((end, _)) => Cow::Owned(text[..end].to_owned()),
    }
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let digit = |byte: Option<u8>| {
        byte.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            other => other,
        });
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}

/// An attribute as it stands in a context.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Attribute<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Other,
}

impl Attribute<'_> {
    pub(super) fn as_domain(&self) -> openfeature::Attribute<'_> {
        match self {
            Self::Absent => openfeature::Attribute::Absent,
            Self::Text(text) => openfeature::Attribute::Text(text),
            Self::Other => openfeature::Attribute::Other,
        }
    }
}

/// What counts of an evaluation's context.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Context<'a> {
    pub(super) tenant: Attribute<'a>,
    pub(super) run: Attribute<'a>,
}

impl<'a> Context<'a> {
    /// Reads `{"context": {…}}`; no body is a context without attributes.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Refused> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let Body(context) = serde_json::from_slice(body).map_err(|e| match e.classify() {
            Category::Data => Refused::Context { line: e.line(), column: e.column() },
            Category::Io | Category::Syntax | Category::Eof => {
                Refused::Json { line: e.line(), column: e.column() }
            }
        })?;
        Ok(context)
    }
}

struct Body<'a>(Context<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Body<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a context")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
                let mut context = None;
                while let Some(Name(name)) = map.next_key()? {
                    if name != Known::Context {
                        map.next_value::<IgnoredAny>()?;
                    } else if context.replace(map.next_value::<Context<'de>>()?).is_some() {
                        return Err(A::Error::custom("the context stands twice"));
                    }
                }
                Ok(Body(context.unwrap_or_default()))
            }
        }
        deserializer.deserialize_any(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Context<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Attributes;
        impl<'de> Visitor<'de> for Attributes {
            type Value = Context<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attributes")
            }
            fn visit_unit<E>(self) -> Result<Context<'de>, E> {
                Ok(Context::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Context<'de>, A::Error> {
                let (mut tenant, mut run) = (None, None);
                while let Some(Name(name)) = map.next_key()? {
                    let seen = match name {
                        Known::Tenant => &mut tenant,
                        Known::Run => &mut run,
                        Known::Context | Known::Nothing => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if seen.replace(map.next_value::<Attribute<'de>>()?).is_some() {
                        return Err(A::Error::custom("an attribute stands twice"));
                    }
                }
                Ok(Context { tenant: tenant.unwrap_or_default(), run: run.unwrap_or_default() })
            }
        }
        deserializer.deserialize_any(Attributes)
    }
}

#[derive(PartialEq, Eq)]
enum Known {
    Context,
    Tenant,
    Run,
    Nothing,
}

/// The name of a member, without a copy of it.
struct Name(Known);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(match name {
                    "context" => Known::Context,
                    TENANT_ATTRIBUTE => Known::Tenant,
                    RUN_ATTRIBUTE => Known::Run,
                    _ => Known::Nothing,
                }))
            }
        }
        deserializer.deserialize_identifier(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Attribute<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Attribute<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Attribute::Absent)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Attribute::Text(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Attribute::Text(text.to_owned().into()))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Attribute::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Attribute::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Attribute::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Attribute::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Attribute::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Attribute::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
