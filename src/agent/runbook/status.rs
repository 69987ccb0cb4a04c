//! Where the runbook stands, in words.

use std::collections::BTreeSet;

use super::detect::intended;
use super::guard::{Facts, before_a_run, set_without};
use super::incident::{Approval, Head, Incident, Stage, State};
use super::machine::Runbook;
use crate::agent::orders::{AgentMode, OrderRefused, Suggested};
use crate::agent::types::{IncidentId, Phase, RecordState, Region, UnixMs};

/// Where the runbook stands, for a person and for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookStatus {
    /// Why it is frozen; `None` when it is not.
    pub frozen: Option<String>,
    /// Whether this node's agent is the one that acts for its region.
    pub elected: bool,
    /// Where the incident stands; [`Phase::Watching`] without one.
    pub phase: Phase,
    /// The incident that is under way.
    pub incident: Option<IncidentId>,
    /// The region that it is about.
    pub region: Option<Region>,
    /// The region that takes over, once it is chosen.
    pub target: Option<Region>,
    /// Whether it is a drill.
    pub drill: bool,
    /// The phase began then.
    pub since: UnixMs,
    /// The phase ends by itself then, at the latest.
    pub deadline: Option<UnixMs>,
    /// What happens next, and when nobody says anything, in words.
    pub next: String,
    /// What stands against acting now, in words.
    pub objections: Vec<String>,
    /// The orders that would be taken now.
    pub commands: Vec<Suggested>,
    /// The live record as it was last read.
    pub record: Option<RecordState>,
    /// When it was read.
    pub record_read: Option<UnixMs>,
    /// Regions in service by that record; `None` when it is no set of ours.
    pub in_service: Option<BTreeSet<Region>>,
    /// Switches that are left today before only a person may start one.
    pub switches_left: u32,
    /// No switch by itself before this time.
    pub cooldown_until: Option<UnixMs>,
    /// Why the journal cannot be written; `None` when it can.
    pub journal_fails: Option<String>,
    /// What went wrong last, with what to do.
    pub last_error: Option<String>,
}

/// What a failover would do now; the calls of it are known to the providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookPlan {
    /// The region that is withdrawn.
    pub from: Region,
    /// The region that takes over.
    pub to: Region,
    /// Regions in service after it.
    pub in_service: BTreeSet<Region>,
    /// What stands against it now. Empty when nothing does.
    pub objections: Vec<String>,
    /// The live record as it was last read.
    pub record: Option<RecordState>,
    /// The live record as it would become.
    pub wanted: Option<RecordState>,
}

impl Runbook {
    /// Where the runbook stands, in words.
    #[must_use]
    pub fn status(&self, now: UnixMs) -> RunbookStatus {
        let now = self.now.max(now);
        let incident = self.incident.as_ref();
        let cooldown_ms = self.config.timing.cooldown_ms;
        let changed_at = self.ledger.changed_before(None);
        let made = self.ledger.on_day_of(now, None);
        let waits = |incident: &&Incident| !incident.state.has_written();
        RunbookStatus {
            frozen: self.frozen.clone(),
            elected: self.assessment.elected,
            phase: self.phase(),
            incident: incident.map(|incident| incident.head.id.clone()),
            region: incident.map(|incident| incident.head.region.clone()),
            target: incident.and_then(|incident| incident.state.plan(&incident.head).0),
            drill: incident.is_some_and(|incident| incident.head.is_drill()),
            since: incident.map_or(UnixMs(0), |incident| incident.head.since),
            deadline: incident.map(|incident| incident.state.until()),
            next: self.what_is_next(now),
            objections: incident
                .filter(waits)
                .map_or_else(Vec::new, |i| self.objections(&i.head, &approval_of(i))),
            commands: self.commands(),
            record: self.record.as_ref().map(|(_, record)| record.clone()),
            record_read: self.record.as_ref().map(|(at, _)| *at),
            in_service: self.in_service(),
            switches_left: self.config.max_switches_per_day.saturating_sub(made),
            cooldown_until: changed_at.map(|at| at.after_ms(cooldown_ms)).filter(|until| *until > now),
            journal_fails: self.journal_fails.clone(),
            last_error: self.last_error.clone(),
        }
    }

    fn what_is_next(&self, now: UnixMs) -> String {
        let Some(Incident { head, state }) = &self.incident else {
            return self.what_is_next_without_incident();
        };
        format!("{}{}", self.what_is_next_of(head, state, now), self.words_beside(head))
    }

    fn what_is_next_of(&self, head: &Head, state: &State, now: UnixMs) -> String {
        let left_s = state.until().since_ms(now).div_ceil(1000);
        let region = &head.region;
        match state {
            State::Suspect { .. } => format!("a person is paged in {left_s} s unless {region} comes back"),
            State::Paged { act_at, .. } if self.config.mode == AgentMode::Automatic => format!(
                "it acts by itself in {} s unless somebody declines, once nothing stands against it; in \
                 {left_s} s it is handed over",
                act_at.since_ms(now).div_ceil(1000)
            ),
            State::Paged { .. } if self.config.mode == AgentMode::Observe => {
                format!("it only pages; it ends when {region} is healthy or the record leads elsewhere")
            }
            State::Paged { .. } => {
                format!("it waits {left_s} s for a person: `failover ack` or `failover decline`")
            }
            State::Acknowledged { .. } | State::AutoApproved { .. } => {
                format!("preflight begins once nothing stands against it; in {left_s} s it is handed over")
            }
            State::Declined { .. } => {
                format!("it ends when {region} is healthy; in {left_s} s it is handed over")
            }
            State::Preflight { run, .. } => format!("the record is changed once {} has passed", run.target),
            State::Switching { stage: Stage::Reading { .. }, .. } => {
                "the record is written once it is read".to_owned()
            }
            State::Switching { stage: Stage::Showing { .. }, .. } => {
                format!("the change is tried once resolvers show it; in {left_s} s it is put back")
            }
            State::Switching { .. } => {
                "the write ends, and is settled by reading where it gave no answer".to_owned()
            }
            State::Validating { .. } => {
                "it ends when the trial under the public name passes; else it is put back".to_owned()
            }
            State::RollingBack { .. } => format!("the record is put back; in {left_s} s it is handed over"),
            State::Ended { .. } | State::Reported => "the report is written, and it watches again".to_owned(),
        }
    }

