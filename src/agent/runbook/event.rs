//! What the runbook is told.

use super::action::TaskId;
use super::assessment::Assessment;
use crate::agent::pager::Severity;
use crate::agent::types::{RecordState, Region};

/// What the runbook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed: the deadline has come, or a quarter of a second.
    Tick,
    /// How the regions look now: at each change, and at least once a second.
    Assessed(Assessment),
    /// A person acknowledged the page of `region` at the pager.
    PageAcknowledged {
        /// The region that the acknowledged page is about.
        region: Region,
        /// Who, as the pager shows them.
        by: String,
    },
    /// A task ended. Each task ends once; one that could not be journalled ends with [`Failure::NotDone`].
    Done {
        /// The task that ended.
        task: TaskId,
        /// Its outcome.
        ended: Ended,
    },
    /// Something that pages and moves no traffic was raised or went away.
    Notice(Notice),
    /// The journal cannot be written: from here on the runbook pages and does nothing else.
    JournalFailed {
        /// What the system said.
        why: String,
    },
    /// The journal can be written again.
    JournalBack,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is done: the check passed, the record is as wanted, resolvers show it (or the provider hides it).
    Done {
        /// What was seen, for a person.
        detail: String,
    },
    /// The record as it was read.
    Found(RecordState),
    /// It is not done, or that is not known.
    Failed {
        /// How it failed.
        failure: Failure,
        /// What happened and what to do, for the person on call.
        why: String,
    },
}

impl Ended {
    /// It is done; `detail` says what was seen.
    #[must_use]
    pub fn done(detail: impl Into<String>) -> Self {
        Self::Done { detail: detail.into() }
    }

    /// It had no effect, and may go better the next time.
    #[must_use]
    pub fn not_done(why: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::NotDone, why: why.into() }
    }

    /// It had no effect, and repeating it does not help.
    #[must_use]
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::Refused, why: why.into() }
    }

    /// It may have had an effect.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::Unknown, why: why.into() }
    }
}

/// How a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It has had no effect, and may go better the next time.
    NotDone,
    /// It has had no effect, and whoever was called asks to be left alone for so long.
    Throttled {
        /// In milliseconds.
        wait_ms: u64,
    },
    /// It has had no effect, and will not go better by being repeated: a check that did not pass, a
    /// credential that is refused, a record that does not fit.
    Refused,
    /// It may have had an effect. It is settled by reading, never repeated.
    Unknown,
    /// The record was neither as expected nor as wanted, and was left alone.
    Conflict(RecordState),
}

/// Whose trouble a notice is: all who see the same trouble page it under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This node's own. Another node that has the same has its own page.
    Node,
    /// All nodes of the region see it.
    Region,
    /// It was told from outside, to any number of agents. Its number is bounded apart from all others.
    Alert,
}

/// Something that pages and moves no traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its name: `tokens_low`, `tokens_critical`, `errors`, `alert`, ….
    pub name: String,
    /// Whose trouble it is.
    pub scope: Scope,
    /// What it is about; a part of the page's key. Empty when there is one only.
    pub subject: String,
    /// Whether it is raised now; else it is over.
    pub raised: bool,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, for a person.
    pub detail: String,
    /// Whether more of the standby is asked for. Once while it is raised, and once a cooldown.
    pub scales: bool,
}
