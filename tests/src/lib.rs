//! The harness of the integration tests: real servers, real programs, a database and queues for each test.
//!
//! | module | what it gives |
//! | --- | --- |
//! | `shared` | one private PostgreSQL and RabbitMQ for all tests of a run |
//! | [`app`] | the system of one test, in this process: an api, consumers, accounts, products |
//! | [`broker`] | brokers of one test's own, to be hurt |
//! | [`http`] | a client of it |
//! | [`lives`] | orders that have seen everything |
//! | [`load`] | orders by the thousand, and what was said of each |
//! | [`process`] | parts of the system as processes that can be killed |
//! | [`proxy`] | a network between two programs that can be cut, or hang |
//! | [`raw`] | messages as somebody past the api might write them |
//! | [`receiver`] | a receiver of webhooks, well or badly behaved |
//! | [`steps`] | where a program under test stops |
//! | [`until`] | waiting for a condition, bounded |

// A harness fails by panicking: that is how a test fails.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a harness fails by panicking")]

pub mod app;
pub mod broker;
pub mod http;
pub mod lives;
pub mod load;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod receiver;
mod shared;
pub mod steps;

use std::io::Write as _;
use std::time::Duration;

/// Longest wait for anything in a test. Generous: the machine may be busy, and nothing is asserted about time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, condition: F) {
    until_within(PATIENCE, what, condition).await;
}

/// Waits until `condition` holds, longer than for anything else: for what grows with a number that is not fixed.
pub async fn until_within<F: AsyncFnMut() -> bool>(patience: Duration, what: &str, mut condition: F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(patience, holds).await.is_ok(), "waited in vain until {what}");
}

/// Tells people who watch what a test has measured. Past `eprintln`, which the test harness keeps back.
pub fn tell(text: &str) {
    std::io::stderr().write_all(format!("  {text}\n").as_bytes()).unwrap();
}
