//! `POST /carts/{customerId}/place-order`: freezes the cart's prices and sends its order down the queue, once: until that is decided,
//! asking again is asking for the same order, and so it is for a day after it was confirmed, while the customer has no other cart.
//!
//! What is to be sent is noted in the cart before it is sent. So whatever dies in between, asking again sends the very same
//! order, which is decided once.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use common::clock;
use common::db::carts::{self, Cart, Status};
use common::db::{self, PgConnection};
use common::domain::{Action, Command, Idempotency, Money, Order, PlaceOrder, Refusal, quote};
use common::ids::hash_id;
use common::message::{self, Decided, Queued};
use common::partition::partition_for;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::current::{Current, load, lock};
use super::summary::order;
use crate::auth::Caller;
use crate::checks::Checks;
use crate::commands;
use crate::error::{Error, tell};
use crate::extract::{Customer, JsonIfAny, idempotency_key, preferred_wait};
use crate::problems;
use crate::routes::orders::place::{Payment, answer, terms};
use crate::routes::orders::placing::{Placing, hold};
use crate::state::{App, State};

/// How long a completed cart's order is answered with where the customer has no other cart.
const REPEATED_SECONDS: f64 = 86_400.0;

#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(default)]
    payment: Payment,
    payment_method: Option<String>,
    /// Refused if it comes to anything else: what the customer was shown.
    expected_total: Option<Money>,
}

pub(crate) async fn handle(
    App(state): App,
    Caller(caller): Caller,
    Customer(customer): Customer,
    headers: HeaderMap,
    JsonIfAny(request): JsonIfAny<Request>,
) -> Result<Response, Error> {
    let mut checks = Checks::default();
    let asked_for = serde_json::to_vec(&request).unwrap_or_default();
    let payment = terms(request.payment, request.payment_method, &mut checks);
    checks.finish(())?;
    let account = caller.account;
    let idempotency = idempotency_key(&headers)?.map(|key| Idempotency {
        key: hash_id("cart-key", &[account.as_bytes(), customer.as_bytes(), key.as_bytes()]),
        // Whatever is in the cart: the first request decides.
        fingerprint: hash_id("place-cart", &[customer.as_bytes(), &asked_for]),
    });
    let wait = preferred_wait(&headers, state.config.wait_max);
    let asked = Asked {
        account,
        customer: customer.clone(),
        idempotency,
        hold: hold(&state, Some(&customer), &payment).await,
        expected_total: request.expected_total,
    };
    let sending = prepare(&state, asked).await?;
    let placing = match sending {
        Sending::Decided(order) => {
            Placing { id: order.id, wait, before: true, decided: Some(Decided::OrderV1(*order)) }
        }
        Sending::Command(sending) => send(&state, sending, wait).await?,
    };
    Ok(answer(placing))
}

/// What is asked for.
struct Asked {
    account: Uuid,
    customer: String,
    idempotency: Option<Idempotency>,
    hold: Option<common::domain::HoldTerms>,
    expected_total: Option<Money>,
}

/// What is to be done about it.
enum Sending {
    /// It was done before.
    Decided(Box<Order>),
    Command(Attempt),
}

/// What is to be sent, as it is noted in the cart.
struct Attempt {
    cart: Uuid,
    command: Box<Command>,
    /// Whether it was, or was about to be, sent before.
    before: bool,
}

/// Finds out what to send, and notes it in the cart.
async fn prepare(state: &Arc<State>, asked: Asked) -> Result<Sending, Error> {
    let shared = Arc::clone(state);
    let prepared = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let found = lock(&mut transaction, asked.account, &asked.customer, shared.config.pending_max).await?;
            // Under the lock: what was decided under this key is seen here, if it opened the cart again.
            if let Some(decided) = decided_by_key(&mut transaction, asked.idempotency).await? {
                db::commit(transaction).await?;
                return Ok(decided);
            }
            let (cart, refused) = match found {
                Some(found) => found,
                None => {
                    let repeated = repeated(&mut transaction, &asked).await?;
                    // That its order was confirmed may just have been noted.
                    db::commit(transaction).await?;
                    return Ok(repeated);
                }
            };
            if cart.status == Status::Ordering {
                let again = again(&mut transaction, &cart, &asked).await?;
                db::commit(transaction).await?;
                return Ok(again);
            }
            let current = load(&mut transaction, cart, refused).await?;
            let terms = db::terms::in_force(&mut transaction).await?;
            let placed = match checked(&current, &terms.terms, &asked) {
                Ok(placed) => placed,
                Err(error) => return Ok(Err(error)),
            };
            let command = command(&shared, &asked, placed);
            let noted = message::encode(&Queued { command: command.clone(), reply_to: None });
            let noted = noted.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let noted = noted.ok_or(db::Error::Corrupt("an order that JSON can't hold"))?;
            let cart = current.cart.id;
            carts::order(&mut transaction, cart, command.id, &noted).await?;
            db::commit(transaction).await?;
            Ok(Ok(Sending::Command(Attempt { cart, command: Box::new(command), before: false })))
        })
    });
    prepared.await?
}

