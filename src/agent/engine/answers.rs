//! What people and programs ask and order, answered at once.

use std::time::Instant;

use tracing::error;

use super::pilot::Pilot;
use crate::agent::orders::{
    AgentStatus, Alert, Order, OrderAnswer, OrderRefused, OrderRequest, PlanReport, PlannedStep, RegionStatus,
};
use crate::agent::pager::Severity;
use crate::agent::pager::webhook::WebhookEvent;
use crate::agent::runbook::{Command, Event, Notice, RunbookPlan, Scope};
use crate::agent::types::{RecordState, Region, Step, UnixMs};

/// What PagerDuty calls it when a person takes a page on.
const ACKNOWLEDGED: &str = "incident.acknowledged";
/// How much of an alert's name and fingerprint goes into a page's key, which has little room.
const MAX_NAME: usize = 64;
const MAX_FINGERPRINT: usize = 32;
/// How much of an alert's text goes into a page and the journal.
const MAX_SAID: usize = 1000;

impl Pilot {
    pub(super) fn obey(&mut self, request: OrderRequest) {
        let OrderRequest { order, who, reply } = request;
        let answer = self.answer(order, &who);
        // The caller may have stopped waiting.
        let _ = reply.try_send(answer);
    }

    fn answer(&mut self, order: Order, who: &str) -> Result<OrderAnswer, OrderRefused> {
        let now = self.clock.now();
        let command = match order {
            Order::Status => return Ok(OrderAnswer::Status(Box::new(self.status(now)))),
            Order::Plan { from, to } => return Ok(OrderAnswer::Plan(Box::new(self.plan(now, from, to)?))),
            Order::Witness(region) => return self.witness(now, region),
            Order::Alerts(alerts) => return Ok(self.take_alerts(alerts)),
            Order::PagerDuty(event) => return self.take_webhook(&event),
            Order::Command(command) => command,
        };
        if command == Command::Abort {
            self.cut_short();
        }
        let stops = matches!(command, Command::Abort | Command::Freeze { .. });
        let accepted = self.runbook.command(now, command, who)?;
        if stops {
            self.stop_what_has_not_begun();
        }
        self.carry_out(accepted.actions);
        Ok(OrderAnswer::Accepted { what: self.with_its_durability(accepted.what) })
    }

    /// Warns the person who ordered when a restart would forget the order.
    fn with_its_durability(&self, what: String) -> String {
        if self.ledger.failing().is_none() {
            return what;
        }
        format!(
            "{what}; it is not durable, since the journal cannot be written: a restart before it can forgets \
             this"
        )
    }

    fn witness(&self, now: UnixMs, region: Region) -> Result<OrderAnswer, OrderRefused> {
        let known = self.watch.regions();
        if !known.contains(&region) {
            let known = known.iter().map(|region| region.0.clone()).collect();
            return Err(OrderRefused::UnknownRegion { region, known });
        }
        match self.watch.sees(now, &region) {
            Some(healthy) => Ok(OrderAnswer::Seen { region, healthy }),
            None => Err(OrderRefused::NotProbed { region }),
        }
    }

    fn take_webhook(&mut self, event: &WebhookEvent) -> Result<OrderAnswer, OrderRefused> {
        let what = match (&event.by, &event.incident_key) {
            _ if event.kind != ACKNOWLEDGED => format!("{} changes nothing", event.kind),
            (None, _) => "nobody is named who acknowledged, so it changes nothing".to_owned(),
            (_, None) => "no page of this agent is named, so it changes nothing".to_owned(),
            (Some(by), Some(key)) => {
                let at = self.clock.moment().agent_time_of(event.occurred_ms);
                match self.hear_acknowledged(key, by.clone(), Some(at))? {
                    Some(true) => format!("acknowledged by {by}"),
                    Some(false) => {
                        self.tell_uncounted(by);
                        "it was before the page that waits here, by the clock of this host".to_owned()
                    }
                    None => "it is about no page that waits here".to_owned(),
                }
            }
        };
        Ok(OrderAnswer::Accepted { what })
    }

    /// An alert pages like one of the agent's own signals; it moves no traffic.
    fn take_alerts(&mut self, alerts: Vec<Alert>) -> OrderAnswer {
        let mut dropped = Vec::new();
        for alert in &alerts {
            let notice = notice_of(alert);
            match self.runbook.has_no_room_for(&notice) {
                Some(why) => dropped.push(why),
                None => self.tell(Event::Notice(notice)),
            }
        }
        let taken = alerts.len() - dropped.len();
        let Some(why) = dropped.last() else {
            return OrderAnswer::Accepted { what: format!("{taken} alerts taken") };
        };
        error!("{} of {} alerts are not paged: {why}", dropped.len(), alerts.len());
        self.flight.trouble = Some(why.clone());
        OrderAnswer::Accepted { what: format!("{taken} alerts taken, {} not: {why}", dropped.len()) }
    }

