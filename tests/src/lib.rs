//! The harness of the integration tests: real servers, real programs, a database and queues for each test.
//!
//! | module | what it gives |
//! | --- | --- |
//! | `shared` | one private PostgreSQL and RabbitMQ for all tests of a run |
//! | [`app`] | the system of one test, in this process: an api, consumers, accounts, products |
//! | [`http`] | a client of it |
//! | [`process`] | parts of the system as processes that can be killed |
//! | [`proxy`] | a network between two programs that can be cut |
//! | [`steps`] | where a program under test stops |
//! | [`until`] | waiting for a condition, bounded |

// A harness fails by panicking: that is how a test fails.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a harness fails by panicking")]

pub mod app;
pub mod http;
pub mod process;
pub mod proxy;
mod shared;
pub mod steps;

use std::time::Duration;

/// Longest wait for anything in a test. Generous: the machine may be busy, and nothing is asserted about time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "waited in vain until {what}");
}
