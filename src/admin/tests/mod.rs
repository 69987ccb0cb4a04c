//! Promises of the admin listeners, kept by a real server on sockets of its own.
//!
//! The agent is the other end of its channel: a thread that answers as a test says.

mod hostile;
mod listeners;
mod orders;
mod webhooks;

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
    AgentMode, AgentStatus, Command, Order, OrderAnswer, OrderRefused, OrderRequest, RegionStatus,
};
use crate::agent::secret::SecretSource;
use crate::agent::types::{Phase, RecordState, Region, UnixMs};
use crate::bucket::gcra::Rate;
use crate::bucket::hash::KeyHasher;
use crate::bucket::policy::{LimitSpec, Mode, PolicySet, PolicySpec};
use crate::bucket::sharing::Sharing;
use crate::bucket::table::{BucketTable, OnTableFull, TableConfig};
use crate::config::AdminConfig;
use crate::data_plane::ListenAddr;
use crate::health::{Health, Reason};
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
        objections: vec![],
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
        unsent_pages: None,
        unusable_secrets: vec![],
        witnesses: vec![],
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
    PolicySet::new(&[spec], &KeyHasher::new([1; 16]), MonotonicNs(0)).unwrap()
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
        let (table, health) = (Arc::new(table), Arc::new(Health::default()));
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
                region: "us".to_owned(),
                cluster: None,
                clock,
            },
            health: Arc::clone(&health),
            node: "us-1".to_owned(),
            reloads: reload,
            agent: answers.map(|_| orders),
            journal: answers.map(|_| at.join("journal")),
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
        let id = policies.bucket_id(policy, b"k");
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
