//! Every RPC of the role matrix as every role, over gRPC, with the tenant's own objects and with
//! another's. Messages are written from the descriptors: whatever names an object gets one.

use crate::people::{Objects, Tenant, up};
use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut};
use meta_domain::role::{Identity, Principal, Role};
use meta_runtime::Transport;
use meta_runtime::access::{Other, Row, Who, rpcs};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// How long a stream that was let in is listened to.
const LISTEN: Duration = Duration::from_millis(200);

/// Messages as their bytes.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// An RPC with its row and the message that it takes.
struct Rpc {
    name: &'static str,
    row: &'static Row,
    takes: DescriptorProto,
}

impl Rpc {
    fn all() -> Result<Vec<Self>> {
        let set: FileDescriptorSet = prost::Message::decode(meta_proto::DESCRIPTORS)?;
        let mut messages = BTreeMap::new();
        let mut takes = BTreeMap::new();
        for file in &set.file {
            for message in &file.message_type {
                let name = format!(".{}.{}", file.package(), message.name());
                messages.insert(name, message.clone());
            }
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    takes.insert(name, method.input_type().to_owned());
                }
            }
        }
        let rpc = |(name, row): (&'static str, &'static Row)| {
            let takes = takes.get(name).context(name)?;
            Ok(Self { name, row, takes: messages.get(takes).context(name)?.clone() })
        };
        rpcs().into_iter().map(rpc).collect()
    }

    /// A message in which every text that names an object names one of these.
    fn message(&self, objects: &Objects) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in &self.takes.field {
            let plain = field.r#type() == Type::String && field.label() != Label::Repeated;
            let name = match field.name() {
                "id" if self.name.ends_with("Scheduled") => "scheduled_id",
                // a key of flags, a new tenant
                "id" | "key" | "name" => continue,
                name => name,
            };
            let Some(value) = objects.get(name).filter(|_| plain) else { continue };
            // a decision names its gate or its run, not both
            if name == "run_id" && self.takes.field.iter().any(|f| f.name() == "gate_id") {
                continue;
            }
            bytes.put_u8(u8::try_from(field.number() << 3 | 2).unwrap_or_default());
            bytes.put_u8(u8::try_from(value.len()).unwrap_or_default());
            bytes.put_slice(value.as_bytes());
        }
        bytes
    }

    fn names_an_object(&self) -> bool {
        self.row.other != Other::None
    }

    fn admits(&self, role: Role) -> bool {
        let tenant = meta_runtime::new_id().into();
        let caller = Identity::from(Principal { tenant, role, actor: String::new() });
        self.row.who != Who::Public && self.row.admits(self.name, &caller).is_ok()
    }

    async fn call(&self, channel: &Transport, objects: &Objects) -> Result<Seen> {
        let mut client = tonic::client::Grpc::new(channel.clone());
        let path = format!("/{}", self.name).parse()?;
        let request = Request::new(self.message(objects));
        client.ready().await.map_err(|e| anyhow::anyhow!("{e}"))?;
        let answered = async {
            let mut stream = client.server_streaming(request, path, Raw).await?.into_inner();
            match tokio::time::timeout(LISTEN, stream.message()).await {
                Ok(Ok(_)) | Err(_) => Ok(()),
                Ok(Err(status)) => Err(status),
            }
        };
        Ok(match answered.await {
            Ok(()) => Seen { code: Code::Ok, reason: String::new(), said: String::new() },
            Err(status) => Seen {
                code: status.code(),
                reason: status.get_details_error_info().map(|i| i.reason).unwrap_or_default(),
                said: objects.without_ids(status.message()),
            },
        })
    }
}

/// What came back.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Code,
    reason: String,
    said: String,
}

impl Seen {
    /// Whether the layer before the service refused.
    fn refused(&self) -> bool {
        let reasons = ["ROLE_TOO_LOW", "MACHINE_ONLY", "NO_ACCESS_ROW", "RUNNER_ONLY_WORKS"];
        self.code == Code::PermissionDenied && reasons.contains(&self.reason.as_str())
    }
}

fn channel(address: &str, key: &str) -> Result<Transport> {
    meta_runtime::transport::remote(address, key).map_err(anyhow::Error::msg)
}

#[tokio::test(flavor = "multi_thread")]
async fn h6_another_tenants_object_is_like_an_unknown_id_in_every_rpc_for_every_role() -> Result<()>
{
    let (up, _folder) = up().await?;
    let (own, other) = (Tenant::new(&up.rest, "own").await?, Tenant::new(&up.rest, "other").await?);
    let theirs = other.objects().await?;
    let before = theirs.state(other.role(Role::Owner)).await?;
    let mut compared = 0;
    for (role, rest) in own.people() {
        let channel = channel(&up.grpc, rest.key())?;
        for rpc in Rpc::all()?.iter().filter(|rpc| rpc.row.who != Who::Public) {
            let what = format!("{} as {role}", rpc.name);
            let seen = rpc.call(&channel, &theirs).await?;
            if !rpc.admits(role) {
                ensure!(seen.refused(), "{what}: {seen:?}");
            } else if rpc.names_an_object() {
                let unknown = rpc.call(&channel, &theirs.of_nobody()).await?;
                ensure!(seen == unknown, "{what}: {seen:?} is not {unknown:?}");
                let expected = match rpc.row.other {
                    Other::Refused => Code::PermissionDenied,
                    Other::Hidden | Other::None => Code::NotFound,
                };
                // two want more than names before they look for the run
                let asked = ["/EditPlan", "/MarkStep"].iter().any(|end| rpc.name.ends_with(end));
                let checked = asked && seen.code == Code::InvalidArgument;
                ensure!(seen.code == expected || checked, "{what}: {seen:?}");
                compared += 1;
            }
        }
    }
    ensure!(compared > 80, "{compared} were compared");
    let after = theirs.state(other.role(Role::Owner)).await?;
    ensure!(before == after, "{before:#} became {after:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h10_every_rpc_asks_for_the_roles_of_its_row_and_for_a_credential() -> Result<()> {
    let (up, _folder) = up().await?;
    let own = Tenant::new(&up.rest, "own").await?;
    let objects = own.objects().await?;
    for (role, rest) in own.people() {
        let channel = channel(&up.grpc, rest.key())?;
        for rpc in Rpc::all()?.iter().filter(|rpc| rpc.row.who != Who::Public) {
            let what = format!("{} as {role}", rpc.name);
            let seen = rpc.call(&channel, &objects).await?;
            ensure!(seen.refused() != rpc.admits(role), "{what}: {seen:?}");
            ensure!(seen.code != Code::Unauthenticated, "{what}: {seen:?}");
        }
    }
    for key in ["", "mb_nobody"] {
        let channel = channel(&up.grpc, key)?;
        for rpc in Rpc::all()?.iter().filter(|rpc| rpc.row.who != Who::Public) {
            let seen = rpc.call(&channel, &objects).await?;
            ensure!(seen.code == Code::Unauthenticated, "{} with {key:?}: {seen:?}", rpc.name);
        }
    }
    Ok(())
}
