//! An incident and the state it is in: each state has what it needs and nothing else.

use super::action::About;
use super::event::Ended;
use super::machine::Owed;
use super::record_set::RegionSet;
use super::tries::Tries;
use crate::agent::pager::Severity;
use crate::agent::types::{Cause, IncidentId, Phase, RecordState, Region, UnixMs};

/// How often a write that had no effect is tried, there or back.
pub(super) const MAX_WRITES: u32 = 4;

/// An incident.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub(super) head: Head,
    pub(super) state: State,
}

/// What holds for the whole incident.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: IncidentId,
    /// The region that is withdrawn; in a failback the one that comes back.
    pub(super) region: Region,
    pub(super) cause: Cause,
    pub(super) opened_at: UnixMs,
    /// The state began then.
    pub(super) since: UnixMs,
    /// How loudly it was paged.
    pub(super) paged: Option<Severity>,
    /// The target that a person named.
    pub(super) asked: Option<Region>,
    /// In a failback, the change that is undone.
    pub(super) undoes: Option<Owed>,
    /// A person wants it stopped after the call that is on its way.
    pub(super) stop: Option<Stop>,
}

/// What a person wants after the call that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Leave everything as it is.
    Abort(String),
    /// Put the record back.
    Rollback(String),
}

/// Where an incident stands. No incident is the state Watching.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Seen, and not yet worth waking somebody.
    Suspect { page_at: UnixMs },
    /// Waits for a person or for the hold-off.
    Paged { until: UnixMs, act_at: UnixMs },
    /// Approved; waits until nothing stands against it.
    Acknowledged { approval: Approval, until: UnixMs },
    /// The hold-off has passed.
    AutoApproved { until: UnixMs },
    /// A person said no: it ends when the region is healthy again, or in time.
    Declined { until: UnixMs },
    /// The target is looked at.
    Preflight { run: Run, tries: Tries },
    /// The record is being changed.
    Switching { run: Run, stage: Stage },
    /// The target is tried under the public name.
    Validating(Validating),
    /// The record is being put back.
    RollingBack(RollingBack),
    /// It is over; the report is being written.
    Ended(Reporting),
    /// The report is written.
    Reported,
}

/// Who approved a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Approval {
    /// The mode: nobody said no.
    Policy,
    /// A person acknowledged.
    Person(String),
    /// A person started it: the hand that cooldown and cap wait for.
    Hand(String),
}

/// An approved run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) target: Region,
    pub(super) approval: Approval,
    /// The write is announced by then, or it is handed over.
    pub(super) until: UnixMs,
}

/// A passed preflight. Nothing is written without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) target: Region,
    pub(super) at: UnixMs,
}

/// A change of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) expected: RecordState,
    pub(super) wanted: RecordState,
    pub(super) before: RegionSet,
    pub(super) after: RegionSet,
}

/// How far a switch is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Reading(Reading),
    Writing(Writing),
    Settling(Settling),
    Showing(Showing),
}

/// Reads the record; nothing is written.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) pass: Pass,
    /// Of the write to come, from 1.
    pub(super) attempt: u32,
    pub(super) tries: Tries,
}

/// The write is on its way; its tries count writes.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) change: Change,
    pub(super) tries: Tries,
}

/// Nobody knows whether the record was written: it is read.
#[derive(Clone, Debug)]
pub(super) struct Settling {
    pub(super) change: Change,
    /// Of the write that is in doubt.
    pub(super) attempt: u32,
    pub(super) until: UnixMs,
    pub(super) tries: Tries,
}

/// Written; waits for resolvers.
#[derive(Clone, Debug)]
pub(super) struct Showing {
    pub(super) change: Change,
    pub(super) until: UnixMs,
    pub(super) tries: Tries,
}

/// The target is tried under the public name.
#[derive(Clone, Debug)]
pub(super) struct Validating {
    pub(super) run: Run,
    pub(super) change: Change,
    pub(super) until: UnixMs,
    pub(super) tries: Tries,
}

/// The record is being put back.
#[derive(Clone, Debug)]
pub(super) struct RollingBack {
    pub(super) change: Change,
    pub(super) until: UnixMs,
    pub(super) stage: BackStage,
}

/// How far putting back is.
#[derive(Clone, Debug)]
pub(super) enum BackStage {
    Reading(BackReading),
    /// The write is on its way.
    Writing {
        tries: Tries,
    },
}

/// Reads the record before it is put back.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackReading {
    /// Of the write to come, from 1.
    pub(super) attempt: u32,
    pub(super) tries: Tries,
}

/// It is over; the report is being written.
#[derive(Clone, Debug)]
pub(super) struct Reporting {
    pub(super) ending: Ending,
    pub(super) until: UnixMs,
    pub(super) tries: Tries,
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Recovered,
    RolledBack,
    HandedOver,
}

/// What becomes of an incident.
#[derive(Debug)]
pub(super) enum Next {
    /// It stays; time or an event moves it.
    Stay(State),
    /// It moves on, for this reason.
    To(State, String),
    /// It comes to nothing, for this reason.
    Close(String),
}

