//! What people and other programs tell the agent, and what it answers. Plain data, over one channel.
//!
//! Whoever speaks for a person (the admin server) sends an [`OrderRequest`]; the agent answers each once, at
//! once: it never waits for the world before it does.

use std::collections::BTreeMap;

use crossbeam::channel::Sender;
use serde::{Deserialize, Serialize};

use super::pager::webhook::WebhookEvent;
use super::types::{IncidentId, Phase, RecordState, Region, Step, UnixMs};

/// One order and the way back.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// What is asked for.
    pub order: Order,
    /// Who asks, as far as is known, for the journal: `uid 1000 (alice)`, `by token from 10.0.0.7`.
    pub who: String,
    /// Takes one answer. It has room for one, and nobody may listen any more: send with `try_send`.
    pub reply: Sender<Result<OrderAnswer, OrderRefused>>,
}

/// What the agent can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Where do you stand? Answered by [`OrderAnswer::Status`].
    Status,
    /// What would a failover do? Nothing is done. Answered by [`OrderAnswer::Plan`].
    Plan {
        /// The region to withdraw; the one that is sick when none is named.
        from: Option<Region>,
        /// The region to serve instead; as the runbook chooses when none is named.
        to: Option<Region>,
    },
    /// What a person orders. Answered by [`OrderAnswer::Accepted`].
    Command(Command),
    /// What Alertmanager says, in one notification.
    Alerts(Vec<Alert>),
    /// What PagerDuty says: signed, new, read.
    PagerDuty(WebhookEvent),
    /// Do you see this region? Answered by [`OrderAnswer::Seen`], or [`OrderRefused::NotProbed`].
    Witness(Region),
}

impl Order {
    /// The name under which it is journalled, of those in [`super::types::Entry::Command`] and a few more.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Plan { .. } => "plan",
            Self::Command(command) => command.name(),
            Self::Alerts(_) => "alerts",
            Self::PagerDuty(_) => "pagerduty",
            Self::Witness(_) => "witness",
        }
    }
}

/// What a person orders. The runbook takes it or refuses it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Go on with the incident that waits.
    Ack,
    /// Do not move traffic in this incident.
    Decline,
    /// Withdraw a region though no signal says so. It skips detection, cooldown and cap, and no other rule.
    Start {
        /// The region to withdraw.
        from: Region,
        /// The region that takes over; as the runbook chooses when none is named.
        to: Option<Region>,
        /// The reason.
        why: String,
    },
    /// Stop the run where it is, after the call that is on its way.
    Abort,
    /// Put the record back as it was before the run that is under way, or before the last one.
    Rollback,
    /// Change nothing in the world until thawed; paging and telling go on.
    Freeze {
        /// The reason.
        why: String,
    },
    /// End a freeze.
    Thaw,
    /// Run the whole runbook against the shadow record.
    Drill,
}

impl Command {
    /// Its name in the journal.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Decline => "decline",
            Self::Start { .. } => "start",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Freeze { .. } => "freeze",
            Self::Thaw => "thaw",
            Self::Drill => "drill",
        }
    }
}

impl From<Command> for Order {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

/// One alert of Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Identifies the alert by its labels; the same when it fires and when it is resolved.
    pub fingerprint: String,
    /// Whether it fires; else it is resolved.
    pub firing: bool,
    /// What it is about: `alertname`, `severity`, `region`, ….
    pub labels: BTreeMap<String, String>,
    /// What it says: `summary`, `description`, `runbook_url`, ….
    pub annotations: BTreeMap<String, String>,
}

impl Alert {
    /// `alertname`; empty when it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum OrderAnswer {
    /// Where it stands.
    Status(Box<AgentStatus>),
    /// What a failover would do.
    Plan(Box<PlanReport>),
    /// It is taken.
    Accepted {
        /// What happens now, in words for the person who asked.
        what: String,
    },
    /// What the last probe of a region saw.
    Seen {
        /// The region.
        region: Region,
        /// Whether it answered 200, and no longer ago than a few probes.
        healthy: bool,
    },
}

