//! Whether this server should get traffic, as `/health` tells it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::metrics::Family;

/// Why a server should get no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is shutting down.
    Draining,
    /// A data thread does not turn.
    StalledCore,
    /// A data thread has ended.
    DeadCore,
    /// A person said that it should drain, and has not said otherwise.
    DrainOrdered,
    /// Too many requests fail on its account, as the agent sees it.
    Failing,
    /// Requests are too slow, as the agent sees it.
    Slow,
}

impl Reason {
    const ALL: [Self; 6] =
        [Self::Draining, Self::StalledCore, Self::DeadCore, Self::DrainOrdered, Self::Failing, Self::Slow];

    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The reason as `/health` gives it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::StalledCore => "a data thread is stalled",
            Self::DeadCore => "a data thread has ended",
            Self::DrainOrdered => "draining by order",
            Self::Failing => "too many requests fail",
            Self::Slow => "requests are too slow",
        }
    }

    /// The reason as metrics give it.
    const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::StalledCore => "stalled_core",
            Self::DeadCore => "dead_core",
            Self::DrainOrdered => "drain_ordered",
            Self::Failing => "failing",
            Self::Slow => "slow",
        }
    }
}

/// What somebody should look at, though checks are answered as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The state directory does not take what is written to it.
    Snapshot,
    /// A peer cannot be heard, or says that it does not hear this node.
    AbsentPeer,
    /// The disk of the state directory is almost full.
    DiskFull,
    /// A witness of the agent gives no vote.
    MuteWitness,
}

impl Warning {
    const ALL: [Self; 4] = [Self::Snapshot, Self::AbsentPeer, Self::DiskFull, Self::MuteWitness];

    const fn bit(self) -> u32 {
        1 << (self as u32 + 16)
    }

    /// The warning as `/health` gives it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Snapshot => "the state directory cannot be written",
            Self::AbsentPeer => "a peer cannot be heard, or does not hear this node",
            Self::DiskFull => "the disk of the state directory is almost full",
            Self::MuteWitness => "a witness of the agent gives no vote",
        }
    }

    /// The warning as metrics give it.
    const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::AbsentPeer => "absent_peer",
            Self::DiskFull => "disk_full",
            Self::MuteWitness => "mute_witness",
        }
    }
}

/// The bits of reasons; those of warnings are above.
const REASONS: u32 = 0xffff;

/// The reasons at this moment, set by whoever watches and read by the data threads.
#[derive(Debug, Default)]
pub struct Health {
    reasons: AtomicU32,
}

impl Health {
    /// Adds a reason or takes it away.
    pub fn set(&self, reason: Reason, holds: bool) {
        self.set_bit(reason.bit(), holds);
    }

    /// Adds a warning or takes it away; `/health` stays good.
    pub fn warn(&self, warning: Warning, holds: bool) {
        self.set_bit(warning.bit(), holds);
    }

    fn set_bit(&self, bit: u32, holds: bool) {
        // Relaxed: a flag by itself, nothing is read on the strength of it.
        if holds {
            self.reasons.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.reasons.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether there is no reason.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & REASONS == 0
    }

    /// Whether all data threads turn.
    #[must_use]
    pub fn all_turn(&self) -> bool {
        let stuck = Reason::StalledCore.bit() | Reason::DeadCore.bit();
        self.reasons.load(Ordering::Relaxed) & stuck == 0
    }

    /// Whether connections should be given up.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        let draining = Reason::Draining.bit() | Reason::DrainOrdered.bit();
        self.reasons.load(Ordering::Relaxed) & draining != 0
    }

    /// Whether this reason holds.
    #[must_use]
    pub fn has(&self, reason: Reason) -> bool {
        self.reasons.load(Ordering::Relaxed) & reason.bit() != 0
    }

    /// The reasons that hold.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        let reasons = self.reasons.load(Ordering::Relaxed);
        Reason::ALL.into_iter().filter(move |reason| reasons & reason.bit() != 0)
    }

    /// As metrics: 1 for what holds.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let bits = self.reasons.load(Ordering::Relaxed);
        let holds = |bit: u32| f64::from(u8::from(bits & bit != 0));
        let help = "1 for each reason why this server should get no traffic.";
        let mut reasons = Family::gauge("openclaw_health_reason", help);
        for reason in Reason::ALL {
            reasons.add(&[("reason", reason.name())], holds(reason.bit()));
        }
        let help = "1 for each warning that /health gives.";
        let mut warnings = Family::gauge("openclaw_health_warning", help);
        for warning in Warning::ALL {
            warnings.add(&[("warning", warning.name())], holds(warning.bit()));
        }
        vec![reasons, warnings]
    }

    /// The warnings that hold.
    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        let bits = self.reasons.load(Ordering::Relaxed);
        Warning::ALL.into_iter().filter(move |warning| bits & warning.bit() != 0)
    }
}
