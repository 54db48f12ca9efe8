//! Carts and checkout: what a customer puts in, sees, and gets, once, whatever happens in between.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{TestApp, Wanted};
use tests::http::{Answer, Client};
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

fn euros(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

/// A customer's cart, as a client of the shop uses it.
struct Cart {
    client: Client,
    path: String,
}

impl Cart {
    fn of(client: &Client, customer: &str) -> Self {
        Self { client: client.clone(), path: format!("/carts/{customer}") }
    }

    async fn shown(&self) -> Value {
        self.client.get(&self.path).await.body
    }

    async fn summary(&self) -> Value {
        let summary = self.client.get(&format!("{}/summary", self.path)).await;
        assert_eq!(summary.status, 200, "{summary:?}");
        summary.body
    }

    async fn add(&self, product: Uuid, qty: i64) -> Answer {
        self.client.post(&format!("{}/items", self.path), &[], &json!({ "productId": product, "qty": qty })).await
    }

    async fn set(&self, product: Uuid, qty: i64) -> Answer {
        self.client.change(Method::PATCH, &format!("{}/items/{product}", self.path), Some(json!({ "qty": qty }))).await
    }

    async fn remove(&self, product: Uuid) -> Answer {
        self.client.change(Method::DELETE, &format!("{}/items/{product}", self.path), None).await
    }

    async fn address(&self, mode: &str) -> Answer {
        let address =
            json!({ "name": "Ada", "street": "1 Main Street", "postalCode": "1000", "city": "Town", "country": "DE" });
        let body = json!({ "address": address, "deliveryMode": mode });
        self.client.change(Method::PUT, &format!("{}/address", self.path), Some(body)).await
    }

    /// One that holds these, ready to be ordered.
    async fn filled(client: &Client, customer: &str, lines: &[(Uuid, i64)]) -> Self {
        let cart = Self::of(client, customer);
        for (product, qty) in lines {
            assert_eq!(cart.add(*product, *qty).await.status, 200);
        }
        assert_eq!(cart.address("standard").await.status, 200);
        cart
    }

    async fn place(&self, headers: &[(&str, &str)], body: Value) -> Answer {
        self.client.post(&format!("{}/place-order", self.path), headers, &body).await
    }

    async fn place_and_wait(&self) -> Answer {
        self.place(&[WAIT], json!({})).await
    }
}

fn problem(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["type"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_filled_summed_up_ordered_and_kept() {
    let app = TestApp::start().await;
    let (cup, shoe) = (app.product_at(10, euros(333)).await, app.product_at(10, euros(5_000)).await);
    let cart = Cart::of(&app.client, "ada@example.org");
    assert_eq!(problem(&cart.place_and_wait().await), (409, "/problems/cart-empty"));
    assert_eq!(cart.shown().await["items"], json!([]));
    cart.add(cup, 1).await;
    for _ in 0..2 {
        let (path, body) = ("/carts/ada@example.org/items", json!({ "productId": cup, "qty": 2 }));
        let added = app.client.post(path, &[("idempotency-key", "two cups")], &body).await;
        assert_eq!(added.body["items"][0]["qty"], 3, "what is added adds up, once for a key");
    }
    cart.add(shoe, 5).await;
    assert_eq!(cart.set(shoe, 1).await.body["items"][1]["qty"], 1);
    assert_eq!(problem(&cart.place_and_wait().await), (409, "/problems/address-missing"));
    let summary = cart.summary().await;
    assert_eq!((&summary["subtotal"], &summary["tax"], &summary["total"]), (&euros(5_999), &euros(600), &euros(6_599)));
    assert_eq!(summary["orderable"], false, "it has no address yet");
    cart.address("express").await;
    let summary = cart.summary().await;
    assert_eq!((&summary["deliveryCost"], &summary["tier"]), (&euros(990), &json!("tier_1")));
    // 10 % of 6,989 is 698.9.
    assert_eq!((&summary["tax"], &summary["total"]), (&euros(699), &euros(7_688)));
    let costs: Vec<_> =
        summary["delivery"].as_array().unwrap().iter().map(|option| &option["cost"]["amount"]).collect();
    assert_eq!(costs, [490, 990], "both modes are shown");
    let sku =
        async |sku: &str| app.client.post("/carts/ada@example.org/items", &[], &json!({ "sku": sku, "qty": 1 })).await;
    for (answer, expected) in [
        (cart.add(Uuid::new_v4(), 1).await, (422, "/problems/unknown-product")),
        (sku("no such").await, (422, "/problems/unknown-product")),
        (sku("").await, (400, "/problems/invalid-request")),
        (cart.add(cup, 0).await, (400, "/problems/invalid-request")),
        (cart.add(cup, i64::from(i32::MAX)).await, (400, "/problems/invalid-request")),
        (cart.set(Uuid::new_v4(), 1).await, (404, "/problems/not-found")),
        (cart.remove(Uuid::new_v4()).await, (404, "/problems/not-found")),
    ] {
        assert_eq!(problem(&answer), expected, "{answer:?}");
    }
    let named = app.client.get(&format!("/products/{cup}")).await.body["sku"].as_str().unwrap().to_owned();
    assert_eq!(sku(&named).await.body["items"][0]["qty"], 4, "the same, by its SKU");
    cart.set(cup, 3).await;
    let other = Cart::of(&app.other, "ada@example.org");
    assert_eq!(other.shown().await["items"], json!([]), "another account's customer of the same name");

    let placed = cart.place_and_wait().await;
    assert_eq!(placed.status, 201, "{placed:?}");
    assert_eq!((&placed.body["total"], &placed.body["customerId"]), (&euros(7_688), &json!("ada@example.org")));
    assert_eq!(placed.body["delivery"]["mode"], "express");
    assert_eq!((app.client.available(cup).await, app.client.available(shoe).await), (7, 9));
    assert_eq!(cart.shown().await["items"], json!([]), "a new one");
    let kept = app.client.get("/carts/ada@example.org/completed").await.body;
    let kept = kept["items"].as_array().unwrap();
    assert_eq!((kept.len(), &kept[0]["orderId"], &kept[0]["status"]), (1, &placed.body["id"], &json!("completed")));
    assert_eq!(kept[0]["items"], placed.body["items"], "as it was paid");
    assert_eq!(app.other.get("/carts/ada@example.org/completed").await.body["items"], json!([]));
    assert_eq!(app.operator.get("/carts/ada@example.org/completed").await.body["items"].as_array().unwrap().len(), 1);

    let next = Cart::filled(&app.client, "ada@example.org", &[(cup, 1)]).await;
    let held = next.place(&[WAIT], json!({ "payment": "deferred", "paymentMethod": "card" })).await;
    assert_eq!((held.status.as_u16(), &held.body["status"]), (201, &json!("pending")), "reserved until it is paid");
    assert_ne!(held.id(), placed.id());
    let page = app.client.get("/carts/ada@example.org/completed?limit=1").await;
    assert_eq!(page.body["items"][0]["orderId"], held.body["id"], "the last one first");
    let link = page.header("link").unwrap().split_once('>').unwrap().0.trim_start_matches('<').to_owned();
    assert_eq!(app.client.get(&link).await.body["items"][0]["orderId"], placed.body["id"]);
    let cleared = Cart::filled(&app.client, "bob", &[(cup, 1), (shoe, 1)]).await;
    let answer = app.client.change(Method::DELETE, "/carts/bob/items", None).await;
    assert_eq!((&answer.body["items"], answer.body["address"].is_object()), (&json!([]), true));
    assert_eq!(problem(&cleared.place_and_wait().await), (409, "/problems/cart-empty"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_changes_between_cart_and_checkout_is_shown_and_then_frozen() {
    let mut app = TestApp::start().await;
    let product = app.product_at(10, euros(1_000)).await;
    let price = async |amount: i64| {
        let body = json!({ "price": euros(amount) });
        app.operator.change(Method::PATCH, &format!("/products/{product}"), Some(body)).await
    };
    let cart = Cart::filled(&app.client, "ada", &[(product, 1)]).await;
    let seen = cart.summary().await["total"].clone();
    price(1_500).await;
    let item = cart.shown().await["items"][0].clone();
    assert_eq!((&item["unitPrice"], &item["previousUnitPrice"]), (&euros(1_500), &euros(1_000)));
    let refused = cart.place(&[WAIT], json!({ "expectedTotal": seen })).await;
    assert_eq!(problem(&refused), (409, "/problems/total-changed"));
    assert_eq!(cart.shown().await["status"], "open", "nothing was sent");
    let seen = cart.summary().await["total"].clone();
    assert_eq!(seen, euros(2_189));
    app.stop_consumers().await;
    let accepted = cart.place(&[], json!({ "expectedTotal": seen })).await;
    assert_eq!(accepted.status, 202);
    let changed = json!({ "price": euros(9_000) });
    app.operator.change(Method::PATCH, &format!("/products/{product}"), Some(changed)).await;
    let ordering = cart.shown().await;
    assert_eq!((&ordering["status"], &ordering["orderId"]), (&json!("ordering"), &accepted.body["id"]));
    assert_eq!(problem(&cart.add(product, 1).await), (409, "/problems/cart-ordering"));
    app.start_consumer(common::steps::Steps::none());
    let order = app.client.outcome(accepted.id()).await;
    assert_eq!((&order["status"], &order["total"]), (&json!("paid"), &seen), "frozen when it was placed");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_sold_out_while_in_carts_is_told_item_by_item() {
    let mut app = TestApp::start().await;
    let (gone, scarce, plenty) = (app.product(10).await, app.product(1).await, app.product(10).await);
    let lines = [(gone, 1), (scarce, 2), (plenty, 1)];
    let cart = Cart::filled(&app.client, "ada", &lines).await;
    let refused = cart.place_and_wait().await;
    assert_eq!(problem(&refused), (409, "/problems/insufficient-stock"));
    let shown = cart.shown().await;
    assert_eq!((&shown["status"], &shown["refused"]["orderId"]), (&json!("open"), &refused.body["id"]));
    let reasons: Vec<_> = shown["items"].as_array().unwrap().iter().map(|item| item["reason"].clone()).collect();
    let short = json!({ "type": "/problems/insufficient-stock", "requested": 2, "onHand": 1, "reserved": 0 });
    assert_eq!(reasons, [Value::Null, short, Value::Null]);
    assert!(cart.set(scarce, 1).await.body["refused"].is_null(), "changed, it is another one");

    app.stop_consumers().await;
    let accepted = cart.place(&[], json!({})).await;
    assert_eq!(accepted.status, 202);
    assert_eq!(app.operator.change(Method::DELETE, &format!("/products/{gone}"), None).await.status, 204);
    app.start_consumer(common::steps::Steps::none());
    assert_eq!(app.client.outcome(accepted.id()).await["outcome"]["type"], "/problems/deleted-product");
    let shown = cart.shown().await;
    assert_eq!((&shown["status"], &shown["items"][0]["deleted"]), (&json!("open"), &json!(true)));
    assert_eq!(shown["items"][0]["reason"]["type"], "/problems/deleted-product");
    assert!(shown["items"][1]["reason"].is_null());
    let at_once = cart.place_and_wait().await;
    assert_eq!(problem(&at_once), (422, "/problems/deleted-product"));
    assert!(at_once.body["id"].is_null(), "it is known before anything is sent");
    assert_eq!(cart.summary().await["problem"]["type"], "/problems/deleted-product");
    assert_eq!(problem(&cart.add(gone, 1).await), (422, "/problems/deleted-product"));
    assert_eq!(cart.remove(gone).await.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(cart.place_and_wait().await.status, 201);
    assert_eq!((app.client.available(scarce).await, app.client.available(plenty).await), (0, 9));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_it_is_clicked_one_order_is_placed() {
    let mut app = TestApp::start().await;
    let product = app.product(100).await;
    let second = app.start_api().await;
    let second = Client::new(second, tests::app::CLIENT_KEY);
    let cart = Cart::filled(&app.client, "ada", &[(product, 1)]).await;
    let elsewhere = Cart::of(&second, "ada");
    tests::until("the second api is ready", async || second.get("/readyz").await.status == 200).await;
    let clicks = join_all((0..20).map(|n| if n % 2 == 0 { cart.place_and_wait() } else { elsewhere.place_and_wait() }));
    let clicks = clicks.await;
    let id = clicks[0].id();
    for click in &clicks {
        assert_eq!((click.status.as_u16(), click.id()), (201, id), "{click:?}");
    }
    let first = clicks.iter().filter(|click| click.header("idempotency-replayed").is_none()).count();
    assert_eq!(first, 1, "the others are told that it was placed before");
    assert_eq!(app.client.available(product).await, 99);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_order_is_retried_after_its_response_was_lost() {
    let mut app = TestApp::start().await;
    let product = app.product(100).await;
    app.stop_consumers().await;
    let cart = Cart::filled(&app.client, "ada", &[(product, 1)]).await;
    let lost = cart.place(&[], json!({})).await;
    let retried = cart.place(&[], json!({})).await;
    assert_eq!((retried.status.as_u16(), retried.id()), (202, lost.id()));
    let keyed = Cart::filled(&app.client, "bob", &[(product, 1)]).await;
    let key = ("idempotency-key", "checkout-7");
    let first = keyed.place(&[key], json!({})).await;
    app.start_consumer(common::steps::Steps::none());
    app.client.outcome(lost.id()).await;
    let done = cart.place_and_wait().await;
    assert_eq!((done.status.as_u16(), done.id()), (201, lost.id()), "also after it was decided");
    assert_eq!(done.header("idempotency-replayed"), Some("true"));
    app.client.outcome(first.id()).await;
    let next = Cart::filled(&app.client, "bob", &[(product, 5)]).await;
    let again = next.place(&[WAIT, key], json!({})).await;
    assert_eq!((again.status.as_u16(), again.id()), (201, first.id()), "the key's, though there is another cart");
    let another = next.place(&[WAIT, key], json!({ "payment": "deferred" })).await;
    assert_eq!(problem(&another), (422, "/problems/idempotency-key-reused"));
    let other = next.place(&[WAIT, ("idempotency-key", "checkout-8")], json!({})).await;
    assert_eq!(other.status, 201);
    assert_ne!(other.id(), first.id());
    assert_eq!(app.client.available(product).await, 93);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_order_that_did_not_reach_the_broker_is_placed_once_when_it_does() {
    let app = TestApp::with(Wanted { consumers: 1, proxies: true, ..Wanted::default() }).await;
    let product = app.product(100).await;
    let cart = Cart::filled(&app.client, "ada", &[(product, 1)]).await;
    let (_, broker) = app.proxies.as_ref().unwrap();
    broker.cut();
    let failed = cart.place(&[], json!({})).await;
    assert_eq!(problem(&failed), (503, "/problems/not-accepted"));
    broker.mend();
    let mut placed = cart.place_and_wait().await;
    tests::until("the order is placed", async || {
        if placed.status == 503 {
            placed = cart.place_and_wait().await;
        }
        placed.status != 503
    })
    .await;
    let order = app.client.outcome(placed.id()).await;
    assert_eq!(order["status"], "paid", "{placed:?}");
    assert_eq!(app.client.available(product).await, 99);
    assert_eq!(cart.shown().await["items"], json!([]));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_failed_does_not_open_a_cart_whose_order_was_sent_again() {
    let mut app = TestApp::start().await;
    let product = app.product(100).await;
    app.stop_consumers().await;
    let cart = Cart::filled(&app.client, "ada", &[(product, 1)]).await;
    let first = cart.place(&[], json!({})).await.id();
    let id: Uuid = cart.shown().await["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(cart.place(&[], json!({})).await.id(), first);
    let mut connection = app.database().await;
    // The first attempt finds out too late that the broker has refused it.
    common::db::carts::fail(&mut connection, id, first).await.unwrap();
    assert_eq!(cart.shown().await["status"], "ordering");
    assert_eq!(problem(&cart.place(&[], json!({ "payment": "deferred" })).await), (409, "/problems/cart-ordering"));
    // The second was certain that it had failed too, and was wrong.
    common::db::carts::fail(&mut connection, id, first).await.unwrap();
    assert_eq!(cart.shown().await["status"], "open");
    app.start_consumer(common::steps::Steps::none());
    app.client.outcome(first).await;
    let again = cart.place_and_wait().await;
    assert_eq!((again.status.as_u16(), again.id()), (201, first), "it is not ordered twice");
    assert_eq!(app.client.available(product).await, 99);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_whose_order_failed_is_open_again_once_an_operator_has_given_it_up() {
    let mut app = TestApp::start().await;
    let product = app.product(100).await;
    app.stop_consumers().await;
    let cart = Cart::filled(&app.client, "ada", &[(product, 1)]).await;
    let placed = cart.place(&[], json!({})).await.id();
    let letter = "INSERT INTO dead_letters (id, partition, command_id, account_id, payload, reason, failed_at)
                  SELECT gen_random_uuid(), 0, order_id, account_id, '', 'r', now() FROM carts WHERE order_id = $1";
    let mut connection = app.database().await;
    sqlx::query(letter).bind(placed).execute(&mut connection).await.unwrap();
    assert_eq!(cart.shown().await["status"], "ordering", "it may be queued again");
    sqlx::query("UPDATE dead_letters SET state = 'discarded'").execute(&mut connection).await.unwrap();
    assert_eq!(cart.shown().await["status"], "open");
    let anew = cart.place(&[], json!({})).await.id();
    assert_ne!(anew, placed);
    app.start_consumer(common::steps::Steps::none());
    assert_eq!(app.client.outcome(anew).await["status"], "paid");
    app.drain().await;
    assert_eq!(app.client.available(product).await, 99, "what was given up is not sold");
    app.start_consumer(common::steps::Steps::none());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_carts_at_once_over_ten_scarce_products() {
    const CARTS: usize = 200;
    const STOCK: i64 = 12;
    let app = TestApp::start().await;
    let mut products = Vec::new();
    for _ in 0..10 {
        products.push(app.product(STOCK).await);
    }
    let filled = (0..CARTS).map(|n| {
        let lines = [(products[n % 10], 1), (products[(n * 7 + 3) % 10], 1 + i64::try_from(n % 2).unwrap())];
        let (client, customer) = (&app.client, format!("customer-{n}"));
        async move { Cart::filled(client, &customer, &lines).await }
    });
    let carts: Vec<Cart> = futures_util::stream::iter(filled).buffered(8).collect().await;
    let placed = join_all(carts.iter().map(Cart::place_and_wait)).await;
    let mut sold = std::collections::BTreeMap::<String, i64>::new();
    let mut refused = 0;
    for (cart, answer) in carts.iter().zip(&placed) {
        let shown = cart.shown().await;
        if answer.status == 201 {
            for item in answer.body["items"].as_array().unwrap() {
                *sold.entry(item["productId"].as_str().unwrap().to_owned()).or_default() +=
                    item["qty"].as_i64().unwrap();
            }
            assert_eq!(shown["items"], json!([]));
        } else {
            assert_eq!(problem(answer), (409, "/problems/insufficient-stock"), "{answer:?}");
            let reasons = shown["items"].as_array().unwrap().iter().filter(|item| item["reason"].is_object()).count();
            assert!(reasons > 0 && shown["status"] == "open", "{shown}");
            refused += 1;
        }
    }
    assert!(refused > 0 && refused < CARTS, "{refused} were refused");
    for product in products {
        let left = app.client.available(product).await;
        assert_eq!(sold.get(&product.to_string()).copied().unwrap_or_default() + left, STOCK);
    }
    app.finish().await;
}
