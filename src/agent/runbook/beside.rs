//! Regions that go down during an incident about another one. There is one incident at a time, but people are paged for
//! every region, and an incident that cannot act gives way.

use super::action::{About, Page, Work};
use super::errand::Urgency;
use super::incident::{Approval, Head, Incident, State};
use super::machine::Runbook;
use crate::agent::orders::AgentMode;
use crate::agent::pager::Severity;
use crate::agent::types::{Cause, Entry, PAGED_PREFIX, Region};

impl Runbook {
    /// The region whose incident replaces this one, and why. A drill gives way at once, a declined incident to
    /// any other region, and one that cannot act to a region for which the agent can.
    pub(super) fn takes_its_place(&self, head: &Head, state: &State) -> Option<(Region, String)> {
        if head.is_drill() {
            let region = self.trouble_beside(head).next()?;
            let why = "a region is down: the drill ends, and the shadow record is left as it is".to_owned();
            return Some((region.clone(), why));
        }
        let mut stay_down = self.trouble_beside(head).filter(|region| self.is_confirmed(region));
        let region = match state {
            // The decline must be in the journal before the incident is left.
            State::Declined { .. } if self.journal_fails.is_none() => stay_down.next()?,
            State::Paged { .. } | State::AutoApproved { .. } => {
                let is_stuck = !self.objections(head, &self.usual_approval()).is_empty();
                stay_down.find(|region| is_stuck && self.could_withdraw(region))?
            }
            _ => return None,
        };
        let left = &head.region;
        let why = format!("{region} is down as well: the agent leaves {left}, and goes on with {region}");
        Some((region.clone(), why))
    }

    /// Regions that are down, have had no incident for it, and are not what the incident of `head` is about.
    fn trouble_beside<'a>(&'a self, head: &'a Head) -> impl Iterator<Item = &'a Region> {
        let is_withdrawn = matches!(head.cause, Cause::Signal | Cause::Person);
        let regions = self.config.regions.iter().map(|record| &record.region);
        regions.filter(move |region| {
            let is_its_own = is_withdrawn && **region == head.region;
            self.assessment.standing(region).is_down() && !is_its_own && !self.is_left_alone(region)
        })
    }

    /// Whether it has been down long enough to page.
    fn is_confirmed(&self, region: &Region) -> bool {
        let confirm_ms = self.config.timing.confirm_ms;
        self.down.get(region).is_some_and(|since| self.now.since_ms(*since) >= confirm_ms)
    }

    /// Other regions that are down, for the status.
    pub(super) fn words_beside(&self, head: &Head) -> String {
        let waits = self.trouble_beside(head).filter(|region| self.is_confirmed(region));
        waits.map(|region| format!("; {region} is down as well and waits for that")).collect()
    }

    /// The approval that an incident begins to act by.
    fn usual_approval(&self) -> Approval {
        match self.config.mode {
            AgentMode::Automatic => Approval::Policy,
            AgentMode::Manual | AgentMode::Observe => Approval::Person(String::new()),
        }
    }

    fn could_withdraw(&self, region: &Region) -> bool {
        let head = Head { cause: Cause::Signal, ..self.imagined(region, None) };
        self.objections(&head, &self.usual_approval()).is_empty()
    }

    /// Pages for every other region that stays down: once, and once more if most voters come to agree.
    pub(super) fn page_beside(&mut self) {
        let Some(Incident { head, state }) = &self.incident else { return };
        let about = format!("while {} is {}", head.id, state.phase().in_words());
        let is_due = |(region, severity): &(Region, Severity)| {
            let told = self.paged_beside.get(region);
            told.is_none() || (*severity == Severity::Critical && told != Some(severity))
        };
        let stay_down = self.trouble_beside(head).filter(|region| self.is_confirmed(region));
        let loud = stay_down.map(|region| (region.clone(), self.severity_of_signal(region)));
        let due: Vec<(Region, Severity)> = loud.filter(is_due).collect();
        for (region, severity) in due {
            let why = format!("{region} is down as well, {about}: {}", self.assessment.words(&region));
            self.paged.insert(region.clone());
            self.paged_beside.insert(region.clone(), severity);
            self.journal_paged_beside(&region, why.clone());
            let details = vec![
                ("region".to_owned(), region.0.clone()),
                ("seen by".to_owned(), self.config.own_region.0.clone()),
                ("record leads to".to_owned(), Self::leads_to(self.in_service().as_ref())),
                ("what to do".to_owned(), "openclaw-rating failover status".to_owned()),
            ];
            let summary = format!("{}: {why}", self.config.cluster);
            let page = Page { dedup_key: self.failover_key(&region), severity, summary, details };
            self.send_as(Urgency::Failover, About::default(), Work::Page(page));
        }
    }

    pub(super) fn journal_paged_beside(&mut self, region: &Region, detail: String) {
        let signal = format!("{PAGED_PREFIX}{region}");
        self.journal(None, Entry::Signal { signal, raised: true, detail });
    }
}
