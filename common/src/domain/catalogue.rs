//! The decision of new products and variants, with their opening stock.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Cause, Component, CreateProduct, CreateVariant, Movement, ProductOutcome, Site, StockLevel, VariantView, View,
};

pub(super) fn create_product(
    view: &mut View,
    id: Uuid,
    product: &CreateProduct,
    moved: &mut Vec<Movement>,
) -> ProductOutcome {
    let site = match site(view, &product.sku, product.warehouse_id) {
        Ok(site) => site,
        Err(refused) => return refused,
    };
    let (name, sku) = (product.name.clone(), product.sku.clone());
    let is_component = |component: &Component| {
        let known = view.stock.variant(component.variant_id);
        known
            .is_some_and(|known| known.product == component.product_id && !known.deleted && known.components.is_empty())
    };
    if !product.components.iter().all(is_component) {
        return ProductOutcome::UnknownComponent;
    }
    let components = product.components.as_slice().into();
    let new = VariantView { components, ..VariantView::new(id, name, sku, product.price) };
    open(view, id, new, (product.warehouse_id, site, product.stock), moved)
}

pub(super) fn create_variant(
    view: &mut View,
    id: Uuid,
    variant: &CreateVariant,
    moved: &mut Vec<Movement>,
) -> ProductOutcome {
    let is_product = |known: &&VariantView| known.product == variant.product_id && !known.deleted;
    let Some(product) = view.stock.variant(variant.product_id).filter(is_product) else {
        return ProductOutcome::UnknownProduct;
    };
    let site = match site(view, &variant.sku, variant.warehouse_id) {
        Ok(site) => site,
        Err(refused) => return refused,
    };
    let price = variant.price.unwrap_or(product.price);
    if price.currency != product.price.currency {
        return ProductOutcome::OtherCurrency;
    }
    let (name, sku) = (Arc::from(variant_name(&product.name, &variant.options)), variant.sku.clone());
    let new = VariantView::new(variant.product_id, name, sku, price);
    open(view, id, new, (variant.warehouse_id, site, variant.stock), moved)
}

/// Where its first stock goes, if its SKU is free and the warehouse known.
fn site(view: &View, sku: &str, warehouse: Uuid) -> Result<Site, ProductOutcome> {
    if view.stock.sku_is_taken(sku) {
        return Err(ProductOutcome::SkuTaken);
    }
    view.warehouses.get(&warehouse).copied().ok_or(ProductOutcome::UnknownWarehouse)
}

