//! The machine itself: it takes an event, then moves the incident as far as it can.

use std::collections::{BTreeMap, BTreeSet};

use super::action::{About, Action, Task, TaskId, Work};
use super::assessment::Assessment;
use super::config::RunbookConfig;
use super::errand::Errand;
use super::event::{Ended, Event, Failure};
use super::guard::Facts;
use super::incident::{Arrived, Change, Head, Incident, Next, State};
use super::ledger::{Ledger, is_same};
use super::notice::Raised;
use super::record_set::{Layout, RegionSet};
use super::tries::{Tries, salt_of};
use crate::agent::pager::Severity;
use crate::agent::types::{Cause, Entry, IncidentId, Phase, RecordState, Region, UnixMs};

/// An incident passes through fewer states than this at once.
const MAX_MOVES: usize = 16;

/// The longest `Retry-After` that is obeyed. A wrong number must not stop a failover, and a change has to be looked at
/// before its time is over.
const MAX_THROTTLED_MS: u64 = 60_000;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Runbook {
    pub(super) config: RunbookConfig,
    pub(super) live: Layout,
    pub(super) shadow: Layout,
    pub(super) salt: u64,
    /// The latest time so far.
    pub(super) now: UnixMs,
    pub(super) assessment: Assessment,
    pub(super) assessed_at: UnixMs,
    pub(super) frozen: Option<String>,
    pub(super) journal_fails: Option<String>,
    pub(super) ledger: Ledger,
    /// The live record as it was last read.
    pub(super) record: Option<(UnixMs, RecordState)>,
    pub(super) refresh: Tries,
    /// The provider of the record asked to be left alone until then.
    pub(super) throttled_until: UnixMs,
    pub(super) incident: Option<Incident>,
    /// Regions that are down by what was journalled, and since when.
    pub(super) down: BTreeMap<Region, UnixMs>,
    /// Regions whose incident has ended while they are down: no other begins before they are healthy.
    pub(super) spent: BTreeSet<Region>,
    /// Those among them that were handed over while the journal could not be written.
    pub(super) stopped: BTreeSet<Region>,
    /// Whether the own region was told to go and has not been healthy since.
    pub(super) leaving: bool,
    /// Regions whose page is still open.
    pub(super) paged: BTreeSet<Region>,
    /// Those that were paged during another region's incident, with the severity.
    pub(super) paged_beside: BTreeMap<Region, Severity>,
    /// What a failback would undo.
    pub(super) owed: Option<Owed>,
    pub(super) errands: Vec<Errand>,
    pub(super) raised: BTreeMap<(String, String), Raised>,
    pub(super) scaled_at: Option<UnixMs>,
    pub(super) last_incident: Option<IncidentId>,
    pub(super) next_task: u64,
    pub(super) last_error: Option<String>,
    pub(super) out: Vec<Action>,
}

/// A switch that could be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) region: Region,
    pub(super) change: Change,
    /// Whether the agent may take it back by itself: a signal made the switch, and no attempt to go back was
    /// handed over. What a person moved, only a person moves back.
    pub(super) is_automatic: bool,
    pub(super) healthy_since: Option<UnixMs>,
}

impl Runbook {
    /// A runbook that has no past: its journal is empty.
    #[must_use]
    pub fn new(config: RunbookConfig, now: UnixMs) -> Self {
        Self {
            live: Layout::new(&config, false),
            shadow: Layout::new(&config, true),
            salt: salt_of(&config.own_region.0),
            now,
            assessment: Assessment::default(),
            assessed_at: UnixMs(0),
            frozen: None,
            journal_fails: None,
            ledger: Ledger::default(),
            record: None,
            refresh: Tries::first(now),
            throttled_until: UnixMs(0),
            incident: None,
            down: BTreeMap::new(),
            spent: BTreeSet::new(),
            stopped: BTreeSet::new(),
            leaving: false,
            paged: BTreeSet::new(),
            paged_beside: BTreeMap::new(),
            owed: None,
            errands: Vec::new(),
            raised: BTreeMap::new(),
            scaled_at: None,
            last_incident: None,
            next_task: 1,
            last_error: None,
            out: Vec::new(),
            config,
        }
    }

    /// Takes an event; returns what to do. Time that goes back counts as standing still.
    pub fn handle(&mut self, now: UnixMs, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut arrived = None;
        match event {
            Event::Tick => {}
            Event::Assessed(assessment) => self.assess(assessment),
            Event::PageAcknowledged { region, by } => self.page_acknowledged(&region, by),
            Event::Done { task, ended } => {
                self.heed_throttle(&ended);
                arrived = Some((task, ended));
            }
            Event::Notice(notice) => self.notice(notice),
            Event::JournalFailed { why } => self.journal_failed(why),
            Event::JournalBack => self.journal_back(),
        }
        self.proceed(arrived)
    }

