//! Every error of the api, and how it is told: one match.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::db;
use common::domain::{BACKORDERS, Obstacle, Order, Placed, Refusal, ShortLine, StockOutcome};
use common::queue::PublishError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::problems::{self, Kind};

/// Seconds after which a client may try again what a server's absence has kept from being done.
const RETRY_AFTER_SECONDS: u32 = 2;

#[derive(Debug)]
pub(crate) enum Error {
    /// Not JSON, or not of the expected shape.
    Malformed(FieldError),
    /// Of the expected shape, with values that can't be.
    Invalid(Vec<FieldError>),
    Unauthenticated,
    Forbidden,
    NotFound(String),
    MethodNotAllowed,
    BodyTooLarge,
    UnsupportedMediaType,
    /// What was decided: not an error of the api.
    Refused(Receipt),
    /// What is wrong is told by its kind alone.
    Plain(&'static Kind),
    /// The same, with more to say.
    Refusal {
        kind: &'static Kind,
        members: Value,
    },
    /// A change of an order that is not possible.
    Obstructed {
        order: Uuid,
        /// Where the order stands.
        status: &'static str,
        obstacle: Obstacle,
    },
    /// A change of a product's stock that is not possible.
    Stock {
        product: Option<Uuid>,
        outcome: StockOutcome,
    },
    KeyReused,
    /// Accepted, and then not decidable.
    Failed {
        id: Uuid,
    },
    NotAccepted {
        id: Uuid,
        source: PublishError,
    },
    Starting,
    /// As much is done already as this api does at once.
    Busy(&'static str),
    Database(db::Error),
    Internal(String),
}

/// A place in a request and what is wrong there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// Such as `items[2].qty`, or the name of a header.
    pub(crate) field: String,
    pub(crate) detail: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// A refusal with its place in the log.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) id: Uuid,
    pub(crate) partition: u16,
    pub(crate) sequence: i64,
    pub(crate) refusal: Refusal,
    /// Where it is found: `orders` or `reservations`.
    pub(crate) noun: &'static str,
}

/// What goes into a problem beside its kind.
struct Told {
    detail: Option<String>,
    members: Value,
    retry: bool,
}

impl Receipt {
    /// Of an order that was refused, found at `noun`.
    pub(crate) fn of(order: &Order, placed: &Placed, noun: &'static str) -> Self {
        let (id, partition, sequence) = (order.id, order.partition, order.sequence);
        Self { id, partition, sequence, refusal: placed.refusal.clone(), noun }
    }

