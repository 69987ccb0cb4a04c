//! PagerDuty's V3 webhooks: is it PagerDuty, is it new, what does it say. Bytes and time come in.

use std::collections::VecDeque;

use ring::hmac;
use serde::Deserialize;

use super::acknowledgement::Reference;
use crate::agent::secret::Secret;
use crate::hex;

/// The header that holds the signatures.
pub const SIGNATURE_HEADER: &str = "X-PagerDuty-Signature";
/// Larger bodies are not looked at.
pub const MAX_BODY_BYTES: usize = 256 << 10;
/// PagerDuty sends one signature for each secret in rotation.
const MAX_SIGNATURES: usize = 8;
/// Event ids are ULIDs.
const MAX_ID_BYTES: usize = 64;

/// Why a webhook is not believed. The text is for the log; the sender gets a bare 4xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No signature of ours is among those sent.
    #[error(
        "no signature of the PagerDuty webhook is right. Copy the secret of the webhook subscription again; \
         if nobody changed it, somebody else is sending"
    )]
    Signature,
    /// The body is too large or is no event.
    #[error("the PagerDuty webhook is no V3 event. Make the subscription one of version 3")]
    Form,
    /// It happened too long ago, or in the future.
    #[error(
        "the PagerDuty webhook is {age_s} s old, beyond the window. Set the clock of this host by NTP; if it \
         is right, the event was recorded and replayed"
    )]
    Stale {
        /// Its age; negative when it is from the future.
        age_s: i64,
    },
    /// It was seen before. PagerDuty repeats what was not answered in time; answer it with 200.
    #[error("the PagerDuty webhook was seen before; nothing is done twice")]
    Seen,
    /// More events came in the window than are remembered.
    #[error(
        "too many PagerDuty webhooks in a short time to tell repeated ones. Acknowledge by `openclaw-rating \
         failover ack`, and subscribe to fewer event types"
    )]
    Flooded,
}

/// What happened to an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    /// One for each event.
    pub id: String,
    /// `incident.acknowledged`, `incident.resolved`, ….
    pub kind: String,
    /// When, in milliseconds since 1970.
    pub occurred_ms: i64,
    /// PagerDuty's id of the incident.
    pub incident_id: Option<String>,
    /// The dedup key by which it was opened.
    pub incident_key: Option<String>,
    /// The person who did it; none when an integration did.
    pub by: Option<String>,
}

/// Whether `header` (the value of [`SIGNATURE_HEADER`]) signs `body` by one of `secrets`.
///
/// HMAC-SHA256 over the bytes as they came, compared in constant time.
pub fn verify_signature(secrets: &[Secret], header: &str, body: &[u8]) -> Result<(), WebhookError> {
    let sent = header.split(',').take(MAX_SIGNATURES).filter_map(|part| part.trim().strip_prefix("v1="));
    let sent: Vec<[u8; 32]> = sent.filter_map(hex::decode).collect();
    let mut is_right = false;
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        for signature in &sent {
            is_right |= hmac::verify(&key, body, signature).is_ok();
        }
    }
    if is_right { Ok(()) } else { Err(WebhookError::Signature) }
}

/// Reads the event out of a body whose signature is right.
pub fn read_event(body: &[u8]) -> Result<WebhookEvent, WebhookError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(WebhookError::Form);
    }
    let Body { event } = serde_json::from_slice(body).map_err(|_| WebhookError::Form)?;
    let occurred: jiff::Timestamp = event.occurred_at.parse().map_err(|_| WebhookError::Form)?;
    if event.id.is_empty() || event.id.len() > MAX_ID_BYTES {
        return Err(WebhookError::Form);
    }
    let is_incident = event.data.kind.as_deref().is_none_or(|kind| kind.starts_with("incident"));
    let Data { id, incident_key, .. } = event.data;
    Ok(WebhookEvent {
        id: event.id,
        kind: event.event_type,
        occurred_ms: occurred.as_millisecond(),
        incident_id: id.filter(|_| is_incident),
        incident_key: incident_key.filter(|_| is_incident),
        by: event.agent.filter(Reference::is_person).and_then(|person| person.name()),
    })
}

/// Lets each event pass once, and none that is old. The signature has no time in it, so the time of the
/// event itself counts.
#[derive(Debug)]
pub struct ReplayWindow {
    window_ms: i64,
    capacity: usize,
    /// Ids with their times, in the order in which they came.
    seen: VecDeque<(i64, String)>,
}

impl ReplayWindow {
    /// Events at most `window_ms` old or early, of which at most `capacity` are remembered.
    #[must_use]
    pub const fn new(window_ms: i64, capacity: usize) -> Self {
        Self { window_ms, capacity, seen: VecDeque::new() }
    }

    /// Takes `event` at `now_ms`, or says why not.
    pub fn accept(&mut self, now_ms: i64, event: &WebhookEvent) -> Result<(), WebhookError> {
        let age_ms = now_ms.saturating_sub(event.occurred_ms);
        if age_ms.saturating_abs() > self.window_ms {
            return Err(WebhookError::Stale { age_s: age_ms / 1000 });
        }
        let window_ms = self.window_ms;
        self.seen.retain(|(at, _)| now_ms.saturating_sub(*at) <= window_ms);
        if self.seen.iter().any(|(_, id)| *id == event.id) {
            return Err(WebhookError::Seen);
        }
        // A flood of signed events must not make room for a replay: what does not fit is not taken.
        if self.seen.len() >= self.capacity {
            return Err(WebhookError::Flooded);
        }
        self.seen.push_back((event.occurred_ms, event.id.clone()));
        Ok(())
    }

