//! From the first suspicion to the approval: Watching, Suspect, Paged, Acknowledged, AutoApproved, Declined.

use super::assessment::Assessment;
use super::config::Failback;
use super::guard::{Intended, before_a_run, choose_target, set_without};
use super::incident::{Approval, Change, Ending, Head, Incident, Next, Reporting, Run, State};
use super::ledger::is_same;
use super::machine::{Owed, Runbook};
use super::record_set::RegionSet;
use super::tries::Tries;
use crate::agent::orders::AgentMode;
use crate::agent::pager::Severity;
use crate::agent::types::{Cause, DOWN_PREFIX, Entry, IncidentId, Phase, Region, UnixMs};

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) target: Region,
    pub(super) before: RegionSet,
    pub(super) after: RegionSet,
}

impl Runbook {
    pub(super) fn assess(&mut self, assessment: Assessment) {
        (self.assessment, self.assessed_at) = (assessment, self.now);
        let regions: Vec<Region> = self.config.regions.iter().map(|record| record.region.clone()).collect();
        for region in regions {
            let standing = self.assessment.standing(&region);
            let (is_down, is_healthy) = (standing.is_down(), self.assessment.is_healthy(&region));
            let is_draining = standing.is_draining();
            if is_down && !self.down.contains_key(&region) {
                self.down.insert(region.clone(), self.now);
                self.journal_standing(&region, true);
            }
            if is_healthy && self.down.remove(&region).is_some() {
                self.journal_standing(&region, false);
            }
            if region == self.config.own_region {
                self.leaving = !is_healthy && (self.leaving || is_draining);
            }
            if is_healthy {
                self.is_healthy_again(&region);
            }
            if let Some(owed) = self.owed.as_mut().filter(|owed| owed.region == region) {
                owed.healthy_since = if is_healthy { owed.healthy_since.or(Some(self.now)) } else { None };
            }
        }
    }

    fn journal_standing(&mut self, region: &Region, raised: bool) {
        let detail = self.assessment.words(region);
        let about = self.incident.as_ref().filter(|incident| incident.head.region == *region);
        let id = about.map(|incident| incident.head.id.clone());
        let signal = format!("{DOWN_PREFIX}{region}");
        self.journal(id.as_ref(), Entry::Signal { signal, raised, detail });
    }

    /// Lets a new incident begin for this region, and resolves a page that was left open.
    fn is_healthy_again(&mut self, region: &Region) {
        self.spent.remove(region);
        self.stopped.remove(region);
        self.paged_beside.remove(region);
        let is_under_way = self.incident.as_ref().is_some_and(|incident| incident.head.region == *region);
        if !is_under_way && self.paged.remove(region) {
            self.resolve_page(None, region, "it is healthy again");
        }
    }

    /// Begins an incident when there is a reason for one.
    pub(super) fn open_what_is_due(&mut self) {
        let Some(Incident { head, state }) = &self.incident else {
            match self.new_trouble() {
                Some(region) => self.open_suspect(region),
                None => self.open_failback_when_due(),
            }
            return;
        };
        if let Some((region, why)) = self.takes_its_place(head, state) {
            if let Some(Incident { head, state }) = self.incident.take() {
                self.close(&head, state.phase(), why);
            }
            self.open_suspect(region);
        } else {
            self.page_beside();
        }
    }

    /// A region that is down and has had no incident since.
    fn new_trouble(&self) -> Option<Region> {
        let regions = self.config.regions.iter().map(|record| &record.region);
        let is_new =
            |region: &&Region| self.assessment.standing(region).is_down() && !self.is_left_alone(region);
        regions.clone().find(is_new).cloned()
    }

    /// Whether no incident begins although this region is down: it has had one, or it is this agent's own and
    /// was drained. Whoever drained it knows, and agents elsewhere watch it too.
    pub(super) fn is_left_alone(&self, region: &Region) -> bool {
        (self.leaving && *region == self.config.own_region) || self.spent.contains(region)
    }

