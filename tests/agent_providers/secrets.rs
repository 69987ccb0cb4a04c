//! Nothing secret is logged, whatever the level.

use std::io;
use std::sync::{Mutex, MutexGuard};

use openclaw_rating::agent::notify::{Notifier, Telegram, Update};
use openclaw_rating::agent::traffic::{AwsKeys, PublicView, Route53, TrafficProvider};
use openclaw_rating::agent::types::IncidentId;

use crate::common::fake::{Fake, json as answer, status};
use crate::common::support::{client, secret};

/// All that this process logs.
struct Log(Mutex<Vec<u8>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

struct Writer(MutexGuard<'static, Vec<u8>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_text() -> String {
    String::from_utf8_lossy(&LOG.0.lock().unwrap()).into_owned()
}

#[test]
fn the_log_has_no_secret_even_at_its_most_talkative() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_writer(|| Writer(LOG.0.lock().unwrap()))
        .init();
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(|_| answer(200, &serde_json::json!({"ok": true, "result": {"message_id": 1}})));
    let token = secret(&directory, "token", "110201543:AAHtopsecret");
    let mut telegram = Telegram::new(client(), fake.base(), token, "1".to_owned());
    let (incident, headline) = (IncidentId("i".to_owned()), "dark".to_owned());
    telegram.tell(&Update { incident, headline, steps: vec![], is_last: false }).unwrap();

    fake.inject([status(403)]);
    let keys = AwsKeys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: secret(&directory, "key", "key-topsecret"),
        session_token: Some(secret(&directory, "session", "session-topsecret")),
    };
    let mut route53 = Route53 {
        client: client(),
        base: fake.base(),
        keys,
        zone_id: "Z1".to_owned(),
        name: "www.example.com".to_owned(),
        kind: "A".to_owned(),
        set_identifiers: vec![],
        view: PublicView { servers: vec![], timeout: std::time::Duration::from_secs(1) },
        pending_change: None,
    };
    let error = route53.read().unwrap_err();

    let everything = format!("{} {telegram:?} {route53:?} {error} {error:?}", log_text());
    assert!(log_text().contains("ureq"), "nothing is logged, so nothing is tested");
    assert!(!everything.contains("topsecret"), "{everything}");
}
