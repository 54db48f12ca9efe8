//! A network between two programs that can be cut: a TCP proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards connections to a server while it is up. Cut, it ends every connection and refuses new ones.
pub struct Proxy {
    pub address: SocketAddr,
    up: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// A proxy to `target`, such as `127.0.0.1:5432`.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let up = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&up);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut cut = state.subscribe();
                let target = target.clone();
                connections.spawn(async move {
                    if !*cut.borrow() {
                        return;
                    }
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                            _ = cut.wait_for(|up| !up) => {}
                        }
                    }
                });
            }
        });
        Self { address, up }
    }

    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    pub fn mend(&self) {
        self.up.send_replace(true);
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
    let (_, tail) = url.split_once('@').unwrap();
    tail[..tail.find('/').unwrap()].to_owned()
}