    fn open_suspect(&mut self, region: Region) {
        let why = self.assessment.words(&region);
        let page_at = self.now.after_ms(self.config.timing.confirm_ms);
        self.open(region, Cause::Signal, State::Suspect { page_at }, why, String::new());
    }

    fn open_failback_when_due(&mut self) {
        let Failback::AfterMs(after_ms) = self.config.failback else { return };
        let Some(owed) = self.owed.as_ref().filter(|owed| owed.is_automatic) else { return };
        let is_due = owed.healthy_since.is_some_and(|since| self.now.since_ms(since) >= after_ms);
        let may_act = self.config.mode != AgentMode::Observe && self.assessment.elected;
        if !is_due || !may_act || self.frozen.is_some() {
            return;
        }
        let (region, owed) = (owed.region.clone(), owed.clone());
        let why = format!("{region} has been healthy for {} s: traffic goes back", after_ms / 1000);
        self.owed = None;
        let state = self.paged_state();
        self.open(region, Cause::Failback, state, why, String::new());
        if let Some(incident) = &mut self.incident {
            incident.head.undoes = Some(owed);
        }
    }

    /// Waits for a person, or for the hold-off.
    pub(super) fn paged_state(&self) -> State {
        let timing = &self.config.timing;
        State::Paged {
            until: self.now.after_ms(timing.ack_timeout_ms),
            act_at: self.now.after_ms(timing.hold_off_ms),
        }
    }

    /// Begins an incident in `state`.
    pub(super) fn open(
        &mut self,
        region: Region,
        cause: Cause,
        state: State,
        why: String,
        approved_by: String,
    ) {
        let id = self.new_id(&region);
        let head = Head {
            id,
            region,
            cause,
            opened_at: self.now,
            since: self.now,
            paged: None,
            asked: None,
            undoes: None,
            stop: None,
        };
        // Who takes over depends on what the record is now.
        self.read_record_now();
        self.journal_plan(&head, None, approved_by);
        self.enter(head, Phase::Watching, state, why);
    }

    /// The region and the second in which it began. Of several in one second each is later than the one before.
    fn new_id(&mut self, region: &Region) -> IncidentId {
        let last = self.last_incident.as_ref().and_then(second_of);
        let second = (self.now.0 / 1000).max(last.map_or(0, |last| last.saturating_add(1)));
        let id = IncidentId(format!("{region}-{second}"));
        self.last_incident = Some(id.clone());
        id
    }

    pub(super) fn suspect(&mut self, head: &mut Head, page_at: UnixMs) -> Next {
        if let Some(why) = self.has_healed(head) {
            return Next::Close(why);
        }
        if self.now < page_at {
            return Next::Stay(State::Suspect { page_at });
        }
        let why = self.assessment.words(&head.region);
        Next::To(self.paged_state(), format!("{} {why}", head.region))
    }

    pub(super) fn wait_paged(&mut self, head: &mut Head, until: UnixMs, act_at: UnixMs) -> Next {
        if let Some(why) = self.comes_to_nothing(head) {
            return Next::Close(why);
        }
        let by_policy = self.config.mode == AgentMode::Automatic && self.now >= act_at;
        if by_policy && self.objections(head, &Approval::Policy).is_empty() {
            let until = self.now.after_ms(self.config.timing.run_ms);
            return Next::To(
                State::AutoApproved { until },
                "the hold-off has passed, and nobody said no".to_owned(),
            );
        }
        if self.now >= until {
            let why = "nobody answered the page in time";
            return self.hand_over(&self.with_objections(why, head, &Approval::Policy));
        }
        self.page_louder(head);
        Next::Stay(State::Paged { until, act_at })
    }

