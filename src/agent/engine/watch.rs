//! What the agent sees, put together: regions by probes, witnesses and heartbeats, and this server's own
//! figures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::seen::{Seen, glimpse_of, vote_of};
use super::witnesses::{WitnessNews, Witnesses};
use crate::agent::history::{History, Sample};
use crate::agent::runbook::{Assessment, Outlook};
use crate::agent::signals::{
    Observation, OwnFigures, OwnLimits, OwnSignal, OwnSignals, SignalChange, TokenShare, Watched,
};
use crate::agent::types::{Region, UnixMs};
use crate::health::{Health, Reason, Warning};
use crate::metrics::Published;

/// The runbook gets an assessment at least this often.
const AT_LEAST_MS: u64 = 1000;
/// How often this server's own figures are looked at: the control plane publishes them once a second.
const FIGURES_MS: u64 = 1000;

/// Another node, as the agent needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlace {
    /// Its number.
    pub node: u8,
    /// Its region.
    pub region: Region,
    /// Which of its region's health URLs is its own, where that is known.
    pub health: Option<usize>,
}

/// What is watched.
pub struct WatchParts {
    /// Makes standings of looks.
    pub outlook: Outlook,
    /// Knows which witnesses vote.
    pub witnesses: Witnesses,
    /// Every region, in order.
    pub regions: Vec<Region>,
    /// This node's.
    pub own_region: Region,
    /// This node's number; none without a cluster.
    pub own_node: Option<u8>,
    /// The other nodes.
    pub peers: Vec<PeerPlace>,
    /// When an own figure is a signal.
    pub limits: OwnLimits,
    /// The last two hours.
    pub history: History,
    /// Figures of the other planes.
    pub published: Arc<Published>,
    /// What `/health` tells.
    pub health: Arc<Health>,
    /// Its file system must have room.
    pub state_directory: PathBuf,
}

impl std::fmt::Debug for WatchParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchParts").field("regions", &self.regions).finish_non_exhaustive()
    }
}

/// What was seen so far.
pub(super) struct Watch {
    parts: WatchParts,
    signals: OwnSignals,
    pub(super) seen: Seen,
    told: Option<(UnixMs, Assessment)>,
    next_figures: UnixMs,
}

impl Watch {
    pub(super) fn new(parts: WatchParts) -> Self {
        let signals = OwnSignals::new(parts.limits);
        Self { parts, signals, seen: Seen::default(), told: None, next_figures: UnixMs(0) }
    }

    pub(super) fn regions(&self) -> &[Region] {
        &self.parts.regions
    }

    pub(super) const fn own_region(&self) -> &Region {
        &self.parts.own_region
    }

    pub(super) const fn history(&self) -> &History {
        &self.parts.history
    }

    /// Whether this node sees `region` healthy; `None` without a fresh look.
    pub(super) fn sees(&self, now: UnixMs, region: &Region) -> Option<bool> {
        self.parts.outlook.sees(now, region)
    }

    /// What was last assessed.
    pub(super) fn assessment(&self) -> Option<&Assessment> {
        self.told.as_ref().map(|(_, assessment)| assessment)
    }

    pub(super) fn raised(&self) -> impl Iterator<Item = (OwnSignal, &str)> {
        self.signals.raised()
    }

    pub(super) fn note(&mut self, now: UnixMs, observation: &Observation) {
        if !self.seen.note(observation) {
            return;
        }
        let outlook = &mut self.parts.outlook;
        match &observation.watched {
            Watched::Health(region, node) => {
                outlook.probed(now, region, *node, glimpse_of(&observation.sight));
            }
            Watched::Witness(region, witness) => {
                let vote = vote_of(&observation.sight);
                outlook.witnessed(now, region, *witness, vote.as_ref().ok().copied());
                self.parts.witnesses.note(now, region, *witness, vote);
            }
            Watched::Public => {}
        }
    }

    pub(super) const fn witnesses(&self) -> &Witnesses {
        &self.parts.witnesses
    }

    /// Shows in `/health` whether a witness gives no vote; who has fallen silent and who votes again since the last
    /// time.
    pub(super) fn look_at_witnesses(&mut self, now: UnixMs) -> Vec<WitnessNews> {
        let news = self.parts.witnesses.look(now);
        self.parts.health.warn(Warning::MuteWitness, self.parts.witnesses.any_mute());
        news
    }

