//! What the runbook wants done.

use crate::agent::pager::{MAX_DEDUP_KEY_CHARS, Severity};
use crate::agent::types::{Entry, IncidentId, RecordState, Region, Step};
use crate::hex;

/// What the runbook wants done, in the order in which it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Append a line to the journal before anything that comes after it.
    Journal {
        /// The incident that the line is about.
        incident: Option<IncidentId>,
        /// The line.
        entry: Entry,
    },
    /// Journal an `Intent`, perform the task, journal an `Outcome`, tell [`super::Event::Done`].
    Perform(Task),
}

/// Names one task of one life of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// One thing to do in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// By which its end is told.
    pub id: TaskId,
    /// The incident that it belongs to.
    pub incident: Option<IncidentId>,
    /// Which time it is tried, from 1.
    pub attempt: u32,
    /// When it takes longer, it is counted as failed without an answer.
    pub timeout_ms: u64,
    /// Whether it is about the shadow record and its name: then the live record is not touched.
    pub is_drill: bool,
    /// What is to be done.
    pub work: Work,
}

/// What a task belongs to; by default no incident.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) incident: Option<IncidentId>,
    pub(super) is_drill: bool,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Wakes a person.
    Page(Page),
    /// Tells the pager that it is over.
    ResolvePage {
        /// As in the page.
        dedup_key: String,
        /// What happened, in a line.
        summary: String,
    },
    /// Looks at the target: health, tokens, replication.
    Preflight {
        /// The region that is to take over.
        target: Region,
    },
    /// Reads the record.
    ReadRecord,
    /// Changes the record.
    WriteRecord {
        /// As it must be before; else [`super::Failure::Conflict`].
        expected: RecordState,
        /// As it is to become.
        wanted: RecordState,
    },
    /// Looks once whether resolvers show the record; [`super::Failure::NotDone`] while they do not.
    AwaitVisible {
        /// What they are to show.
        wanted: RecordState,
    },
    /// Tries the target through the public name: health, synthetic load.
    Validate {
        /// The region that took over.
        target: Region,
        /// The record that leads there.
        record: RecordState,
        /// The record as it was: resolvers may keep it for its TTL.
        before: RecordState,
    },
    /// Puts the record back.
    RestoreRecord {
        /// As the run left it; else [`super::Failure::Conflict`].
        expected: RecordState,
        /// As it was before.
        wanted: RecordState,
    },
    /// Tells the chat rooms.
    Notify {
        /// One line: what is so now.
        headline: String,
        /// More lines.
        lines: Vec<String>,
        /// Whether nothing will follow.
        is_last: bool,
        /// In a dry run, the change that would be made: the calls of it are worth telling.
        would_change: Option<(RecordState, RecordState)>,
    },
    /// Asks for more of the standby.
    Scale,
    /// Commits the region that serves now to the values file.
    CommitRegion {
        /// That region.
        region: Region,
    },
    /// Writes the report of the incident.
    WriteReport,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The same for the same trouble on all nodes.
    pub dedup_key: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line that is read at night.
    pub summary: String,
    /// Named facts.
    pub details: Vec<(String, String)>,
}

/// `text` as the key of a page: one that is longer than a pager takes is cut, and the hash of the whole keeps it apart
/// from others that begin the same.
pub(super) fn key_of(text: &str) -> String {
    if text.chars().count() <= MAX_DEDUP_KEY_CHARS {
        return text.to_owned();
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let hash = hex::encode(&hash.as_ref()[..8]);
    let kept = MAX_DEDUP_KEY_CHARS - hash.len() - 1;
    format!("{}#{hash}", text.chars().take(kept).collect::<String>())
}

impl Task {
    /// Whether it only looks at the record, for no incident.
    #[must_use]
    pub fn is_idle_look(&self) -> bool {
        self.incident.is_none() && matches!(self.work, Work::ReadRecord)
    }

    /// The line that announces it, with the `calls` that it makes.
    #[must_use]
    pub fn intent(&self, calls: Vec<String>) -> Entry {
        let change = self.work.change();
        Entry::Intent {
            step: self.work.step(),
            attempt: self.attempt,
            calls,
            expected: change.map(|(expected, _)| expected.clone()),
            wanted: change.map(|(_, wanted)| wanted.clone()),
        }
    }
}

impl Work {
    /// Its name in the journal.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::Page(_) => Step::Page,
            Self::ResolvePage { .. } => Step::ResolvePage,
            Self::Preflight { .. } => Step::Preflight,
            Self::ReadRecord => Step::ReadRecord,
            Self::WriteRecord { .. } => Step::WriteRecord,
            Self::AwaitVisible { .. } => Step::AwaitVisible,
            Self::Validate { .. } => Step::Validate,
            Self::RestoreRecord { .. } => Step::RestoreRecord,
            Self::Notify { .. } => Step::Notify,
            Self::Scale => Step::Scale,
            Self::CommitRegion { .. } => Step::CommitRegion,
            Self::WriteReport => Step::WriteReport,
        }
    }

    /// Whether it only informs people: it may go another way than what traffic waits for.
    #[must_use]
    pub const fn informs(&self) -> bool {
        matches!(
            self,
            Self::Page(_)
                | Self::ResolvePage { .. }
                | Self::Notify { .. }
                | Self::CommitRegion { .. }
                | Self::WriteReport
        )
    }

    /// Whether the provider of the record is called.
    #[must_use]
    pub const fn asks_the_provider(&self) -> bool {
        self.change().is_some() || matches!(self, Self::ReadRecord | Self::AwaitVisible { .. })
    }

    /// Whether it changes something that a freeze protects: the record, the standby, the values file.
    #[must_use]
    pub const fn changes_the_world(&self) -> bool {
        self.change().is_some() || matches!(self, Self::Scale | Self::CommitRegion { .. })
    }

    /// The public record before and after, as an `Intent` has them.
    #[must_use]
    pub const fn change(&self) -> Option<(&RecordState, &RecordState)> {
        match self {
            Self::WriteRecord { expected, wanted } | Self::RestoreRecord { expected, wanted } => {
                Some((expected, wanted))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_too_long_is_cut_and_stays_apart_from_others() {
        let at_most = "ä".repeat(MAX_DEDUP_KEY_CHARS);
        assert_eq!(key_of(&at_most), at_most);
        let (one, other) = (key_of(&format!("{at_most}a")), key_of(&format!("{at_most}b")));
        assert_eq!(one.chars().count(), MAX_DEDUP_KEY_CHARS);
        assert!(one != other && one == key_of(&format!("{at_most}a")));
    }
}
