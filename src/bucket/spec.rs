//! Policies and limits as they are configured, and what makes them unusable.

use std::collections::BTreeMap;

use super::gcra::{Rate, RateError};
use super::sharing::{Consistency, Sharing};
use crate::time::NS_PER_SECOND;

/// Most policies in one set; sizes the per-core counters.
pub const MAX_POLICIES: usize = 1024;
/// Most limits over the life of a process: policies, overrides, and what reloads replaced.
pub const MAX_SLOTS: usize = 60_000;
/// Slots that something is kept of, each in a place of its own: few of them for the model.
pub(super) const SLOTS_KEPT: usize = if cfg!(loom) { 4 } else { MAX_SLOTS };
/// Longest key, in bytes after percent-decoding.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest policy name, in bytes.
pub const MAX_POLICY_NAME_BYTES: usize = 64;
/// Largest burst, in tokens.
pub const MAX_BURST: u64 = 1 << 31;

/// What a policy does with its decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Decides and enforces.
    #[default]
    Enforce,
    /// Decides, counts and reports, but never denies.
    Shadow,
    /// Kill switch: allows everything and touches no bucket.
    AllowAll,
    /// Kill switch: denies everything and touches no bucket.
    DenyAll,
}

/// Which keys an override is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// This key.
    Exact(Vec<u8>),
    /// Keys that begin so; the longest prefix wins, and an exact match wins over any.
    Prefix(Vec<u8>),
}

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitSpec {
    /// Tokens that arrive.
    pub rate: Rate,
    /// Tokens that a full bucket holds, 1 to [`MAX_BURST`].
    pub burst: u64,
}

/// Other limits for particular keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideSpec {
    /// The keys.
    pub matcher: Matcher,
    /// Their limits.
    pub limit: LimitSpec,
}

/// A policy as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// `[A-Za-z0-9._-]`, 1 to [`MAX_POLICY_NAME_BYTES`] bytes.
    pub name: String,
    /// The limits of keys that no override names.
    pub limit: LimitSpec,
    /// Limits of particular keys.
    pub overrides: Vec<OverrideSpec>,
    /// What is done with the decision.
    pub mode: Mode,
    /// How the nodes of a cluster share the limits.
    pub sharing: Sharing,
    /// Free text for people and dashboards.
    pub metadata: BTreeMap<String, String>,
}

impl LimitSpec {
    /// So many tokens a second.
    ///
    /// # Errors
    /// When there is no such rate.
    pub fn per_second(tokens: u64, burst: u64) -> Result<Self, RateError> {
        Ok(Self { rate: Rate::new(tokens, NS_PER_SECOND)?, burst })
    }

    fn divided(self, nodes: u8) -> Result<Self, RateError> {
        let (tokens, per_ns) = self.rate.ratio();
        let rate = Rate::new(tokens, per_ns.checked_mul(u64::from(nodes)).ok_or(RateError::TooSlow)?)?;
        Ok(Self { rate, burst: self.burst / u64::from(nodes) })
    }
}

impl PolicySpec {
    /// A policy that enforces one limit for all keys.
    #[must_use]
    pub fn new(name: impl Into<String>, limit: LimitSpec) -> Self {
        Self {
            name: name.into(),
            limit,
            overrides: Vec::new(),
            mode: Mode::default(),
            sharing: Sharing::default(),
            metadata: BTreeMap::new(),
        }
    }

    /// Whether its name can stand in a URL and in a header as it is, and its bursts are in range.
    ///
    /// # Errors
    /// When one is not.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        check_name(&self.name)?;
        let limits = std::iter::once(&self.limit).chain(self.overrides.iter().map(|other| &other.limit));
        match limits.map(|limit| limit.burst).find(|burst| !(1..=MAX_BURST).contains(burst)) {
            Some(burst) => Err(PolicyError::BadBurst { policy: self.name.clone(), burst }),
            None => Ok(()),
        }
    }

    /// The policy as one of `nodes` keeps it: a strict one with an equal part of each rate and burst,
    /// rounded down, any other as it is.
    ///
    /// # Errors
    /// When a part would be less than a bucket can be.
    pub fn part_of(&self, nodes: u8) -> Result<Self, PolicyError> {
        let mut part = self.clone();
        if self.sharing.consistency == Consistency::Eventual || nodes <= 1 {
            return Ok(part);
        }
        let overrides = part.overrides.iter_mut().map(|other| &mut other.limit);
        for limit in std::iter::once(&mut part.limit).chain(overrides) {
            let divided = limit.divided(nodes).ok().filter(|divided| divided.burst > 0);
            *limit =
                divided.ok_or_else(|| PolicyError::StrictTooSmall { policy: self.name.clone(), nodes })?;
        }
        Ok(part)
    }
}

/// Why a set of policies cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A name that cannot stand in a URL and in a header as it is.
    #[error("policy name {0:?}: use 1 to {MAX_POLICY_NAME_BYTES} of the letters A-Z a-z 0-9 . _ -")]
    BadName(String),
    /// A name given twice.
    #[error("policy {0:?} is defined twice")]
    Duplicate(String),
    /// An override given twice.
    #[error("policy {0:?} has two overrides for the same key or prefix")]
    DuplicateOverride(String),
    /// A burst outside 1 to 2^31.
    #[error("policy {policy:?}: a burst of {burst} is outside 1 to {MAX_BURST}")]
    BadBurst {
        /// The policy.
        policy: String,
        /// What it asked for.
        burst: u64,
    },
    /// A limit too small to be divided.
    #[error(
        "policy {policy:?} is strict and has a limit that {nodes} nodes cannot divide: each needs a burst of \
         at least 1 and a rate of at least 1 a day"
    )]
    StrictTooSmall {
        /// The policy.
        policy: String,
        /// Among how many it was to be divided.
        nodes: u8,
    },
    /// More policies than there are counters for.
    #[error(
        "more than {MAX_POLICIES} policies since the start (those that reloads removed count too); restart \
         to forget these"
    )]
    TooManyPolicies,
    /// More limits than a bucket can name.
    #[error(
        "more than {MAX_SLOTS} limits since the start (policies, overrides and those that reloads replaced); \
         restart to forget old ones"
    )]
    TooManyLimits,
}

fn check_name(name: &str) -> Result<(), PolicyError> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if letters && (1..=MAX_POLICY_NAME_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(PolicyError::BadName(name.to_owned()))
    }
}
