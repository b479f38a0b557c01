//! Asks a service whether it serves, as a container's health check does: by gRPC health, or where
//! an address speaks HTTP alone by `/readyz`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an HTTP answer that are read: its first line says all.
const STATUS_LINE_BYTES: u64 = 512;

/// Whether a service serves at the address that it listens on.
///
/// # Errors
/// Why it does not, in a sentence.
pub async fn serves(listen: SocketAddr) -> Result<(), String> {
    let address = reached(listen);
    match tokio::time::timeout(TIMEOUT, asked(address)).await {
        Ok(answer) => answer.map_err(|problem| format!("{address} {problem}")),
        Err(_) => Err(format!("{address} did not answer within {TIMEOUT:?}")),
    }
}

/// Where this machine reaches what listens there: a wildcard address is reached by loopback.
fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn asked(address: SocketAddr) -> Result<(), String> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| format!("is no address: {e}"))?;
    let channel = endpoint.connect().await.map_err(|_| "refused the connection".to_owned())?;
    match HealthClient::new(channel).check(HealthCheckRequest::default()).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(_) => Err("is not serving (it starts, or it stops)".to_owned()),
        // no gRPC is spoken here
        Err(status)
            if [Code::Unimplemented, Code::Unknown, Code::Internal].contains(&status.code()) =>
        {
            ready(address).await
        }
        Err(status) => Err(format!("answered {:?}", status.code())),
    }
}

/// `GET /readyz`, in as few words as HTTP takes.
async fn ready(address: SocketAddr) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("broke off: {e}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(STATUS_LINE_BYTES).read_to_end(&mut answer).await.map_err(failed)?;
    let text = String::from_utf8_lossy(&answer);
    let line = text.lines().next().unwrap_or_default();
    match line.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("is not ready: {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_reached_by_loopback() {
        let at = |text: &str| reached(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:50051"), "127.0.0.1:50051");
        assert_eq!(at("[::]:50051"), "[::1]:50051");
        assert_eq!(at("10.0.0.7:5001"), "10.0.0.7:5001");
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let problem = serves(address).await.unwrap_err();
        assert!(problem.contains("refused"), "{problem}");
    }
}
