//! Sending a command down its partition's queue, and waiting for what comes of it.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use common::clock;
use common::db::{self, PgConnection};
use common::domain::{Action, Command, Idempotency};
use common::ids::hash_id;
use common::message::{self, Decided, Queued};
use common::partition::partition_for;
use common::queue::PublishError;
use common::steps::Step;
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use crate::answer::{self, applied, replayed};
use crate::error::Error;
use crate::extract::{idempotency_key, preferred_wait};
use crate::state::State;

/// Decides commands at once, in place of the queue and the consumers.
pub trait Decide: Send + Sync {
    /// Decides a command; where it can't, whether it certainly has not.
    fn decide(&self, partition: u16, command: Command) -> BoxFuture<'_, Result<Decided, PublishError>>;
}

/// Publishes a command; with `wait`, waits so long for what comes of it.
pub(crate) async fn send(
    state: &State,
    partition: u16,
    command: Command,
    wait: Option<Duration>,
) -> Result<Option<Decided>, Error> {
    let (id, idempotency) = (command.id, command.idempotency);
    if let Some(decider) = &state.decider {
        let decided = decider.decide(partition, command).await;
        return decided.map(Some).map_err(|source| Error::NotAccepted { id, source });
    }
    let waiter = wait.map(|limit| (limit, state.waiters.wait(id)));
    let reply_to = waiter.is_some().then(|| state.reply_queue.clone());
    let bytes = message::encode(&Queued { command, reply_to }).map_err(|error| Error::Internal(error.to_string()))?;
    if let Err(source) = state.publisher.publish(partition, bytes).await {
        if let Some(idempotency) = idempotency.filter(|_| source.is_certain()) {
            state.recent_keys.forget(&idempotency);
        }
        return Err(Error::NotAccepted { id, source });
    }
    tracing::debug!(command.id = %id, partition, "accepted");
    state.steps.reached(Step::Published).await;
    match waiter {
        Some((limit, waiter)) => Ok(waiter.outcome(limit).await),
        None => Ok(None),
    }
}

/// A command other than an order that was sent, or that its idempotency key had sent before.
pub(crate) struct Asked {
    id: Uuid,
    wait: Option<Duration>,
    before: bool,
    decided: Option<Decided>,
}

/// Sends a command that is neither an order nor a product, under the request's idempotency key if it has one.
pub(crate) async fn ask(state: &State, account: Uuid, headers: &HeaderMap, action: Action) -> Result<Asked, Error> {
    let wait = preferred_wait(headers, state.config.wait_max);
    let fingerprint = |action: &Action| {
        let parts = match action {
            Action::ChangeOrder(change) => serde_json::to_vec(change),
            Action::ChangeStock(change) => serde_json::to_vec(change),
            Action::TransferStock(transfer) => serde_json::to_vec(transfer),
            Action::SetBackorders(set) => serde_json::to_vec(set),
            Action::PlaceOrder(_)
            | Action::CreateProduct(_)
            | Action::CreateVariant(_)
            | Action::Expire(_)
            | Action::Serve(_) => Ok(Vec::new()),
        };
        hash_id("command", &[&parts.unwrap_or_default()])
    };
    let idempotency = idempotency_key(headers)?.map(|key| Idempotency {
        key: hash_id("command-key", &[account.as_bytes(), key.as_bytes()]),
        fingerprint: fingerprint(&action),
    });
    let accepted_at = clock::now();
    let mut command = Command { id: Uuid::nil(), account, accepted_at, idempotency, action };
    let partition = partition_for(&command, state.partitions);
    command.id = match &idempotency {
        None => state.ids.fresh(account, partition, accepted_at),
        Some(idempotency) => {
            if let Some(decided) = decided_before(state, *idempotency).await? {
                return Ok(Asked { id: decided.id(), wait, before: true, decided: Some(decided) });
            }
            state.ids.keyed(account, partition, idempotency, accepted_at)
        }
    };
    let id = command.id;
    Ok(Asked { id, wait, before: false, decided: send(state, partition, command, wait).await? })
}

impl Asked {
    /// `202` where it is not decided yet; else what `tell` makes of what was decided.
    pub(crate) fn answer(self, tell: impl FnOnce(Decided) -> Response) -> Response {
        let id = self.id;
        let response = match self.decided {
            None | Some(Decided::EarlierV1 { .. }) => {
                answer::accepted(&format!("/commands/{id}"), json!({ "id": id, "status": "pending" }))
            }
            Some(Decided::KeyReusedV1 { .. }) => Error::KeyReused.into_response(),
            Some(Decided::FailedV1 { .. }) => Error::Failed { id }.into_response(),
            Some(
                decided @ (Decided::OrderV1(_)
                | Decided::ProductV1 { .. }
                | Decided::ChangeV1 { .. }
                | Decided::StockV1 { .. }),
            ) => tell(decided),
        };
        let response = if self.before { replayed(response) } else { response };
        applied(self.wait, response)
    }
}

/// What this key has decided, if it has; an error where it was used for another request. While the database is away the
/// request goes on: the writer decides a key once.
async fn decided_before(state: &State, idempotency: Idempotency) -> Result<Option<Decided>, Error> {
    if state.recent_keys.is_reused(&idempotency) {
        return Err(Error::KeyReused);
    }
    let key = idempotency.key;
    let found = state.read_soon(move |c| {
        Box::pin(async move {
            match db::commands::find_by_key(c, key).await? {
                Some(stored) => Ok(Some((stored.fingerprint, outcomes(c, &[stored.id]).await?.into_iter().next()))),
                None => Ok(None),
            }
        })
    });
    match found.await {
        Ok(Some((fingerprint, _))) if fingerprint != Some(idempotency.fingerprint) => {
            state.recent_keys.forget(&idempotency);
            Err(Error::KeyReused)
        }
        Ok(found) => Ok(found.and_then(|(_, decided)| decided)),
        Err(error) => {
            tracing::debug!(?error, "an idempotency key could not be looked up");
            Ok(None)
        }
    }
}

/// What came of those of these commands that are decided, or have failed.
pub(crate) async fn outcomes(connection: &mut PgConnection, ids: &[Uuid]) -> db::Result<Vec<Decided>> {
    let orders = db::orders::find(connection, ids).await?;
    let commands = db::commands::find(connection, ids).await?;
    let failed = db::dead_letters::failed(connection, ids).await?;
    let changed: Vec<Uuid> = commands.iter().filter_map(|command| command.order).collect();
    let changed = if changed.is_empty() { Vec::new() } else { db::orders::find(connection, &changed).await? };
    let mut decided: Vec<Decided> = orders.into_iter().map(|stored| Decided::OrderV1(stored.order)).collect();
    decided.extend(commands.into_iter().filter_map(|command| {
        let order = changed.iter().find(|stored| Some(stored.order.id) == command.order);
        command.told(order.map(|stored| stored.order.clone()))
    }));
    // What is decided comes first: a dead letter may be of one that was queued twice.
    decided.extend(failed.into_iter().map(|(id, _)| Decided::FailedV1 { id }));
    Ok(decided)
}
