//! What pages without moving traffic: tokens, own figures, alerts, and trouble with the journal.

use super::action::{About, Page, Work, key_of};
use super::config::RunbookConfig;
use super::errand::Urgency;
use super::event::{Notice, Scope};
use super::machine::Runbook;
use crate::agent::orders::AgentMode;
use crate::agent::pager::Severity;
use crate::agent::types::{DOWN_PREFIX, Entry, FROZEN, Phase, SPENT_PREFIX, UnixMs};

/// How many of the cluster's own notices may be raised at a time.
const MAX_RAISED: usize = 256;
/// How many alerts from outside may be raised at a time, so that they never crowd out an own signal.
const MAX_ALERTS: usize = 192;
/// The name of alerts from outside.
const ALERT: &str = "alert";

/// A notice that is raised.
#[derive(Clone, Debug)]
pub(super) struct Raised {
    since: UnixMs,
    /// It was raised before a restart, and may have gone and come again since.
    is_old: bool,
}

impl Runbook {
    pub(super) fn notice(&mut self, notice: Notice) {
        let key = (notice.name.clone(), notice.subject.clone());
        let known = self.raised.get(&key);
        let is_told = known.is_some_and(|raised| !raised.is_old || !notice.raised);
        let is_news = if notice.raised { !is_told } else { known.is_some() };
        if !is_news {
            return;
        }
        if let Some(why) = self.has_no_room_for(&notice) {
            self.last_error = Some(why);
            return;
        }
        let signal = signal_of(&notice.name, &notice.subject);
        let detail = notice.detail.clone();
        self.journal(None, Entry::Signal { signal: signal.clone(), raised: notice.raised, detail });
        let (dedup_key, who) = (self.key_of_notice(notice.scope, &signal), self.who(notice.scope));
        let urgency = if notice.scope == Scope::Alert { Urgency::Alert } else { Urgency::Own };
        if notice.raised {
            self.raised.insert(key, Raised { since: self.now, is_old: false });
            let summary = format!("{who}: {}", notice.detail);
            let details = vec![
                ("signal".to_owned(), signal),
                ("node".to_owned(), self.config.node.clone()),
                ("region".to_owned(), self.config.own_region.0.clone()),
            ];
            let page = Page { dedup_key, severity: notice.severity, summary, details };
            self.send_as(urgency, About::default(), Work::Page(page));
            if notice.scales {
                self.scale();
            }
        } else {
            let since = self.raised.remove(&key).map_or(self.now, |raised| raised.since);
            let summary = format!("over after {} s: {}", self.now.since_ms(since) / 1000, notice.detail);
            self.send_as(urgency, About::default(), Work::ResolvePage { dedup_key, summary });
        }
    }

    /// Why a notice that is raised is not taken; `None` when it is.
    #[must_use]
    pub fn has_no_room_for(&self, notice: &Notice) -> Option<String> {
        let is_alert = |(name, _): &&(String, String)| name == ALERT;
        let alerts = self.raised.keys().filter(is_alert).count();
        let (raised, most) = match notice.scope {
            Scope::Alert => (alerts, MAX_ALERTS),
            Scope::Node | Scope::Region => (self.raised.len() - alerts, MAX_RAISED),
        };
        let is_known =
            self.raised.keys().any(|(name, about)| *name == notice.name && *about == notice.subject);
        let is_dropped = notice.raised && !is_known && raised >= most;
        is_dropped.then(|| {
            format!(
                "{} is not paged, since {most} such signals are raised at once, which is all that are taken: \
                 end what raises so many, or route fewer alerts to the agent",
                signal_of(&notice.name, &notice.subject)
            )
        })
    }

    /// The page's key: the same on all nodes that see the same trouble, and on no others.
    fn key_of_notice(&self, scope: Scope, signal: &str) -> String {
        let RunbookConfig { cluster, node, own_region, .. } = &self.config;
        key_of(&match scope {
            Scope::Node => format!("openclaw-rating:{cluster}:{own_region}:{node}:{signal}"),
            Scope::Region => format!("openclaw-rating:{cluster}:{own_region}:{signal}"),
            Scope::Alert => format!("openclaw-rating:{cluster}:{signal}"),
        })
    }

    /// Who has the trouble: the beginning of a page's summary.
    fn who(&self, scope: Scope) -> String {
        let RunbookConfig { cluster, node, own_region, .. } = &self.config;
        match scope {
            Scope::Node => format!("{cluster} {own_region} {node}"),
            Scope::Region => format!("{cluster} {own_region}"),
            Scope::Alert => cluster.clone(),
        }
    }

    /// A notice as it was journalled.
    pub(super) fn see_notice(&mut self, at: UnixMs, signal: &str, raised: bool) {
        let (name, subject) = signal.split_once('/').unwrap_or((signal, ""));
        let key = (name.to_owned(), subject.to_owned());
        if !raised {
            self.raised.remove(&key);
        } else if self.raised.len() < MAX_RAISED + MAX_ALERTS {
            self.raised.insert(key, Raised { since: at, is_old: true });
        }
    }

