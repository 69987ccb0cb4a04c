//! Promises of the admin listeners, kept by a real server on sockets of its own.
//!
//! The agent is the other end of its channel: a thread that answers as a test says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, bounded, unbounded};
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::agent::orders::{
    AgentMode, AgentStatus, Order, OrderAnswer, OrderRefused, OrderRequest, RegionStatus,
};
use crate::agent::secret::SecretSource;
use crate::agent::types::{Phase, RecordState, Region, UnixMs};
use crate::api::{Health, Reason};
use crate::bucket::gcra::Rate;
use crate::bucket::hash::KeyHasher;
use crate::bucket::policy::{LimitSpec, Mode, PolicySet, PolicySpec};
use crate::bucket::sharing::Sharing;
use crate::bucket::table::{BucketTable, OnTableFull, TableConfig};
use crate::config::AdminConfig;
use crate::data_plane::ListenAddr;
use crate::hex;
use crate::time::{Clock as _, MonotonicNs, SystemClock};

const TOKEN: &str = "an-admin-token-of-some-length";
const WITNESS: &str = "a-witness-token-of-some-length";
const ALERTMANAGER: &str = "an-alertmanager-token-as-well";
const SIGNED_BY: &str = "what-pagerduty-signs-by";
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent in `us` that watches `us` and `eu`, with nothing under way.
pub(crate) fn agent_status() -> AgentStatus {
    let now = UnixMs(1_700_000_000_000);
    let (eu, us) = (Region("eu".to_owned()), Region("us".to_owned()));
    let region = |region: &Region, standing: &str, detail: &str, probe: &str, ago_ms: u64| RegionStatus {
        region: region.clone(),
        standing: standing.to_owned(),
        detail: detail.to_owned(),
        last_probe: probe.to_owned(),
        probed: Some(UnixMs(now.0 - ago_ms)),
    };
    AgentStatus {
        now,
        mode: AgentMode::Manual,
        dry_run: false,
        frozen: None,
        own_region: us.clone(),
        elected: true,
        phase: Phase::Watching,
        incident: None,
        failed_region: None,
        drill: false,
        since: now,
        deadline: None,
        next: "nothing".to_owned(),
        commands: vec![],
        regions: vec![
            region(&eu, "unreachable", "3 of 3 cannot see it", "connection refused", 2000),
            region(&us, "healthy", "", "200 in 12 ms", 500),
        ],
        record: Some(RecordState {
            name: "rating.example".to_owned(),
            kind: "A".to_owned(),
            ttl_s: 30,
            values: vec!["192.0.2.1".to_owned()],
            proxied: None,
            weights: vec![],
        }),
        record_read: Some(UnixMs(now.0 - 5000)),
        in_service: Some(vec![eu]),
        switches_left: 2,
        cooldown_until: None,
        journal: "17 lines".to_owned(),
        journal_fails: false,
        last_error: None,
    }
}

type Answers = fn(&Order) -> Result<OrderAnswer, OrderRefused>;

/// A server on all its listeners.
struct Server {
    directory: tempfile::TempDir,
    health: Arc<Health>,
    table: Arc<BucketTable>,
    policies: Arc<ArcSwap<PolicySet>>,
    hasher: KeyHasher,
    clock: SystemClock,
    unix: AdminServer,
    tcp: AdminServer,
    reloads: Receiver<ReloadRequest>,
    /// Who asked the agent for what.
    heard: Receiver<(Order, String)>,
}

fn policies() -> PolicySet {
    let spec = PolicySpec {
        name: "p".to_owned(),
        limit: LimitSpec { rate: Rate::new(1, 86_400_000_000_000).unwrap(), burst: 100 },
        overrides: vec![],
        mode: Mode::Enforce,
        sharing: Sharing::default(),
        metadata: BTreeMap::new(),
    };
    PolicySet::new(&[spec], MonotonicNs(0)).unwrap()
}

fn secret(directory: &Path, name: &str, text: &str) -> SecretSource {
    std::fs::write(directory.join(name), text).unwrap();
    SecretSource::File(directory.join(name))
}

