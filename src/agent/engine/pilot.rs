//! The agent's main thread: it takes messages, lets the runbook decide, journals the decision and hands tasks
//! on. It makes no call that waits, so that an abort is heard at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, never, select};
use tracing::{error, info, warn};

use super::caller::Heard;
use super::clock::AgentClock;
use super::deeds::Deeds;
use super::figures::Counts;
use super::ledger::{Ledger, Mended, Past};
use super::message::{Finished, Message, UnusableSecrets};
use super::pages::{CLOCK_SKEW_MS, Pages, last_paged};
use super::watch::Watch;
use super::witnesses::WitnessNews;
use crate::agent::orders::{OrderRefused, OrderRequest};
use crate::agent::pager::{PageState, Severity};
use crate::agent::runbook::{
    Action, Ended, Event, Failure, GRACE_MS, Notice, Runbook, RunbookConfig, Scope, Task, TaskId,
};
use crate::agent::signals::{OwnSignal, SignalChange};
use crate::agent::types::{Entry, IncidentId, Step, UnixMs};
use crate::metrics::Published;

/// How often the runbook is told that time has passed.
const TICK: Duration = Duration::from_millis(250);
/// Messages taken before deadlines are checked again.
const BURST: usize = 64;
/// A task that is under way.
pub(super) struct Underway {
    pub(super) task: Task,
    /// When it is given up.
    pub(super) until: UnixMs,
}

/// The main thread's parts.
pub(super) struct Pilot {
    pub(super) config: RunbookConfig,
    pub(super) watch: Watch,
    pub(super) ledger: Ledger,
    pub(super) clock: AgentClock,
    pub(super) runbook: Runbook,
    pub(super) deeds: Deeds,
    pub(super) messages: Receiver<Message>,
    pub(super) orders: Receiver<OrderRequest>,
    pub(super) published: Arc<Published>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) pages: Pages,
    pub(super) flight: Flight,
}

/// What changes while the pilot runs.
#[derive(Default)]
pub(super) struct Flight {
    underway: BTreeMap<TaskId, Underway>,
    following: Option<String>,
    told_failing: bool,
    told_apart: bool,
    /// The incident for which an acknowledgement that came too early was told.
    told_uncounted: Option<IncidentId>,
    pub(super) counts: Counts,
    /// What went wrong last outside of the runbook.
    pub(super) trouble: Option<String>,
    /// Secrets that cannot be read now.
    pub(super) unusable_secrets: Vec<String>,
    /// How many events for the pager wait on disk, and why.
    pub(super) unsent_pages: Option<(usize, String)>,
}

impl Pilot {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let now = self.clock.now();
        self.write_started(now);
        self.take_up_signals();
        // The first order must already know whether the journal can be written.
        self.tell_journal(now);
        let mut next_tick = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            // A deadline in the past was told already; the next tick brings it again.
            let now = self.clock.now();
            let due = self.runbook.next_deadline().filter(|at| *at > now).map(|at| at.since_ms(now));
            let wait = next_tick.saturating_duration_since(Instant::now());
            let wait = due.map_or(wait, |ms| wait.min(Duration::from_millis(ms)));
            select! {
                recv(self.messages) -> message => message.into_iter().for_each(|message| self.hear(message)),
                recv(self.orders) -> order => match order {
                    Ok(order) => self.obey(order),
                    // The admin listener is gone.
                    Err(_) => self.orders = never(),
                },
                default(wait) => {}
            }
            for _ in 0..BURST {
                let Ok(message) = self.messages.try_recv() else { break };
                self.hear(message);
            }
            self.pass_time();
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    /// Signals that the journal has as raised stay raised.
    fn take_up_signals(&mut self) {
        for (name, subject) in self.runbook.notices() {
            self.watch.take_up(name, subject);
        }
    }

    fn write_started(&mut self, now: UnixMs) {
        let dry_run = if self.config.dry_run { ", dry run" } else { "" };
        let mode = format!("{}{dry_run}", self.config.mode.name());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.ledger.append(now, None, &Entry::Started { version, mode });
    }

    /// Tells the runbook of new assessments and of deadlines that have come.
    fn pass_time(&mut self) {
        let now = self.clock.now();
        if let Some(assessment) = self.watch.assess(now) {
            self.tell(Event::Assessed(assessment));
        }
        if self.runbook.next_deadline().is_some_and(|at| at <= now) {
            self.tell(Event::Tick);
        }
        self.follow_page();
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        self.tell_journal(now);
        for change in self.watch.look_at_figures(now) {
            self.tell(Event::Notice(notice_of(change)));
        }
        for news in self.watch.look_at_witnesses(now) {
            match news {
                WitnessNews::Mute { witness, words } => warn!(
                    "the witness {witness} gives no vote: {words}. It still counts as a voter, so that a \
                     takeover needs more of the others"
                ),
                WitnessNews::Votes { witness, words } => info!("the witness {witness} votes again: {words}"),
            }
        }
        self.give_up_late(now);
        self.look_at_clocks();
        self.tell(Event::Tick);
        self.publish(now);
    }

