//! Turns single looks into a standing: hysteresis for each node, and votes.
//!
//! Own probes get their hysteresis here. A witness has its own, so its answer counts as it is while it is fresh.

use std::collections::BTreeMap;

use super::assessment::{Assessment, RegionView, Standing, Votes};
use crate::agent::types::{Region, UnixMs};

/// When a series of looks becomes a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hysteresis {
    /// Bad looks in a row, and
    pub down_after: u32,
    /// milliseconds since the last good one, whichever is later, make it down.
    pub down_for_ms: u64,
    /// Good looks in a row make it up again.
    pub up_after: u32,
    /// A look that is older says nothing.
    pub stale_after_ms: u64,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Self { down_after: 3, down_for_ms: 1_000, up_after: 5, stale_after_ms: 5_000 }
    }
}

/// What one look at a region's `/health` saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glimpse {
    /// 200.
    Good,
    /// 503, or another answer, with its reasons.
    Sick(Vec<String>),
    /// No answer.
    Bad(String),
}

/// One node as own probes saw it.
#[derive(Clone, Debug, Default)]
struct Looks {
    last: Option<(UnixMs, Glimpse)>,
    good_at: Option<UnixMs>,
    /// Of the same kind, good or not.
    in_a_row: u32,
    /// `None` until enough was seen.
    is_up: Option<bool>,
}

impl Looks {
    fn take(&mut self, now: UnixMs, glimpse: Glimpse, limits: Hysteresis) {
        let is_good = glimpse == Glimpse::Good;
        let was_good = self.last.as_ref().map(|(_, last)| *last == Glimpse::Good);
        self.in_a_row = if was_good == Some(is_good) { self.in_a_row.saturating_add(1) } else { 1 };
        if is_good {
            self.good_at = Some(now);
        }
        let silent_ms = self.good_at.map_or(u64::MAX, |at| now.since_ms(at));
        let is_enough = if is_good {
            // One good look is enough for a node that was never seen down.
            self.is_up != Some(false) || self.in_a_row >= limits.up_after
        } else {
            self.in_a_row >= limits.down_after && silent_ms >= limits.down_for_ms
        };
        if is_enough {
            self.is_up = Some(is_good);
        }
        self.last = Some((now, glimpse));
    }

    fn fresh(&self, now: UnixMs, limits: Hysteresis) -> Option<(bool, &Glimpse)> {
        let (at, glimpse) = self.last.as_ref()?;
        let is_fresh = now.since_ms(*at) <= limits.stale_after_ms;
        is_fresh.then_some(())?;
        Some((self.is_up?, glimpse))
    }
}

/// One region as this agent and its witnesses see it.
#[derive(Clone, Debug)]
struct Watch {
    nodes: Vec<Looks>,
    witnesses: Vec<Option<(UnixMs, bool)>>,
    link_is_up: bool,
}

/// Everything that one agent and its witnesses saw of all regions.
#[derive(Clone, Debug)]
pub struct Outlook {
    limits: Hysteresis,
    regions: BTreeMap<Region, Watch>,
}

impl Outlook {
    /// Nothing was seen yet. `regions` with the number of nodes probed in each; `witnesses` of each region.
    #[must_use]
    pub fn new(limits: Hysteresis, regions: &[(Region, usize)], witnesses: usize) -> Self {
        let watch = |(region, nodes): &(Region, usize)| {
            let nodes = vec![Looks::default(); *nodes];
            (region.clone(), Watch { nodes, witnesses: vec![None; witnesses], link_is_up: false })
        };
        Self { limits, regions: regions.iter().map(watch).collect() }
    }

    /// An own probe of node `node` of `region` ended.
    pub fn probed(&mut self, now: UnixMs, region: &Region, node: usize, glimpse: Glimpse) {
        let limits = self.limits;
        if let Some(looks) = self.regions.get_mut(region).and_then(|watch| watch.nodes.get_mut(node)) {
            looks.take(now, glimpse, limits);
        }
    }

    /// A witness answered (`Some`: whether it sees the region healthy) or gave no vote.
    pub fn witnessed(&mut self, now: UnixMs, region: &Region, witness: usize, sees: Option<bool>) {
        if let Some(vote) = self.regions.get_mut(region).and_then(|watch| watch.witnesses.get_mut(witness)) {
            *vote = sees.map(|sees| (now, sees));
        }
    }

