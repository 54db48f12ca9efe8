//! The policy of batches: how many commands are decided together, and whether to wait for more. Pure.
//!
//! A transaction costs nearly the same for ten commands as for fifty, so under load it pays to take more at once; alone, an
//! order should wait for nothing. What tells the two apart is the batch before.
//!
//! | gathered | the batch before | then |
//! | --- | --- | --- |
//! | as many as fit | any | decide |
//! | any | up to [`FEW`]: nobody else is on the way | decide |
//! | at least half of it | more | decide |
//! | less than half of it | more | wait for more, until [`Pace::linger`] after the first |
//!
//! How many fit follows from how long batches take: one that takes longer than [`Pace::target`] halves the next, one that
//! was full and took less than half of it doubles the next, up to [`Pace::commands_max`]. So a slow disk or long orders do
//! not make others wait behind one endless transaction, nor hold row locks for long.

use std::time::Duration;

/// A batch of so few commands says that there is no load to wait for.
const FEW: usize = 4;
/// Batches are never made smaller than this for the time they take: below it a transaction's fixed costs are most of it.
const FIT_MIN: usize = 16;

/// What to do with what has been gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Decide,
    /// Wait for more, for this long at the most.
    Wait(Duration),
}

/// The pace of one writer.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Most commands of a batch.
    commands_max: usize,
    /// Longest wait for more under load.
    linger: Duration,
    /// How long a batch should take at the most.
    target: Duration,
    /// Commands of the batch before.
    before: usize,
    /// Commands that fit into the next batch.
    fit: usize,
}

impl Pace {
    pub(super) fn new(commands_max: usize, linger: Duration, target: Duration) -> Self {
        Self { commands_max, linger, target, before: 0, fit: commands_max }
    }

    /// Commands that fit into the next batch.
    pub(super) fn fit(&self) -> usize {
        self.fit
    }

    /// What to do with `gathered` commands, all that were there, `waited` after the first.
    pub(super) fn next(&self, gathered: usize, waited: Duration) -> Next {
        let load = self.before > FEW && gathered < self.fit && gathered * 2 < self.before;
        match self.linger.checked_sub(waited) {
            Some(left) if load && !left.is_zero() => Next::Wait(left),
            _ => Next::Decide,
        }
    }

    /// Notes a batch that was decided.
    pub(super) fn decided(&mut self, commands: usize, took: Duration) {
        self.before = commands;
        if took > self.target {
            self.fit = (commands / 2).clamp(FIT_MIN.min(self.commands_max), self.fit);
        } else if commands >= self.fit && took * 2 <= self.target {
            self.fit = (self.fit * 2).min(self.commands_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(2);
    const TARGET: Duration = Duration::from_millis(200);

    fn pace(before: usize) -> Pace {
        let mut pace = Pace::new(1_000, LINGER, TARGET);
        pace.decided(before, TARGET / 10);
        pace
    }

    #[test]
    fn a_lone_order_waits_for_nothing_and_load_waits_for_its_like() {
        let ms = Duration::from_millis;
        for (before, gathered, waited, next) in [
            (0, 1, ms(0), Next::Decide),
            (1, 1, ms(0), Next::Decide),
            (FEW, 1, ms(0), Next::Decide),
            (FEW + 1, 1, ms(0), Next::Wait(LINGER)),
            (100, 49, ms(0), Next::Wait(LINGER)),
            (100, 49, ms(1), Next::Wait(ms(1))),
            (100, 49, ms(2), Next::Decide),
            (100, 50, ms(0), Next::Decide),
            (1_000, 1_000, ms(0), Next::Decide),
        ] {
            assert_eq!(
                pace(before).next(gathered, waited),
                next,
                "{gathered} after {before}, {waited:?} after the first"
            );
        }
    }

    #[test]
    fn load_that_has_ended_is_waited_for_once() {
        let mut pace = pace(500);
        assert_eq!(pace.next(1, Duration::ZERO), Next::Wait(LINGER));
        pace.decided(1, TARGET / 10);
        assert_eq!(pace.next(1, Duration::ZERO), Next::Decide);
    }

    #[test]
    fn without_a_linger_nothing_waits() {
        let mut pace = Pace::new(1_000, Duration::ZERO, TARGET);
        pace.decided(500, TARGET / 10);
        assert_eq!(pace.next(1, Duration::ZERO), Next::Decide);
    }

    #[test]
    fn batches_shrink_while_they_take_long_and_grow_again_when_full_ones_are_quick() {
        let mut pace = Pace::new(1_000, LINGER, TARGET);
        let mut fits = Vec::new();
        let (slow, middling, quick) = (TARGET * 2, TARGET * 3 / 4, TARGET / 4);
        for (commands, took) in [
            (1_000, slow),
            (500, slow),
            (10, slow),
            (16, middling),
            (9, quick),
            (16, quick),
            (32, quick),
            (900, quick),
            (900, quick),
            (900, quick),
            (900, quick),
            (900, quick),
        ] {
            pace.decided(commands, took);
            fits.push(pace.fit());
        }
        assert_eq!(fits, [500, 250, FIT_MIN, 16, 16, 32, 64, 128, 256, 512, 1_000, 1_000]);
    }
}
