//! The traffic provider: two records, and calls that are compared, slow, half done or refused.

use std::collections::BTreeSet;

use openclaw_rating::agent::runbook::{Ended, Failure};
use openclaw_rating::agent::types::RecordState;

use crate::common::seeds::Random;
use crate::faults::{Fault, Faults};

/// A record and when it last changed.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) state: RecordState,
    pub(crate) changed_ms: u64,
}

/// A change that is on its way: it happens even when who asked for it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) at_ms: u64,
    pub(crate) wanted: RecordState,
    pub(crate) is_drill: bool,
    pub(crate) by: usize,
    pub(crate) incident: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub(crate) live: Held,
    pub(crate) shadow: Held,
    pub(crate) pending: Vec<Pending>,
    visible_after_ms: u64,
}

/// How a call ends, and when.
pub(crate) struct Call {
    pub(crate) end_ms: u64,
    pub(crate) ended: Ended,
}

/// What a client waits for an answer.
pub(crate) const PATIENCE_MS: u64 = 4_000;

pub(crate) fn failed(failure: Failure, why: &str) -> Ended {
    Ended::Failed { failure, why: why.to_owned() }
}

impl Provider {
    pub(crate) fn new(state: RecordState, visible_after_ms: u64) -> Self {
        let held = Held { state, changed_ms: 0 };
        Self { live: held.clone(), shadow: held, pending: vec![], visible_after_ms }
    }

    pub(crate) fn held(&mut self, is_drill: bool) -> &mut Held {
        if is_drill { &mut self.shadow } else { &mut self.live }
    }

    fn takes_ms(faults: &Faults, random: &mut Random, now_ms: u64) -> u64 {
        if faults.is(Fault::ProviderSlow, now_ms) {
            random.between(1_000, 6_000)
        } else {
            random.between(50, 300)
        }
    }

    pub(crate) fn read(
        &mut self,
        is_drill: bool,
        is_online: bool,
        faults: &Faults,
        random: &mut Random,
        now_ms: u64,
    ) -> Call {
        let takes_ms = Self::takes_ms(faults, random, now_ms);
        if !is_online || faults.is(Fault::ProviderDown, now_ms) {
            return Call { end_ms: now_ms + takes_ms.min(500), ended: failed(Failure::NotDone, "no answer") };
        }
        if takes_ms > PATIENCE_MS {
            return Call { end_ms: now_ms + PATIENCE_MS, ended: failed(Failure::NotDone, "too slow") };
        }
        Call { end_ms: now_ms + takes_ms, ended: Ended::Found(self.held(is_drill).state.clone()) }
    }

    /// Compares now and changes a little later: others may come between, as at a provider that does not compare.
    pub(crate) fn write(
        &mut self,
        (expected, wanted): (&RecordState, &RecordState),
        pending: Pending,
        is_online: bool,
        faults: &Faults,
        random: &mut Random,
    ) -> Call {
        let (now_ms, is_drill) = (pending.at_ms, pending.is_drill);
        let takes_ms = Self::takes_ms(faults, random, now_ms);
        if !is_online || faults.is(Fault::ProviderDown, now_ms) {
            return Call { end_ms: now_ms + 200, ended: failed(Failure::NotDone, "no answer") };
        }
        let found = self.held(is_drill).state.clone();
        if found.values == wanted.values {
            return Call { end_ms: now_ms + takes_ms.min(PATIENCE_MS), ended: done("it was so already") };
        }
        if found.values != expected.values {
            return Call {
                end_ms: now_ms + 100,
                ended: failed(Failure::Conflict(found), "somebody else changed it"),
            };
        }
        let at_ms = now_ms + random.between(0, takes_ms);
        self.pending.push(Pending { at_ms, ..pending });
        if takes_ms > PATIENCE_MS {
            return Call { end_ms: now_ms + PATIENCE_MS, ended: failed(Failure::Unknown, "too slow") };
        }
        if faults.is(Fault::ProviderHalfDone, now_ms) {
            return Call {
                end_ms: now_ms + PATIENCE_MS,
                ended: failed(Failure::Unknown, "no answer in time"),
            };
        }
        Call { end_ms: now_ms + takes_ms, ended: done("changed") }
    }

    pub(crate) fn visible(
        &mut self,
        wanted: &RecordState,
        is_drill: bool,
        faults: &Faults,
        now_ms: u64,
    ) -> Ended {
        let after_ms = self.visible_after_ms;
        let held = self.held(is_drill);
        let is_shown = held.changed_ms + after_ms <= now_ms && !faults.is(Fault::StaleResolvers, now_ms);
        if is_shown && held.state.values == wanted.values {
            return done("shown");
        }
        failed(Failure::NotDone, "resolvers show the past")
    }

    /// Changes that are due; each with the values before it.
    pub(crate) fn apply(&mut self, now_ms: u64) -> Vec<(Pending, RecordState)> {
        let (due, later): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|pending| pending.at_ms <= now_ms);
        self.pending = later;
        let mut changed = vec![];
        for pending in due {
            let held = self.held(pending.is_drill);
            let before = std::mem::replace(&mut held.state, pending.wanted.clone());
            held.changed_ms = now_ms;
            changed.push((pending, before));
        }
        changed
    }
}

pub(crate) fn done(detail: &str) -> Ended {
    Ended::Done { detail: detail.to_owned() }
}

/// Region `n` has the values `n.0` and `n.1`.
pub(crate) fn values_of(region: usize) -> Vec<String> {
    vec![format!("192.0.2.{region}0"), format!("192.0.2.{region}1")]
}

pub(crate) fn record_of(regions: &[usize]) -> RecordState {
    RecordState {
        name: "rates.example.com".to_owned(),
        kind: "A".to_owned(),
        ttl_s: 30,
        values: regions.iter().flat_map(|region| values_of(*region)).collect(),
        proxied: None,
        weights: vec![],
    }
}

/// The regions whose values are all there, and whether nothing else is: by the world's own reading.
pub(crate) fn set_of(record: &RecordState, regions: usize) -> Option<BTreeSet<usize>> {
    let has = |region: &usize| values_of(*region).iter().all(|value| record.values.contains(value));
    let set: BTreeSet<usize> = (0..regions).filter(has).collect();
    (!set.is_empty() && set.len() * 2 == record.values.len()).then_some(set)
}
