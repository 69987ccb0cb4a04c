//! One check: which bucket, what its policy does, what is counted.

use super::problem::CheckProblem;
use crate::bucket::hash::BucketId;
use crate::bucket::policy::{Answer, Limits, Mode, Policy, PolicySet};
use crate::bucket::table::{BatchItem, Charge};
use crate::metrics::core::CheckResult;

/// A check that can be decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check<'p> {
    pub(super) policy: &'p Policy,
    pub(super) limits: &'p Limits,
    pub(super) id: BucketId,
    pub(super) cost: u64,
}

/// A decided check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided<'p> {
    pub(super) policy: &'p Policy,
    pub(super) limits: &'p Limits,
    pub(super) answer: Answer,
    /// A policy that only watches would have denied it.
    pub(super) shadow_denied: bool,
    pub(super) result: CheckResult,
}

impl Decided<'_> {
    /// As one of a batch that was denied, of which nothing is charged.
    pub(super) fn withheld(self) -> Self {
        let result = if self.result == CheckResult::Allowed { CheckResult::Withheld } else { self.result };
        Self { result, ..self }
    }
}

impl<'p> Check<'p> {
    /// # Errors
    /// When there is no such policy, or the cost can never be had.
    #[inline]
    pub(super) fn find(
        policies: &'p PolicySet,
        policy: &[u8],
        key: &[u8],
        cost: u64,
    ) -> Result<Self, CheckProblem> {
        let policy = policies.find(policy).ok_or(CheckProblem::UnknownPolicy)?;
        let limits = policy.limits_for(key);
        if cost > limits.burst() {
            return Err(CheckProblem::CostAboveBurst { cost, burst: limits.burst() });
        }
        Ok(Self { policy, limits, id: policies.bucket_id(policy, key), cost })
    }

    /// What is to be charged, unless the decision is fixed.
    #[inline]
    pub(super) fn item(&self) -> BatchItem<'p> {
        BatchItem::new(self.id, self.limits, self.cost, self.policy.mode() == Mode::Enforce)
    }

    /// The decision of a policy whose kill switch is thrown.
    pub(super) fn fixed(&self) -> Option<Charge> {
        let full = self.limits.burst_ticks();
        match self.policy.mode() {
            Mode::Enforce | Mode::Shadow => None,
            Mode::AllowAll => Some(Charge { allowed: true, ..Charge::default() }),
            Mode::DenyAll => Some(Charge { allowed: false, level: full, wait: full, table_full: false }),
        }
    }

    /// What is told and counted of a charge.
    #[inline]
    pub(super) fn decided(&self, charge: &Charge) -> Decided<'p> {
        let mut answer = self.limits.answer(charge);
        let shadow_denied = !charge.allowed && self.policy.mode() == Mode::Shadow;
        answer.allowed |= shadow_denied;
        let result = match charge {
            _ if shadow_denied => CheckResult::ShadowDenied,
            Charge { table_full: true, .. } => CheckResult::TableFull,
            Charge { allowed: false, .. } => CheckResult::Denied,
            _ if self.cost == 0 => CheckResult::Peeked,
            _ => CheckResult::Allowed,
        };
        Decided { policy: self.policy, limits: self.limits, answer, shadow_denied, result }
    }
}