    /// The present assessment, if it differs from the last one told, or that one is old.
    pub(super) fn assess(&mut self, now: UnixMs) -> Option<Assessment> {
        let heard = self.parts.published.peers.load();
        let is_heard = |node: u8| heard.iter().any(|peer| peer.node == node && peer.is_present);
        for region in &self.parts.regions {
            let mut nodes = self.parts.peers.iter().filter(|peer| peer.region == *region);
            let is_up = *region == self.parts.own_region || nodes.any(|peer| is_heard(peer.node));
            self.parts.outlook.link(region, is_up);
        }
        let elected = self.is_elected(now, is_heard);
        let assessment = self.parts.outlook.assess(now, elected, self.unfit());
        let is_news = match &self.told {
            Some((at, told)) => *told != assessment || now.since_ms(*at) >= AT_LEAST_MS,
            None => true,
        };
        if !is_news {
            return None;
        }
        self.told = Some((now, assessment.clone()));
        Some(assessment)
    }

    /// Whether no node of this region that is heard has a lower number. One that says itself that it should get no
    /// traffic is unfit to act, and is in nobody's way.
    fn is_elected(&self, now: UnixMs, is_heard: impl Fn(u8) -> bool) -> bool {
        let Some(own) = self.parts.own_node else { return true };
        let region = &self.parts.own_region;
        let is_unfit = |place| self.parts.outlook.is_sick(now, region, place);
        let mut ours = self.parts.peers.iter().filter(|peer| peer.region == *region);
        !ours.any(|peer| peer.node < own && is_heard(peer.node) && !peer.health.is_some_and(is_unfit))
    }

    /// A server that should get no traffic sends none to itself.
    fn unfit(&self) -> Option<String> {
        let reasons: Vec<&str> = self.parts.health.reasons().map(Reason::label).collect();
        (!reasons.is_empty()).then(|| format!("this node is not fit: {}", reasons.join(", ")))
    }

    /// A signal raised before a restart: it is lowered like one raised since.
    pub(super) fn take_up(&mut self, name: &str, subject: &str) {
        self.signals.take_up(name, subject);
    }

    /// Looks at this server's own figures, once a second; the signals that were raised or lowered by them.
    pub(super) fn look_at_figures(&mut self, now: UnixMs) -> Vec<SignalChange> {
        if now < self.next_figures {
            return Vec::new();
        }
        self.next_figures = now.after_ms(FIGURES_MS);
        self.keep_history(now);
        let vitals = self.parts.published.vitals.load();
        let tokens = vitals.watched.iter();
        let figures = OwnFigures {
            tokens: tokens.map(|w| TokenShare { key: w.key.clone(), percent: 100.0 * w.share }).collect(),
            requests_per_s: vitals.checks_per_s + vitals.errors_per_s,
            errors_per_s: vitals.errors_per_s,
            p99: vitals.p99,
            is_stalled: vitals.is_stalled,
            disk_free_percent: free_percent(&self.parts.state_directory),
        };
        let changes = self.signals.observe(now, &figures);
        for change in &changes {
            self.show(change);
        }
        changes
    }

    /// Shows in `/health` what makes this node one that should get no traffic, and what only needs a look.
    fn show(&self, change: &SignalChange) {
        let health = &self.parts.health;
        match change.signal {
            OwnSignal::Errors => health.set(Reason::Failing, change.is_raised),
            OwnSignal::Slow => health.set(Reason::Slow, change.is_raised),
            OwnSignal::DiskFull => health.warn(Warning::DiskFull, change.is_raised),
            // The watchdog shows it; tokens are no fault of this node.
            OwnSignal::StalledCore | OwnSignal::TokensLow | OwnSignal::TokensCritical => {}
        }
    }

    fn keep_history(&mut self, now: UnixMs) {
        let (vitals, peers) = (self.parts.published.vitals.load(), self.parts.published.peers.load());
        let lag = peers.iter().filter(|peer| peer.is_present).map(|peer| peer.lag).max();
        let moment = Instant::now();
        let probe = |region: &Region| {
            let (sight, age) = self.seen.telling(region, moment)?;
            let fresh = age < Duration::from_secs(5);
            fresh.then(|| (sight.is_good(), sight.timings.total.as_secs_f64() * 1e3))
        };
        let sample = Sample {
            checks: Some(vitals.checks_per_s),
            denials: Some(vitals.denied_per_s),
            errors: Some(vitals.errors_per_s),
            p99_us: vitals.p99.map(|p99| p99.as_secs_f64() * 1e6),
            replication_lag_ms: lag.map(|lag| lag.as_secs_f64() * 1e3),
            available: vitals.watched.iter().map(|watched| Some(watched.share)).collect(),
            probes: self.parts.regions.iter().map(probe).collect(),
        };
        self.parts.history.push(now, &sample);
    }
}

