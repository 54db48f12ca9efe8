//! `consumer resize`: another number of partitions, while everything is stopped.
//!
//! A product belongs to a partition by a hash of its id modulo their number, so a change of the number moves products from
//! one writer's queue to another's. Were something still waiting, an order could be decided before an older one of the same
//! product. So nothing may wait and nobody may run:
//!
//! 1. Stop every api, and wait until `consumer partitions` shows no backlog. 2. Stop every consumer. 3. `consumer resize N`.
//! 4. Where `ONHAND_PARTITIONS` is set, set it to N. 5. Start both again.
//!
//! It refuses where consumers run or messages wait. Partitions that are no more keep their log, and are found by `verify` and
//! `replay`. An api that was forgotten stops by itself within seconds, unless it can't reach the database; what it still
//! publishes is decided, exactly, but perhaps before an older order of the same product. What it publishes to a queue that is
//! no more is put where it belongs by the consumers. Run again with the same number, it goes on where it was interrupted.

use common::db::setup::Resized;
use common::db::{self, PgConnection, setup};
use common::partition::PARTITIONS_MAX;
use common::program::Failure;
use common::queue::{retire, waits};
use futures_util::future::try_join_all;
use serde::Serialize;

use super::{Broker, Operator};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many partitions the store is to have
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(PARTITIONS_MAX)))]
    partitions: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    from: u16,
    to: u16,
    /// Messages that a forgotten api had still published for partitions that are no more.
    handed_on: u32,
}

pub(super) async fn run(operator: &Operator<'_>, options: &Options) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    let from = setup::settings(&mut database, None).await?.partitions;
    nothing_waits(&operator.broker(from).await?).await?;
    // Long enough to have seen a consumer whose leases are a little longer than ours.
    let silence = operator.config.lease.as_secs_f64() * 2.0;
    let mut transaction = db::begin(&mut database).await?;
    match setup::resize(&mut transaction, options.partitions, silence).await? {
        Resized::Done { .. } => db::commit(transaction).await?,
        Resized::Running(names) => {
            let names = names.join(", ");
            return Err(format!("consumers are running, or were a moment ago ({names}): stop them first").into());
        }
    }
    let handed_on = change_queues(operator, &mut database, options.partitions).await.map_err(|error| {
        let to = options.partitions;
        format!("the store has {to} partitions now, but its queues are not ready ({error}): run `resize {to}` again")
    })?;
    let done = Done { from, to: options.partitions, handed_on };
    operator.print(&done, || {
        let Done { from, to, handed_on } = &done;
        let handed_on = match handed_on {
            0 => String::new(),
            n => format!("\n{n} messages had been published meanwhile: consumers put them where they belong"),
        };
        format!("{from} partitions before, {to} now: start the api and the consumers{handed_on}")
    })
}

/// Declares what is new, gives up what is no more. Answers with the messages that were handed on.
async fn change_queues(operator: &Operator<'_>, database: &mut PgConnection, partitions: u16) -> Result<u32, Failure> {
    let ever = setup::partitions_ever(database).await?;
    let broker = operator.declared_broker(partitions).await?;
    let retiring = (partitions..ever).map(|partition| retire(&broker.link, &broker.topology, partition));
    Ok(try_join_all(retiring).await?.into_iter().sum())
}

async fn nothing_waits(broker: &Broker) -> Result<(), Failure> {
    broker.has_queues().await?;
    let refusal = "let the consumers decide it first, with every api stopped";
    if let Some(partition) = waits(&broker.link, &broker.topology).await? {
        return Err(format!("something waits in the queue of partition {partition}: {refusal}").into());
    }
    match broker.depth(&broker.topology.unroutable()).await? {
        Some(depth) if depth.messages > 0 => {
            Err(format!("{} messages wait in {}: {refusal}", depth.messages, broker.topology.unroutable()).into())
        }
        _ => Ok(()),
    }
}
