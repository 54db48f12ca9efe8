//! What is ordered: products, how many of each there are, and the bodies of requests.

use clap::ValueEnum;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use uuid::Uuid;

/// Products of a store that orders are spread over.
pub(crate) const PRODUCTS: usize = 10_000;
/// Exponent of the skewed scenario: the most wanted product gets about a tenth of the orders.
const ZIPF_EXPONENT: f64 = 1.0;
/// Most lines of a cart.
const CART_LINES_MAX: usize = 5;

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Everybody wants the same product
    Hot,
    /// Everybody wants another of 10,000 products
    Spread,
    /// Some products are wanted more than others, as 1/rank
    Zipf,
    /// 1 to 5 lines, of products of all partitions
    Carts,
    /// There is stock for 1 % of the orders
    Soldout,
    /// Reserved, then paid: two decisions
    Deferred,
}

impl Kind {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether an order is paid after it was placed.
    pub(crate) fn is_paid_later(self) -> bool {
        self == Self::Deferred
    }
}

/// The orders of one client, one after the other.
pub(crate) struct Orders {
    kind: Kind,
    products: std::sync::Arc<Products>,
    rng: SmallRng,
}

/// The products of the store, by how much they are wanted.
pub(crate) struct Products {
    pub(crate) ids: Vec<Uuid>,
    /// The one there is little of.
    pub(crate) scarce: Uuid,
    skew: WeightedIndex<f64>,
}

impl Products {
    pub(crate) fn new(ids: Vec<Uuid>, scarce: Uuid) -> anyhow::Result<Self> {
        let weights =
            (1..=ids.len()).map(|rank| 1.0 / f64::from(u32::try_from(rank).unwrap_or(u32::MAX)).powf(ZIPF_EXPONENT));
        Ok(Self { skew: WeightedIndex::new(weights)?, ids, scarce })
    }
}

impl Orders {
    pub(crate) fn new(kind: Kind, products: std::sync::Arc<Products>, client: usize) -> Self {
        Self { kind, products, rng: SmallRng::seed_from_u64(client as u64) }
    }

    /// The body of the next one.
    pub(crate) fn next(&mut self) -> String {
        let any = |rng: &mut SmallRng, ids: &[Uuid]| ids[rng.random_range(0..ids.len())];
        let ids = &self.products.ids;
        let wanted: Vec<Uuid> = match self.kind {
            Kind::Hot => vec![ids[0]],
            Kind::Soldout => vec![self.products.scarce],
            Kind::Spread | Kind::Deferred => vec![any(&mut self.rng, ids)],
            Kind::Zipf => vec![ids[self.products.skew.sample(&mut self.rng)]],
            Kind::Carts => {
                let lines = self.rng.random_range(1..=CART_LINES_MAX);
                let mut wanted: Vec<Uuid> = (0..lines).map(|_| any(&mut self.rng, ids)).collect();
                wanted.sort_unstable();
                wanted.dedup();
                wanted
            }
        };
        let items: Vec<String> = wanted.iter().map(|id| format!(r#"{{"productId":"{id}","qty":1}}"#)).collect();
        let payment = if self.kind.is_paid_later() { r#","payment":"deferred""# } else { "" };
        format!(r#"{{"items":[{}]{payment}}}"#, items.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_store_has_a_favourite_and_a_cart_names_no_product_twice() {
        let ids: Vec<Uuid> = (1..=1_000).map(Uuid::from_u128).collect();
        let products = std::sync::Arc::new(Products::new(ids.clone(), Uuid::max()).expect("weights"));
        let mut zipf = Orders::new(Kind::Zipf, products.clone(), 7);
        let favourite = ids[0].to_string();
        let of_favourite = (0..10_000).filter(|_| zipf.next().contains(&favourite)).count();
        assert!((1_000..2_000).contains(&of_favourite), "1/H(1000) is 13 %: {of_favourite}");
        let mut carts = Orders::new(Kind::Carts, products, 7);
        for _ in 0..1_000 {
            let cart: serde_json::Value = serde_json::from_str(&carts.next()).expect("JSON");
            let mut named: Vec<&str> =
                cart["items"].as_array().into_iter().flatten().filter_map(|item| item["productId"].as_str()).collect();
            let lines = named.len();
            named.dedup();
            assert!((1..=CART_LINES_MAX).contains(&lines) && named.len() == lines, "{cart}");
        }
    }
}