/// Why an order is not taken. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum OrderRefused {
    /// There is nothing that this could apply to.
    #[error(
        "there is no incident to {order}; `failover status` shows what the agent watches, `failover start` \
         begins one"
    )]
    NoIncident {
        /// The order, as [`Order::name`].
        order: String,
    },
    /// The incident is in a phase in which this means nothing.
    #[error("cannot {order} while the incident is {}: {why}", .phase.in_words())]
    WrongPhase {
        /// The order, as [`Order::name`].
        order: String,
        /// Where the incident stands.
        phase: Phase,
        /// What would be possible, in words.
        why: String,
    },
    /// Another incident is under way.
    #[error("incident {incident} is under way; end it by `failover abort`, or wait for it")]
    Underway {
        /// The other.
        incident: IncidentId,
    },
    /// Writes are frozen.
    #[error("frozen ({why}); `failover thaw` ends it")]
    Frozen {
        /// As it was given to the freeze.
        why: String,
    },
    /// Nothing is frozen.
    #[error("the agent is not frozen")]
    NotFrozen,
    /// The configuration has no such region.
    #[error("no region is named {:?}; there are: {}", .region.0, .known.join(", "))]
    UnknownRegion {
        /// What was asked for.
        region: Region,
        /// What there is.
        known: Vec<String>,
    },
    /// It would break a rule of safety.
    #[error("refused for safety: {why}")]
    Unsafe {
        /// Which one, in words.
        why: String,
    },
    /// This agent has another role.
    #[error("this agent does not act: {why}")]
    NotActing {
        /// The reason, and who acts.
        why: String,
    },
    /// The configuration has no such part.
    #[error("not configured: {what}")]
    NotConfigured {
        /// What is missing, and where it is set.
        what: String,
    },
    /// The journal cannot be written, and nothing is done that is not journalled.
    #[error("the journal cannot be written, so nothing is done: {why}")]
    JournalFails {
        /// What the system said.
        why: String,
    },
    /// No fresh probe says anything of the region: no vote.
    #[error("no fresh probe of region {:?}: this agent has no opinion", .region.0)]
    NotProbed {
        /// The region.
        region: Region,
    },
}

impl Phase {
    /// As it is read aloud, behind "the incident is".
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Suspect => "suspect",
            Self::Paged => "paged",
            Self::Acknowledged => "acknowledged",
            Self::AutoApproved => "approved by policy",
            Self::Declined => "declined",
            Self::Preflight => "in preflight",
            Self::Switching => "switching",
            Self::Validating => "validating",
            Self::Recovered => "recovered",
            Self::RollingBack => "rolling back",
            Self::RolledBack => "rolled back",
            Self::HandedOver => "handed over to a person",
            Self::Reported => "reported",
        }
    }
}

/// How far the agent goes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// It pages, and acts when a person says yes.
    #[default]
    Manual,
    /// It pages, and acts when the hold-off passes and nobody says no.
    Automatic,
    /// It pages.
    Observe,
}

impl AgentMode {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "automatic",
            Self::Observe => "observe",
        }
    }
}

