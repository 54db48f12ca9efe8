//! A client of the system under test.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

/// A client with one key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).parse().unwrap()
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    #[must_use]
    pub fn new(base: String, key: &str) -> Self {
        let http = reqwest::Client::builder().timeout(crate::PATIENCE).build().unwrap();
        Self { http, base, key: key.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await.unwrap()
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send(Method::POST, path, headers, Some(body.to_string().into_bytes())).await.unwrap()
    }

    /// Changes something and waits for its outcome.
    pub async fn change(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string().into_bytes());
        self.send(method, path, &[("prefer", "wait=30")], body).await.unwrap()
    }

    /// Says that an order is paid, under a reference of the payment's, and waits for what comes of it.
    pub async fn pay(&self, id: Uuid, reference: &str) -> Answer {
        let body = json!({ "status": "paid", "method": "card", "reference": reference });
        self.change(Method::PATCH, &format!("/orders/{id}/payment"), Some(body)).await
    }

    /// Cancels an order and waits for what comes of it.
    pub async fn cancel(&self, id: Uuid) -> Answer {
        self.change(Method::DELETE, &format!("/orders/{id}"), None).await
    }

    /// Moves an order one step on and waits for what comes of it.
    pub async fn step(&self, id: Uuid, body: Value) -> Answer {
        self.change(Method::PATCH, &format!("/orders/{id}/status"), Some(body)).await
    }

    /// Places an order that is to be paid later, and waits for its outcome.
    pub async fn hold(&self, lines: &[(Uuid, i64)]) -> Answer {
        let mut body = order(lines);
        body["payment"] = json!("deferred");
        self.post("/orders", &[("prefer", "wait=30")], &body).await
    }

    /// Sets stock aside and waits for the outcome.
    pub async fn reserve(&self, lines: &[(Uuid, i64)]) -> Answer {
        self.post("/reservations", &[("prefer", "wait=30")], &order(lines)).await
    }

    /// Sends anything, valid or not.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if let Some(body) = body {
            request = request.body(body);
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body })
    }

    /// Places an order of `(product, quantity)` lines.
    pub async fn order(&self, lines: &[(Uuid, i64)], headers: &[(&str, &str)]) -> Answer {
        self.post("/orders", headers, &order(lines)).await
    }

    /// Places an order and waits for its outcome.
    pub async fn order_and_wait(&self, lines: &[(Uuid, i64)]) -> Answer {
        self.order(lines, &[("prefer", "wait=30")]).await
    }

    /// Asks for an order until it is decided.
    pub async fn outcome(&self, id: Uuid) -> Value {
        let mut found = Value::Null;
        crate::until("the order is decided", async || {
            let answer = self.get(&format!("/orders/{id}")).await;
            found = answer.body;
            answer.status == StatusCode::OK && !found["outcome"].is_null()
        })
        .await;
        found
    }

    /// What can still be ordered of a product.
    pub async fn available(&self, product: Uuid) -> i64 {
        let (on_hand, reserved) = self.stock(product).await;
        on_hand - reserved
    }

    /// What is on hand of a product, and what of it is reserved. Asked again while the database does not answer: a test may
    /// have it busy.
    pub async fn stock(&self, product: Uuid) -> (i64, i64) {
        let mut stock = Value::Null;
        crate::until("the stock is told", async || {
            let answer = self.get(&format!("/products/{product}/stock")).await;
            stock = answer.body;
            answer.status == StatusCode::OK
        })
        .await;
        assert_eq!(stock["available"], stock["onHand"].as_i64().unwrap() - stock["reserved"].as_i64().unwrap());
        (stock["onHand"].as_i64().unwrap(), stock["reserved"].as_i64().unwrap())
    }
}

/// The body of an order.
#[must_use]
pub fn order(lines: &[(Uuid, i64)]) -> Value {
    let items: Vec<Value> = lines.iter().map(|(id, quantity)| json!({ "productId": id, "qty": quantity })).collect();
    json!({ "items": items })
}