    /// Raises the page's severity once most voters agree.
    fn page_louder(&mut self, head: &mut Head) {
        let is_louder = self.severity(head) == Severity::Critical && head.paged == Some(Severity::Warning);
        if is_louder {
            self.page(head, "most of those who look agree");
        }
    }

    pub(super) fn acknowledged(&mut self, head: &mut Head, approval: Approval, until: UnixMs) -> Next {
        let stay = State::Acknowledged { approval: approval.clone(), until };
        self.approved(head, approval, until, stay)
    }

    pub(super) fn auto_approved(&mut self, head: &mut Head, until: UnixMs) -> Next {
        self.approved(head, Approval::Policy, until, State::AutoApproved { until })
    }

    /// Begins the run once nothing stands against it; stays in `stay` until then.
    fn approved(&mut self, head: &mut Head, approval: Approval, until: UnixMs, stay: State) -> Next {
        if let Some(next) = self.goes_on_late(head, &approval) {
            return next;
        }
        if let Some(why) = self.comes_to_nothing(head) {
            return Next::Close(why);
        }
        if self.objections(head, &approval).is_empty() {
            return self.begin_run(head, approval, until);
        }
        if self.now >= until {
            let why = self.with_objections("it was approved and could not begin in time", head, &approval);
            return self.hand_over(&why);
        }
        Next::Stay(stay)
    }

    pub(super) fn declined(&mut self, head: &mut Head, until: UnixMs) -> Next {
        if let Some(why) = self.has_healed(head) {
            return Next::Close(why);
        }
        if self.now >= until {
            return self
                .hand_over(&format!("a person declined to move traffic, and {} is still down", head.region));
        }
        Next::Stay(State::Declined { until })
    }

    /// The write of a run that gave way, or was approved anew, took effect after all.
    fn goes_on_late(&mut self, head: &mut Head, approval: &Approval) -> Option<Next> {
        let change = self.shows_late(head)?;
        let target = change.after.difference(&change.before).chain(&change.after).next()?.clone();
        self.journal_plan(head, Some(&target), approval.text());
        let until = self.now.after_ms(self.config.timing.run_ms);
        let run = Run { target, approval: approval.clone(), until };
        Some(self.go_on_with(head, run, change))
    }

    fn begin_run(&mut self, head: &Head, approval: Approval, until: UnixMs) -> Next {
        let Ok(scope) = self.scope(head) else { return self.hand_over("nobody can take over") };
        self.journal_plan(head, Some(&scope.target), approval.text());
        let why = format!("{}: {} is looked at", approval.text(), scope.target);
        let until = until.min(self.now.after_ms(self.config.timing.run_ms));
        let run = Run { target: scope.target, approval, until };
        Next::To(State::Preflight { run, tries: Tries::first(self.now) }, why)
    }

    /// Ends the run when its target is no longer the next in line.
    pub(super) fn gives_way(&self, head: &Head, run: &Run) -> Option<Next> {
        let target = self.scope(head).map(|scope| scope.target).ok()?;
        if target == run.target {
            return None;
        }
        let why = format!("{target} takes over, and not {}", run.target);
        let until = run.until;
        Some(match run.approval.clone() {
            Approval::Policy => Next::To(State::AutoApproved { until }, why),
            approval => Next::To(State::Acknowledged { approval, until }, why),
        })
    }

    /// Whether the reason is gone.
    pub(super) fn has_healed(&self, head: &Head) -> Option<String> {
        let is_over = head.cause == Cause::Signal && self.assessment.is_healthy(&head.region);
        is_over.then(|| format!("{} is healthy again; nothing was changed", head.region))
    }

