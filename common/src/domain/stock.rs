//! The stock that a batch has locked, as the core sees and changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{Money, SeenVersion};

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
    /// By warehouse.
    pub levels: Vec<StockLevel>,
}

impl VariantView {
    /// Its stock rows that orders are served from.
    pub(super) fn offers(&self) -> impl Iterator<Item = &StockLevel> {
        self.levels.iter().filter(|level| level.site.open)
    }

    /// The version of each of them.
    pub(super) fn versions(&self) -> Vec<SeenVersion> {
        self.offers().map(|level| SeenVersion { warehouse_id: level.warehouse, version: level.version }).collect()
    }
}

/// Everything that the decisions of one batch may look at and change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockView {
    variants: BTreeMap<Uuid, VariantView>,
    /// SKUs of this batch's new products that the catalogue already has, or that an earlier command of the batch took.
    skus_taken: BTreeSet<Arc<str>>,
    changed: BTreeSet<(Uuid, Uuid)>,
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
    pub fn insert(&mut self, variant: Uuid, view: VariantView) {
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
        let levels = &mut self.variants.get_mut(&variant)?.levels;
        let level = levels.iter_mut().find(|level| level.warehouse == warehouse)?;
        level.on_hand += on_hand;
        level.reserved += reserved;
        debug_assert!(0 <= level.reserved && level.reserved <= level.on_hand, "I-1: {level:?}");
        level.version += 1;
        self.changed.insert((variant, warehouse));
        Some(level.version)
    }

    /// A stock row of a variant that is known, or `None`.
    #[must_use]
    pub fn level(&self, variant: Uuid, warehouse: Uuid) -> Option<&StockLevel> {
        self.variants.get(&variant)?.levels.iter().find(|level| level.warehouse == warehouse)
    }

    /// The rows that the decisions so far have changed, in the fixed order of locks.
    pub fn changes(&self) -> impl Iterator<Item = StockChange> + '_ {
        self.changed.iter().filter_map(|&(variant, warehouse)| {
            let level = self.variants.get(&variant)?.levels.iter().find(|level| level.warehouse == warehouse)?;
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
