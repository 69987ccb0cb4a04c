//! Policies: named limits, with other limits for particular keys.
//!
//! A [`PolicySet`] is immutable and shared; a reload builds the next one from it. Every limit has a
//! *slot*, a small number that a bucket carries to say in whose ticks its level is counted. A limit
//! keeps its slot and its clock across reloads, so levels stay what they are when a rate changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::gcra::{self, Rate, RateError, TokenClock};
use super::named::identity_of_override;
use super::overrides::{Overrides, Twice};
use super::sharing::{Consistency, Sharing};
use super::table::Charge;
use crate::time::MonotonicNs;

/// Most policies in one set; sizes the per-core counters.
pub const MAX_POLICIES: usize = 1024;
/// Most limits over the life of a process: policies, overrides, and what reloads replaced.
pub const MAX_SLOTS: usize = 60_000;
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
    fn divided(self, nodes: u8) -> Result<Self, RateError> {
        let (tokens, per_ns) = self.rate.ratio();
        let rate = Rate::new(tokens, per_ns.checked_mul(u64::from(nodes)).ok_or(RateError::TooSlow)?)?;
        Ok(Self { rate, burst: self.burst / u64::from(nodes) })
    }
}

impl PolicySpec {
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
    #[error("policy name {0:?}: use 1 to 64 of the letters A-Z a-z 0-9 . _ -")]
    BadName(String),
    /// A name given twice.
    #[error("policy {0:?} is defined twice")]
    Duplicate(String),
    /// An override given twice.
    #[error("policy {0:?} has two overrides for the same key or prefix")]
    DuplicateOverride(String),
    /// A burst outside 1 to 2^31.
    #[error("policy {policy:?}: a burst of {burst} is outside 1 to 2147483648")]
    BadBurst {
        /// The policy.
        policy: String,
        /// What it asked for.
        burst: u64,
    },
    /// A limit too small to be divided.
    #[error(
        "policy {policy:?} is strict and has a limit that {nodes} nodes cannot divide: each needs a burst of at least 1 and a rate of at least 1 a day"
    )]
    StrictTooSmall {
        /// The policy.
        policy: String,
        /// Among how many it was to be divided.
        nodes: u8,
    },
    /// More policies than there are counters for.
    #[error(
        "{0} policies, but at most 1024 are supported, those that reloads removed among them; restart to forget these"
    )]
    TooManyPolicies(usize),
    /// More limits than a bucket can name.
    #[error(
        "more than 60000 limits since the start (policies, overrides and those that reloads replaced); restart to forget old ones"
    )]
    TooManyLimits,
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

/// One limit: a rate's clock and a burst, known to buckets by its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    clock: TokenClock,
    burst_ticks: u64,
    burst: u64,
    slot: u16,
    rate: Rate,
}

impl Limits {
    /// Limits in `slot`, with a clock that starts at `now`.
    #[must_use]
    pub fn new(slot: u16, spec: LimitSpec, now: MonotonicNs) -> Self {
        Self::with_clock(slot, spec, TokenClock::new(spec.rate, now))
    }

    fn with_clock(slot: u16, spec: LimitSpec, clock: TokenClock) -> Self {
        Self { clock, burst_ticks: clock.ticks(spec.burst), burst: spec.burst, slot, rate: spec.rate }
    }

    /// The slot that buckets name.
    #[must_use]
    pub const fn slot(&self) -> u16 {
        self.slot
    }

    /// Tokens a full bucket holds.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The same in ticks.
    #[must_use]
    pub const fn burst_ticks(&self) -> u64 {
        self.burst_ticks
    }

    /// Tokens that arrive.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The clock of its ticks.
    #[must_use]
    pub const fn clock(&self) -> &TokenClock {
        &self.clock
    }

    /// Seconds in which an empty bucket fills, rounded up, at least 1.
    #[must_use]
    pub fn window_seconds(&self) -> u64 {
        self.rate.seconds_for(self.burst).max(1)
    }