    /// Moves everything as far as it goes now.
    pub(super) fn proceed(&mut self, mut arrived: Arrived) -> Vec<Action> {
        self.open_what_is_due();
        self.refresh_record(&mut arrived);
        self.advance(&mut arrived);
        self.run_errands(&mut arrived);
        if matches!(self.incident, Some(Incident { state: State::Ended(_), .. })) {
            // Its report waits for an errand that may just have ended.
            self.advance(&mut None);
        }
        std::mem::take(&mut self.out)
    }

    /// When [`Self::handle`] is to be called with [`Event::Tick`] though nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixMs> {
        let incident = self.incident.as_ref().map(|incident| incident.state.deadline());
        let errands = self.errands.iter().map(Errand::deadline);
        let pages = self.down.values().map(|since| since.after_ms(self.config.timing.confirm_ms));
        let all = errands.chain(incident).chain(pages).chain([self.refresh.deadline(), self.throttled_until]);
        // What is overdue waits for something other than time.
        all.filter(|deadline| *deadline > self.now).min()
    }

    /// The incident that is under way.
    #[must_use]
    pub fn incident(&self) -> Option<&IncidentId> {
        self.incident.as_ref().map(|incident| &incident.head.id)
    }

    /// Whether a drill is under way.
    #[must_use]
    pub fn is_drill(&self) -> bool {
        self.incident.as_ref().is_some_and(|incident| incident.head.is_drill())
    }

    /// Where the incident stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.incident.as_ref().map_or(Phase::Watching, |incident| incident.state.phase())
    }

    fn advance(&mut self, arrived: &mut Arrived) {
        for _ in 0..MAX_MOVES {
            let Some(Incident { mut head, state }) = self.incident.take() else { return };
            let from = state.phase();
            match self.step(&mut head, state, arrived) {
                Next::Stay(state) => {
                    self.incident = Some(Incident { head, state });
                    return;
                }
                Next::To(state, why) => self.enter(head, from, state, why),
                Next::Close(why) => self.close(&head, from, why),
            }
        }
    }

    fn step(&mut self, head: &mut Head, state: State, arrived: &mut Arrived) -> Next {
        match state {
            State::Suspect { page_at } => self.suspect(head, page_at),
            State::Paged { until, act_at } => self.wait_paged(head, until, act_at),
            State::Acknowledged { approval, until } => self.acknowledged(head, approval, until),
            State::AutoApproved { until } => self.auto_approved(head, until),
            State::Declined { until } => self.declined(head, until),
            State::Preflight { run, tries } => self.preflight(head, run, tries, arrived),
            State::Switching { run, stage } => self.switching(head, run, stage, arrived),
            State::Validating(state) => self.validating(head, state, arrived),
            State::RollingBack(state) => self.roll_back(head, state, arrived),
            State::Ended(state) => self.ended(head, state, arrived),
            State::Reported => Next::Close("the incident is over".to_owned()),
        }
    }

    /// Moves the incident into `state`.
    pub(super) fn enter(&mut self, mut head: Head, from: Phase, state: State, why: String) {
        let to = state.phase();
        head.since = self.now;
        if to == Phase::HandedOver {
            self.last_error = Some(why.clone());
        }
        self.journal(Some(&head.id), Entry::Moved { from, to, why: why.clone() });
        self.tell(&mut head, &state, &why);
        // The page goes out before the state's own tasks.
        self.run_errands(&mut None);
        self.incident = Some(Incident { head, state });
    }

    /// Ends the incident without a report.
    pub(super) fn close(&mut self, head: &Head, from: Phase, why: String) {
        self.journal(Some(&head.id), Entry::Moved { from, to: Phase::Watching, why: why.clone() });
        let is_about_health = matches!(head.cause, Cause::Signal | Cause::Person);
        // A region that is only out of sight may be well, so its next failure is news.
        if is_about_health && self.down.contains_key(&head.region) {
            self.spent.insert(head.region.clone());
            if from == Phase::Reported && self.journal_fails.is_some() {
                self.stopped.insert(head.region.clone());
            }
        }
        self.owe_again(&head.id, head.undoes.clone(), from == Phase::Reported);
        self.tell_closed(head, from, &why);
    }

    /// A failback that wrote nothing can be tried again; after a handover, only by a person.
    pub(super) fn owe_again(&mut self, id: &IncidentId, undoes: Option<Owed>, is_handed_over: bool) {
        let Some(owed) = undoes.filter(|_| self.ledger.switch_of(id).is_none()) else { return };
        let holds = |(_, found): &(UnixMs, RecordState)| is_same(&owed.change.wanted, found);
        if self.record.as_ref().is_none_or(holds) {
            let is_automatic = owed.is_automatic && !is_handed_over;
            self.owed = Some(Owed { is_automatic, healthy_since: None, ..owed });
        }
    }

    pub(super) fn journal(&mut self, incident: Option<&IncidentId>, entry: Entry) {
        self.out.push(Action::Journal { incident: incident.cloned(), entry });
    }

    /// Journals what the incident is about, for a restart.
    pub(super) fn journal_plan(&mut self, head: &Head, target: Option<&Region>, approved_by: String) {
        let entry = Entry::Planned {
            region: head.region.clone(),
            target: target.cloned(),
            cause: head.cause,
            approved_by,
            asked: target.is_some() && head.asked.as_ref() == target,
            last_healthy: self.assessment.regions.get(&head.region).and_then(|view| view.last_healthy),
        };
        self.journal(Some(&head.id), entry);
    }

    /// Starts the task when it is due; returns its outcome once it has one.
    pub(super) fn attempt(
        &mut self,
        head: Option<&Head>,
        tries: &mut Tries,
        arrived: &mut Arrived,
        timeout_ms: u64,
        work: impl FnOnce() -> Work,
    ) -> Option<Ended> {
        let Tries::Pausing { attempt, until } = *tries else { return self.take_end(*tries, arrived) };
        if self.now < until || self.journal_fails.is_some() {
            return None;
        }
        let work = work();
        // A write directly follows a read, so it needs no check of its own.
        if self.now >= self.throttled_until || !work.asks_the_provider() {
            let about = head.map(Head::about).unwrap_or_default();
            *tries = self.perform(about, attempt, timeout_ms, work);
        }
        None
    }

    /// A provider that throttles counts all calls of this agent, so all of them wait.
    fn heed_throttle(&mut self, ended: &Ended) {
        if let Ended::Failed { failure: Failure::Throttled { wait_ms }, .. } = ended {
            let until = self.now.after_ms(MAX_THROTTLED_MS.min(*wait_ms));
            self.throttled_until = self.throttled_until.max(until);
        }
    }

    /// The outcome of the task that was handed out, once it has one.
    pub(super) fn take_end(&self, tries: Tries, arrived: &mut Arrived) -> Option<Ended> {
        let Tries::Running { task, deadline, .. } = tries else { return None };
        if let Some((_, ended)) = arrived.take_if(|(of, _)| *of == task) {
            return Some(ended);
        }
        let why = "there was no answer in time".to_owned();
        (self.now >= deadline).then_some(Ended::Failed { failure: Failure::Unknown, why })
    }

    pub(super) fn perform(&mut self, about: About, attempt: u32, timeout_ms: u64, work: Work) -> Tries {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        self.out.push(Action::Perform(Task {
            id,
            incident: about.incident,
            attempt,
            timeout_ms,
            is_drill: about.is_drill,
            work,
        }));
        Tries::running(id, attempt, self.now, timeout_ms)
    }

    pub(super) fn again(&self, tries: Tries) -> Tries {
        tries.again(self.now, &self.config.timing, self.salt)
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            now: self.now,
            config: &self.config,
            assessment: &self.assessment,
            assessed_at: self.assessed_at,
            frozen: self.frozen.as_deref(),
            journal_fails: self.journal_fails.as_deref(),
            ledger: &self.ledger,
        }
    }

    /// Regions in service by the live record as it was last read.
    pub(super) fn in_service(&self) -> Option<RegionSet> {
        self.record.as_ref().and_then(|(_, record)| self.live.set_of(record))
    }

    /// Reads the live record from time to time: who takes over depends on it, and changes by others start the cooldown.
    fn refresh_record(&mut self, arrived: &mut Arrived) {
        let (timing, mut tries) = (self.config.timing, self.refresh);
        if matches!(tries, Tries::Pausing { .. })
            && self.incident.as_ref().is_some_and(|i| i.state.has_written())
        {
            return;
        }
        let ended = self.attempt(None, &mut tries, arrived, timing.read_timeout_ms, || Work::ReadRecord);
        self.refresh = match ended {
            None => tries,
            Some(Ended::Found(record)) => {
                self.saw_record(record);
                let waits = self.incident.is_some();
                let pause_ms = if waits { timing.incident_refresh_ms } else { timing.refresh_ms };
                Tries::Pausing { attempt: 1, until: self.now.after_ms(pause_ms) }
            }
            Some(Ended::Done { .. }) => self.again(tries),
            Some(Ended::Failed { why, .. }) => {
                self.cannot_read(&why);
                self.again(tries)
            }
        };
    }

    /// Has the record read at the next step, and not only when its pause is over.
    pub(super) fn read_record_now(&mut self) {
        if matches!(self.refresh, Tries::Pausing { .. }) {
            self.refresh = Tries::first(self.now);
        }
    }

    pub(super) fn cannot_read(&mut self, why: &str) {
        self.last_error = Some(format!("the record cannot be read: {why}"));
    }

    /// The live record was read. A change by somebody else starts the cooldown.
    pub(super) fn saw_record(&mut self, found: RecordState) {
        let known = self.record.as_ref().map(|(_, record)| record);
        let is_change = known.is_some_and(|known| !is_same(known, &found));
        if is_change && !self.ledger.explains(&found) {
            self.ledger.note_change(self.now);
        }
        if is_change || known.is_none() {
            self.journal(None, Entry::Record { state: found.clone() });
        }
        if self.owed.as_ref().is_some_and(|owed| !is_same(&owed.change.wanted, &found)) {
            self.owed = None;
        }
        self.record = Some((self.now, found));
    }
}
