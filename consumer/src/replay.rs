//! I-10: the recorded commands of a partition, fed through the pure core again, must give the stored outcomes and stock.

use std::collections::BTreeMap;

use common::db::log::{self, Made, Recorded};
use common::db::{self, PgConnection};
use common::domain::{Confirmed, Decision, Movement, Outcome, ProductOutcome, Refusal, StockChange, decide};
use common::program::chain;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use uuid::Uuid;

/// Most differences that are kept to be shown.
const DIFFERENCES_MAX: usize = 20;
/// Stock rows compared at once.
const VARIANTS_AT_ONCE: usize = 10_000;

/// What came of deciding a partition's commands again.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    pub partition: u16,
    /// Decisions that were made again.
    pub decisions: i64,
    /// Stock rows that they changed, as compared with what is stored.
    pub stock_rows: usize,
    /// How often stored and again differ; 0 where I-10 holds.
    pub differences: usize,
    /// The first of them.
    pub examples: Vec<Difference>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub sequence: Option<i64>,
    pub id: Uuid,
    pub stored: String,
    pub again: String,
}

/// Replays a partition's log. To be called in one snapshot (see [`db::begin_snapshot`]) where orders are being decided.
///
/// # Errors
/// Where the database is away.
pub async fn replay(connection: &mut PgConnection, partition: u16) -> db::Result<Replay> {
    let mut again = Again { replay: Replay { partition, ..Replay::default() }, changed: BTreeMap::new() };
    let terms = db::terms::all(connection).await?;
    let bundles = db::bundles::all(connection).await?;
    let mut log = log::read(connection, partition, &terms, bundles)?;
    while let Some(recorded) = log.try_next().await? {
        again.decide(recorded);
    }
    drop(log);
    let variants: Vec<Uuid> = again.changed.keys().map(|(variant, _)| *variant).collect();
    for variants in variants.chunks(VARIANTS_AT_ONCE) {
        for stored in db::stock::rows(connection, variants).await? {
            again.compare(&stored);
        }
    }
    again.miss();
    Ok(again.replay)
}

/// A replay on its way.
struct Again {
    replay: Replay,
    /// The last state of each stock row that the decisions have made and that was not compared yet.
    changed: BTreeMap<(Uuid, Uuid), StockChange>,
}

impl Again {
    fn decide(&mut self, recorded: Recorded) {
        let Recorded { sequence, id, made } = recorded;
        self.replay.decisions += 1;
        let expected = self.replay.decisions;
        if sequence != expected {
            self.differ(Some(sequence), id, format!("number {sequence}"), format!("number {expected}"));
            // Told once, not for every decision after it.
            self.replay.decisions = sequence;
        }
        let Made { command, mut saw, decision } = match made {
            Ok(made) => made,
            Err(error) => return self.differ(Some(sequence), id, chain(&error), "nothing".to_owned()),
        };
        let again = sorted(decide(&mut saw, &command));
        if again != decision {
            let (stored, again) = (tell(&decision), tell(&again));
            let again = if stored == again { format!("{again}, with other details") } else { again };
            self.differ(Some(sequence), id, stored, again);
        }
        for change in saw.stock.changes() {
            let last = self.changed.entry((change.variant, change.warehouse)).or_insert(change);
            if last.version < change.version {
                *last = change;
            }
        }
    }

    /// Compares a stored row with the last state that the decisions have made of it, unless it was changed by another
    /// partition's since.
    fn compare(&mut self, stored: &StockChange) {
        let Some(again) = self.changed.remove(&(stored.variant, stored.warehouse)) else { return };
        self.replay.stock_rows += 1;
        if stored.version < again.version || (stored.version == again.version && *stored != again) {
            self.differ(None, stored.variant, tell_stock(stored), tell_stock(&again));
        }
    }

    /// What is left has no row.
    fn miss(&mut self) {
        for ((variant, _), again) in std::mem::take(&mut self.changed) {
            self.differ(None, variant, "no stock row".to_owned(), tell_stock(&again));
        }
    }

    fn differ(&mut self, sequence: Option<i64>, id: Uuid, stored: String, again: String) {
        self.replay.differences += 1;
        if self.replay.examples.len() < DIFFERENCES_MAX {
            self.replay.examples.push(Difference { sequence, id, stored, again });
        }
    }
}

/// With what it has moved in the order in which the log has it.
fn sorted(mut decision: Decision) -> Decision {
    match &mut decision {
        Decision::Order(_) => {}
        Decision::Product(_, moved)
        | Decision::Change(_, moved)
        | Decision::Stock(_, moved)
        | Decision::Swept(_, moved) => {
            moved.sort_unstable_by_key(|movement: &Movement| (movement.variant, movement.warehouse, movement.version));
        }
    }
    decision
}

fn tell_stock(row: &StockChange) -> String {
    let StockChange { on_hand, reserved, version, .. } = row;
    format!("{on_hand} on hand and {reserved} reserved at version {version}")
}

/// A decision in a few words.
fn tell(decision: &Decision) -> String {
    match decision {
        Decision::Order(Outcome::Confirmed(Confirmed { items, total, hold, .. })) => {
            let quantity: i64 = items.iter().map(|item| i64::from(item.quantity)).sum();
            let done = if hold.is_some() { "reserved" } else { "confirmed" };
            format!("{done}: {} lines, {quantity} pieces, {} {}", items.len(), total.amount, total.currency.as_str())
        }
        Decision::Order(Outcome::Refused(placed)) => match &placed.refusal {
            Refusal::UnknownProduct { .. } => "refused: unknown product".to_owned(),
            Refusal::DeletedProduct { .. } => "refused: deleted product".to_owned(),
            Refusal::MixedCurrencies { .. } => "refused: mixed currencies".to_owned(),
            Refusal::TotalTooLarge => "refused: total too large".to_owned(),
            Refusal::NoDelivery => "refused: no delivery".to_owned(),
            Refusal::CustomerRequired { .. } => "refused: no customer".to_owned(),
            Refusal::LimitExceeded { products } => format!("refused: over the limit of {} products", products.len()),
            Refusal::TotalChanged { expected, total } => {
                format!("refused: {} expected, {}", expected.amount, total.amount)
            }
            Refusal::InsufficientStock { lines } => {
                let line = |line: &common::domain::ShortLine| {
                    format!("{} of {}", line.requested, line.on_hand - line.reserved)
                };
                format!("refused: short of {}", lines.iter().map(line).collect::<Vec<_>>().join(", "))
            }
        },
        Decision::Product(ProductOutcome::Created { stock_version }, _) => {
            format!("created, stock at version {stock_version}")
        }
        Decision::Product(outcome, _) => format!("refused: {outcome:?}"),
        Decision::Change(outcome, moved) => format!("{outcome:?}, {} movements", moved.len()),
        Decision::Stock(outcome, _) => format!("{outcome:?}"),
        Decision::Swept(changed, moved) => format!("{} orders swept, {} movements", changed.len(), moved.len()),
    }
}
