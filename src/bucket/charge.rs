//! What became of a check, for the table and for its client.

/// What a charge did, in ticks of the limits it was charged under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Whether the tokens may be spent.
    pub allowed: bool,
    /// The level after the charge.
    pub level: u64,
    /// Ticks until the same charge fits; zero when allowed.
    pub wait: u64,
    /// Decided without a bucket, for want of room.
    pub table_full: bool,
}

/// What a check is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the tokens may be spent.
    pub allowed: bool,
    /// The burst.
    pub limit: u64,
    /// Whole tokens left.
    pub remaining: u64,
    /// Milliseconds until the bucket is full again, rounded up.
    pub reset_ms: u64,
    /// Milliseconds until the same check can pass, rounded up; zero when it was allowed.
    pub retry_after_ms: u64,
}