/// How a variant is called on an order: `Trail shoe (black, 9)`.
#[must_use]
pub fn variant_name(product: &str, options: &BTreeMap<String, String>) -> String {
    if options.is_empty() {
        return product.to_owned();
    }
    format!("{product} ({})", options.values().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// Adds a variant with what is there of it at first.
fn open(
    view: &mut View,
    variant: Uuid,
    mut new: VariantView,
    (warehouse, site, on_hand): (Uuid, Site, i64),
    moved: &mut Vec<Movement>,
) -> ProductOutcome {
    view.stock.take_sku(new.sku.clone());
    new.levels.push(StockLevel { warehouse, site, on_hand: 0, reserved: 0, version: 0 });
    view.stock.insert(variant, new);
    if on_hand == 0 {
        return ProductOutcome::Created { stock_version: 0 };
    }
    let version = view.stock.change(variant, warehouse, on_hand, 0).unwrap_or_default();
    let cause = Cause::Received;
    moved.push(Movement { variant, warehouse, version, cause, on_hand, reserved: 0, order: None });
    ProductOutcome::Created { stock_version: version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Action, Command, Currency, Decision, Limits, Money, StockView, Timestamp, decide};

    const HERE: Uuid = Uuid::from_u128(100);
    const THERE: Uuid = Uuid::from_u128(200);

    fn money(amount: i64, currency: &str) -> Money {
        Money { amount, currency: Currency::try_from(currency).expect("a currency") }
    }

    fn view() -> View {
        let warehouses = BTreeMap::from([(HERE, Site { zone: 1, open: true })]);
        let (stock, orders, terms) = (StockView::default(), BTreeMap::new(), Arc::default());
        View { now: Timestamp::UNIX_EPOCH, stock, orders, warehouses, terms, limits: Limits::default() }
    }

    fn command(id: u128, action: Action) -> Command {
        let (id, account) = (Uuid::from_u128(id), Uuid::nil());
        Command { id, account, accepted_at: Timestamp::UNIX_EPOCH, idempotency: None, action }
    }

    fn product(sku: &str, warehouse_id: Uuid, stock: i64) -> Action {
        Action::CreateProduct(CreateProduct {
            name: "Shoe".into(),
            sku: sku.into(),
            description: None,
            price: money(1, "EUR"),
            stock,
            warehouse_id,
            category_id: None,
            components: Vec::new(),
        })
    }

    /// The outcome, and how much was received.
    fn outcome(view: &mut View, command: &Command) -> (ProductOutcome, i64) {
        match decide(view, command) {
            Decision::Product(outcome, moved) => (outcome, moved.iter().map(|movement| movement.on_hand).sum()),
            decision => panic!("{decision:?}"),
        }
    }

    #[test]
    fn a_new_product_is_refused_where_its_sku_is_taken_or_its_warehouse_unknown() {
        let mut view = view();
        view.stock.take_sku("taken".into());
        for (sku, warehouse, quantity, expected) in [
            ("taken", THERE, 1, ProductOutcome::SkuTaken),
            ("free", THERE, 1, ProductOutcome::UnknownWarehouse),
            ("free", HERE, 4, ProductOutcome::Created { stock_version: 1 }),
            ("free", HERE, 4, ProductOutcome::SkuTaken),
            ("none in stock", HERE, 0, ProductOutcome::Created { stock_version: 0 }),
        ] {
            let created = matches!(expected, ProductOutcome::Created { .. });
            let received = if created { quantity } else { 0 };
            let made = outcome(&mut view, &command(9, product(sku, warehouse, quantity)));
            assert_eq!(made, (expected, received), "{sku}");
        }
    }

    #[test]
    fn a_bundle_is_of_variants_that_are_sold_and_no_bundles_themselves() {
        let mut view = view();
        outcome(&mut view, &command(1, product("CUP", HERE, 5)));
        let bundle = |of: u128, variant: u128, sku: &str| {
            let (product_id, variant_id) = (Uuid::from_u128(of), Uuid::from_u128(variant));
            let Action::CreateProduct(new) = product(sku, HERE, 0) else { unreachable!() };
            let components = vec![Component { product_id, variant_id, quantity: 2 }];
            Action::CreateProduct(CreateProduct { components, ..new })
        };
        let made = ProductOutcome::Created { stock_version: 0 };
        for (id, action, expected) in [
            (2, bundle(1, 9, "A"), ProductOutcome::UnknownComponent),
            (2, bundle(9, 1, "A"), ProductOutcome::UnknownComponent),
            (2, bundle(1, 1, "A"), made),
            (3, bundle(2, 2, "B"), ProductOutcome::UnknownComponent),
        ] {
            assert_eq!(outcome(&mut view, &command(id, action.clone())).0, expected, "{action:?}");
        }
        let bundle = view.stock.variant(Uuid::from_u128(2)).expect("made");
        assert_eq!(bundle.components.iter().map(|of| of.quantity).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_new_variant_is_refused_for_the_first_reason_in_the_documented_precedence() {
        let mut view = view();
        outcome(&mut view, &command(1, product("SHOE", HERE, 0)));
        let variant = |product, sku: &str, warehouse_id, price| {
            Action::CreateVariant(CreateVariant {
                product_id: Uuid::from_u128(product),
                sku: sku.into(),
                options: BTreeMap::from([("size".to_owned(), "9".to_owned()), ("colour".to_owned(), "red".to_owned())]),
                price,
                stock: 3,
                warehouse_id,
            })
        };
        let dollars = Some(money(5, "USD"));
        for (why, id, action, expected) in [
            ("no such product", 2, variant(7, "SHOE", THERE, dollars), ProductOutcome::UnknownProduct),
            ("its SKU is taken", 2, variant(1, "SHOE", THERE, dollars), ProductOutcome::SkuTaken),
            ("no such warehouse", 2, variant(1, "SHOE-9", THERE, dollars), ProductOutcome::UnknownWarehouse),
            ("dollars", 2, variant(1, "SHOE-9", HERE, dollars), ProductOutcome::OtherCurrency),
            ("nothing", 2, variant(1, "SHOE-9", HERE, None), ProductOutcome::Created { stock_version: 1 }),
            ("a variant is no product", 3, variant(2, "SHOE-9-W", HERE, None), ProductOutcome::UnknownProduct),
        ] {
            assert_eq!(outcome(&mut view, &command(id, action)).0, expected, "{why}");
        }
        let made = view.stock.variant(Uuid::from_u128(2)).expect("it was made");
        assert_eq!((&*made.name, made.price, made.levels[0].on_hand), ("Shoe (red, 9)", money(1, "EUR"), 3));
    }
}
