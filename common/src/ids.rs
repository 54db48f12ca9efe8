//! Order ids: UUIDv8 (RFC 9562, section 5.8) that carry a keyed authentication code over themselves and the account they
//! were issued to. So any api instance tells, without a database, an id that was issued to this account and is still
//! waiting from one that never was.
//!
//! | bits | without an idempotency key | with one |
//! | --- | --- | --- |
//! | 0-31 | seconds since 1970 | hash of account and key |
//! | 32-47 | of the issuing process, random | hash of account and key |
//! | 48-51 | version: 8 | version: 8 |
//! | 52-55 | 0, 3 bits of the process | 1, 3 bits of the day |
//! | 56-63 | partition | partition |
//! | 64-65 | variant: 0b10 | variant: 0b10 |
//! | 66-71 | of the process | day: since 1970, modulo 512 |
//! | 72-95 | counter of the process | fingerprint of the request |
//! | 96-127 | authentication code | authentication code |
//!
//! Without a key an id is new: two processes would have to draw the same 25 random bits and count alike within a second.
//! With a key it is the same for the same request, wherever it arrives on a day. On another day it is another name of the
//! same order: the key decides once, and what was decided is found by the key's hash. It names its partition, so what is
//! asked of an order that is still waiting queues up behind it.

use std::sync::atomic::{AtomicU32, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{Idempotency, Timestamp};

const CODE_BYTES: usize = 4;
const BODY_BYTES: usize = 16 - CODE_BYTES;
const PARTITION_BYTE: usize = 7;
const VARIANT_BITS: u8 = 0b1000_0000;
const VARIANT_MASK: u8 = 0b0011_1111;
const KEYED_BIT: u8 = 0b1000;
const VERSION_BITS: u8 = 0x80;

/// Issues and checks ids. One per process; the key is the store's.
pub struct OrderIds {
    mac: Hmac<Sha256>,
    process: [u8; 4],
    counter: AtomicU32,
}

/// What an id says of itself, once it has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    pub partition: u16,
    /// How long ago at the least it was issued: to the second without an idempotency key, to the day with one.
    pub age_seconds: i64,
    /// Whether an idempotency key was given.
    pub keyed: bool,
}

const DAY_SECONDS: i64 = 86_400;
/// Days that an id can tell apart.
const DAYS: i64 = 512;

impl OrderIds {
    /// `process` is random for each process.
    #[must_use]
    pub fn new(key: &[u8; 32], process: [u8; 4]) -> Self {
        let mac = Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        Self { mac, process, counter: AtomicU32::new(0) }
    }

    /// A new id, never issued before.
    pub fn fresh(&self, account: Uuid, partition: u16, now: Timestamp) -> Uuid {
        let seconds = u32::try_from(now.unix_timestamp()).unwrap_or_default().to_be_bytes();
        let count = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let [p0, p1, p2, p3] = self.process;
        let mut body = [0; BODY_BYTES];
        body[..4].copy_from_slice(&seconds);
        body[4..6].copy_from_slice(&[p0, p1]);
        body[6] = p2 & !KEYED_BIT;
        body[8] = p3;
        body[9..].copy_from_slice(&count[1..]);
        self.seal(body, partition, account)
    }

    /// The one id of this account's key and request on this day.
    #[must_use]
    pub fn keyed(&self, account: Uuid, partition: u16, idempotency: &Idempotency, now: Timestamp) -> Uuid {
        let [high, low] = day(now).to_be_bytes();
        let mut body = [0; BODY_BYTES];
        body[..6].copy_from_slice(&idempotency.key.as_bytes()[..6]);
        // Nine bits of the day: three here, six behind the partition.
        body[6] = KEYED_BIT | high << 2 | low >> 6;
        body[8] = low & VARIANT_MASK;
        body[9..].copy_from_slice(&idempotency.fingerprint.as_bytes()[..3]);
        self.seal(body, partition, account)
    }

    /// What the id says, where it was issued to this account; `None` for any other.
    #[must_use]
    pub fn check(&self, id: Uuid, account: Uuid, now: Timestamp) -> Option<Issued> {
        let bytes = id.as_bytes();
        let mut body = [0; BODY_BYTES];
        body.copy_from_slice(&bytes[..BODY_BYTES]);
        if body[6] & 0xF0 != VERSION_BITS || body[8] & !VARIANT_MASK != VARIANT_BITS {
            return None;
        }
        self.code(&body, account).verify_truncated_left(&bytes[BODY_BYTES..]).ok()?;
        let keyed = body[6] & KEYED_BIT != 0;
        let age_seconds = if keyed {
            let issued = i64::from(body[6] & 0b0111) << 6 | i64::from(body[8] & VARIANT_MASK);
            // It may have been issued at the end of its day; and a day ahead is a clock that is.
            let days = (i64::from(day(now)) - issued).rem_euclid(DAYS);
            if days == DAYS - 1 { 0 } else { (days - 1).max(0) * DAY_SECONDS }
        } else {
            let seconds = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
            (now.unix_timestamp() - i64::from(seconds)).max(0)
        };
        Some(Issued { partition: u16::from(body[PARTITION_BYTE]), age_seconds, keyed })
    }

    fn seal(&self, mut body: [u8; BODY_BYTES], partition: u16, account: Uuid) -> Uuid {
        body[6] = body[6] & 0x0F | VERSION_BITS;
        body[PARTITION_BYTE] = u8::try_from(partition).unwrap_or(u8::MAX);
        body[8] = body[8] & VARIANT_MASK | VARIANT_BITS;
        let code = self.code(&body, account).finalize().into_bytes();
        let mut bytes = [0; 16];
        bytes[..BODY_BYTES].copy_from_slice(&body);
        bytes[BODY_BYTES..].copy_from_slice(&code[..CODE_BYTES]);
        Uuid::from_bytes(bytes)
    }

