//! What people order: each is answered at once, taken or refused with the reason.

use super::action::Action;
use super::incident::{Approval, Ending, Head, Incident, Next, Showing, Stage, State, Stop, Validating};
use super::machine::Runbook;
use crate::agent::orders::{AgentMode, Command, OrderRefused};
use crate::agent::types::{Cause, Entry, FROZEN, Phase, Region, UnixMs};

/// An order that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What happens now, for the person who asked.
    pub what: String,
    /// What is to be done.
    pub actions: Vec<Action>,
}

impl Command {
    /// Orders that only hold back are taken even if they cannot be journalled.
    const fn holds_back(&self) -> bool {
        matches!(self, Self::Decline | Self::Abort | Self::Freeze { .. })
    }
}

impl Runbook {
    /// Takes an order of `who`.
    ///
    /// # Errors
    /// When it is not taken; the text says what to do.
    pub fn command(&mut self, now: UnixMs, command: Command, who: &str) -> Result<Accepted, OrderRefused> {
        self.now = self.now.max(now);
        if let Some(why) = self.journal_fails.clone().filter(|_| !command.holds_back()) {
            return Err(OrderRefused::JournalFails { why });
        }
        let name = command.name();
        let incident = self.incident.as_ref().map(|incident| incident.head.id.clone());
        let entry = Entry::Command { command: name.to_owned(), who: who.to_owned() };
        let line = Action::Journal { incident, entry };
        let lines = self.out.len();
        let what = match command {
            Command::Ack => self.ack(who),
            Command::Decline => self.decline(who),
            Command::Start { from, to, why } => self.start(from, to, &why, who),
            Command::Abort => self.abort(who),
            Command::Rollback => self.order_rollback(who),
            Command::Freeze { why } => Ok(self.freeze(why)),
            Command::Thaw => self.thaw(),
            Command::Drill => self.drill(who),
        }?;
        self.out.insert(lines, line);
        Ok(Accepted { what, actions: self.proceed(None) })
    }

    pub(super) fn page_acknowledged(&mut self, region: &Region, by: String) {
        let waits = self.incident.as_ref().is_some_and(|incident| {
            incident.head.region == *region
                && !incident.head.is_drill()
                && matches!(incident.state, State::Suspect { .. } | State::Paged { .. })
        });
        if waits && self.config.mode != AgentMode::Observe && self.journal_fails.is_none() {
            let incident = self.incident.as_ref().map(|incident| incident.head.id.clone());
            self.journal(incident.as_ref(), Entry::Command { command: "ack".to_owned(), who: by.clone() });
            self.approve(Approval::Person(by));
        }
    }

    /// The incident goes on with this approval.
    fn approve(&mut self, approval: Approval) {
        let Some(Incident { head, state }) = self.incident.take() else { return };
        self.journal_plan(&head, head.asked.as_ref(), approval.text());
        let until = self.now.after_ms(self.config.timing.ack_timeout_ms);
        let why = approval.text();
        self.enter(head, state.phase(), State::Acknowledged { approval, until }, why);
    }

    fn none_to(order: &str) -> OrderRefused {
        OrderRefused::NoIncident { order: order.to_owned() }
    }

    fn wrong_phase(&self, order: &str, why: &str) -> OrderRefused {
        OrderRefused::WrongPhase { order: order.to_owned(), phase: self.phase(), why: why.to_owned() }
    }

    fn ack(&mut self, who: &str) -> Result<String, OrderRefused> {
        let incident = self.incident.as_ref().ok_or_else(|| Self::none_to("ack"))?;
        if self.config.mode == AgentMode::Observe {
            let why = "its mode is observe, so it only pages; change the record by hand".to_owned();
            return Err(OrderRefused::NotActing { why });
        }
        if !matches!(incident.state, State::Suspect { .. } | State::Paged { .. } | State::Declined { .. }) {
            return Err(self.wrong_phase("ack", "it goes on already; `failover abort` stops it"));
        }
        let approval = Approval::Person(who.to_owned());
        let objections = self.objections(&incident.head, &approval);
        self.approve(approval);
        if objections.is_empty() {
            return Ok("acknowledged: it goes on to preflight".to_owned());
        }
        Ok(format!("acknowledged; it goes on once this is no longer so: {}", objections.join("; ")))
    }

    pub(super) fn decline(&mut self, who: &str) -> Result<String, OrderRefused> {
        let Some(Incident { head, state }) = self.incident.take() else {
            return Err(Self::none_to("decline"));
        };
        if !matches!(
            state,
            State::Suspect { .. }
                | State::Paged { .. }
                | State::Acknowledged { .. }
                | State::AutoApproved { .. }
        ) {
            self.incident = Some(Incident { head, state });
            return Err(self.wrong_phase("decline", "it runs already; `failover abort` stops it"));
        }
        let until = self.now.after_ms(self.config.timing.ack_timeout_ms);
        let why = format!("{who} said no");
        let region = head.region.0.clone();
        self.enter(head, state.phase(), State::Declined { until }, why);
        Ok(format!("declined: this agent does not move the traffic of {region} in this incident"))
    }

