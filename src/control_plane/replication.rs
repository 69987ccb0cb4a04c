//! Drives the replication link: its socket and its deadlines. What is said and believed is decided in
//! [`crate::link`] and [`crate::replica`].

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use glommio::timer::sleep;
use glommio::{Task, spawn_local};
use tracing::{error, info, warn};

use super::inspect::{TellRequest, Told, ToldPeer};
use super::peer_metrics::{self, Regions};
use super::refusals::Refusals;
use super::socket::{Arrived, Bound, NotSent, PeerSocket, RECEIVE_BYTES};
use super::train::Train;
use crate::bucket::policy::PolicySet;
use crate::config::{ClusterConfig, PeerConfig};
use crate::health::{Health, Warning};
use crate::link::{Contact, Handled, Link, MAX_DATAGRAM_BYTES, PeerStats};
use crate::metrics::{Family, PeerVital};
use crate::replica::{NodeId, Replica};
use crate::time::{Clock as _, MonotonicNs, SystemClock};

/// Calls that receive before others on this thread get a turn, whatever else arrives.
const BURST: usize = 16;
/// Calls that receive before a flush, so that who was heard is not taken for silent; a flood does not keep it longer.
const CALLS_BEFORE_FLUSH: usize = 512;
/// The flush timer looks at reloads and peers at least this often.
const LOOK: Duration = Duration::from_millis(20);
/// A start waits no longer for what peers know.
const JOIN_AT_MOST: Duration = Duration::from_secs(10);
/// It waits so long at least for peers that it has never heard: to meet takes one and a half round trips.
const MEET_WITHIN: Duration = Duration::from_secs(1);
/// Peers are told the last changes for so long at most, and it is looked so often whether they have them.
const TELL_AT_LAST: Duration = Duration::from_millis(500);
const LAST_LOOK: Duration = Duration::from_millis(5);
/// Between two lines in the log about datagrams that cannot be sent.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Why replication does not start.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The address cannot be bound.
    #[error(
        "cannot listen for peers on {address}: {source}; set [cluster] listen to an address of this host"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What replication is made of.
#[derive(Debug)]
pub struct ReplicationParts {
    node: Node,
    socket: Bound,
    policies: Arc<ArcSwap<PolicySet>>,
    health: Arc<Health>,
    regions: Regions,
}

/// How a start went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Each peer that can be heard has told all it knows.
    Whole,
    /// Some did not in time: what they know is charged when it comes.
    InPart,
}

impl ReplicationParts {
    /// Binds the socket.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn new(
        cluster: &ClusterConfig,
        link: Link,
        replica: Replica,
        policies: Arc<ArcSwap<PolicySet>>,
        health: Arc<Health>,
    ) -> Result<Self, ReplicationError> {
        let address = cluster.listen;
        let socket =
            super::socket::bind(address).map_err(|source| ReplicationError::Listen { address, source })?;
        let region = |peer: &PeerConfig| Some((peer.id, peer.region.clone()?));
        let regions = cluster.peers.iter().filter_map(region).collect();
        let node = Node { link, replica, refusals: Refusals::default() };
        Ok(Self { node, socket, policies, health, regions })
    }

    /// Learns from the peers what is spent, before the first check is answered. Takes at most
    /// ten seconds; peers that cannot be heard are waited for until they count as absent, and for a second at least.
    pub fn join(&mut self, clock: SystemClock) -> Joined {
        let began = clock.now();
        let until = began.after(JOIN_AT_MOST);
        let mut buffer = vec![0; RECEIVE_BYTES];
        let mut datagram = [0; MAX_DATAGRAM_BYTES];
        loop {
            let now = clock.now();
            while let Some((to, bytes)) = self.node.poll_transmit(now, &mut datagram) {
                // Counts as lost when it cannot be sent.
                let _ = self.socket.send_to(&datagram[..bytes], to);
            }
            let elapsed = Duration::from_nanos(now.since(began));
            if !self.node.link.peer_stats().any(|peer| is_waited_for(&peer, elapsed)) {
                return Joined::Whole;
            }
            if now >= until {
                return Joined::InPart;
            }
            let wait = Duration::from_nanos(self.node.link.next_deadline().since(now)).min(LOOK);
            if let Ok(arrived) = self.socket.receive_within(&mut buffer, wait) {
                self.node.hear(&arrived, &mut buffer, clock.now());
            }
        }
    }
}

