//! What other programs say by themselves: PagerDuty, signed, and Alertmanager.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tracing::{error, warn};

use super::answer::Refusal;
use super::gate::Gate;
use super::order::AgentLine;
use super::throttle::Throttle;
use crate::agent::orders::{Alert, Order, OrderAnswer, OrderRefused};
use crate::agent::pager::webhook::{self, ReplayWindow, WebhookError, WebhookEvent};
use crate::agent::secret::{Secret, SecretSource};
use crate::time::{Clock as _, SystemClock};

/// PagerDuty sends an event again for some minutes when it is not answered; one that is older is a replay.
const REPLAY_WINDOW_MS: i64 = 5 * 60 * 1000;
/// Events remembered in that time.
const REMEMBERED: usize = 4096;
/// Webhooks that are believed: so often, and so many at once.
const INTERVAL: Duration = Duration::from_millis(50);
const BURST: u64 = 100;
/// The only version of Alertmanager's format there is.
const ALERTMANAGER_VERSION: &str = "4";
/// A notification of more alerts is told from a flood by nobody.
const MAX_ALERTS: usize = 500;
/// Labels, and annotations, of one alert.
const MAX_LABELS: usize = 64;
const MAX_FINGERPRINT_BYTES: usize = 64;

/// Takes webhooks, each once.
#[derive(Debug)]
pub(super) struct Webhooks {
    pagerduty_secrets: Vec<SecretSource>,
    clock: SystemClock,
    seen: Mutex<ReplayWindow>,
    throttle: Mutex<Throttle>,
}

impl Webhooks {
    pub(super) fn new(pagerduty_secrets: Vec<SecretSource>, clock: SystemClock) -> Self {
        Self {
            pagerduty_secrets,
            clock,
            seen: Mutex::new(ReplayWindow::new(REPLAY_WINDOW_MS, REMEMBERED)),
            throttle: Mutex::new(Throttle::new(INTERVAL, BURST)),
        }
    }

    /// Hands an event on if it is signed and new. One that was seen before is answered as if it were taken:
    /// its sender only missed the answer.
    ///
    /// # Errors
    /// When it is not believed, or the agent does not take it; then it may be sent again.
    pub(super) fn pagerduty(
        &self,
        body: &[u8],
        signature: Option<&str>,
        now_ms: i64,
        gate: &Gate,
        agent: &AgentLine,
    ) -> Result<OrderAnswer, Refusal> {
        let secrets = self.secrets()?;
        if webhook::verify_signature(&secrets, signature.unwrap_or_default(), body).is_err() {
            warn!("{}", WebhookError::Signature);
            return Err(gate.hold_back(Refusal::BadSignature));
        }
        self.take_turn()?;
        let event = webhook::read_event(body).map_err(refused)?;
        match self.seen.lock().unwrap_or_else(PoisonError::into_inner).accept(now_ms, &event) {
            Ok(()) => {}
            Err(WebhookError::Seen) => {
                return Ok(OrderAnswer::Accepted { what: "seen before; nothing is done twice".to_owned() });
            }
            Err(error) => return Err(refused(error)),
        }
        let (who, id) = (pagerduty_who(&event), event.id.clone());
        // When it could not be used and is sent again, it must not be taken for a replay.
        delivered(agent.ask_as(Order::PagerDuty(event), who))
            .inspect_err(|_| self.seen.lock().unwrap_or_else(PoisonError::into_inner).forget(&id))
    }

    /// Hands alerts on.
    ///
    /// # Errors
    /// When the body is none of Alertmanager's, or the agent does not take it.
    pub(super) fn alertmanager(
        &self,
        body: &[u8],
        who: String,
        agent: &AgentLine,
    ) -> Result<OrderAnswer, Refusal> {
        self.take_turn()?;
        delivered(agent.ask_as(Order::Alerts(read_alerts(body)?), who))
    }

    fn take_turn(&self) -> Result<(), Refusal> {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.take(self.clock.now()).map_err(|_| Refusal::TooFast)
    }

    fn secrets(&self) -> Result<Vec<Secret>, Refusal> {
        if self.pagerduty_secrets.is_empty() {
            return Err(Refusal::NotConfigured(
                "set [admin] pagerduty_secret_files for PagerDuty's webhooks",
            ));
        }
        let read = self.pagerduty_secrets.iter().filter_map(|source| {
            source
                .read()
                .map_err(|error| error!("{error}. Until then webhooks signed by it are refused"))
                .ok()
        });
        let secrets: Vec<Secret> = read.collect();
        if secrets.is_empty() { Err(Refusal::NoSecret) } else { Ok(secrets) }
    }
}

/// What the agent heard and has no use for is delivered all the same: to send it again changes nothing.
fn delivered(answer: Result<OrderAnswer, Refusal>) -> Result<OrderAnswer, Refusal> {
    match answer {
        Err(Refusal::Order(refused)) if !matches!(refused, OrderRefused::JournalFails { .. }) => {
            Ok(OrderAnswer::Accepted { what: format!("heard; {refused}") })
        }
        answer => answer,
    }
}

