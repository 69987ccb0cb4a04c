//! Events as the Events API v2 takes them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The API cuts a longer summary; so does this, at a character.
const MAX_SUMMARY_CHARS: usize = 1024;
/// Longer keys are refused.
pub const MAX_DEDUP_KEY_CHARS: usize = 255;

/// How bad it is, in PagerDuty's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wakes people.
    Critical,
    /// Something fails.
    Error,
    /// Something will fail.
    Warning,
    /// To be known.
    Info,
}

/// What is asked of the incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    /// Opens it, or adds to it while it is open.
    Trigger {
        /// One line that is read at night.
        summary: String,
        /// The node or region that says so.
        source: String,
        /// How bad it is.
        severity: Severity,
        /// Named facts: level, state, region.
        details: Map<String, Value>,
        /// Graphs and the runbook.
        links: Vec<Link>,
    },
    /// Someone has taken it on.
    Acknowledge,
    /// It is over.
    Resolve,
}

/// A link that is shown with an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where it leads.
    pub href: String,
    /// What it is.
    pub text: String,
}

/// An event of one incident. Sending it twice is harmless: the key says which incident it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// One for all events of an incident; at most 255 characters.
    pub dedup_key: String,
    /// What is asked.
    pub action: EventAction,
    /// When it happened, in milliseconds since 1970; it may be sent later.
    pub at_ms: i64,
}

impl Event {
    /// The body to send.
    #[must_use]
    pub fn body(&self, routing_key: &str) -> Value {
        let name = match self.action {
            EventAction::Trigger { .. } => "trigger",
            EventAction::Acknowledge => "acknowledge",
            EventAction::Resolve => "resolve",
        };
        let mut body = json!({
            "routing_key": routing_key,
            "event_action": name,
            "dedup_key": self.dedup_key,
        });
        if let EventAction::Trigger { summary, source, severity, details, links } = &self.action {
            let at = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            body["payload"] = json!({
                "summary": summary.chars().take(MAX_SUMMARY_CHARS).collect::<String>(),
                "source": source,
                "severity": severity,
                "timestamp": at.to_string(),
                "component": "openclaw-rating",
                "class": "failover",
                "custom_details": details,
            });
            body["links"] = json!(links);
            body["client"] = json!("openclaw-rating");
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(summary: &str) -> Event {
        let details = json!({"level": 0.04}).as_object().cloned().unwrap();
        let links = vec![Link { href: "https://graphs".to_owned(), text: "Graphs".to_owned() }];
        let (summary, source, severity) = (summary.to_owned(), "eu-1".to_owned(), Severity::Critical);
        let action = EventAction::Trigger { summary, source, severity, details, links };
        Event { dedup_key: "incident-1".to_owned(), action, at_ms: 1_700_000_000_123 }
    }

    #[test]
    fn a_trigger_has_what_the_api_asks_for() {
        let body = trigger("eu is dark").body("key");
        let expected = json!({
            "routing_key": "key", "event_action": "trigger", "dedup_key": "incident-1",
            "payload": {
                "summary": "eu is dark", "source": "eu-1", "severity": "critical",
                "timestamp": "2023-11-14T22:13:20.123Z", "component": "openclaw-rating", "class": "failover",
                "custom_details": {"level": 0.04},
            },
            "links": [{"href": "https://graphs", "text": "Graphs"}],
            "client": "openclaw-rating",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_summary_is_cut_at_a_character_and_other_events_have_none() {
        let body = trigger(&"ü".repeat(2000)).body("key");
        assert_eq!(body["payload"]["summary"].as_str().unwrap().chars().count(), MAX_SUMMARY_CHARS);
        let resolve = Event { action: EventAction::Resolve, ..trigger("") }.body("key");
        assert_eq!(
            resolve,
            json!({"routing_key": "key", "event_action": "resolve", "dedup_key": "incident-1"})
        );
    }

    #[test]
    fn an_event_survives_the_spool() {
        let event = trigger("x");
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        assert!(!text.contains("routing_key"));
    }
}
