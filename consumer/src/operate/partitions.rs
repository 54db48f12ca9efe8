//! `consumer partitions`.

use std::collections::BTreeMap;
use std::time::Duration;

use common::db::partitions::{Figures, figures};
use common::program::Failure;
use serde::Serialize;
use uuid::Uuid;

use super::Operator;
use super::table::{NONE, seconds, table};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many seconds decisions are counted for
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    sample: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    partitions: Vec<Partition>,
    /// Messages that had no queue: consumers put them back within seconds.
    unroutable_messages: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Partition {
    partition: u16,
    owner: Option<Owner>,
    epoch: i64,
    /// Messages that wait at the broker, each of one or more commands; without those that its consumer has in hand. `None`
    /// where the queue is not there.
    backlog_messages: Option<u32>,
    /// Nothing that waits has waited longer, as far as the clocks of apis and database agree; 0 where nothing waits, `None`
    /// where it is not known.
    oldest_waiting_seconds_max: Option<f64>,
    decided_per_second: f64,
    /// Commands per transaction, over all partitions of its writer; `None` where nothing was decided meanwhile.
    average_batch: Option<f64>,
    decided: i64,
    /// Left over from when the store had more partitions.
    retired: bool,
}

#[derive(Serialize)]
struct Owner {
    id: Uuid,
    name: String,
}

pub(super) async fn show(operator: &Operator<'_>, options: &Options) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    let (began, before) = figures(&mut database).await?;
    let active = before.iter().filter(|figures| !figures.retired).count();
    let broker = operator.broker(u16::try_from(active)?).await?;
    tokio::time::sleep(Duration::from_secs(options.sample)).await;
    let (ended, after) = figures(&mut database).await?;
    let before: BTreeMap<u16, Figures> = before.into_iter().map(|figures| (figures.partition, figures)).collect();
    let mut partitions = Vec::new();
    for figures in after {
        let backlog = broker.depth(&broker.topology.commands_queue(figures.partition)).await?;
        let since = before.get(&figures.partition).unwrap_or(&figures);
        let partition = partition(&figures, since, ended - began, backlog.map(|depth| depth.messages));
        // A retired one is of interest while something lies in its queue.
        if !partition.retired || partition.backlog_messages.is_some() {
            partitions.push(partition);
        }
    }
    let unroutable = broker.depth(&broker.topology.unroutable()).await?;
    let view = View { partitions, unroutable_messages: unroutable.map_or(0, |depth| depth.messages) };
    operator.print(&view, || human(&view))
}

fn partition(now: &Figures, before: &Figures, elapsed: f64, backlog: Option<u32>) -> Partition {
    let [decided, batches, commands] =
        [now.sequence - before.sequence, now.batches - before.batches, now.batch_commands - before.batch_commands]
            .map(|count| f64::from(u32::try_from(count.max(0)).unwrap_or(u32::MAX)));
    let waits = now.busy || backlog.is_some_and(|messages| messages > 0);
    Partition {
        partition: now.partition,
        owner: now.owner.clone().map(|(id, name)| Owner { id, name }),
        epoch: now.epoch,
        backlog_messages: backlog,
        oldest_waiting_seconds_max: if waits { now.behind_seconds } else { Some(0.0) },
        decided_per_second: if elapsed > 0.0 { decided / elapsed } else { 0.0 },
        average_batch: (batches > 0.0).then(|| commands / batches),
        decided: now.sequence,
        retired: now.retired,
    }
}

fn human(view: &View) -> String {
    let titles = ["partition#", "owner", "epoch#", "backlog#", "oldest#", "decided/s#", "avg batch#", "decided#", ""];
    let rows = view.partitions.iter().map(|partition| {
        let oldest = partition.oldest_waiting_seconds_max;
        vec![
            partition.partition.to_string(),
            partition.owner.as_ref().map_or(NONE.to_owned(), |owner| owner.name.clone()),
            partition.epoch.to_string(),
            partition.backlog_messages.map_or(NONE.to_owned(), |messages| messages.to_string()),
            match oldest {
                Some(0.0) => NONE.to_owned(),
                Some(oldest) => format!("≤ {}", seconds(oldest)),
                None => "?".to_owned(),
            },
            format!("{:.0}", partition.decided_per_second),
            partition.average_batch.map_or(NONE.to_owned(), |batch| format!("{batch:.1}")),
            partition.decided.to_string(),
            if partition.retired { "retired: run `consumer resize` again" } else { "" }.to_owned(),
        ]
    });
    let mut text = table(&titles, rows);
    if view.unroutable_messages > 0 {
        let n = view.unroutable_messages;
        text.push_str(&format!("\n{n} messages had no queue; consumers put them back within seconds"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(sequence: i64, batches: i64, batch_commands: i64, busy: bool) -> Figures {
        let behind_seconds = Some(7.0);
        Figures {
            partition: 1,
            owner: None,
            epoch: 3,
            sequence,
            batches,
            batch_commands,
            behind_seconds,
            busy,
            retired: false,
        }
    }

    #[test]
    fn rates_are_of_the_sample_and_ages_of_what_waits() {
        let before = figures(100, 10, 200, false);
        let seen = partition(&figures(150, 12, 260, false), &before, 2.0, Some(0));
        assert_eq!((seen.decided_per_second, seen.average_batch), (25.0, Some(30.0)));
        assert_eq!(seen.oldest_waiting_seconds_max, Some(0.0), "nothing waits");
        let idle = partition(&before, &before, 2.0, Some(4));
        assert_eq!((idle.decided_per_second, idle.average_batch), (0.0, None));
        assert_eq!(idle.oldest_waiting_seconds_max, Some(7.0), "messages wait at the broker");
        let busy = partition(&figures(100, 10, 200, true), &before, 2.0, Some(0));
        assert_eq!(busy.oldest_waiting_seconds_max, Some(7.0), "its writer has something in hand");
    }
}