/// What the sender hears; why, the log says.
fn refused(error: WebhookError) -> Refusal {
    warn!("{error}");
    match error {
        WebhookError::Flooded => Refusal::TooFast,
        WebhookError::Signature => Refusal::BadSignature,
        WebhookError::Form | WebhookError::Stale { .. } | WebhookError::Seen => {
            Refusal::BadBody("this event is not taken".to_owned())
        }
    }
}

fn pagerduty_who(event: &WebhookEvent) -> String {
    match &event.by {
        Some(by) => format!("{by:?} through PagerDuty"),
        None => "PagerDuty".to_owned(),
    }
}

/// One notification of Alertmanager, as far as it is used. Fields that are added later are passed over.
#[derive(Deserialize)]
struct Notification {
    version: String,
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
struct RawAlert {
    status: AlertStatus,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    fingerprint: String,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum AlertStatus {
    Firing,
    Resolved,
}

/// The alerts of a notification in Alertmanager's format of version 4. Pure.
fn read_alerts(body: &[u8]) -> Result<Vec<Alert>, Refusal> {
    let notification: Notification = serde_json::from_slice(body).map_err(|error| {
        Refusal::BadBody(format!("this is no notification of Alertmanager (webhook_configs): {error}"))
    })?;
    if notification.version != ALERTMANAGER_VERSION {
        let version = notification.version;
        return Err(Refusal::BadBody(format!("the notification has version {version:?}, known is \"4\"")));
    }
    if notification.alerts.len() > MAX_ALERTS {
        let what = format!("more than {MAX_ALERTS} alerts at once; set max_alerts in webhook_configs");
        return Err(Refusal::BadBody(what));
    }
    notification.alerts.into_iter().map(checked).collect()
}

fn checked(alert: RawAlert) -> Result<Alert, Refusal> {
    let RawAlert { status, labels, annotations, fingerprint } = alert;
    if fingerprint.is_empty() || fingerprint.len() > MAX_FINGERPRINT_BYTES {
        return Err(Refusal::BadBody(format!("a fingerprint has 1 to {MAX_FINGERPRINT_BYTES} bytes")));
    }
    if labels.len() > MAX_LABELS || annotations.len() > MAX_LABELS {
        return Err(Refusal::BadBody(format!("an alert has more than {MAX_LABELS} labels or annotations")));
    }
    Ok(Alert { fingerprint, firing: status == AlertStatus::Firing, labels, annotations })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// As Alertmanager sends it.
    fn notification() -> Value {
        json!({
            "receiver": "openclaw", "status": "firing", "version": "4", "truncatedAlerts": 0,
            "groupKey": "{}:{alertname=\"RegionDown\"}", "externalURL": "http://alertmanager:9093",
            "groupLabels": {"alertname": "RegionDown"}, "commonLabels": {"alertname": "RegionDown"},
            "commonAnnotations": {},
            "alerts": [
                {"status": "firing", "labels": {"alertname": "RegionDown", "region": "eu"},
                 "annotations": {"summary": "eu is down"}, "startsAt": "2026-02-06T13:08:45.828Z",
                 "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus/graph",
                 "fingerprint": "1a30ba71cca2921f"},
                {"status": "resolved", "labels": {}, "annotations": {}, "startsAt": "2026-02-06T13:08:45Z",
                 "endsAt": "2026-02-06T13:09:45Z", "generatorURL": "", "fingerprint": "00"},
            ],
        })
    }

    fn read(value: &Value) -> Result<Vec<Alert>, Refusal> {
        read_alerts(value.to_string().as_bytes())
    }

    #[test]
    fn a_notification_is_read_as_alertmanager_documents_it() {
        let alerts = read(&notification()).unwrap();
        assert_eq!((alerts.len(), alerts[0].firing, alerts[1].firing), (2, true, false));
        assert_eq!((alerts[0].name(), alerts[0].labels["region"].as_str()), ("RegionDown", "eu"));
        assert_eq!(alerts[0].annotations["summary"], "eu is down");
        assert_eq!((alerts[0].fingerprint.as_str(), alerts[1].name()), ("1a30ba71cca2921f", ""));
    }

    #[test]
    fn what_is_no_notification_is_refused_in_words() {
        let with = |pointer: &str, value: Value| {
            let mut notification = notification();
            *notification.pointer_mut(pointer).unwrap() = value;
            notification
        };
        let alert = notification()["alerts"][0].clone();
        let many: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), json!(""))).collect();
        for (value, words) in [
            (with("/version", json!("5")), "version \"5\""),
            (with("/alerts", json!({})), "no notification"),
            (with("/alerts/0/status", json!("pending")), "no notification"),
            (with("/alerts/0/labels", json!({"a": 1})), "no notification"),
            (with("/alerts/0/labels", Value::Object(many)), "64 labels"),
            (with("/alerts/0/fingerprint", json!("")), "fingerprint"),
            (with("/alerts/0/fingerprint", json!("f".repeat(65))), "fingerprint"),
            (with("/alerts", json!(vec![alert; 501])), "max_alerts"),
            (json!([]), "no notification"),
        ] {
            let refused = read(&value).unwrap_err().to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
        assert!(read_alerts(b"\xff").is_err() && read_alerts(b"").is_err());
        assert_eq!(read(&with("/alerts", json!([]))), Ok(vec![]));
    }
}
