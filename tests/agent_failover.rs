//! Promises of the agent as a whole: two real servers, real DNS, a stand-in for the pager.
#![allow(clippy::unwrap_used)]

#[path = "agent_failover/dns.rs"]
mod dns;
#[allow(dead_code)]
#[path = "agent_providers/fake.rs"]
mod fake;
#[allow(dead_code)]
#[path = "agent_failover/pager.rs"]
mod pager;
mod program;
#[allow(dead_code)]
#[path = "agent_providers/support.rs"]
mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dns::{Dns, KEY, NAME, free_port};
use pager::Pager;
use program::{Program, promtool_finds_nothing};
use rustix::process::Signal;
use support::until;

const EU: &str = "127.0.1.1";
const US: &str = "127.0.1.2";
const PAGE_KEY: &str = "openclaw-rating:rates:failover:eu";

/// One story at a time: two cores run all of it.
static ONE: Mutex<()> = Mutex::new(());

struct Story {
    dns: Dns,
    pager: Pager,
    secrets: tempfile::TempDir,
    port: u16,
    link_ports: [u16; 2],
    _one: MutexGuard<'static, ()>,
}

impl Story {
    fn begin() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dns = Dns::start("127.0.0.1", EU)?;
        let secrets = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cluster", "ab".repeat(32).as_str()),
            ("tsig", KEY),
            ("routing", "the-routing-key"),
            ("rest", "the-rest-key"),
        ] {
            fs::write(secrets.path().join(name), text).unwrap();
        }
        let link_ports = [free_port(), free_port()];
        Some(Self { dns, pager: Pager::start(), secrets, port: free_port(), link_ports, _one: one })
    }

    fn config(&self, id: usize, agent: &str) -> String {
        let (own, other) = (id - 1, 2 - id);
        let (names, secrets) = (["eu", "us"], self.secrets.path().display());
        let Self { port, link_ports, .. } = self;
        let (dns, pager) = (self.dns.port, self.pager.fake.address);
        let traffic = self.dns.traffic_section(&self.secrets.path().join("tsig"));
        format!(
            r#"
            [server]
            threads = 1
            [table]
            capacity = 1000
            [[policy]]
            name = "api"
            rate = "1000/s"
            burst = 2000
            [node]
            id = {id}
            name = "node-{id}"
            region = "{own_name}"
            [state]
            directory = "state"
            [cluster]
            secret_file = "{secrets}/cluster"
            listen = "127.0.0.1:{own_port}"
            [[peer]]
            id = {other_id}
            region = "{other_name}"
            address = "127.0.0.1:{other_port}"
            [agent]
            cluster = "rates"
            {agent}
            [[agent.region]]
            name = "eu"
            values = ["{EU}"]
            health = ["http://{EU}:{port}/health"]
            [[agent.region]]
            name = "us"
            values = ["{US}"]
            health = ["http://{US}:{port}/health"]
            [agent.public]
            url = "http://{NAME}:{port}/health"
            resolvers = ["127.0.0.1:{dns}"]
            [agent.validation]
            policy = "api"
            rate = 20
            duration = "500ms"
            max_p99 = "2s"
            {traffic}
            [agent.pagerduty]
            events_api = "http://{pager}"
            rest_api = "http://{pager}"
            routing_key_file = "{secrets}/routing"
            rest_key_file = "{secrets}/rest"
            [[agent.link]]
            text = "Runbook"
            href = "https://wiki.example.com/rates"
            "#,
            own_name = names[own],
            other_name = names[other],
            own_port = link_ports[own],
            other_port = link_ports[other],
            other_id = other + 1,
        )
    }

    fn start_in(&self, directory: tempfile::TempDir, id: usize, agent: &str) -> Program {
        let listen = format!("server.listen=\"{}:{}\"", [EU, US][id - 1], self.port);
        Program::launch(directory, Some(&self.config(id, agent)), &["--set", &listen])
    }

    /// Both regions, once each sees the other.
    fn start_both(&self, agent: &str) -> [Program; 2] {
        let nodes = [1, 2].map(|id| self.start_in(tempfile::tempdir().unwrap(), id, agent));
        for node in &nodes {
            node.until("/metrics", |page| {
                ["eu", "us"].iter().all(|region| {
                    page.contains(&format!(
                        "openclaw_agent_standing{{region=\"{region}\",standing=\"healthy\"}} 1"
                    )) || page.contains(&format!(
                        "openclaw_agent_standing{{standing=\"healthy\",region=\"{region}\"}} 1"
                    ))
                })
            });
        }
        nodes
    }

    fn triggers(&self) -> usize {
        self.pager.events().iter().filter(|(kind, key, _)| kind == "trigger" && key == PAGE_KEY).count()
    }
}