impl Server {
    fn start(answers: Answers) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Some(answers))
    }

    /// With an agent that answers so, or with none.
    fn start_at(listen: SocketAddr, answers: Option<Answers>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let policies = Arc::new(ArcSwap::from_pointee(policies()));
        let table = BucketTable::new(TableConfig { lines: 64, on_full: OnTableFull::Deny }).unwrap();
        table.publish_limits(&policies.load());
        let (table, health, hasher) = (Arc::new(table), Arc::new(Health::default()), KeyHasher::new([1; 16]));
        let clock = SystemClock::start();
        let (reload, reloads) = bounded(1);
        let (orders, asked) = bounded::<OrderRequest>(8);
        let (hear, heard) = unbounded();
        if let Some(answers) = answers {
            // Ends with the server, which has the only sender.
            std::thread::spawn(move || {
                for OrderRequest { order, who, reply } in asked {
                    let _ = reply.try_send(answers(&order));
                    let _ = hear.send((order, who));
                }
            });
        }
        let at = directory.path();
        let desk = Arc::new(Desk::new(DeskParts {
            inspector: InspectorParts {
                table: Arc::clone(&table),
                policies: Arc::clone(&policies),
                hasher: hasher.clone(),
                region: "us".to_owned(),
                cluster: None,
                clock,
            },
            health: Arc::clone(&health),
            node: "us-1".to_owned(),
            reloads: reload,
            agent: answers.map(|_| orders),
            config: AdminConfig {
                token: Some(secret(at, "admin", TOKEN)),
                witness_token: Some(secret(at, "witness", WITNESS)),
                alertmanager_token: Some(secret(at, "alertmanager", ALERTMANAGER)),
                pagerduty_secrets: vec![secret(at, "pagerduty", SIGNED_BY)],
                ..AdminConfig::default()
            },
        }));
        let socket = ListenAddr::Unix(at.join("admin.sock"));
        Self {
            unix: AdminServer::start(&socket, Arc::clone(&desk)).unwrap(),
            tcp: AdminServer::start(&ListenAddr::Tcp(listen), desk).unwrap(),
            directory,
            health,
            table,
            policies,
            hasher,
            clock,
            reloads,
            heard,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn charge(&self, cost: u64) -> bool {
        let policies = self.policies.load();
        let policy = policies.find(b"p").unwrap();
        let id = self.hasher.bucket_id(policy, b"k");
        self.table.charge(id, policy.limits_for(b"k"), cost, self.clock.now()).allowed
    }

    fn connect(&self) -> TcpStream {
        let ListenAddr::Tcp(address) = self.tcp.address() else { panic!("no TCP") };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The answer to a request on the Unix socket.
    fn local(&self, line: &str, body: &str) -> Heard {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, &request(line, "", body))
    }

    /// The answer to a request on TCP with such header lines.
    fn remote(&self, line: &str, headers: &str, body: &str) -> Heard {
        exchange(self.connect(), &request(line, headers, body))
    }

    fn raw(&self, bytes: &[u8]) -> Heard {
        exchange(self.connect(), bytes)
    }

    fn heard(&self) -> (Order, String) {
        self.heard.recv_timeout(PATIENCE).unwrap()
    }
}

/// An answer taken apart.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

fn request(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Heard {
    // A server that has heard enough may answer and close before all is sent.
    let _ = stream.write_all(request);
    heard_on(stream)
}

fn heard_on(mut stream: impl Read) -> Heard {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Heard { status, head: head.to_owned(), body: body.to_owned() }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn accepts(order: &Order) -> Result<OrderAnswer, OrderRefused> {
    match order {
        Order::Status => Ok(OrderAnswer::Status(Box::new(agent_status()))),
        Order::Witness(region) if region.0 == "eu" => {
            Ok(OrderAnswer::Seen { region: region.clone(), healthy: false })
        }
        Order::Witness(region) if region.0 == "us" => {
            Ok(OrderAnswer::Seen { region: region.clone(), healthy: true })
        }
        Order::Witness(region) => Err(OrderRefused::NotProbed { region: region.clone() }),
        other => Ok(OrderAnswer::Accepted { what: format!("{} is taken", other.name()) }),
    }
}

fn refuses(_: &Order) -> Result<OrderAnswer, OrderRefused> {
    Err(OrderRefused::NoIncident { order: "ack".to_owned() })
}

#[test]
fn the_socket_asks_for_no_token_and_tcp_for_the_right_one() {
    let server = Server::start(accepts);
    assert_eq!(server.local("GET /v1/status", "").status, 200);
    let none = server.remote("GET /v1/status", "", "");
    assert_eq!(none.status, 401);
    assert!(none.head.contains("\r\nWWW-Authenticate: Bearer realm="), "{}", none.head);
    assert!(!none.body.contains("us-1"), "{}", none.body);
    let began = Instant::now();
    assert_eq!(server.remote("GET /v1/status", &bearer("wrong"), "").status, 401);
    assert!(began.elapsed() >= Duration::from_millis(100), "a wrong token is answered at once");
    assert_eq!(server.remote("GET /v1/status", &bearer(TOKEN), "").status, 200);
    let twice = bearer("wrong") + &bearer(TOKEN);
    assert_eq!(server.remote("GET /v1/status", &twice, "").status, 401, "two tokens are one too many");
}

#[test]
fn ipv6_is_listened_on_as_well() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_none(), "this host has no IPv6");
        eprintln!("skipped: this host has no IPv6");
        return;
    }
    let server = Server::start_at("[::1]:0".parse().unwrap(), Some(accepts));
    assert_eq!(server.remote("POST /v1/failover/ack", &bearer(TOKEN), "").status, 200);
    assert_eq!(server.heard(), (Order::Ack, "::1 by token".to_owned()));
}