    /// Whether heartbeats of any node of `region` arrive.
    pub fn link(&mut self, region: &Region, is_up: bool) {
        if let Some(watch) = self.regions.get_mut(region) {
            watch.link_is_up = is_up;
        }
    }

    /// What this node answers as a witness: whether it sees `region` healthy; `None` without a fresh look.
    #[must_use]
    pub fn sees(&self, now: UnixMs, region: &Region) -> Option<bool> {
        match self.standing(now, self.regions.get(region)?) {
            Standing::Unknown => None,
            standing => Some(standing == Standing::Healthy),
        }
    }

    /// Whether node `node` of `region` answers now that it should get no traffic.
    #[must_use]
    pub fn is_sick(&self, now: UnixMs, region: &Region, node: usize) -> bool {
        let looks = self.regions.get(region).and_then(|watch| watch.nodes.get(node));
        let last = looks.and_then(|looks| looks.fresh(now, self.limits));
        matches!(last, Some((false, Glimpse::Sick(_))))
    }

    /// How the regions look now. `elected` and `unfit` are the caller's.
    #[must_use]
    pub fn assess(&self, now: UnixMs, elected: bool, unfit: Option<String>) -> Assessment {
        let view = |(region, watch): (&Region, &Watch)| {
            let standing = self.standing(now, watch);
            let votes = self.votes(now, watch, &standing);
            let good_at = watch.nodes.iter().filter_map(|node| node.good_at).max();
            let last_healthy = good_at.filter(|_| standing != Standing::Healthy);
            (region.clone(), RegionView { standing, votes, link_is_up: watch.link_is_up, last_healthy })
        };
        Assessment { regions: self.regions.iter().map(view).collect(), elected, unfit }
    }

    /// One node that is up makes the region healthy. Otherwise one that is unknown makes it unknown rather than down.
    fn standing(&self, now: UnixMs, watch: &Watch) -> Standing {
        let seen: Vec<_> = watch.nodes.iter().map(|node| node.fresh(now, self.limits)).collect();
        if seen.iter().flatten().any(|(is_up, _)| *is_up) {
            return Standing::Healthy;
        }
        if seen.is_empty() || seen.iter().any(Option::is_none) {
            return Standing::Unknown;
        }
        let glimpses = || seen.iter().flatten().map(|(_, glimpse)| *glimpse);
        let sick = glimpses().find_map(|glimpse| match glimpse {
            Glimpse::Sick(reasons) => Some(Standing::Sick { reasons: reasons.clone() }),
            _ => None,
        });
        let silent = glimpses().find_map(|glimpse| match glimpse {
            Glimpse::Bad(why) => Some(Standing::Unreachable { why: why.clone() }),
            _ => None,
        });
        // All are good again, and not for long enough.
        let recovering = || Standing::Sick { reasons: vec!["it has only just come back".to_owned()] };
        sick.or(silent).unwrap_or_else(recovering)
    }

