//! Which holds must be ended before orders are decided, so that none is refused for stock that is held though its time is over.
//! Pure.

use std::collections::BTreeMap;

use common::domain::{Bundles, Command, Sum};
use uuid::Uuid;

/// What a group of commands needs to be set free.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// So many of the first commands are decided now: 0 where what the first one needs must be set free before.
    pub(super) take: usize,
    /// What those may want, per variant.
    pub(super) wanted: BTreeMap<Uuid, i64>,
    /// What of it must be set free: pieces that are reserved, and perhaps due.
    pub(super) missing: BTreeMap<Uuid, i64>,
}

/// What is missing of `wanted` where so much is there: never more than is reserved, since what is not there can't be set free.
fn missing(wanted: i64, sum: Sum) -> i64 {
    (wanted.min(sum.on_hand) - sum.available).max(0)
}

impl Need {
    /// Of as many of the commands, in their order, as miss no more than `limit` pieces together. A line that asks for more than
    /// there is at all is refused in any case, and needs nothing.
    pub(super) fn of<'a>(
        commands: impl Iterator<Item = &'a Command>,
        bundles: &Bundles,
        stock: &BTreeMap<Uuid, Sum>,
        limit: i64,
    ) -> Self {
        let mut need = Self::default();
        let mut total = 0_i64;
        for command in commands {
            let mut wants = BTreeMap::<Uuid, i64>::new();
            for (variant, pieces) in command.variants().flat_map(|(variant, pieces)| bundles.draw(variant, pieces)) {
                let sum = wants.entry(variant).or_default();
                *sum = sum.saturating_add(pieces);
            }
            let mut with = Vec::new();
            let mut more = total;
            for (variant, pieces) in wants {
                let sum = stock.get(&variant).copied().unwrap_or_default();
                if pieces == 0 || pieces > sum.on_hand {
                    continue;
                }
                let wanted = need.wanted.get(&variant).copied().unwrap_or_default();
                let (before, after) = (missing(wanted, sum), missing(wanted.saturating_add(pieces), sum));
                more = more.saturating_add(after - before);
                with.push((variant, wanted.saturating_add(pieces), after));
            }
            let fits = more <= limit;
            if !fits && need.take > 0 {
                break;
            }
            for (variant, wanted, missing) in with {
                need.wanted.insert(variant, wanted);
                if missing > 0 {
                    need.missing.insert(variant, missing);
                }
            }
            if !fits {
                // All alone it misses more than is set free at once.
                break;
            }
            total = more;
            need.take += 1;
        }
        need
    }

    /// What is still missing where, now that it is locked, so much is there with what is about to be set free.
    pub(super) fn still_missing(&self, locked: impl Fn(Uuid) -> Sum) -> Vec<(Uuid, i64)> {
        let left = self.wanted.iter().map(|(variant, wanted)| (*variant, missing(*wanted, locked(*variant))));
        left.filter(|(_, missing)| *missing > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use common::domain::{Action, Line, PlaceOrder, Timestamp};

    use super::*;

    fn order(lines: &[(u128, i32)]) -> Command {
        let line = |&(id, quantity): &(u128, i32)| Line {
            product_id: Uuid::from_u128(id),
            variant_id: Uuid::from_u128(id),
            quantity,
            agreed: None,
        };
        let lines = lines.iter().map(line).collect();
        let action =
            Action::PlaceOrder(PlaceOrder { customer: None, lines, hold: None, delivery: None, expected_total: None });
        let (id, account) = (Uuid::nil(), Uuid::nil());
        Command { id, account, accepted_at: Timestamp::UNIX_EPOCH, idempotency: None, action }
    }

    fn stock() -> BTreeMap<Uuid, Sum> {
        let sum = |(id, on_hand, available)| (Uuid::from_u128(id), Sum { on_hand, available });
        [(1, 100, 3), (2, 10, 10), (3, 1_000, 0)].map(sum).into()
    }

    #[test]
    fn as_many_orders_are_taken_as_miss_no_more_than_is_set_free_at_once() {
        for (orders, take, missing) in [
            (vec![order(&[(2, 4)]), order(&[(2, 9)])], 2, vec![]),
            (vec![order(&[(1, 3)])], 1, vec![]),
            (vec![order(&[(1, 3)]), order(&[(1, 2)])], 2, vec![(1, 2)]),
            (vec![order(&[(1, 5), (3, 1)])], 1, vec![(1, 2), (3, 1)]),
            // More than there is at all is refused whatever is set free.
            (vec![order(&[(1, 101)]), order(&[(9, 1)])], 2, vec![]),
            // Together never more than is reserved.
            (vec![order(&[(2, 10)]), order(&[(2, 10)])], 2, vec![]),
            (vec![order(&[(1, 4)]), order(&[(1, 50)]), order(&[(1, 1)])], 1, vec![(1, 1)]),
            (vec![order(&[(3, 500)])], 0, vec![(3, 500)]),
        ] {
            let need = Need::of(orders.iter(), &Bundles::default(), &stock(), 20);
            let missing: BTreeMap<Uuid, i64> = missing.into_iter().map(|(id, n)| (Uuid::from_u128(id), n)).collect();
            assert_eq!((need.take, need.missing), (take, missing), "{orders:?}");
        }
    }

    #[test]
    fn what_another_writer_has_taken_meanwhile_is_missing_too() {
        let need = Need::of([order(&[(1, 5)])].iter(), &Bundles::default(), &stock(), 20);
        let there = |available| move |_| Sum { on_hand: 99, available };
        assert_eq!(need.still_missing(there(3)), [(Uuid::from_u128(1), 2)]);
        assert!(need.still_missing(there(5)).is_empty());
    }
}