    /// Why there is nothing left to do, before anything was written.
    pub(super) fn comes_to_nothing(&self, head: &Head) -> Option<String> {
        let name = &head.region;
        let record = self.record.as_ref().filter(|(at, _)| *at >= head.opened_at);
        match head.cause {
            Cause::Drill => None,
            Cause::Failback => {
                let undoes =
                    |owed: &Owed| record.is_some_and(|(_, found)| !is_same(&owed.change.wanted, found));
                if !self.assessment.is_healthy(&head.region) {
                    Some(format!("{name} is not healthy after all; traffic stays where it is"))
                } else if self.new_trouble().is_some() {
                    Some("another region is down: this is not the time to go back".to_owned())
                } else if head.undoes.as_ref().is_none_or(undoes) {
                    Some("somebody changed the record since; it stays as it is".to_owned())
                } else {
                    None
                }
            }
            Cause::Signal | Cause::Person => self.has_healed(head).or_else(|| {
                let serves = self.live.set_of(&record?.1)?;
                let is_out = !serves.contains(&head.region);
                is_out.then(|| {
                    format!("the record does not lead to {name} (any more): there is nothing to move")
                })
            }),
        }
    }

    /// Who would take over and what the record would lead to.
    pub(super) fn scope(&self, head: &Head) -> Result<Scope, String> {
        let only = |region: &Region| RegionSet::from([region.clone()]);
        if head.is_drill() {
            let target = self.config.own_region.clone();
            return Ok(Scope { before: only(&head.region), after: only(&target), target });
        }
        if let Some(Owed { change, .. }) = &head.undoes {
            let after = set_with(&head.region, change);
            return Ok(Scope { target: head.region.clone(), before: change.after.clone(), after });
        }
        let (_, record) = self.record.as_ref().ok_or("the public record could not be read yet")?;
        let before = self.live.set_of(record).ok_or_else(|| not_ours(record))?;
        let target = choose_target(&self.facts(), &head.region, &before, head.asked.as_ref())?;
        let after = set_without(&self.assessment, &head.region, &target, &before);
        Ok(Scope { target, before, after })
    }

    /// What stands against a run now; empty when nothing does.
    pub(super) fn objections(&self, head: &Head, approval: &Approval) -> Vec<String> {
        match self.scope(head) {
            Err(why) => vec![why],
            Ok(scope) => before_a_run(&self.facts(), &intended(head, approval, &scope)),
        }
    }

    fn with_objections(&self, why: &str, head: &Head, approval: &Approval) -> String {
        let objections = self.objections(head, approval);
        if objections.is_empty() {
            return format!("{why}; `failover start --from {}` moves traffic", head.region);
        }
        format!("{why}; against acting stands: {}", objections.join("; "))
    }

    /// A person goes on from here.
    pub(super) fn hand_over(&self, why: &str) -> Next {
        Next::To(self.ended_state(Ending::HandedOver), why.to_owned())
    }

    pub(super) fn ended_state(&self, ending: Ending) -> State {
        let until = self.now.after_ms(self.config.timing.report_ms);
        State::Ended(Reporting { ending, until, tries: Tries::first(self.now) })
    }
}

/// The regions that serve once `region` is back: those of before, without others that were withdrawn with it,
/// which had no preflight in this run.
pub(super) fn set_with(region: &Region, change: &Change) -> RegionSet {
    let stays = |other: &&Region| *other == region || change.after.contains(*other);
    change.before.iter().filter(stays).cloned().collect()
}

pub(super) fn intended<'a>(head: &'a Head, approval: &'a Approval, scope: &'a Scope) -> Intended<'a> {
    Intended {
        incident: &head.id,
        region: &head.region,
        cause: head.cause,
        target: &scope.target,
        approval,
        before: &scope.before,
        after: &scope.after,
    }
}

/// The second in an incident's name.
fn second_of(id: &IncidentId) -> Option<u64> {
    id.0.rsplit_once('-')?.1.parse().ok()
}

pub(super) fn not_ours(record: &crate::agent::types::RecordState) -> String {
    format!(
        "{} holds {}, which is no set of regions of this configuration: somebody else changed it. Correct \
         the record, or [[agent.region]]",
        record.name,
        record.values.join(", ")
    )
}
