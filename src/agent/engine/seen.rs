//! The last look at everything that is probed, and what it means for the runbook. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::agent::journal::printable_within;
use crate::agent::runbook::Glimpse;
use crate::agent::signals::{Answer, Observation, Sight, Watched};
use crate::agent::types::Region;

/// So much is kept of why a witness gives no vote.
const MAX_WHY_CHARS: usize = 300;

/// The last look at each.
#[derive(Debug, Default)]
pub(super) struct Seen {
    latest: BTreeMap<Watched, (Instant, Sight)>,
}

/// The part of a `/health` answer that is used here.
#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    reasons: Vec<String>,
}

/// The part of an answer in problem details (RFC 9457) that is used here.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
}

impl Seen {
    /// Keeps a look unless a later one is known; returns whether it was kept.
    pub(super) fn note(&mut self, observation: &Observation) -> bool {
        let Observation { watched, begun, sight } = observation.clone();
        let is_late = self.latest.get(&watched).is_some_and(|(newest, _)| *newest > begun);
        if !is_late {
            self.latest.insert(watched, (begun, sight));
        }
        !is_late
    }

    /// The most telling look at a region, and its age: a 200 of any node comes before all others.
    #[must_use]
    pub(super) fn telling(&self, region: &Region, now: Instant) -> Option<(&Sight, Duration)> {
        let is_node = |watched: &Watched| matches!(watched, Watched::Health(of, _) if of == region);
        let nodes = self.latest.iter().filter(|(watched, _)| is_node(watched));
        let best = nodes.map(|(_, latest)| latest).max_by_key(|(begun, sight)| (sight.is_good(), *begun));
        best.map(|(begun, sight)| (sight, now.saturating_duration_since(*begun)))
    }

    /// The last look at the public name.
    #[must_use]
    pub(super) fn public(&self) -> Option<&Sight> {
        self.latest.get(&Watched::Public).map(|(_, sight)| sight)
    }
}

/// What a look at a node's `/health` says of its region.
#[must_use]
pub(super) fn glimpse_of(sight: &Sight) -> Glimpse {
    match &sight.seen {
        Ok(Answer { status: 200, .. }) => Glimpse::Good,
        Ok(answer) => Glimpse::Sick(reasons_of(answer)),
        Err(why) => Glimpse::Bad(why.to_string()),
    }
}

/// What a witness says: whether it sees the region healthy.
///
/// # Errors
/// When it gives no vote, which is whenever it answers neither 200 nor 503, or with a page for people, as a proxy
/// does that cannot reach it: why, in words.
pub(super) fn vote_of(sight: &Sight) -> Result<bool, String> {
    let why = match &sight.seen {
        Ok(Answer { status: status @ (200 | 503), body }) if is_page(body) => {
            format!("it answers {status} with a page, as a proxy does for who is behind it")
        }
        Ok(Answer { status: 200, .. }) => return Ok(true),
        Ok(Answer { status: 503, .. }) => return Ok(false),
        Ok(answer) => no_vote(answer),
        Err(why) => why.to_string(),
    };
    Err(printable_within(&why, MAX_WHY_CHARS))
}

/// Whether it is HTML or XML.
fn is_page(body: &str) -> bool {
    body.trim_start_matches('\u{feff}').trim_start().starts_with('<')
}

/// An answer that is no vote, with its own explanation where it has one.
fn no_vote(answer: &Answer) -> String {
    let problem = serde_json::from_str::<Problem>(&answer.body);
    match problem.map(|problem| problem.detail).unwrap_or_default() {
        detail if detail.is_empty() => format!("it answers {}", answer.status),
        detail => format!("it answers {}: {detail}", answer.status),
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

    fn sight(seen: Result<(u16, &str), &str>) -> Sight {
        let seen = match seen {
            Ok((status, body)) => Ok(Answer { status, body: body.to_owned() }),
            Err(why) => Err(Blind::Unanswered(why.to_owned())),
        };
        Sight { address: None, timings: Timings::default(), seen }
    }

    #[test]
    fn a_node_is_good_by_200_sick_by_any_other_answer_and_bad_by_none() {
        let sick = |why: &str| Glimpse::Sick(vec![why.to_owned()]);
        for (seen, glimpse) in [
            (Ok((200, "")), Glimpse::Good),
            (Ok((503, r#"{"status":"unavailable","reasons":["draining"]}"#)), sick("draining")),
            (Ok((503, "busy")), sick("it answers 503")),
            (Ok((302, "")), sick("it answers 302")),
            (Err("not in time"), Glimpse::Bad("no answer: not in time".to_owned())),
        ] {
            assert_eq!(glimpse_of(&sight(seen)), glimpse, "{seen:?}");
        }
    }

    #[test]
    fn a_witness_votes_by_200_and_503_and_else_says_why_it_gives_no_vote() {
        let told = |status| format!("it answers {status} with a page, as a proxy does for who is behind it");
        let (page_200, page_503) = (told(200), told(503));
        for (seen, vote) in [
            (Ok((200, "")), Ok(true)),
            (Ok((503, "")), Ok(false)),
            (Ok((503, r#"{"answer":"seen","region":"eu","healthy":false}"#)), Ok(false)),
            (Ok((401, r#"{"detail":"show the\ntoken"}"#)), Err("it answers 401: show the token")),
            (Ok((404, "<html>")), Err("it answers 404")),
            (Ok((200, " <!doctype html>")), Err(page_200.as_str())),
            (Ok((503, "<html><h1>503 Service Temporarily Unavailable</h1>")), Err(page_503.as_str())),
            (Ok((302, "{}")), Err("it answers 302")),
            (Err("it is not HTTP"), Err("no answer: it is not HTTP")),
        ] {
            assert_eq!(vote_of(&sight(seen)), vote.map_err(str::to_owned), "{seen:?}");
        }
        let long = "ä".repeat(5_000);
        assert_eq!(vote_of(&sight(Err(&long))).unwrap_err().chars().count(), MAX_WHY_CHARS + 1);
    }

    #[test]
    fn the_look_that_says_most_of_a_region_is_a_good_one() {
        let (start, eu, mut seen) = (Instant::now(), Region("eu".to_owned()), Seen::default());
        assert!(seen.telling(&eu, start).is_none());
        for (node, what) in [Ok((200, "")), Err("x")].into_iter().enumerate() {
            let watched = Watched::Health(eu.clone(), node);
            assert!(seen.note(&Observation { watched, begun: start, sight: sight(what) }));
        }
        let (sight, age) = seen.telling(&eu, start + Duration::from_secs(1)).unwrap();
        assert!(sight.is_good() && age == Duration::from_secs(1));
        assert!(seen.public().is_none());
    }

    #[test]
    fn a_look_that_ends_after_a_newer_one_says_nothing() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        let public = |after_ms, what| Observation {
            watched: Watched::Public,
            begun: start + Duration::from_millis(after_ms),
            sight: sight(what),
        };
        assert!(seen.note(&public(400, Ok((200, "")))));
        assert!(!seen.note(&public(0, Err("not in time"))));
        assert!(seen.public().is_some_and(Sight::is_good));
        assert!(seen.note(&public(800, Err("not in time"))));
        assert!(!seen.public().is_some_and(Sight::is_good));
    }
}
