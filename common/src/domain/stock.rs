//! The stock that a batch has locked, as the core sees and changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{Backorders, Component, Day, Money, SeenVersion};

/// A warehouse as far as the core cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// 1 to [`super::ZONE_MAX`]; never changes.
    pub zone: u16,
    /// Whether orders are served from it.
    pub open: bool,
}

impl Site {
    /// From a zone; none where there is no destination.
    #[must_use]
    pub fn distance(self, destination: Option<u16>) -> u16 {
        destination.map_or(0, |zone| zone.abs_diff(self.zone))
    }
}

/// Stock of one variant in one warehouse. `0 <= reserved <= on_hand` always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLevel {
    pub warehouse: Uuid,
    pub site: Site,
    pub on_hand: i64,
    pub reserved: i64,
    /// Grows by one with each change.
    pub version: i64,
}

impl StockLevel {
    /// What is neither sold nor reserved.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }

    /// What can be ordered from here.
    #[must_use]
    pub fn offered(&self) -> i64 {
        if self.site.open { self.available() } else { 0 }
    }
}

/// What a decision needs to know of one variant: its catalogue entry and its stock in every warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantView {
    pub product: Uuid,
    pub name: Arc<str>,
    pub sku: Arc<str>,
    pub price: Money,
    pub deleted: bool,
    /// At so much or less that is offered it is low.
    pub low_at: Option<i64>,
    /// Of what it is a bundle; empty where it is none.
    pub components: Arc<[Component]>,
    /// By warehouse.
    pub levels: Vec<StockLevel>,
    /// What may be sold of it before it is there. Once there was a rule it has one for ever, if only to take no more.
    pub backorders: Option<Backorders>,
}

impl VariantView {
    /// One that is sold, without stock.
    #[must_use]
    pub fn new(product: Uuid, name: Arc<str>, sku: Arc<str>, price: Money) -> Self {
        Self {
            product,
            name,
            sku,
            price,
            deleted: false,
            low_at: None,
            components: Arc::default(),
            levels: Vec::new(),
            backorders: None,
        }
    }

    /// Its stock rows that orders are served from.
    pub(super) fn offers(&self) -> impl Iterator<Item = &StockLevel> {
        self.levels.iter().filter(|level| level.site.open)
    }

    /// The version of each of them, and of that of its backorders.
    pub(super) fn versions(&self) -> Vec<SeenVersion> {
        let promise = self.backorders.as_ref().map(|backorders| &backorders.level);
        let seen = |level: &StockLevel| SeenVersion { warehouse_id: level.warehouse, version: level.version };
        self.offers().chain(promise).map(seen).collect()
    }

    fn level(&self, warehouse: Uuid) -> Option<&StockLevel> {
        let promise = self.backorders.as_ref().map(|backorders| &backorders.level);
        self.levels.iter().chain(promise).find(|level| level.warehouse == warehouse)
    }

    fn level_mut(&mut self, warehouse: Uuid) -> Option<&mut StockLevel> {
        let promise = self.backorders.as_mut().map(|backorders| &mut backorders.level);
        self.levels.iter_mut().chain(promise).find(|level| level.warehouse == warehouse)
    }
}

/// Everything that the decisions of one batch may look at and change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockView {
    variants: BTreeMap<Uuid, VariantView>,
    /// SKUs of this batch's new products that the catalogue already has, or that an earlier command of the batch took.
    skus_taken: BTreeSet<Arc<str>>,
    changed: BTreeSet<(Uuid, Uuid)>,
    /// What was offered, before the decision at hand, of those variants it has changed that may become low.
    before: BTreeMap<Uuid, i64>,
}

/// A decision that has taken a variant from above its threshold to it or below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    pub variant: Uuid,
    pub threshold: i64,
    /// Offered afterwards.
    pub available: i64,
}

/// The new state of one stock row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockChange {
    pub variant: Uuid,
    pub warehouse: Uuid,
    pub on_hand: i64,
    pub reserved: i64,
    pub version: i64,
}

impl StockView {
    pub fn insert(&mut self, variant: Uuid, mut view: VariantView) {
        view.levels.sort_unstable_by_key(|level| level.warehouse);
        self.variants.insert(variant, view);
    }

    pub fn take_sku(&mut self, sku: Arc<str>) {
        self.skus_taken.insert(sku);
    }

