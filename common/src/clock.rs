//! The one place that reads the system clock (`clippy.toml` forbids it elsewhere). What decides about stock takes the
//! database's time instead; this one dates acceptances.

use crate::domain::Timestamp;

/// Now, in UTC, cut to microseconds: what PostgreSQL keeps, so that a stored time equals the one that was sent.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Timestamp {
    let now = time::OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1000 * 1000).unwrap_or(now)
}
