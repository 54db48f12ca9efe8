//! Figures for the business: for people as JSON, for machines as metrics (`OpenMetrics` 1.0). They are the store's, the same from
//! every api instance: where several are scraped, take one of them, not their sum.

use std::fmt;

use axum::Json;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use common::db;
use common::db::figures::{Open, PAYMENTS_MAX, ToPayment};
use common::db::partitions::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text::encode};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::auth::Operator;
use crate::error::Error;
use crate::page::Asked;
use crate::state::{App, State};

const HOURS_DEFAULT: i32 = 24;
/// 30 days: as far as figures of the past are kept.
const HOURS_MAX: i32 = 720;
const HOUR_MINUTES: i32 = 60;

/// What came of orders lately.
struct Figures {
    lately: Counts,
    last_hour: Counts,
    to_payment: ToPayment,
    open: Open,
}

async fn read(state: &State, minutes: i32) -> Result<Figures, Error> {
    let reading = state.read(move |c| {
        Box::pin(async move {
            Ok(Figures {
                lately: db::figures::lately(c, minutes).await?,
                last_hour: db::figures::lately(c, HOUR_MINUTES).await?,
                to_payment: db::figures::to_payment(c, minutes).await?,
                open: db::figures::open(c).await?,
            })
        })
    });
    reading.await
}

/// `GET /figures?hours=`: of the last hours, and the one that is not over.
pub(crate) async fn show(App(state): App, _: Operator, query: Asked) -> Result<Json<Value>, Error> {
    let mut reading = query.read(&["hours"]);
    let within = |text: &str| text.parse().ok().filter(|hours| (1..=HOURS_MAX).contains(hours));
    let hours = reading.parsed("hours", &format!("1 to {HOURS_MAX}"), within).unwrap_or(HOURS_DEFAULT);
    let (hours, _) = reading.finish(hours)?;
    let Figures { lately, last_hour, to_payment, open } = read(&state, hours * HOUR_MINUTES).await?;
    let ended = lately.converted + lately.expired + lately.released;
    let decided = lately.confirmed + lately.conflicts + lately.unfulfillable;
    Ok(Json(json!({
        "hours": hours,
        "orders": {
            "decided": decided,
            "confirmed": lately.confirmed,
            "conflicts": lately.conflicts,
            "unfulfillable": lately.unfulfillable,
            "conflictRate": share(lately.conflicts, decided),
        },
        "reservations": {
            "created": lately.reserved,
            "converted": lately.converted,
            "expired": lately.expired,
            "cancelled": lately.released,
            "conversionRate": share(lately.converted, ended),
            "expiredLastHour": last_hour.expired,
            "active": open.reservations,
            "due": open.due,
        },
        "orderToPaymentSeconds": {
            "payments": to_payment.payments,
            "paymentsMax": PAYMENTS_MAX,
            "mean": to_payment.mean_seconds,
            "median": to_payment.median_seconds,
            "p95": to_payment.p95_seconds,
        },
        "unappliedPayments": { "recorded": lately.unapplied, "unresolved": open.unapplied_payments },
    })))
}

/// Of nothing there is no share.
fn share(part: i64, whole: i64) -> Option<f64> {
    // Far below 2^53, where a float would round.
    #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
    let share = (whole > 0).then(|| part as f64 / whole as f64);
    share
}

/// `GET /metrics`: what grows since the store was set up, and what is open.
pub(crate) async fn metrics(App(state): App) -> Result<impl IntoResponse, Error> {
    let reading =
        state.read(|c| Box::pin(async move { Ok((db::figures::total(c).await?, db::figures::open(c).await?)) }));
    let (total, open) = reading.await?;
    let mut registry = Registry::with_prefix("onhand");
    registry.register_collector(Box::new(Metrics { total, open }));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Error::Internal(error.to_string()))?;
    const TYPE: (HeaderName, &str) =
        (header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([TYPE], text))
}

#[derive(Debug)]
struct Metrics {
    total: Counts,
    open: Open,
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let total = &self.total;
        for (name, help, count) in [
            ("orders_confirmed", "Orders and reservations confirmed", total.confirmed),
            ("orders_conflicts", "Orders and reservations refused for lack of stock (409)", total.conflicts),
            ("orders_unfulfillable", "Orders and reservations that can never be fulfilled (422)", total.unfulfillable),
            ("reservations_created", "Deferred orders and reservations that reserved stock", total.reserved),
            ("reservations_converted", "Of those: paid or confirmed", total.converted),
            ("reservations_expired", "Of those: not paid or confirmed in time", total.expired),
            ("reservations_cancelled", "Of those: cancelled before", total.released),
            ("payments_unapplied", "Payments that could not be applied", total.unapplied),
        ] {
            let counter = ConstCounter::new(u64::try_from(count).unwrap_or_default());
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let help = "From decision to payment or confirmation, over all of onhand_reservations_converted";
        // Whole milliseconds, far below 2^53, where a float would round.
        #[expect(clippy::cast_precision_loss, reason = "seconds are a float")]
        let seconds = ConstCounter::new(total.payment_ms as f64 / 1_000.0);
        seconds.encode(encoder.encode_descriptor("order_to_payment_seconds", help, None, seconds.metric_type())?)?;
        for (name, help, count) in [
            ("reservations_active", "Orders and reservations that reserve stock now", self.open.reservations),
            ("reservations_due", "Of those: their time is over", self.open.due),
            ("payments_unapplied_unresolved", "Payments that wait for an operator", self.open.unapplied_payments),
        ] {
            let gauge = ConstGauge::new(count);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
