//! Which witnesses vote, and why one does not. Pure.
//!
//! A missing vote is missed only once a region has failed, so who gives none is told while all is calm. That a
//! witness does not see a region is a vote like any other.

use crate::agent::orders::{WitnessStatus, WitnessVote};
use crate::agent::runbook::Hysteresis;
use crate::agent::types::{Region, UnixMs};
use crate::metrics::Family;

/// A witness that is silent for less, since it is restarted, is worth no word.
const MUTE_AFTER_MS: u64 = 10_000;
/// What comes of asking a witness.
const RESULTS: [&str; 3] = ["sees", "does_not_see", "no_vote"];

/// What one witness says of one region.
#[derive(Clone, Debug, Default)]
struct Ballot {
    last: Option<(UnixMs, Result<bool, String>)>,
    voted: Option<UnixMs>,
    votes_in_a_row: u32,
}

#[derive(Clone, Debug)]
struct Witness {
    name: String,
    /// One a region.
    ballots: Vec<Ballot>,
    is_mute: bool,
    /// How often it was asked, by [`RESULTS`].
    asked: [u64; 3],
}

/// All witnesses of one agent.
#[derive(Clone, Debug)]
pub struct Witnesses {
    limits: Hysteresis,
    regions: Vec<Region>,
    list: Vec<Witness>,
    /// When they were first looked at.
    since: Option<UnixMs>,
}

/// A witness that has fallen silent, or votes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WitnessNews {
    Mute { witness: String, words: String },
    Votes { witness: String, words: String },
}

impl Ballot {
    fn take(&mut self, now: UnixMs, vote: Result<bool, String>) {
        self.votes_in_a_row = if vote.is_ok() { self.votes_in_a_row.saturating_add(1) } else { 0 };
        if vote.is_ok() {
            self.voted = Some(now);
        }
        self.last = Some((now, vote));
    }

    /// The vote that counts now, or why there is none.
    fn counts(&self, now: UnixMs, stale_after_ms: u64) -> Result<bool, &str> {
        match &self.last {
            None => Err("no answer yet"),
            Some((at, Ok(_))) if now.since_ms(*at) > stale_after_ms => Err("its last answer is too old"),
            Some((_, Ok(sees))) => Ok(*sees),
            Some((_, Err(why))) => Err(why),
        }
    }
}

impl Witness {
    fn status(&self, now: UnixMs, regions: &[Region], stale_after_ms: u64) -> WitnessStatus {
        let vote = |(region, ballot): (&Region, &Ballot)| {
            let counts = ballot.counts(now, stale_after_ms);
            WitnessVote { region: region.clone(), sees: counts.ok(), why: counts.err().map(str::to_owned) }
        };
        let votes = regions.iter().zip(&self.ballots).map(vote).collect();
        WitnessStatus { witness: self.name.clone(), mute: self.is_mute, votes }
    }
}

impl Witnesses {
    /// Witnesses of these names, none of which was asked yet.
    #[must_use]
    pub fn new(limits: Hysteresis, regions: &[Region], names: impl IntoIterator<Item = String>) -> Self {
        let ballots = vec![Ballot::default(); regions.len()];
        let witness = |name| Witness { name, ballots: ballots.clone(), is_mute: false, asked: [0; 3] };
        Self {
            limits,
            regions: regions.to_vec(),
            list: names.into_iter().map(witness).collect(),
            since: None,
        }
    }

    /// A witness was asked about `region` and voted, or gave no vote for this reason.
    pub(super) fn note(&mut self, now: UnixMs, region: &Region, witness: usize, vote: Result<bool, String>) {
        let Some(region) = self.regions.iter().position(|known| known == region) else { return };
        let Some(witness) = self.list.get_mut(witness) else { return };
        let result = match vote {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(_) => 2,
        };
        witness.asked[result] += 1;
        witness.ballots[region].take(now, vote);
    }

    /// Who has fallen silent, and who votes again, since the last time. It takes votes in a row on every region to
    /// end a silence, so that one who votes now and then is told once.
    pub(super) fn look(&mut self, now: UnixMs) -> Vec<WitnessNews> {
        let since = *self.since.get_or_insert(now);
        let Hysteresis { stale_after_ms, up_after, .. } = self.limits;
        let most_ms = stale_after_ms.max(MUTE_AFTER_MS);
        let mut news = Vec::new();
        for one in &mut self.list {
            let is_silent = |ballot: &Ballot| now.since_ms(ballot.voted.unwrap_or(since)) >= most_ms;
            let is_silent = one.ballots.iter().any(is_silent);
            let votes = !is_silent && one.ballots.iter().all(|ballot| ballot.votes_in_a_row >= up_after);
            let is_mute = if one.is_mute { !votes } else { is_silent };
            if is_mute == one.is_mute {
                continue;
            }
            one.is_mute = is_mute;
            let status = one.status(now, &self.regions, stale_after_ms);
            let (witness, words) = (one.name.clone(), status.words());
            news.push(match is_mute {
                true => WitnessNews::Mute { witness, words },
                false => WitnessNews::Votes { witness, words },
            });
        }
        news
    }

    pub(super) fn any_mute(&self) -> bool {
        self.list.iter().any(|witness| witness.is_mute)
    }

    /// How each of them votes.
    pub(super) fn status(&self, now: UnixMs) -> Vec<WitnessStatus> {
        let status = |witness: &Witness| witness.status(now, &self.regions, self.limits.stale_after_ms);
        self.list.iter().map(status).collect()
    }

