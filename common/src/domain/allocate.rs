//! From which warehouses an order is served. Pure and stable: the same levels give the same pieces.

use uuid::Uuid;

use super::StockLevel;

/// Up to so many warehouses are compared in every combination; of more the fewest are looked for greedily.
const COMPARED_MAX: usize = 10;

/// A part of a line served from one warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub warehouse: Uuid,
    pub quantity: i64,
}

/// A line of an order with the stock rows that may serve it, sorted by warehouse.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub levels: &'a [StockLevel],
    pub quantity: i64,
}

/// Serves all lines of an order, from open warehouses only; answers with each line's pieces, or with the numbers of the lines
/// that all open warehouses together have too little for.
///
/// | rule | |
/// | --- | --- |
/// | 1 | one warehouse that has all of it, if there is one |
/// | 2 | else the fewest warehouses that have it together |
/// | 3 | of several such choices the nearest: the least sum of distances from the `destination`'s zone |
/// | 4 | of several as near the first by distance, then by id |
/// | 5 | each line is served from the nearest of the chosen ones first |
///
/// Distance is the difference of zones, and 0 where there is no destination. With more than 10 warehouses that have some of it, and
/// none that has all, rule 2 is followed greedily: whichever adds most, then without those that turn out not to be needed.
///
/// # Errors
/// The numbers of the lines that are short, if any is.
pub fn allocate(lines: &[Wanted<'_>], destination: Option<u16>) -> Result<Vec<Vec<Piece>>, Vec<usize>> {
    let short = lines.iter().enumerate().filter(|(_, line)| offered(line.levels) < line.quantity);
    let short: Vec<usize> = short.map(|(n, _)| n).collect();
    if !short.is_empty() {
        return Err(short);
    }
    // Most orders are of one line, and most lines in one place.
    if let [line] = lines
        && let Some(level) = nearest(line, destination)
    {
        return Ok(vec![vec![Piece { warehouse: level.warehouse, quantity: line.quantity }]]);
    }
    let sites = Sites::of(lines, destination);
    let chosen = sites.fewest(lines);
    Ok(lines.iter().enumerate().map(|(n, line)| sites.serve(n, line.quantity, &chosen)).collect())
}

/// The nearest that has all of a line.
fn nearest<'a>(line: &Wanted<'a>, destination: Option<u16>) -> Option<&'a StockLevel> {
    let whole = line.levels.iter().filter(|level| level.offered() >= line.quantity);
    whole.min_by_key(|level| (level.site.distance(destination), level.warehouse))
}

/// What can be ordered of a variant, over all open warehouses.
#[must_use]
pub fn offered(levels: &[StockLevel]) -> i64 {
    levels.iter().map(StockLevel::offered).sum()
}

/// The warehouses that have some of it, nearest first.
struct Sites {
    near: Vec<(u16, Uuid)>,
    /// What each of them offers, per line.
    offers: Vec<Vec<i64>>,
}

impl Sites {
    fn of(lines: &[Wanted<'_>], destination: Option<u16>) -> Self {
        let levels = lines.iter().flat_map(|line| line.levels).filter(|level| level.offered() > 0);
        let mut near: Vec<(u16, Uuid)> =
            levels.map(|level| (level.site.distance(destination), level.warehouse)).collect();
        near.sort_unstable();
        near.dedup();
        let offer = |line: &Wanted<'_>, warehouse| {
            let found = line.levels.binary_search_by_key(&warehouse, |level| level.warehouse);
            found.ok().and_then(|n| line.levels.get(n)).map_or(0, StockLevel::offered)
        };
        let offers = lines.iter().map(|line| near.iter().map(|(_, warehouse)| offer(line, *warehouse)).collect());
        Self { offers: offers.collect(), near }
    }

