//! A client's connection: HTTP/1.1, kept alive, one request at a time.

use std::net::SocketAddr;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longer than anything is waited for.
const WAIT: &str = "wait=30";

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authorization: HeaderValue,
    host: HeaderValue,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end is seen by the next request.
        tokio::spawn(async move { connection.await.ok() });
        let authorization = HeaderValue::from_str(&format!("Bearer {key}"))?;
        Ok(Self { sender, authorization, host: HeaderValue::from_str(&address.to_string())? })
    }

    /// Places an order.
    pub(crate) async fn order(&mut self, body: String, awaited: bool) -> anyhow::Result<Answer> {
        self.json("POST", "/orders", body, awaited).await
    }

    /// Pays an order that was placed.
    pub(crate) async fn pay(&mut self, order: &str, awaited: bool) -> anyhow::Result<Answer> {
        self.json("PATCH", &format!("{order}/payment"), r#"{"status":"paid"}"#.to_owned(), awaited).await
    }

    async fn json(&mut self, method: &str, path: &str, body: String, awaited: bool) -> anyhow::Result<Answer> {
        let wait: &[(&str, &str)] = if awaited { &[("prefer", WAIT)] } else { &[] };
        self.send(method, path, wait, body).await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.authorization);
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::from(body))?).await?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).map(HeaderValue::to_str).transpose().context("a location")?;
        let location = location.map(str::to_owned);
        response.into_body().collect().await?;
        Ok(Answer { status, location })
    }
}
