//! Reservations whose time is over: released by the writers, exactly once, whatever dies and however many there are.

use std::time::{Duration, Instant};

use common::partition::partition_of;
use common::steps::{Step, Steps};
use futures_util::future::join_all;
use serde_json::json;
use tests::app::{TestApp, Wanted};
use tests::process::Process;
use tests::raw::{hold, message};
use tests::steps::stop_at;
use uuid::Uuid;

const WINDOW: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_released_though_nobody_asks_and_the_history_says_that_time_was_over() {
    let app = TestApp::start().await;
    let product = app.product(10).await;
    let held = app.client.hold(&[(product, 4)]).await.id();
    let paid = app.client.hold(&[(product, 1)]).await.id();
    assert_eq!(app.client.pay(paid, "p").await.status, 200);
    app.pass(WINDOW).await;
    tests::until("it is released", async || app.client.stock(product).await == (9, 0)).await;
    let history = app.client.get(&format!("/orders/{held}/history")).await.body;
    let last = &history["items"][1];
    assert_eq!((&last["by"]["role"], &last["reason"]), (&json!("system"), &json!("payment-timeout")), "{history}");
    assert_eq!(app.client.get(&format!("/orders/{paid}")).await.body["status"], "paid");
    app.finish().await;
}

/// The sweep of a consumer with these settings comes so late that a batch comes before it.
fn late_sweep() -> Vec<(&'static str, String)> {
    vec![("ONHAND_EXPIRY_MS", "2000".to_owned())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_due_is_no_hold_even_of_a_partition_that_nobody_holds() {
    let mut app = TestApp::with(Wanted { consumers: 1, settings: late_sweep(), ..Wanted::default() }).await;
    // The order of both belongs to the partition of the first in the order of their ids.
    let (mut first, mut second) = (app.product(5).await, app.product(5).await);
    while partition_of(first, 4) == partition_of(second, 4) {
        (first, second) = (second, app.product(5).await);
    }
    (first, second) = (first.min(second), first.max(second));
    assert_eq!(app.client.hold(&[(first, 5), (second, 5)]).await.status, 201);
    assert_eq!(app.client.hold(&[(second, 1)]).await.status, 409);
    app.stop_consumers().await;
    let absent = sqlx::query("UPDATE partitions SET owner = $1, lease_until = 'infinity' WHERE partition = $2");
    let absent = absent.bind(Uuid::new_v4()).bind(i16::try_from(partition_of(first, 4)).unwrap());
    absent.execute(&mut app.database().await).await.unwrap();
    app.pass(WINDOW).await;
    let order = app.client.order(&[(second, 5)], &[]).await.id();
    app.start_consumer(Steps::none());
    assert_eq!(app.client.outcome(order).await["outcome"]["status"], 201, "a late sweep hides no stock");
    assert_eq!((app.client.stock(first).await, app.client.stock(second).await), ((5, 0), (0, 0)));
    let present =
        sqlx::query("UPDATE partitions SET owner = NULL, lease_until = '-infinity' WHERE lease_until = 'infinity'");
    present.execute(&mut app.database().await).await.unwrap();
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_releases_more_than_fits_one_transaction_before_it_is_decided() {
    let few = ("ONHAND_EXPIRY_ORDERS_MAX", "3".to_owned());
    let settings = late_sweep().into_iter().chain([few]).collect();
    let mut app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let product = app.product(20).await;
    let held = join_all((0..20).map(|_| async { app.client.hold(&[(product, 1)]).await })).await;
    assert!(held.iter().all(|answer| answer.status == 201));
    app.stop_consumers().await;
    app.pass(WINDOW).await;
    let order = app.client.order(&[(product, 20)], &[]).await.id();
    app.start_consumer(Steps::none());
    assert_eq!(app.client.outcome(order).await["outcome"]["status"], 201);
    app.finish().await;
}

/// Kills the consumer that releases what is due at a step; another one does it, once.
async fn killed_at(step: Step) {
    let mut app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(50).await;
    let held = join_all((0..50).map(|_| async { app.client.hold(&[(product, 1)]).await })).await;
    assert!(held.iter().all(|answer| answer.status == 201));
    app.stop_consumers().await;
    app.pass(WINDOW).await;
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("reached");
    let mut settings = app.settings.clone();
    settings.push(stop_at(step, 1, &marker));
    let mut doomed = Process::start(&["consumer"], &settings);
    tests::until("the step is reached", async || marker.exists()).await;
    doomed.kill().await;
    app.start_consumer(Steps::none());
    tests::until("all is released", async || app.client.stock(product).await == (50, 0)).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_with_due_reservations_locked_leaves_them_to_the_next() {
    killed_at(Step::Locked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_before_it_commits_their_release_leaves_them_to_the_next() {
    killed_at(Step::Saved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_released_holds_up_neither_the_others_nor_new_orders() {
    let app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let product = app.product(20).await;
    let stuck = app.client.hold(&[(product, 1)]).await.id();
    for _ in 0..9 {
        app.client.hold(&[(product, 1)]).await;
    }
    let mut connection = app.database().await;
    let rule = format!("ALTER TABLE order_status_history ADD CONSTRAINT rule CHECK (order_id <> '{stuck}')");
    sqlx::raw_sql(sqlx::AssertSqlSafe(rule)).execute(&mut connection).await.unwrap();
    app.pass(WINDOW).await;
    assert_eq!(app.client.order_and_wait(&[(product, 3)]).await.status, 201, "new orders go on");
    tests::until("the others are released", async || app.client.stock(product).await == (17, 1)).await;
    assert_eq!(app.operator.get("/figures").await.body["reservations"]["due"], 1, "and an operator sees it");
    sqlx::raw_sql("ALTER TABLE order_status_history DROP CONSTRAINT rule").execute(&mut connection).await.unwrap();
    let mut app = app;
    app.stop_consumers().await;
    app.start_consumer(Steps::none());
    tests::until("it is released by the next consumer", async || app.client.stock(product).await == (17, 0)).await;
    app.finish().await;
}

/// How many are due at once: `ONHAND_TEST_DUE`, or enough for many transactions.
fn due() -> usize {
    std::env::var("ONHAND_TEST_DUE").map_or(10_000, |due| due.parse().unwrap())
}

/// Reserves each piece of a product for another order, all orders of its partition; waits until it is done.
async fn hold_each(app: &TestApp, product: Uuid, count: usize) {
    const TOGETHER: usize = 500;
    let partition = partition_of(product, 4);
    let order = || {
        let mut id = *Uuid::new_v4().as_bytes();
        id[7] = u8::try_from(partition).unwrap();
        hold(Uuid::from_bytes(id), product, 1, WINDOW.as_secs())
    };
    for _ in 0..count / TOGETHER {
        let commands: Vec<_> = (0..TOGETHER).map(|_| order()).collect();
        app.publish(partition, &message(&commands)).await;
    }
    let pieces = i64::try_from(count).unwrap();
    tests::until("all is reserved", async || app.client.stock(product).await == (pieces, pieces)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_great_many_due_at_once_are_released_while_new_orders_are_decided() {
    const CLIENTS: usize = 16;
    let count = due();
    let app = TestApp::start().await;
    let (product, other) = (app.product(i64::try_from(count).unwrap()).await, app.product(1_000_000).await);
    hold_each(&app, product, count).await;
    let mut connection = app.database().await;
    let epochs = "SELECT epoch FROM partitions ORDER BY partition";
    let before: Vec<i64> = sqlx::query_scalar(epochs).fetch_all(&mut connection).await.unwrap();
    app.pass(WINDOW).await;
    let began = Instant::now();
    let released = async {
        tests::until("all is released", async || app.client.stock(product).await.1 == 0).await;
        began.elapsed()
    };
    let one = async |client: usize| {
        let mut slowest = Duration::ZERO;
        for n in 0..20 {
            let line = if n % 2 == 0 { (product, 1) } else { (other, 1) };
            let asked = Instant::now();
            assert_eq!(app.client.order_and_wait(&[line]).await.status, 201, "order {n} of client {client}");
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (released, slowest) = tokio::join!(released, join_all((0..CLIENTS).map(one)));
    println!(
        "{count} released in {released:.1?}; the slowest of 320 new orders took {:.1?}",
        slowest.iter().max().unwrap()
    );
    let sold = CLIENTS * 10;
    let left = i64::try_from(count - sold).unwrap();
    tests::until("all is sold that was ordered", async || app.client.stock(product).await == (left, 0)).await;
    let after: Vec<i64> = sqlx::query_scalar(epochs).fetch_all(&mut connection).await.unwrap();
    assert_eq!(before, after, "no lease was lost meanwhile");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_may_need_more_than_is_released_at_once_and_others_do_not_wait_for_it() {
    let few = ("ONHAND_EXPIRY_ORDERS_MAX", "10".to_owned());
    let settings = late_sweep().into_iter().chain([few]).collect();
    let mut app = TestApp::with(Wanted { consumers: 1, settings, ..Wanted::default() }).await;
    let product = app.product(500).await;
    hold_each(&app, product, 500).await;
    app.stop_consumers().await;
    app.pass(WINDOW).await;
    let quantities = [3, 400, 1, 97, 1];
    let mut orders = Vec::new();
    for quantity in quantities {
        orders.push(app.client.order(&[(product, quantity)], &[]).await.id());
    }
    app.start_consumer(Steps::none());
    let mut sequences = Vec::new();
    for (order, quantity) in orders.iter().zip(quantities) {
        let outcome = &app.client.outcome(*order).await["outcome"];
        let expected = if quantity == 97 { 409 } else { 201 };
        assert_eq!(outcome["status"], expected, "{quantity}: {outcome}");
        if expected == 409 {
            assert_eq!(outcome["lines"][0]["onHand"], 96, "for what is sold, not for what is held: {outcome}");
        }
        sequences.push(outcome["sequence"].as_i64().unwrap());
    }
    assert!(sequences.is_sorted(), "{sequences:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_deferred_orders_with_a_consumer_killed_in_the_middle_leaves_exactly_what_it_must() {
    const ORDERS: usize = 5_000;
    const CLIENTS: usize = 32;
    let app = TestApp::with(Wanted { consumers: 1, ..Wanted::default() }).await;
    let mut doomed = Process::start(&["consumer"], &app.settings);
    app.until_owners(2).await;
    let mut products = Vec::new();
    for _ in 0..6 {
        products.push(app.product(2_000).await);
    }
    let one = async |client: usize| {
        let (mut paid, mut pieces) = (0, 0);
        for n in (client..ORDERS).step_by(CLIENTS) {
            let lines = [(products[n % 6], 1), (products[(n + 1) % 6], 1)];
            let held = app.client.hold(&lines).await;
            assert_eq!(held.status, 201, "{held:?}");
            match n % 3 {
                0 => {
                    let answer = app.client.pay(held.id(), "p").await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    paid += 1;
                    pieces += 2;
                }
                1 => {
                    let answer = app.client.cancel(held.id()).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
                _ => {}
            }
        }
        (paid, pieces)
    };
    let kill = async {
        let some = async || app.client.stock(products[0]).await.0 < 1_900;
        tests::until("some are paid", some).await;
        doomed.kill().await;
    };
    let (done, ()) = tokio::join!(join_all((0..CLIENTS).map(one)), kill);
    let (paid, pieces) = done.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let stock = async || {
        let mut sum = (0, 0);
        for product in &products {
            let (on_hand, reserved) = app.client.stock(*product).await;
            sum = (sum.0 + on_hand, sum.1 + reserved);
        }
        sum
    };
    let open = i64::try_from((0..ORDERS).filter(|n| n % 3 == 2).count()).unwrap() * 2;
    assert_eq!(stock().await, (12_000 - pieces, open));
    app.pass(WINDOW).await;
    tests::until("what was let go is released", async || stock().await == (12_000 - pieces, 0)).await;
    let figures = app.operator.get("/figures").await.body;
    let (converted, expired) = (&figures["reservations"]["converted"], &figures["reservations"]["expired"]);
    assert_eq!((converted, expired), (&json!(paid), &json!(open / 2)), "{figures}");
    app.finish().await;
}
