//! Limits by the name that other nodes and snapshots know them by.
//!
//! Of a policy's default limits that is the hash of its name. That of an override begins with the same bits, so
//! that who does not have the override (any more) still knows the policy.

use super::policy::{Limits, Matcher, PolicySet};

/// The bits that an override has of its policy: what is left tells 60,000 overrides of one policy apart.
const POLICY_BITS: u64 = u64::MAX << 40;

/// The identity of the limits that `policy` has for the keys of `matcher`; no name of a policy has a zero in it.
pub(super) fn identity_of_override(policy: u64, name: &str, matcher: &Matcher) -> u64 {
    let (kind, key) = match matcher {
        Matcher::Exact(key) => (b"\0=", key),
        Matcher::Prefix(key) => (b"\0^", key),
    };
    let hash = super::policy::fnv1a(&[name.as_bytes(), kind, key].concat());
    (policy & POLICY_BITS) | (hash & !POLICY_BITS)
}

/// The limits in force, by identity.
#[derive(Debug)]
pub struct NamedLimits {
    /// Identity and slot, sorted.
    all: Vec<(u64, u16)>,
    /// The bits of a policy and the slot of its default limits, sorted.
    defaults: Vec<(u64, u16)>,
}

impl NamedLimits {
    /// Those of `policies`.
    #[must_use]
    pub fn new(policies: &PolicySet) -> Self {
        let named = |limits: &Limits| Some((policies.owner(limits.slot())?.limits, limits.slot()));
        let mut all: Vec<_> = policies.limits_in_force().filter_map(named).collect();
        let default = |policy: &super::policy::Policy| {
            (policy.identity() & POLICY_BITS, policy.default_limits().slot())
        };
        let mut defaults: Vec<_> = policies.iter().map(default).collect();
        all.sort_unstable();
        defaults.sort_unstable();
        Self { all, defaults }
    }

    /// The slot of the limits of that identity, or, when there is no such override, of the policy's default.
    #[must_use]
    pub fn slot(&self, identity: u64) -> Option<u16> {
        let find = |named: &[(u64, u16)], identity: u64| {
            let position = named.binary_search_by_key(&identity, |(identity, _)| *identity).ok()?;
            named.get(position).map(|(_, slot)| *slot)
        };
        find(&self.all, identity).or_else(|| find(&self.defaults, identity & POLICY_BITS))
    }
}