    fn what_is_next_without_incident(&self) -> String {
        let mut regions = self.config.regions.iter().map(|record| &record.region);
        let still_down =
            |region: &&Region| self.assessment.standing(region).is_down() && self.is_left_alone(region);
        match regions.find(still_down) {
            None => "it watches; nothing is wrong that it could act on".to_owned(),
            Some(region) => format!(
                "{region} is down and is left as it is until it was healthy once; `failover start --from \
                 {region} --why TEXT` moves traffic",
            ),
        }
    }

    fn commands(&self) -> Vec<Suggested> {
        let suggest =
            |command: &str, does: &str| Suggested { command: command.to_owned(), does: does.to_owned() };
        let mut list = Vec::new();
        match self.incident.as_ref().map(|incident| (&incident.head, &incident.state)) {
            None => {
                list.push(suggest("plan --from REGION", "shows what withdrawing a region would do"));
                if let Some(owed) = &self.owed {
                    list.push(suggest("rollback", &format!("brings {} back into service", owed.region)));
                }
                if self.config.can_drill {
                    list.push(suggest("drill", "runs the runbook against the shadow record"));
                }
            }
            Some((_, State::Suspect { .. } | State::Paged { .. })) => {
                list.push(suggest("ack", "goes on to preflight and the switch"));
                list.push(suggest("decline", "leaves traffic where it is"));
            }
            Some((_, State::Acknowledged { .. } | State::AutoApproved { .. })) => {
                list.push(suggest("decline", "leaves traffic where it is"));
            }
            Some((head, State::Declined { .. })) => {
                list.push(suggest("ack", "goes on after all"));
                list.push(suggest(
                    &format!("start --from {} --why TEXT", head.region),
                    "goes on, whatever cooldown and cap say",
                ));
            }
            Some((_, State::Ended { .. } | State::Reported)) => {}
            Some((_, state)) => {
                list.push(suggest("abort", "stops after the call that is on its way"));
                if state.has_written() && !matches!(state, State::RollingBack { .. }) {
                    list.push(suggest("rollback", "puts the record back"));
                }
            }
        }
        list.push(match &self.frozen {
            Some(_) => suggest("thaw", "lets this agent change things again"),
            None => suggest("freeze --why TEXT", "stops this agent from changing anything"),
        });
        list
    }

    /// What a failover would do now.
    ///
    /// # Errors
    /// When a region is unknown, or there is nothing to withdraw.
    pub fn plan(
        &self,
        now: UnixMs,
        from: Option<Region>,
        to: Option<Region>,
    ) -> Result<RunbookPlan, OrderRefused> {
        let down = self.config.regions.iter().map(|record| &record.region);
        let down = down.clone().find(|region| self.assessment.standing(region).is_down()).cloned();
        let about = self.incident.as_ref().map(|incident| incident.head.region.clone());
        let none = || OrderRefused::NoIncident { order: "plan".to_owned() };
        let from = from.or(about).or(down).or_else(|| self.likely_region()).ok_or_else(none)?;
        self.check_regions([Some(&from), to.as_ref()])?;
        let head = self.imagined(&from, to.as_ref());
        let approval = Approval::Hand("a person".to_owned());
        let mut objections = Vec::new();
        let record = self.record.as_ref().map(|(_, record)| record.clone());
        let (to, after) = match self.scope(&head) {
            Ok(scope) => {
                let facts = Facts { now: self.now.max(now), ..self.facts() };
                objections = before_a_run(&facts, &intended(&head, &approval, &scope));
                (scope.target, Some(scope.after))
            }
            Err(why) => {
                objections.push(why);
                (self.likely_target(&head), None)
            }
        };
        if self.config.dry_run {
            objections.push("this is a dry run: the record is not written".to_owned());
        }
        let before = self.in_service();
        let after = after.or_else(|| Some(set_without(&self.assessment, &from, &to, &before?)));
        let wanted = record.as_ref().zip(after.as_ref()).map(|(record, after)| self.live.with(record, after));
        Ok(RunbookPlan { from, to, in_service: after.unwrap_or_default(), objections, record, wanted })
    }

    /// The region whose withdrawal is of most interest here while all are well: one that serves, and is another's.
    fn likely_region(&self) -> Option<Region> {
        let serves = self.in_service()?;
        let other = serves.iter().find(|region| **region != self.config.own_region);
        other.or_else(|| serves.first()).cloned()
    }

    /// The target that was asked for, or the first other region by order.
    fn likely_target(&self, head: &Head) -> Region {
        let mut others =
            self.config.regions.iter().map(|record| &record.region).filter(|region| **region != head.region);
        let first = others.next().unwrap_or(&self.config.own_region);
        head.asked.clone().unwrap_or_else(|| first.clone())
    }
}

fn approval_of(incident: &Incident) -> Approval {
    match &incident.state {
        State::Acknowledged { approval, .. } => approval.clone(),
        State::Preflight { run, .. } | State::Switching { run, .. } => run.approval.clone(),
        _ => Approval::Policy,
    }
}
