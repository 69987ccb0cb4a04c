//! The epoch that counts of this node begin at. Pure: what was stored and the clocks come in.
//!
//! Counts must never come back, over any restart and whatever the wall clock does. So a promise is
//! stored ahead of use: *no epoch above this was ever used*. A start begins above both the promise and
//! the wall clock, and the promise is renewed before the running epoch reaches it.

use std::time::Duration;

use crate::time::whole_ms;

/// How far ahead of use the promise is stored.
pub const EPOCH_LEASE: Duration = Duration::from_secs(600);
/// How far above all that were used the last promise of a run lies: so many milliseconds of counting, 2^20 tokens each,
/// are more than buckets can be ahead of their time.
const LAST_LEASE: Duration = Duration::from_secs(60);
/// The epoch shifted by 20 bits has to fit 64 bits with room to count.
const MAX_EPOCH_MS: u64 = (1 << 43) - 1;

/// The epoch of a run of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    start_ms: u64,
    promised_ms: u64,
    /// What earlier runs promised; never taken back.
    found_ms: u64,
}

impl Epoch {
    /// The epoch of a start: the wall clock, or the first above what was promised when that is later.
    #[must_use]
    pub fn start(promised_ms: Option<u64>, unix_ms: u64) -> Self {
        let above = promised_ms.map_or(0, |promised| promised.saturating_add(1));
        let start_ms = unix_ms.max(above).min(MAX_EPOCH_MS);
        let found_ms = promised_ms.unwrap_or(0);
        Self { start_ms, promised_ms: found_ms, found_ms }
    }

    /// Whether a run can begin above this promise. None of this program's reaches so far, and every start above
    /// it would have the same epoch.
    #[must_use]
    pub const fn can_follow(promised_ms: u64) -> bool {
        promised_ms < MAX_EPOCH_MS
    }

    /// Milliseconds at monotonic zero.
    #[must_use]
    pub const fn start_ms(&self) -> u64 {
        self.start_ms
    }

    /// The promise to store now, `elapsed` after the start, if the one stored is less than half a lease
    /// ahead.
    #[must_use]
    pub fn renewal(&self, elapsed: Duration) -> Option<u64> {
        let now_ms = self.start_ms.saturating_add(whole_ms(elapsed));
        let due = self.promised_ms < now_ms.saturating_add(whole_ms(EPOCH_LEASE / 2));
        due.then(|| now_ms.saturating_add(whole_ms(EPOCH_LEASE)))
    }

    /// The promise to store at the end, `elapsed` after the start, when nothing is counted any more: the next start
    /// need not begin as far ahead of the clock as after a crash.
    #[must_use]
    pub fn last_promise(&self, elapsed: Duration) -> u64 {
        let reached_ms = self.start_ms.saturating_add(whole_ms(elapsed));
        reached_ms.saturating_add(whole_ms(LAST_LEASE)).max(self.found_ms)
    }

    /// Takes note of a promise of an earlier run that is found only now.
    pub fn found(&mut self, promised_ms: u64) {
        self.found_ms = self.found_ms.max(promised_ms);
        self.promised(promised_ms);
    }

    /// Takes note that the promises of this run are on the disk no longer.
    pub const fn lost(&mut self) {
        self.promised_ms = self.found_ms;
    }

    /// Takes note that a promise is on the disk.
    pub fn promised(&mut self, promised_ms: u64) {
        self.promised_ms = self.promised_ms.max(promised_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Runs of any length, any wall clock, ends of any kind after the first promise.
        #[test]
        fn an_epoch_never_comes_back(
            runs in proptest::collection::vec((any::<u32>(), 0_u64..2_000_000, any::<bool>()), 1..20),
        ) {
            let mut stored = None;
            let mut highest = 0;
            for (unix_ms, lived_ms, ends_well) in runs {
                let mut epoch = Epoch::start(stored, u64::from(unix_ms));
                prop_assert!(epoch.start_ms() > highest || stored.is_none());
                let mut at = 0;
                while at <= lived_ms {
                    if let Some(promise) = epoch.renewal(Duration::from_millis(at)) {
                        stored = Some(promise);
                        epoch.promised(promise);
                    }
                    highest = highest.max(epoch.start_ms() + at);
                    prop_assert!(stored.is_some_and(|promise| promise >= highest));
                    at += 60_000;
                }
                if ends_well {
                    stored = Some(epoch.last_promise(Duration::from_millis(lived_ms)));
                }
            }
        }
    }

    #[test]
    fn a_wall_clock_that_went_back_does_not_take_the_epoch_along() {
        assert_eq!(Epoch::start(Some(5_000), 1_000).start_ms(), 5_001);
        assert_eq!(Epoch::start(Some(5_000), 9_000).start_ms(), 9_000);
        assert_eq!(Epoch::start(None, 9_000).start_ms(), 9_000);
    }

    #[test]
    fn the_last_promise_is_a_minute_ahead_and_takes_none_back_that_was_found() {
        let mut epoch = Epoch::start(None, 1_000_000);
        epoch.promised(1_600_000);
        assert_eq!(epoch.last_promise(Duration::from_secs(5)), 1_065_000);
        epoch.found(9_000_000);
        assert_eq!(epoch.last_promise(Duration::from_secs(5)), 9_000_000);
    }

    #[test]
    fn a_promise_that_was_lost_is_due_again() {
        let mut epoch = Epoch::start(Some(5_000), 1_000);
        let promise = epoch.renewal(Duration::ZERO).unwrap();
        epoch.promised(promise);
        assert_eq!(epoch.renewal(Duration::ZERO), None);
        epoch.lost();
        assert_eq!(epoch.renewal(Duration::ZERO), Some(promise));
    }

    #[test]
    fn starts_above_any_promise_that_can_be_followed_differ() {
        assert!(Epoch::can_follow(MAX_EPOCH_MS - 1) && !Epoch::can_follow(MAX_EPOCH_MS));
        assert_eq!(Epoch::start(Some(MAX_EPOCH_MS - 1), 9_000).start_ms(), MAX_EPOCH_MS);
    }

    #[test]
    fn an_epoch_leaves_room_to_count() {
        assert_eq!(Epoch::start(Some(u64::MAX), u64::MAX).start_ms(), MAX_EPOCH_MS);
    }
}