/// Whether a start that began `elapsed` ago waits for what a peer knows.
fn is_waited_for(peer: &PeerStats, elapsed: Duration) -> bool {
    let may_be_met = peer.counters.boots == 0 && elapsed < MEET_WITHIN;
    !peer.synced && (peer.present || may_be_met)
}

/// What speaks with the peers, and what that does here.
#[derive(Debug)]
struct Node {
    link: Link,
    replica: Replica,
    refusals: Refusals,
}

impl Node {
    /// Takes what arrived together; what it did is in the link's counters.
    fn hear(&mut self, arrived: &Arrived, buffer: &mut [u8], now: MonotonicNs) {
        if arrived.bytes == 0 {
            // A datagram too, which has no part to be cut into.
            return self.hear_one(arrived.from, &mut [], now);
        }
        for datagram in buffer[..arrived.bytes].chunks_mut(arrived.segment.max(1)) {
            self.hear_one(arrived.from, datagram, now);
        }
    }

    fn hear_one(&mut self, from: SocketAddr, datagram: &mut [u8], now: MonotonicNs) {
        let epochs_lost = self.replica.stats().epochs_lost;
        let handled = self.link.handle_datagram(now, from, datagram, &mut self.replica);
        let refusal = match handled {
            Handled::Rejected(rejected) => self.refusals.news(rejected, from, now),
            Handled::Accepted { from: peer, .. } => {
                let is_lost = self.replica.stats().epochs_lost > epochs_lost;
                is_lost.then(|| self.refusals.lost_epoch_news(peer, now)).flatten()
            }
        };
        let duplicate = self.refusals.duplicate_news(self.link.duplicate_nodes(), from, now);
        refusal.into_iter().chain(duplicate).for_each(|words| warn!("{words}"));
    }

    fn poll_transmit(
        &mut self,
        now: MonotonicNs,
        datagram: &mut [u8; MAX_DATAGRAM_BYTES],
    ) -> Option<(SocketAddr, usize)> {
        self.link.poll_transmit(now, &mut self.replica, datagram)
    }
}

/// What both tasks share; it is borrowed between awaits only.
struct Shared {
    node: Node,
    policies: Arc<ArcSwap<PolicySet>>,
    /// The set that the replica has.
    known: Arc<PolicySet>,
    health: Arc<Health>,
    regions: Regions,
    contacts: Vec<(NodeId, Contact)>,
    unsent: u64,
    complained_at: Option<MonotonicNs>,
}

/// Replication that runs on this executor; it ends when dropped.
pub(super) struct Replication {
    shared: Rc<RefCell<Shared>>,
    socket: Rc<PeerSocket>,
    clock: SystemClock,
    tasks: Vec<Task<()>>,
}

impl Replication {
    pub(super) fn start(parts: ReplicationParts, clock: SystemClock) -> Self {
        let ReplicationParts { node, socket, policies, health, regions } = parts;
        let shared = Shared {
            node,
            known: policies.load_full(),
            policies,
            health,
            regions,
            contacts: Vec::new(),
            unsent: 0,
            complained_at: None,
        };
        let shared = Rc::new(RefCell::new(shared));
        let socket = Rc::new(PeerSocket::adopt(socket));
        let mut replication = Self { shared, socket, clock, tasks: Vec::with_capacity(2) };
        replication.tasks.push(spawn_local(receive(replication.handles())));
        replication.tasks.push(spawn_local(flush(replication.handles())));
        replication
    }

    fn handles(&self) -> Handles {
        Handles { shared: Rc::clone(&self.shared), socket: Rc::clone(&self.socket), clock: self.clock }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let shared = self.shared.borrow();
        let Shared { node, regions, unsent, .. } = &*shared;
        let peers: Vec<PeerStats> = node.link.peer_stats().collect();
        peer_metrics::families(&peers, regions, node.link.rejected(), &node.replica.stats(), *unsent)
    }

