//! How long to wait before trying again: exponential with jitter, without end. The only file that names the `backoff`
//! crate, so that a change of crate is a change of this file.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// First wait 50 ms, then half as long again each time up to 5 s, each moved by up to 50 % at random.
pub struct Retry(ExponentialBackoff);

impl Default for Retry {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }
}

impl Retry {
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self(ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            max_interval: longest,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The next wait; grows with each call.
    pub fn next_wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// To be called when what was tried has worked.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_never_end() {
        let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<Duration> = (0..50).map(|_| retry.next_wait()).collect();
        assert!(waits[0] <= Duration::from_millis(150));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(1500)));
        assert!(waits[49] >= Duration::from_millis(500));
        retry.reset();
        assert!(retry.next_wait() <= Duration::from_millis(150));
    }
}
