//! Whether a person has taken the incident on, from what PagerDuty's REST API says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::Deserialize;

use crate::agent::journal::printable;

/// A longer name is cut where it is read: it is journalled, and told in pages and rooms.
const MAX_NAME_CHARS: usize = 100;

/// What has become of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageState {
    /// No incident with this key is to be seen (yet).
    Unknown,
    /// Nobody has answered.
    Waiting,
    /// A person has taken it on.
    Acknowledged(Acknowledged),
    /// It was resolved, by whom is not said here.
    Resolved,
}

/// Who acknowledged, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The person, as PagerDuty shows them.
    pub by: String,
    /// The moment, in PagerDuty's words (ISO 8601).
    pub at: String,
    /// How long ago that was by PagerDuty's own clock, where it says what that shows: the clock of this host may be
    /// wrong.
    pub ago: Option<Duration>,
}

#[derive(Debug, Deserialize)]
pub(super) struct IncidentList {
    incidents: Vec<Incident>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Incident {
    pub(super) id: String,
    status: String,
    #[serde(default)]
    acknowledgements: Vec<Acknowledgement>,
    /// Why it was resolved, where PagerDuty did that itself.
    #[serde(default)]
    resolve_reason: Option<ResolveReason>,
}

#[derive(Debug, Deserialize)]
struct ResolveReason {
    /// What it was merged into.
    #[serde(default)]
    incident: Option<Merged>,
}

#[derive(Debug, Deserialize)]
struct Merged {
    id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneIncident {
    pub(super) incident: Incident,
}

#[derive(Debug, Deserialize)]
struct Acknowledgement {
    at: String,
    acknowledger: Reference,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogEntries {
    log_entries: Vec<LogEntry>,
}

#[derive(Debug, Deserialize)]
struct LogEntry {
    #[serde(rename = "type")]
    kind: String,
    created_at: String,
    agent: Option<Reference>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    summary: Option<String>,
}

impl Reference {
    /// An integration acknowledges too (this agent, by the Events API), and that is nobody's consent.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.kind.as_str(), "user" | "user_reference")
    }

    /// As PagerDuty shows it, on one line and no longer than names are.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.summary.as_ref().or(self.id.as_ref())?;
        Some(printable(name).chars().take(MAX_NAME_CHARS).collect())
    }

    fn acknowledged(&self, at: &str) -> Acknowledged {
        let name = self.name();
        let by = name.unwrap_or_else(|| "a person without a name".to_owned());
        Acknowledged { by, at: at.to_owned(), ago: None }
    }
}

impl PageState {
    /// The same, told at `told_at` by PagerDuty's clock.
    pub(super) fn told_at(mut self, told_at: Option<SystemTime>) -> Self {
        if let Self::Acknowledged(Acknowledged { at, ago, .. }) = &mut self {
            let between = |told_at: SystemTime| {
                let at_ms = u64::try_from(moment(at)?.as_millisecond()).ok()?;
                let at = UNIX_EPOCH.checked_add(Duration::from_millis(at_ms))?;
                Some(told_at.duration_since(at).unwrap_or_default())
            };
            *ago = told_at.and_then(between);
        }
        self
    }
}

/// The moment that a text names; one that names none is before all others.
fn moment(at: &str) -> Option<Timestamp> {
    at.parse().ok()
}

impl IncidentList {
    /// The newest incident: the list is asked for in that order.
    pub(super) fn into_newest(self) -> Option<Incident> {
        self.incidents.into_iter().next()
    }
}

impl Incident {
    /// What the incident alone says; `None` when only its log can tell.
    pub(super) fn state(&self) -> Option<PageState> {
        // A page that adds to an open incident is answered by what came after it.
        let people = self.acknowledgements.iter().filter(|entry| entry.acknowledger.is_person());
        let person = people.max_by_key(|entry| moment(&entry.at));
        match (self.status.as_str(), person) {
            (_, Some(entry)) => Some(PageState::Acknowledged(entry.acknowledger.acknowledged(&entry.at))),
            ("triggered", None) => Some(PageState::Waiting),
            // Acknowledgements vanish when it is resolved or times out.
            _ => None,
        }
    }

    /// The incident that goes on in its place.
    pub(super) fn merged_into(&self) -> Option<&str> {
        let merged = self.resolve_reason.as_ref()?.incident.as_ref()?;
        Some(&merged.id)
    }

