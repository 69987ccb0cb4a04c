//! What a restarted agent must know of the lines that are kept.

use std::collections::BTreeMap;

use super::format::Line;
use crate::agent::types::{Cause, Entry, IncidentId, Phase, Step, UnixMs};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Days of which switches are counted.
const MAX_DAYS: usize = 32;

/// Something that was announced and of which nobody wrote down how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The line that announced it.
    pub sequence: u64,
    /// When.
    pub at: UnixMs,
    /// The incident.
    pub incident: Option<IncidentId>,
    /// What.
    pub step: Step,
    /// Which time it was tried.
    pub attempt: u32,
}

/// What the lines up to now add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    open: Option<(IncidentId, u64)>,
    closed: Option<IncidentId>,
    unfinished: Option<Unfinished>,
    switches: BTreeMap<u64, u32>,
    last_switch: Option<(UnixMs, Option<IncidentId>)>,
    /// Nothing that is announced now touches the live record.
    is_dry_run: bool,
    drill: Option<IncidentId>,
}

impl Recovered {
    /// The incident that has neither been reported nor come to nothing.
    #[must_use]
    pub fn open_incident(&self) -> Option<&IncidentId> {
        self.open.as_ref().map(|(incident, _)| incident)
    }

    /// The last announcement, when its end is not written down: it may have been done or not.
    #[must_use]
    pub const fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_ref()
    }

    /// Switches of the live record announced on the UTC day of `at`; retries of one incident count once.
    #[must_use]
    pub fn switches_on_day_of(&self, at: UnixMs) -> u32 {
        self.switches.get(&(at.0 / DAY_MS)).copied().unwrap_or(0)
    }

    /// When the live record was last to be switched.
    #[must_use]
    pub fn last_switch(&self) -> Option<UnixMs> {
        self.last_switch.as_ref().map(|(at, _)| *at)
    }

    /// The number of the first line of the open incident: from there on no file may be dropped.
    pub(super) fn needed_from(&self) -> Option<u64> {
        self.open.as_ref().map(|(_, sequence)| *sequence)
    }

    pub(super) fn see(&mut self, line: &Line) {
        let Some(entry) = line.logged.known() else {
            self.see_incident(line, false);
            return;
        };
        self.see_incident(line, matches!(entry, Entry::Moved { to: Phase::Reported | Phase::Watching, .. }));
        match entry {
            Entry::Started { mode, .. } => self.is_dry_run = mode.contains("dry"),
            Entry::Command { command, .. } if command == "drill" => self.drill.clone_from(&line.incident),
            Entry::Planned { cause: Cause::Drill, .. } => self.drill.clone_from(&line.incident),
            Entry::Intent { step, attempt, .. } => self.see_intent(line, *step, *attempt),
            Entry::Outcome { step, attempt, .. } => {
                let ends = |open: &Unfinished| open.step == *step && open.attempt == *attempt;
                if self.unfinished.as_ref().is_some_and(ends) {
                    self.unfinished = None;
                }
            }
            _ => {}
        }
    }

    fn see_incident(&mut self, line: &Line, closes: bool) {
        let Some(incident) = &line.incident else { return };
        if closes {
            self.open = self.open.take().filter(|(open, _)| open != incident);
            self.closed = Some(incident.clone());
        } else if self.open_incident() != Some(incident) && self.closed.as_ref() != Some(incident) {
            self.open = Some((incident.clone(), line.sequence));
        }
    }

    fn see_intent(&mut self, line: &Line, step: Step, attempt: u32) {
        let Line { sequence, at, incident, .. } = line;
        self.unfinished =
            Some(Unfinished { sequence: *sequence, at: *at, incident: incident.clone(), step, attempt });
        let is_drill = incident.is_some() && self.drill == *incident;
        if step != Step::WriteRecord || self.is_dry_run || is_drill {
            return;
        }
        let is_retry =
            self.last_switch.as_ref().is_some_and(|(_, last)| incident.is_some() && last == incident);
        if !is_retry {
            *self.switches.entry(at.0 / DAY_MS).or_default() += 1;
        }
        self.last_switch = Some((*at, incident.clone()));
        while self.switches.len() > MAX_DAYS {
            self.switches.pop_first();
        }
    }
}
