//! Pages and messages of an incident, and its last states: Recovered, RolledBack, HandedOver.

use super::action::{Page, Work, key_of};
use super::errand::{Errand, Urgency};
use super::event::Ended;
use super::incident::{Arrived, Change, Head, Incident, Next, Reporting, State};
use super::machine::Runbook;
use super::tries::Tries;
use crate::agent::pager::Severity;
use crate::agent::types::{Cause, Phase, Region};

/// How long a report waits to learn whether its page got through. The next incident waits with it.
const PAGER_ANSWERS_MS: u64 = 5_000;

impl Runbook {
    /// The page that waits for a person to acknowledge it, by its key, and the region that it is about. A
    /// drill's is answered by hand.
    #[must_use]
    pub fn waiting_page(&self) -> Option<(String, Region)> {
        let Incident { head, state } = self.incident.as_ref()?;
        let waits = matches!(state, State::Paged { .. }) && !head.is_drill();
        waits.then(|| (self.key_of_page(head), head.region.clone()))
    }

    /// The key of the page of `region`'s failover; the same on all nodes, so that it is one page.
    pub(super) fn failover_key(&self, region: &Region) -> String {
        self.key("failover", region)
    }

    fn key(&self, what: &str, region: &Region) -> String {
        key_of(&format!("openclaw-rating:{}:{what}:{region}", self.config.cluster))
    }

    /// A failover's page is resolved by any node that sees the region healthy again. What needs a person has a
    /// key of its own, which only a person resolves.
    fn key_of_page(&self, head: &Head) -> String {
        let what = match head.cause {
            Cause::Signal | Cause::Person => "failover",
            Cause::Failback => "failback",
            Cause::Drill => "drill",
        };
        self.key(what, &head.region)
    }

    /// Critical only when most voters agree.
    pub(super) fn severity(&self, head: &Head) -> Severity {
        match head.cause {
            Cause::Drill | Cause::Failback => Severity::Info,
            Cause::Person => Severity::Warning,
            Cause::Signal => self.severity_of_signal(&head.region),
        }
    }

    pub(super) fn severity_of_signal(&self, region: &Region) -> Severity {
        let serves = self.in_service().is_none_or(|set| set.contains(region));
        let is_certain = serves && self.assessment.is_down_by_majority(region);
        if is_certain { Severity::Critical } else { Severity::Warning }
    }

    pub(super) fn page(&mut self, head: &mut Head, why: &str) {
        let severity = self.severity(head);
        let dedup_key = self.key_of_page(head);
        self.paged.insert(head.region.clone());
        head.paged = Some(severity);
        self.send_page(head, dedup_key, severity, why);
    }

    fn send_page(&mut self, head: &Head, dedup_key: String, severity: Severity, why: &str) {
        let drill = if head.is_drill() { "[drill] " } else { "" };
        let dry = if self.config.dry_run { "[dry run] " } else { "" };
        let details = vec![
            ("incident".to_owned(), head.id.0.clone()),
            ("region".to_owned(), head.region.0.clone()),
            ("seen by".to_owned(), self.config.own_region.0.clone()),
            ("mode".to_owned(), self.config.mode.name().to_owned()),
            ("record leads to".to_owned(), Self::leads_to(self.in_service().as_ref())),
            ("what to do".to_owned(), "openclaw-rating failover status".to_owned()),
        ];
        let summary = format!("{drill}{dry}{}: {why}", self.config.cluster);
        let page = Page { dedup_key, severity, summary, details };
        self.send_as(Urgency::Failover, head.about(), Work::Page(page));
    }

    pub(super) fn resolve_page(&mut self, head: Option<&Head>, region: &Region, why: &str) {
        let dedup_key = head.map_or_else(|| self.failover_key(region), |head| self.key_of_page(head));
        let summary = format!("{region}: {why}");
        let about = head.map(Head::about).unwrap_or_default();
        self.send_as(Urgency::Failover, about, Work::ResolvePage { dedup_key, summary });
    }

