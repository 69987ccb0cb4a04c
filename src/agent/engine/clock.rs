//! The agent's time: the wall clock at its start, moved on by the monotonic one.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::agent::pager::Acknowledged;
use crate::agent::types::UnixMs;
use crate::time::whole_ms;

/// Never goes back, not even behind times that the agent journalled before a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgentClock {
    base: UnixMs,
    origin: Instant,
}

/// One moment by both clocks. They differ when the wall clock was set after the start, or when the journal was
/// dated ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) agent: UnixMs,
    pub(super) wall: UnixMs,
}

impl AgentClock {
    /// From now on, and after `past`.
    pub(super) fn start(past: UnixMs) -> Self {
        Self { base: wall_clock().max(past.after_ms(1)), origin: Instant::now() }
    }

    pub(super) fn now(&self) -> UnixMs {
        self.at(Instant::now())
    }

    /// The time of a moment that has passed.
    pub(super) fn at(&self, moment: Instant) -> UnixMs {
        let since = moment.saturating_duration_since(self.origin);
        self.base.after_ms(whole_ms(since))
    }

    /// Now, by both clocks.
    pub(super) fn moment(&self) -> Moment {
        Moment { agent: self.now(), wall: wall_clock() }
    }
}

impl Moment {
    /// The wall-clock time `wall_ms` of another host, in the agent's own time.
    pub(super) fn agent_time_of(&self, wall_ms: i64) -> UnixMs {
        let ahead_ms = i128::from(self.agent.0) - i128::from(self.wall.0);
        UnixMs(u64::try_from((i128::from(wall_ms) + ahead_ms).max(0)).unwrap_or(u64::MAX))
    }

    /// When a person acknowledged, in the agent's own time; `None` when the pager does not say it. By the pager's
    /// clock where that is told, since this host's may be wrong.
    pub(super) fn agent_time_of_acknowledgement(&self, person: &Acknowledged) -> Option<UnixMs> {
        if let Some(ago) = person.ago {
            return Some(UnixMs(self.agent.0.saturating_sub(whole_ms(ago))));
        }
        let at = person.at.parse::<jiff::Timestamp>().ok()?;
        Some(self.agent_time_of(at.as_millisecond()))
    }

    /// How far the two clocks are apart.
    pub(super) const fn apart_ms(&self) -> u64 {
        self.agent.0.abs_diff(self.wall.0)
    }
}

fn wall_clock() -> UnixMs {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(whole_ms(wall))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_of_the_world_is_found_in_the_agents_own_whichever_clock_is_ahead() {
        for (agent, wall, told, expected) in [
            (1_000_000, 1_000_000, 999_000, 999_000),
            (1_120_000, 1_000_000, 999_000, 1_119_000),
            (1_000_000, 1_120_000, 1_119_000, 999_000),
            (1_000, 9_000_000, 5, 0),
            (u64::MAX, 0, i64::MAX, u64::MAX),
        ] {
            let moment = Moment { agent: UnixMs(agent), wall: UnixMs(wall) };
            assert_eq!(moment.agent_time_of(told), UnixMs(expected), "{moment:?} {told}");
        }
    }

    #[test]
    fn an_acknowledgement_is_dated_by_the_pagers_clock_and_by_this_hosts_only_where_that_is_not_told() {
        // This host's clock is two hours ahead.
        let moment = Moment { agent: UnixMs(7_260_000), wall: UnixMs(7_260_000) };
        let person = |at: &str, ago_s: Option<u64>| Acknowledged {
            by: "Ada".to_owned(),
            at: at.to_owned(),
            ago: ago_s.map(Duration::from_secs),
        };
        for (at, ago_s, expected) in [
            ("1970-01-01T00:00:50Z", Some(10), Some(7_250_000)),
            ("1970-01-01T00:00:50Z", None, Some(50_000)),
            ("1970-01-01T00:00:50Z", Some(1 << 40), Some(0)),
            ("yesterday", None, None),
        ] {
            let found = moment.agent_time_of_acknowledgement(&person(at, ago_s));
            assert_eq!(found, expected.map(UnixMs), "{at} {ago_s:?}");
        }
    }
}