    fn status(&self, now: UnixMs) -> AgentStatus {
        let status = self.runbook.status(now);
        AgentStatus {
            now,
            mode: self.config.mode,
            dry_run: self.config.dry_run,
            frozen: status.frozen,
            own_region: self.watch.own_region().clone(),
            elected: status.elected,
            phase: status.phase,
            incident: status.incident,
            failed_region: status.region,
            drill: status.drill,
            since: status.since,
            deadline: status.deadline,
            next: status.next,
            objections: status.objections,
            commands: status.commands,
            regions: self.watch.regions().iter().map(|region| self.region_status(region)).collect(),
            record: status.record,
            record_read: status.record_read,
            in_service: status.in_service.map(|regions| regions.into_iter().collect()),
            switches_left: status.switches_left,
            cooldown_until: status.cooldown_until,
            unsent_pages: self.flight.unsent_pages.as_ref().map(|(pages, why)| format!("{pages}: {why}")),
            unusable_secrets: self.flight.unusable_secrets.clone(),
            witnesses: self.watch.witnesses().status(now),
            journal: self.ledger.words(),
            journal_fails: self.ledger.failing().is_some(),
            last_error: status.last_error.or_else(|| self.flight.trouble.clone()),
        }
    }

    fn region_status(&self, region: &Region) -> RegionStatus {
        let view = self.watch.assessment().and_then(|assessment| assessment.regions.get(region));
        let now = Instant::now();
        let probe = self.watch.seen.telling(region, now);
        RegionStatus {
            region: region.clone(),
            standing: view.map_or("unknown", |view| view.standing.name()).to_owned(),
            detail: view.map_or_else(|| "not probed yet".to_owned(), |view| view.words()),
            last_probe: probe.map_or_else(|| "none yet".to_owned(), |(sight, _)| sight.to_string()),
            probed: probe.and_then(|(_, age)| now.checked_sub(age)).map(|begun| self.clock.at(begun)),
        }
    }

    fn plan(
        &self,
        now: UnixMs,
        from: Option<Region>,
        to: Option<Region>,
    ) -> Result<PlanReport, OrderRefused> {
        let RunbookPlan { from, to, in_service, objections, record, wanted } =
            self.runbook.plan(now, from, to)?;
        let change = record.as_ref().zip(wanted.as_ref());
        let steps = change.map(|(record, wanted)| self.planned(&to, record, wanted)).unwrap_or_default();
        let rollback =
            change.map(|(record, wanted)| vec![self.write_step(Step::RestoreRecord, wanted, record)]);
        Ok(PlanReport {
            from,
            to,
            in_service: in_service.into_iter().collect(),
            objections,
            steps,
            record,
            wanted,
            rollback: rollback.unwrap_or_default(),
        })
    }

    fn planned(&self, to: &Region, record: &RecordState, wanted: &RecordState) -> Vec<PlannedStep> {
        let step = |step, calls: Vec<String>| PlannedStep { step, calls };
        let look = format!("look at /health, tokens and replication of {to}");
        let servers = format!(
            "ask the zone's servers for {} until they show {}",
            wanted.name,
            wanted.values.join(", ")
        );
        let trial = format!("ask {} for /health, then a bounded load under that name", wanted.name);
        vec![
            step(Step::Preflight, vec![look]),
            self.write_step(Step::WriteRecord, record, wanted),
            step(Step::AwaitVisible, vec![servers]),
            step(Step::Validate, vec![trial]),
        ]
    }

    fn write_step(&self, step: Step, expected: &RecordState, wanted: &RecordState) -> PlannedStep {
        PlannedStep { step, calls: self.deeds.plan(false, expected, wanted) }
    }
}

/// The beginning of `text`, in characters.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

fn notice_of(alert: &Alert) -> Notice {
    let text = |key| alert.annotations.get(key).map(String::as_str);
    let severity = match alert.labels.get("severity").map(String::as_str) {
        Some("critical" | "page") => Severity::Critical,
        Some("error") => Severity::Error,
        Some("info" | "none") => Severity::Info,
        _ => Severity::Warning,
    };
    let name = if alert.name().is_empty() { "an alert without a name" } else { alert.name() };
    let said = text("summary").or_else(|| text("description")).unwrap_or("it says nothing more");
    let (name, said) = (cut(name, MAX_NAME), cut(said, MAX_SAID));
    Notice {
        name: "alert".to_owned(),
        scope: Scope::Alert,
        subject: format!("{name}/{}", cut(&alert.fingerprint, MAX_FINGERPRINT)),
        raised: alert.firing,
        severity,
        detail: format!("{name}: {said}"),
        scales: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_alert_pages_by_its_severity_and_fingerprint_and_scales_nothing() {
        let labels = [("alertname", "TokensLow"), ("severity", "critical")];
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let alert = Alert {
            fingerprint: "ab12".to_owned(),
            firing: true,
            labels: map(&labels),
            annotations: map(&[("summary", "few are left")]),
        };
        let notice = notice_of(&alert);
        assert_eq!((notice.severity, notice.raised, notice.scales), (Severity::Critical, true, false));
        assert_eq!(
            (notice.subject.as_str(), notice.detail.as_str()),
            ("TokensLow/ab12", "TokensLow: few are left")
        );
        let huge = "ä".repeat(1 << 20);
        let long = Alert {
            labels: map(&[("alertname", &huge)]),
            annotations: map(&[("summary", &huge)]),
            ..alert.clone()
        };
        let long = notice_of(&long);
        assert!(long.subject.ends_with("ä/ab12") && long.subject.len() + long.detail.len() < 3000);
        let bare = notice_of(&Alert { firing: false, labels: map(&[]), annotations: map(&[]), ..alert });
        assert_eq!((bare.severity, bare.raised), (Severity::Warning, false));
    }
}
