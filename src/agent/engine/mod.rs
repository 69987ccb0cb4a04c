//! What makes the agent run: it sees, lets the runbook decide, writes down, and has things done.
//!
//! [`Agent`] is a handful of threads. The `pilot` hears everything and decides by the runbook; it makes no call
//! that waits. The `hands` change the record, one thing at a time; `standby` asks for more of it; the `caller` wakes
//! people, the `asker` hears who answered; the `informer` tells them; the `scribe` writes reports and commits; probers
//! look. They meet in bounded channels only, and each call of theirs has a time limit.
//! What is about to be done is in the journal (`ledger`) before it is handed on.

mod answers;
mod asker;
mod brake;
mod caller;
mod checks;
mod clock;
mod deeds;
mod figures;
mod hands;
mod informer;
mod ledger;
mod looks;
mod message;
mod pages;
mod pilot;
mod report;
mod scribe;
mod seen;
mod standby;
mod trial;
mod watch;
mod witnesses;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use asker::Asker;
use brake::{Brake, Job};
pub use caller::Caller;
pub use checks::TargetBars;
use clock::AgentClock;
use deeds::Deeds;
pub use deeds::{DeedParts, Planners};
use hands::Surroundings;
pub use hands::{Hands, Record};
pub use informer::Informer;
use ledger::Ledger;
use message::Message;
use pages::{Pages, last_paged};
use pilot::{Flight, Pilot};
pub use standby::Standby;
pub use trial::Trial;
use watch::Watch;
pub use watch::{PeerPlace, WatchParts};
pub use witnesses::Witnesses;

use super::orders::OrderRequest;
use super::runbook::{Runbook, RunbookConfig};
use super::signals::{Probe, Prober, ProberError, Watched};
use super::types::UnixMs;
use crate::metrics::Published;

/// Looks and news that wait for the pilot.
const MESSAGES_QUEUED: usize = 1024;
/// Tasks that wait for one of the other threads.
const TASKS_QUEUED: usize = 64;

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No thread.
    #[error("cannot start the agent's thread {name}: {cause}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// No prober.
    #[error(transparent)]
    Prober(#[from] ProberError),
}

/// What the agent is made of.
#[derive(Debug)]
pub struct AgentParts {
    /// How it decides.
    pub runbook: RunbookConfig,
    /// What it watches.
    pub watch: WatchParts,
    /// What is looked at, and how.
    pub probes: Vec<(Watched, Probe)>,
    /// Between two looks.
    pub probe_interval: Duration,
    /// Changes the record.
    pub hands: Hands,
    /// More of the standby; `None` where nothing is scaled.
    pub standby: Option<Standby>,
    /// Wakes people.
    pub caller: Caller,
    /// Tells people.
    pub informer: Informer,
    /// What tasks need.
    pub deeds: DeedParts,
    /// The journal's directory.
    pub journal: PathBuf,
    /// What is ordered.
    pub orders: Receiver<OrderRequest>,
    /// Figures of the other planes, and its own.
    pub published: Arc<Published>,
}

/// The running agent.
#[derive(Debug)]
pub struct Agent {
    stop: Arc<AtomicBool>,
    cut_short: Arc<AtomicBool>,
    probers: Vec<Prober>,
    threads: Vec<Option<JoinHandle<()>>>,
}

