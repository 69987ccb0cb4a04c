//! The agent's time: the wall clock at its start, moved on by the monotonic one.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::agent::types::UnixMs;

/// Never goes back, not even behind what an earlier life of the agent wrote down.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgentClock {
    base: UnixMs,
    origin: Instant,
}

impl AgentClock {
    /// From now on, and after `past`.
    pub(super) fn start(past: UnixMs) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = UnixMs(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Self { base: wall.max(past.after_ms(1)), origin: Instant::now() }
    }

    pub(super) fn now(&self) -> UnixMs {
        self.at(Instant::now())
    }

    /// The time of a moment that has passed.
    pub(super) fn at(&self, moment: Instant) -> UnixMs {
        let since = moment.saturating_duration_since(self.origin);
        self.base.after_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
