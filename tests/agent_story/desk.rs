//! What other programs send to the admin listener of a running server: PagerDuty, signed, and Alertmanager.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use serde_json::{Value, json};

use crate::common::ports::free_port;
use crate::common::program::PATIENCE;
use crate::common::story::Story;

const SIGNED_BY: &str = "the secret of the webhook subscription";
const ALERTMANAGER_TOKEN: &str = "the-alertmanager-token";

/// An admin listener on TCP.
pub(crate) struct Desk {
    port: u16,
    /// `[admin]`, for the node that is to have it.
    pub(crate) section: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A V3 webhook of PagerDuty.
pub(crate) struct Webhook {
    body: String,
    signature: String,
}

impl Webhook {
    /// A person acknowledged the incident of `key` just now.
    pub(crate) fn acknowledged(id: &str, key: &str) -> Self {
        Self::at(Timestamp::now(), id, key)
    }

    /// The same so many minutes ago.
    pub(crate) fn of_the_past(minutes: i64, id: &str, key: &str) -> Self {
        Self::at(Timestamp::now() - SignedDuration::from_mins(minutes), id, key)
    }

    fn at(at: Timestamp, id: &str, key: &str) -> Self {
        let body = json!({"event": {
            "id": id, "event_type": "incident.acknowledged", "resource_type": "incident",
            "occurred_at": at.to_string(),
            "agent": {"id": "PXPGF42", "type": "user_reference", "summary": "Ada",
                "self": "https://api.pagerduty.com/users/PXPGF42", "html_url": "https://x"},
            "client": null,
            "data": {"id": "Q1", "type": "incident", "incident_key": key, "status": "acknowledged"}}})
        .to_string();
        let signature = signature_of(&body, SIGNED_BY);
        Self { body, signature }
    }

    /// Signed by who does not know the secret.
    pub(crate) fn forged(self) -> Self {
        let signature = signature_of(&self.body, "another secret");
        Self { signature, ..self }
    }

    /// With the signature of `other`.
    pub(crate) fn signed_as(self, other: &Self) -> Self {
        Self { signature: other.signature.clone(), ..self }
    }
}

fn signature_of(body: &str, secret: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    tag.as_ref().iter().fold("v1=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Desk {
    pub(crate) fn new(story: &Story) -> Self {
        let (port, secrets) = (free_port(), story.secrets.path());
        for (name, text) in
            [("admin", "the-token-of-admins"), ("alerts", ALERTMANAGER_TOKEN), ("webhooks", SIGNED_BY)]
        {
            std::fs::write(secrets.join(name), text).unwrap();
        }
        let secrets = secrets.display();
        let section = format!(
            r#"
            [admin]
            listen = "127.0.0.1:{port}"
            token_file = "{secrets}/admin"
            alertmanager_token_file = "{secrets}/alerts"
            pagerduty_secret_files = ["{secrets}/webhooks"]
            "#
        );
        Self { port, section }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn webhook(&self, webhook: &Webhook) -> Answer {
        let signature = format!("X-PagerDuty-Signature: {}\r\n", webhook.signature);
        self.post("/webhooks/pagerduty", &signature, &webhook.body)
    }

    /// A notification of Alertmanager about one alert.
    pub(crate) fn alert(&self, alert: &Alert<'_>) -> Answer {
        self.alert_by(ALERTMANAGER_TOKEN, alert)
    }

    pub(crate) fn alert_by(&self, token: &str, alert: &Alert<'_>) -> Answer {
        let authorization = format!("Authorization: Bearer {token}\r\n");
        self.post("/webhooks/alertmanager", &authorization, &alert.notification().to_string())
    }

    fn post(&self, path: &str, header: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{header}\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, body: answer.split_once("\r\n\r\n").unwrap().1.to_owned() }
    }
}

/// One alert.
#[derive(Clone, Copy)]
pub(crate) struct Alert<'a> {
    pub(crate) fingerprint: &'a str,
    pub(crate) status: &'a str,
    pub(crate) summary: &'a str,
}

pub(crate) const ALERT_NAME: &str = "OpenClawPeerAbsent";

impl Alert<'_> {
    fn notification(self) -> Value {
        let Self { fingerprint, status, summary } = self;
        let labels = json!({"alertname": ALERT_NAME, "severity": "critical", "region": "us"});
        json!({
            "receiver": "agents", "status": status, "version": "4", "truncatedAlerts": 0,
            "groupKey": format!("{{}}:{{alertname=\"{ALERT_NAME}\"}}"),
            "externalURL": "http://alertmanager:9093",
            "groupLabels": {"alertname": ALERT_NAME}, "commonLabels": labels, "commonAnnotations": {},
            "alerts": [{"status": status, "labels": labels, "annotations": {"summary": summary},
                "startsAt": "2026-02-06T13:08:45.828Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus/graph", "fingerprint": fingerprint}],
        })
    }
}