    fn start(
        &mut self,
        from: Region,
        to: Option<Region>,
        why: &str,
        who: &str,
    ) -> Result<String, OrderRefused> {
        self.check_regions([Some(&from), to.as_ref()])?;
        let same = |incident: &Incident| incident.head.region == from && !incident.head.is_drill();
        let waits = |incident: &Incident| {
            same(incident)
                && incident.head.cause != Cause::Failback
                && !incident.state.has_written()
                && !matches!(incident.state, State::Ended { .. } | State::Reported)
        };
        if let Some(other) = self.incident.as_ref().filter(|incident| !waits(incident)) {
            return Err(OrderRefused::Underway { incident: other.head.id.clone() });
        }
        let approval = Approval::Hand(who.to_owned());
        self.check_start(&from, to.as_ref(), &approval)?;
        match self.incident.take() {
            Some(Incident { mut head, state }) => {
                head.asked = to;
                self.incident = Some(Incident { head, state });
                self.approve(approval);
            }
            None => self.open_by_hand(from.clone(), Cause::Person, to, approval, why),
        }
        Ok(format!("started: {from} is withdrawn as soon as the region that takes over has passed preflight"))
    }

    /// Begins an incident that a person has approved.
    fn open_by_hand(
        &mut self,
        region: Region,
        cause: Cause,
        asked: Option<Region>,
        approval: Approval,
        why: &str,
    ) {
        let until = self.now.after_ms(self.config.timing.run_ms);
        let text = approval.text();
        let why = if why.is_empty() { text.clone() } else { format!("{text}: {why}") };
        self.open(region, cause, State::Acknowledged { approval, until }, why, text.clone());
        if let Some(mut incident) = self.incident.take() {
            incident.head.asked = asked;
            if incident.head.asked.is_some() {
                self.journal_plan(&incident.head, incident.head.asked.as_ref(), text);
            }
            self.incident = Some(incident);
        }
    }

    pub(super) fn check_regions(&self, regions: [Option<&Region>; 2]) -> Result<(), OrderRefused> {
        for region in regions.into_iter().flatten() {
            if self.config.record_of(region).is_none() {
                let known = self.config.regions.iter().map(|record| record.region.0.clone()).collect();
                return Err(OrderRefused::UnknownRegion { region: region.clone(), known });
            }
        }
        Ok(())
    }

    /// Refuses a start at once where something stands against it; only the record may still be unread.
    fn check_start(
        &mut self,
        from: &Region,
        to: Option<&Region>,
        approval: &Approval,
    ) -> Result<(), OrderRefused> {
        if let Some(why) = self.frozen.clone() {
            return Err(OrderRefused::Frozen { why });
        }
        let Some((read_at, _)) = self.record else { return Ok(()) };
        let head = self.imagined(from, to);
        let mut objections = self.objections(&head, approval);
        if objections.is_empty() {
            return Ok(());
        }
        let age_s = self.now.since_ms(read_at) / 1000;
        let is_out = self.in_service().is_none_or(|set| !set.contains(from));
        if is_out && age_s > 0 {
            // Between two looks somebody may have done what the person speaks of.
            self.read_record_now();
            objections.push(format!(
                "that is as of {age_s} s ago, and the record is read anew now: if it has changed since, \
                 order it again"
            ));
        }
        Err(OrderRefused::Unsafe { why: objections.join("; ") })
    }

    /// A made-up incident, to ask the rules about.
    pub(super) fn imagined(&self, from: &Region, to: Option<&Region>) -> Head {
        Head {
            id: crate::agent::types::IncidentId(String::new()),
            region: from.clone(),
            cause: Cause::Person,
            opened_at: self.now,
            since: self.now,
            paged: None,
            asked: to.cloned(),
            undoes: None,
            stop: None,
        }
    }

    pub(super) fn abort(&mut self, who: &str) -> Result<String, OrderRefused> {
        let Some(Incident { mut head, state }) = self.incident.take() else {
            return Err(Self::none_to("abort"));
        };
        if matches!(&state, State::Switching { stage, .. } if stage.is_on_its_way()) {
            head.stop = Some(Stop::Abort(who.to_owned()));
            self.incident = Some(Incident { head, state });
            return Ok("it stops when the write that is on its way has ended".to_owned());
        }
        if matches!(state, State::Ended { .. } | State::Reported) {
            self.incident = Some(Incident { head, state });
            return Err(self.wrong_phase("abort", "it is over already"));
        }
        let leads =
            if state.has_written() { Self::leads_to(self.in_service().as_ref()) } else { String::new() };
        let is = if leads.is_empty() {
            "nothing was changed".to_owned()
        } else {
            format!("the record leads to {leads}")
        };
        let why = format!("stopped by {who}; {is}");
        let ended = self.ended_state(Ending::HandedOver);
        self.enter(head, state.phase(), ended, why.clone());
        Ok(why)
    }

