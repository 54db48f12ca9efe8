//! Whose key it is. Known keys are kept in memory and looked up again every few seconds, so accepting an order touches no
//! database, goes on while the database is away, and ends soon after a key is revoked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use common::db::accounts::{self, Principal, Role};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::keys::{self, Hash};
use crate::state::{App, Slot, State};

/// Most keys that are remembered, known and unknown ones each. Past it they are looked up anew.
const REMEMBERED_MAX: usize = 100_000;
/// Most look-ups at once. Who waits for its turn may find that another has asked for the same key.
const LOOK_UPS_MAX: usize = 4;
/// How long a key that is none is not looked up again.
const UNKNOWN_SECONDS: u64 = 2;
const KEY_BYTES_MAX: usize = 512;

/// Keys by the hash of each; the keys themselves are not kept.
pub(crate) struct Keys {
    known: Mutex<HashMap<Hash, Principal>>,
    unknown: Mutex<HashMap<Hash, Instant>>,
    look_ups: Semaphore,
}

impl Default for Keys {
    fn default() -> Self {
        Self { known: Mutex::default(), unknown: Mutex::default(), look_ups: Semaphore::new(LOOK_UPS_MAX) }
    }
}

impl Keys {
    fn recall(&self, hash: &Hash) -> Option<Result<Principal, Error>> {
        if let Some(principal) = lock(&self.known).get(hash) {
            return Some(Ok(*principal));
        }
        let since = *lock(&self.unknown).get(hash)?;
        (since.elapsed() < Duration::from_secs(UNKNOWN_SECONDS)).then_some(Err(Error::Unauthenticated))
    }

    fn remember(&self, hash: Hash, principal: Option<Principal>) {
        match principal {
            Some(principal) => insert(&mut lock(&self.known), hash, principal),
            None => insert(&mut lock(&self.unknown), hash, Instant::now()),
        }
    }
}

fn insert<T>(map: &mut HashMap<Hash, T>, hash: Hash, value: T) {
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
    map.insert(hash, value);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who calls; `401` without a key in force.
pub(crate) struct Caller(pub(crate) Principal);

impl FromRequestParts<Arc<Slot>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, slot: &Arc<Slot>) -> Result<Self, Error> {
        let App(state) = App::from_request_parts(parts, slot).await?;
        let header = parts.headers.get(AUTHORIZATION).ok_or(Error::Unauthenticated)?;
        let (scheme, key) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Error::Unauthenticated)?;
        let key = key.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Error::Unauthenticated);
        }
        let hash = keys::hash(key);
        let principal = match state.keys.recall(&hash) {
            Some(recalled) => recalled?,
            None => look_up(&state, hash).await?,
        };
        Ok(Self(principal))
    }
}

/// Who calls, where it is an operator; `403` for others.
pub(crate) struct Operator(pub(crate) Principal);

impl FromRequestParts<Arc<Slot>> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, slot: &Arc<Slot>) -> Result<Self, Error> {
        let Caller(principal) = Caller::from_request_parts(parts, slot).await?;
        match principal.role {
            Role::Operator => Ok(Self(principal)),
            Role::Client => Err(Error::Forbidden),
        }
    }
}

async fn look_up(state: &State, hash: Hash) -> Result<Principal, Error> {
    let turn = tokio::time::timeout(state.config.database_wait, state.keys.look_ups.acquire());
    let _turn = turn.await.map_err(|_| Error::Database(common::db::Error::TimedOut))?;
    if let Some(recalled) = state.keys.recall(&hash) {
        return recalled;
    }
    let found = state.read(move |c| Box::pin(async move { accounts::find_keys(c, &[hash]).await })).await?;
    let principal = found.first().map(|(_, principal)| *principal);
    state.keys.remember(hash, principal);
    principal.ok_or(Error::Unauthenticated)
}

/// Looks all known keys up again, every [`crate::Config::keys_refresh_every`]. While the database is away they stay.
pub(crate) async fn refresh(state: Arc<State>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(state.config.keys_refresh_every) => {},
            () = stop.cancelled() => return,
        }
        let hashes: Vec<Hash> = lock(&state.keys.known).keys().copied().collect();
        if hashes.is_empty() {
            continue;
        }
        let asked = hashes.clone();
        match state.read(move |c| Box::pin(async move { accounts::find_keys(c, &asked).await })).await {
            Ok(found) => {
                let in_force: HashMap<Hash, Principal> = found.into_iter().collect();
                let mut known = lock(&state.keys.known);
                for hash in hashes {
                    match in_force.get(&hash) {
                        Some(principal) => known.insert(hash, *principal),
                        None => known.remove(&hash),
                    };
                }
            }
            Err(error) => tracing::debug!(?error, "keys could not be looked up again"),
        }
    }
}
