//! The decision of an operator's change of stock.

use serde::{Deserialize, Serialize};

use super::{BACKORDERS, Cause, ChangeStock, Movement, ON_HAND_MAX, StockChangeKind, TransferStock, View};

/// What came of a [`ChangeStock`], a [`TransferStock`] or a [`super::SetBackorders`]. Where several refusals hold, the first of this list is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum StockOutcome {
    /// The row afterwards.
    Changed {
        on_hand: i64,
        reserved: i64,
        version: i64,
    },
    /// Both rows afterwards.
    Transferred {
        from: Row,
        to: Row,
    },
    UnknownProduct,
    /// It has no stock of its own.
    IsBundle,
    UnknownWarehouse,
    /// For backorders: more is promised than the cap would be.
    BelowPromised {
        promised: i64,
        version: i64,
    },
    /// More is taken than is available, the row being as told.
    Short {
        requested: i64,
        on_hand: i64,
        reserved: i64,
        version: i64,
    },
    /// There would be more than [`ON_HAND_MAX`], the row being as told.
    TooMuch {
        on_hand: i64,
        reserved: i64,
        version: i64,
    },
}

/// A stock row as an outcome tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub on_hand: i64,
    pub reserved: i64,
    pub version: i64,
}

pub(super) fn change(view: &mut View, change: &ChangeStock, moved: &mut Vec<Movement>) -> StockOutcome {
    let ChangeStock { variant_id: variant, warehouse_id: warehouse, kind, .. } = *change;
    match view.stock.variant(variant) {
        Some(known) if known.product == change.product_id => {}
        Some(_) | None => return StockOutcome::UnknownProduct,
    }
    if view.stock.variant(variant).is_some_and(|known| !known.components.is_empty()) {
        return StockOutcome::IsBundle;
    }
    if warehouse == BACKORDERS {
        return StockOutcome::UnknownWarehouse;
    }
    let Some(level) = view.stock.level(variant, warehouse) else {
        // What is added to has a row; of what has none there is nothing to take.
        let known = view.warehouses.contains_key(&warehouse) && change.quantity < 0;
        let requested = change.quantity.saturating_neg();
        let short = StockOutcome::Short { requested, on_hand: 0, reserved: 0, version: 0 };
        return if known { short } else { StockOutcome::UnknownWarehouse };
    };
    let (on_hand, reserved, version) = (level.on_hand, level.reserved, level.version);
    let quantity = if kind == StockChangeKind::Count { change.quantity - on_hand } else { change.quantity };
    if quantity == 0 {
        return StockOutcome::Changed { on_hand, reserved, version };
    }
    if level.available().saturating_add(quantity) < 0 {
        return StockOutcome::Short { requested: quantity.saturating_neg(), on_hand, reserved, version };
    }
    if on_hand.saturating_add(quantity) > ON_HAND_MAX {
        return StockOutcome::TooMuch { on_hand, reserved, version };
    }
    let version = view.stock.change(variant, warehouse, quantity, 0).unwrap_or_default();
    let cause = match kind {
        StockChangeKind::Adjust | StockChangeKind::Count => Cause::Adjusted,
        StockChangeKind::Deduct => Cause::Deducted,
        StockChangeKind::Restore => Cause::Restored,
    };
    moved.push(Movement { variant, warehouse, version, cause, on_hand: quantity, reserved: 0, order: None });
    StockOutcome::Changed { on_hand: on_hand + quantity, reserved, version }
}

/// Refused as taking it away from the one warehouse would be, then as adding it to the other would be.
pub(super) fn transfer(view: &mut View, transfer: &TransferStock, moved: &mut Vec<Movement>) -> StockOutcome {
    let TransferStock { variant_id: variant, from_id, to_id, quantity, .. } = *transfer;
    match view.stock.variant(variant) {
        Some(known) if known.product == transfer.product_id => {}
        Some(_) | None => return StockOutcome::UnknownProduct,
    }
    if view.stock.variant(variant).is_some_and(|known| !known.components.is_empty()) {
        return StockOutcome::IsBundle;
    }
    if [from_id, to_id].contains(&BACKORDERS) {
        return StockOutcome::UnknownWarehouse;
    }
    // Where a warehouse is known, so is its row: it is opened before, save of a variant of this very batch.
    let (Some(from), Some(to)) = (view.stock.level(variant, from_id), view.stock.level(variant, to_id)) else {
        return StockOutcome::UnknownWarehouse;
    };
    if from.available() < quantity {
        let (on_hand, reserved, version) = (from.on_hand, from.reserved, from.version);
        return StockOutcome::Short { requested: quantity, on_hand, reserved, version };
    }
    if to.on_hand.saturating_add(quantity) > ON_HAND_MAX {
        return StockOutcome::TooMuch { on_hand: to.on_hand, reserved: to.reserved, version: to.version };
    }
    for (warehouse, on_hand) in [(from_id, -quantity), (to_id, quantity)] {
        let version = view.stock.change(variant, warehouse, on_hand, 0).unwrap_or_default();
        let cause = Cause::Transferred;
        moved.push(Movement { variant, warehouse, version, cause, on_hand, reserved: 0, order: None });
    }
    let row = |warehouse| {
        view.stock.level(variant, warehouse).map_or(Row { on_hand: 0, reserved: 0, version: 0 }, |level| Row {
            on_hand: level.on_hand,
            reserved: level.reserved,
            version: level.version,
        })
    };
    StockOutcome::Transferred { from: row(from_id), to: row(to_id) }
}
