//! `consumer consumers` and `consumer drain`.

use std::time::Duration;

use common::db::consumers::{Consumer, list, lock, set_draining};
use common::db::{self, PgConnection};
use common::program::Failure;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::Operator;
use super::table::{NONE, seconds, table};

const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Drain {
    /// Its id or its name, as `consumer consumers` tells
    id: String,
    /// Let it take its share again
    #[arg(long)]
    undo: bool,
    /// Even where no other consumer would take its partitions over
    #[arg(long)]
    force: bool,
    /// How many seconds to wait until it has let go
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: Uuid,
    name: String,
    /// `live`, `draining`, or `silent` where its heartbeats have stopped: its leases run out.
    state: &'static str,
    partitions: Vec<u16>,
    seen_seconds_ago: f64,
    #[serde(with = "time::serde::rfc3339")]
    started_at: common::domain::Timestamp,
}

#[derive(Serialize)]
struct Consumers {
    consumers: Vec<View>,
}

impl From<Consumer> for View {
    fn from(consumer: Consumer) -> Self {
        let state = match (consumer.live, consumer.draining) {
            (false, _) => "silent",
            (true, true) => "draining",
            (true, false) => "live",
        };
        Self {
            id: consumer.id,
            name: consumer.name,
            state,
            partitions: consumer.partitions,
            seen_seconds_ago: consumer.seen_seconds,
            started_at: consumer.started_at,
        }
    }
}

pub(super) async fn show(operator: &Operator<'_>) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    let consumers = list(&mut database, operator.config.lease).await?.into_iter().map(View::from).collect();
    let all = Consumers { consumers };
    operator.print(&all, || human(&all.consumers))
}

fn human(consumers: &[View]) -> String {
    if consumers.is_empty() {
        return "no consumer is running".to_owned();
    }
    let rows = consumers.iter().map(|consumer| {
        let held: Vec<String> = consumer.partitions.iter().map(ToString::to_string).collect();
        vec![
            consumer.name.clone(),
            consumer.id.to_string(),
            consumer.state.to_owned(),
            if held.is_empty() { NONE.to_owned() } else { held.join(" ") },
            format!("{} ago", seconds(consumer.seen_seconds_ago)),
        ]
    });
    table(&["name", "id", "state", "partitions", "seen"], rows)
}

pub(super) async fn drain(operator: &Operator<'_>, options: &Drain) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    let lease = operator.config.lease;
    // Two drains at once must not each count on the other's consumer.
    let mut transaction = db::begin(&mut database).await?;
    lock(&mut transaction).await?;
    let (mut consumer, others) = find(list(&mut transaction, lease).await?, &options.id)?;
    if !options.undo && !options.force && !others.iter().any(|other| other.live && !other.draining) {
        let refusal = "no other consumer is live: its partitions would stand still. Start one first, or pass --force";
        return Err(refusal.into());
    }
    set_draining(&mut transaction, consumer.id, !options.undo).await?;
    db::commit(transaction).await?;
    consumer.draining = !options.undo;
    if !options.undo {
        consumer = until_free(&mut database, lease, consumer, options.wait).await?;
    }
    let view = View::from(consumer);
    operator.print(&view, || match (options.undo, view.state) {
        (true, "live") => format!("{} takes its share again", view.name),
        (true, _) => format!("{} is silent: it takes its share when it is back", view.name),
        (false, _) => format!("{} holds nothing any more: it can be stopped", view.name),
    })
}

/// The consumer of this id or name, and the others.
fn find(mut consumers: Vec<Consumer>, wanted: &str) -> Result<(Consumer, Vec<Consumer>), Failure> {
    let matching = |consumer: &Consumer| consumer.id.to_string() == wanted || consumer.name == wanted;
    let named: Vec<usize> = (0..consumers.len()).filter(|&index| matching(&consumers[index])).collect();
    // Of the same name, the one that is there: one that died a moment ago may still be listed.
    let live: Vec<usize> = named.iter().copied().filter(|&index| consumers[index].live).collect();
    match (live.as_slice(), named.as_slice()) {
        ([index], _) | ([], [index]) => {
            let consumer = consumers.swap_remove(*index);
            Ok((consumer, consumers))
        }
        ([], []) => Err(format!("there is no consumer {wanted:?}: see `consumer consumers`").into()),
        _ => Err(format!("several consumers are called {wanted:?}: name one by its id").into()),
    }
}

/// Waits until a consumer holds nothing.
async fn until_free(
    database: &mut PgConnection,
    lease: Duration,
    mut consumer: Consumer,
    seconds_max: u64,
) -> Result<Consumer, Failure> {
    let deadline = Instant::now() + Duration::from_secs(seconds_max);
    loop {
        match list(database, lease).await?.into_iter().find(|other| other.id == consumer.id) {
            Some(now) => consumer = now,
            // It has ended by itself.
            None => consumer.partitions.clear(),
        }
        if consumer.partitions.is_empty() {
            return Ok(consumer);
        }
        if Instant::now() > deadline {
            let held = consumer.partitions.len();
            return Err(format!("it still holds {held} partitions after {seconds_max} s; it goes on letting go").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(id: u128, name: &str, live: bool) -> Consumer {
        let started_at = common::domain::Timestamp::UNIX_EPOCH;
        let id = Uuid::from_u128(id);
        Consumer { id, name: name.into(), started_at, seen_seconds: 0.0, live, draining: false, partitions: vec![] }
    }

    #[test]
    fn a_consumer_is_found_by_id_or_by_a_name_that_only_one_live_has() {
        let all = || {
            vec![
                consumer(1, "a", true),
                consumer(2, "b", false),
                consumer(3, "b", true),
                consumer(4, "c", true),
                consumer(5, "c", true),
            ]
        };
        let found =
            |wanted: &str| find(all(), wanted).map(|(consumer, others)| (consumer.id.as_u128(), others.len())).ok();
        assert_eq!(found("a"), Some((1, 4)));
        assert_eq!(found("b"), Some((3, 4)), "the one that is there");
        assert_eq!(found("c"), None, "two are there");
        assert_eq!(found(&Uuid::from_u128(5).to_string()), Some((5, 4)));
        assert_eq!(found("d"), None);
    }
}