    /// Lets the runbook decide on `event` and carries that out.
    pub(super) fn tell(&mut self, event: Event) {
        let was_drill = self.runbook.is_drill();
        let actions = self.runbook.handle(self.clock.now(), event);
        if was_drill && !self.runbook.is_drill() {
            // What is left of the drill must not delay a real incident.
            self.cut_short();
            self.stop_what_has_not_begun();
        }
        self.carry_out(actions);
    }

    pub(super) fn carry_out(&mut self, actions: Vec<Action>) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Journal { incident, entry } => {
                    log(incident.as_ref(), &entry);
                    self.ledger.append(self.clock.now(), incident.as_ref(), &entry);
                }
                Action::Perform(task) => {
                    if let Some(ended) = self.begin(task.clone()) {
                        queue.extend(self.end(task, ended));
                    }
                }
            }
        }
        let now = self.clock.now();
        self.tell_journal(now);
    }

    /// Journals the intent and hands the task on; returns the outcome if it could not start.
    fn begin(&mut self, task: Task) -> Option<Ended> {
        let now = self.clock.now();
        let step = task.work.step();
        let is_idle_look = task.is_idle_look();
        // Pages and messages go out even when they cannot be journalled.
        let goes_anyway = matches!(step, Step::Page | Step::ResolvePage | Step::Notify) || is_idle_look;
        if !is_idle_look {
            let intent = task.intent(self.deeds.calls(&task));
            let is_written =
                self.ledger.failing().is_none() && self.ledger.append(now, task.incident.as_ref(), &intent);
            if !is_written && !goes_anyway {
                let why = self.ledger.failing().unwrap_or("its line is too long").to_owned();
                return Some(Ended::Failed {
                    failure: Failure::NotDone,
                    why: format!("not begun, since it cannot be journalled: {why}"),
                });
            }
        }
        self.pages.note(&task, now);
        let context = self.deeds.context(&task, &self.ledger, self.watch.history());
        match self.deeds.begin(&task, context, now) {
            Ok(()) => {
                let until = now.after_ms(task.timeout_ms.saturating_add(GRACE_MS));
                self.flight.underway.insert(task.id, Underway { task, until });
                None
            }
            Err(ended) => Some(ended),
        }
    }

    /// Journals how a task ended; returns what the runbook wants next.
    fn end(&mut self, task: Task, ended: Ended) -> Vec<Action> {
        let now = self.clock.now();
        let step = task.work.step();
        let (is_done, detail) = match &ended {
            Ended::Done { detail } => (true, detail.clone()),
            Ended::Found(state) => (true, format!("{} is {}", state.name, state.values.join(", "))),
            Ended::Failed { why, .. } => (false, why.clone()),
        };
        let is_idle_look = task.is_idle_look();
        self.flight.counts.count(&task, &ended);
        if !is_done {
            warn!("{}: {detail}", step.name().replace('_', " "));
            if step != Step::AwaitVisible {
                self.flight.trouble = Some(detail.clone());
            }
        }
        if !is_idle_look && self.ledger.failing().is_none() {
            let outcome = Entry::Outcome { step, attempt: task.attempt, done: is_done, detail };
            self.ledger.append(now, task.incident.as_ref(), &outcome);
        }
        self.runbook.handle(now, Event::Done { task: task.id, ended })
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Seen(observation) => {
                let now = self.clock.at(observation.begun + observation.sight.timings.total);
                self.watch.note(now, &observation);
                if let Some(assessment) = self.watch.assess(self.clock.now()) {
                    self.tell(Event::Assessed(assessment));
                }
            }
            Message::Finished(Finished { task, ended }) => {
                // A task that was given up has ended already.
                if let Some(Underway { task, .. }) = self.flight.underway.remove(&task) {
                    let actions = self.end(task, ended);
                    self.carry_out(actions);
                }
            }
            Message::Heard(Heard::State(key, PageState::Acknowledged(person))) => {
                let at = self.clock.moment().agent_time_of_acknowledgement(&person);
                let by = person.by.clone();
                // If it cannot be journalled now, the next question brings it again.
                if self.hear_acknowledged(&key, by, at) == Ok(Some(false)) && person.ago.is_none() {
                    self.tell_uncounted(&person.by);
                }
            }
            Message::Secrets(UnusableSecrets(problems)) => {
                let is_new = |problem: &&String| !self.flight.unusable_secrets.contains(problem);
                problems.iter().filter(is_new).for_each(|problem| warn!("{problem}"));
                if problems.is_empty() {
                    info!("all secrets of the agent can be read again");
                }
                self.flight.unusable_secrets = problems;
            }
            Message::Heard(Heard::Trouble(why)) => {
                warn!("{why}");
                self.flight.trouble = Some(why);
            }
            Message::Heard(Heard::Waiting(0, _)) => {
                info!("no page waits on disk any more");
                self.flight.unsent_pages = None;
            }
            Message::Heard(Heard::Waiting(pages, why)) => {
                error!("{pages} events for the pager wait on disk and have reached nobody: {why}");
                self.flight.unsent_pages = Some((pages, why));
            }
            Message::Heard(Heard::State(..) | Heard::Sent(_)) => {}
        }
    }

    /// A person acknowledged the page with `key` at `at`, by the agent's time. It does not count when it was meant
    /// for an earlier page with the same key. `None` when no page with this key waits, else whether it counts.
    ///
    /// # Errors
    /// When it counts but cannot be journalled.
    pub(super) fn hear_acknowledged(
        &mut self,
        key: &str,
        by: String,
        at: Option<UnixMs>,
    ) -> Result<Option<bool>, OrderRefused> {
        let Some((_, region)) = self.runbook.waiting_page().filter(|(waiting, _)| waiting == key) else {
            return Ok(None);
        };
        if !self.runbook.incident().is_some_and(|incident| self.pages.is_answered(key, incident, at)) {
            return Ok(Some(false));
        }
        if let Some(why) = self.ledger.failing() {
            return Err(OrderRefused::JournalFails { why: why.to_owned() });
        }
        self.tell(Event::PageAcknowledged { region, by });
        Ok(Some(true))
    }

    /// A person who may believe to have answered learns, once an incident, that it does not count: it was too early by
    /// this host's clock, which may be wrong.
    pub(super) fn tell_uncounted(&mut self, by: &str) {
        let Some(incident) = self.runbook.incident().cloned() else { return };
        if self.flight.told_uncounted.as_ref() == Some(&incident) {
            return;
        }
        let why = format!(
            "{by} acknowledged at the pager before the page of {incident} was sent, by the clock of this \
             host, so that does not count. If it was meant for this page, `failover ack` goes on; then set \
             the clock of this host by NTP"
        );
        warn!("{why}");
        self.flight.trouble = Some(why);
        self.flight.told_uncounted = Some(incident);
    }

    /// Has the asker follow the page of an incident that waits for a person, and no other.
    fn follow_page(&mut self) {
        let wanted = self.runbook.waiting_page().map(|(key, _)| key);
        if wanted != self.flight.following {
            self.deeds.follow(wanted.clone());
            self.flight.following = wanted;
        }
    }

    /// Tells the runbook when the journal fails and when it is mended.
    fn tell_journal(&mut self, now: UnixMs) {
        match self.ledger.mend(now) {
            Mended::No => {}
            Mended::Again => info!("the journal can be written again"),
            Mended::Opened(past) => {
                info!("the journal could be opened");
                self.catch_up(now, past);
            }
        }
        let failing = self.ledger.failing().map(str::to_owned);
        if failing.is_some() == self.flight.told_failing {
            return;
        }
        self.flight.told_failing = failing.is_some();
        match failing {
            Some(why) => {
                error!("{why}. The agent pages and does nothing else until this is mended");
                self.tell(Event::JournalFailed { why });
            }
            None => self.tell(Event::JournalBack),
        }
    }

    /// Takes in a journal that could not be read until now.
    fn catch_up(&mut self, now: UnixMs, past: Vec<Past>) {
        // If the journal's last time is ahead of this clock, time goes on from there.
        self.clock = AgentClock::start(now.max(past.last().map_or(UnixMs(0), |(at, ..)| *at)));
        let caught_up = self.clock.now();
        let ahead_ms = caught_up.since_ms(now);
        let paged = last_paged(&past);
        self.runbook = self.runbook.catch_up(caught_up, past);
        self.pages.pass(ahead_ms);
        self.pages.take_up(&self.runbook, paged);
        // The new runbook knows of no other tasks.
        self.flight.underway.retain(|_, underway| underway.task.work.informs());
        for underway in self.flight.underway.values_mut() {
            underway.until = underway.until.after_ms(ahead_ms);
        }
        self.take_up_signals();
        self.write_started(caught_up);
    }

    /// Gives up tasks whose time is over.
    fn give_up_late(&mut self, now: UnixMs) {
        let late: Vec<TaskId> = self
            .flight
            .underway
            .iter()
            .filter(|(_, underway)| now >= underway.until)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(Underway { task, .. }) = self.flight.underway.remove(&id) else { continue };
            let why = format!("nothing was heard of it within {} s", (task.timeout_ms + GRACE_MS) / 1000);
            // Its thread may still complete it.
            let actions = self.end(task, Ended::unknown(why));
            self.carry_out(actions);
        }
    }

    /// Warns once when the host's clock was set after the start: times in the journal then differ from those elsewhere.
    fn look_at_clocks(&mut self) {
        let apart_ms = self.clock.moment().apart_ms();
        if !self.flight.told_apart && apart_ms > CLOCK_SKEW_MS {
            self.flight.told_apart = true;
            warn!(
                "the agent's time is {} s apart from this host's clock, which was set after the start or is \
                 behind the journal. Deadlines are kept; times in the journal are the agent's",
                apart_ms / 1000
            );
        }
    }

    pub(super) fn cut_short(&self) {
        self.deeds.cut_short();
    }

    /// Changes that were handed out and have not started will not start.
    pub(super) fn stop_what_has_not_begun(&self) {
        if let Some((newest, _)) = self.flight.underway.last_key_value() {
            self.deeds.brake.stop_up_to(*newest);
        }
    }
}

