//! Evaluation, one handler for both versions of the interface: they differ in whether a value may
//! be absent, and ours never is.
//!
//! A status never repeats the flag's key, which a client chooses: a long one would not fit the
//! trailers. What is wrong for good is never UNKNOWN or UNAVAILABLE, which clients try again.

use super::events::{Event, events};
use super::{About, selector};
use crate::resolver::Resolver;
use futures::{Stream, StreamExt};
use meta_domain::settings::openfeature::{
    Attribute, FLAG_SET, RUN_ATTRIBUTE, TENANT_ATTRIBUTE, owner, reason, variant,
};
use meta_domain::settings::{Setting, Value};
use meta_proto::flagd::evaluation::{v1, v2};
use meta_runtime::flags::Evaluated;
use meta_runtime::principal;
use prost_types::value::Kind;
use prost_types::{Struct, Value as Attr};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// See the module.
pub(super) struct Evaluation {
    pub resolver: Arc<Resolver>,
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Evaluation {
    /// Evaluates a flag in a context.
    fn evaluate<T>(
        &self,
        request: &Request<T>,
        key: &str,
        context: Option<&Struct>,
    ) -> Result<Evaluated, Status> {
        let owner = context_owner(request, context)?;
        let setting: Setting = key.parse().map_err(|_| no_such_flag())?;
        self.is_ready()?;
        Ok(self.resolver.flags.evaluate(setting, owner))
    }

    /// Nothing is answered before anything is known.
    fn is_ready(&self) -> Result<(), Status> {
        if self.resolver.flags.is_ready() {
            return Ok(());
        }
        Err(Status::unavailable("no settings are known yet"))
    }

    fn all<T>(
        &self,
        request: &Request<T>,
        context: Option<&Struct>,
    ) -> Result<v1::ResolveAllResponse, Status> {
        let owner = context_owner(request, context)?;
        self.is_ready()?;
        let flag = |setting: &Setting| {
            let one = self.resolver.flags.evaluate(*setting, owner);
            let value = match one.value {
                Value::Bool(v) => v1::any_flag::Value::BoolValue(v),
                Value::Int(v) => v1::any_flag::Value::DoubleValue(f64::from(v)),
            };
            let flag = v1::AnyFlag {
                reason: reason(one.layer).to_owned(),
                variant: variant(one.layer).to_owned(),
                metadata: Some(metadata(&one)),
                value: Some(value),
            };
            (setting.as_str().to_owned(), flag)
        };
        Ok(v1::ResolveAllResponse {
            flags: Setting::ALL.iter().map(flag).collect::<HashMap<_, _>>(),
            metadata: None,
        })
    }

    fn events<T>(
        &self,
        request: &Request<T>,
    ) -> Result<impl Stream<Item = Event> + use<T>, Status> {
        let about = About::of(&principal(request)?, selector(request, ""))?;
        self.is_ready()?;
        Ok(events(Arc::clone(&self.resolver), about))
    }
}

fn no_such_flag() -> Status {
    Status::not_found("no such flag")
}

/// Whose settings the context asks for. A foreign tenant is as if there were no flag.
fn context_owner<T>(
    request: &Request<T>,
    context: Option<&Struct>,
) -> Result<Option<meta_domain::settings::Owner>, Status> {
    let attribute = |name: &str| {
        let kind = context.and_then(|c| c.fields.get(name)).and_then(|v| v.kind.as_ref());
        match kind {
            None | Some(Kind::NullValue(_)) => Attribute::Absent,
            Some(Kind::StringValue(text)) => Attribute::Text(text),
            Some(_) => Attribute::Other,
        }
    };
    let caller = request.extensions().get().ok_or_else(|| Status::unauthenticated("who is it"))?;
    owner(caller, attribute(TENANT_ATTRIBUTE), attribute(RUN_ATTRIBUTE)).map_err(|_| no_such_flag())
}

fn metadata(one: &Evaluated) -> Struct {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    #[expect(clippy::cast_precision_loss, reason = "clients read numbers as doubles")]
    let version = Kind::NumberValue(one.version as f64);
    let fields = [
        ("layer", text(variant(one.layer))),
        ("version", version),
        ("stale", Kind::BoolValue(one.freshness.is_stale())),
        ("flagSetId", text(FLAG_SET)),
    ];
    let attr = |(name, kind): (&str, Kind)| (name.to_owned(), Attr { kind: Some(kind) });
    Struct { fields: fields.into_iter().map(attr).collect() }
}

fn flag(value: Value) -> Result<bool, Status> {
    match value {
        Value::Bool(v) => Ok(v),
        Value::Int(_) => Err(Status::invalid_argument("the flag is a whole number")),
    }
}

fn number(value: Value) -> Result<u32, Status> {
    match value {
        Value::Int(v) => Ok(v),
        Value::Bool(_) => Err(Status::invalid_argument("the flag is a boolean")),
    }
}

fn int(value: Value) -> Result<i64, Status> {
    number(value).map(i64::from)
}

fn float(value: Value) -> Result<f64, Status> {
    number(value).map(f64::from)
}

/// The flag is of neither type, whatever is asked.
fn neither<T>(value: Value) -> Result<T, Status> {
    let is = match value {
        Value::Bool(_) => "the flag is a boolean",
        Value::Int(_) => "the flag is a whole number",
    };
    Err(Status::invalid_argument(is))
}

/// Implements one version of the service; `$some` wraps what may be absent there.
macro_rules! service {
    ($version:ident, $some:expr, { $($extra:item)* }) => {
        service!($version, $some, { $($extra)* },
            resolve_boolean ResolveBooleanRequest ResolveBooleanResponse flag,
            resolve_int ResolveIntRequest ResolveIntResponse int,
            resolve_float ResolveFloatRequest ResolveFloatResponse float,
            resolve_string ResolveStringRequest ResolveStringResponse neither,
        );
    };
    ($version:ident, $some:expr, { $($extra:item)* },
        $($name:ident $request:ident $response:ident $read:ident,)+
    ) => {
        #[tonic::async_trait]
        impl $version::service_server::Service for Evaluation {
            $(async fn $name(
                &self,
                request: Request<$version::$request>,
            ) -> Result<Response<$version::$response>, Status> {
                let body = request.get_ref();
                let one = self.evaluate(&request, &body.flag_key, body.context.as_ref())?;
                Ok(Response::new($version::$response {
                    value: $some($read(one.value)?),
                    reason: reason(one.layer).to_owned(),
                    variant: $some(variant(one.layer).to_owned()),
                    metadata: Some(metadata(&one)),
                }))
            })+

            async fn resolve_object(
                &self,
                request: Request<$version::ResolveObjectRequest>,
            ) -> Result<Response<$version::ResolveObjectResponse>, Status> {
                let body = request.get_ref();
                let one = self.evaluate(&request, &body.flag_key, body.context.as_ref())?;
                neither(one.value)
            }

            type EventStreamStream = Events<$version::EventStreamResponse>;

            async fn event_stream(
                &self,
                request: Request<$version::EventStreamRequest>,
            ) -> Result<Response<Self::EventStreamStream>, Status> {
                let told = self.events(&request)?.map(|event| {
                    let (kind, data) = event?;
                    Ok($version::EventStreamResponse { r#type: kind.to_owned(), data })
                });
                Ok(Response::new(Box::pin(told)))
            }

            $($extra)*
        }
    };
}

service!(v2, Some, {});
service!(v1, std::convert::identity, {
    async fn resolve_all(
        &self,
        request: Request<v1::ResolveAllRequest>,
    ) -> Result<Response<v1::ResolveAllResponse>, Status> {
        self.all(&request, request.get_ref().context.as_ref()).map(Response::new)
    }
});