    fn order_rollback(&mut self, who: &str) -> Result<String, OrderRefused> {
        let Some(Incident { mut head, state }) = self.incident.take() else {
            return self.rollback_of_last(who);
        };
        let change = match &state {
            State::Switching { stage: Stage::Showing(Showing { change, .. }), .. }
            | State::Validating(Validating { change, .. }) => change.clone(),
            State::Switching { stage, .. } if stage.is_on_its_way() => {
                head.stop = Some(Stop::Rollback(who.to_owned()));
                self.incident = Some(Incident { head, state });
                return Ok("the record is put back when the write that is on its way has ended".to_owned());
            }
            _ => {
                self.incident = Some(Incident { head, state });
                return Err(self
                    .wrong_phase("rollback", "nothing is written that could be put back; `failover abort`"));
            }
        };
        let objections = super::guard::before_a_restore(&self.facts(), &change, head.cause);
        if !objections.is_empty() {
            self.incident = Some(Incident { head, state });
            return Err(OrderRefused::Unsafe { why: objections.join("; ") });
        }
        let why = format!("{who} asked to put the record back");
        match self.undo(&head, change, &why) {
            Next::To(next, why) => self.enter(head, state.phase(), next, why),
            _ => self.incident = Some(Incident { head, state }),
        }
        Ok("the record is put back".to_owned())
    }

    /// Once a run is over, `rollback` is a failback by hand.
    fn rollback_of_last(&mut self, who: &str) -> Result<String, OrderRefused> {
        let owed = self.owed.clone().ok_or_else(|| Self::none_to("rollback"))?;
        if let Some(why) = self.frozen.clone() {
            return Err(OrderRefused::Frozen { why });
        }
        let approval = Approval::Hand(who.to_owned());
        let mut head = self.imagined(&owed.region, None);
        (head.cause, head.undoes) = (Cause::Failback, Some(owed.clone()));
        let objections = self.objections(&head, &approval);
        if !objections.is_empty() {
            return Err(OrderRefused::Unsafe { why: objections.join("; ") });
        }
        self.owed = None;
        self.open_by_hand(owed.region.clone(), Cause::Failback, None, approval, "");
        if let Some(incident) = &mut self.incident {
            incident.head.undoes = Some(owed.clone());
        }
        Ok(format!("started: {} serves again as soon as it has passed preflight", owed.region))
    }

    fn freeze(&mut self, why: String) -> String {
        self.journal(None, Entry::Signal { signal: FROZEN.to_owned(), raised: true, detail: why.clone() });
        self.frozen = Some(why);
        let writes = self.incident.as_ref().is_some_and(|incident| incident.state.has_written());
        let late = if writes { "; a write is on its way or done, and is not undone by this" } else { "" };
        format!("frozen: this agent changes nothing until `failover thaw`; it goes on paging{late}")
    }

    fn thaw(&mut self) -> Result<String, OrderRefused> {
        self.frozen.take().ok_or(OrderRefused::NotFrozen)?;
        self.journal(None, Entry::Signal { signal: FROZEN.to_owned(), raised: false, detail: String::new() });
        Ok("thawed".to_owned())
    }

    fn drill(&mut self, who: &str) -> Result<String, OrderRefused> {
        if let Some(other) = &self.incident {
            return Err(OrderRefused::Underway { incident: other.head.id.clone() });
        }
        if !self.config.can_drill {
            let what = "a shadow record for drills: write [agent.drill]".to_owned();
            return Err(OrderRefused::NotConfigured { what });
        }
        if let Some(why) = self.frozen.clone() {
            return Err(OrderRefused::Frozen { why });
        }
        let own = &self.config.own_region;
        let other = self.config.regions.iter().map(|record| &record.region).find(|region| *region != own);
        let region = other.cloned().ok_or_else(|| Self::none_to("drill"))?;
        let approval = Approval::Hand(who.to_owned());
        let mut head = self.imagined(&region, None);
        head.cause = Cause::Drill;
        let objections = self.objections(&head, &approval);
        if !objections.is_empty() {
            return Err(OrderRefused::Unsafe { why: objections.join("; ") });
        }
        self.open_by_hand(region.clone(), Cause::Drill, None, approval, "");
        debug_assert_eq!(self.phase(), Phase::Acknowledged);
        Ok(format!("the drill begins: the shadow record is moved away from {region}, and back"))
    }
}
