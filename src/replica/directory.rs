//! Which policy a slot of limits, or an entry of a peer, belongs to.

use std::sync::Arc;

use crate::bucket::named::NamedLimits;
use crate::bucket::policy::{Limits, MAX_POLICIES, Policy, PolicySet};
use crate::bucket::sharing::Sharing;
use crate::time::NS_PER_SECOND;

/// What merging needs of a policy.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Its position for counters, the same over reloads.
    pub(super) index: usize,
    pub(super) sharing: Sharing,
    /// How many bits a count is shifted down by, so that what this node uses until it is told again fits in 15 bits.
    pub(super) mark_shift: u32,
}

impl Rules {
    fn of(policy: &Policy, most: &[u64]) -> Self {
        let index = usize::from(policy.index());
        let most = most.get(index).copied().unwrap_or_default();
        let mark_shift = (u64::BITS - most.leading_zeros()).saturating_sub(15);
        Self { index, sharing: policy.sharing(), mark_shift }
    }
}

/// The most that any limit of each policy admits until it is told again, a second later as a rule: an override may be
/// larger than the default.
fn most_used(set: &PolicySet) -> Vec<u64> {
    let mut most = vec![0; MAX_POLICIES];
    for slot in 0..set.slots().len() as u16 {
        let (Some(owner), Some(limits)) = (set.owner(slot), set.slot(slot)) else { continue };
        let a_second = limits.clock().tokens(limits.clock().ticks_in(NS_PER_SECOND));
        if let Some(most) = most.get_mut(usize::from(owner.index)) {
            *most = (*most).max(limits.burst() + a_second);
        }
    }
    most
}

/// The policies in force, by identity and by slot.
#[derive(Debug)]
pub(super) struct Directory {
    set: Arc<PolicySet>,
    rules: Vec<Rules>,
    /// Positions in `rules`, by slot.
    by_slot: Vec<Option<u16>>,
    named: NamedLimits,
}

impl Directory {
    pub(super) fn new(set: Arc<PolicySet>) -> Self {
        let most = most_used(&set);
        let rules: Vec<Rules> = set.iter().map(|policy| Rules::of(policy, &most)).collect();
        let position = |index: u16| rules.iter().position(|rules| rules.index == usize::from(index));
        let positions: Vec<Option<u16>> =
            (0..MAX_POLICIES as u16).map(|index| position(index).map(|position| position as u16)).collect();
        let by_slot = (0..set.slots().len())
            .map(|slot| *positions.get(usize::from(set.owner(slot as u16)?.index))?)
            .collect();
        let named = NamedLimits::new(&set);
        Self { set, rules, by_slot, named }
    }

    /// The identity of the limits in a slot, and the limits; also of a policy that a reload
    /// removed, since what was used of it may still have to be told.
    pub(super) fn identity_of_slot(&self, slot: u16) -> Option<(u64, &Limits)> {
        Some((self.set.owner(slot)?.limits, self.set.slot(slot)?))
    }

    /// The limits in force of that identity, and the policy that they are of.
    pub(super) fn find(&self, identity: u64) -> Option<(&Rules, &Limits)> {
        self.of_slot(self.named.slot(identity)?)
    }

    /// The policy that counts in a slot, and the limits there.
    pub(super) fn of_slot(&self, slot: u16) -> Option<(&Rules, &Limits)> {
        let position = (*self.by_slot.get(usize::from(slot))?)?;
        Some((self.rules.get(usize::from(position))?, self.set.slot(slot)?))
    }

    /// All slots with the policy that counts in them, if it is still there.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u16, Option<&Rules>)> {
        let rules = |position: &Option<u16>| self.rules.get(usize::from((*position)?));
        self.by_slot.iter().enumerate().map(move |(slot, position)| (slot as u16, rules(position)))
    }

    /// One more than the highest position for counters.
    pub(super) fn positions(&self) -> usize {
        self.rules.iter().map(|rules| rules.index + 1).max().unwrap_or(0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bucket::hash::KeyHasher;
    use crate::bucket::policy::{LimitSpec, Matcher, OverrideSpec, PolicySpec};
    use crate::time::MonotonicNs;

    #[test]
    fn what_an_override_allows_at_once_is_told_apart_from_nothing() {
        let limit = |burst| LimitSpec::per_second(100, burst).unwrap();
        let large = OverrideSpec { matcher: Matcher::Prefix(b"vip:".to_vec()), limit: limit(1_000_000) };
        let spec = |name: &str, overrides| PolicySpec { overrides, ..PolicySpec::new(name, limit(200)) };
        let set = PolicySet::new(
            &[spec("small", vec![]), spec("large", vec![large])],
            &KeyHasher::new([1; 16]),
            MonotonicNs(0),
        )
        .unwrap();
        let directory = Directory::new(Arc::new(set));
        let shifts: Vec<u32> = directory.rules.iter().map(|rules| rules.mark_shift).collect();
        assert_eq!(shifts[0], 0);
        assert!(1_000_100 >> shifts[1] < 1 << 15, "{shifts:?}");
    }
}