#[test]
fn a_drain_changes_health_alone_and_only_an_order_to_drain_is_undone() {
    let server = Server::start(accepts);
    assert_eq!(server.local("POST /v1/drain", "").json()["draining"], true);
    assert!(!server.health.is_good() && server.health.is_draining());
    assert_eq!(server.health.reasons().collect::<Vec<_>>(), [Reason::DrainOrdered]);
    assert_eq!(server.local("GET /v1/status", "").json()["reasons"], json!(["draining by order"]));
    assert_eq!(server.local("POST /v1/undrain", "").status, 200);
    assert!(server.health.is_good());
    // A server that stops is not talked out of it.
    server.health.set(Reason::Draining, true);
    let said = server.local("POST /v1/undrain", "").json();
    assert!(said["what"].as_str().unwrap().contains("other reasons"), "{said}");
    assert!(server.health.is_draining());
}

#[test]
fn a_reset_fills_the_bucket_and_says_what_was_given_back() {
    let server = Server::start(accepts);
    assert!(server.charge(100) && !server.charge(1));
    let reset = server.local("DELETE /v1/buckets/p/k", "").json();
    assert_eq!((&reset["existed"], &reset["peers_keep_theirs"]), (&json!(true), &json!(false)));
    assert!((99.0..=100.0).contains(&reset["given_back"].as_f64().unwrap()), "{reset}");
    assert!(server.charge(100) && !server.charge(1));
    assert_eq!(server.local("GET /v1/buckets/p/k", "").json()["used_here"], 200);
    assert_eq!(server.local("DELETE /v1/buckets/p/nobody", "").json()["existed"], false);
    assert_eq!(server.local("DELETE /v1/buckets/q/k", "").status, 404);
}

#[test]
fn a_reload_answers_with_what_came_of_it() {
    let server = Server::start(accepts);
    let reloads = server.reloads.clone();
    let main = std::thread::spawn(move || {
        let outcomes = [
            Ok(Reloaded { policies: 3, waiting_for_restart: vec!["log".to_owned()] }),
            Err(vec!["line 3: no".to_owned(), "line 4: no".to_owned()]),
        ];
        for outcome in outcomes {
            let ReloadRequest { reply } = reloads.recv_timeout(PATIENCE).unwrap();
            reply.try_send(outcome).unwrap();
        }
    });
    let reloaded = server.local("POST /v1/reload", "").json();
    assert_eq!(reloaded, json!({"policies": 3, "waiting_for_restart": ["log"]}));
    let refused = server.local("POST /v1/reload", "");
    assert_eq!(refused.status, 409);
    assert!(refused.detail().contains("line 3: no; line 4: no"), "{}", refused.body);
    main.join().unwrap();
}

