//! Promises of real servers on hosts of their own, with cables that are pulled and processes that are killed
//! while they are asked more than the limit gives.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::namespace::Namespace;
use common::program::{PATIENCE, Program};
use rustix::process::Signal;

/// So low that clients on a busy machine ask for more all the time.
const RATE: f64 = 50.0;
const BURST: f64 = 50.0;
const POLICIES: &str = "[[policy]]\nname = \"p\"\nrate = \"50/s\"\nburst = 50\n\
    [[policy]]\nname = \"slow\"\nrate = \"1/day\"\nburst = 100\n";
/// Between two questions of one client: more than the limit is asked of every node.
const PACE: Duration = Duration::from_millis(1);

/// Nodes 1 to n, each on a host of its own, all plugged into one switch.
struct Regions {
    switch: Namespace,
    hosts: Vec<Namespace>,
    ports: Vec<String>,
    nodes: Vec<Option<Program>>,
    secret: PathBuf,
    _directory: tempfile::TempDir,
}

fn checks(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, number as u8], 8080))
}

fn config(number: usize, nodes: usize, secret: &Path) -> String {
    let secret = secret.display();
    let peers: String = (1..=nodes)
        .filter(|peer| *peer != number)
        .map(|peer| format!("[[peer]]\nid = {peer}\naddress = \"10.77.0.{peer}:7946\"\n"))
        .collect();
    format!(
        "[server]\nthreads = 1\n[table]\ncapacity = 1000\n[node]\nid = {number}\nregion = \"r{number}\"\n\
         [cluster]\nsecret_file = \"{secret}\"\nlisten = \"10.77.0.{number}:7946\"\n{peers}{POLICIES}"
    )
}

impl Regions {
    fn start(nodes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        let keygen = Command::new(env!("CARGO_BIN_EXE_openclaw-rating")).arg("keygen").arg(&secret).status();
        assert!(keygen.unwrap().success());
        let switch = Namespace::create().into_switch();
        let hosts: Vec<Namespace> = (0..nodes).map(|_| Namespace::create()).collect();
        let plugged = hosts.iter().enumerate();
        let plugged = plugged.map(|(at, host)| switch.plug_in(host, &format!("10.77.0.{}/24", at + 1)).0);
        let ports = plugged.collect();
        let mut regions = Self { switch, hosts, ports, nodes: vec![], secret, _directory: directory };
        regions.nodes = (1..=nodes).map(|number| Some(regions.launch(number, nodes))).collect();
        for number in 1..=nodes {
            regions.until_all_present(number);
        }
        regions
    }

    fn launch(&self, number: usize, nodes: usize) -> Program {
        let directory = tempfile::tempdir().unwrap();
        let listen = format!("server.listen=\"{}\"", checks(number));
        let config = config(number, nodes, &self.secret);
        self.hosts[number - 1].inside(|| Program::launch(directory, Some(&config), &["--set", &listen]))
    }

    fn kill(&mut self, number: usize) {
        let mut killed = self.nodes[number - 1].take().unwrap();
        killed.signal(Signal::KILL);
        killed.exit_code();
    }

    fn restart(&mut self, number: usize) {
        self.nodes[number - 1] = Some(self.launch(number, self.nodes.len()));
    }

    fn get(&self, number: usize, path: &str) -> String {
        let node = self.nodes[number - 1].as_ref().unwrap();
        self.hosts[number - 1].inside(|| node.get(path))
    }

    fn until_all_present(&self, number: usize) {
        self.until_health(number, "\"warnings\":[]");
    }

