//! A receiver of webhooks that behaves as its paths say, well or badly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

/// What came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
    pub at: OffsetDateTime,
}

impl Received {
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    #[must_use]
    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Of which order it tells.
    #[must_use]
    pub fn order(&self) -> Option<Uuid> {
        self.json()["data"]["id"].as_str().and_then(|id| id.parse().ok())
    }
}

/// | path begins with | what it does |
/// | --- | --- |
/// | `/ok` | 204 |
/// | `/fail` | 500, always |
/// | `/flaky` | 503 the first two times that a message comes, then 200 |
/// | `/patience` | 429 with `Retry-After: 1` the first time, then 200 |
/// | `/gone` | 410 |
/// | `/redirect` | 302 to `/redirected` |
/// | `/hang` | nothing, ever |
/// | `/drip` | 200, and a body of one byte at a time, for ever |
/// | `/huge` | 200 and 10 MB |
/// | `/disappear` | ends the connection |
pub struct Receiver {
    pub base: String,
    received: Arc<Mutex<Vec<Received>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (mut serving, kept) = (JoinSet::new(), Arc::clone(&received));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                connections.spawn(async move { serve(stream, &kept).await.ok() });
            }
        });
        Self { base, received, _serving: serving }
    }

    /// What came to paths that begin so, in the order in which it came.
    #[must_use]
    pub fn received(&self, path: &str) -> Vec<Received> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter(|received| received.path.starts_with(path)).cloned().collect()
    }

    /// Waits until so much came to a path.
    pub async fn until_received(&self, path: &str, count: usize) -> Vec<Received> {
        crate::until("the webhooks have come", async || self.received(path).len() >= count).await;
        self.received(path)
    }
}

async fn serve(stream: TcpStream, kept: &Mutex<Vec<Received>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let id = headers.get("webhook-id").cloned().unwrap_or_default();
        let before = {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let before = kept.iter().filter(|r| r.path == path && r.headers.get("webhook-id") == Some(&id)).count();
            kept.push(Received { path: path.clone(), headers, body, at: common::clock::now() });
            before
        };
        if !answer(&mut stream, &path, before).await? {
            return Ok(());
        }
    }
}

/// Answers whether the connection goes on.
async fn answer(stream: &mut BufReader<TcpStream>, path: &str, before: usize) -> std::io::Result<bool> {
    const EMPTY: &str = "Content-Length: 0\r\n\r\n";
    let name = path.trim_start_matches('/').split(['/', '?', '-']).next().unwrap_or_default();
    let head = match name {
        "ok" => format!("HTTP/1.1 204 No Content\r\n{EMPTY}"),
        "fail" => "HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nit broke.".to_owned(),
        "flaky" if before < 2 => format!("HTTP/1.1 503 Busy\r\n{EMPTY}"),
        "patience" if before < 1 => format!("HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\n{EMPTY}"),
        "flaky" | "patience" => format!("HTTP/1.1 200 OK\r\n{EMPTY}"),
        "gone" => format!("HTTP/1.1 410 Gone\r\n{EMPTY}"),
        "redirect" => format!("HTTP/1.1 302 Found\r\nLocation: /redirected\r\n{EMPTY}"),
        "hang" => std::future::pending().await,
        "drip" => "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
        "huge" => "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n".to_owned(),
        "disappear" => return Ok(false),
        _ => format!("HTTP/1.1 404 Not Found\r\n{EMPTY}"),
    };
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    if name == "drip" {
        // Not a wait for anything: the pace at which it answers.
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        loop {
            pace.tick().await;
            stream.write_all(b".").await?;
            stream.flush().await?;
        }
    }
    if name == "huge" {
        for _ in 0..10_000 {
            stream.write_all(&[b'x'; 1_000]).await?;
        }
    }
    Ok(true)
}
