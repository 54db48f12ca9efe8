//! Live stock: what listeners of a product are told.
//!
//! The stock of all products that somebody listens to is read together, [`POLLS_PER_SECOND`] times a second; a listener is sent
//! the whole state of its product whenever that has changed. Changes that come between two reads are in one event, whose versions
//! tell how many there were. Read, and not pushed by the writers, it needs nothing but the database to be right: what is missed
//! while that is away is in the next event.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::db;
use common::db::stock::{StoredBackorders, StoredComponent, StoredLevel, StoredStock};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::state::State;

const POLLS_PER_SECOND: u32 = 5;
/// How long it waits where the database does not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Most products that are read together.
const PRODUCTS_AT_ONCE: usize = 500;

/// What is known of a product's stock.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stock {
    /// It was not read yet.
    Unread,
    Known {
        stock: StoredStock,
        /// How it is shown: made once for all listeners.
        shown: Arc<str>,
    },
    /// It is no longer sold, or never was.
    Gone,
}

/// Products that somebody listens to.
#[derive(Default)]
pub(crate) struct Live(Mutex<HashMap<Uuid, watch::Sender<Stock>>>);

/// Too many listen already.
pub(crate) struct Full;

impl Live {
    /// Listens to a product.
    pub(crate) fn listen(&self, product: Uuid, listeners_max: usize) -> Result<watch::Receiver<Stock>, Full> {
        let mut products = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners: usize = products.values().map(watch::Sender::receiver_count).sum();
        if listeners >= listeners_max {
            return Err(Full);
        }
        Ok(products.entry(product).or_insert_with(|| watch::Sender::new(Stock::Unread)).subscribe())
    }

    /// Those that still have listeners.
    fn products(&self) -> Vec<Uuid> {
        let mut products = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        products.retain(|_, sender| sender.receiver_count() > 0);
        products.keys().copied().collect()
    }

    /// Tells what was read of a product, where it differs from what was told before.
    fn tell(&self, product: Uuid, read: Option<StoredStock>) {
        let products = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = products.get(&product) else { return };
        sender.send_if_modified(|known| {
            let is_old = match (&*known, &read) {
                (Stock::Known { stock, .. }, Some(read)) => stock == read,
                (Stock::Gone, None) => true,
                (Stock::Unread, _) | (Stock::Known { .. }, None) | (Stock::Gone, Some(_)) => false,
            };
            if !is_old {
                *known = read.map_or(Stock::Gone, |stock| {
                    let shown = view(product, &stock).to_string().into();
                    Stock::Known { stock, shown }
                });
            }
            !is_old
        });
    }
}

/// Reads again and again what is listened to, until `stop`.
pub(crate) async fn read(state: Arc<State>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1) / POLLS_PER_SECOND) => {},
            () = stop.cancelled() => return,
        }
        for products in state.live.products().chunks(PRODUCTS_AT_ONCE) {
            let asked = products.to_vec();
            match state.read(move |c| Box::pin(async move { db::stock::of_products(c, &asked).await })).await {
                Ok(mut read) => products.iter().for_each(|product| state.live.tell(*product, read.remove(product))),
                Err(error) => {
                    tracing::warn!(?error, "live stock could not be read");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// How the stock of a product is shown.
pub(crate) fn view(product: Uuid, StoredStock { levels, components, backorders }: &StoredStock) -> Value {
    let sum = |of: fn(&StoredLevel) -> i64| levels.iter().map(of).sum::<i64>();
    let bundles = components.iter().map(|component| component.available / i64::from(component.quantity.max(1))).min();
    let mut shown = json!({
        "productId": product,
        "onHand": sum(|level| level.on_hand),
        "reserved": sum(|level| level.reserved),
        // What can be ordered.
        "available": bundles.unwrap_or_default() + available(levels, backorders),
        "levels": levels.iter().map(show).collect::<Vec<Value>>(),
    });
    if !backorders.is_empty() {
        shown["backorders"] = backorders.iter().map(show_backorders).collect();
    }
    if !components.is_empty() {
        shown["components"] = components.iter().map(show_component).collect();
    }
    shown
}

/// What can be ordered from stock: of each variant what open warehouses have, less what was promised before.
fn available(levels: &[StoredLevel], backorders: &[StoredBackorders]) -> i64 {
    let mut of = BTreeMap::<Uuid, i64>::new();
    for level in levels.iter().filter(|level| level.open) {
        *of.entry(level.variant_id).or_default() += level.on_hand - level.reserved;
    }
    for promised in backorders {
        of.entry(promised.variant_id).and_modify(|available| *available = (*available - promised.promised).max(0));
    }
    of.into_values().sum()
}

fn show_backorders(backorders: &StoredBackorders) -> Value {
    let StoredBackorders { variant_id, open, cap, promised, expected_on } = backorders;
    json!({
        "variantId": variant_id,
        "open": open,
        "cap": cap,
        "promised": promised,
        "promisable": if *open { cap - promised } else { 0 },
        "expectedOn": expected_on.map(|day| day.to_string()),
    })
}

fn show_component(component: &StoredComponent) -> Value {
    json!({
        "productId": component.product_id,
        "variantId": component.variant_id,
        "qty": component.quantity,
        "available": component.available,
    })
}

fn show(level: &StoredLevel) -> Value {
    json!({
        "variantId": level.variant_id,
        "warehouseId": level.warehouse_id,
        "warehouse": level.warehouse_code,
        "open": level.open,
        "onHand": level.on_hand,
        "reserved": level.reserved,
        "available": level.on_hand - level.reserved,
        "version": level.version,
    })
}