/// Where the agent stands, for a person and for programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The time of this answer, by the agent's clock.
    pub now: UnixMs,
    /// How far it goes by itself.
    pub mode: AgentMode,
    /// Whether nothing is written to the world at all.
    pub dry_run: bool,
    /// Why it is frozen; `None` when it is not.
    pub frozen: Option<String>,
    /// The region of this node.
    pub own_region: Region,
    /// Whether this node's agent is the one that acts for its region.
    pub elected: bool,
    /// Where the incident stands; [`Phase::Watching`] without one.
    pub phase: Phase,
    /// The incident that is under way.
    pub incident: Option<IncidentId>,
    /// The incident is about this region.
    pub failed_region: Option<Region>,
    /// Whether the run is a drill: the shadow record, never the live one.
    pub drill: bool,
    /// The phase began then.
    pub since: UnixMs,
    /// The phase ends by itself then, at the latest.
    pub deadline: Option<UnixMs>,
    /// What happens next, and when nobody says anything, in words.
    pub next: String,
    /// What stands against acting now, in words.
    #[serde(default)]
    pub objections: Vec<String>,
    /// The commands of `openclaw-rating failover` that would be taken now, with what each does: `ack`, ….
    pub commands: Vec<Suggested>,
    /// Each region, in configured order.
    pub regions: Vec<RegionStatus>,
    /// The public record as it was last read.
    pub record: Option<RecordState>,
    /// When it was read.
    pub record_read: Option<UnixMs>,
    /// Regions in service by that record; `None` when it is no set of ours.
    pub in_service: Option<Vec<Region>>,
    /// Switches that are left today before only a person may start one.
    pub switches_left: u32,
    /// No switch by itself before this time.
    pub cooldown_until: Option<UnixMs>,
    /// How many events for the pager wait on disk and have reached nobody, and why; `None` when none does.
    #[serde(default)]
    pub unsent_pages: Option<String>,
    /// Secrets that cannot be read now, and what to do: what needs them would fail.
    #[serde(default)]
    pub unusable_secrets: Vec<String>,
    /// Each witness, in configured order.
    #[serde(default)]
    pub witnesses: Vec<WitnessStatus>,
    /// Whether the journal can be written, and how far it is: for a person.
    pub journal: String,
    /// Whether the journal cannot be written.
    pub journal_fails: bool,
    /// What went wrong last, with what to do.
    pub last_error: Option<String>,
}

/// A command that a person could type now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggested {
    /// Behind `openclaw-rating failover `.
    pub command: String,
    /// What it would do, in a few words.
    pub does: String,
}

/// How one region is seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// The region.
    pub region: Region,
    /// `healthy`, `sick`, `unreachable` or `unknown`.
    pub standing: String,
    /// Why, in words: reasons of a 503, votes, ….
    pub detail: String,
    /// What the last probe saw, in words: `200 in 12 ms`, `connection refused`.
    pub last_probe: String,
    /// When that was.
    pub probed: Option<UnixMs>,
}

/// How one witness votes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// Its host and port, as configured.
    pub witness: String,
    /// Whether it has given no vote on some region for a while.
    pub mute: bool,
    /// What counts of it now, on each region in configured order.
    pub votes: Vec<WitnessVote>,
}

/// What one witness says of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessVote {
    /// The region.
    pub region: Region,
    /// Whether it sees the region healthy; `None` when it gives no vote.
    pub sees: Option<bool>,
    /// Why it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl WitnessStatus {
    /// Its votes as they are read aloud; regions of which it says the same stand together.
    #[must_use]
    pub fn words(&self) -> String {
        let mut said: Vec<(&WitnessVote, Vec<&str>)> = Vec::new();
        for vote in &self.votes {
            match said.iter_mut().find(|(first, _)| first.says_the_same_as(vote)) {
                Some((_, regions)) => regions.push(&vote.region.0),
                None => said.push((vote, vec![&vote.region.0])),
            }
        }
        let parts = said.iter().map(|(vote, regions)| vote.words_on(&regions.join(", ")));
        parts.collect::<Vec<_>>().join("; ")
    }
}

impl WitnessVote {
    fn says_the_same_as(&self, other: &Self) -> bool {
        (self.sees, &self.why) == (other.sees, &other.why)
    }

    fn words_on(&self, regions: &str) -> String {
        match (self.sees, &self.why) {
            (Some(true), _) => format!("sees {regions}"),
            (Some(false), _) => format!("does not see {regions}"),
            (None, None) => format!("no vote on {regions}"),
            (None, Some(why)) => format!("no vote on {regions}: {why}"),
        }
    }
}

/// What a failover would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// The region that is withdrawn.
    pub from: Region,
    /// The region that takes over.
    pub to: Region,
    /// Regions in service after it.
    pub in_service: Vec<Region>,
    /// What stands against it now; a `start` would be refused for these. Empty when nothing does.
    pub objections: Vec<String>,
    /// What is done, in order.
    pub steps: Vec<PlannedStep>,
    /// The public record as it is.
    pub record: Option<RecordState>,
    /// The public record as it would become.
    pub wanted: Option<RecordState>,
    /// What is done, in order, when validation fails.
    pub rollback: Vec<PlannedStep>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// Exactly the calls that it makes, one a line, secrets left out.
    pub calls: Vec<String>,
}
