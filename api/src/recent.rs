//! Idempotency keys that this instance has just seen: two requests with the same key and different bodies are told apart
//! here before either is decided. Elsewhere, and after a restart, the writer tells them apart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use common::domain::Idempotency;
use uuid::Uuid;

const REMEMBERED_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct RecentKeys(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    fingerprints: HashMap<Uuid, Uuid>,
    oldest_first: VecDeque<Uuid>,
}

impl RecentKeys {
    /// Remembers a key; answers whether it was seen with another request. The first one seen stays.
    pub(crate) fn is_reused(&self, idempotency: &Idempotency) -> bool {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fingerprint) = recent.fingerprints.get(&idempotency.key) {
            return *fingerprint != idempotency.fingerprint;
        }
        if recent.oldest_first.len() >= REMEMBERED_MAX
            && let Some(oldest) = recent.oldest_first.pop_front()
        {
            recent.fingerprints.remove(&oldest);
        }
        recent.fingerprints.insert(idempotency.key, idempotency.fingerprint);
        recent.oldest_first.push_back(idempotency.key);
        false
    }

    /// Forgets a key whose request was not accepted: another request may use it.
    pub(crate) fn forget(&self, idempotency: &Idempotency) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.fingerprints.remove(&idempotency.key);
        recent.oldest_first.retain(|key| *key != idempotency.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idempotency(key: u128, fingerprint: u128) -> Idempotency {
        Idempotency { key: Uuid::from_u128(key), fingerprint: Uuid::from_u128(fingerprint) }
    }

    #[test]
    fn the_first_request_of_a_key_holds_until_it_is_forgotten() {
        let recent = RecentKeys::default();
        assert!(!recent.is_reused(&idempotency(1, 1)));
        assert!(!recent.is_reused(&idempotency(1, 1)));
        assert!(recent.is_reused(&idempotency(1, 2)));
        recent.forget(&idempotency(1, 1));
        assert!(!recent.is_reused(&idempotency(1, 2)));
    }

    #[test]
    fn memory_is_bounded() {
        let recent = RecentKeys::default();
        for key in 0..20_000 {
            assert!(!recent.is_reused(&idempotency(key, 1)));
        }
        assert!(!recent.is_reused(&idempotency(0, 2)), "forgotten");
        assert!(recent.is_reused(&idempotency(19_999, 2)));
    }
}