    /// The kind of problem, a sentence, and the members that say why.
    pub(crate) fn tell(&self) -> (&'static Kind, String, Value) {
        let (kind, detail, mut members) = tell(&self.refusal);
        if let Value::Object(members) = &mut members {
            members.insert("partition".to_owned(), json!(self.partition));
            members.insert("sequence".to_owned(), json!(self.sequence));
        }
        (kind, detail, members)
    }
}

/// The receipt of a line, without the place of backorders among what it has seen: nobody is told of that.
fn short_line(line: &ShortLine) -> Value {
    let seen = line.seen.iter().filter(|seen| seen.warehouse_id != BACKORDERS).copied().collect();
    json!(ShortLine { seen, ..line.clone() })
}

/// The kind of problem that a refusal is, a sentence, and the members that say why.
pub(crate) fn tell(refusal: &Refusal) -> (&'static Kind, String, Value) {
    match refusal {
        Refusal::UnknownProduct { product_ids } => (
            &problems::UNKNOWN_PRODUCT,
            format!("{} of the order's products are unknown.", product_ids.len()),
            json!({ "productIds": product_ids }),
        ),
        Refusal::DeletedProduct { product_ids } => (
            &problems::DELETED_PRODUCT,
            format!("{} of the order's products are no longer sold.", product_ids.len()),
            json!({ "productIds": product_ids }),
        ),
        Refusal::MixedCurrencies { currencies } => (
            &problems::MIXED_CURRENCIES,
            format!("The order's products are priced in {}.", currencies.join(", ")),
            json!({ "currencies": currencies }),
        ),
        Refusal::TotalTooLarge => {
            (&problems::TOTAL_TOO_LARGE, "The total is over 9,007,199,254,740,991.".to_owned(), json!({}))
        }
        Refusal::InsufficientStock { lines } => (
            &problems::INSUFFICIENT_STOCK,
            format!("{} of the order's lines asked for more than was available.", lines.len()),
            json!({ "lines": lines.iter().map(short_line).collect::<Vec<Value>>() }),
        ),
        Refusal::NoDelivery => (
            &problems::NO_DELIVERY,
            "The address is in no zone that is delivered to, or not for the order's currency.".to_owned(),
            json!({}),
        ),
        Refusal::CustomerRequired { product_ids } => (
            &problems::CUSTOMER_REQUIRED,
            format!("Of {} of the order's products each customer may have only so many.", product_ids.len()),
            json!({ "productIds": product_ids }),
        ),
        Refusal::LimitExceeded { products } => (
            &problems::LIMIT_EXCEEDED,
            format!("The customer would have more of {} products than each may have.", products.len()),
            json!({ "products": products }),
        ),
        Refusal::TotalChanged { expected, total } => (
            &problems::TOTAL_CHANGED,
            format!(
                "{} {} was expected, {} {} it is.",
                expected.amount,
                expected.currency.as_str(),
                total.amount,
                total.currency.as_str()
            ),
            json!({ "expected": expected, "total": total }),
        ),
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    fn told(&self) -> (&'static Kind, Told) {
        let told = |detail: Option<String>, members| Told { detail, members, retry: false };
        let plain = |detail: &str| told(Some(detail.to_owned()), json!({}));
        match self {
            Self::Malformed(error) => {
                (&problems::MALFORMED, told(Some(error.detail.clone()), json!({ "errors": [error] })))
            }
            Self::Invalid(errors) => (&problems::INVALID, told(None, json!({ "errors": errors }))),
            Self::Unauthenticated => (&problems::UNAUTHENTICATED, told(None, json!({}))),
            Self::Forbidden => (&problems::FORBIDDEN, told(None, json!({}))),
            Self::NotFound(detail) => (&problems::NOT_FOUND, plain(detail)),
            Self::MethodNotAllowed => (&problems::METHOD_NOT_ALLOWED, told(None, json!({}))),
            Self::BodyTooLarge => (&problems::BODY_TOO_LARGE, told(None, json!({}))),
            Self::UnsupportedMediaType => (&problems::UNSUPPORTED_MEDIA_TYPE, told(None, json!({}))),
            Self::Refused(receipt) => {
                let (kind, detail, mut members) = receipt.tell();
                if let Value::Object(members) = &mut members {
                    members.insert("id".to_owned(), json!(receipt.id));
                    members.insert("instance".to_owned(), json!(format!("/{}/{}", receipt.noun, receipt.id)));
                }
                (kind, told(Some(detail), members))
            }
            Self::Obstructed { order, status, obstacle } => {
                let kind = match obstacle {
                    Obstacle::PaymentTimeout => &problems::PAYMENT_TIMEOUT,
                    Obstacle::OrderCancelled => &problems::ORDER_CANCELLED,
                    Obstacle::AlreadyPaid => &problems::ALREADY_PAID,
                    Obstacle::AlreadyShipped => &problems::ALREADY_SHIPPED,
                    Obstacle::Backordered => &problems::BACKORDERED,
                    Obstacle::NotShipped => &problems::NOT_SHIPPED,
                    Obstacle::ReturnTooLarge => &problems::RETURN_TOO_LARGE,
                    Obstacle::IllegalTransition => &problems::ILLEGAL_TRANSITION,
                };
                (kind, told(None, json!({ "id": order, "orderStatus": status })))
            }
            Self::Stock { product, outcome } => stock_problem(*product, outcome),
            Self::Plain(kind) => (kind, told(None, json!({}))),
            Self::Refusal { kind, members } => (kind, told(None, members.clone())),
            Self::KeyReused => (&problems::KEY_REUSED, told(None, json!({}))),
            Self::Failed { id } => (&problems::FAILED, told(None, json!({ "id": id }))),
            Self::NotAccepted { id, source } => {
                let accepted = if source.is_certain() { "no" } else { "unknown" };
                let members = json!({ "id": id, "accepted": accepted });
                (&problems::NOT_ACCEPTED, Told { detail: Some(format!("{source}.")), members, retry: true })
            }
            Self::Starting => {
                (&problems::UNAVAILABLE, Told { retry: true, ..plain("The api has not reached its store yet.") })
            }
            Self::Busy(detail) => (&problems::UNAVAILABLE, Told { retry: true, ..plain(detail) }),
            Self::Database(error) if error.is_passing() => {
                (&problems::UNAVAILABLE, Told { retry: true, ..plain("The database does not answer.") })
            }
            Self::Database(_) | Self::Internal(_) => (&problems::INTERNAL, told(None, json!({}))),
        }
    }

    /// The body of its answer, where it is told inside another.
    pub(crate) fn body(&self) -> Value {
        let (kind, told) = self.told();
        problem_body(kind, told.detail, told.members)
    }

    /// What the client is not told, once, where it is handled.
    fn log(&self) {
        match self {
            Self::Database(error) if error.is_passing() => {
                tracing::warn!(error = error as &dyn std::error::Error, "the database does not answer");
            }
            Self::Database(error) => tracing::error!(error = error as &dyn std::error::Error, "the database"),
            Self::Internal(detail) => tracing::error!(detail, "internal error"),
            _ => {}
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let (kind, told) = self.told();
        let mut response = problem(kind, told.detail, told.members);
        if told.retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if let Self::Unauthenticated = self {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn stock_problem(product: Option<Uuid>, outcome: &StockOutcome) -> (&'static Kind, Told) {
    let (kind, members) = match outcome {
        StockOutcome::UnknownProduct => (&problems::UNKNOWN_PRODUCT, json!({ "productIds": product.as_slice() })),
        StockOutcome::IsBundle => (&problems::IS_BUNDLE, json!({})),
        StockOutcome::UnknownWarehouse => (&problems::UNKNOWN_WAREHOUSE, json!({})),
        StockOutcome::Short { requested, on_hand, reserved, version } => (
            &problems::SHORT_STOCK,
            json!({ "requested": requested, "onHand": on_hand, "reserved": reserved, "version": version }),
        ),
        StockOutcome::TooMuch { on_hand, reserved, version } => {
            (&problems::TOO_MUCH_STOCK, json!({ "onHand": on_hand, "reserved": reserved, "version": version }))
        }
        StockOutcome::BelowPromised { promised, version } => {
            (&problems::BELOW_PROMISED, json!({ "promised": promised, "version": version }))
        }
        StockOutcome::Changed { .. } | StockOutcome::Transferred { .. } => (&problems::INTERNAL, json!({})),
    };
    (kind, Told { detail: None, members, retry: false })
}

/// The body of a problem.
pub(crate) fn problem_body(kind: &Kind, detail: Option<String>, members: Value) -> Value {
    let mut body = Map::new();
    body.insert("type".to_owned(), json!(format!("/problems/{}", kind.name)));
    body.insert("title".to_owned(), json!(kind.title));
    body.insert("status".to_owned(), json!(kind.status));
    body.extend(detail.map(|detail| ("detail".to_owned(), json!(detail))));
    if let Value::Object(members) = members {
        body.extend(members);
    }
    Value::Object(body)
}

fn problem(kind: &Kind, detail: Option<String>, members: Value) -> Response {
    let status = StatusCode::from_u16(kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = problem_body(kind, detail, members).to_string();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}