/// The command that places it. Its id is fresh, also under an idempotency key: the cart remembers it, and another attempt under
/// the same key, after one that was given up, is another order.
fn command(state: &State, asked: &Asked, placed: PlaceOrder) -> Command {
    let (account, accepted_at, idempotency) = (asked.account, clock::now(), asked.idempotency);
    let mut command =
        Command { id: Uuid::nil(), account, accepted_at, idempotency, action: Action::PlaceOrder(placed) };
    command.id = state.ids.fresh(account, partition_for(&command, state.partitions), accepted_at);
    command
}

type Prepared = Result<Sending, Error>;

/// What this key has decided, if it has.
async fn decided_by_key(
    connection: &mut PgConnection,
    idempotency: Option<Idempotency>,
) -> db::Result<Option<Prepared>> {
    let Some(Idempotency { key, fingerprint }) = idempotency else { return Ok(None) };
    let found = db::orders::find_by_key(connection, key).await?;
    Ok(found.map(|stored| {
        if stored.fingerprint == Some(fingerprint) {
            Ok(Sending::Decided(Box::new(stored.order)))
        } else {
            Err(Error::KeyReused)
        }
    }))
}

/// The order of the cart that was just completed, if there is one.
async fn repeated(connection: &mut PgConnection, asked: &Asked) -> db::Result<Prepared> {
    let last = carts::last_completed(connection, asked.account, &asked.customer, REPEATED_SECONDS).await?;
    let order = match last.and_then(|cart| cart.order) {
        Some(order) => db::orders::find(connection, &[order]).await?.pop(),
        None => None,
    };
    Ok(match order {
        Some(stored) => Ok(Sending::Decided(Box::new(stored.order))),
        None => Err(Error::Plain(&problems::CART_EMPTY)),
    })
}

/// The same command again: it may have been lost on its way. Not where another payment, or another total, is asked for.
async fn again(connection: &mut PgConnection, cart: &Cart, asked: &Asked) -> db::Result<Prepared> {
    let noted = cart.command.as_ref().map(ToString::to_string).unwrap_or_default();
    let command = message::decode(&noted).map_err(|_| db::Error::Corrupt("a cart's order that can't be read"))?.command;
    let is_same = match &command.action {
        Action::PlaceOrder(noted) => {
            noted.hold.is_some() == asked.hold.is_some()
                && (asked.expected_total.is_none() || asked.expected_total == noted.expected_total)
        }
        _ => false,
    };
    if !is_same {
        return Ok(Err(Error::Plain(&problems::CART_ORDERING)));
    }
    // From now on that the attempts before it have failed does not open the cart again.
    carts::order_again(connection, cart.id).await?;
    Ok(Ok(Sending::Command(Attempt { cart: cart.id, command: Box::new(command), before: true })))
}

/// The order that the cart is, at prices that are frozen now; an error where it is known that it can't be had whatever stock there
/// is. What stock there is, only its decision knows.
fn checked(current: &Current, terms: &common::domain::Terms, asked: &Asked) -> Result<PlaceOrder, Error> {
    if current.items.is_empty() {
        return Err(Error::Plain(&problems::CART_EMPTY));
    }
    if current.cart.address.is_none() {
        return Err(Error::Plain(&problems::ADDRESS_MISSING));
    }
    let order = PlaceOrder {
        hold: asked.hold,
        expected_total: asked.expected_total,
        ..order(current, current.cart.mode, true)
    };
    match quote(&current.catalogue, terms, &order, clock::now()) {
        Ok(_) | Err(Refusal::InsufficientStock { .. }) => Ok(order),
        Err(refusal) => {
            let (kind, _, members) = tell(&refusal);
            Err(Error::Refusal { kind, members })
        }
    }
}

async fn send(state: &State, attempt: Attempt, wait: Option<Duration>) -> Result<Placing, Error> {
    let Attempt { cart, command, before } = attempt;
    let (id, partition) = (command.id, partition_for(&command, state.partitions));
    match commands::send(state, partition, *command, wait).await {
        Ok(decided) => Ok(Placing { id, wait, before, decided }),
        Err(error) => {
            // Where that is certain of all attempts, nobody will decide it.
            if let Error::NotAccepted { source, .. } = &error
                && source.is_certain()
            {
                let noted = state.read_soon(move |c| Box::pin(async move { carts::fail(c, cart, id).await }));
                if let Err(error) = noted.await {
                    tracing::warn!(?error, cart.id = %cart, "a cart whose order was not accepted stays as it is until it is tried again");
                }
            }
            Err(error)
        }
    }
}