/// Percent of the file system of `directory` that this user may still fill; `None` where it cannot be asked.
fn free_percent(directory: &std::path::Path) -> Option<f64> {
    let space = rustix::fs::statvfs(directory).ok()?;
    (space.f_blocks > 0).then(|| 100.0 * space.f_bavail as f64 / space.f_blocks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::history::Subjects;
    use crate::agent::runbook::{Glimpse, Hysteresis, Votes};
    use crate::agent::signals::{Answer, Sight, Timings};
    use crate::metrics::PeerVital;

    fn us() -> Region {
        Region("us".to_owned())
    }

    /// Nothing of this server's own is looked at here.
    fn limits() -> OwnLimits {
        let (percent, time) = (0.0, Duration::ZERO);
        OwnLimits {
            tokens_low_percent: percent,
            tokens_low_for: time,
            tokens_critical_percent: percent,
            tokens_critical_for: time,
            error_percent: percent,
            errors_for: time,
            p99: time,
            p99_for: time,
            disk_free_percent: percent,
        }
    }

    /// Node 3 of `us`, which hears node 2 of `us`.
    fn watch(health: Option<usize>) -> Watch {
        let published = Arc::<Published>::default();
        let heard = PeerVital { node: 2, is_present: true, is_synced: true, phi: 0.0, lag: Duration::ZERO };
        published.peers.store(Arc::new(vec![heard]));
        Watch::new(WatchParts {
            outlook: Outlook::new(Hysteresis::default(), &[(us(), 2)], 1),
            witnesses: Witnesses::new(Hysteresis::default(), &[us()], ["w:1".to_owned()]),
            regions: vec![us()],
            own_region: us(),
            own_node: Some(3),
            peers: vec![PeerPlace { node: 2, region: us(), health }],
            limits: limits(),
            history: History::new(Subjects::default()).unwrap(),
            published,
            health: Arc::default(),
            state_directory: PathBuf::new(),
        })
    }

    #[test]
    fn a_lower_node_acts_unless_it_says_itself_that_it_is_unfit() {
        let drained = || Glimpse::Sick(vec!["draining by order".to_owned()]);
        let silent = || Glimpse::Bad("not in time".to_owned());
        for (health, glimpse, is_elected) in [
            (Some(0), Glimpse::Good, false),
            (Some(0), drained(), true),
            (Some(1), drained(), false),
            (None, drained(), false),
            // Its heartbeats arrive, so it lives.
            (Some(0), silent(), false),
        ] {
            let mut watch = watch(health);
            for at in 1..=3 {
                watch.parts.outlook.probed(UnixMs(at * 1_000), &us(), 0, glimpse.clone());
            }
            let assessment = watch.assess(UnixMs(3_000)).unwrap();
            assert_eq!(assessment.elected, is_elected, "{health:?} {glimpse:?}");
        }
    }

    #[test]
    fn a_witness_without_a_vote_is_a_warning_of_health_until_it_votes_again() {
        let (mut watch, start) = (watch(None), Instant::now());
        let mut warnings_after = |seconds: std::ops::Range<u64>, status: u16| {
            for at in seconds {
                let sight = Sight {
                    address: None,
                    timings: Timings::default(),
                    seen: Ok(Answer { status, body: String::new() }),
                };
                let begun = start + Duration::from_secs(at);
                let watched = Watched::Witness(us(), 0);
                watch.note(UnixMs(at * 1000), &Observation { watched, begun, sight });
                watch.look_at_witnesses(UnixMs(at * 1000));
            }
            let warnings: Vec<Warning> = watch.parts.health.warnings().collect();
            (warnings, watch.assess(UnixMs(60_000)).map(|assessment| assessment.regions[&us()].votes))
        };
        let nothing = Votes { cannot_see: 0, can_see: 0, voters: 2 };
        assert_eq!(warnings_after(0..20, 401), (vec![Warning::MuteWitness], Some(nothing)));
        assert_eq!(warnings_after(20..40, 503).0, []);
        assert!(watch.parts.health.is_good());
    }
}