fn reports(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory.join("state/reports")).into_iter().flatten();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn audit_is_good(directory: &Path) {
    let program = env!("CARGO_BIN_EXE_openclaw-rating");
    let output = Command::new(program)
        .env_clear()
        .args(["audit", "verify", "--dir"])
        .arg(directory.join("state/journal"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

#[test]
fn a_dead_region_is_paged_acknowledged_moved_validated_resolved_and_reported() {
    let Some(story) = Story::begin() else { return };
    let [eu, us] = story.start_both("");
    promtool_finds_nothing(&us.until("/metrics", |page| page.contains("openclaw_agent_phase")));
    assert_eq!(story.dns.values(), [EU]);
    let killed = Instant::now();
    eu.signal(Signal::KILL);
    let paged = story.pager.until("trigger");
    eprintln!("paged {:?} after the kill", paged.duration_since(killed));
    let page = story.pager.first_page();
    assert_eq!(page["dedup_key"], PAGE_KEY);
    assert_eq!(page["links"][0]["text"], "Runbook");
    assert_eq!(page["payload"]["severity"], "critical");
    // Nobody has said yes.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(story.dns.values(), [EU]);
    story.pager.acknowledge();
    let acknowledged = Instant::now();
    until("the record", || story.dns.values() == [US]);
    eprintln!("moved {:?} after the acknowledgement", acknowledged.elapsed());
    story.pager.until("resolve");
    until("the report", || reports(us.directory()).iter().any(|name| name.ends_with(".md")));
    assert_eq!(story.triggers(), 1);
    audit_is_good(us.directory());
    let page = us.until("/metrics", |page| page.contains("step=\"write_record\""));
    promtool_finds_nothing(&page);
}

#[test]
fn an_agent_killed_in_the_middle_goes_on_where_it_was_and_does_nothing_twice() {
    let Some(story) = Story::begin() else { return };
    let [eu, us] = story.start_both("");
    let serial = story.dns.serial();
    eu.signal(Signal::KILL);
    story.pager.until("trigger");
    us.signal(Signal::KILL);
    let directory = us.into_directory();
    // The kernel lets go of a killed process's ring, and of the sockets in it, a moment later.
    until("the port", || TcpListener::bind((US, story.port)).is_ok());
    // While nobody runs, a person takes it on.
    story.pager.acknowledge();
    let us = story.start_in(directory, 2, "");
    until("the record", || story.dns.values() == [US]);
    story.pager.until("resolve");
    let keys: Vec<String> = story.pager.events().into_iter().map(|(_, key, _)| key).collect();
    assert!(keys.iter().all(|key| key == PAGE_KEY), "{keys:?}");
    let once = serial.parse::<u32>().unwrap() + 1;
    assert_eq!(story.dns.serial(), once.to_string());
    until("the report", || reports(us.directory()).iter().any(|name| name.ends_with(".md")));
    audit_is_good(us.directory());
}

#[test]
fn a_dry_run_pages_and_writes_nothing() {
    let Some(story) = Story::begin() else { return };
    let [eu, _us] = story.start_both("dry_run = true");
    let serial = story.dns.serial();
    eu.signal(Signal::KILL);
    story.pager.until("trigger");
    story.pager.acknowledge();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
}

#[test]
fn a_server_with_an_agent_stops_in_time() {
    let Some(story) = Story::begin() else { return };
    let [_eu, mut us] = story.start_both("");
    let told = Instant::now();
    us.signal(Signal::TERM);
    assert_eq!(us.exit_code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
}
