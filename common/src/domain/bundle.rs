//! Bundles: variants that have no stock of their own and draw on that of their components.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most components of a bundle.
pub const COMPONENTS_MAX: usize = 20;

/// Most pieces of one component in a bundle.
pub const COMPONENT_QUANTITY_MAX: i32 = 1_000;

/// Of what a bundle has so many pieces. Itself no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    pub product_id: Uuid,
    pub variant_id: Uuid,
    /// 1 to [`COMPONENT_QUANTITY_MAX`].
    #[serde(rename = "qty")]
    pub quantity: i32,
}

/// What bundles are made of. It never changes: what is made of anything else is another bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundles(BTreeMap<Uuid, Arc<[Component]>>);

impl Bundles {
    pub fn insert(&mut self, bundle: Uuid, components: Vec<Component>) {
        self.0.insert(bundle, components.into());
    }

    /// Nothing of what is no bundle.
    #[must_use]
    pub fn of(&self, variant: Uuid) -> Arc<[Component]> {
        self.0.get(&variant).cloned().unwrap_or_default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that they are made of.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.0.values().flat_map(|components| components.iter())
    }

    /// The stock that so many pieces of a variant draw on, be it a bundle or not.
    pub fn draw(&self, variant: Uuid, quantity: i64) -> Vec<(Uuid, i64)> {
        draw(variant, self.0.get(&variant).map_or(&[], |components| components), quantity)
    }
}

/// The stock that so many pieces of a variant with these components draw on: on its own, where there are none.
pub(super) fn draw(variant: Uuid, components: &[Component], quantity: i64) -> Vec<(Uuid, i64)> {
    if components.is_empty() {
        return vec![(variant, quantity)];
    }
    let pieces = |component: &Component| quantity.saturating_mul(i64::from(component.quantity));
    components.iter().map(|component| (component.variant_id, pieces(component))).collect()
}
