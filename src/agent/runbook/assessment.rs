//! How the regions look from here.

use std::collections::BTreeMap;

use crate::agent::types::{Region, UnixMs};
use crate::health::Reason;

/// What a node answers that was told to go.
const DRAINING: [&str; 2] = [Reason::Draining.label(), Reason::DrainOrdered.label()];

/// How the regions look from here at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment {
    /// Every configured region; one that is missing counts as [`Standing::Unknown`].
    pub regions: BTreeMap<Region, RegionView>,
    /// Whether this node has the lowest identity of the live nodes of its region, by heartbeats.
    pub elected: bool,
    /// Why this node must not act (a stalled thread, an own region that is unknown, …); `None` when it may.
    pub unfit: Option<String>,
}

/// How one region looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionView {
    /// What is made of own probes, with hysteresis.
    pub standing: Standing,
    /// What own probe and witnesses say.
    pub votes: Votes,
    /// Whether heartbeats of any of its nodes arrive over the replication link.
    pub link_is_up: bool,
    /// When own probes last saw it healthy, while they do not.
    pub last_healthy: Option<UnixMs>,
}

/// What is made of own probes of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One of its nodes at least answers 200.
    Healthy,
    /// It answers, and says that it should get no traffic.
    Sick {
        /// What it said.
        reasons: Vec<String>,
    },
    /// It does not answer.
    Unreachable {
        /// What the last probe saw.
        why: String,
    },
    /// There is no fresh probe.
    Unknown,
}

/// Votes on whether a region is to be seen healthy: one of the own probe, one of each witness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Those who cannot see it healthy.
    pub cannot_see: u32,
    /// Those who can.
    pub can_see: u32,
    /// All that are configured, those without an answer among them.
    pub voters: u32,
}

impl Votes {
    /// Whether strictly more than half of all configured voters cannot see it.
    #[must_use]
    pub const fn majority_cannot_see(self) -> bool {
        2 * self.cannot_see > self.voters
    }
}

impl Standing {
    /// `healthy`, `sick`, `unreachable`, `unknown`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Sick { .. } => "sick",
            Self::Unreachable { .. } => "unreachable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it was looked at and is not healthy.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Sick { .. } | Self::Unreachable { .. })
    }

    /// Whether it answers that it goes, since somebody told it to, and nothing else that is wrong.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        let goes = |reason: &String| DRAINING.contains(&reason.as_str());
        matches!(self, Self::Sick { reasons } if !reasons.is_empty() && reasons.iter().all(goes))
    }
}

impl RegionView {
    /// One line for a person.
    #[must_use]
    pub fn words(&self) -> String {
        let Votes { cannot_see, can_see, voters } = self.votes;
        let seen = match &self.standing {
            Standing::Sick { reasons } => format!("answers that it is sick ({})", reasons.join(", ")),
            Standing::Unreachable { why } => format!("does not answer ({why})"),
            Standing::Healthy => "healthy".to_owned(),
            Standing::Unknown => "not probed lately".to_owned(),
        };
        let link = if self.link_is_up { "up" } else { "down" };
        format!("{seen}; of {voters} voters {can_see} see it healthy and {cannot_see} do not; link {link}")
    }
}

impl Assessment {
    /// What is made of `region`.
    #[must_use]
    pub fn standing(&self, region: &Region) -> &Standing {
        self.regions.get(region).map_or(&Standing::Unknown, |view| &view.standing)
    }

    /// How `region` looks, in one line for a person; empty when it is not looked at.
    #[must_use]
    pub fn words(&self, region: &Region) -> String {
        self.regions.get(region).map(RegionView::words).unwrap_or_default()
    }

    /// Whether `region` is seen healthy from here.
    #[must_use]
    pub fn is_healthy(&self, region: &Region) -> bool {
        *self.standing(region) == Standing::Healthy
    }

    /// Whether `region` is down from here, and most voters say so too.
    #[must_use]
    pub fn is_down_by_majority(&self, region: &Region) -> bool {
        self.regions
            .get(region)
            .is_some_and(|view| view.standing.is_down() && view.votes.majority_cannot_see())
    }
}