    #[must_use]
    pub fn sku_is_taken(&self, sku: &str) -> bool {
        self.skus_taken.contains(sku)
    }

    #[must_use]
    pub fn variant(&self, id: Uuid) -> Option<&VariantView> {
        self.variants.get(&id)
    }

    /// Changes one stock row; answers with its new version. The caller has seen that it may: `0 <= reserved <= on_hand`
    /// holds afterwards.
    pub(super) fn change(&mut self, variant: Uuid, warehouse: Uuid, on_hand: i64, reserved: i64) -> Option<i64> {
        let view = self.variants.get_mut(&variant)?;
        if view.low_at.is_some() {
            self.before.entry(variant).or_insert_with(|| view.offered());
        }
        let level = view.level_mut(warehouse)?;
        level.on_hand += on_hand;
        level.reserved += reserved;
        debug_assert!(0 <= level.reserved && level.reserved <= level.on_hand, "I-1: {level:?}");
        level.version += 1;
        self.changed.insert((variant, warehouse));
        Some(level.version)
    }

    /// The thresholds that the decisions since this was last asked have crossed together: what goes down and up again has not.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        let crossing = |(variant, before): (Uuid, i64)| {
            let view = self.variants.get(&variant)?;
            let (threshold, available) = (view.low_at?, view.offered());
            (before > threshold && available <= threshold).then_some(Crossing { variant, threshold, available })
        };
        std::mem::take(&mut self.before).into_iter().filter_map(crossing).collect()
    }

    /// A stock row of a variant that is known, or `None`.
    #[must_use]
    pub fn level(&self, variant: Uuid, warehouse: Uuid) -> Option<&StockLevel> {
        self.variants.get(&variant)?.level(warehouse)
    }

    /// What of a variant may be sold before it is there.
    pub(super) fn set_backorders(&mut self, variant: Uuid, cap: i64, expected_on: Option<Day>, open: bool) {
        let Some(view) = self.variants.get_mut(&variant) else { return };
        if view.low_at.is_some() {
            self.before.entry(variant).or_insert_with(|| view.offered());
        }
        {
            let backorders = view.backorders.get_or_insert_with(Backorders::none);
            (backorders.cap, backorders.expected_on, backorders.level.site.open) = (cap, expected_on, open);
        }
    }

    /// The rows that the decisions so far have changed, in the fixed order of locks.
    pub fn changes(&self) -> impl Iterator<Item = StockChange> + '_ {
        self.changed.iter().filter_map(|&(variant, warehouse)| {
            let level = self.variants.get(&variant)?.level(warehouse)?;
            Some(StockChange {
                variant,
                warehouse,
                on_hand: level.on_hand,
                reserved: level.reserved,
                version: level.version,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Currency;

    #[test]
    fn a_threshold_is_crossed_once_each_time_and_not_by_what_comes_back_in_the_same_decision() {
        let (variant, here, there) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let level = |warehouse| {
            let site = Site { zone: 1, open: true };
            StockLevel { warehouse, site, on_hand: 4, reserved: 0, version: 0 }
        };
        let mut stock = StockView::default();
        let price = Money { amount: 1, currency: Currency::try_from("EUR").expect("a currency") };
        let levels = vec![level(here), level(there)];
        let view = VariantView::new(variant, "n".into(), "s".into(), price);
        stock.insert(variant, VariantView { low_at: Some(5), levels, ..view });
        const NONE: [i64; 0] = [];
        let mut decide = |changes: &[(Uuid, i64, i64)]| -> Vec<i64> {
            for (warehouse, on_hand, reserved) in changes {
                stock.change(variant, *warehouse, *on_hand, *reserved);
            }
            stock.take_crossings().into_iter().map(|crossing| crossing.available).collect()
        };
        assert_eq!(decide(&[(here, -2, 0)]), NONE, "6 are left");
        assert_eq!(decide(&[(here, -2, 0), (there, 2, 0)]), NONE, "moved");
        assert_eq!(decide(&[(there, 0, 1)]), [5], "reserved");
        assert_eq!(decide(&[(there, -1, 0)]), NONE, "lower still");
        assert_eq!(decide(&[(here, 5, 0)]), NONE, "up");
        assert_eq!(decide(&[(here, -5, 0)]), [4], "down again");
    }
}
