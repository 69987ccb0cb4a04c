//! Policies: named limits, with other limits for particular keys.
//!
//! A [`PolicySet`] is immutable and shared; a reload builds the next one from it. Every limit has a
//! *slot*, a small number that a bucket carries to say in whose ticks its level is counted. A limit
//! keeps its slot and its clock across reloads, so levels stay what they are when a rate changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::hash::{BucketId, KeyHasher, Prefix};
use super::identity::{fnv1a, identity_of_override};
use super::overrides::{Overrides, Twice};
use super::sharing::Sharing;
use crate::time::MonotonicNs;

pub use super::charge::Answer;
pub use super::limits::Limits;
pub(crate) use super::limits::level_at;
pub use super::spec::{
    LimitSpec, MAX_BURST, MAX_KEY_BYTES, MAX_POLICIES, MAX_POLICY_NAME_BYTES, MAX_SLOTS, Matcher, Mode,
    OverrideSpec, PolicyError, PolicySpec,
};

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    name: String,
    index: u16,
    mode: Mode,
    sharing: Sharing,
    identity: u64,
    /// What it adds to the hash of its keys.
    prefix: Prefix,
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
        self.identity
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
    hasher: KeyHasher,
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
    /// The first set of a process, whose buckets are named by `hasher`.
    ///
    /// # Errors
    /// When a name, burst or the number of policies is out of range.
    pub fn new(specs: &[PolicySpec], hasher: &KeyHasher, now: MonotonicNs) -> Result<Self, PolicyError> {
        let nothing = Self {
            hasher: hasher.clone(),
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
            hasher: &self.hasher,
            now,
        };
        let mut policies: Vec<Arc<Policy>> = Vec::with_capacity(specs.len());
        let mut seen = HashSet::new();
        for spec in specs {
            if !seen.insert(spec.name.as_str()) {
                return Err(PolicyError::Duplicate(spec.name.clone()));
            }
            let before = self.find(spec.name.as_bytes());
            policies.push(Arc::new(next.policy(spec, before)?));
        }
        let by_name = NameIndex::new(&policies);
        let Builder { slots, owners, indexes, hasher, .. } = next;
        Ok(Self { hasher: hasher.clone(), policies, by_name, slots, owners, indexes })
    }

    /// The policy of that name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Policy> {
        self.by_name.find(name, &self.policies)
    }

    /// The bucket of `key` under one of these policies.
    #[inline]
    #[must_use]
    pub fn bucket_id(&self, policy: &Policy, key: &[u8]) -> BucketId {
        self.hasher.hash(&policy.prefix, key)
    }

    /// The buckets of several keys under one of these policies, in their order. Their encryptions overlap, so that
    /// each costs half of what it does alone.
    #[inline]
    pub fn each_bucket_id<'k>(
        &self,
        policy: &Policy,
        keys: impl Iterator<Item = &'k [u8]>,
        each: impl FnMut(BucketId),
    ) {
        self.hasher.hash_each(&policy.prefix, keys, each);
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

struct Builder<'h> {
    slots: Vec<Limits>,
    owners: Vec<Owner>,
    indexes: HashMap<String, u16>,
    hasher: &'h KeyHasher,
    now: MonotonicNs,
}

