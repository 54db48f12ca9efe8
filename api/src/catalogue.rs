//! What the catalogue takes: the bounds of its texts, prices and quantities, whichever way they come.

use std::collections::BTreeMap;

use common::domain::{AMOUNT_MAX, LIMIT_SECONDS_MAX, Limit, Money};

use crate::checks::Checks;

pub(crate) const NAME_BYTES_MAX: usize = 200;
pub(crate) const SKU_BYTES_MAX: usize = 64;
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 10_000;
pub(crate) const CATEGORY_BYTES_MAX: usize = 100;
const STOCK_MAX: i64 = 1_000_000_000_000;
const OPTIONS_MAX: usize = 10;
const OPTION_BYTES_MAX: usize = 50;

pub(crate) fn check_price(price: Option<Money>, checks: &mut Checks) {
    let priced = price.is_none_or(|price| (0..=AMOUNT_MAX).contains(&price.amount));
    checks.that(priced, "price.amount", || format!("0 to {AMOUNT_MAX} minor units are expected"));
}

pub(crate) fn check_stock(stock: i64, checks: &mut Checks) {
    checks.that((0..=STOCK_MAX).contains(&stock), "stock", || format!("0 to {STOCK_MAX} is expected"));
}

pub(crate) fn check_threshold(threshold: Option<i64>, checks: &mut Checks) {
    let within = threshold.is_none_or(|threshold| (0..=STOCK_MAX).contains(&threshold));
    checks.that(within, "lowStockThreshold", || format!("0 to {STOCK_MAX}, or null, is expected"));
}

pub(crate) fn check_limit(limit: Option<Limit>, checks: &mut Checks) {
    let Some(Limit { quantity, window_seconds }) = limit else { return };
    checks.that((1..=STOCK_MAX).contains(&quantity), "limit.qty", || format!("1 to {STOCK_MAX} is expected"));
    let within = window_seconds.is_none_or(|seconds| (1..=LIMIT_SECONDS_MAX).contains(&seconds));
    checks.that(within, "limit.windowSeconds", || format!("1 to {LIMIT_SECONDS_MAX} is expected"));
}

/// Something must tell a variant from its product's others.
pub(crate) fn check_options(options: &BTreeMap<String, String>, checks: &mut Checks) {
    let within = (1..=OPTIONS_MAX).contains(&options.len());
    checks.that(within, "options", || format!("1 to {OPTIONS_MAX} options such as \"size\": \"9\" are expected"));
    for (name, value) in options {
        checks.text(&format!("options.{name}"), name, 1, OPTION_BYTES_MAX);
        checks.text(&format!("options.{name}"), value, 1, OPTION_BYTES_MAX);
    }
}