    /// The fewest and nearest that have enough of every line.
    fn fewest(&self, lines: &[Wanted<'_>]) -> Vec<usize> {
        let enough = |chosen: &[usize]| {
            let has = |offers: &Vec<i64>| chosen.iter().filter_map(|site| offers.get(*site)).sum::<i64>();
            self.offers.iter().zip(lines).all(|(offers, line)| has(offers) >= line.quantity)
        };
        // Nearest first, so the first one is the nearest.
        if let Some(site) = (0..self.near.len()).find(|site| enough(&[*site])) {
            return vec![site];
        }
        if self.near.len() > COMPARED_MAX { self.greedily(lines, enough) } else { self.compared(enough) }
    }

    fn compared(&self, enough: impl Fn(&[usize]) -> bool) -> Vec<usize> {
        let distance = |chosen: &[usize]| -> u32 {
            chosen.iter().filter_map(|site| self.near.get(*site)).map(|(distance, _)| u32::from(*distance)).sum()
        };
        for count in 2..=self.near.len() {
            let mut best: Option<(u32, Vec<usize>)> = None;
            let mut chosen: Vec<usize> = (0..count).collect();
            loop {
                let distance = distance(&chosen);
                if best.as_ref().is_none_or(|(least, _)| distance < *least) && enough(&chosen) {
                    best = Some((distance, chosen.clone()));
                }
                if !next_combination(&mut chosen, self.near.len()) {
                    break;
                }
            }
            if let Some((_, chosen)) = best {
                return chosen;
            }
        }
        (0..self.near.len()).collect()
    }

    fn greedily(&self, lines: &[Wanted<'_>], enough: impl Fn(&[usize]) -> bool) -> Vec<usize> {
        let mut missing: Vec<i64> = lines.iter().map(|line| line.quantity).collect();
        let mut left: Vec<usize> = (0..self.near.len()).collect();
        let mut chosen = Vec::new();
        let adds = |missing: &[i64], site: usize| -> i64 {
            let of = |(offers, missing): (&Vec<i64>, &i64)| offers.get(site).map_or(0, |offer| *offer.min(missing));
            self.offers.iter().zip(missing).map(of).sum()
        };
        while missing.iter().any(|missing| *missing > 0) {
            // The first of those that add most: the nearest.
            let most = left.iter().enumerate().rev().max_by_key(|(_, site)| adds(&missing, **site));
            let Some(site) = most.map(|(n, _)| n).map(|n| left.remove(n)) else { break };
            for (missing, offers) in missing.iter_mut().zip(&self.offers) {
                *missing -= offers.get(site).map_or(0, |offer| *offer.min(missing));
            }
            chosen.push(site);
        }
        chosen.sort_unstable();
        for site in chosen.clone().into_iter().rev() {
            let without: Vec<usize> = chosen.iter().copied().filter(|known| *known != site).collect();
            if enough(&without) {
                chosen = without;
            }
        }
        chosen
    }

    /// The pieces of one line, from the nearest of the chosen on.
    fn serve(&self, line: usize, quantity: i64, chosen: &[usize]) -> Vec<Piece> {
        let mut missing = quantity;
        let mut pieces = Vec::new();
        for site in chosen {
            let offer = self.offers.get(line).and_then(|offers| offers.get(*site)).copied().unwrap_or_default();
            let taken = offer.min(missing);
            if let (1.., Some((_, warehouse))) = (taken, self.near.get(*site)) {
                pieces.push(Piece { warehouse: *warehouse, quantity: taken });
                missing -= taken;
            }
        }
        pieces
    }
}

/// The next choice of as many out of `0..of`, in lexicographic order; whether there is one.
fn next_combination(chosen: &mut [usize], of: usize) -> bool {
    let count = chosen.len();
    let movable = |n: usize, site: usize| site + count - n < of;
    let Some(n) = chosen.iter().enumerate().rev().find(|(n, site)| movable(*n, **site)).map(|(n, _)| n) else {
        return false;
    };
    let first = chosen[n] + 1;
    for (chosen, next) in chosen[n..].iter_mut().zip(first..) {
        *chosen = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Site;

    fn level(id: usize, zone: u16, available: i64) -> StockLevel {
        let warehouse = Uuid::from_u128(u128::try_from(id).expect("small") + 1);
        // What is reserved is not offered.
        StockLevel { warehouse, site: Site { zone, open: true }, on_hand: available + 1, reserved: 1, version: 0 }
    }

    /// Lines as (asked, available in warehouse 1, 2, 3, ...).
    fn served(
        lines: &[(i64, &[i64])],
        zones: &[u16],
        destination: Option<u16>,
    ) -> Result<Vec<Vec<(u128, i64)>>, Vec<usize>> {
        let levels: Vec<Vec<StockLevel>> = lines
            .iter()
            .map(|(_, offers)| (0..).zip(offers.iter().zip(zones)).map(|(n, (o, z))| level(n, *z, *o)).collect())
            .collect();
        let wanted: Vec<Wanted<'_>> =
            lines.iter().zip(&levels).map(|((quantity, _), levels)| Wanted { levels, quantity: *quantity }).collect();
        let plain = |pieces: Vec<Piece>| pieces.iter().map(|p| (p.warehouse.as_u128(), p.quantity)).collect();
        allocate(&wanted, destination).map(|lines| lines.into_iter().map(plain).collect())
    }

    #[test]
    fn each_rule_chooses_as_documented() {
        for (why, lines, zones, destination, expected) in [
            ("the first that has all", &[(3, &[3, 5][..])][..], &[1, 1][..], None, Ok(vec![vec![(1, 3)]])),
            ("the only one that has all", &[(5, &[3, 5])], &[1, 1], None, Ok(vec![vec![(2, 5)]])),
            ("the nearest that has all", &[(3, &[3, 5])], &[1, 4], Some(5), Ok(vec![vec![(2, 3)]])),
            ("both, the nearest first", &[(6, &[3, 5])], &[1, 4], Some(5), Ok(vec![vec![(2, 5), (1, 1)]])),
            ("more than there is", &[(1, &[3, 5]), (9, &[3, 5])], &[1, 1], None, Err(vec![1])),
            (
                "one that has every line before nearer ones that have some",
                &[(2, &[2, 0, 2]), (2, &[0, 2, 2])],
                &[1, 1, 9],
                Some(1),
                Ok(vec![vec![(3, 2)], vec![(3, 2)]]),
            ),
            (
                "two before three, though three are nearer",
                &[(6, &[2, 2, 2, 3, 3])],
                &[1, 1, 1, 9, 9],
                Some(1),
                Ok(vec![vec![(4, 3), (5, 3)]]),
            ),
            ("the nearer two of several", &[(4, &[2, 2, 2])], &[9, 1, 2], Some(1), Ok(vec![vec![(2, 2), (3, 2)]])),
            (
                "the first by id of several as near",
                &[(4, &[2, 2, 2])],
                &[1, 1, 1],
                Some(3),
                Ok(vec![vec![(1, 2), (2, 2)]]),
            ),
            (
                "three where it takes three",
                &[(1, &[1, 0, 0]), (1, &[0, 1, 0]), (1, &[0, 0, 1])],
                &[1, 2, 3],
                Some(2),
                Ok(vec![vec![(1, 1)], vec![(2, 1)], vec![(3, 1)]]),
            ),
        ] {
            assert_eq!(served(lines, zones, destination), expected, "{why}");
        }
    }

    #[test]
    fn a_closed_warehouse_serves_nothing() {
        let mut levels = [level(0, 1, 5), level(1, 1, 5)];
        levels[0].site.open = false;
        let pieces = |quantity| allocate(&[Wanted { levels: &levels, quantity }], None);
        assert_eq!(pieces(5), Ok(vec![vec![Piece { warehouse: levels[1].warehouse, quantity: 5 }]]));
        assert_eq!(pieces(6), Err(vec![0]));
    }

    #[test]
    fn what_is_in_no_warehouse_is_short() {
        assert_eq!(allocate(&[Wanted { levels: &[], quantity: 1 }], None), Err(vec![0]));
    }

    proptest! {
        #[test]
        fn every_line_is_served_in_full_from_what_is_there_by_no_more_warehouses_than_are_needed(
            offers in vec(vec(0..4_i64, 14), 1..4),
            sites in 1..14_usize,
            asked in vec(1..9_i64, 3),
            zones in vec(1..6_u16, 14),
        ) {
            let lines: Vec<(i64, &[i64])> = asked.iter().zip(&offers).map(|(a, o)| (*a, &o[..sites])).collect();
            let short: Vec<usize> =
                (0..).zip(&lines).filter(|(_, (a, o))| o.iter().sum::<i64>() < *a).map(|(n, _)| n).collect();
            let served = served(&lines, &zones, Some(3));
            prop_assert_eq!(served.as_ref().err().cloned().unwrap_or_default(), short);
            let Ok(served) = served else { return Ok(()) };
            let mut used = std::collections::BTreeSet::new();
            for ((asked, offers), pieces) in lines.iter().zip(&served) {
                prop_assert_eq!(pieces.iter().map(|(_, quantity)| quantity).sum::<i64>(), *asked);
                for (site, quantity) in pieces {
                    let offer = offers[usize::try_from(*site).expect("small") - 1];
                    prop_assert!(*quantity >= 1 && *quantity <= offer);
                    used.insert(usize::try_from(*site).expect("small") - 1);
                }
            }
            let enough = |of: &dyn Fn(usize) -> bool| lines.iter().all(|(asked, offers)| {
                (0..sites).filter(|site| of(*site)).map(|site| offers[site]).sum::<i64>() >= *asked
            });
            for site in &used {
                prop_assert!(!enough(&|known| used.contains(&known) && known != *site), "{} is not needed", site);
            }
            if sites <= COMPARED_MAX {
                let fewer = (0..1_u32 << sites).filter(|set| (set.count_ones() as usize) < used.len());
                for set in fewer {
                    prop_assert!(!enough(&|site| set & (1 << site) != 0), "{:b} would do", set);
                }
            }
        }
    }
}
