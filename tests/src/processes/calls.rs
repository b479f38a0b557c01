//! Calls that a test makes of any service.

use anyhow::{Context, Result};
use meta_proto::orchestrator::GetCallerRequest;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;

/// Any call of a service that needs a credential.
pub async fn any_call(name: &str, channel: meta_runtime::Transport) -> Result<(), tonic::Status> {
    use meta_proto::autofixer::{ListFixersRequest, autofixer_service_client as autofixer};
    use meta_proto::classifier::{ListRulesRequest, classifier_service_client as classifier};
    use meta_proto::flags::{ResolveRequest, flags_service_client as flags};
    use meta_proto::runner::{GetStatusRequest, runner_service_client as runner};
    match name {
        "classifier" => {
            let mut client = classifier::ClassifierServiceClient::new(channel);
            client.list_rules(ListRulesRequest {}).await.map(drop)
        }
        "flag-resolver" => {
            let mut client = flags::FlagsServiceClient::new(channel);
            client.resolve(ResolveRequest::default()).await.map(drop)
        }
        "autofixer" => {
            let mut client = autofixer::AutofixerServiceClient::new(channel);
            client.list_fixers(ListFixersRequest {}).await.map(drop)
        }
        "runner" => {
            let mut client = runner::RunnerServiceClient::new(channel);
            client.get_status(GetStatusRequest {}).await.map(drop)
        }
        _ => {
            let mut client = TenantServiceClient::new(channel);
            client.get_caller(GetCallerRequest {}).await.map(drop)
        }
    }
}

macro_rules! reflected {
    ($name:ident, $version:ident) => {
        /// The services that a server lists by reflection of this version.
        pub async fn $name(address: &str) -> Result<Vec<String>> {
            use reflection::server_reflection_client::ServerReflectionClient;
            use reflection::server_reflection_request::MessageRequest;
            use reflection::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as reflection;
            let channel =
                meta_runtime::transport::remote(address, "").map_err(anyhow::Error::msg)?;
            let request = reflection::ServerReflectionRequest {
                message_request: Some(MessageRequest::ListServices(String::new())),
                ..Default::default()
            };
            let asked = tokio_stream::iter([request]);
            let mut client = ServerReflectionClient::new(channel);
            let mut answers = client.server_reflection_info(asked).await?.into_inner();
            let answer = answers.message().await?.context("an answer")?.message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = answer else {
                anyhow::bail!("no list: {answer:?}");
            };
            Ok(list.service.into_iter().map(|s| s.name).collect())
        }
    };
}
reflected!(reflected, v1);
reflected!(reflected_alpha, v1alpha);