    fn votes(&self, now: UnixMs, watch: &Watch, own: &Standing) -> Votes {
        let own = match own {
            Standing::Unknown => None,
            standing => Some(*standing == Standing::Healthy),
        };
        let fresh = |vote: &Option<(UnixMs, bool)>| {
            vote.filter(|(at, _)| now.since_ms(*at) <= self.limits.stale_after_ms).map(|(_, sees)| sees)
        };
        let cast: Vec<bool> = watch.witnesses.iter().map(fresh).chain([own]).flatten().collect();
        let count = |wanted: bool| {
            u32::try_from(cast.iter().filter(|sees| **sees == wanted).count()).unwrap_or(u32::MAX)
        };
        let voters = u32::try_from(watch.witnesses.len() + 1).unwrap_or(u32::MAX);
        Votes { cannot_see: count(false), can_see: count(true), voters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eu() -> Region {
        Region("eu".to_owned())
    }

    fn outlook(nodes: usize, witnesses: usize) -> Outlook {
        Outlook::new(Hysteresis::default(), &[(eu(), nodes)], witnesses)
    }

    fn bad() -> Glimpse {
        Glimpse::Bad("refused".to_owned())
    }

    fn standing(outlook: &Outlook, now: u64) -> &'static str {
        outlook.assess(UnixMs(now), true, None).standing(&eu()).name()
    }

    #[test]
    fn a_region_is_down_after_enough_failures_and_enough_time() {
        let mut outlook = outlook(1, 0);
        assert_eq!(standing(&outlook, 0), "unknown");
        outlook.probed(UnixMs(0), &eu(), 0, Glimpse::Good);
        assert_eq!(standing(&outlook, 0), "healthy");
        for at in [100, 200, 300, 400] {
            outlook.probed(UnixMs(at), &eu(), 0, bad());
            assert_eq!(standing(&outlook, at), "healthy", "{at}");
        }
        let last_healthy =
            |outlook: &Outlook| outlook.assess(UnixMs(1_000), true, None).regions[&eu()].last_healthy;
        assert_eq!(last_healthy(&outlook), None);
        outlook.probed(UnixMs(1_000), &eu(), 0, bad());
        assert_eq!(standing(&outlook, 1_000), "unreachable");
        assert_eq!(last_healthy(&outlook), Some(UnixMs(0)));
    }

    #[test]
    fn a_region_that_was_down_is_up_after_a_row_of_good_looks_only() {
        let mut outlook = outlook(1, 0);
        for at in 0..3 {
            outlook.probed(UnixMs(at * 1_000), &eu(), 0, bad());
        }
        for at in 3..7 {
            outlook.probed(UnixMs(at * 1_000), &eu(), 0, Glimpse::Good);
            assert_eq!(standing(&outlook, at * 1_000), "sick");
        }
        outlook.probed(UnixMs(7_000), &eu(), 0, Glimpse::Good);
        assert_eq!(standing(&outlook, 7_000), "healthy");
    }

    #[test]
    fn one_node_that_answers_keeps_its_region_healthy() {
        let mut outlook = outlook(2, 0);
        outlook.probed(UnixMs(0), &eu(), 1, Glimpse::Good);
        for at in 0..3 {
            outlook.probed(UnixMs(at * 1_000), &eu(), 0, bad());
        }
        assert_eq!(standing(&outlook, 2_000), "healthy");
        for at in 1..4 {
            outlook.probed(UnixMs(at * 1_000), &eu(), 1, Glimpse::Sick(vec!["stalled".to_owned()]));
        }
        assert_eq!(standing(&outlook, 3_000), "sick");
    }

    #[test]
    fn a_node_is_sick_while_it_says_so_itself() {
        let mut outlook = outlook(2, 0);
        let is_sick = |outlook: &Outlook, now| outlook.is_sick(UnixMs(now), &eu(), 1);
        for at in 0..3 {
            assert!(!is_sick(&outlook, at * 1_000), "not by one answer");
            outlook.probed(UnixMs(at * 1_000), &eu(), 1, Glimpse::Sick(vec!["draining".to_owned()]));
        }
        assert!(is_sick(&outlook, 2_000) && !outlook.is_sick(UnixMs(2_000), &eu(), 0));
        assert!(!is_sick(&outlook, 7_001), "that was long ago");
        for (at, glimpse) in [(3_000, bad()), (4_000, Glimpse::Good)] {
            outlook.probed(UnixMs(at), &eu(), 1, glimpse);
            assert!(!is_sick(&outlook, at), "it does not say so any more");
        }
    }

    #[test]
    fn a_look_that_is_too_old_says_nothing() {
        let mut outlook = outlook(1, 1);
        outlook.probed(UnixMs(0), &eu(), 0, Glimpse::Good);
        outlook.witnessed(UnixMs(0), &eu(), 0, Some(true));
        let votes = |outlook: &Outlook, now| outlook.assess(UnixMs(now), true, None).regions[&eu()].votes;
        assert_eq!(votes(&outlook, 5_000), Votes { cannot_see: 0, can_see: 2, voters: 2 });
        assert_eq!(standing(&outlook, 5_001), "unknown");
        assert_eq!(votes(&outlook, 5_001), Votes { cannot_see: 0, can_see: 0, voters: 2 });
        assert_eq!(outlook.sees(UnixMs(5_001), &eu()), None);
    }

    #[test]
    fn silence_of_witnesses_is_no_majority() {
        for (cannot_see, voters, is_majority) in
            [(1, 1, true), (1, 2, false), (2, 2, true), (1, 3, false), (2, 3, true)]
        {
            let votes = Votes { cannot_see, can_see: 0, voters };
            assert_eq!(votes.majority_cannot_see(), is_majority, "{cannot_see} of {voters}");
        }
    }
}