    /// Seconds over which `remaining` tokens can be spent at the rate, rounded up; with none left, until
    /// there surely is one.
    #[must_use]
    pub fn spending_seconds(&self, remaining: u64) -> u64 {
        self.clock.duration_ms(self.clock.ticks(remaining.max(1))).div_ceil(1000)
    }

    /// What to tell the client of a charge.
    #[must_use]
    pub fn answer(&self, charge: &Charge) -> Answer {
        Answer {
            allowed: charge.allowed,
            limit: self.burst,
            remaining: self.clock.tokens(self.burst_ticks.saturating_sub(charge.level)),
            reset_ms: self.clock.duration_ms(charge.level),
            retry_after_ms: if charge.wait == 0 { 0 } else { self.clock.duration_ms(charge.wait) },
        }
    }
}

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    name: String,
    index: u16,
    mode: Mode,
    sharing: Sharing,
    hash_key: u64,
    default: Limits,
    overrides: Overrides,
    header: String,
    metadata: BTreeMap<String, String>,
}

impl Policy {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A position for counters, below [`MAX_POLICIES`], the same over reloads.
    #[must_use]
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// What it does with its decision.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// How the nodes of a cluster share its limits.
    #[must_use]
    pub const fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Free text from the configuration.
    #[must_use]
    pub const fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The identity of the policy in bucket hashes and between nodes: a hash of its name.
    #[must_use]
    pub const fn identity(&self) -> u64 {
        self.hash_key
    }

    /// The limits of `key`.
    #[must_use]
    pub fn limits_for(&self, key: &[u8]) -> &Limits {
        if self.overrides.is_empty() {
            return &self.default;
        }
        self.overrides.of_key(key).unwrap_or(&self.default)
    }

    /// The limits of keys that no override names.
    #[must_use]
    pub const fn default_limits(&self) -> &Limits {
        &self.default
    }

    /// The value of `RateLimit-Policy` under the default limits.
    #[must_use]
    pub fn policy_header(&self) -> &str {
        &self.header
    }

    fn all_limits(&self) -> impl Iterator<Item = &Limits> {
        std::iter::once(&self.default).chain(self.overrides.limits())
    }
}

/// What a slot of limits belongs to; it outlives the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// [`Policy::index`].
    pub index: u16,
    /// [`Policy::identity`].
    pub identity: u64,
    /// These limits between nodes and in snapshots ([`NamedLimits`](super::named::NamedLimits)).
    pub limits: u64,
}

/// All policies in force at one time.
#[derive(Debug)]
pub struct PolicySet {
    policies: Vec<Arc<Policy>>,
    by_name: NameIndex,
    /// Every limit there was since the start, so that old buckets can be read.
    slots: Vec<Limits>,
    /// The policy that each slot belongs to.
    owners: Vec<Owner>,
    /// Positions given out, by name, those of removed policies too.
    indexes: HashMap<String, u16>,
}

impl PolicySet {
    /// The first set of a process.
    ///
    /// # Errors
    /// When a name, burst or the number of policies is out of range.
    pub fn new(specs: &[PolicySpec], now: MonotonicNs) -> Result<Self, PolicyError> {
        let nothing = Self {
            policies: Vec::new(),
            by_name: NameIndex::new(&[]),
            slots: Vec::new(),
            owners: Vec::new(),
            indexes: HashMap::new(),
        };
        nothing.reload(specs, now)
    }

    /// The set that follows this one; limits that stay keep their clocks, so levels are kept.
    ///
    /// # Errors
    /// As [`PolicySet::new`]; nothing changes then.
    pub fn reload(&self, specs: &[PolicySpec], now: MonotonicNs) -> Result<Self, PolicyError> {
        let mut next = Builder {
            slots: self.slots.clone(),
            owners: self.owners.clone(),
            indexes: self.indexes.clone(),
            now,
        };
        let mut policies: Vec<Arc<Policy>> = Vec::with_capacity(specs.len());
        let mut seen = std::collections::HashSet::new();
        for spec in specs {
            if !seen.insert(spec.name.as_str()) {
                return Err(PolicyError::Duplicate(spec.name.clone()));
            }
            let before = self.find(spec.name.as_bytes());
            policies.push(Arc::new(next.policy(spec, before)?));
        }
        let by_name = NameIndex::new(&policies);
        Ok(Self { policies, by_name, slots: next.slots, owners: next.owners, indexes: next.indexes })
    }

