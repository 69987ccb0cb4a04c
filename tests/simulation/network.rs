//! A network that loses, repeats, delays, reorders and spoils datagrams, and can be cut.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::common::seeds::Random;

/// A datagram may come again so much later, into another life of those it was for.
const LATEST_COPY_NS: u64 = 4_000_000_000;

/// How datagrams fare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) delay_ms: u64,
    /// Added at random; more than the distance of two datagrams reorders them.
    pub(crate) jitter_ms: u64,
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) corruption: f64,
    pub(crate) truncation: f64,
    pub(crate) detour: Option<Detour>,
}

/// From some time on all datagrams take another way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detour {
    pub(crate) from_ms: u64,
    pub(crate) delay_ms: u64,
}

/// No datagram passes from one set of nodes to the other (a bit each) for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) begin_ms: u64,
    pub(crate) end_ms: u64,
}

/// Most keys that a scenario asks for.
pub(crate) const MAX_KEYS: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Datagram {
    pub(crate) due_ns: u64,
    pub(crate) number: u64,
    /// The same for all copies.
    pub(crate) original: u64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Which life of the sender it is of.
    pub(crate) life: u64,
    pub(crate) bytes: Vec<u8>,
    /// What the sender did not know of each key.
    pub(crate) ignorance: [f64; MAX_KEYS],
    /// It is not what was sent.
    pub(crate) spoilt: bool,
}

impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due_ns, self.number).cmp(&(other.due_ns, other.number))
    }
}

impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Datagram {}

#[derive(Debug)]
pub(crate) struct Network {
    faults: Faults,
    cuts: Vec<Cut>,
    random: Random,
    sent: u64,
    queue: BinaryHeap<Reverse<Datagram>>,
}

impl Network {
    pub(crate) fn new(faults: Faults, cuts: Vec<Cut>, random: Random) -> Self {
        Self { faults, cuts, random, sent: 0, queue: BinaryHeap::new() }
    }

    /// From here on nothing is lost.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        let Faults { delay_ms, detour, .. } = self.faults;
        self.faults = Faults { delay_ms, detour, ..Faults::default() };
    }

    pub(crate) fn send(&mut self, now_ns: u64, sent: &Datagram) {
        let (from, to) = (sent.from, sent.to);
        let original = self.sent;
        let copies = if self.random.chance(self.faults.duplication) { 2 } else { 1 };
        for copy in 0..copies {
            if self.is_cut(now_ns, from, to) || self.random.chance(self.faults.loss) {
                continue;
            }
            let jitter_ns = self.random.below(self.faults.jitter_ms * 1_000_000 + 1);
            let late_ns = if copy == 0 { 0 } else { self.random.below(LATEST_COPY_NS) };
            let due_ns = now_ns + self.delay_ms(now_ns) * 1_000_000 + jitter_ns + late_ns;
            self.sent += 1;
            let mut bytes = sent.bytes.clone();
            let spoilt = self.spoil(&mut bytes);
            let number = self.sent;
            self.queue.push(Reverse(Datagram { due_ns, number, original, bytes, spoilt, ..*sent }));
        }
    }

    fn delay_ms(&self, now_ns: u64) -> u64 {
        let detour = self.faults.detour.filter(|detour| now_ns >= detour.from_ms * 1_000_000);
        detour.map_or(self.faults.delay_ms, |detour| detour.delay_ms)
    }

    fn is_cut(&self, now_ns: u64, from: usize, to: usize) -> bool {
        let now_ms = now_ns / 1_000_000;
        self.cuts.iter().any(|cut| {
            cut.from & (1 << from) != 0
                && cut.to & (1 << to) != 0
                && (cut.begin_ms..cut.end_ms).contains(&now_ms)
        })
    }

    /// Whether the bytes are other than they were.
    fn spoil(&mut self, bytes: &mut Vec<u8>) -> bool {
        let corrupted = self.random.chance(self.faults.corruption);
        if corrupted {
            let at = self.random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.random.below(8);
        }
        let truncated = self.random.chance(self.faults.truncation);
        if truncated {
            bytes.truncate(self.random.below(bytes.len() as u64) as usize);
        }
        corrupted || truncated
    }

    /// The next datagram that arrives until `now_ns`.
    pub(crate) fn arrive(&mut self, now_ns: u64) -> Option<Datagram> {
        if self.queue.peek()?.0.due_ns > now_ns {
            return None;
        }
        self.queue.pop().map(|next| next.0)
    }
}
