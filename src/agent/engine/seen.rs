//! What was seen last of everything that is probed. Pure: observations and the time come in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::agent::signals::{Answer, Observation, Sight, Watched};
use crate::agent::types::Region;

/// A region as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnView {
    /// One of its nodes answers 200.
    Healthy,
    /// Its nodes answer, and say that they should get no traffic.
    Sick(Vec<String>),
    /// None of its nodes answers.
    Unseen(String),
    /// None was asked lately.
    Unknown,
}

/// What a witness says of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// It sees the region.
    Sees,
    /// It does not.
    CannotSee,
    /// It says nothing that counts.
    Silent,
}

/// The last look at each.
#[derive(Debug)]
pub struct Seen {
    latest: BTreeMap<Watched, Latest>,
    /// A look that is older says nothing.
    fresh_for: Duration,
}

#[derive(Debug)]
struct Latest {
    begun: Instant,
    sight: Sight,
}

/// The part of `/health` that is of use here.
#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    reasons: Vec<String>,
}

impl Seen {
    /// Nothing seen. Looks are every `interval` and take up to `timeout`; two that are missed make what was
    /// seen before say nothing.
    #[must_use]
    pub fn new(interval: Duration, timeout: Duration) -> Self {
        Self { latest: BTreeMap::new(), fresh_for: (interval + timeout) * 2 }
    }

    /// Takes note of a look.
    pub fn note(&mut self, observation: Observation) {
        let Observation { watched, begun, sight } = observation;
        self.latest.insert(watched, Latest { begun, sight });
    }

    /// A region as this node sees it at `now`.
    #[must_use]
    pub fn own_view(&self, region: &Region, now: Instant) -> OwnView {
        let of_region = self.nodes(region).filter(|latest| self.is_fresh(latest, now));
        let (mut reasons, mut unseen, mut asked) = (Vec::new(), Vec::new(), false);
        for latest in of_region {
            asked = true;
            match &latest.sight.seen {
                Ok(Answer { status: 200, .. }) => return OwnView::Healthy,
                Ok(answer) => reasons.extend(reasons_of(answer)),
                Err(why) => unseen.push(why.to_string()),
            }
        }
        match (asked, reasons.is_empty()) {
            (false, _) => OwnView::Unknown,
            (true, false) => OwnView::Sick(reasons),
            (true, true) => OwnView::Unseen(unseen.join("; ")),
        }
    }

    /// What each witness says of a region at `now`, of `count` that there are.
    #[must_use]
    pub fn votes(&self, region: &Region, count: usize, now: Instant) -> Vec<Vote> {
        let vote = |witness| {
            let latest = self.latest.get(&Watched::Witness(region.clone(), witness));
            match latest.filter(|latest| self.is_fresh(latest, now)).map(|latest| &latest.sight.seen) {
                Some(Ok(Answer { status: 200, .. })) => Vote::Sees,
                Some(Ok(Answer { status: 503, .. })) => Vote::CannotSee,
                _ => Vote::Silent,
            }
        };
        (0..count).map(vote).collect()
    }

    /// The look at a region that says most, and how long ago it began: one that was answered with 200 before
    /// any other.
    #[must_use]
    pub fn telling(&self, region: &Region, now: Instant) -> Option<(&Sight, Duration)> {
        let best = self.nodes(region).max_by_key(|latest| (latest.sight.is_good(), latest.begun));
        best.map(|latest| (&latest.sight, now.saturating_duration_since(latest.begun)))
    }

    /// The last look at the public name.
    #[must_use]
    pub fn public(&self) -> Option<&Sight> {
        self.latest.get(&Watched::Public).map(|latest| &latest.sight)
    }

    fn nodes(&self, region: &Region) -> impl Iterator<Item = &Latest> {
        let is_node = move |watched: &Watched| matches!(watched, Watched::Health(of, _) if of == region);
        self.latest.iter().filter(move |(watched, _)| is_node(watched)).map(|(_, latest)| latest)
    }

    fn is_fresh(&self, latest: &Latest, now: Instant) -> bool {
        now.saturating_duration_since(latest.begun) <= self.fresh_for
    }
}

/// What a node says is wrong with it, in its words where it has any.
fn reasons_of(answer: &Answer) -> Vec<String> {
    let health = serde_json::from_str::<Health>(&answer.body);
    let reasons = health.map(|health| health.reasons).unwrap_or_default();
    if reasons.is_empty() { vec![format!("it answers {}", answer.status)] } else { reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::signals::{Blind, Timings};

    fn eu() -> Region {
        Region("eu".to_owned())
    }

    fn look(watched: Watched, begun: Instant, seen: Result<(u16, &str), &str>) -> Observation {
        let seen = match seen {
            Ok((status, body)) => Ok(Answer { status, body: body.to_owned() }),
            Err(why) => Err(Blind::Unanswered(why.to_owned())),
        };
        Observation { watched, begun, sight: Sight { address: None, timings: Timings::default(), seen } }
    }

    fn seen() -> Seen {
        Seen::new(Duration::from_millis(400), Duration::from_millis(600))
    }

    #[test]
    fn one_good_node_makes_a_region_healthy_and_the_sick_say_why() {
        let (start, mut seen) = (Instant::now(), seen());
        assert_eq!(seen.own_view(&eu(), start), OwnView::Unknown);
        seen.note(look(Watched::Health(eu(), 0), start, Err("not in time")));
        assert_eq!(seen.own_view(&eu(), start), OwnView::Unseen("no answer: not in time".to_owned()));
        seen.note(look(Watched::Health(eu(), 1), start, Ok((503, r#"{"status":"unavailable","reasons":["draining"]}"#))));
        assert_eq!(seen.own_view(&eu(), start), OwnView::Sick(vec!["draining".to_owned()]));
        seen.note(look(Watched::Health(eu(), 1), start, Ok((302, "moved"))));
        assert_eq!(seen.own_view(&eu(), start), OwnView::Sick(vec!["it answers 302".to_owned()]));
        seen.note(look(Watched::Health(eu(), 2), start, Ok((200, ""))));
        assert_eq!(seen.own_view(&eu(), start), OwnView::Healthy);
        let (sight, age) = seen.telling(&eu(), start + Duration::from_secs(1)).unwrap();
        assert!(sight.is_good() && age == Duration::from_secs(1));
        assert_eq!(seen.own_view(&Region("us".to_owned()), start), OwnView::Unknown);
    }

    #[test]
    fn what_is_old_says_nothing() {
        let (start, mut seen) = (Instant::now(), seen());
        seen.note(look(Watched::Health(eu(), 0), start, Ok((200, ""))));
        seen.note(look(Watched::Witness(eu(), 0), start, Ok((200, ""))));
        let late = start + Duration::from_millis(2001);
        assert_eq!(seen.own_view(&eu(), late), OwnView::Unknown);
        assert_eq!(seen.votes(&eu(), 1, late), [Vote::Silent]);
    }

    #[test]
    fn a_witness_votes_by_200_and_503_and_by_nothing_else() {
        let (start, mut seen) = (Instant::now(), seen());
        for (at, answer) in [Ok((200, "")), Ok((503, "")), Ok((401, "")), Err("x")].into_iter().enumerate() {
            seen.note(look(Watched::Witness(eu(), at), start, answer));
        }
        let expected = [Vote::Sees, Vote::CannotSee, Vote::Silent, Vote::Silent, Vote::Silent];
        assert_eq!(seen.votes(&eu(), 5, start), expected);
    }
}
