//! The atomics of a bucket, and what stands for them under the model checker.

#[cfg(not(loom))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::thread::{sleep as nap, yield_now};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::thread::{yield_now, yield_now as spin_loop};

/// The model knows no time.
#[cfg(loom)]
pub(crate) fn nap(_: std::time::Duration) {
    yield_now();
}

/// Orders an exchange of a pair before the loads that follow it, for every thread.
///
/// On x86-64 the exchange is a locked instruction and so has done it already.
#[inline]
pub(crate) fn full_barrier_after_exchange() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fence(Ordering::SeqCst);
}

/// The level and the counter of a bucket, which move together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) tat: u64,
    pub(crate) count: u64,
}

/// A [`Pair`] moved by one 16-byte compare-exchange.
#[cfg(not(loom))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct AtomicPair(portable_atomic::AtomicU128);

#[cfg(not(loom))]
impl AtomicPair {
    /// Acquire: what the writer of the pair stored before, the identity above all, is seen.
    #[inline]
    pub(crate) fn load(&self) -> Pair {
        unpack(self.0.load(Ordering::Acquire))
    }

    /// Acquire and release: a change of owner of the line publishes its identity by this.
    #[inline]
    pub(crate) fn compare_exchange(&self, old: Pair, new: Pair) -> Result<(), Pair> {
        self.0
            .compare_exchange(pack(old), pack(new), Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(unpack)
    }
}

#[cfg(not(loom))]
const fn pack(pair: Pair) -> u128 {
    ((pair.count as u128) << 64) | pair.tat as u128
}

#[cfg(not(loom))]
const fn unpack(word: u128) -> Pair {
    Pair { tat: word as u64, count: (word >> 64) as u64 }
}

/// The model checker knows no 16-byte word; a mutex has the same linear history.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct AtomicPair(loom::sync::Mutex<Pair>);

#[cfg(loom)]
impl Default for AtomicPair {
    fn default() -> Self {
        Self(loom::sync::Mutex::new(Pair { tat: 0, count: 0 }))
    }
}

#[cfg(loom)]
impl AtomicPair {
    pub(crate) fn load(&self) -> Pair {
        *self.0.lock().expect("no thread panics while it holds the pair")
    }

    pub(crate) fn compare_exchange(&self, old: Pair, new: Pair) -> Result<(), Pair> {
        let mut pair = self.0.lock().expect("no thread panics while it holds the pair");
        if *pair != old {
            return Err(*pair);
        }
        *pair = new;
        Ok(())
    }
}
