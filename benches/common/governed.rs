//! The peer in memory: `governor`, keyed, on its concurrent map.

use std::hash::Hash;
use std::num::NonZeroU32;

use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Size;
use super::keys::{Key, key};

/// A limiter that holds keys, with the clock that it comes with. Ours is told the time, which a data
/// thread reads once a turn.
#[derive(Debug)]
pub(crate) struct Governed<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock>,
}

impl<K: Hash + Eq + Clone> Governed<K> {
    /// A limiter that has seen the first keys, each in the form that `of` gives it.
    pub(crate) fn new(size: Size, of: impl Fn(&Key) -> K) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(10_000_000).unwrap()).allow_burst(NonZeroU32::MAX);
        let governed = Self { limiter: RateLimiter::dashmap(quota) };
        for number in 0..size.keys() {
            governed.check(&of(&key(number)));
        }
        governed
    }

    /// Hashes and decides; whether allowed.
    #[inline]
    pub(crate) fn check(&self, key: &K) -> bool {
        self.limiter.check_key(key).is_ok()
    }

    /// Hashes and decides one after another; how many were allowed.
    pub(crate) fn check_all(&self, keys: &[K]) -> usize {
        keys.iter().filter(|key| self.check(key)).count()
    }
}
