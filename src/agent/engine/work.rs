//! What is asked of the hands, and how it ended. Plain data.

use std::time::Duration;

use crate::agent::traffic::TrafficError;
use crate::agent::types::{IncidentId, RecordState, Region, Step};

/// Which step of which incident something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The incident, where there is one.
    pub incident: Option<IncidentId>,
    /// What.
    pub step: Step,
    /// Which time it is tried, from 1.
    pub attempt: u32,
    /// Whether it is about the shadow record.
    pub is_drill: bool,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it belongs to.
    pub ticket: Ticket,
    /// What to do.
    pub work: Work,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Work {
    /// Read the record.
    ReadRecord,
    /// Change the record, if it is as expected.
    WriteRecord {
        /// As it must be before.
        expected: RecordState,
        /// As it is to become.
        wanted: RecordState,
    },
    /// Wait until the zone's servers show it.
    AwaitVisible {
        /// What they are to show.
        wanted: RecordState,
        /// For how long.
        patience: Duration,
    },
    /// Look at a target before traffic goes there.
    Preflight {
        /// The region.
        target: Region,
    },
    /// Try the public name.
    Validate {
        /// What it is to lead to.
        wanted: RecordState,
    },
    /// Ask for more of the standby.
    Scale,
    /// Commit the region to the values file.
    Commit {
        /// The region that the file names now.
        from: Region,
        /// The region that it is to name.
        to: Region,
        /// Of the commit.
        message: String,
    },
}

/// What came of a job that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is done; the text is for a person.
    Done(String),
    /// The record.
    Record(RecordState),
}

/// Why a job did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For a person, with what to do.
    pub why: String,
    /// The record is somebody else's now: stop and ask.
    pub is_conflict: bool,
    /// It may have been done all the same.
    pub may_have_happened: bool,
}

impl Failure {
    /// One that did nothing.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_conflict: false, may_have_happened: false }
    }

    pub(super) fn of_traffic(error: TrafficError) -> Self {
        let is_conflict = matches!(error, TrafficError::Conflict { .. });
        Self { why: error.to_string(), is_conflict, may_have_happened: error.may_have_happened() }
    }
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it belonged to.
    pub ticket: Ticket,
    /// How.
    pub result: Result<Found, Failure>,
}
