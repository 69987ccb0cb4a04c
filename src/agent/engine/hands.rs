//! The thread that changes the world, one thing at a time, by calls that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};

use super::checks::{TargetBars, check_health, check_replication, check_tokens, sum_up};
use super::trial::Trial;
use super::work::{Done, Failure, Found, Job, Work};
use crate::agent::gitops::{Checkout, Committed};
use crate::agent::scale::{Scaled, Scaler};
use crate::agent::signals::Probe;
use crate::agent::traffic::{POOLS, TrafficProvider, Visibility, Written};
use crate::agent::types::{RecordState, Region};
use crate::metrics::Published;

/// Between two looks at whether a change shows.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What is being done may be cut short so soon after it was asked.
const NAP: Duration = Duration::from_millis(50);

/// A record, who holds it and how its name is tried.
pub struct Record {
    /// Who holds it.
    pub provider: Box<dyn TrafficProvider + Send>,
    /// How its name is tried.
    pub trial: Trial,
}

/// What the hands work with.
pub struct Hands {
    /// The public record.
    pub live: Record,
    /// The shadow record.
    pub shadow: Option<Record>,
    /// `/health` of each region's nodes.
    pub health: BTreeMap<Region, Vec<Probe>>,
    /// What a target must show.
    pub bars: TargetBars,
    /// This server's own figures.
    pub published: Arc<Published>,
    /// More of the standby, and how many.
    pub scaler: Option<(Box<dyn Scaler + Send>, u32)>,
    /// The region in a values file.
    pub checkout: Option<Checkout>,
    /// Set to cut short what is being waited for.
    pub cut_short: Arc<AtomicBool>,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("bars", &self.bars).finish_non_exhaustive()
    }
}

impl Hands {
    /// Does what is asked until nobody asks any more.
    pub(super) fn run<M: From<Done>>(mut self, jobs: &Receiver<Job>, done: &Sender<M>) {
        for job in jobs {
            self.cut_short.store(false, Ordering::Relaxed);
            let result = self.perform(&job);
            if done.send(Done { ticket: job.ticket, result }.into()).is_err() {
                return;
            }
        }
    }

    fn perform(&mut self, job: &Job) -> Result<Found, Failure> {
        let is_drill = job.ticket.is_drill;
        match &job.work {
            Work::ReadRecord => {
                self.record(is_drill)?.provider.read().map(Found::Record).map_err(Failure::of_traffic)
            }
            Work::WriteRecord { expected, wanted } => self.write(is_drill, expected, wanted),
            Work::AwaitVisible { wanted, patience } => self.await_visible(is_drill, wanted, *patience),
            Work::Preflight { target } => self.preflight(target),
            Work::Validate { wanted } => self.validate(is_drill, wanted),
            Work::Scale => self.scale(),
            Work::Commit { from, to, message } => self.commit(from, to, message),
        }
    }

    fn record(&mut self, is_drill: bool) -> Result<&mut Record, Failure> {
        if !is_drill {
            return Ok(&mut self.live);
        }
        let none = || Failure::new("there is no shadow record. Write [agent.drill] for one");
        self.shadow.as_mut().ok_or_else(none)
    }

    fn write(
        &mut self,
        is_drill: bool,
        expected: &RecordState,
        wanted: &RecordState,
    ) -> Result<Found, Failure> {
        let provider = &mut self.record(is_drill)?.provider;
        let written = provider.write(expected, wanted).map_err(Failure::of_traffic)?;
        Ok(Found::Done(match written {
            Written::Changed => format!("{} is now {}", wanted.name, wanted.values.join(", ")),
            Written::AlreadyThere => format!("{} was {} already", wanted.name, wanted.values.join(", ")),
        }))
    }

    fn await_visible(
        &mut self,
        is_drill: bool,
        wanted: &RecordState,
        patience: Duration,
    ) -> Result<Found, Failure> {
        let cut_short = Arc::clone(&self.cut_short);
        let provider = &mut self.record(is_drill)?.provider;
        let deadline = Instant::now() + patience;
        loop {
            let why = match provider.visible(wanted) {
                Ok(Visibility::Shown) => {
                    return Ok(Found::Done("all servers that answer show it".to_owned()));
                }
                Ok(Visibility::Hidden(why)) => {
                    return Ok(Found::Done(format!("its provider alone can tell: {why}")));
                }
                Ok(Visibility::Pending(why)) => why,
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline || !wait(LOOK_EVERY, &cut_short) {
                return Err(Failure::new(format!("the change does not show: {why}")));
            }
        }
    }

    /// The target by itself: its nodes' health, and what this node, one of its own, knows of the rest.
    fn preflight(&self, target: &Region) -> Result<Found, Failure> {
        let probes = self.health.get(target).map(Vec::as_slice).unwrap_or_default();
        let sights: Vec<_> = probes.iter().map(|probe| (probe.url.to_string(), probe.look())).collect();
        let checks = [
            check_health(&sights),
            check_tokens(&self.published.vitals.load(), &self.bars),
            check_replication(&self.published.peers.load(), &self.bars),
        ];
        sum_up(&checks).map(Found::Done).map_err(Failure::new)
    }

    fn validate(&mut self, is_drill: bool, wanted: &RecordState) -> Result<Found, Failure> {
        let (bars, cut_short) = (self.bars, Arc::clone(&self.cut_short));
        let trial = &self.record(is_drill)?.trial;
        // Only addresses can be compared with where a name leads; a proxy hides even those.
        let is_hidden = wanted.kind == POOLS || wanted.proxied == Some(true);
        let values = if is_hidden { Vec::new() } else { serving(wanted) };
        let checks = trial.run(&values, &bars, &cut_short);
        sum_up(&checks).map(Found::Done).map_err(Failure::new)
    }

    fn scale(&mut self) -> Result<Found, Failure> {
        let Some((scaler, replicas)) = &mut self.scaler else {
            return Err(Failure::new("nothing is scaled: there is no [agent.scale]"));
        };
        match scaler.raise(*replicas).map_err(|error| Failure::new(error.to_string()))? {
            Scaled::Raised { from, to } => Ok(Found::Done(format!("raised from {from} to {to}"))),
            Scaled::Enough { replicas } => Ok(Found::Done(format!("there are {replicas} already"))),
        }
    }

    fn commit(&self, from: &Region, to: &Region, message: &str) -> Result<Found, Failure> {
        let Some(checkout) = &self.checkout else {
            return Err(Failure::new("nothing is committed: there is no [agent.gitops]"));
        };
        let committed = checkout.commit(&from.0, &to.0, message);
        match committed.map_err(|error| Failure::new(error.to_string()))? {
            Committed::Changed => Ok(Found::Done(format!("committed {}", to.0))),
            Committed::AlreadyThere => Ok(Found::Done(format!("the file says {} already", to.0))),
        }
    }
}

/// The values that take traffic.
fn serving(state: &RecordState) -> Vec<String> {
    let serves = |at: usize| state.weights.get(at).is_none_or(|weight| *weight > 0);
    state.values.iter().enumerate().filter(|(at, _)| serves(*at)).map(|(_, value)| value.clone()).collect()
}

/// Waits, unless it is cut short.
fn wait(time: Duration, cut_short: &AtomicBool) -> bool {
    let until = Instant::now() + time;
    while !cut_short.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(NAP));
    }
    false
}
