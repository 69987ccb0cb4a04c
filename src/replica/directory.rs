//! Which policy a slot of limits, or an entry of a peer, belongs to.

use std::sync::Arc;

use crate::bucket::named::NamedLimits;
use crate::bucket::policy::{Limits, MAX_POLICIES, Policy, PolicySet};
use crate::bucket::sharing::Sharing;

/// What merging needs of a policy.
#[derive(Debug)]
pub(super) struct Rules {
    /// Its position for counters, the same over reloads.
    pub(super) index: usize,
    pub(super) sharing: Sharing,
}

impl Rules {
    fn of(policy: &Policy) -> Self {
        Self { index: usize::from(policy.index()), sharing: policy.sharing() }
    }
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
        let rules: Vec<Rules> = set.iter().map(Rules::of).collect();
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
