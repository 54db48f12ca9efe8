//! Three brokers, one of them killed under load: orders are taken and decided without it, and none is lost.

use std::time::Duration;

use futures_util::future::join_all;
use servers::Servers;
use tests::app::{TestApp, Wanted};
use tests::broker::{amqp_url, index_of, own_brokers, quorum_queues};
use tests::load::{Pace, Said, place};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const BROKERS: usize = 3;
/// Orders that must be accepted, and decided in each partition, for things to go on.
const SOME: u64 = 50;
/// For the whole test: brokers take their time to come back.
const PATIENCE: Duration = Duration::from_secs(600);

/// What goes on while brokers die.
struct Going {
    accepted: Pace,
    /// Of each partition.
    decided: Vec<Pace>,
}

impl Going {
    /// Waits until orders are accepted, and some are decided in every partition.
    async fn goes_on(&self, app: &TestApp, when: &str) {
        let mut connection = app.database().await;
        let before = app.decisions(&mut connection).await;
        let accepted = self.accepted.count();
        tests::until(&format!("orders are accepted and decided {when}"), async || {
            let now = app.decisions(&mut connection).await;
            let more = now.iter().zip(&before).all(|(now, before)| *now > before + SOME);
            more && self.accepted.count() > accepted + SOME
        })
        .await;
    }

    /// Counts decisions until the test stops.
    async fn watch(&self, app: &TestApp, stop: &CancellationToken) {
        let mut connection = app.database().await;
        tests::until_within(PATIENCE, "the test ends", async || {
            for (pace, decisions) in self.decided.iter().zip(app.decisions(&mut connection).await) {
                pace.reached(decisions);
            }
            stop.is_cancelled()
        })
        .await;
    }

    fn tell(&self, what: &str) {
        let accepted = self.accepted.longest_pause();
        let decided = self.decided.iter().map(Pace::longest_pause).max().unwrap();
        tests::tell(&format!(
            "{what}: no order accepted for {accepted:?}, none of some partition decided for {decided:?}"
        ));
    }
}

/// Waits until every queue has a living member on each broker.
async fn until_whole(brokers: &mut Servers, living: usize) {
    tests::until("every queue has three members", async || {
        let queues = quorum_queues(brokers, living).await;
        let has =
            |queue: &serde_json::Value, what: &str| queue[what].as_array().is_some_and(|all| all.len() == BROKERS);
        !queues.is_empty() && queues.iter().all(|queue| has(queue, "members") && has(queue, "online"))
    })
    .await;
}

async fn leader_of(brokers: &mut Servers, living: usize, name: &str) -> usize {
    let queues = quorum_queues(brokers, living).await;
    let queue = queues.into_iter().find(|queue| queue["name"] == name);
    index_of(queue.unwrap()["leader"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_under_load_and_every_promise_is_kept() {
    let mut brokers = own_brokers(BROKERS).await;
    let amqp_url = Some(amqp_url(&brokers));
    let mut app = TestApp::with(Wanted { consumers: 2, amqp_url, ..Wanted::default() }).await;
    // So many that every partition has some.
    let products: Vec<Uuid> = join_all((0..64).map(|_| app.product(1_000_000_000))).await;
    let loaded = app.topology.commands_queue(common::partition::partition_of(products[0], app.topology.partitions()));
    until_whole(&mut brokers, 0).await;
    let decided = (0..app.topology.partitions()).map(|_| Pace::default()).collect();
    let (stop, going) = (CancellationToken::new(), Going { accepted: Pace::default(), decided });
    let load = place(&app.client, &products, 8, &going.accepted, || !stop.is_cancelled());
    let kills = async {
        let mut living = 0;
        for round in ["first", "second"] {
            going.goes_on(&app, "with every broker").await;
            let doomed = leader_of(&mut brokers, living, &loaded).await;
            living = (doomed + 1) % BROKERS;
            going.tell(&format!("before the {round} kill"));
            brokers.kill_broker(doomed).await.unwrap();
            going.goes_on(&app, "with a broker dead").await;
            assert!(brokers.rabbitmqctl(doomed, &["status"]).await.is_err(), "it is dead");
            going.tell(&format!("the {round} leader, broker {}, is dead", doomed + 1));
            brokers.start_broker(doomed).await.unwrap();
            until_whole(&mut brokers, living).await;
            going.goes_on(&app, "with the broker back").await;
            going.tell("it is back");
        }
        stop.cancel();
    };
    let (said, (), ()): (Said, (), ()) = futures_util::join!(load, kills, going.watch(&app, &stop));
    said.check(&mut app).await;
    app.finish().await;
    brokers.stop().await.unwrap();
}
