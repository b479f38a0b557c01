//! A receiver that is told of a run by the real orchestrator, also when that is killed meanwhile.

use anyhow::{Context, Result};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::webhook_service_client::WebhookServiceClient;
use meta_tests::processes::{Deployment, LIMIT};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Told = Arc<Mutex<Vec<Value>>>;

/// Listens, and keeps each body that comes.
async fn receiver() -> Result<(Told, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (told, port) = (Told::default(), listener.local_addr()?.port());
    let kept = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            // a connection that breaks is tried again by its sender
            tokio::spawn(async move { serve(stream, kept).await.is_ok() });
        }
    });
    Ok((told, port))
}

async fn serve(stream: TcpStream, told: Told) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut signed) = (0, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            signed |= line.starts_with("webhook-signature: v1,");
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let answer = if signed {
            told.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(serde_json::from_slice(&body)?);
            "204 No Content"
        } else {
            "400 Bad Request"
        };
        stream
            .write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .await?;
    }
}

fn ids(told: &Told) -> BTreeSet<String> {
    let told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    told.iter().filter_map(|event| event["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_of_every_event_also_across_a_kill() -> Result<()> {
    let (told, port) = receiver().await?;
    let ports = port.to_string();
    let mut deployment = Deployment::start_with(&[
        ("orchestrator", "METABUILDER__WEBHOOKS__ALLOW_HTTP", "true"),
        ("orchestrator", "METABUILDER__WEBHOOKS__PORTS", &ports),
        ("orchestrator", "METABUILDER__WEBHOOKS__NETWORKS", "127.0.0.0/8"),
    ])
    .await?;
    let mut webhooks = WebhookServiceClient::new(deployment.orchestrator()?);
    let request = pb::CreateWebhookRequest {
        url: format!("http://127.0.0.1:{port}/hook"),
        events: vec!["run.*".into(), "step.*".into()],
    };
    let made = webhooks.create_webhook(request).await?.into_inner();
    assert!(made.secret.starts_with("whsec_"));

    let rest = deployment.rest.clone();
    let steps: Vec<Value> =
        (0..5).map(|n| json!({ "name": format!("s{n}"), "run": "true" })).collect();
    let spec = json!({ "title": "told", "mode": "freeform", "steps": steps });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    rest.until_status(&run, "succeeded").await?;
    // what waits is not lost with the process
    deployment.kill("orchestrator").await?;
    deployment.start_again("orchestrator").await?;
    rest.ready().await?;
    let events = rest.events(&run).await?;
    let wanted = |event: &&Value| {
        event["type"].as_str().is_some_and(|t| t.starts_with("run.") || t.starts_with("step."))
    };
    let expected: BTreeSet<String> =
        events.iter().filter(wanted).map(|event| format!("{run}:{}", event["seq"])).collect();
    assert!(expected.len() > 10, "{events:#?}");
    let heard = async {
        while ids(&told) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, heard).await;
    waited.with_context(|| format!("told {:?} instead of {expected:?}", ids(&told)))?;
    Ok(())
}