    /// The incident has moved into `state`: people are told.
    pub(super) fn tell(&mut self, head: &mut Head, state: &State, why: &str) {
        let phase = state.phase();
        if !matches!(phase, Phase::Watching | Phase::Suspect | Phase::Reported) {
            self.wake(head, phase, why);
            self.notify(head, phase, why, None);
        }
    }

    /// What the pager and the values file are told of `phase`.
    pub(super) fn wake(&mut self, head: &mut Head, phase: Phase, why: &str) {
        match phase {
            Phase::Paged => self.page(head, why),
            Phase::Recovered => self.tell_recovered(head, why),
            Phase::RolledBack if head.is_drill() => self.resolve_page(Some(head), &head.region.clone(), why),
            Phase::RolledBack | Phase::HandedOver => {
                let key = self.key("handover", &head.region);
                // A failback that wrote nothing left traffic where it is served.
                let is_untouched = self.ledger.switch_of(&head.id).is_none();
                let severity = match head.cause {
                    Cause::Drill => Severity::Info,
                    Cause::Failback if is_untouched => Severity::Warning,
                    Cause::Failback | Cause::Signal | Cause::Person => Severity::Critical,
                };
                self.send_page(head, key, severity, why);
            }
            _ => {}
        }
    }

    fn tell_recovered(&mut self, head: &Head, why: &str) {
        self.paged.remove(&head.region);
        self.resolve_page(Some(head), &head.region.clone(), why);
        if self.config.commits_region && !self.config.dry_run && self.frozen.is_none() {
            let region = self.config.own_region.clone();
            let region = if head.cause == Cause::Failback { head.region.clone() } else { region };
            self.send(head.about(), Work::CommitRegion { region });
        }
    }

    pub(super) fn tell_closed(&mut self, head: &Head, from: Phase, why: &str) {
        if from == Phase::Reported || from == Phase::Suspect {
            return;
        }
        let is_over = head.cause != Cause::Signal || self.assessment.is_healthy(&head.region);
        if is_over {
            self.paged.remove(&head.region);
            self.resolve_page(Some(head), &head.region.clone(), why);
        }
        self.notify(head, Phase::Watching, why, None);
    }

    pub(super) fn tell_would_change(&mut self, head: &Head, why: &str, change: &Change) {
        self.notify(head, Phase::Switching, why, Some(change));
    }

    pub(super) fn notify(&mut self, head: &Head, phase: Phase, why: &str, would_change: Option<&Change>) {
        let drill = if head.is_drill() { "[drill] " } else { "" };
        let is_last =
            matches!(phase, Phase::Watching | Phase::Recovered | Phase::RolledBack | Phase::HandedOver);
        let work = Work::Notify {
            headline: format!("{drill}{} ({}): {}", head.region, head.id, phase.in_words()),
            lines: vec![why.to_owned()],
            is_last,
            would_change: would_change.map(|change| (change.expected.clone(), change.wanted.clone())),
        };
        self.send(head.about(), work);
    }

    /// It is over: the report is written, or its time passes.
    pub(super) fn ended(&mut self, head: &mut Head, mut state: Reporting, arrived: &mut Arrived) -> Next {
        let timeout_ms = self.config.timing.errand_timeout_ms;
        // The report says whether the page got through.
        let is_telling = |errand: &Errand| errand.is_about(&head.id) && errand.wakes();
        let waits = self.now.since_ms(head.since) < PAGER_ANSWERS_MS && self.errands.iter().any(is_telling);
        if waits && matches!(state.tries, Tries::Pausing { .. }) {
            return Next::Stay(State::Ended(state));
        }
        let ended = self.attempt(Some(head), &mut state.tries, arrived, timeout_ms, || Work::WriteReport);
        match ended {
            Some(Ended::Done { detail }) => {
                Next::To(State::Reported, format!("the report is written: {detail}"))
            }
            _ if self.now >= state.until => {
                let why = "the report could not be written in time: `openclaw-rating report` writes it later";
                Next::To(State::Reported, why.to_owned())
            }
            Some(_) => Next::Stay(State::Ended(Reporting { tries: self.again(state.tries), ..state })),
            None => Next::Stay(State::Ended(state)),
        }
    }
}
