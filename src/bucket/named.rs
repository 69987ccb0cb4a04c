//! Limits by the identity that other nodes and snapshots know them by.

use super::identity::POLICY_BITS;
use super::limits::Limits;
use super::policy::{Policy, PolicySet};

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
        let default = |policy: &Policy| (policy.identity() & POLICY_BITS, policy.default_limits().slot());
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
