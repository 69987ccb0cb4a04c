//! Plain data that the parts of the agent exchange.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A region's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Region(pub String);

/// One incident, from its first signal to its report.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncidentId(pub String);

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a traffic provider holds under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordState {
    /// The public name.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, or `POOLS` for a load balancer.
    pub kind: String,
    /// How long resolvers may keep it, in seconds.
    pub ttl_s: u32,
    /// Addresses, names, or pools in order.
    pub values: Vec<String>,
    /// Whether the provider's proxies stand in front, where it has any.
    pub proxied: Option<bool>,
    /// One weight for each value, where the provider has weights; 0 takes no traffic.
    pub weights: Vec<u32>,
}

/// Milliseconds since 1970 that never go back: the wall clock at the start of the agent, moved on by the
/// monotonic clock. Deadlines survive a restart and a step of the wall clock does not fire them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// Milliseconds of a day.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl UnixMs {
    /// This time and `ms` more, or the end of time.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` until now; 0 when it is not earlier.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is wrong.
    #[default]
    Watching,
    /// Something may be wrong; nobody was woken.
    Suspect,
    /// A person was paged, or the page waits to get through.
    Paged,
    /// A person said yes.
    Acknowledged,
    /// The hold-off passed and nobody said no.
    AutoApproved,
    /// A person said no.
    Declined,
    /// The target is being looked at.
    Preflight,
    /// The record is being changed.
    Switching,
    /// The target is being tried under the public name.
    Validating,
    /// Traffic is served again.
    Recovered,
    /// The record is being put back.
    RollingBack,
    /// The record is as it was before.
    RolledBack,
    /// The agent stopped and said why; a person goes on.
    HandedOver,
    /// The report is written.
    Reported,
}

impl Phase {
    /// As it is journalled and counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Suspect => "suspect",
            Self::Paged => "paged",
            Self::Acknowledged => "acknowledged",
            Self::AutoApproved => "auto_approved",
            Self::Declined => "declined",
            Self::Preflight => "preflight",
            Self::Switching => "switching",
            Self::Validating => "validating",
            Self::Recovered => "recovered",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::HandedOver => "handed_over",
            Self::Reported => "reported",
        }
    }
}

/// A thing the agent does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Wakes a person.
    Page,
    /// Tells the pager that it is over.
    ResolvePage,
    /// Looks at the target.
    Preflight,
    /// Reads the public record.
    ReadRecord,
    /// Changes the public record.
    WriteRecord,
    /// Waits until resolvers show the change.
    AwaitVisible,
    /// Tries the target through the public name.
    Validate,
    /// Puts the public record back.
    RestoreRecord,
    /// Tells the chat rooms.
    Notify,
    /// Asks for more of the standby.
    Scale,
    /// Commits the region to the values file.
    CommitRegion,
    /// Writes the report.
    WriteReport,
}

impl Step {
    /// As it is journalled and counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::ResolvePage => "resolve_page",
            Self::Preflight => "preflight",
            Self::ReadRecord => "read_record",
            Self::WriteRecord => "write_record",
            Self::AwaitVisible => "await_visible",
            Self::Validate => "validate",
            Self::RestoreRecord => "restore_record",
            Self::Notify => "notify",
            Self::Scale => "scale",
            Self::CommitRegion => "commit_region",
            Self::WriteReport => "write_report",
        }
    }
}

/// What began an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A region was seen sick or was not seen.
    Signal,
    /// A person asked to withdraw a region.
    Person,
    /// A region that was withdrawn is to serve again.
    Failback,
    /// It is an exercise on the shadow record.
    Drill,
}

/// A freeze is journalled as this signal, with its reason.
pub const FROZEN: &str = "frozen";
/// Signals of a region that is down are journalled under its name behind this.
pub const DOWN_PREFIX: &str = "region_down/";
/// A region whose incident has ended while it is down is journalled again under its name behind this.
pub const SPENT_PREFIX: &str = "region_spent/";

/// A region that was paged while an incident about another one was under way is journalled under its name behind
/// this.
pub const PAGED_PREFIX: &str = "region_paged/";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// One line of the journal: what was seen, decided, or is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The agent began to watch.
    Started {
        /// Of this program.
        version: String,
        /// `manual`, `automatic`, `observe`, and whether it is a dry run.
        mode: String,
    },
    /// A signal was raised or went away.
    Signal {
        /// Its name, such as `region_unreachable`.
        signal: String,
        /// Whether it is raised now.
        raised: bool,
        /// What was seen, for a person.
        detail: String,
    },
    /// What the incident is about and what is to be done; the last one of an incident holds.
    Planned {
        /// The region that is withdrawn, or that comes back in a failback.
        region: Region,
        /// The region that takes over; nobody was chosen yet when there is none.
        target: Option<Region>,
        /// What began it.
        cause: Cause,
        /// Who approved it, with the reason; nobody yet when it is empty.
        approved_by: String,
        /// Whether a person named the target; else it was chosen, and may be chosen anew.
        #[serde(default, skip_serializing_if = "is_false")]
        asked: bool,
        /// When the region was last seen healthy, while it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_healthy: Option<UnixMs>,
    },
    /// The incident moved on.
    Moved {
        /// Out of this.
        from: Phase,
        /// Into this.
        to: Phase,
        /// The reason, for a person.
        why: String,
    },
    /// Something is about to be done. It is on the disk before it is done.
    Intent {
        /// The step.
        step: Step,
        /// Which time it is tried, from 1.
        attempt: u32,
        /// The calls it makes, one a line.
        calls: Vec<String>,
        /// The public record as it must be before.
        expected: Option<RecordState>,
        /// The public record as it is to become.
        wanted: Option<RecordState>,
    },
    /// How it ended.
    Outcome {
        /// The step.
        step: Step,
        /// Which time it was tried.
        attempt: u32,
        /// Whether it was done.
        done: bool,
        /// What happened, for a person.
        detail: String,
    },
    /// The public record as it was found.
    Record {
        /// What the provider said.
        state: RecordState,
    },
    /// The oldest files of the journal go, to make room: all lines up to this one.
    Dropped {
        /// The number of the last of them.
        through: u64,
        /// Its hash, in hexadecimal digits.
        hash: String,
    },
    /// A person, or a program for one, said something.
    Command {
        /// `ack`, `decline`, `start`, `abort`, `rollback`, `freeze`, `thaw`, `drill`.
        command: String,
        /// Who said it, as far as is known.
        who: String,
    },
}
