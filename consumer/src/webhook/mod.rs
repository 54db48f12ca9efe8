//! Webhooks: the decision log becomes deliveries, and those are sent.
//!
//! Any consumer does both, whatever partitions it holds: what is at work is locked in the database, so several share the work, and
//! what one that died has left is taken by another. Nothing here delays a decision: it has connections of its own.

mod attempt;
mod outbound;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use common::db::{self, PgConnection};
use common::retry::Retry;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::beside::{Decided, GATHER, WORK_LIMIT, connected};
use outbound::Outbound;
use sender::Sender;

/// How often it is looked for what others have decided.
const RELAY_EVERY: Duration = Duration::from_millis(100);
/// The same while nobody wants to be told: the cursors need not be moved as often.
const RELAY_IN_VAIN_EVERY: Duration = Duration::from_secs(1);
/// Most decisions of a partition that are told of in one transaction.
const DECISIONS_MAX: i64 = 500;
/// How often what is old is deleted, and how much of it at once.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
const PRUNED_MAX: i64 = 1_000;

/// Tells until `stop`; `decided` says that something was.
pub(crate) async fn run(config: Config, decided: Arc<Decided>, stop: CancellationToken) {
    let due = Arc::new(Notify::new());
    let sending = async {
        match Outbound::new(&config.webhooks) {
            Ok(outbound) => Sender::new(config.clone(), outbound, Arc::clone(&due)).run(&stop).await,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "webhooks can't be sent: no client can be made"
                );
            }
        }
    };
    tokio::join!(relay(&config, &decided, &due, &stop), sending);
}

async fn relay(config: &Config, decided: &Decided, due: &Notify, stop: &CancellationToken) {
    let (mut connection, mut retry) = (None, Retry::default());
    let (mut max, mut pruned_at) = (DECISIONS_MAX, Instant::now());
    let mut is_awaited;
    while !stop.is_cancelled() {
        let prune = pruned_at.elapsed() >= PRUNE_EVERY;
        let relaying = relay_once(config, &mut connection, max, prune);
        let wait = match tokio::time::timeout(WORK_LIMIT, relaying).await.unwrap_or(Err(db::Error::TimedOut)) {
            Ok(Relayed { deliveries, more, in_vain, pruned_all }) => {
                if deliveries > 0 {
                    due.notify_one();
                }
                is_awaited = !in_vain;
                retry.reset();
                max = (max * 2).min(DECISIONS_MAX);
                if prune && pruned_all {
                    pruned_at = Instant::now();
                }
                match (more, in_vain) {
                    (true, _) => Duration::ZERO,
                    (false, true) => RELAY_IN_VAIN_EVERY,
                    (false, false) => RELAY_EVERY,
                }
            }
            Err(error) => {
                // Of a failed transaction's connection nothing is known. Perhaps it was too much at once.
                (connection, is_awaited) = (None, false);
                max = (max / 2).max(1);
                tracing::warn!(error = &error as &dyn std::error::Error, "what was decided is not told yet");
                retry.next_wait()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = decided.webhooks.notified(), if is_awaited => tokio::time::sleep(GATHER).await,
            () = stop.cancelled() => return,
        }
    }
}

/// What one turn has done.
struct Relayed {
    deliveries: u64,
    more: bool,
    in_vain: bool,
    pruned_all: bool,
}

async fn relay_once(
    config: &Config,
    connection: &mut Option<PgConnection>,
    max: i64,
    prune: bool,
) -> db::Result<Relayed> {
    let connection = connected(config, connection, "onhand-consumer-relay").await?;
    let mut transaction = db::begin(connection).await?;
    let db::webhooks::Relayed { deliveries, more, in_vain } = db::webhooks::relay(&mut transaction, max).await?;
    db::commit(transaction).await?;
    let mut pruned_all = true;
    if prune {
        let mut transaction = db::begin(connection).await?;
        pruned_all = !db::webhooks::prune(&mut transaction, config.webhooks.kept_days, PRUNED_MAX).await?;
        db::commit(transaction).await?;
    }
    Ok(Relayed { deliveries, more, in_vain, pruned_all })
}
