//! Brokers of one test's own, to be hurt, and the shared one by another address.

use serde_json::Value;
use servers::{GUARD_ARGUMENT, Options, Servers};

use crate::shared;

/// Starts brokers, several of them as a cluster that is complete. Dropped, they stop.
pub async fn own_brokers(count: usize) -> Servers {
    let options = Options {
        data: shared::folder(),
        temporary: true,
        brokers: count,
        guard: vec![shared::program().into_os_string(), GUARD_ARGUMENT.into()],
        postgres_settings: Vec::new(),
        postgres: false,
        rabbitmq: true,
    };
    let mut brokers = Servers::start(options, |progress| eprintln!("{progress}")).await.unwrap();
    if count > 1 {
        // A queue has its members on the nodes that are there when it is declared.
        brokers.rabbitmqctl(0, &["await_online_nodes", &count.to_string()]).await.unwrap();
    }
    brokers
}

/// Their addresses, as the programs are told them.
#[must_use]
pub fn amqp_url(brokers: &Servers) -> String {
    brokers.amqp_urls().join(",")
}

/// The shared broker's address, with heartbeats so rare that within a test's patience none tells of a network that hangs.
pub async fn amqp_url_with_rare_heartbeats() -> String {
    let url = &shared::servers().await.amqp_url;
    // Missed after two.
    let rare = url.replace("heartbeat=10", &format!("heartbeat={}", crate::PATIENCE.as_secs()));
    assert_ne!(*url, rare);
    rare
}

/// What a living node tells of every quorum queue: its name, `leader`, `members` and those of them that are `online`.
pub async fn quorum_queues(brokers: &mut Servers, living: usize) -> Vec<Value> {
    let asked = ["list_queues", "name", "type", "leader", "members", "online", "--formatter", "json"];
    let told = brokers.rabbitmqctl(living, &asked).await.unwrap();
    let queues: Vec<Value> = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    queues.into_iter().filter(|queue| queue["type"] == "quorum" || queue["type"] == "rabbit_quorum_queue").collect()
}

/// Which broker a node's name is of.
#[must_use]
pub fn index_of(node: &str) -> usize {
    let number = node.strip_prefix("onhand").and_then(|rest| rest.split('@').next()?.parse::<usize>().ok());
    number.unwrap_or_else(|| panic!("{node:?} is no node of ours")) - 1
}
