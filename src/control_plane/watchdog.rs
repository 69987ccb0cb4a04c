//! Whether the data threads turn. Pure: their turn counts and the time come in.

use std::time::Duration;

use crate::time::MonotonicNs;

/// A data thread turns at least four times a second; one that has not for so long is stalled.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(3);

/// The last turn seen of each data thread.
#[derive(Debug)]
pub(super) struct Watchdog {
    cores: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    turns: u64,
    at: MonotonicNs,
    stalled: bool,
}

/// What changed of a data thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has stopped turning.
    Stalled {
        /// Its number.
        core: usize,
    },
    /// It turns again.
    Recovered {
        /// Its number.
        core: usize,
    },
}

impl Watchdog {
    pub(super) fn new(cores: usize, now: MonotonicNs) -> Self {
        Self { cores: vec![Seen { turns: 0, at: now, stalled: false }; cores] }
    }

    /// Takes note of how often thread `core` has turned by now.
    pub(super) fn observe(&mut self, core: usize, turns: u64, now: MonotonicNs) -> Option<Change> {
        let seen = self.cores.get_mut(core)?;
        if turns != seen.turns {
            seen.turns = turns;
            seen.at = now;
        }
        let stalled = now >= seen.at.after(STALLED_AFTER);
        if stalled == seen.stalled {
            return None;
        }
        seen.stalled = stalled;
        Some(if stalled { Change::Stalled { core } } else { Change::Recovered { core } })
    }

    pub(super) fn any_stalled(&self) -> bool {
        self.cores.iter().any(|seen| seen.stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: u64) -> MonotonicNs {
        MonotonicNs(s * 1_000_000_000)
    }

    #[test]
    fn a_thread_that_turns_is_never_stalled() {
        let mut watchdog = Watchdog::new(1, second(0));
        assert!((1..100).all(|s| watchdog.observe(0, s, second(s)).is_none()));
        assert!(!watchdog.any_stalled());
    }

    #[test]
    fn a_thread_that_stops_is_told_once_and_again_when_it_recovers() {
        let mut watchdog = Watchdog::new(2, second(0));
        let mut changes = Vec::new();
        for s in 1..10 {
            changes.extend(watchdog.observe(0, s, second(s)));
            changes.extend(watchdog.observe(1, s.min(2), second(s)));
        }
        assert_eq!(changes, [Change::Stalled { core: 1 }]);
        assert!(watchdog.any_stalled());
        assert_eq!(watchdog.observe(1, 3, second(11)), Some(Change::Recovered { core: 1 }));
        assert!(!watchdog.any_stalled());
    }

    #[test]
    fn a_thread_that_never_turned_is_stalled_too() {
        let mut watchdog = Watchdog::new(1, second(0));
        assert_eq!(watchdog.observe(0, 0, second(3)), Some(Change::Stalled { core: 0 }));
    }
}
