//! Promises of several real servers that share one limit, over real datagrams.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::ports::free_port;
use common::program::Program;
use common::relay::{Faults, Relay};
use rustix::process::Signal;

/// The configuration of node `id`: it listens on `own`, and its one peer is to be reached at `peer`.
fn config(secret: &Path, id: u8, own: u16, peer: u16, policies: &str) -> String {
    let (other, secret) = (3 - id, secret.display());
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nthreads = 1\n[table]\ncapacity = 1000\n\
         [node]\nid = {id}\nregion = \"r{id}\"\n\
         [cluster]\nsecret_file = \"{secret}\"\nlisten = \"127.0.0.1:{own}\"\n\
         [[peer]]\nid = {other}\naddress = \"127.0.0.1:{peer}\"\n{policies}"
    )
}

const SLOW: &str = "[[policy]]\nname = \"p\"\nrate = \"1/day\"\nburst = 100\n";

struct Pair {
    directory: tempfile::TempDir,
    ports: [u16; 2],
    nodes: [Option<Program>; 2],
    configs: [String; 2],
}

impl Pair {
    fn start(policies: &str) -> Self {
        let ports = [free_port(), free_port()];
        Self::start_through(ports, ports, policies)
    }

    /// Two nodes; node n is reached by the other at `reached[n]`.
    fn start_through(ports: [u16; 2], reached: [u16; 2], policies: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        let keygen = Command::new(env!("CARGO_BIN_EXE_openclaw-rating")).arg("keygen").arg(&secret).status();
        assert!(keygen.unwrap().success());
        let configs = [
            config(&secret, 1, ports[0], reached[1], policies),
            config(&secret, 2, ports[1], reached[0], policies),
        ];
        let nodes = [0, 1].map(|n: usize| Some(Program::start(&configs[n])));
        let pair = Self { directory, ports, nodes, configs };
        pair.until_synced(0);
        pair.until_synced(1);
        pair
    }

    fn node(&self, n: usize) -> &Program {
        self.nodes[n].as_ref().unwrap()
    }

    fn until_synced(&self, n: usize) {
        let line = format!("openclaw_peer_synced{{peer=\"{}\"}} 1\n", 2 - n);
        self.node(n).until("/metrics", |page| page.contains(&line));
    }

    /// How many of `tries` checks of `key` are allowed.
    fn charge(&self, n: usize, policy: &str, key: &str, tries: usize) -> usize {
        let path = format!("/v1/check/{policy}/{key}");
        (0..tries).filter(|_| self.node(n).get(&path).starts_with("HTTP/1.1 200")).count()
    }

    fn until_remaining(&self, n: usize, key: &str, tokens: u64) {
        let words = format!("\"remaining\":{tokens},");
        self.node(n).until(&format!("/v1/check/p/{key}?cost=0"), |body| body.contains(&words));
    }
}

#[test]
fn what_one_node_admits_the_other_does_not_admit_again() {
    let pair = Pair::start(SLOW);
    assert_eq!(pair.charge(0, "p", "k", 30), 30);
    pair.until_remaining(1, "k", 70);
    assert_eq!(pair.charge(1, "p", "k", 50), 50);
    pair.until_remaining(0, "k", 20);
    assert_eq!(pair.charge(0, "p", "k", 40), 20);
    pair.until_remaining(1, "k", 0);
}

#[test]
fn a_node_that_was_killed_comes_back_with_a_drained_bucket_drained() {
    let mut pair = Pair::start(SLOW);
    assert_eq!(pair.charge(0, "p", "k", 100), 100);
    pair.until_remaining(1, "k", 0);
    let mut killed = pair.nodes[0].take().unwrap();
    killed.signal(Signal::KILL);
    killed.exit_code();
    pair.node(1).until("/health", |body| body.contains("a peer cannot be heard"));
    pair.nodes[0] = Some(Program::start(&pair.configs[0]));
    pair.until_synced(0);
    assert_eq!(pair.charge(0, "p", "k", 20), 0, "the restart refilled the bucket");
    pair.node(1).until("/health", |body| body.contains("\"warnings\":[]"));
}