    /// When the peers are told next what changed.
    pub(super) fn next_flush(&self) -> MonotonicNs {
        self.shared.borrow().node.link.next_deadline()
    }

    /// How peers are heard.
    pub(super) fn vitals(&self) -> Vec<PeerVital> {
        let of = |peer: PeerStats| PeerVital {
            node: peer.node.get(),
            is_present: peer.present,
            is_synced: peer.synced,
            phi: peer.phi,
            lag: peer.lag,
        };
        self.shared.borrow().node.link.peer_stats().map(of).collect()
    }

    /// Answers a question about a bucket, or about the peers alone.
    pub(super) fn tell(&self, question: TellRequest) {
        let shared = self.shared.borrow();
        let line = question.id.and_then(|id| shared.node.replica.line(id));
        let heard = line.map(|line| shared.node.replica.counters(line).1).unwrap_or_default();
        let peers = shared.node.link.peer_stats().map(|peer| ToldPeer {
            node: peer.node,
            present: peer.present,
            synced: peer.synced,
            pending: line.is_some_and(|line| shared.node.link.awaits(peer.node, line)),
            lag: peer.lag,
        });
        let told = Told { heard, peers: peers.collect() };
        // Who asked may have stopped waiting.
        let _ = question.reply.try_send(told);
    }

    /// Tells the peers what has not been told until those that can be heard have it all, for a while at most, and
    /// ends.
    pub(super) async fn finish(self) {
        let handles = self.handles();
        let until = self.clock.now().after(TELL_AT_LAST);
        self.shared.borrow_mut().node.link.flush_now(self.clock.now());
        loop {
            handles.transmit(&mut Train::new()).await;
            if self.shared.borrow().is_all_told() || self.clock.now() >= until {
                break;
            }
            // Whoever hears answers in a flush of its own.
            sleep(LAST_LOOK).await;
        }
        for task in self.tasks {
            let _ = task.cancel().await;
        }
    }
}

struct Handles {
    shared: Rc<RefCell<Shared>>,
    socket: Rc<PeerSocket>,
    clock: SystemClock,
}

async fn receive(handles: Handles) {
    let mut buffer = vec![0; RECEIVE_BYTES];
    for calls in 0_usize.. {
        match handles.socket.receive(&mut buffer).await {
            Ok(arrived) => handles.hear(&arrived, &mut buffer),
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
        if calls % BURST == BURST - 1 {
            glommio::executor().yield_task_queue_now().await;
        }
    }
}

async fn flush(handles: Handles) {
    let mut train = Train::new();
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        handles.hear_waiting(&mut buffer);
        // First, so that what is charged in limits of a reload is told in them.
        handles.shared.borrow_mut().look();
        handles.transmit(&mut train).await;
        let now = handles.clock.now();
        let due = handles.shared.borrow().node.link.next_deadline();
        sleep(Duration::from_nanos(due.since(now)).min(LOOK)).await;
    }
}

impl Handles {
    fn hear(&self, arrived: &Arrived, buffer: &mut [u8]) {
        self.shared.borrow_mut().node.hear(arrived, buffer, self.clock.now());
    }

    /// Hears what has arrived. When this thread was off its core for long, the timer may come first.
    fn hear_waiting(&self, buffer: &mut [u8]) {
        for _ in 0..CALLS_BEFORE_FLUSH {
            let Some(arrived) = self.socket.receive_waiting(buffer) else { return };
            self.hear(&arrived, buffer);
        }
    }

    /// Sends all that is due.
    async fn transmit(&self, train: &mut Train) {
        let mut datagram = [0; MAX_DATAGRAM_BYTES];
        // Read once a train, whose datagrams leave together.
        let mut now = self.clock.now();
        loop {
            let next = self.shared.borrow_mut().node.poll_transmit(now, &mut datagram);
            let next = next.map(|(to, bytes)| (to, &datagram[..bytes]));
            if next.is_none_or(|(to, datagram)| !train.takes(to, datagram)) {
                self.send(train).await;
                now = self.clock.now();
            }
            let Some((to, datagram)) = next else { return };
            train.push(to, datagram);
        }
    }