    /// Lets an event that was taken and could not be used pass once more.
    pub fn forget(&mut self, id: &str) {
        self.seen.retain(|(_, seen)| seen != id);
    }
}

#[derive(Deserialize)]
struct Body {
    event: RawEvent,
}

#[derive(Deserialize)]
struct RawEvent {
    id: String,
    event_type: String,
    occurred_at: String,
    agent: Option<Reference>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    incident_key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BODY: &[u8] = b"{\"event\":{}}";

    fn signature(secret: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
        hex::encode(tag.as_ref())
    }

    fn event(id: &str, occurred_ms: i64) -> WebhookEvent {
        let (kind, id) = ("incident.acknowledged".to_owned(), id.to_owned());
        WebhookEvent { id, kind, occurred_ms, incident_id: None, incident_key: None, by: None }
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let (by_old, by_new) = (signature("old", BODY), signature("new", BODY));
        let both = format!("v1={by_old},v1={by_new}");
        assert_eq!(verify_signature(std::slice::from_ref(&new), &both, BODY), Ok(()));
        assert_eq!(verify_signature(&[old.clone(), new.clone()], &format!(" v1={by_new}"), BODY), Ok(()));
        for header in [
            String::new(),
            "v1=".to_owned(),
            by_new.clone(),
            format!("v2={by_new}"),
            format!("v1={}", &by_new[..62]),
            format!("v1={by_new}00"),
            format!("v1={}", "g".repeat(64)),
            format!("v1={by_old}"),
        ] {
            assert_eq!(
                verify_signature(std::slice::from_ref(&new), &header, BODY),
                Err(WebhookError::Signature),
                "{header}"
            );
        }
        assert_eq!(verify_signature(&[], &both, BODY), Err(WebhookError::Signature));
        assert_eq!(verify_signature(&[new], &both, b"{\"event\":{} }"), Err(WebhookError::Signature));
    }

    #[test]
    fn the_signature_is_hmac_sha256_as_published() {
        // RFC 4231, test case 2.
        let header = "v1=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(verify_signature(&[Secret::new("Jefe")], header, b"what do ya want for nothing?"), Ok(()));
    }

    #[test]
    fn an_event_is_read_as_pagerduty_documents_it() {
        let body = json!({"event": {
            "id": "01BWXG2Z3HGTZJ", "event_type": "incident.acknowledged", "resource_type": "incident",
            "occurred_at": "2020-10-02T18:45:22.169Z",
            "agent": {"html_url": "https://x", "id": "PLH1HKV", "self": "https://y",
                      "summary": "Tenex Engineer", "type": "user_reference"},
            "client": null,
            "data": {"id": "PGR0VU2", "type": "incident", "status": "acknowledged",
                     "incident_key": "incident-1"},
        }});
        let read = read_event(body.to_string().as_bytes()).unwrap();
        assert_eq!((read.kind.as_str(), read.occurred_ms), ("incident.acknowledged", 1_601_664_322_169));
        assert_eq!(read.incident_key.as_deref(), Some("incident-1"));
        assert_eq!(
            (read.incident_id.as_deref(), read.by.as_deref()),
            (Some("PGR0VU2"), Some("Tenex Engineer"))
        );
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let at = "2020-10-02T18:45:22Z";
        let long_id =
            json!({"event": {"id": "x".repeat(65), "event_type": "a", "occurred_at": at, "data": {}}});
        let no_time =
            json!({"event": {"id": "x", "event_type": "a", "occurred_at": "yesterday", "data": {}}});
        for body in [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            long_id.to_string(),
            no_time.to_string(),
            " ".repeat(MAX_BODY_BYTES + 1),
        ] {
            assert_eq!(read_event(body.as_bytes()), Err(WebhookError::Form));
        }
    }

    #[test]
    fn an_event_passes_once_and_only_while_it_is_fresh() {
        let mut window = ReplayWindow::new(300_000, 2);
        assert_eq!(window.accept(1_000_000, &event("a", 999_000)), Ok(()));
        assert_eq!(window.accept(1_000_500, &event("a", 999_000)), Err(WebhookError::Seen));
        assert_eq!(window.accept(1_000_000, &event("b", 699_999)), Err(WebhookError::Stale { age_s: 300 }));
        assert_eq!(
            window.accept(1_000_000, &event("b", 1_300_001)),
            Err(WebhookError::Stale { age_s: -300 })
        );
        // An id is only forgotten when its time alone refuses it.
        assert_eq!(window.accept(1_299_000, &event("a", 999_000)), Err(WebhookError::Seen));
        assert_eq!(window.accept(1_299_001, &event("a", 999_000)), Err(WebhookError::Stale { age_s: 300 }));
    }

    #[test]
    fn an_event_that_could_not_be_used_passes_when_it_is_sent_again() {
        let mut window = ReplayWindow::new(300_000, 2);
        for id in ["a", "b"] {
            window.accept(0, &event(id, 0)).unwrap();
        }
        window.forget("a");
        assert_eq!(window.accept(1, &event("a", 0)), Ok(()));
        assert_eq!(window.accept(1, &event("b", 0)), Err(WebhookError::Seen));
    }

    #[test]
    fn a_flood_takes_no_room_from_what_was_seen() {
        let mut window = ReplayWindow::new(300_000, 2);
        for id in ["a", "b"] {
            window.accept(0, &event(id, 0)).unwrap();
        }
        assert_eq!(window.accept(0, &event("c", 0)), Err(WebhookError::Flooded));
        assert_eq!(window.accept(0, &event("a", 0)), Err(WebhookError::Seen));
        assert_eq!(window.seen.len(), 2);
    }
}
