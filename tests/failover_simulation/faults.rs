//! What goes wrong, and when.

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// All hosts of the region are gone.
    Dead(usize),
    /// It answers that it is sick.
    Sick(usize),
    /// It is dead and alive by turns.
    Flapping(usize),
    /// Its way to everybody else.
    Uplink(usize),
    /// Its way to one other region only.
    Between(usize, usize),
    /// The replication link between all regions.
    Link,
    /// The traffic provider gives errors.
    ProviderDown,
    /// It takes longer than anyone waits, or nearly.
    ProviderSlow,
    /// It does what it was asked and says nothing.
    ProviderHalfDone,
    /// The pager gives errors.
    PagerDown,
    /// A witness gives no votes.
    Witness(usize),
    /// A witness says that it sees nobody.
    WitnessLies(usize),
    /// An agent's journal cannot be written.
    DiskFull(usize),
    /// An agent hears of probes late.
    LateProbes(usize),
    /// Resolvers show the past.
    StaleResolvers,
    /// A region fails under load, though it says that it is healthy.
    FailsUnderLoad(usize),
    /// A region does not pass preflight, though it says that it is healthy.
    FailsPreflight(usize),
}

/// A fault and its time, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    pub(crate) fault: Fault,
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

/// All faults of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Timed>);

const FLAP_MS: u64 = 3_700;

impl Faults {
    pub(crate) fn is(&self, fault: Fault, now_ms: u64) -> bool {
        self.0.iter().any(|timed| timed.fault == fault && (timed.from_ms..timed.to_ms).contains(&now_ms))
    }

    /// Whether it has been so at any time until now.
    pub(crate) fn has_begun(&self, fault: Fault, now_ms: u64) -> bool {
        self.0.iter().any(|timed| timed.fault == fault && timed.from_ms <= now_ms)
    }

    /// Whether the hosts of a region run.
    pub(crate) fn is_dead(&self, region: usize, now_ms: u64) -> bool {
        let flaps = self.is(Fault::Flapping(region), now_ms) && (now_ms / FLAP_MS).is_multiple_of(2);
        self.is(Fault::Dead(region), now_ms) || flaps
    }

    /// Whether two regions reach each other by the public network.
    pub(crate) fn reach(&self, a: usize, b: usize, now_ms: u64) -> bool {
        let cut = |fault| self.is(fault, now_ms);
        a == b
            || !(cut(Fault::Uplink(a))
                || cut(Fault::Uplink(b))
                || cut(Fault::Between(a, b))
                || cut(Fault::Between(b, a)))
    }

    /// Whether a region reaches the rest of the world, and is reached by it.
    pub(crate) fn is_online(&self, region: usize, now_ms: u64) -> bool {
        !self.is(Fault::Uplink(region), now_ms)
    }
}
