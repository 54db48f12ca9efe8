//! Orders that have seen everything an order can.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::app::TestApp;

/// Has orders live through all that can become of them; answers with what is to be told of it: types of events, and whose. Of the
/// product 7 pieces are on hand at the end, none is reserved, and it has come to its threshold.
pub async fn live(app: &TestApp) -> BTreeSet<(String, Uuid)> {
    let product = app.product(9).await;
    let low = json!({ "lowStockThreshold": 5 });
    assert_eq!(app.operator.change(Method::PATCH, &format!("/products/{product}"), Some(low)).await.status, 200);
    let sold = app.client.order_and_wait(&[(product, 1)]).await.id();
    let refused = app.client.order_and_wait(&[(product, 99)]).await.id();
    let held = app.client.hold(&[(product, 1)]).await.id();
    app.client.pay(held, "p").await;
    for status in ["processing", "shipped", "delivered"] {
        app.operator.step(held, json!({ "status": status })).await;
    }
    // Whatever somebody says why.
    app.client.change(Method::DELETE, &format!("/orders/{sold}?reason=payment-timeout"), None).await;
    let reserved = app.client.reserve(&[(product, 1)]).await.id();
    app.client.change(Method::POST, &format!("/reservations/{reserved}/confirm"), None).await;
    let (late, lost) = (app.client.hold(&[(product, 2)]).await.id(), app.client.reserve(&[(product, 1)]).await.id());
    app.pass(Duration::from_secs(3_600)).await;
    [
        ("order.confirmed", sold),
        ("order.cancelled", sold),
        ("order.rejected", refused),
        ("order.confirmed", held),
        ("order.paid", held),
        ("order.shipped", held),
        ("order.delivered", held),
        ("order.confirmed", reserved),
        ("order.confirmed", late),
        ("order.expired", late),
        ("reservation.expired", lost),
    ]
    .map(|(kind, order)| (kind.to_owned(), order))
    .into()
}