#[test]
fn what_was_charged_for_a_node_while_it_was_down_is_given_back_on_both() {
    let mut pair = Pair::start(SLOW);
    assert_eq!(pair.charge(0, "p", "k", 40), 40);
    pair.until_remaining(1, "k", 60);
    let mut stopped = pair.nodes[0].take().unwrap();
    stopped.signal(Signal::TERM);
    stopped.exit_code();
    pair.node(1).until("/health", |body| body.contains("a peer cannot be heard"));
    assert_eq!(pair.charge(1, "p", "k", 100), 30, "as many are the other's");
    pair.nodes[0] = Some(Program::start(&pair.configs[0]));
    pair.until_remaining(1, "k", 30);
    pair.until_remaining(0, "k", 30);
}

#[test]
fn a_node_with_another_secret_is_refused_and_counted() {
    let mut pair = Pair::start(SLOW);
    drop(pair.nodes[0].take());
    let stranger = pair.directory.path().join("stranger");
    std::fs::write(&stranger, "cd".repeat(32)).unwrap();
    pair.nodes[0] = Some(Program::start(&config(&stranger, 1, pair.ports[0], pair.ports[1], SLOW)));
    assert_eq!(pair.charge(0, "p", "k", 10), 10);
    pair.node(1).until("/metrics", |page| {
        page.lines().any(|line| line.contains("reason=\"cluster\"") && !line.ends_with(" 0"))
    });
    pair.node(1).until_logged("is refused: it is of another cluster");
    pair.until_remaining(1, "k", 100);
}

#[test]
fn a_second_node_of_one_id_is_named_in_the_log_of_its_peer() {
    let pair = Pair::start(SLOW);
    let secret = pair.directory.path().join("secret");
    let port = free_port();
    let _second = Program::start(&config(&secret, 2, port, pair.ports[0], SLOW));
    pair.node(0).until_logged(&format!("127.0.0.1:{port} sends under the id of another node"));
}

#[test]
fn a_datagram_without_a_byte_is_counted_too() {
    let pair = Pair::start(SLOW);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], ("127.0.0.1", pair.ports[1])).unwrap();
    let counted = "openclaw_peer_rejected_datagrams_total{peer=\"none\",reason=\"too_short\"} 1\n";
    pair.node(1).until("/metrics", |page| page.contains(counted));
}

#[test]
fn of_a_strict_policy_each_node_has_its_part_and_no_more() {
    let pair =
        Pair::start(&SLOW.replace("1/day", "10/day").replace("burst", "consistency = \"strict\"\nburst"));
    assert_eq!([pair.charge(0, "p", "k", 100), pair.charge(1, "p", "k", 100)], [50, 50]);
}

#[test]
fn metrics_with_peers_are_clean() {
    let pair = Pair::start(SLOW);
    let page = pair.node(0).until("/metrics", |_| true);
    common::program::promtool_finds_nothing(&page);
}