#[test]
fn orders_reach_the_agent_with_who_gave_them() {
    let server = Server::start(accepts);
    let start = json!({"from": "eu", "to": "us", "why": "disk", "who": "ada"}).to_string();
    let taken = server.local("POST /v1/failover/start", &start);
    assert_eq!(taken.json(), json!({"answer": "accepted", "what": "start is taken"}));
    let (order, who) = server.heard();
    let (from, to) = (Region("eu".to_owned()), Some(Region("us".to_owned())));
    assert_eq!(order, Order::Start { from, to, why: "disk".to_owned() });
    let uid = rustix::process::getuid().as_raw();
    assert!(who.starts_with(&format!("uid {uid}")) && who.ends_with("who says to be \"ada\""), "{who}");
    server.remote("POST /v1/failover/thaw", &bearer(TOKEN), "");
    assert_eq!(server.heard(), (Order::Thaw, "127.0.0.1 by token".to_owned()));
    let bad = server.local("POST /v1/failover/start", "{\"from\":");
    assert!(bad.status == 400 && server.heard.is_empty(), "{bad:?}");
    let status = server.local("GET /v1/failover", "").json();
    let found: OrderAnswer = serde_json::from_value(status).unwrap();
    assert_eq!(found, OrderAnswer::Status(Box::new(agent_status())));
}

#[test]
fn the_agents_refusal_arrives_in_its_words() {
    let server = Server::start(refuses);
    let refused = server.local("POST /v1/failover/ack", "");
    assert!(
        refused.status == 409 && refused.detail().starts_with("there is no incident to ack"),
        "{refused:?}"
    );
    assert_eq!(refused.json()["refusal"]["refused"], "no_incident");
}

#[test]
fn without_an_agent_there_are_words_and_a_status() {
    let server = Server::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), None);
    let refused = server.local("POST /v1/failover/ack", "");
    assert!(refused.status == 503 && refused.detail().contains("add an [agent] section"), "{refused:?}");
    assert_eq!(server.local("GET /v1/status", "").json()["agent"], json!({"state": "none"}));
    assert_eq!(server.local("GET /v1/witness/eu", "").status, 504, "no agent is no vote");
}

#[test]
fn a_witness_says_what_it_sees_and_its_token_opens_nothing_else() {
    let server = Server::start(accepts);
    let ask = |region: &str| server.remote(&format!("GET /v1/witness/{region}"), &bearer(WITNESS), "");
    let seen = ask("us");
    assert_eq!((seen.status, seen.json()), (200, json!({"answer": "seen", "region": "us", "healthy": true})));
    assert_eq!((ask("eu").status, ask("mars").status), (503, 404));
    assert_eq!(server.remote("GET /v1/witness/us", &bearer(TOKEN), "").status, 200);
    assert_eq!(server.remote("GET /v1/witness/us", "", "").status, 401);
    assert_eq!(server.remote("GET /v1/status", &bearer(WITNESS), "").status, 401);
    assert_eq!(server.remote("POST /v1/failover/ack", &bearer(ALERTMANAGER), "").status, 401);
}

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

