//! Evaluations over loopback, of each interface.

use crate::in_process::value;
use crate::load::{Ask, WORKERS, load, tenant};
use crate::services::{KEY, Services, caller};
use anyhow::{Result, ensure};
use meta_domain::role::Role;
use meta_proto::flagd::evaluation::v2 as flagd;
use meta_proto::flagd::evaluation::v2::service_client::ServiceClient;
use meta_proto::flags::ResolveRequest;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_runtime::{Transport, call};
use meta_tests::processes::{LIMIT, TOKEN};
use serde_json::{Value, json};

const FLAG: &str = "max_total_attempts";
/// Connections of all workers to a gRPC service.
const CHANNELS: usize = 4;

/// Every interface with that many tenants' overrides.
pub async fn measure(services: &Services, tenants: usize) -> Result<Vec<Value>> {
    let (resolver, gateway) = (services.resolver.process.pid(), services.gateway.process.pid());
    let channels = |address: &str, token: &str| {
        (0..CHANNELS)
            .map(|_| meta_runtime::transport::remote(address, token).map_err(anyhow::Error::msg))
            .collect::<Result<Vec<_>>>()
    };
    let flagd = channels(&services.flagd, "")?.into_iter();
    let flagd = flagd.map(|channel| Flagd(ServiceClient::new(channel))).collect();
    let own = channels(&services.resolver.address, TOKEN)?.into_iter();
    let own = own.map(|channel| Own(FlagsServiceClient::new(channel))).collect();
    let url = format!("{}/ofrep/v1/evaluate/flags/{FLAG}", services.gateway.address);
    let http = reqwest::Client::builder().pool_max_idle_per_host(WORKERS).timeout(LIMIT).build()?;
    let cases = [
        ("flagd.evaluation.v2 ResolveInt", "flag-resolver", load(resolver, tenants, flagd).await?),
        ("FlagsService Resolve", "flag-resolver", load(resolver, tenants, own).await?),
        ("OFREP", "gateway", load(gateway, tenants, vec![Ofrep { http, url }]).await?),
    ];
    Ok(cases.map(|(interface, process, figures)| named(interface, process, figures)).into())
}

fn named(interface: &str, process: &str, mut figures: Value) -> Value {
    figures["interface"] = json!(interface);
    figures["process"] = json!(process);
    figures
}

#[derive(Clone)]
struct Flagd(ServiceClient<Transport>);

impl Ask for Flagd {
    async fn ask(&mut self, n: usize) -> Result<()> {
        let kind = prost_types::value::Kind::StringValue(tenant(n).to_string());
        let named = ("tenantId".to_owned(), prost_types::Value { kind: Some(kind) });
        let context = Some(prost_types::Struct { fields: [named].into() });
        let request = flagd::ResolveIntRequest { flag_key: FLAG.to_owned(), context };
        let answer = self.0.resolve_int(request).await?.into_inner();
        ensure!(answer.value == Some(value(n).into()), "tenant {n}: {answer:?}");
        Ok(())
    }
}

#[derive(Clone)]
struct Own(FlagsServiceClient<Transport>);

impl Ask for Own {
    async fn ask(&mut self, n: usize) -> Result<()> {
        let request = call(&caller(n, Role::Viewer), LIMIT, ResolveRequest::default());
        let answer = self.0.resolve(request).await?.into_inner();
        let settings = answer.resolved.and_then(|r| r.settings).unwrap_or_default();
        ensure!(settings.max_total_attempts == value(n), "tenant {n}: {answer:?}");
        Ok(())
    }
}

#[derive(Clone)]
struct Ofrep {
    http: reqwest::Client,
    url: String,
}

impl Ask for Ofrep {
    async fn ask(&mut self, n: usize) -> Result<()> {
        let body = json!({ "context": { "tenantId": tenant(n).to_string() } });
        let request = self.http.post(&self.url).bearer_auth(KEY).json(&body);
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["value"] == value(n), "tenant {n}: {answer}");
        Ok(())
    }
}
