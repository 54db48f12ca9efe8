//! Which partition a product belongs to, and how consumers share the partitions out. Pure.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::domain::{Belongs, Command};
use crate::ids;

/// Most partitions that a store can have: an order id has 8 bits for its partition.
pub const PARTITIONS_MAX: u16 = 256;

/// The partition of a product, `0..partitions`. Never changes for the same number: this is stored data.
///
/// FNV-1a of the id's 16 bytes (<http://www.isthe.com/chongo/tech/comp/fnv/>), then a finaliser, so that ids that differ
/// only in time still spread.
#[must_use]
pub fn partition_of(product: Uuid, partitions: u16) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in product.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    u16::try_from(hash % u64::from(partitions.max(1))).unwrap_or_default()
}

/// The partition of an order that is decided or waiting: the one that its id names. After a resize to fewer partitions one
/// of those takes over for each that is no more.
#[must_use]
pub fn partition_of_order(order: Uuid, partitions: u16) -> u16 {
    ids::partition_in(order) % partitions.max(1)
}

/// The partition that decides a command.
#[must_use]
pub fn partition_for(command: &Command, partitions: u16) -> u16 {
    match command.belongs() {
        Belongs::ToProduct(product) => partition_of(product, partitions),
        Belongs::ToOrder(order) => partition_of_order(order, partitions),
    }
}

/// Who holds a partition now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nobody, or somebody whose lease has ended.
    Free,
    By(Uuid),
}

/// What a consumer should do to come nearer to its fair share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// To let go, after the batch at hand.
    pub release: Vec<u16>,
    /// How many of the free ones to take.
    pub acquire: usize,
}

/// What consumer `me` should do, seen from one snapshot of all live consumers and partitions.
///
/// | rule | |
/// | --- | --- |
/// | share | `P` partitions over `n` consumers: each has `P / n`, and the first `P % n` by their id have one more |
/// | who has too many | lets the highest-numbered go |
/// | who has too few | takes free ones, never somebody else's |
/// | who is not among the live (it was asked to drain) | lets all go |
///
/// All consumers compute the same shares from the same snapshot, so any two differ by one at the most once they agree.
#[must_use]
pub fn plan(partitions: &BTreeMap<u16, Held>, live: &BTreeSet<Uuid>, me: Uuid) -> Plan {
    let rank = live.iter().position(|id| *id == me);
    let share =
        rank.map_or(0, |rank| partitions.len() / live.len() + usize::from(rank < partitions.len() % live.len()));
    let mine: Vec<u16> = partitions.iter().filter(|(_, held)| **held == Held::By(me)).map(|(p, _)| *p).collect();
    Plan { release: mine.iter().copied().skip(share).collect(), acquire: share.saturating_sub(mine.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_frozen() {
        let products = [0_u128, 1, 2, 0x0190_0000_0000_7000_8000_0000_0000_0001, u128::MAX];
        let found: Vec<u16> = products.iter().map(|p| partition_of(Uuid::from_u128(*p), 8)).collect();
        assert_eq!(found, [3, 0, 7, 3, 3]);
    }

    #[test]
    fn sequential_ids_spread_evenly() {
        let mut counts = [0_u32; 16];
        for n in 0..16_000_u128 {
            counts[usize::from(partition_of(Uuid::from_u128(0x0190_abcd << 96 | n), 16))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_consumer_that_drains_lets_all_go_and_the_others_take_it() {
        let (drains, stays) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut partitions: BTreeMap<u16, Held> =
            (0..4).map(|p| (p, Held::By(if p < 2 { drains } else { stays }))).collect();
        let live = BTreeSet::from([stays]);
        assert_eq!(plan(&partitions, &live, drains), Plan { release: vec![0, 1], acquire: 0 });
        partitions.insert(0, Held::Free);
        assert_eq!(plan(&partitions, &live, stays), Plan { release: vec![], acquire: 2 });
        assert_eq!(
            plan(&partitions, &BTreeSet::new(), stays),
            Plan { release: vec![2, 3], acquire: 0 },
            "nobody is left"
        );
    }

    fn simulate(partitions: &mut BTreeMap<u16, Held>, live: &BTreeSet<Uuid>) {
        for held in partitions.values_mut() {
            if matches!(held, Held::By(owner) if !live.contains(owner)) {
                *held = Held::Free;
            }
        }
        for _ in 0..3 {
            for me in live {
                let plan = plan(partitions, live, *me);
                for p in plan.release {
                    partitions.insert(p, Held::Free);
                }
                let free: Vec<u16> =
                    partitions.iter().filter(|(_, h)| **h == Held::Free).map(|(p, _)| *p).take(plan.acquire).collect();
                for p in free {
                    partitions.insert(p, Held::By(*me));
                }
            }
        }
    }

    #[test]
    fn any_two_consumers_differ_by_one_at_most_whoever_comes_and_goes() {
        let mut partitions: BTreeMap<u16, Held> = (0..8).map(|p| (p, Held::Free)).collect();
        for live in [vec![1], vec![1, 2], vec![1, 2, 3], vec![2, 3], vec![2, 3, 4, 5, 6, 7, 8, 9, 10], vec![9]] {
            let live: BTreeSet<Uuid> = live.into_iter().map(Uuid::from_u128).collect();
            simulate(&mut partitions, &live);
            let counts: Vec<usize> =
                live.iter().map(|id| partitions.values().filter(|h| **h == Held::By(*id)).count()).collect();
            assert_eq!(counts.iter().sum::<usize>(), 8, "{counts:?}");
            assert!(counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1, "{counts:?}");
        }
    }
}
