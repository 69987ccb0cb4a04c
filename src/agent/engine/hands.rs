//! The thread that changes the world, one thing at a time, by calls that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender};

use super::checks::{TargetBars, check_health, check_replication, check_tokens, sum_up};
use super::message::Finished;
use super::trial::Trial;
use crate::agent::runbook::{Ended, Failure, Task, Work};
use crate::agent::scale::{Scaled, Scaler};
use crate::agent::signals::Probe;
use crate::agent::traffic::{POOLS, TrafficError, TrafficProvider, Visibility, Written};
use crate::agent::types::{RecordState, Region};
use crate::metrics::Published;

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
    pub(super) fn run<M: From<Finished>>(mut self, tasks: &Receiver<Task>, done: &Sender<M>) {
        for task in tasks {
            self.cut_short.store(false, Ordering::Relaxed);
            let ended = self.perform(&task).unwrap_or_else(|ended| ended);
            if done.send(Finished { task: task.id, ended }.into()).is_err() {
                return;
            }
        }
    }

    fn perform(&mut self, task: &Task) -> Result<Ended, Ended> {
        match &task.work {
            Work::ReadRecord => {
                let read = self.record(task)?.provider.read();
                read.map(Ended::Found).map_err(of_traffic)
            }
            Work::WriteRecord { expected, wanted } | Work::RestoreRecord { expected, wanted } => {
                self.write(task, expected, wanted)
            }
            Work::AwaitVisible { wanted } => self.look(task, wanted),
            Work::Preflight { target } => self.preflight(target),
            Work::Validate { record, .. } => self.validate(task, record),
            Work::Scale => self.scale(),
            _ => Err(not_done("this is not done by the hands")),
        }
    }

    fn record(&mut self, task: &Task) -> Result<&mut Record, Ended> {
        if !task.is_drill {
            return Ok(&mut self.live);
        }
        self.shadow.as_mut().ok_or_else(|| refused("there is no shadow record. Write [agent.drill] for one"))
    }

    fn write(&mut self, task: &Task, expected: &RecordState, wanted: &RecordState) -> Result<Ended, Ended> {
        let provider = &mut self.record(task)?.provider;
        let written = provider.write(expected, wanted).map_err(of_traffic)?;
        Ok(done(match written {
            Written::Changed => format!("{} is now {}", wanted.name, wanted.values.join(", ")),
            Written::AlreadyThere => format!("{} was {} already", wanted.name, wanted.values.join(", ")),
        }))
    }

    fn look(&mut self, task: &Task, wanted: &RecordState) -> Result<Ended, Ended> {
        match self.record(task)?.provider.visible(wanted).map_err(of_traffic)? {
            Visibility::Shown => Ok(done("all servers that answer show it")),
            Visibility::Hidden(why) => Ok(done(format!("its provider alone can tell: {why}"))),
            Visibility::Pending(why) => Err(not_done(format!("the change does not show yet: {why}"))),
        }
    }

    /// The target by itself: its nodes' health, and what this node, one of its own, knows of the rest.
    fn preflight(&self, target: &Region) -> Result<Ended, Ended> {
        let probes = self.health.get(target).map(Vec::as_slice).unwrap_or_default();
        let sights: Vec<_> = probes.iter().map(|probe| (probe.url.to_string(), probe.look())).collect();
        let checks = [
            check_health(&sights),
            check_tokens(&self.published.vitals.load(), &self.bars),
            check_replication(&self.published.peers.load(), &self.bars),
        ];
        sum_up(&checks).map(done).map_err(refused)
    }

    fn validate(&mut self, task: &Task, wanted: &RecordState) -> Result<Ended, Ended> {
        let (bars, cut_short) = (self.bars, Arc::clone(&self.cut_short));
        let trial = &self.record(task)?.trial;
        // Only addresses can be compared with where a name leads; a proxy hides even those.
        let is_hidden = wanted.kind == POOLS || wanted.proxied == Some(true);
        let values = if is_hidden { Vec::new() } else { serving(wanted) };
        let checks = trial.run(&values, &bars, &cut_short);
        sum_up(&checks).map(done).map_err(refused)
    }

    fn scale(&mut self) -> Result<Ended, Ended> {
        let Some((scaler, replicas)) = &mut self.scaler else {
            return Err(refused("nothing is scaled: there is no [agent.scale]"));
        };
        match scaler.raise(*replicas).map_err(|error| not_done(error.to_string()))? {
            Scaled::Raised { from, to } => Ok(done(format!("raised from {from} to {to}"))),
            Scaled::Enough { replicas } => Ok(done(format!("there are {replicas} already"))),
        }
    }
}

pub(super) fn done(detail: impl Into<String>) -> Ended {
    Ended::Done { detail: detail.into() }
}

/// It may go better the next time.
pub(super) fn not_done(why: impl Into<String>) -> Ended {
    Ended::Failed { failure: Failure::NotDone, why: why.into() }
}

/// Repeating does not help.
pub(super) fn refused(why: impl Into<String>) -> Ended {
    Ended::Failed { failure: Failure::Refused, why: why.into() }
}

fn of_traffic(error: TrafficError) -> Ended {
    let why = error.to_string();
    let failure = match error {
        TrafficError::Conflict { found, .. } => Failure::Conflict(*found),
        error if error.may_have_happened() => Failure::Unknown,
        TrafficError::Unfit { .. } => Failure::Refused,
        _ => Failure::NotDone,
    };
    Ended::Failed { failure, why }
}

/// The values that take traffic.
fn serving(state: &RecordState) -> Vec<String> {
    let serves = |at: usize| state.weights.get(at).is_none_or(|weight| *weight > 0);
    state.values.iter().enumerate().filter(|(at, _)| serves(*at)).map(|(_, value)| value.clone()).collect()
}
