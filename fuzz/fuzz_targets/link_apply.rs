//! A node that holds the secret says what it likes, in any order, to one with real buckets: own counts
//! never fall, what is told is of one piece, and every flush ends.
#![no_main]

use ground::{POLICY, Replicating, address, node, secret};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use openclaw_rating::bucket::hash::BucketId;
use openclaw_rating::link::MAX_DATAGRAM_BYTES;
use openclaw_rating::link::fuzzing::{Insider, Saying};
use openclaw_rating::replica::{Entry, Occasion, Store as _, Telling};
use openclaw_rating::time::MonotonicNs;

#[derive(Arbitrary, Debug)]
struct Told {
    /// Of those that are charged here, or any.
    key: Result<u8, u128>,
    /// Of the policy that is known, or any.
    policy: Option<u64>,
    count: u64,
    used: u64,
    level: u64,
}

#[derive(Arbitrary, Debug)]
enum Event {
    Utter(Vec<u8>),
    Tell {
        ack_highest: u8,
        ack_words: Vec<u64>,
        ack_delay_us: u32,
        sync_wanted: u32,
        /// Also the sync that was asked for.
        sync_served: Option<u32>,
        flags: u8,
        told: Vec<Told>,
    },
    Charge {
        key: u8,
        cost: u8,
    },
    Pass {
        milliseconds: u16,
    },
    Reload {
        burst: u16,
    },
}

/// The node that is told, and what tells it.
struct Scene {
    node: Replicating,
    insider: Insider,
    now: MonotonicNs,
    /// The highest own count of each key that was seen.
    counts: [u64; 8],
}

impl Scene {
    fn new() -> Self {
        let now = MonotonicNs(1_000_000_000);
        let insider = Insider::new(&secret(), node(1), node(2), [9; 16]);
        let node = Replicating::new(2, now);
        let mut scene = Self { node, insider, now, counts: [0; 8] };
        scene.transmit();
        scene
    }

    fn id(&self, key: u8) -> Option<BucketId> {
        let policies = &self.node.policies;
        Some(policies.bucket_id(policies.find(POLICY.as_bytes())?, &[key % 8]))
    }

    fn transmit(&mut self) {
        for mut datagram in self.node.transmit(self.now) {
            self.insider.hear(&mut datagram);
        }
    }

    fn handle(&mut self, datagram: &mut [u8]) {
        let Replicating { link, replica, .. } = &mut self.node;
        link.handle_datagram(self.now, address(1), datagram, replica);
    }

    fn entry(&self, told: &Told) -> Option<Entry> {
        let policy = self.node.policies.find(POLICY.as_bytes())?;
        let id = match told.key {
            Ok(key) => self.id(key)?,
            Err(id) => BucketId::from_u128(id),
        };
        let Told { count, used, level, .. } = *told;
        Some(Entry { policy: told.policy.unwrap_or(policy.identity()), id, count, used, level })
    }

    fn go_on(&mut self, event: &Event) {
        let mut out = [0; MAX_DATAGRAM_BYTES];
        match event {
            Event::Utter(body) => {
                let bytes = self.insider.utter(body, &mut out);
                self.handle(&mut out[..bytes]);
            }
            Event::Tell { ack_highest, ack_words, ack_delay_us, sync_wanted, sync_served, flags, told } => {
                let saying = Saying {
                    ack_highest: u64::from(*ack_highest),
                    ack_words: ack_words.clone(),
                    ack_delay_us: *ack_delay_us,
                    syncs: [*sync_wanted, sync_served.unwrap_or(self.insider.asked())],
                    flags: *flags,
                    entries: told.iter().filter_map(|told| self.entry(told)).collect(),
                };
                let bytes = self.insider.tell(&saying, &mut out);
                self.handle(&mut out[..bytes]);
            }
            Event::Charge { key, cost } => self.charge(*key, *cost),
            Event::Pass { milliseconds } => {
                self.now = MonotonicNs(self.now.0 + u64::from(*milliseconds) * 1_000_000);
                self.transmit();
            }
            Event::Reload { burst } => self.node.reload(u64::from(*burst).max(1), self.now),
        }
    }

    fn charge(&self, key: u8, cost: u8) {
        let Some(id) = self.id(key) else { return };
        let Some(policy) = self.node.policies.find(POLICY.as_bytes()) else { return };
        let limits = policy.default_limits();
        self.node.table.charge(id, limits, u64::from(cost).min(limits.burst()), self.now);
    }

    fn check(&mut self) {
        for key in 0..8 {
            let Some(line) = self.id(key).and_then(|id| self.node.replica.line(id)) else { continue };
            let (own, _) = self.node.replica.counters(line);
            let highest = &mut self.counts[usize::from(key)];
            assert!(own >= *highest, "the count of key {key} fell from {highest} to {own}");
            *highest = own;
            let mut said = vec![];
            let telling = Telling { occasion: Occasion::Review, to_joining: false };
            self.node.replica.tell(&[line], telling, self.now, &mut said);
            assert!(said.iter().all(|(_, entry)| entry.used <= entry.count));
        }
    }
}

fuzz_target!(|events: Vec<Event>| {
    let mut scene = Scene::new();
    for event in events.iter().take(64) {
        scene.go_on(event);
        scene.check();
    }
});
