//! What PagerDuty and Alertmanager send.

use std::process::{Child, Command, Stdio};

use super::*;

/// An event of PagerDuty that happened just now, and the header that signs it.
fn event(id: &str, by: &str) -> (String, String) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    event_at(id, by, i64::try_from(now.as_secs()).unwrap())
}

fn event_at(id: &str, by: &str, unix_s: i64) -> (String, String) {
    let at = jiff::Timestamp::from_second(unix_s).unwrap().to_string();
    let body = json!({"event": {"id": id, "event_type": "incident.acknowledged", "occurred_at": at,
        "agent": {"summary": "Ada", "type": "user_reference"},
        "data": {"id": "P1", "type": "incident", "incident_key": "openclaw"}}})
    .to_string();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, by.as_bytes()), body.as_bytes());
    let header = format!("X-PagerDuty-Signature: v1={}\r\n", hex::encode(tag.as_ref()));
    (body, header)
}

#[test]
fn a_signed_event_is_heard_once_without_a_token() {
    let server = Server::start(accepts);
    let (body, header) = event("one", SIGNED_BY);
    assert_eq!(server.remote("POST /webhooks/pagerduty", &header, &body).status, 200);
    let (order, who) = server.heard();
    assert!(matches!(order, Order::PagerDuty(event) if event.id == "one"));
    assert_eq!(who, "\"Ada\" through PagerDuty");
    let again = server.remote("POST /webhooks/pagerduty", &header, &body);
    assert!(again.status == 200 && again.body.contains("seen before"), "{again:?}");
    assert!(server.heard.is_empty(), "a replay reaches the agent");
}

#[test]
fn an_event_that_is_forged_old_or_no_event_is_not_heard() {
    let server = Server::start(accepts);
    let post = |header: &str, body: &str| server.remote("POST /webhooks/pagerduty", header, body).status;
    let (body, header) = event("one", "another secret");
    assert_eq!((post(&header, &body), post("", &body)), (401, 401));
    let (_, right) = event("two", SIGNED_BY);
    assert_eq!(post(&right, &body), 401, "a signature of another body");
    let (old, header) = event_at("old", SIGNED_BY, 1_600_000_000);
    assert_eq!(post(&header, &old), 400);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SIGNED_BY.as_bytes()), b"{}");
    let header = format!("X-PagerDuty-Signature: v1={}\r\n", hex::encode(tag.as_ref()));
    assert_eq!(post(&header, "{}"), 400);
    std::fs::remove_file(server.directory.path().join("pagerduty")).unwrap();
    assert_eq!(post(&right, &body), 503);
    assert!(server.heard.is_empty());
}

#[test]
fn an_event_that_the_agent_did_not_take_may_come_again() {
    fn fails(_: &Order) -> Result<OrderAnswer, OrderRefused> {
        Err(OrderRefused::JournalFails { why: "the disk is full".to_owned() })
    }
    let server = Server::start(fails);
    let (body, header) = event("one", SIGNED_BY);
    for _ in 0..2 {
        assert_eq!(server.remote("POST /webhooks/pagerduty", &header, &body).status, 503);
        server.heard();
    }
    let useless = Server::start(refuses);
    let (body, header) = event("two", SIGNED_BY);
    assert_eq!(
        useless.remote("POST /webhooks/pagerduty", &header, &body).status,
        200,
        "to send it again is useless"
    );
}

#[test]
fn alerts_come_with_a_token_of_their_own() {
    let server = Server::start(accepts);
    let body = json!({"version": "4", "status": "firing", "alerts": [
        {"status": "firing", "labels": {"alertname": "RegionDown"}, "fingerprint": "f1"}]})
    .to_string();
    let post = |token: &str| server.remote("POST /webhooks/alertmanager", &bearer(token), &body).status;
    assert_eq!((post(ALERTMANAGER), post(TOKEN), post(WITNESS)), (200, 200, 401));
    let (order, who) = server.heard();
    assert!(matches!(order, Order::Alerts(alerts) if alerts.len() == 1 && alerts[0].name() == "RegionDown"));
    assert_eq!(who, "Alertmanager, 127.0.0.1 by token");
    let bad = server.remote("POST /webhooks/alertmanager", &bearer(ALERTMANAGER), "{\"version\":\"4\"}");
    assert!(bad.status == 400 && bad.detail().contains("missing field `alerts`"), "{bad:?}");
}

#[test]
fn a_flood_of_webhooks_is_told_to_slow_down() {
    let server = Server::start(accepts);
    let body = json!({"version": "4", "alerts": []}).to_string();
    let post = || server.remote("POST /webhooks/alertmanager", &bearer(ALERTMANAGER), &body);
    let slowed = (0..400).map(|_| post()).find(|heard| heard.status == 429).unwrap();
    assert!(slowed.head.contains("\r\nRetry-After: 1"), "{slowed:?}");
}

/// Alertmanager itself, ended when dropped.
struct Alertmanager {
    program: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Alertmanager {
    /// Sends its notifications to `server`; none where it is not installed.
    fn start(server: &Server) -> Option<Self> {
        let ListenAddr::Tcp(to) = server.tcp.address() else { panic!("no TCP") };
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("token"), ALERTMANAGER).unwrap();
        let config = format!(
            "route: {{receiver: openclaw, group_wait: 0s, group_interval: 1s}}\n\
             receivers:\n- name: openclaw\n  webhook_configs:\n  \
             - url: http://{to}/webhooks/alertmanager\n    http_config:\n      authorization:\n        \
             credentials_file: {}\n",
            at("token").display()
        );
        std::fs::write(at("config.yml"), config).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", at("config.yml").display()))
            .arg(format!("--storage.path={}", at("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(program) = program else {
            assert!(
                std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_none(),
                "Alertmanager is not installed"
            );
            eprintln!("skipped: Alertmanager (Debian package prometheus-alertmanager) is not installed");
            return None;
        };
        Some(Self { program, address, _directory: directory })
    }

    /// Raises one alert, or ends it, once it takes requests.
    fn raise(&self, ends_unix_s: i64) {
        let ends = jiff::Timestamp::from_second(ends_unix_s).unwrap().to_string();
        let labels = json!({"alertname": "RegionDown", "region": "eu"});
        let alert =
            json!([{"labels": labels, "annotations": {"summary": "down"}, "endsAt": ends}]).to_string();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(stream) = TcpStream::connect(self.address) {
                let json = "Content-Type: application/json\r\nConnection: close\r\n";
                assert_eq!(exchange(stream, &request("POST /api/v2/alerts", json, &alert)).status, 200);
                return;
            }
            assert!(Instant::now() < until, "Alertmanager does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn alertmanager_itself_is_understood_when_an_alert_fires_and_when_it_is_resolved() {
    let server = Server::start(accepts);
    let Some(alertmanager) = Alertmanager::start(&server) else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now_s = i64::try_from(now.as_secs()).unwrap();
    alertmanager.raise(now_s + 3600);
    let (Order::Alerts(fired), _) = server.heard() else { panic!("no alerts") };
    assert!(fired.len() == 1 && fired[0].firing && fired[0].labels["region"] == "eu", "{fired:?}");
    assert_eq!((fired[0].name(), fired[0].annotations["summary"].as_str()), ("RegionDown", "down"));
    alertmanager.raise(now_s - 1);
    let (Order::Alerts(resolved), _) = server.heard() else { panic!("no alerts") };
    assert!(!resolved[0].firing && resolved[0].fingerprint == fired[0].fingerprint, "{resolved:?}");
}