    /// The policy of that name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Policy> {
        self.by_name.find(name, &self.policies)
    }

    /// All policies, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().map(AsRef::as_ref)
    }

    /// All limits there were since the start, by slot.
    #[must_use]
    pub fn slots(&self) -> &[Limits] {
        &self.slots
    }

    /// The limits in force, of policies and of their overrides.
    pub fn limits_in_force(&self) -> impl Iterator<Item = &Limits> {
        self.iter().flat_map(Policy::all_limits)
    }

    /// The limits that buckets of `slot` are counted in.
    #[must_use]
    pub fn slot(&self, slot: u16) -> Option<&Limits> {
        self.slots.get(usize::from(slot))
    }

    /// The policy whose limits have `slot`, in force or removed.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<Owner> {
        self.owners.get(usize::from(slot)).copied()
    }
}

struct Builder {
    slots: Vec<Limits>,
    owners: Vec<Owner>,
    indexes: HashMap<String, u16>,
    now: MonotonicNs,
}

impl Builder {
    fn policy(&mut self, spec: &PolicySpec, before: Option<&Policy>) -> Result<Policy, PolicyError> {
        check_name(&spec.name)?;
        let identity = fnv1a(spec.name.as_bytes());
        let owner = Owner { index: self.index(&spec.name)?, identity, limits: identity };
        let default = self.limits(&spec.name, owner, spec.limit, before.map(|policy| &policy.default))?;
        let mut overrides = Vec::with_capacity(spec.overrides.len());
        for OverrideSpec { matcher, limit } in &spec.overrides {
            let owner = Owner { limits: identity_of_override(identity, &spec.name, matcher), ..owner };
            let old = before.and_then(|policy| policy.overrides.of_matcher(matcher));
            overrides.push((matcher, self.limits(&spec.name, owner, *limit, old)?));
        }
        let overrides =
            Overrides::new(overrides).map_err(|Twice| PolicyError::DuplicateOverride(spec.name.clone()))?;
        let header = format!("\"{}\";q={};w={}", spec.name, default.burst, default.window_seconds());
        Ok(Policy {
            hash_key: owner.identity,
            name: spec.name.clone(),
            index: owner.index,
            mode: spec.mode,
            sharing: spec.sharing,
            default,
            overrides,
            header,
            metadata: spec.metadata.clone(),
        })
    }

    fn index(&mut self, name: &str) -> Result<u16, PolicyError> {
        let next = self.indexes.len();
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let index = u16::try_from(next).ok().filter(|i| usize::from(*i) < MAX_POLICIES);
        let index = index.ok_or(PolicyError::TooManyPolicies(next + 1))?;
        self.indexes.insert(name.to_owned(), index);
        Ok(index)
    }

    fn limits(
        &mut self,
        policy: &str,
        owner: Owner,
        spec: LimitSpec,
        old: Option<&Limits>,
    ) -> Result<Limits, PolicyError> {
        if spec.burst == 0 || spec.burst > MAX_BURST {
            return Err(PolicyError::BadBurst { policy: policy.to_owned(), burst: spec.burst });
        }
        if let Some(old) = old {
            let same = (old.rate == spec.rate).then_some(old.clock);
            if let Some(clock) = same.or_else(|| old.clock.with_rate(spec.rate, self.now)) {
                let limits = Limits::with_clock(old.slot, spec, clock);
                self.slots[usize::from(old.slot)] = limits.clone();
                return Ok(limits);
            }
        }
        let slot = u16::try_from(self.slots.len()).ok().filter(|s| usize::from(*s) < MAX_SLOTS);
        let limits = Limits::new(slot.ok_or(PolicyError::TooManyLimits)?, spec, self.now);
        self.slots.push(limits.clone());
        self.owners.push(owner);
        Ok(limits)
    }
}

