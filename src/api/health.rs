//! Whether this server should get traffic, as `/health` tells it.

use std::sync::atomic::{AtomicU32, Ordering};

/// Why a server should get no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is shutting down, or was told to drain.
    Draining,
    /// A data thread does not turn.
    StalledCore,
    /// A data thread has ended.
    DeadCore,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Draining, Self::StalledCore, Self::DeadCore];

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
        }
    }
}

/// The reasons at this moment, set by whoever watches and read by the data threads.
#[derive(Debug, Default)]
pub struct Health {
    reasons: AtomicU32,
}

impl Health {
    /// Adds a reason or takes it away.
    pub fn set(&self, reason: Reason, holds: bool) {
        // Relaxed: a flag by itself, nothing is read on the strength of it.
        if holds {
            self.reasons.fetch_or(reason.bit(), Ordering::Relaxed);
        } else {
            self.reasons.fetch_and(!reason.bit(), Ordering::Relaxed);
        }
    }

    /// Whether there is no reason.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) == 0
    }

    /// Whether connections should be given up.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.reasons.load(Ordering::Relaxed) & Reason::Draining.bit() != 0
    }

    /// The reasons that hold.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        let reasons = self.reasons.load(Ordering::Relaxed);
        Reason::ALL.into_iter().filter(move |reason| reasons & reason.bit() != 0)
    }
}