    pub(super) fn is_resolved(&self) -> bool {
        self.status == "resolved"
    }
}

impl LogEntries {
    pub(super) fn state(&self, is_resolved: bool) -> PageState {
        let by_people = self.log_entries.iter().filter_map(|entry| {
            let agent = entry.agent.as_ref().filter(|agent| agent.is_person())?;
            entry.kind.starts_with("acknowledge_log_entry").then_some((agent, &entry.created_at))
        });
        match by_people.max_by_key(|(_, at)| moment(at)) {
            Some((agent, at)) => PageState::Acknowledged(agent.acknowledged(at)),
            None if is_resolved => PageState::Resolved,
            None => PageState::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn incident(status: &str, kind: &str) -> Incident {
        let person = json!({"id": "P1", "type": kind, "summary": "Ada"});
        let acknowledgements = json!([{"at": "2026-01-01T00:00:00Z", "acknowledger": person}]);
        serde_json::from_value(json!({"id": "Q1", "status": status, "acknowledgements": acknowledgements}))
            .unwrap()
    }

    fn ada() -> PageState {
        let at = "2026-01-01T00:00:00Z".to_owned();
        PageState::Acknowledged(Acknowledged { by: "Ada".to_owned(), at, ago: None })
    }

    #[test]
    fn only_a_person_acknowledges() {
        assert_eq!(incident("acknowledged", "user_reference").state(), Some(ada()));
        for kind in
            ["service_reference", "events_api_v2_inbound_integration_reference", "integration_reference"]
        {
            assert_eq!(incident("acknowledged", kind).state(), None, "{kind}");
        }
    }

    #[test]
    fn how_long_ago_it_was_is_said_by_the_clock_of_pagerduty() {
        let ago = |told_at: Option<&str>| {
            let told_at = told_at.map(|text| httpdate::parse_http_date(text).unwrap());
            let PageState::Acknowledged(person) = ada().told_at(told_at) else { panic!("Ada has answered") };
            person.ago
        };
        assert_eq!(ago(Some("Thu, 01 Jan 2026 00:00:09 GMT")), Some(Duration::from_secs(9)));
        // A date is cut to the second, so an answer may seem to be earlier than what it tells.
        assert_eq!(ago(Some("Wed, 31 Dec 2025 23:59:59 GMT")), Some(Duration::ZERO));
        assert_eq!(ago(None), None);
    }

    #[test]
    fn of_several_acknowledgements_the_newest_by_a_person_counts() {
        let by = |name: &str, kind: &str, at: &str| {
            json!({"at": at, "created_at": at, "type": "acknowledge_log_entry",
                "acknowledger": {"type": kind, "summary": name}, "agent": {"type": kind, "summary": name}})
        };
        // Offsets are read: Bob came an hour after Ada.
        let all = [
            by("Ada", "user_reference", "2026-01-01T10:00:00Z"),
            by("Bob", "user_reference", "2026-01-01T10:00:00-01:00"),
            by("Eve", "user_reference", "yesterday"),
            by("a service", "service_reference", "2026-01-01T12:00:00Z"),
        ];
        let incident: Incident =
            serde_json::from_value(json!({"id": "Q1", "status": "acknowledged", "acknowledgements": all}))
                .unwrap();
        let log: LogEntries = serde_json::from_value(json!({"log_entries": all})).unwrap();
        for state in [incident.state().unwrap(), log.state(true)] {
            let PageState::Acknowledged(person) = state else { panic!("{state:?}") };
            assert_eq!(person.by, "Bob");
        }
    }

    #[test]
    fn a_name_is_cut_where_it_is_read() {
        let reference = |summary: &str| -> Reference {
            serde_json::from_value(json!({"type": "user", "summary": summary})).unwrap()
        };
        assert_eq!(reference("Ada\nis well").name().unwrap(), "Ada is well");
        assert_eq!(reference(&"ä".repeat(300_000)).name().unwrap().chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn the_log_tells_what_a_resolved_incident_has_forgotten() {
        let log = |kind: &str, agent: &str| -> LogEntries {
            serde_json::from_value(json!({"log_entries": [
                {"type": "trigger_log_entry", "created_at": "x", "agent": {"type": "service_reference"}},
                {"type": kind, "created_at": "2026-01-01T00:00:00Z",
                 "agent": {"type": agent, "summary": "Ada"}},
            ]}))
            .unwrap()
        };
        assert_eq!(log("acknowledge_log_entry", "user_reference").state(true), ada());
        assert_eq!(log("acknowledge_log_entry_reference", "user_reference").state(false), ada());
        assert_eq!(log("resolve_log_entry", "user_reference").state(true), PageState::Resolved);
        assert_eq!(log("acknowledge_log_entry", "service_reference").state(false), PageState::Waiting);
        assert_eq!(incident("triggered", "service_reference").state(), Some(PageState::Waiting));
    }
}