/// A task's outcome that no part of the machine has taken yet.
pub(super) type Arrived = Option<(super::action::TaskId, Ended)>;

impl Next {
    /// It stays in the switch, at this stage of it.
    pub(super) const fn switching(run: Run, stage: Stage) -> Self {
        Self::Stay(State::Switching { run, stage })
    }
}

impl Approval {
    /// As it is journalled.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Policy => "policy".to_owned(),
            Self::Person(who) => format!("acknowledged by {who}"),
            Self::Hand(who) => format!("started by {who}"),
        }
    }

    /// As it was journalled.
    pub(super) fn parse(text: &str) -> Self {
        let after = |prefix| text.strip_prefix(prefix).map(str::to_owned);
        let hand = after("started by ").map(Self::Hand);
        hand.or_else(|| after("acknowledged by ").map(Self::Person)).unwrap_or(Self::Policy)
    }
}

impl Ending {
    pub(super) const fn phase(&self) -> Phase {
        match self {
            Self::Recovered => Phase::Recovered,
            Self::RolledBack => Phase::RolledBack,
            Self::HandedOver => Phase::HandedOver,
        }
    }
}

impl Head {
    pub(super) fn is_drill(&self) -> bool {
        self.cause == Cause::Drill
    }

    /// What the tasks of this incident belong to.
    pub(super) fn about(&self) -> About {
        About { incident: Some(self.id.clone()), is_drill: self.is_drill() }
    }
}

impl State {
    pub(super) const fn phase(&self) -> Phase {
        match self {
            Self::Suspect { .. } => Phase::Suspect,
            Self::Paged { .. } => Phase::Paged,
            Self::Acknowledged { .. } => Phase::Acknowledged,
            Self::AutoApproved { .. } => Phase::AutoApproved,
            Self::Declined { .. } => Phase::Declined,
            Self::Preflight { .. } => Phase::Preflight,
            Self::Switching { .. } => Phase::Switching,
            Self::Validating { .. } => Phase::Validating,
            Self::RollingBack { .. } => Phase::RollingBack,
            Self::Ended(Reporting { ending, .. }) => ending.phase(),
            Self::Reported => Phase::Reported,
        }
    }

    /// When the state ends by itself, at the latest.
    pub(super) const fn until(&self) -> UnixMs {
        match self {
            Self::Suspect { page_at } => *page_at,
            Self::Paged { until, .. }
            | Self::Acknowledged { until, .. }
            | Self::AutoApproved { until }
            | Self::Declined { until }
            | Self::RollingBack(RollingBack { until, .. })
            | Self::Validating(Validating { until, .. })
            | Self::Ended(Reporting { until, .. })
            | Self::Switching { stage: Stage::Settling(Settling { until, .. }), .. }
            | Self::Switching { stage: Stage::Showing(Showing { until, .. }), .. } => *until,
            Self::Preflight { run, .. } | Self::Switching { run, .. } => run.until,
            Self::Reported => UnixMs(0),
        }
    }

    /// Where its task stands, in the states that have one.
    pub(super) const fn tries(&self) -> Option<Tries> {
        match self {
            Self::Preflight { tries, .. }
            | Self::Validating(Validating { tries, .. })
            | Self::Ended(Reporting { tries, .. }) => Some(*tries),
            Self::Switching { stage, .. } => Some(stage.tries()),
            Self::RollingBack(RollingBack {
                stage: BackStage::Reading(BackReading { tries, .. }) | BackStage::Writing { tries },
                ..
            }) => Some(*tries),
            _ => None,
        }
    }

    /// When it needs a tick.
    pub(super) fn deadline(&self) -> UnixMs {
        let soonest = match self {
            Self::Paged { until, act_at } => *until.min(act_at),
            _ => self.until(),
        };
        self.tries().map_or(soonest, |tries| soonest.min(tries.deadline()))
    }

    /// Who takes over and who approved it, as far as that is settled.
    pub(super) fn plan(&self, head: &Head) -> (Option<Region>, String) {
        match self {
            Self::Acknowledged { approval, .. } => (head.asked.clone(), approval.text()),
            Self::Preflight { run, .. }
            | Self::Switching { run, .. }
            | Self::Validating(Validating { run, .. }) => (Some(run.target.clone()), run.approval.text()),
            _ => (None, String::new()),
        }
    }

    /// Whether the record may have been written in this incident, or is being written.
    pub(super) const fn has_written(&self) -> bool {
        match self {
            Self::Switching { stage, .. } => !matches!(stage, Stage::Reading(_)),
            Self::Validating(_) | Self::RollingBack(_) => true,
            _ => false,
        }
    }
}

impl Stage {
    /// Whether a write was announced, and how it ended is not known yet.
    pub(super) const fn is_on_its_way(&self) -> bool {
        matches!(self, Self::Writing(_) | Self::Settling(_))
    }

    const fn tries(&self) -> Tries {
        match self {
            Self::Reading(Reading { tries, .. })
            | Self::Writing(Writing { tries, .. })
            | Self::Settling(Settling { tries, .. })
            | Self::Showing(Showing { tries, .. }) => *tries,
        }
    }
}