#[test]
fn hostile_bodies_are_refused_before_they_are_read() {
    let server = Server::start(accepts);
    let token = bearer(TOKEN);
    let head =
        |line: &str, more: &str| server.raw(format!("{line} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes());
    let start = "POST /v1/failover/start";
    let chunked = head(start, &format!("{token}Transfer-Encoding: chunked\r\n"));
    assert_eq!(chunked.status, 411);
    let no_length = head(start, &token);
    assert!(no_length.status == 400 && no_length.detail().contains("Content-Length"), "{no_length:?}");
    assert_eq!(head(start, &format!("{token}Content-Length: 8193\r\n")).status, 413);
    assert_eq!(head("POST /webhooks/pagerduty", "Content-Length: 262145\r\n").status, 413);
    assert_eq!(head(start, &format!("{token}Content-Length: 5\r\nContent-Length: 5\r\n")).status, 400);
    assert_eq!(head(start, "Content-Length: 100\r\n").status, 401, "a body is waited for without a token");
    assert_eq!(head(start, &format!("X: {}\r\n", "x".repeat(9000))).status, 431);
    assert_eq!(server.raw(b"\x16\x03\x01\x02\r\n\r\n").status, 400);
    assert!(server.heard.is_empty());
}

#[test]
fn who_waits_for_leave_to_send_a_body_gets_it() {
    let server = Server::start(accepts);
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/failover/freeze HTTP/1.1\r\nHost: x\r\n{}Expect: 100-continue\r\nContent-Length: 12\r\n\r\n",
        bearer(TOKEN)
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{\"why\":\"it\"}").unwrap();
    assert_eq!(heard_on(stream).status, 200);
    assert_eq!(server.heard().0, Order::Freeze { why: "it".to_owned() });
}

#[test]
fn who_is_slow_or_many_is_cut_off_and_the_socket_is_not_theirs_to_fill() {
    let server = Server::start(accepts);
    let mut slow: Vec<TcpStream> = (0..32).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    }
    let refused = (0..50)
        .map(|_| server.remote("GET /v1/status", &bearer(TOKEN), ""))
        .find(|heard| heard.status == 429);
    assert!(refused.is_some(), "a 33rd is listened to");
    assert_eq!(server.local("GET /v1/status", "").status, 200, "TCP fills the Unix socket");
    for stream in slow {
        assert_eq!(heard_on(stream).status, 408);
    }
    assert_eq!(server.remote("GET /v1/status", &bearer(TOKEN), "").status, 200);
}

#[test]
fn an_agent_that_hangs_holds_nobody_for_more_than_its_time() {
    fn hangs(_: &Order) -> Result<OrderAnswer, OrderRefused> {
        std::thread::sleep(Duration::from_secs(4));
        Err(OrderRefused::NotFrozen)
    }
    let server = Server::start(hangs);
    let began = Instant::now();
    let refused = server.local("POST /v1/failover/ack", "");
    assert!(refused.status == 503 && refused.detail().contains("did not answer within 2 s"), "{refused:?}");
    assert!(began.elapsed() < Duration::from_millis(3500));
}

#[test]
fn the_page_is_for_browsers_and_escapes_what_the_agent_says() {
    fn evil(_: &Order) -> Result<OrderAnswer, OrderRefused> {
        let next = "<img src=x onerror=alert(1)>".to_owned();
        Ok(OrderAnswer::Status(Box::new(AgentStatus { next, ..agent_status() })))
    }
    let server = Server::start(evil);
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("me:{TOKEN}"));
    let page = server.remote("GET /", &format!("Authorization: Basic {basic}\r\n"), "");
    assert!(
        page.status == 200 && page.head.contains("text/html") && page.head.contains("default-src 'none'")
    );
    assert!(
        page.body.contains("&lt;img src=x onerror=alert(1)&gt;") && !page.body.contains("<img"),
        "{}",
        page.body
    );
    let order = server.remote("POST /v1/drain", &format!("Authorization: Basic {basic}\r\n"), "");
    assert_eq!(order.status, 401, "what a browser keeps orders something");
}

#[test]
fn the_socket_goes_with_the_server_and_the_port_is_free_again() {
    let server = Server::start(accepts);
    let (path, ListenAddr::Tcp(address)) = (server.socket(), server.tcp.address().clone()) else { panic!() };
    let Server { unix, tcp, .. } = &server;
    assert!(matches!(unix.address(), ListenAddr::Unix(_)) && matches!(tcp.address(), ListenAddr::Tcp(_)));
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(1), "it waits for a question to end");
    assert!(!path.exists() && TcpStream::connect(address).is_err());
}
