//! Products, their variants and categories: made, listed, changed, and no longer sold.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::http::Answer;
use uuid::Uuid;

const WAIT: (&str, &str) = ("prefer", "wait=30");

fn euros(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

async fn create(app: &TestApp, name: &str, price: i64, category: Option<Uuid>) -> Uuid {
    let body =
        json!({ "name": name, "sku": Uuid::new_v4(), "price": euros(price), "categoryId": category, "stock": 5 });
    let answer = app.operator.post("/products", &[WAIT], &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.id()
}

async fn category(app: &TestApp, name: &str) -> Answer {
    app.operator.post("/categories", &[], &json!({ "name": name })).await
}

/// Names of all products of a query, page by page of two.
async fn listed(app: &TestApp, query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut next = format!("/products?limit=2&{query}");
    loop {
        let page = app.client.get(&next).await;
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.body["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(link) = page.header("link") else { return names };
        next = link.split_once('>').unwrap().0.trim_start_matches('<').to_owned();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_listed_by_category_words_price_and_name_page_by_page() {
    let app = TestApp::start().await;
    let (cups, shoes) = (category(&app, "Cups").await.id(), category(&app, "Shoes").await.id());
    let taken = category(&app, "cups").await;
    assert_eq!((taken.status.as_u16(), &taken.body["type"]), (409, &json!("/problems/name-taken")));
    let mut plain = Uuid::nil();
    for (name, price, category) in [
        ("Blue cup", 700, Some(cups)),
        ("red Cup - large", 900, Some(cups)),
        ("Trail shoe", 9_900, Some(shoes)),
        ("Apple", 50, None),
        ("Blue shoe", 9_900, Some(shoes)),
    ] {
        plain = create(&app, name, price, category).await;
    }
    let by_name = ["Apple", "Blue cup", "Blue shoe", "red Cup - large", "Trail shoe"];
    assert_eq!(listed(&app, "sort=name").await, by_name);
    assert_eq!(listed(&app, "sort=-name").await, by_name.iter().rev().copied().collect::<Vec<_>>());
    let by_price = listed(&app, "sort=price").await;
    assert_eq!(by_price[..3], ["Apple", "Blue cup", "red Cup - large"]);
    let mut dearest_first = listed(&app, "sort=-price").await;
    dearest_first.reverse();
    assert_eq!(dearest_first, by_price, "where prices are equal, by id");
    assert_eq!(listed(&app, &format!("category={cups}&sort=-price")).await, ["red Cup - large", "Blue cup"]);
    assert_eq!(listed(&app, "q=BLUE&sort=name").await, ["Blue cup", "Blue shoe"]);
    assert_eq!(listed(&app, "q=cup%20-red").await, ["Blue cup"]);
    assert_eq!(listed(&app, "q=nothing").await, Vec::<String>::new());
    assert_eq!(listed(&app, &format!("q=blue&category={shoes}")).await, ["Blue shoe"]);
    assert_eq!(listed(&app, "").await.len(), 5);
    let shown = app.client.get(&format!("/products/{plain}")).await.body;
    assert_eq!(shown["category"], json!({ "id": shoes, "name": "Shoes" }));
    for query in ["sort=colour", "category=7", "q=", "colour=red", "sort=name&sort=price", "cursor=x"] {
        assert_eq!(app.client.get(&format!("/products?{query}")).await.status, 400, "{query}");
    }

    let renamed =
        app.operator.change(Method::PATCH, &format!("/categories/{cups}"), Some(json!({ "name": "Mugs" }))).await;
    assert_eq!((renamed.status.as_u16(), &renamed.body["name"]), (200, &json!("Mugs")));
    assert_eq!(app.operator.change(Method::DELETE, &format!("/categories/{shoes}"), None).await.status, 204);
    assert_eq!(app.client.get(&format!("/categories/{shoes}")).await.status, 404);
    assert_eq!(app.client.get("/categories").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.client.get(&format!("/products/{plain}")).await.body["category"], Value::Null);
    assert_eq!(listed(&app, &format!("category={shoes}")).await, Vec::<String>::new());
    let body = json!({ "name": "Boot", "sku": "BOOT", "price": euros(1), "categoryId": shoes });
    let gone = app.operator.post("/products", &[WAIT], &body).await;
    assert_eq!((gone.status.as_u16(), &gone.body["type"]), (422, &json!("/problems/unknown-category")));
    assert_eq!(app.client.post("/categories", &[], &json!({ "name": "Hats" })).await.status, 403);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_customers_and_the_last_shoe_of_size_9() {
    let app = TestApp::start().await;
    let shoe = app.product(0).await;
    let (eight, nine) = (app.variant(shoe, "8", 3).await, app.variant(shoe, "9", 1).await);
    let order = |client: &tests::http::Client, variant: Uuid| {
        let (client, item) = (client.clone(), json!({ "productId": shoe, "variantId": variant, "qty": 1 }));
        async move { client.post("/orders", &[WAIT], &json!({ "items": [item] })).await }
    };
    let (one, two) = tokio::join!(order(&app.client, nine), order(&app.other, nine));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{one:?} {two:?}");
    let sold = if one.status == 201 { &one } else { &two };
    assert_eq!(sold.body["items"][0]["name"], "Product (9)");
    assert_eq!(order(&app.client, eight).await.status, 201, "other sizes are there");
    assert_eq!(app.client.order_and_wait(&[(shoe, 1)]).await.status, 409, "and a shoe of no size is not");
    let levels = app.client.get(&format!("/products/{shoe}/stock")).await.body["levels"].clone();
    let left = |variant: Uuid| {
        let levels = levels.as_array().unwrap();
        levels.iter().find(|level| level["variantId"] == json!(variant)).unwrap()["available"].clone()
    };
    assert_eq!((left(eight), left(nine)), (json!(2), json!(0)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_has_its_own_sku_and_price_or_its_products() {
    let app = TestApp::start().await;
    let shoe = create(&app, "Shoe", 9_900, None).await;
    let path = format!("/products/{shoe}/variants");
    let variant =
        |sku: &str, price: Value| json!({ "sku": sku, "options": { "size": "9" }, "price": price, "stock": 5 });
    let plain = app.operator.post(&path, &[WAIT], &variant("SHOE-9", Value::Null)).await.id();
    let dear = app.operator.post(&path, &[WAIT], &variant("SHOE-9-GOLD", euros(50_000))).await.id();
    for (body, path, status, problem) in [
        (variant("SHOE-9", Value::Null), &path, 409, "/problems/sku-taken"),
        (variant("A", json!({ "amount": 1, "currency": "USD" })), &path, 422, "/problems/other-currency"),
        (variant("A", Value::Null), &format!("/products/{plain}/variants"), 404, "/problems/not-found"),
        (json!({ "sku": "A", "options": {} }), &path, 400, "/problems/invalid-request"),
        (json!({ "sku": "A", "options": { "size": "" } }), &path, 400, "/problems/invalid-request"),
    ] {
        let answer = app.operator.post(path, &[WAIT], &body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["type"]), (status, &json!(problem)), "{answer:?}");
    }
    let prices = async || {
        let shown = app.client.get(&format!("/products/{shoe}")).await.body;
        let variants = shown["variants"].as_array().unwrap().clone();
        let price = |id: Uuid| variants.iter().find(|v| v["id"] == json!(id)).map(|v| v["price"]["amount"].clone());
        (shown["price"]["amount"].clone(), price(plain), price(dear))
    };
    assert_eq!(prices().await, (json!(9_900), Some(json!(9_900)), Some(json!(50_000))));
    let change = |path: String, body: Value| {
        let operator = app.operator.clone();
        async move { operator.change(Method::PATCH, &path, Some(body)).await }
    };
    let product = format!("/products/{shoe}");
    let cheaper =
        change(product.clone(), json!({ "price": euros(8_000), "name": "Old shoe", "description": "Worn" })).await;
    assert_eq!((cheaper.status.as_u16(), &cheaper.body["name"]), (200, &json!("Old shoe")), "{cheaper:?}");
    assert_eq!(prices().await, (json!(8_000), Some(json!(8_000)), Some(json!(50_000))), "one follows, one does not");
    let follows =
        change(format!("{path}/{dear}"), json!({ "price": null, "options": { "size": "9", "colour": "gold" } })).await;
    assert_eq!((follows.status.as_u16(), &follows.body["ownPrice"]), (200, &json!(false)), "{follows:?}");
    let kept = change(product.clone(), json!({ "description": null })).await;
    assert_eq!((&kept.body["description"], &kept.body["name"]), (&Value::Null, &json!("Old shoe")));
    for (path, body, status) in [
        (product.clone(), json!({ "price": { "amount": 1, "currency": "USD" }, "name": "Dollar shoe" }), 422),
        (product.clone(), json!({ "sku": "SHOE-9", "name": "Taken shoe" }), 409),
        (product.clone(), json!({ "name": "" }), 400),
        (format!("{path}/{plain}"), json!({ "sku": "SHOE-9-GOLD" }), 409),
        (format!("{path}/{shoe}"), json!({ "sku": "X" }), 404),
        (format!("/products/{}", Uuid::new_v4()), json!({ "name": "X" }), 404),
    ] {
        let answer = change(path, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(app.client.get(&product).await.body["name"], "Old shoe", "what is refused changes nothing");
    let renamed = change(format!("{path}/{plain}"), json!({ "sku": "SHOE-NINE" })).await;
    assert_eq!((renamed.status.as_u16(), &renamed.body["sku"]), (200, &json!("SHOE-NINE")));
    let item = json!({ "productId": shoe, "variantId": dear, "qty": 2 });
    let order = app.client.post("/orders", &[WAIT], &json!({ "items": [item] })).await;
    assert_eq!(order.body["items"][0]["name"], "Old shoe (gold, 9)");
    assert_eq!(order.body["subtotal"], euros(16_000));
    assert_eq!(app.client.get("/products?sku=SHOE-9-GOLD").await.body["items"][0]["id"], json!(shoe));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_listed_and_ordered_no_more_and_old_orders_still_show_it() {
    let app = TestApp::start().await;
    let shoe = app.product(10).await;
    let (nine, ten) = (app.variant(shoe, "9", 5).await, app.variant(shoe, "10", 5).await);
    let item = |variant: Uuid| json!({ "items": [{ "productId": shoe, "variantId": variant, "qty": 1 }] });
    let order = app.client.post("/orders", &[WAIT], &item(nine)).await.id();
    let delete = |path: String| {
        let operator = app.operator.clone();
        async move { operator.change(Method::DELETE, &path, None).await.status.as_u16() }
    };
    assert_eq!(delete(format!("/products/{shoe}/variants/{nine}")).await, 204);
    assert_eq!(delete(format!("/products/{shoe}/variants/{nine}")).await, 404);
    assert_eq!(delete(format!("/products/{shoe}/variants/{shoe}")).await, 404, "that is the product");
    let shown = app.client.get(&format!("/products/{shoe}")).await.body;
    assert_eq!(shown["variants"].as_array().unwrap().len(), 1);
    for (variant, status) in [(nine, 422), (ten, 201), (shoe, 201)] {
        assert_eq!(app.client.post("/orders", &[WAIT], &item(variant)).await.status, status);
    }
    assert_eq!(delete(format!("/products/{shoe}")).await, 204);
    assert_eq!(delete(format!("/products/{shoe}")).await, 404);
    let refused = app.client.post("/orders", &[WAIT], &item(ten)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["type"]), (422, &json!("/problems/deleted-product")));
    assert_eq!(listed(&app, "").await, Vec::<String>::new());
    for path in ["", "/stock"] {
        assert_eq!(app.client.get(&format!("/products/{shoe}{path}")).await.status, 404);
    }
    let late = json!({ "sku": "LATE", "options": { "size": "11" } });
    assert_eq!(app.operator.post(&format!("/products/{shoe}/variants"), &[WAIT], &late).await.status, 404);
    let old = app.client.get(&format!("/orders/{order}")).await.body;
    assert_eq!((&old["status"], &old["items"][0]["name"]), (&json!("paid"), &json!("Product (9)")));
    assert_eq!(app.client.cancel(order).await.status, 200, "and can be cancelled");
    app.finish().await;
}
