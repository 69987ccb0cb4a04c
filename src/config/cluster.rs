//! `[node]`, `[cluster]` and `[[peer]]`: who this node is, and whom it shares limits with.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{check_own, is_no_single_hosts};
use super::problem::{Findings, Place};
use super::region::{self, Lookup};
use super::section::{Section, Text};
use super::value::Value;
use super::{policy, read_secret_file};
use crate::files;
use crate::link::HEARTBEAT_BYTES;
use crate::replica::{MAX_NODES, NodeId};
use crate::time::NS_PER_SECOND;

const DEFAULT_FLUSH: Duration = Duration::from_millis(20);
const FLUSH_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1);
const DEFAULT_DETECT: Duration = Duration::from_millis(500);
const DETECT_RANGE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
/// Fewer flushes than this in the time that makes a peer absent, and one lost datagram cuts it off.
const MIN_FLUSHES_TO_DETECT: u32 = 4;
/// 160 Mbit/s, 550,000 changed buckets a second: what a line between regions has to spare.
const DEFAULT_BYTES_PER_SECOND: u64 = 20_000_000;
const BYTES_PER_SECOND_RANGE: RangeInclusive<u64> = 10_000..=100_000_000_000;
const SECRET_BYTES: usize = 32;
const SECRET_HELP: &str = "make one with: openclaw-rating keygen FILE, and copy it to every node";

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its number in the cluster; there is none without a cluster.
    pub id: Option<NodeId>,
    /// Its name, for people.
    pub name: String,
    /// Its region; empty where [`check`](super::check) could not have it from a metadata service.
    pub region: String,
}

/// How this node shares limits with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// This node's number.
    pub node: NodeId,
    /// What all nodes know and nobody else.
    pub secret: ClusterSecret,
    /// Where it was read.
    pub secret_file: PathBuf,
    /// Where datagrams arrive.
    pub listen: SocketAddr,
    /// The other nodes, at least one.
    pub peers: Vec<PeerConfig>,
    /// Between two flushes to a peer.
    pub flush_interval: Duration,
    /// A peer that is silent for so long is absent.
    pub detect_timeout: Duration,
    /// Most bytes sent to one peer in a second.
    pub max_bytes_per_second: u64,
}

impl ClusterConfig {
    /// What somebody should look at, though the settings can be served.
    ///
    /// A secret that its group may read is no reason: systemd's credentials and those of Kubernetes are so.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let file = &self.secret_file;
        let mode = std::fs::metadata(file).map_or(0, |found| found.permissions().mode());
        if !files::is_open_to_others(mode) {
            return Vec::new();
        }
        let file = file.display();
        vec![format!("every user of this host may open the cluster's secret: chmod o= {file}")]
    }
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where its datagrams arrive, and come from.
    pub address: SocketAddr,
    /// Its region, which the agent must know.
    pub region: Option<String>,
}

/// The secret of a cluster. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; SECRET_BYTES]);