/// A signal that pages and moves no traffic.
fn notice_of(change: SignalChange) -> Notice {
    let SignalChange { signal, subject, is_raised, detail } = change;
    let severity = match signal {
        OwnSignal::StalledCore | OwnSignal::Errors => Severity::Critical,
        OwnSignal::TokensCritical | OwnSignal::Slow | OwnSignal::DiskFull => Severity::Error,
        OwnSignal::TokensLow => Severity::Warning,
    };
    // All nodes share the tokens; the other signals are about this node.
    let scope = match signal {
        OwnSignal::TokensLow | OwnSignal::TokensCritical => Scope::Region,
        OwnSignal::StalledCore | OwnSignal::Errors | OwnSignal::Slow | OwnSignal::DiskFull => Scope::Node,
    };
    let scales = signal == OwnSignal::TokensCritical;
    Notice { name: signal.name().to_owned(), scope, subject, raised: is_raised, severity, detail, scales }
}

/// Repeats in the log what goes into the journal.
fn log(incident: Option<&IncidentId>, entry: &Entry) {
    let incident = incident.map_or("agent", |incident| incident.0.as_str());
    match entry {
        Entry::Moved { to, why, .. } => warn!("{incident}: {}: {why}", to.in_words()),
        Entry::Signal { signal, raised, detail } => {
            let state = if *raised { "raised" } else { "over" };
            info!("{incident}: {signal} is {state}: {detail}");
        }
        Entry::Command { command, who } => info!("{incident}: {command} by {who}"),
        _ => {}
    }
}

