//! A TCP proxy that treats connections badly: it delays, drops, resets, and closes one half.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
}

/// How connections are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Treatment {
    /// How long every piece waits.
    pub delay: Duration,
    /// Nothing goes to the server.
    pub cut_there: bool,
    /// Nothing comes back.
    pub cut_back: bool,
    /// New connections are not taken, and the open ones are reset.
    pub refuse: bool,
    /// The share of answers at which the connection is reset instead, from 0 to 1.
    pub lost_answers: f64,
    /// The server's side is closed towards the client, which may go on sending.
    pub half_closed: bool,
}

impl Treatment {
    fn is_cut(&self, way: Way) -> bool {
        match way {
            Way::There => self.cut_there,
            Way::Back => self.cut_back,
        }
    }
}

/// A proxy before servers of which each is as good as the other: a connection goes to the next one
/// that takes it.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    treatment: Arc<watch::Sender<Treatment>>,
    serving: AbortHandle,
}

impl Proxy {
    /// Starts a proxy on a free loopback port.
    pub async fn start(servers: Vec<SocketAddr>, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let treatment = Arc::new(watch::Sender::new(Treatment::default()));
        let seen = treatment.subscribe();
        let task = tokio::spawn(accept(listener, servers, seen, seed));
        Ok(Self { address, treatment, serving: task.abort_handle() })
    }

    /// Treats connections so from now on.
    pub fn treat(&self, treatment: Treatment) {
        self.treatment.send_replace(treatment);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(
    listener: TcpListener,
    servers: Vec<SocketAddr>,
    treatment: watch::Receiver<Treatment>,
    seed: u64,
) {
    let mut connections = JoinSet::new();
    let mut number = seed;
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if treatment.borrow().refuse {
            reset(&client);
            continue;
        }
        number = number.wrapping_add(1);
        let mut order = servers.clone();
        let first = usize::try_from(number).unwrap_or(0) % order.len().max(1);
        order.rotate_left(first);
        connections.spawn(connection(client, order, treatment.clone(), number));
    }
}

/// Carries one connection until it ends or is to be reset.
async fn connection(
    client: TcpStream,
    servers: Vec<SocketAddr>,
    mut treatment: watch::Receiver<Treatment>,
    seed: u64,
) {
    let Some(server) = any(&servers).await else { return reset(&client) };
    // what is small is an answer here; it is not to wait for more
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    reset(&client);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pump(from_client, to_server, Way::There, treatment.clone(), seed);
    let back = pump(from_server, to_client, Way::Back, treatment.clone(), seed);
    let refused = async {
        // the proxy is gone when the sender is: then the connection ends as well
        let _gone = treatment.wait_for(|t| t.refuse).await;
    };
    // a lost answer ends the whole connection, so one way's end is both ways' end
    tokio::select! {
        () = there => {}
        () = back => {}
        () = refused => {}
    }
}

/// A connection to the first server that takes one.
async fn any(servers: &[SocketAddr]) -> Option<TcpStream> {
    for server in servers {
        if let Ok(stream) = TcpStream::connect(server).await {
            return Some(stream);
        }
    }
    None
}

/// Makes the end of this connection a reset.
fn reset(stream: &TcpStream) {
    // a socket that is gone already needs none
    let _gone = stream.set_zero_linger();
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut treatment: watch::Receiver<Treatment>,
    seed: u64,
) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        // a cut line keeps what is on its way until it is mended
        if treatment.wait_for(|t| !t.is_cut(way)).await.is_err() {
            return;
        }
        let now = *treatment.borrow();
        if now.half_closed && way == Way::Back {
            break;
        }
        if way == Way::Back && now.lost_answers > 0.0 && rng.random_bool(now.lost_answers) {
            return;
        }
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
    // the other side may have closed already
    let _closed = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn said_back(stream: &mut TcpStream) -> std::io::Result<usize> {
        stream.write_all(b"ping").await?;
        let mut buffer = [0; 4];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut buffer)).await;
        read.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()))
    }

    #[tokio::test]
    async fn a_line_is_cut_and_mended_and_nothing_is_lost() {
        let proxy = Proxy::start(vec![echo().await], 1).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(said_back(&mut stream).await.unwrap(), 4);
        proxy.treat(Treatment { cut_back: true, ..Treatment::default() });
        assert!(said_back(&mut stream).await.is_err());
        proxy.treat(Treatment::default());
        let mut late = [0; 4];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"ping");
    }

    #[tokio::test]
    async fn a_refusal_ends_open_connections_and_takes_no_new_ones() {
        let proxy = Proxy::start(vec![echo().await], 1).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(said_back(&mut stream).await.unwrap(), 4);
        proxy.treat(Treatment { refuse: true, ..Treatment::default() });
        let mut rest = Vec::new();
        assert!(matches!(stream.read_to_end(&mut rest).await, Err(_) | Ok(0)));
        let mut next = TcpStream::connect(proxy.address).await.unwrap();
        assert!(matches!(said_back(&mut next).await, Err(_) | Ok(0)));
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_passed_over() {
        let gone = crate::service::free_address().unwrap();
        for seed in 0..2 {
            let proxy = Proxy::start(vec![gone, echo().await], seed).await.unwrap();
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            assert_eq!(said_back(&mut stream).await.unwrap(), 4);
        }
    }

    #[tokio::test]
    async fn every_answer_can_be_lost() {
        let proxy = Proxy::start(vec![echo().await], 1).await.unwrap();
        proxy.treat(Treatment { lost_answers: 1.0, ..Treatment::default() });
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(matches!(said_back(&mut stream).await, Err(_) | Ok(0)));
    }
}