    async fn send(&self, train: &mut Train) {
        if let Err(not_sent) = self.socket.send(train).await {
            self.shared.borrow_mut().not_sent(train.to(), &not_sent, self.clock.now());
        }
        train.clear();
        glommio::yield_if_needed().await;
    }
}

impl Shared {
    /// Whether every peer that can be told has acknowledged all that changed here.
    fn is_all_told(&self) -> bool {
        let is_told = |peer: &PeerStats| peer.pending == 0 && peer.in_flight == 0;
        self.node.link.peer_stats().all(|peer| !peer.present || peer.deaf || is_told(&peer))
    }

    fn look(&mut self) {
        let policies = self.policies.load();
        if !Arc::ptr_eq(&policies, &self.known) {
            self.known = Arc::clone(&policies);
            self.node.replica.set_policies(Arc::clone(&policies));
        }
        drop(policies);
        if self.node.link.contacts().eq(self.contacts.iter().copied()) {
            return;
        }
        let contacts: Vec<(NodeId, Contact)> = self.node.link.contacts().collect();
        for (node, contact) in &contacts {
            let was = self.contacts.iter().find(|(other, _)| other == node).map(|(_, was)| *was);
            log_contact(*node, was, *contact);
        }
        let is_missing = contacts.iter().any(|(_, contact)| *contact != Contact::Mutual);
        self.health.warn(Warning::AbsentPeer, is_missing);
        self.contacts = contacts;
    }

    fn not_sent(&mut self, to: SocketAddr, not_sent: &NotSent, now: MonotonicNs) {
        self.unsent += not_sent.datagrams;
        if self.complained_at.is_none_or(|at| now >= at.after(COMPLAIN)) {
            self.complained_at = Some(now);
            error!("cannot send to peer {to}: {}; datagrams not sent so far: {}", not_sent.why, self.unsent);
        }
    }
}

fn log_contact(node: NodeId, was: Option<Contact>, contact: Contact) {
    match (was, contact) {
        (Some(was), contact) if was == contact => {}
        (_, Contact::Mutual) => info!("peer {node} is heard"),
        (_, Contact::OneWay) => warn!(
            "peer {node} is heard and does not hear this node: what is sent there is lost, on the way or \
             by a firewall"
        ),
        // Usual where the cluster starts for the first time; anywhere else the first trace of what is wrong.
        (None, Contact::Silent) => info!("peer {node} is not heard yet"),
        (Some(_), Contact::Silent) => warn!("peer {node} cannot be heard any more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::keys::Secret;
    use crate::link::{LinkConfig, PeerAddress};

    #[test]
    fn a_start_waits_for_who_is_heard_and_a_second_for_who_was_never_heard() {
        let node = |number| NodeId::new(number).unwrap();
        let config = LinkConfig {
            node: node(1),
            secret: Secret::new([1; 32]),
            peers: vec![PeerAddress { node: node(2), address: SocketAddr::from(([127, 0, 0, 1], 9)) }],
            flush_interval: Duration::from_millis(20),
            detect_timeout: Duration::from_millis(500),
            max_bytes_per_second: 1_000_000,
        };
        let link = Link::new(&config, [0; 32], 1, MonotonicNs(0)).unwrap();
        let never_heard = link.peer_stats().next().unwrap();
        let mut gone = PeerStats { present: false, ..never_heard };
        gone.counters.boots = 1;
        let (soon, late) = (Duration::from_millis(600), MEET_WITHIN);
        // (a peer, since the start, is it waited for)
        for (peer, elapsed, waits) in [
            (PeerStats { present: false, ..never_heard }, soon, true),
            (PeerStats { present: false, ..never_heard }, late, false),
            (PeerStats { present: true, ..never_heard }, late, true),
            (PeerStats { present: true, synced: true, ..never_heard }, soon, false),
            (gone, soon, false),
        ] {
            assert_eq!(is_waited_for(&peer, elapsed), waits, "{peer:?} after {elapsed:?}");
        }
    }
}