fn check_name(name: &str) -> Result<(), PolicyError> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if letters && (1..=MAX_POLICY_NAME_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(PolicyError::BadName(name.to_owned()))
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): names come from the configuration, not from clients.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Policies by name: open addressing at most half full, one comparison in the common case.
#[derive(Debug)]
struct NameIndex {
    places: Vec<u16>,
}

const NO_POLICY: u16 = u16::MAX;

impl NameIndex {
    fn new(policies: &[Arc<Policy>]) -> Self {
        let size = (policies.len() * 2).next_power_of_two().max(2);
        let mut places = vec![NO_POLICY; size];
        for (position, policy) in policies.iter().enumerate() {
            let mut at = fnv1a(policy.name.as_bytes()) as usize & (size - 1);
            while places[at] != NO_POLICY {
                at = (at + 1) & (size - 1);
            }
            places[at] = position as u16;
        }
        Self { places }
    }

    fn find<'p>(&self, name: &[u8], policies: &'p [Arc<Policy>]) -> Option<&'p Policy> {
        let mask = self.places.len() - 1;
        let mut at = fnv1a(name) as usize & mask;
        loop {
            let policy = policies.get(usize::from(self.places[at]))?;
            if policy.name.as_bytes() == name {
                return Some(policy);
            }
            at = (at + 1) & mask;
        }
    }
}

/// A level in another limit's ticks, the same number of tokens, or as many as ticks can count.
#[must_use]
pub(crate) fn convert_level(level: u64, from: &Limits, to: &Limits) -> u64 {
    let (from, to) = (from.clock.fraction_bits(), to.clock.fraction_bits());
    let level = u128::from(level);
    let converted = if to >= from { level << (to - from) } else { level >> (from - to) };
    converted.min(u128::from(gcra::MAX_LEVEL_TICKS)) as u64
}