    pub(super) fn families(&self) -> [Family; 2] {
        let help = "1 while the witness has given no vote on some region for a while.";
        let mut mute = Family::gauge("openclaw_agent_witness_mute", help);
        let help = "How often the witness was asked, by what came of it.";
        let mut asked = Family::counter("openclaw_agent_witness_asks_total", help);
        for witness in &self.list {
            mute.add(&[("witness", &witness.name)], f64::from(u8::from(witness.is_mute)));
            for (result, count) in RESULTS.iter().zip(witness.asked) {
                asked.add(&[("witness", &witness.name), ("result", result)], count as f64);
            }
        }
        [mute, asked]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region(name.to_owned())
    }

    fn witnesses() -> Witnesses {
        let names = ["a:1", "b:2"].map(str::to_owned);
        Witnesses::new(Hysteresis::default(), &[region("eu"), region("us")], names)
    }

    fn refused() -> Result<bool, String> {
        Err("it answers 401".to_owned())
    }

    /// Both are asked about both regions every second from `from` on: `a` says this of `eu`, all else is seen.
    fn ask(
        witnesses: &mut Witnesses,
        seconds: std::ops::Range<u64>,
        of_eu: &Result<bool, String>,
    ) -> Vec<(u64, WitnessNews)> {
        let mut news = Vec::new();
        for at in seconds {
            let now = UnixMs(at * 1000);
            for (witness, name) in [(0, "eu"), (0, "us"), (1, "eu"), (1, "us")] {
                let vote = if (witness, name) == (0, "eu") { of_eu.clone() } else { Ok(true) };
                witnesses.note(now, &region(name), witness, vote);
            }
            news.extend(witnesses.look(now).into_iter().map(|news| (at, news)));
        }
        news
    }

    #[test]
    fn who_gives_no_vote_is_told_once_and_once_when_it_votes_again() {
        let mut witnesses = witnesses();
        let words = "no vote on eu: it answers 401; sees us".to_owned();
        let mute = WitnessNews::Mute { witness: "a:1".to_owned(), words };
        assert_eq!(ask(&mut witnesses, 0..60, &refused()), [(10, mute)]);
        assert!(witnesses.any_mute());
        let votes = WitnessNews::Votes { witness: "a:1".to_owned(), words: "sees eu, us".to_owned() };
        // The fifth vote in a row.
        assert_eq!(ask(&mut witnesses, 60..120, &Ok(true)), [(64, votes)]);
        assert!(!witnesses.any_mute());
    }

    #[test]
    fn a_region_that_is_not_seen_is_a_vote() {
        let mut witnesses = witnesses();
        assert_eq!(ask(&mut witnesses, 0..60, &Ok(false)), []);
        let [a, b] = witnesses.status(UnixMs(59_000)).try_into().unwrap();
        assert_eq!((a.words(), b.words()), ("does not see eu; sees us".to_owned(), "sees eu, us".to_owned()));
        assert!(!a.mute && !b.mute);
    }

    #[test]
    fn a_witness_that_misses_a_few_votes_or_gives_one_now_and_then_is_told_no_more_than_once() {
        let mut witnesses = witnesses();
        ask(&mut witnesses, 0..5, &Ok(true));
        assert_eq!(ask(&mut witnesses, 5..14, &refused()), []);
        assert_eq!(ask(&mut witnesses, 14..15, &Ok(true)), []);
        let mut told = Vec::new();
        for from in (15..200).step_by(14) {
            told.extend(ask(&mut witnesses, from..from + 11, &refused()));
            told.extend(ask(&mut witnesses, from + 11..from + 14, &Ok(true)));
        }
        assert_eq!(told.len(), 1, "{told:?}");
    }

    #[test]
    fn who_was_never_heard_or_is_heard_no_more_gives_no_vote() {
        let mut witnesses = witnesses();
        assert_eq!(witnesses.look(UnixMs(5_000)), []);
        witnesses.note(UnixMs(6_000), &region("eu"), 1, Ok(true));
        witnesses.note(UnixMs(6_000), &region("us"), 1, Ok(true));
        assert_eq!(witnesses.look(UnixMs(14_999)), []);
        let names = |news: Vec<WitnessNews>| {
            let mute = |news| match news {
                WitnessNews::Mute { witness, words } => (witness, words),
                WitnessNews::Votes { .. } => panic!("{news:?}"),
            };
            news.into_iter().map(mute).collect::<Vec<_>>()
        };
        let never = ("a:1".to_owned(), "no vote on eu, us: no answer yet".to_owned());
        assert_eq!(names(witnesses.look(UnixMs(15_000))), [never]);
        let old = ("b:2".to_owned(), "no vote on eu, us: its last answer is too old".to_owned());
        assert_eq!(names(witnesses.look(UnixMs(16_000))), [old]);
    }

    #[test]
    fn probes_that_are_far_apart_are_waited_for() {
        let limits = Hysteresis { stale_after_ms: 360_000, ..Hysteresis::default() };
        let mut witnesses = Witnesses::new(limits, &[region("eu")], ["a:1".to_owned()]);
        assert_eq!(witnesses.look(UnixMs(0)), []);
        assert_eq!(witnesses.look(UnixMs(359_999)), []);
        assert_eq!(witnesses.look(UnixMs(360_000)).len(), 1);
    }

    #[test]
    fn asks_are_counted_by_witness_and_result_and_what_is_unknown_is_not() {
        let mut witnesses = witnesses();
        for vote in [Ok(true), Ok(false), Ok(false), refused(), refused(), refused()] {
            witnesses.note(UnixMs(0), &region("eu"), 0, vote);
        }
        witnesses.note(UnixMs(0), &region("mars"), 1, Ok(true));
        witnesses.note(UnixMs(0), &region("eu"), 2, Ok(true));
        let asked: Vec<[u64; 3]> = witnesses.list.iter().map(|witness| witness.asked).collect();
        assert_eq!(asked, [[1, 2, 3], [0, 0, 0]]);
    }
}
