//! A task that is tried again: pauses that grow, and a deadline for each try.

use super::action::TaskId;
use super::config::Timing;
use crate::agent::types::UnixMs;

/// Whoever performs a task gives up at its time limit; the runbook gives up this much later. The pilot counts
/// from the same moment, so both give up together.
pub const GRACE_MS: u64 = 2_000;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tries {
    /// It is to begin.
    Pausing {
        /// The number of the try, from 1.
        attempt: u32,
        until: UnixMs,
    },
    /// It was handed out.
    Running { task: TaskId, attempt: u32, deadline: UnixMs },
}

impl Tries {
    /// To begin at once.
    pub(super) const fn first(now: UnixMs) -> Self {
        Self::Pausing { attempt: 1, until: now }
    }

    /// Handed out now.
    pub(super) const fn running(task: TaskId, attempt: u32, now: UnixMs, timeout_ms: u64) -> Self {
        Self::Running { task, attempt, deadline: now.after_ms(timeout_ms.saturating_add(GRACE_MS)) }
    }

    pub(super) const fn attempt(self) -> u32 {
        match self {
            Self::Pausing { attempt, .. } | Self::Running { attempt, .. } => attempt,
        }
    }

    /// Once more, after a pause that doubles each time. `salt` spreads it by up to a quarter.
    pub(super) fn again(self, now: UnixMs, timing: &Timing, salt: u64) -> Self {
        let attempt = self.attempt();
        let doubled = timing.backoff_ms.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let pause_ms = doubled.min(timing.max_backoff_ms).max(1);
        let spread = mix(salt ^ (u64::from(attempt) << 32)) % (pause_ms / 4 + 1);
        Self::Pausing { attempt: attempt.saturating_add(1), until: now.after_ms(pause_ms + spread) }
    }

    /// Once more after the same pause, without counting this try.
    pub(super) fn uncounted(self, now: UnixMs, timing: &Timing, salt: u64) -> Self {
        Self::Pausing { attempt: self.attempt(), until: self.again(now, timing, salt).deadline() }
    }

    /// The same with its times moved on.
    pub(super) const fn later(self, ms: u64) -> Self {
        match self {
            Self::Pausing { attempt, until } => Self::Pausing { attempt, until: until.after_ms(ms) },
            Self::Running { task, attempt, deadline } => {
                Self::Running { task, attempt, deadline: deadline.after_ms(ms) }
            }
        }
    }

    /// Whether its answer, if it comes now, comes too late.
    pub(super) fn is_overdue(self, now: UnixMs) -> bool {
        matches!(self, Self::Running { deadline, .. } if deadline <= now)
    }

    /// When it needs a tick.
    pub(super) const fn deadline(self) -> UnixMs {
        match self {
            Self::Pausing { until, .. } => until,
            Self::Running { deadline, .. } => deadline,
        }
    }
}

/// A number that looks random (the finaliser of SplitMix64).
const fn mix(salt: u64) -> u64 {
    let z = (salt ^ (salt >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A salt of one node: the same each time, another for each name.
pub(super) fn salt_of(name: &str) -> u64 {
    name.bytes().fold(0, |salt, byte| mix(salt ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_spread() {
        let timing = Timing::default();
        let mut tries = Tries::first(UnixMs(0));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            tries = tries.again(UnixMs(1_000), &timing, salt_of("eu"));
            pauses.push(tries.deadline().since_ms(UnixMs(1_000)));
        }
        assert!((500..=625).contains(&pauses[0]) && (1_000..=1_250).contains(&pauses[1]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 18_750));
        assert_eq!(tries.attempt(), 41);
        assert_ne!(salt_of("eu"), salt_of("us"));
    }
}