impl ClusterSecret {
    /// Its bytes, to derive keys from.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

/// `[node]`, and what of it is written, rightly or not.
pub(super) struct WrittenNode {
    pub(super) node: NodeConfig,
    has_id: bool,
    has_region: bool,
}

pub(super) fn read_node(
    root: &mut Section<'_>,
    environment: &[(String, String)],
    lookup: Lookup<'_>,
) -> WrittenNode {
    let mut section = root.section("node");
    let id = section.integer("id", 1..=u64::from(NodeId::MAX));
    let id = id.and_then(|id| u8::try_from(id).ok()).and_then(NodeId::new);
    let name = read_name(&mut section);
    let region = region::read_region(&mut section, environment, lookup);
    let has_id = section.get("id").is_some();
    let has_region = region::SOURCES.iter().any(|source| section.get(source).is_some());
    section.finish();
    let node = NodeConfig { id, name: name.unwrap_or_else(|| "node".to_owned()), region };
    WrittenNode { node, has_id, has_region }
}

fn read_name(section: &mut Section<'_>) -> Option<String> {
    let Text { text, place } = section.text("name", "fra-1")?;
    if !policy::is_name(text) {
        let what = format!("{text:?} cannot be the name of a node");
        section.findings().wrong(place, what, "use 1 to 64 of the characters A-Z a-z 0-9 . _ -");
    }
    Some(text.to_owned())
}

/// `None` without peers: then this node is alone.
pub(super) fn read_cluster(root: &mut Section<'_>, written: &WrittenNode) -> Option<ClusterConfig> {
    let findings = root.findings();
    let items = root.array("peer", MAX_NODES - 1, "begin each peer with a line `[[peer]]`");
    let place = root.place();
    let mut section = root.section("cluster");
    let secret = read_secret(&mut section);
    let listen = read_listen(&mut section);
    let flush_interval = section.duration("flush_interval", FLUSH_RANGE).unwrap_or(DEFAULT_FLUSH);
    let detect_timeout = read_detect_timeout(&mut section, flush_interval);
    let max_bytes_per_second = read_bytes_per_second(&mut section, flush_interval);
    if !items.is_empty() {
        check_named(&mut section, place);
    }
    section.finish();
    if items.is_empty() {
        return None;
    }
    if !written.has_id {
        findings.missing(place, "there are peers, but [node] has no `id`", "write id = 1 below [node]");
    }
    if !written.has_region {
        let help = "write region = \"eu-central\" below [node]";
        findings.missing(place, "there are peers, but [node] has no `region`", help);
    }
    let peers = read_peers(items, written.node.id, listen, findings);
    let ((secret, secret_file), listen) = (secret?, listen?);
    Some(ClusterConfig {
        node: written.node.id?,
        secret,
        secret_file,
        listen,
        peers,
        flush_interval,
        detect_timeout,
        max_bytes_per_second,
    })
}

/// Reports what a cluster must have and nobody wrote; what is written and wrong is reported already.
fn check_named(section: &mut Section<'_>, place: Place) {
    for (key, example) in [("secret_file", "cluster.secret"), ("listen", "0.0.0.0:7946")] {
        if section.get(key).is_none() {
            let what = format!("there are peers, but [cluster] has no `{key}`");
            section.findings().missing(place, what, format!("write {key} = \"{example}\" below [cluster]"));
        }
    }
}

fn read_detect_timeout(section: &mut Section<'_>, flush: Duration) -> Duration {
    let detect = section.duration("detect_timeout", DETECT_RANGE).unwrap_or(DEFAULT_DETECT);
    if detect < flush * MIN_FLUSHES_TO_DETECT
        && let Some(value) = section.get("detect_timeout").or_else(|| section.get("flush_interval"))
    {
        let what = format!("a peer would be absent after {detect:?}, and is heard every {flush:?} only");
        let help = format!("make detect_timeout at least {MIN_FLUSHES_TO_DETECT} times flush_interval");
        section.findings().wrong(value.place, what, help);
    }
    detect
}

/// Heartbeats are sent whatever the cap is; at least half of it is to be left for what they announce.
fn read_bytes_per_second(section: &mut Section<'_>, flush: Duration) -> u64 {
    let bytes = section.integer("max_bytes_per_second", BYTES_PER_SECOND_RANGE);
    let least = (2 * u128::from(HEARTBEAT_BYTES) * u128::from(NS_PER_SECOND)).div_ceil(flush.as_nanos());
    if let (Some(bytes), Some(value)) = (bytes, section.get("max_bytes_per_second"))
        && u128::from(bytes) < least
    {
        let what = format!("a heartbeat every {flush:?} leaves too little of {bytes} bytes a second");
        let help = format!("make max_bytes_per_second at least {least}, or flush_interval longer");
        section.findings().wrong(value.place, what, help);
    }
    bytes.unwrap_or(DEFAULT_BYTES_PER_SECOND)
}

fn is_one_digit(secret: &[u8; SECRET_BYTES]) -> bool {
    let [first, rest @ ..] = secret;
    first >> 4 == first & 0xf && rest.iter().all(|byte| byte == first)
}

fn read_secret(section: &mut Section<'_>) -> Option<(ClusterSecret, PathBuf)> {
    let findings = section.findings();
    let file = section.text("secret_file", "cluster.secret")?;
    let secret = read_secret_file(file, "a cluster secret", SECRET_HELP, findings)?;
    if is_one_digit(&secret) {
        let what =
            format!("the secret file {} holds one digit again and again, which anybody guesses", file.text);
        findings.wrong(file.place, what, SECRET_HELP);
        return None;
    }
    Some((ClusterSecret(secret), PathBuf::from(file.text)))
}

fn read_listen(section: &mut Section<'_>) -> Option<SocketAddr> {
    let (listen, place) = read_socket(section, "listen")?;
    check_own(listen, place, section.findings());
    Some(listen)
}

fn read_socket(section: &mut Section<'_>, key: &'static str) -> Option<(SocketAddr, Place)> {
    let Text { text, place } = section.text(key, "10.0.0.2:7946")?;
    // An IPv4 address in the form of IPv6 is reached from no socket of this program.
    let is_usable = |address: &SocketAddr| address.port() != 0 && address.ip().to_canonical() == address.ip();
    let address = text.parse::<SocketAddr>().ok().filter(is_usable);
    if address.is_none() {
        let help = "write an IP address and a port, \"10.0.0.2:7946\" or \"[fd00::2]:7946\"; host names are \
            not looked up";
        section.findings().wrong(place, format!("{text:?} is not an address for datagrams"), help);
    }
    address.map(|address| (address, place))
}

fn read_peers(
    items: &[Value],
    own: Option<NodeId>,
    listen: Option<SocketAddr>,
    findings: &Findings,
) -> Vec<PeerConfig> {
    let mut peers: Vec<PeerConfig> = Vec::with_capacity(items.len());
    for item in items {
        let Some(peer) = read_peer(item, findings) else { continue };
        if Some(peer.id) == own {
            let what = format!("the peer {} has this node's own id", peer.id);
            findings.wrong(item.place, what, "list the other nodes only, each with the id it has itself");
        }
        check_reachable(&peer, listen, item.place, findings);
        if let Some(other) = peers.iter().find(|other| other.id == peer.id || other.address == peer.address) {
            let what = format!("the peers {:?} and {:?} have one id or one address", other.name, peer.name);
            findings.wrong(item.place, what, "give each node an id and an address of its own");
        }
        peers.push(peer);
    }
    peers
}

/// Reports a peer that no datagram from where this node listens can get to.
fn check_reachable(peer: &PeerConfig, listen: Option<SocketAddr>, place: Place, findings: &Findings) {
    let (name, address) = (&peer.name, peer.address);
    if address.ip().is_unspecified() || is_no_single_hosts(address.ip()) {
        let what = format!("the peer {name:?} has the address {}, which is no single host's", address.ip());
        return findings.wrong(place, what, "write the address it has itself");
    }
    let Some(listen) = listen else { return };
    let is_own_loopback = listen.ip().is_unspecified() && address.ip().is_loopback();
    if address == listen || (is_own_loopback && address.port() == listen.port()) {
        let what = format!("the peer {name:?} has the address where this node listens itself");
        findings.wrong(place, what, "list the other nodes only, each with the address it has itself");
    } else if address.is_ipv4() != listen.is_ipv4() {
        let what = format!(
            "the peer {name:?} is at {address} and this node listens on {listen}: between IPv4 and IPv6 \
             nothing passes"
        );
        findings.wrong(place, what, "give all nodes of the cluster addresses of one kind");
    }
}

fn read_peer(item: &Value, findings: &Findings) -> Option<PeerConfig> {
    let mut section = Section::of("[[peer]]", item, findings);
    for key in ["id", "address"] {
        if section.get(key).is_none() {
            let help = "write id = 2 and address = \"10.0.0.2:7946\"";
            findings.missing(item.place, format!("a [[peer]] has no `{key}`"), help);
        }
    }
    let id = section.integer("id", 1..=u64::from(NodeId::MAX));
    let address = read_socket(&mut section, "address").map(|(address, _)| address);
    let name = read_name(&mut section);
    let region = section.text("region", "eu-central");
    if let Some(Text { text, place }) = region
        && !policy::is_name(text)
    {
        let what = format!("{text:?} cannot be the name of a region");
        findings.wrong(place, what, "use 1 to 64 of the characters A-Z a-z 0-9 . _ -");
    }
    section.finish();
    let id = NodeId::new(u8::try_from(id?).ok()?)?;
    let name = name.unwrap_or_else(|| format!("node-{id}"));
    Some(PeerConfig { id, name, address: address?, region: region.map(|region| region.text.to_owned()) })
}

/// Reports a hash key beside a cluster: all nodes must name buckets alike, so the cluster's secret does.
pub(super) fn check_hash_key(place: Option<Place>, cluster: Option<&ClusterConfig>, findings: &Findings) {
    if let (Some(place), Some(_)) = (place, cluster) {
        let what = "[hash] has a secret of its own, but in a cluster its secret names the buckets";
        findings.wrong(place, what, "remove [hash]");
    }
}
