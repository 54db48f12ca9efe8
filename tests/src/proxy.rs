//! A network between two programs that can be cut, or hang: a TCP proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Most bytes that are on their way in one direction of a connection.
const BYTES_MAX: usize = 16 * 1024;

/// Forwards connections to a server while it flows. Cut, it ends every connection and refuses new ones. Stalled, it keeps
/// every connection, takes new ones, and forwards nothing.
pub struct Proxy {
    pub address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Flows,
    Stalls,
    Cut,
}

impl Proxy {
    /// A proxy to `target`, such as `127.0.0.1:5432`.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(watch::Sender::new(Network::Flows));
        let state = Arc::clone(&network);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (network, mut cut) = (state.subscribe(), state.subscribe());
                let target = target.clone();
                connections.spawn(async move {
                    // Before anything is forwarded: a connection that comes while it is cut reaches no server.
                    tokio::select! {
                        biased;
                        _ = cut.wait_for(|network| *network == Network::Cut) => {}
                        () = connect(client, &target, network) => {}
                    }
                });
            }
        });
        Self { address, network }
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.network.send_replace(Network::Cut);
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.network.send_replace(Network::Flows);
    }

    /// Holds everything up: connections stay, and nothing arrives.
    pub fn stall(&self) {
        self.network.send_replace(Network::Stalls);
    }

    /// Forwards again, what was held up first.
    pub fn flow(&self) {
        self.network.send_replace(Network::Flows);
    }
}

async fn connect(client: TcpStream, target: &str, mut network: watch::Receiver<Network>) {
    flows(&mut network).await;
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = forward(from_client, to_server, network.clone());
    let answered = forward(from_server, to_client, network);
    // A connection that breaks breaks in both directions.
    tokio::try_join!(asked, answered).ok();
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; BYTES_MAX];
    loop {
        let count = from.read(&mut bytes).await?;
        flows(&mut network).await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..count]).await?;
    }
}

/// Waits until nothing is held up. Whoever waits is dropped when the network is cut.
async fn flows(network: &mut watch::Receiver<Network>) {
    if network.wait_for(|network| *network == Network::Flows).await.is_err() {
        // The proxy is gone, and with it the test.
        std::future::pending().await
    }
}

/// An address with another host and port: through a proxy.
#[must_use]
pub fn through(url: &str, proxy: &Proxy) -> String {
    let (head, tail) = url.split_once('@').unwrap();
    let path = &tail[tail.find('/').unwrap()..];
    format!("{head}@{}{path}", proxy.address)
}

/// Host and port of an address.
#[must_use]
pub fn host_and_port(url: &str) -> String {
    assert!(!url.contains(','), "one proxy leads to one server");
    let (_, tail) = url.split_once('@').unwrap();
    tail[..tail.find('/').unwrap()].to_owned()
}