    fn code(&self, body: &[u8; BODY_BYTES], account: Uuid) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.update(account.as_bytes());
        mac
    }
}

/// Days since 1970, as far as an id can tell them apart.
fn day(now: Timestamp) -> u16 {
    u16::try_from(now.unix_timestamp().div_euclid(DAY_SECONDS).rem_euclid(DAYS)).unwrap_or_default()
}

/// The partition that an id names, whoever it was issued to.
#[must_use]
pub fn partition_in(id: Uuid) -> u16 {
    u16::from(id.as_bytes()[PARTITION_BYTE])
}

/// Whether an id with a key may have been issued for a request of this fingerprint.
#[must_use]
pub fn is_of_request(id: Uuid, fingerprint: Uuid) -> bool {
    id.as_bytes()[9..BODY_BYTES] == fingerprint.as_bytes()[..3]
}

/// The idempotency keys that an id with a key may have been issued for: an id carries the first bits of its key's hash, so
/// this is where to look for what the key has decided. Bits that an id has no room for are anything.
#[must_use]
pub fn key_range(id: Uuid) -> (Uuid, Uuid) {
    // The first six bytes of the hash are kept whole.
    let prefix = id.as_u128() >> 80 << 80;
    (Uuid::from_u128(prefix), Uuid::from_u128(prefix | ((1 << 80) - 1)))
}

/// A UUIDv8 that stands for some content: the first 122 bits of its SHA-256. `purpose` keeps kinds of hash apart.
#[must_use]
pub fn hash_id(purpose: &str, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> OrderIds {
        OrderIds::new(&[7; 32], [1, 2, 3, 4])
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_timestamp(seconds).expect("in range")
    }

    #[test]
    fn an_id_is_known_to_its_account_alone_and_says_its_partition() {
        let (ids, account) = (ids(), Uuid::from_u128(1));
        let id = ids.fresh(account, 200, at(1_700_000_000));
        assert_eq!(id.get_version_num(), 8);
        let issued = Issued { partition: 200, age_seconds: 7, keyed: false };
        assert_eq!(ids.check(id, account, at(1_700_000_007)), Some(issued));
        assert_eq!(ids.check(id, Uuid::from_u128(2), at(1_700_000_007)), None);
        assert_eq!(OrderIds::new(&[8; 32], [0; 4]).check(id, account, at(0)), None, "another store's key");
    }

    #[test]
    fn no_changed_bit_passes() {
        let (ids, account) = (ids(), Uuid::from_u128(1));
        let id = ids.fresh(account, 3, at(1_700_000_000)).as_u128();
        for bit in 0..128 {
            assert_eq!(ids.check(Uuid::from_u128(id ^ 1 << bit), account, at(0)), None, "bit {bit}");
        }
    }

    #[test]
    fn fresh_ids_differ_and_sort_by_time() {
        let (ids, account) = (ids(), Uuid::from_u128(1));
        let issued: std::collections::BTreeSet<Uuid> = (0..10_000).map(|_| ids.fresh(account, 0, at(5))).collect();
        assert_eq!(issued.len(), 10_000);
        assert!(issued.last() < Some(&ids.fresh(account, 0, at(6))));
    }

    fn idempotency(key: &str, body: &str) -> Idempotency {
        Idempotency { key: hash_id("key", &[key.as_bytes()]), fingerprint: hash_id("body", &[body.as_bytes()]) }
    }

    #[test]
    fn an_id_with_a_key_depends_on_key_request_and_day_only() {
        let account = Uuid::from_u128(1);
        let (here, there) = (ids(), OrderIds::new(&[7; 32], [9; 4]));
        let id = here.keyed(account, 5, &idempotency("k", "b"), at(1_700_000_000));
        assert_eq!(there.keyed(account, 5, &idempotency("k", "b"), at(1_700_000_001)), id);
        assert_ne!(here.keyed(account, 5, &idempotency("k", "c"), at(1_700_000_000)), id);
        assert_ne!(here.keyed(account, 5, &idempotency("l", "b"), at(1_700_000_000)), id);
        let next_day = here.keyed(account, 5, &idempotency("k", "b"), at(1_700_086_400));
        assert_ne!(next_day, id);
        let (first, last) = key_range(id);
        assert_eq!(key_range(next_day), (first, last));
        assert!((first..=last).contains(&idempotency("k", "b").key));
        assert!(is_of_request(next_day, idempotency("k", "b").fingerprint));
        assert!(!is_of_request(next_day, idempotency("k", "c").fingerprint));
    }

    #[test]
    fn an_id_with_a_key_tells_its_age_to_the_day() {
        let (ids, account) = (ids(), Uuid::from_u128(1));
        // Over the point where the days begin again from 0.
        for start in [1_700_000_000, 512 * 40 * DAY_SECONDS - 2 * DAY_SECONDS + 5] {
            let id = ids.keyed(account, 5, &idempotency("k", "b"), at(start));
            for (days, age_days) in [(-1, 0), (0, 0), (1, 0), (2, 1), (3, 2), (400, 399), (510, 509)] {
                let issued = ids.check(id, account, at(start + days * DAY_SECONDS)).expect("it was issued");
                assert_eq!((issued.partition, issued.keyed), (5, true));
                assert_eq!(issued.age_seconds, age_days * DAY_SECONDS, "{days} days later");
            }
        }
    }

    #[test]
    fn parts_of_a_hash_are_kept_apart() {
        assert_ne!(hash_id("p", &[b"ab", b"c"]), hash_id("p", &[b"a", b"bc"]));
    }
}