/// Both nodes are asked more than the limit gives; over the run they admit what one bucket would.
#[test]
fn saturated_nodes_admit_what_one_bucket_would_through_loss_duplication_and_reordering() {
    // So low that clients on a busy machine ask for more all the time.
    const RATE: f64 = 50.0;
    const BURST: f64 = 50.0;
    let policy = "[[policy]]\nname = \"p\"\nrate = \"50/s\"\nburst = 50\n";
    let ports = [free_port(), free_port()];
    let faults = Faults { lost_percent: 30, doubled_percent: 10, delayed_percent: 20 };
    let relays = ports.map(|port| Relay::start(port, faults));
    let pair = Pair::start_through(ports, [relays[0].port(), relays[1].port()], policy);
    let began = Instant::now();
    let admitted: usize = std::thread::scope(|scope| {
        let pair = &pair;
        let threads = [0, 1].map(|n| {
            scope.spawn(move || {
                let mut admitted = 0;
                while began.elapsed() < Duration::from_secs(12) {
                    admitted += pair.charge(n, "p", "k", 20);
                }
                admitted
            })
        });
        threads.map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    let central = BURST + RATE * began.elapsed().as_secs_f64();
    // What is in flight may be admitted before it is repaid; 1 % of the run, and that.
    let excess = admitted as f64 - central;
    assert!(excess < central * 0.01 + RATE * 0.2, "{admitted} admitted, {central:.0} by one bucket");
    assert!(admitted as f64 > central * 0.98, "{admitted} admitted, {central:.0} by one bucket");
    assert!(relays.iter().all(|relay| relay.lost() > 0), "the relays lost nothing");
}

#[test]
fn a_cut_is_noticed_each_side_takes_its_share_and_healing_gives_one_limit_again() {
    check_cut(&[0, 1]);
}

/// A firewall in front of one node: the other is heard and hears nothing.
#[test]
fn a_cut_in_one_direction_is_noticed_on_both_sides() {
    check_cut(&[0]);
}

/// Cuts the lines to some of the nodes, and heals them.
fn check_cut(lines: &[usize]) {
    let policy = "[[policy]]\nname = \"p\"\nrate = \"1/day\"\nburst = 1000\nshare = \"equal\"\n";
    let ports = [free_port(), free_port()];
    let relays = ports.map(|port| Relay::start(port, Faults::default()));
    let pair = Pair::start_through(ports, [relays[0].port(), relays[1].port()], policy);
    lines.iter().for_each(|line| relays[*line].cut(true));
    for n in [0, 1] {
        pair.node(n).until("/health", |body| body.contains("a peer cannot be heard"));
    }
    let admitted = [pair.charge(0, "p", "k", 700), pair.charge(1, "p", "k", 700)];
    assert!(admitted.iter().all(|side| (490..=510).contains(side)), "{admitted:?} of 1000, cut in two");
    lines.iter().for_each(|line| relays[*line].cut(false));
    for n in [0, 1] {
        pair.node(n).until("/health", |body| body.contains("\"warnings\":[]"));
    }
    let spent: usize = admitted.iter().sum();
    let more = pair.charge(0, "p", "k", 50) + pair.charge(1, "p", "k", 50);
    assert!(spent + more <= 1010, "{spent} and {more} after the cut, of 1000");
}

/// What peers said meanwhile waits in the socket.
#[test]
fn a_node_that_stood_still_takes_no_peer_for_absent() {
    let pair = Pair::start(SLOW);
    pair.node(1).signal(Signal::STOP);
    pair.node(0).until("/health", |body| body.contains("a peer cannot be heard"));
    pair.node(1).signal(Signal::CONT);
    pair.node(0).until("/health", |body| body.contains("\"warnings\":[]"));
    let page = pair.node(1).until("/metrics", |_| true);
    let absent = page.lines().find(|line| line.starts_with("openclaw_peer_absent_seconds_total{"));
    assert!(absent.is_some_and(|line| line.ends_with(" 0")), "{absent:?}");
}

/// Whoever can reach the port can send what does not open: it is counted and keeps nobody from being heard.
#[test]
fn a_flood_of_forged_datagrams_makes_no_peer_absent_and_moves_no_bucket() {
    let pair = Pair::start(SLOW);
    let to = ("127.0.0.1", pair.ports[1]);
    let flooder = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        let mut sent = 0_u64;
        while Instant::now() < until {
            sent += u64::from(socket.send_to(&[1; 1232], to).is_ok());
        }
        sent
    });
    assert_eq!(pair.charge(0, "p", "k", 30), 30);
    pair.until_remaining(1, "k", 70);
    assert!(flooder.join().unwrap() > 1000);
    let page = pair.node(1).until("/metrics", |page| {
        page.lines().any(|line| line.contains("reason=\"cluster\"") && !line.ends_with(" 0"))
    });
    let absent = page.lines().find(|line| line.starts_with("openclaw_peer_absent_seconds_total{"));
    assert!(absent.is_some_and(|line| line.ends_with(" 0")), "{absent:?}");
    pair.until_remaining(1, "k", 70);
}