    fn until_health(&self, number: usize, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.get(number, "/health").contains(words) {
            assert!(Instant::now() < until, "node {number} never said {words}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many of `tries` checks of `key` are allowed.
    fn charge(&self, number: usize, policy: &str, key: &str, tries: usize) -> usize {
        let path = format!("/v1/check/{policy}/{key}");
        (0..tries).filter(|_| self.get(number, &path).starts_with("HTTP/1.1 200")).count()
    }

    /// What a node admitted beyond the limit and has yet to repay.
    fn debt(&self, number: usize) -> f64 {
        let page = self.get(number, "/metrics");
        let debt = page.lines().find_map(|line| line.strip_prefix("openclaw_debt_tokens{policy=\"p\"} "));
        debt.unwrap().parse().unwrap()
    }

    /// Asks every node for one key until `length` has passed, and does something meanwhile, which says how
    /// long a node was dead.
    fn saturate(&mut self, length: Duration, meanwhile: impl FnOnce(&mut Self) -> Duration) -> Counts {
        let began = Instant::now();
        let networks: Vec<_> = self.hosts.iter().map(Namespace::network).collect();
        let clients: Vec<_> = networks
            .into_iter()
            .enumerate()
            .map(|(at, network)| {
                std::thread::spawn(move || {
                    network.enter();
                    admitted(checks(at + 1), began + length)
                })
            })
            .collect();
        let dead = meanwhile(self);
        let admitted: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        let central = BURST + RATE * began.elapsed().as_secs_f64();
        let debt = (1..=self.nodes.len()).map(|number| self.debt(number)).fold(0.0, f64::max);
        Counts { admitted: admitted as f64, central, debt, dead }
    }

    /// Kills a node, and after a while starts it again; how long it was not heard.
    fn kill_and_restart(&mut self, number: usize, after: impl FnOnce(&Self)) -> Duration {
        let began = Instant::now();
        self.kill(number);
        std::thread::sleep(SECOND / 2);
        self.restart(number);
        after(self);
        (1..=self.nodes.len()).for_each(|number| self.until_all_present(number));
        began.elapsed()
    }
}

/// What came of a run.
struct Counts {
    admitted: f64,
    /// What one bucket would have admitted.
    central: f64,
    debt: f64,
    dead: Duration,
}

/// How many checks a node admits until then; while it cannot be reached, it is asked again.
fn admitted(node: SocketAddr, until: Instant) -> usize {
    let mut admitted = 0;
    while Instant::now() < until {
        if let Ok(stream) = TcpStream::connect_timeout(&node, Duration::from_millis(100)) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            admitted +=
                usize::from(try_answer(stream).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
        }
        std::thread::sleep(PACE);
    }
    admitted
}

/// `None` when the process died meanwhile.
fn try_answer(mut stream: TcpStream) -> Option<String> {
    use std::io::{Read as _, Write as _};
    write!(stream, "GET /v1/check/p/k HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Within 1 % of one bucket, what is admitted before it is told of, and what is yet to be repaid. The share
/// of a dead node, which could be one that is cut off, nobody else uses.
fn assert_as_one_bucket(counts: &Counts) {
    let Counts { admitted, central, debt, dead } = *counts;
    let told = format!(
        "{admitted} admitted, {central:.0} by one bucket ({:+.2} %), {debt:.0} to be repaid, a node dead for \
         {dead:?}",
        (admitted / central - 1.0) * 100.0
    );
    println!("{told}");
    assert!(admitted < central * 1.01 + RATE * 0.1 + debt, "{told}");
    assert!(admitted > central * 0.99 - RATE * dead.as_secs_f64(), "{told}");
}

/// One at a time: on a machine that does everything at once, nodes are silent for long enough to be absent.
static TURN: Mutex<()> = Mutex::new(());

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_cable_that_is_pulled_under_load_costs_and_gives_nothing() {
    if !common::namespace::can_be_made() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut regions = Regions::start(2);
    let counts = regions.saturate(SECOND * 16, |regions| {
        std::thread::sleep(SECOND * 3);
        regions.switch.down(&regions.ports[0]);
        std::thread::sleep(SECOND * 5);
        assert!(regions.get(2, "/health").contains("a peer cannot be heard"));
        regions.switch.up(&regions.ports[0]);
        regions.until_all_present(1);
        regions.until_all_present(2);
        Duration::ZERO
    });
    assert_as_one_bucket(&counts);
}

#[test]
fn of_three_regions_one_is_cut_off_and_killed_and_the_limit_stays_one() {
    if !common::namespace::can_be_made() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut regions = Regions::start(3);
    let counts = regions.saturate(SECOND * 20, |regions| {
        std::thread::sleep(SECOND * 2);
        regions.switch.down(&regions.ports[2]);
        std::thread::sleep(SECOND * 4);
        regions.until_health(1, "a peer cannot be heard");
        regions.until_health(2, "a peer cannot be heard");
        regions.switch.up(&regions.ports[2]);
        std::thread::sleep(SECOND * 3);
        regions.kill_and_restart(3, |_| {})
    });
    assert_as_one_bucket(&counts);
}

#[test]
fn a_kill_and_a_restart_under_load_refill_nothing() {
    if !common::namespace::can_be_made() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut regions = Regions::start(2);
    assert_eq!(regions.charge(1, "slow", "k", 100), 100);
    std::thread::sleep(SECOND / 2);
    let counts = regions.saturate(SECOND * 18, |regions| {
        let kill = |number: usize| {
            std::thread::sleep(SECOND * 2);
            regions.kill_and_restart(number, |regions| {
                let refilled = regions.charge(number, "slow", "k", 5);
                assert_eq!(refilled, 0, "the first checks after the restart found a drained bucket refilled");
            })
        };
        [1, 2, 1].map(kill).into_iter().sum()
    });
    assert_as_one_bucket(&counts);
}