/// The level of `tat` under `limits`, in ticks.
#[must_use]
pub(crate) fn level_at(tat: u64, limits: &Limits, now: MonotonicNs) -> u64 {
    gcra::level(tat, limits.clock.at(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS_PER_SECOND: u64 = 1_000_000_000;

    fn spec(name: &str, tokens: u64, burst: u64) -> PolicySpec {
        PolicySpec {
            name: name.into(),
            limit: LimitSpec { rate: Rate::new(tokens, NS_PER_SECOND).unwrap(), burst },
            overrides: vec![],
            mode: Mode::Enforce,
            sharing: Sharing::default(),
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn every_policy_is_found_by_its_name_and_no_other() {
        let specs: Vec<_> = (0..MAX_POLICIES).map(|i| spec(&format!("p{i}"), 1, 1)).collect();
        let set = PolicySet::new(&specs, MonotonicNs(0)).unwrap();
        for s in &specs {
            assert_eq!(set.find(s.name.as_bytes()).unwrap().name(), s.name);
        }
        assert!(set.find(b"p").is_none());
        assert!(PolicySet::new(&[], MonotonicNs(0)).unwrap().find(b"p").is_none());
    }

    #[test]
    fn out_of_range_sets_are_refused() {
        let new = |specs: &[PolicySpec]| PolicySet::new(specs, MonotonicNs(0)).unwrap_err();
        assert!(matches!(new(&[spec("a b", 1, 1)]), PolicyError::BadName(_)));
        assert!(matches!(new(&[spec("", 1, 1)]), PolicyError::BadName(_)));
        assert!(matches!(new(&[spec("a", 1, 1), spec("a", 1, 1)]), PolicyError::Duplicate(_)));
        assert!(matches!(new(&[spec("a", 1, 0)]), PolicyError::BadBurst { .. }));
        assert!(matches!(new(&[spec("a", 1, MAX_BURST + 1)]), PolicyError::BadBurst { .. }));
        let many: Vec<_> = (0..=MAX_POLICIES).map(|i| spec(&format!("p{i}"), 1, 1)).collect();
        assert!(matches!(new(&many), PolicyError::TooManyPolicies(_)));
    }

    #[test]
    fn exact_overrides_win_over_prefixes_and_longer_prefixes_over_shorter() {
        let limit = |burst| LimitSpec { rate: Rate::new(1, NS_PER_SECOND).unwrap(), burst };
        let mut s = spec("a", 1, 1);
        for (matcher, burst) in [
            (Matcher::Prefix(b"vip".to_vec()), 2),
            (Matcher::Prefix(b"vip:gold".to_vec()), 3),
            (Matcher::Exact(b"vip:gold:1".to_vec()), 4),
        ] {
            s.overrides.push(OverrideSpec { matcher, limit: limit(burst) });
        }
        let set = PolicySet::new(&[s], MonotonicNs(0)).unwrap();
        let policy = set.find(b"a").unwrap();
        for (key, burst) in [("x", 1), ("vip", 2), ("vip:gold:2", 3), ("vip:gold:1", 4)] {
            assert_eq!(policy.limits_for(key.as_bytes()).burst(), burst, "{key}");
        }
    }

    #[test]
    fn a_debt_of_many_tokens_stays_one_in_finer_ticks() {
        let limits = |tokens| Limits::new(0, spec("a", tokens, MAX_BURST).limit, MonotonicNs(0));
        let (fast, slow) = (limits(Rate::MAX_PER_SECOND), limits(1));
        let debt = 16 * MAX_BURST;
        assert_eq!(convert_level(fast.clock().ticks(debt), &fast, &slow), gcra::MAX_LEVEL_TICKS);
        assert_eq!(convert_level(fast.clock().ticks(7), &fast, &slow), slow.clock().ticks(7));
        assert_eq!(convert_level(slow.clock().ticks(7), &slow, &fast), fast.clock().ticks(7));
    }

    #[test]
    fn a_reload_finds_each_of_as_many_overrides_as_there_may_be() {
        let overrides = (1..MAX_SLOTS).map(|number| {
            let key = format!("tenant-{number}").into_bytes();
            let matcher = if number % 2 == 0 { Matcher::Exact(key) } else { Matcher::Prefix(key) };
            OverrideSpec { matcher, limit: spec("a", 1, 1).limit }
        });
        let mut many = spec("a", 1, 1);
        many.overrides = overrides.collect();
        let set = PolicySet::new(&[many.clone()], MonotonicNs(0)).unwrap();
        let next = set.reload(&[many], MonotonicNs(NS_PER_SECOND)).unwrap();
        assert_eq!(next.slots().len(), MAX_SLOTS, "none has another slot");
        let key = b"tenant-40001/x";
        let limits = |set: &PolicySet| set.find(b"a").unwrap().limits_for(key).clone();
        assert_eq!(limits(&next), limits(&set));
        assert_eq!(next.owner(limits(&next).slot()), set.owner(40_001));
    }

    #[test]
    fn a_reload_keeps_slots_clocks_and_counters() {
        let set = PolicySet::new(&[spec("a", 100, 10), spec("b", 1, 1)], MonotonicNs(0)).unwrap();
        let now = MonotonicNs(5 * NS_PER_SECOND);
        let next = set.reload(&[spec("c", 1, 1), spec("a", 200, 20)], now).unwrap();
        let (old, new) = (set.find(b"a").unwrap(), next.find(b"a").unwrap());
        assert_eq!(old.index(), new.index());
        assert_eq!(old.default_limits().slot(), new.default_limits().slot());
        assert_eq!(old.default_limits().clock().at(now), new.default_limits().clock().at(now));
        assert_ne!(next.find(b"c").unwrap().index(), set.find(b"b").unwrap().index());
        let extreme = next.reload(&[spec("a", 10_000_000, 20)], now).unwrap();
        assert_ne!(extreme.find(b"a").unwrap().default_limits().slot(), new.default_limits().slot());
    }
}