/// Never waits: a full channel means that its reader is behind, and the task fails.
pub(super) fn hand_over<T>(channel: &Sender<T>, thing: T) -> Result<(), Ended> {
    let behind =
        || Ended::Failed { failure: Failure::NotDone, why: "too much is waiting to be done".to_owned() };
    channel.try_send(thing).map_err(|_| behind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_that_are_almost_gone_ask_for_more() {
        let change =
            |signal| SignalChange { signal, subject: String::new(), is_raised: true, detail: String::new() };
        for (signal, scope, severity, scales) in [
            (OwnSignal::TokensLow, Scope::Region, Severity::Warning, false),
            (OwnSignal::TokensCritical, Scope::Region, Severity::Error, true),
            (OwnSignal::StalledCore, Scope::Node, Severity::Critical, false),
            (OwnSignal::DiskFull, Scope::Node, Severity::Error, false),
        ] {
            let notice = notice_of(change(signal));
            assert_eq!(
                (notice.scope, notice.severity, notice.scales, notice.name.as_str()),
                (scope, severity, scales, signal.name())
            );
        }
    }

    #[test]
    fn a_channel_that_is_full_is_not_waited_for() {
        let (sender, _receiver) = crossbeam::channel::bounded(1);
        assert!(hand_over(&sender, 1).is_ok());
        assert!(matches!(hand_over(&sender, 2), Err(Ended::Failed { failure: Failure::NotDone, .. })));
    }
}