impl Builder<'_> {
    fn policy(&mut self, spec: &PolicySpec, before: Option<&Policy>) -> Result<Policy, PolicyError> {
        spec.check()?;
        let identity = fnv1a(spec.name.as_bytes());
        let owner = Owner { index: self.index(&spec.name)?, identity, limits: identity };
        let default = self.limits(owner, spec.limit, before.map(|policy| &policy.default))?;
        let mut overrides = Vec::with_capacity(spec.overrides.len());
        for OverrideSpec { matcher, limit } in &spec.overrides {
            let owner = Owner { limits: identity_of_override(identity, &spec.name, matcher), ..owner };
            let old = before.and_then(|policy| policy.overrides.of_matcher(matcher));
            overrides.push((matcher, self.limits(owner, *limit, old)?));
        }
        let overrides =
            Overrides::new(overrides).map_err(|Twice| PolicyError::DuplicateOverride(spec.name.clone()))?;
        let header = format!("\"{}\";q={};w={}", spec.name, default.burst(), default.window_seconds());
        Ok(Policy {
            identity,
            prefix: self.hasher.prefix(identity),
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
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let index = u16::try_from(self.indexes.len()).ok().filter(|i| usize::from(*i) < MAX_POLICIES);
        let index = index.ok_or(PolicyError::TooManyPolicies)?;
        self.indexes.insert(name.to_owned(), index);
        Ok(index)
    }

    fn limits(&mut self, owner: Owner, spec: LimitSpec, old: Option<&Limits>) -> Result<Limits, PolicyError> {
        if let Some(limits) = old.and_then(|old| old.changed_to(spec, self.now)) {
            self.slots[usize::from(limits.slot())] = limits.clone();
            return Ok(limits);
        }
        let slot = u16::try_from(self.slots.len()).ok().filter(|s| usize::from(*s) < MAX_SLOTS);
        let limits = Limits::new(slot.ok_or(PolicyError::TooManyLimits)?, spec, self.now);
        self.slots.push(limits.clone());
        self.owners.push(owner);
        Ok(limits)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, tokens: u64, burst: u64) -> PolicySpec {
        PolicySpec::new(name, LimitSpec::per_second(tokens, burst).unwrap())
    }

    fn set_of(specs: &[PolicySpec]) -> Result<PolicySet, PolicyError> {
        PolicySet::new(specs, &KeyHasher::new([1; 16]), MonotonicNs(0))
    }

    #[test]
    fn every_policy_is_found_by_its_name_and_no_other() {
        let specs: Vec<_> = (0..MAX_POLICIES).map(|i| spec(&format!("p{i}"), 1, 1)).collect();
        let set = set_of(&specs).unwrap();
        for s in &specs {
            assert_eq!(set.find(s.name.as_bytes()).unwrap().name(), s.name);
        }
        assert!(set.find(b"p").is_none());
        assert!(set_of(&[]).unwrap().find(b"p").is_none());
    }

    #[test]
    fn out_of_range_sets_are_refused() {
        let new = |specs: &[PolicySpec]| set_of(specs).unwrap_err();
        assert!(matches!(new(&[spec("a b", 1, 1)]), PolicyError::BadName(_)));
        assert!(matches!(new(&[spec("", 1, 1)]), PolicyError::BadName(_)));
        assert!(matches!(new(&[spec("a", 1, 1), spec("a", 1, 1)]), PolicyError::Duplicate(_)));
        assert!(matches!(new(&[spec("a", 1, 0)]), PolicyError::BadBurst { .. }));
        assert!(matches!(new(&[spec("a", 1, MAX_BURST + 1)]), PolicyError::BadBurst { .. }));
        let many: Vec<_> = (0..=MAX_POLICIES).map(|i| spec(&format!("p{i}"), 1, 1)).collect();
        assert!(new(&many).to_string().starts_with("more than 1024 policies since the start"));
    }

    #[test]
    fn exact_overrides_win_over_prefixes_and_longer_prefixes_over_shorter() {
        let limit = |burst| LimitSpec::per_second(1, burst).unwrap();
        let mut s = spec("a", 1, 1);
        for (matcher, burst) in [
            (Matcher::Prefix(b"vip".to_vec()), 2),
            (Matcher::Prefix(b"vip:gold".to_vec()), 3),
            (Matcher::Exact(b"vip:gold:1".to_vec()), 4),
        ] {
            s.overrides.push(OverrideSpec { matcher, limit: limit(burst) });
        }
        let set = set_of(&[s]).unwrap();
        let policy = set.find(b"a").unwrap();
        for (key, burst) in [("x", 1), ("vip", 2), ("vip:gold:2", 3), ("vip:gold:1", 4)] {
            assert_eq!(policy.limits_for(key.as_bytes()).burst(), burst, "{key}");
        }
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
        let set = set_of(&[many.clone()]).unwrap();
        let next = set.reload(&[many], MonotonicNs(1_000_000_000)).unwrap();
        assert_eq!(next.slots().len(), MAX_SLOTS, "none has another slot");
        let key = b"tenant-40001/x";
        let limits = |set: &PolicySet| set.find(b"a").unwrap().limits_for(key).clone();
        assert_eq!(limits(&next), limits(&set));
        assert_eq!(next.owner(limits(&next).slot()), set.owner(40_001));
    }

    #[test]
    fn a_reload_keeps_slots_clocks_and_counters() {
        let set = set_of(&[spec("a", 100, 10), spec("b", 1, 1)]).unwrap();
        let now = MonotonicNs(5_000_000_000);
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
