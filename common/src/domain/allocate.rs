//! From which warehouses a line is served. Pure and stable: the same levels give the same pieces.

use uuid::Uuid;

use super::StockLevel;

/// A part of a line served from one warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub warehouse: Uuid,
    pub quantity: i64,
}

/// Serves `quantity` from `levels`, which are in the order of preference. `None` where they hold too little together.
///
/// | levels available | asked | served from |
/// | --- | --- | --- |
/// | 3, 5 | 3 | first: 3 |
/// | 3, 5 | 5 | second: 5 (one warehouse that has all) |
/// | 3, 5 | 6 | second: 5, first: 1 (the fewest warehouses: fullest first) |
/// | 3, 5 | 9 | none |
#[must_use]
pub fn allocate(levels: &[StockLevel], quantity: i64) -> Option<Vec<Piece>> {
    if let Some(level) = levels.iter().find(|level| level.available() >= quantity) {
        return Some(vec![Piece { warehouse: level.warehouse, quantity }]);
    }
    let mut fullest_first: Vec<&StockLevel> = levels.iter().collect();
    fullest_first.sort_by_key(|level| std::cmp::Reverse(level.available()));
    let mut missing = quantity;
    let mut pieces = Vec::new();
    for level in fullest_first {
        let taken = level.available().min(missing);
        if taken > 0 {
            pieces.push(Piece { warehouse: level.warehouse, quantity: taken });
            missing -= taken;
        }
    }
    (missing == 0).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_documentation_holds() {
        let level =
            |id, on_hand, reserved| StockLevel { warehouse: Uuid::from_u128(id), on_hand, reserved, version: 0 };
        let levels = [level(1, 4, 1), level(2, 5, 0)];
        let piece = |id, quantity| Piece { warehouse: Uuid::from_u128(id), quantity };
        for (asked, expected) in [
            (3, Some(vec![piece(1, 3)])),
            (5, Some(vec![piece(2, 5)])),
            (6, Some(vec![piece(2, 5), piece(1, 1)])),
            (9, None),
        ] {
            assert_eq!(allocate(&levels, asked), expected, "asked {asked}");
        }
        assert_eq!(allocate(&[], 1), None);
    }
}
