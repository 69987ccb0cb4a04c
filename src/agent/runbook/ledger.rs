//! Switches that were made, so that there are not too many of them.

use std::collections::VecDeque;

use crate::agent::traffic::differences;
use crate::agent::types::{DAY_MS, IncidentId, RecordState, UnixMs};

/// How many switches are remembered; the daily cap is far below.
const MAX_SWITCHES: usize = 1024;

/// One switch, counted when it is announced, since a call whose answer is lost may have been carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) at: UnixMs,
    pub(super) incident: IncidentId,
    pub(super) expected: RecordState,
    pub(super) wanted: RecordState,
}

/// Switches of the live record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    switches: VecDeque<Switch>,
    /// Somebody else's change was noticed then, or a record was put back.
    changed_at: Option<UnixMs>,
    /// Putting back was last announced then.
    restored_at: Option<UnixMs>,
    /// What was last announced: a record that shows it is not somebody else's work.
    announced: Option<RecordState>,
}

impl Ledger {
    /// A write of the live record is announced. One that is tried again for the same incident counts once.
    pub(super) fn announce(&mut self, switch: Switch) {
        self.announced = Some(switch.wanted.clone());
        if let Some(same) = self.of(&switch.incident) {
            same.at = switch.at;
            return;
        }
        self.switches.push_back(switch);
        if self.switches.len() > MAX_SWITCHES {
            self.switches.pop_front();
        }
    }

    fn of(&mut self, incident: &IncidentId) -> Option<&mut Switch> {
        self.switches.iter_mut().find(|switch| switch.incident == *incident)
    }

    /// Putting the record back to `wanted` is announced. It does not count as a switch, and others wait for it.
    pub(super) fn announce_restore(&mut self, at: UnixMs, wanted: RecordState) {
        (self.announced, self.restored_at) = (Some(wanted), Some(at));
        self.note_change(at);
    }

    /// What was announced had no effect, and is tried again at `at`.
    pub(super) fn put_off_restore(&mut self, at: UnixMs) {
        self.restored_at = Some(at);
    }

    /// Somebody else changed the record.
    pub(super) fn note_change(&mut self, at: UnixMs) {
        self.changed_at = self.changed_at.max(Some(at));
    }

    /// When putting back was last announced.
    pub(super) const fn restored_at(&self) -> Option<UnixMs> {
        self.restored_at
    }

    /// What `incident` announced.
    pub(super) fn switch_of(&self, incident: &IncidentId) -> Option<&Switch> {
        self.switches.iter().find(|switch| switch.incident == *incident)
    }

    /// Whether `found` is what this agent last announced.
    pub(super) fn explains(&self, found: &RecordState) -> bool {
        self.announced.as_ref().is_some_and(|announced| is_same(announced, found))
    }

    /// When the record last changed, not counting what `incident` did.
    pub(super) fn changed_before(&self, incident: Option<&IncidentId>) -> Option<UnixMs> {
        let others = self.switches.iter().filter(|switch| Some(&switch.incident) != incident);
        others.map(|switch| switch.at).max().max(self.changed_at)
    }

    /// Switches on the UTC day of `now`, not counting those of `incident`.
    pub(super) fn on_day_of(&self, now: UnixMs, incident: Option<&IncidentId>) -> u32 {
        let is_today = |switch: &&Switch| switch.at.0 / DAY_MS == now.0 / DAY_MS;
        let others = self.switches.iter().filter(|switch| Some(&switch.incident) != incident);
        u32::try_from(others.filter(is_today).count()).unwrap_or(u32::MAX)
    }
}

/// Whether both lead traffic to the same place.
pub(super) fn is_same(a: &RecordState, b: &RecordState) -> bool {
    differences(a, b).is_empty()
}
