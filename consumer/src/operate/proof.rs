//! `consumer verify` and `consumer replay`.

use common::db;
use common::db::verify::Finding;
use common::program::Failure;
use serde::Serialize;

use super::Operator;
use super::table::table;
use crate::replay::{self, Replay};

const ELSEWHERE: [(&str, &str); 2] = [
    ("I-6", "first come, first decided: what clients were told, and when, is theirs to compare"),
    ("I-7", "every outcome is told: what came of each delivery is listed under /webhooks/deliveries"),
];

#[derive(Serialize)]
struct Verified {
    holds: bool,
    findings: Vec<Finding>,
    /// I-10.
    replays: Vec<Replay>,
    not_checked: Vec<NotChecked>,
}

/// An invariant that no row of the database can show.
#[derive(Serialize)]
struct NotChecked {
    invariant: &'static str,
    why: &'static str,
}

pub(super) async fn verify(operator: &Operator<'_>) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    let mut snapshot = db::begin_snapshot(&mut database).await?;
    let findings = db::verify::verify(&mut snapshot).await?;
    let mut replays = Vec::new();
    for partition in 0..db::setup::partitions_ever(&mut snapshot).await? {
        replays.push(replay::replay(&mut snapshot, partition).await?);
    }
    drop(snapshot);
    let broken = findings.iter().filter(|finding| finding.rows > 0).count()
        + replays.iter().filter(|replay| replay.differences > 0).count();
    let not_checked = ELSEWHERE.into_iter().map(|(invariant, why)| NotChecked { invariant, why }).collect();
    let verified = Verified { holds: broken == 0, findings, replays, not_checked };
    operator.print(&verified, || human(&verified))?;
    if verified.holds { Ok(()) } else { Err(format!("{broken} checks have failed: see above").into()) }
}

fn human(verified: &Verified) -> String {
    let holds = |rows: usize| if rows == 0 { "holds".to_owned() } else { format!("BROKEN by {rows}") };
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut shown = String::new();
    for Finding { invariant, breach, rows: n, examples } in &verified.findings {
        rows.push(vec![
            (*invariant).to_owned(),
            holds(usize::try_from(*n).unwrap_or_default()),
            format!("never: {breach}"),
        ]);
        for example in examples {
            shown.push_str(&format!("{invariant}  {breach}: {example}\n"));
        }
    }
    for replay in &verified.replays {
        let said = format!("partition {}: {} decisions made again", replay.partition, replay.decisions);
        rows.push(vec!["I-10".to_owned(), holds(replay.differences), said]);
        shown.push_str(&differences(replay));
    }
    for NotChecked { invariant, why } in &verified.not_checked {
        rows.push(vec![(*invariant).to_owned(), "not seen here".to_owned(), (*why).to_owned()]);
    }
    rows.sort_by_key(|row| row[0].trim_start_matches("I-").parse::<u8>().unwrap_or(u8::MAX));
    format!("{}\n\n{shown}", table(&["invariant", "", ""], rows))
}

fn differences(replay: &Replay) -> String {
    let line = |difference: &replay::Difference| {
        let place = difference.sequence.map_or("stock".to_owned(), |sequence| format!("sequence {sequence}"));
        let (id, stored, again) = (difference.id, &difference.stored, &difference.again);
        format!("I-10  partition {}, {place}, {id}: stored {stored}; again {again}\n", replay.partition)
    };
    replay.examples.iter().map(line).collect()
}

pub(super) async fn replay(operator: &Operator<'_>, partition: u16) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    let mut snapshot = db::begin_snapshot(&mut database).await?;
    let partitions = db::setup::partitions_ever(&mut snapshot).await?;
    if partition >= partitions {
        return Err(format!("there is no partition {partition}: they are 0 to {}", partitions.saturating_sub(1)).into());
    }
    let replay = replay::replay(&mut snapshot, partition).await?;
    drop(snapshot);
    operator.print(&replay, || {
        let Replay { decisions, stock_rows, differences: n, .. } = &replay;
        format!(
            "{decisions} decisions made again, {stock_rows} stock rows compared: {n} differences\n{}",
            differences(&replay)
        )
    })?;
    match replay.differences {
        0 => Ok(()),
        n => Err(format!("{n} differences between what is stored and what is decided again").into()),
    }
}