    /// The notices that are raised: name and subject.
    pub fn notices(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raised.keys().map(|(name, subject)| (name.as_str(), subject.as_str()))
    }

    fn journal_notices_again(&mut self) {
        let raised: Vec<(String, String)> = self.raised.keys().cloned().collect();
        for (name, subject) in raised {
            let signal = signal_of(&name, &subject);
            let detail = "the journal is back".to_owned();
            self.journal(None, Entry::Signal { signal, raised: true, detail });
        }
    }

    /// Scales the standby: once for each notice and once a cooldown, since the agent never scales down.
    fn scale(&mut self) {
        let cooldown_ms = self.config.timing.cooldown_ms;
        let is_rested = self.scaled_at.is_none_or(|at| self.now.since_ms(at) >= cooldown_ms);
        let may_act = self.config.mode != AgentMode::Observe
            && !self.config.dry_run
            && self.frozen.is_none()
            && self.journal_fails.is_none()
            && self.assessment.elected;
        if self.config.can_scale && may_act && is_rested {
            self.scaled_at = Some(self.now);
            self.send(About::default(), Work::Scale);
        }
    }

    fn journal_key(&self) -> String {
        self.key_of_notice(Scope::Node, "journal")
    }

    pub(super) fn journal_failed(&mut self, why: String) {
        if self.journal_fails.is_none() {
            let summary = format!(
                "{}: the journal cannot be written, so the agent pages and does nothing else: {why}. Free \
                 the disk of the state directory",
                self.who(Scope::Node)
            );
            let page =
                Page { dedup_key: self.journal_key(), severity: Severity::Error, summary, details: vec![] };
            self.send_as(Urgency::Own, About::default(), Work::Page(page));
        }
        self.journal_fails = Some(why);
    }

    /// Lines may be missing, so what a restart must know is written again.
    pub(super) fn journal_back(&mut self) {
        if self.journal_fails.take().is_none() {
            return;
        }
        let dedup_key = self.journal_key();
        let summary = "the journal is written again".to_owned();
        self.send_as(Urgency::Own, About::default(), Work::ResolvePage { dedup_key, summary });
        let (raised, detail) = (self.frozen.is_some(), self.frozen.clone().unwrap_or_default());
        self.journal(None, Entry::Signal { signal: FROZEN.to_owned(), raised, detail });
        if let Some((_, state)) = self.record.clone() {
            self.journal(None, Entry::Record { state });
        }
        let regions: Vec<_> = self.config.regions.iter().map(|record| record.region.clone()).collect();
        for region in regions {
            let (signal, raised) = (format!("{DOWN_PREFIX}{region}"), self.down.contains_key(&region));
            self.journal(None, Entry::Signal { signal, raised, detail: "the journal is back".to_owned() });
        }
        let cooldown_ms = self.config.timing.cooldown_ms;
        let changed_at = self.ledger.changed_before(None);
        if changed_at.is_some_and(|at| self.now.since_ms(at) < cooldown_ms) {
            let detail = "the record changed within the cooldown".to_owned();
            self.journal(None, Entry::Signal { signal: CHANGED.to_owned(), raised: true, detail });
        }
        for region in self.spent.clone() {
            let signal = format!("{SPENT_PREFIX}{region}");
            let detail = "its incident has ended; another begins once it was healthy".to_owned();
            self.journal(None, Entry::Signal { signal, raised: true, detail });
        }
        for region in self.paged_beside.keys().cloned().collect::<Vec<_>>() {
            self.journal_paged_beside(&region, "the journal is back".to_owned());
        }
        self.journal_notices_again();
        self.journal_incident_again();
    }

    fn journal_incident_again(&mut self) {
        let why = "the journal is written again".to_owned();
        match self.incident.take() {
            Some(incident) => {
                let to = incident.state.phase();
                let (target, approved_by) = incident.state.plan(&incident.head);
                self.journal_plan(&incident.head, target.as_ref(), approved_by);
                self.journal(Some(&incident.head.id), Entry::Moved { from: to, to, why });
                self.incident = Some(incident);
            }
            None => {
                let last = self.last_incident.clone();
                if let Some(id) = last {
                    let (from, to) = (Phase::Watching, Phase::Watching);
                    self.journal(Some(&id), Entry::Moved { from, to, why });
                }
            }
        }
    }
}

/// That the record changed a short while ago is journalled again as this signal.
pub(super) const CHANGED: &str = "record_changed";
/// The trouble of the journal itself is journalled as this signal once it is over; it is no notice.
pub(super) const JOURNAL_FAILED: &str = "journal_failed";

fn signal_of(name: &str, subject: &str) -> String {
    if subject.is_empty() { name.to_owned() } else { format!("{name}/{subject}") }
}
