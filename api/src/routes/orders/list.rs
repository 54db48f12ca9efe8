//! `GET /orders?status=&customerId=&from=&until=`: a page of orders, the newest first. Operators see everybody's.

use axum::response::Response;
use common::db;
use common::db::accounts::{Principal, Role};
use common::db::orders::{Filter, Place};
use common::domain::{Order, Timestamp};
use uuid::Uuid;

use super::view::OrderView;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::{self, Asked};
use crate::state::{App, State};

const STATUSES: [&str; 7] = ["rejected", "pending", "paid", "processing", "shipped", "delivered", "cancelled"];

pub(crate) async fn handle(App(state): App, Caller(caller): Caller, query: Asked) -> Result<Response, Error> {
    list(&state, caller, query, "/orders", OrderView::from).await
}

/// A page of orders, or of reservations under their own path.
pub(crate) async fn list<V: serde::Serialize>(
    state: &State,
    caller: Principal,
    query: Asked,
    path: &str,
    show: impl Fn(Order) -> V,
) -> Result<Response, Error> {
    let reservations = path != "/orders";
    let mut known = vec!["customerId", "accountId", "from", "until", "limit", "cursor"];
    if !reservations {
        known.push("status");
    }
    let mut reading = query.read(&known);
    let account = reading.id("accountId");
    let filter = Filter {
        account: match caller.role {
            Role::Client => Some(caller.account),
            Role::Operator => account,
        },
        status: reading
            .parsed("status", &STATUSES.join(", "), |text| STATUSES.contains(&text).then(|| text.to_owned())),
        customer: reading.text("customerId").map(str::to_owned),
        from: reading.time("from"),
        until: reading.time("until"),
        reservations,
    };
    let (limit, cursor) = (reading.limit(), reading.cursor::<(Timestamp, Uuid)>());
    let has_null = filter.customer.as_ref().is_some_and(|customer| customer.contains('\0'));
    reading.checks.that(!has_null, "customerId", || "a null character is not expected".to_owned());
    let hidden = caller.role == Role::Client && account.is_some_and(|account| account != caller.account);
    let ((), kept) = reading.finish(())?;
    if hidden {
        return Err(Error::Forbidden);
    }
    let after = cursor.map(|(decided_at, id)| Place { decided_at, id });
    // One more than asked for tells whether there is a next page.
    let found =
        state.read(move |c| Box::pin(async move { db::orders::list(c, &filter, after, limit + 1).await })).await?;
    Ok(page::answer(path, kept, limit, found, |order: &Order| (order.decided_at, order.id), show))
}