impl Agent {
    /// Takes up what the journal says was begun, and watches.
    ///
    /// # Errors
    /// When there are no threads for it.
    pub fn start(parts: AgentParts) -> Result<Self, AgentError> {
        let AgentParts {
            runbook: config,
            watch,
            probes,
            probe_interval,
            hands,
            standby,
            caller,
            informer,
            deeds,
            journal,
            orders,
            published,
        } = parts;
        let (ledger, past) = Ledger::open(journal);
        let clock = AgentClock::start(past.last().map_or(UnixMs(0), |(at, ..)| *at));
        let paged = last_paged(&past);
        let runbook = Runbook::resume(config.clone(), clock.now(), past);
        let mut pages = Pages::default();
        pages.take_up(&runbook, paged);
        let (message, messages) = bounded::<Message>(MESSAGES_QUEUED);
        let (task, tasks) = bounded(TASKS_QUEUED);
        let (call, calls) = bounded(TASKS_QUEUED);
        let (tell, tells) = bounded(TASKS_QUEUED);
        let (errand, errands) = bounded(TASKS_QUEUED);
        let (stop, cut_short) = (Arc::new(AtomicBool::new(false)), Arc::clone(&hands.cut_short));
        let mut agent = Self {
            stop: Arc::clone(&stop),
            cut_short: Arc::clone(&cut_short),
            probers: vec![],
            threads: vec![],
        };
        let finished = message.clone();
        let brake = Arc::new(Brake::default());
        let around = Surroundings {
            own_region: watch.own_region.clone(),
            peers: watch.peers.clone(),
            brake: Arc::clone(&brake),
        };
        agent.spawn("agent-hands", move || hands.run(&around, &tasks, &finished))?;
        let standby =
            standby.map(|standby| agent.start_standby(standby, &brake, message.clone())).transpose()?;
        let asker = caller.pager.as_ref().and_then(Asker::of);
        let asker = asker.map(|asker| agent.start_asker(asker, message.clone())).transpose()?;
        let heard = message.clone();
        agent.spawn("agent-caller", move || caller.run(&calls, &heard))?;
        let finished = message.clone();
        agent.spawn("agent-informer", move || informer.run(&tells, &finished))?;
        let finished = message.clone();
        agent.spawn("agent-scribe", move || scribe::run(&errands, &finished))?;
        let deeds = Deeds {
            parts: deeds,
            hands: task,
            standby,
            brake,
            caller: call,
            asker,
            informer: tell,
            scribe: errand,
            cut_short,
        };
        let watch = Watch::new(watch);
        let pilot = Pilot {
            config,
            watch,
            ledger,
            clock,
            runbook,
            deeds,
            messages,
            orders,
            published,
            stop,
            pages,
            flight: Flight::default(),
        };
        agent.spawn("agent", move || pilot.run())?;
        let count = u32::try_from(probes.len()).unwrap_or(1).max(1);
        for (at, (watched, probe)) in (0..).zip(probes) {
            let offset = probe_interval / count * at;
            agent.probers.push(Prober::start(watched, probe, probe_interval, offset, message.clone())?);
        }
        Ok(agent)
    }

    /// Where it is told which page to ask about.
    fn start_asker(
        &mut self,
        asker: Asker,
        heard: Sender<Message>,
    ) -> Result<Sender<Option<String>>, AgentError> {
        let (follow, keys) = bounded(TASKS_QUEUED);
        self.spawn("agent-asker", move || asker.run(&keys, &heard))?;
        Ok(follow)
    }

    /// Where it is told to raise the standby.
    fn start_standby(
        &mut self,
        standby: Standby,
        brake: &Arc<Brake>,
        finished: Sender<Message>,
    ) -> Result<Sender<Job>, AgentError> {
        let (tell, jobs) = bounded(TASKS_QUEUED);
        let brake = Arc::clone(brake);
        self.spawn("agent-standby", move || standby.run(&brake, &jobs, &finished))?;
        Ok(tell)
    }

    fn spawn(&mut self, name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), AgentError> {
        let run = move || {
            super::lower_priority();
            run();
        };
        let thread = Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(Some(thread.map_err(|cause| AgentError::Thread { name, cause })?));
        Ok(())
    }

    /// Ends it. What is under way ends by itself or is left behind at `deadline`; it is in the journal, and the
    /// next start settles it.
    pub fn shutdown(&mut self, deadline: Instant) {
        self.give_up();
        for thread in &mut self.threads {
            super::join_until(thread, deadline);
        }
        for prober in &mut self.probers {
            prober.join(deadline);
        }
    }

    fn give_up(&self) {
        // Relaxed: flags by themselves; joining orders the rest.
        self.stop.store(true, Ordering::Relaxed);
        self.cut_short.store(true, Ordering::Relaxed);
        self.probers.iter().for_each(Prober::stop);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.give_up();
    }
}
