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

/// Whether the processor has what an [`AtomicPair`] is made of. A table is only made where it has.
///
/// Every one of x86-64 but the first few years' has `cmpxchg16b`; of others the compiler knows.
#[must_use]
pub(crate) fn has_atomic_pairs() -> bool {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    return is_x86_feature_detected!("cmpxchg16b");
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    true
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
        #[cfg(target_arch = "x86_64")]
        if let Some(avx) = wide::Avx::detect() {
            return unpack(avx.load(&self.0));
        }
        unpack(self.0.load(Ordering::Acquire))
    }

    /// The two words, the count's of one moment and the other's of that or a later one. Acquire, as
    /// [`AtomicPair::load`].
    ///
    /// For a pair that is then exchanged or looked at again: it costs less than one that comes whole, in a vector
    /// register.
    #[inline]
    pub(crate) fn glance(&self) -> Pair {
        #[cfg(target_arch = "x86_64")]
        return wide::glance(&self.0);
        #[cfg(not(target_arch = "x86_64"))]
        self.load()
    }

    /// Acquire and release: a change of owner of the line publishes its identity by this.
    #[inline]
    pub(crate) fn compare_exchange(&self, old: Pair, new: Pair) -> Result<(), Pair> {
        #[cfg(target_arch = "x86_64")]
        return wide::compare_exchange(&self.0, old, new);
        #[cfg(not(target_arch = "x86_64"))]
        self.0
            .compare_exchange(pack(old), pack(new), Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(unpack)
    }
}

/// The same instructions that `portable_atomic` uses where the processor has them, in line: it calls
/// them through pointers, which doubles what an exchange costs.
#[cfg(all(target_arch = "x86_64", not(loom)))]
mod wide {
    #![allow(unsafe_code)]

    use std::arch::asm;
    use std::arch::x86_64::{__m128i, _mm_cvtsi128_si64, _mm_unpackhi_epi64};
    use std::sync::atomic::{AtomicU8, Ordering};

    use portable_atomic::AtomicU128;

    use super::Pair;

    /// Both words of the pair, the high one first.
    #[inline]
    pub(super) fn glance(word: &AtomicU128) -> Pair {
        let (tat, count);
        // SAFETY: the word is valid, and is only changed as a whole, so that each half is changed at once too.
        // Neither `nomem` nor `readonly`: nothing is moved across, and the processor orders loads, so that the second
        // is of the same moment or a later one, and both are acquires.
        unsafe {
            asm!("mov {count}, qword ptr [{word} + 8]", "mov {tat}, qword ptr [{word}]",
                word = in(reg) word.as_ptr(), count = out(reg) count, tat = out(reg) tat,
                options(nostack, preserves_flags));
        }
        Pair { tat, count }
    }

    /// The pair as it was found, when it was not `old`.
    #[inline]
    pub(super) fn compare_exchange(word: &AtomicU128, old: Pair, new: Pair) -> Result<(), Pair> {
        let (tat, count): (u64, u64);
        let exchanged: u8;
        // SAFETY: a table is only made where the processor has `cmpxchg16b`, as `has_atomic_pairs` says; the word is
        // valid, writable and aligned to 16 bytes. `rbx`, which LLVM keeps for itself and may hand out as any `reg`,
        // is put back; so all others are named.
        unsafe {
            asm!("xchg rbx, r8", "lock cmpxchg16b xmmword ptr [rsi]", "sete cl", "mov rbx, r8",
                in("rsi") word.as_ptr(), inout("r8") new.tat => _,
                in("rcx") new.count, lateout("cl") exchanged,
                inout("rax") old.tat => tat, inout("rdx") old.count => count,
                options(nostack));
        }
        if exchanged != 0 { Ok(()) } else { Err(Pair { tat, count }) }
    }

    /// There is one only where the processor has AVX, and with it `vmovdqa`, which is atomic on aligned words
    /// (Intel SDM 3A 9.1.1, AMD APM 2 7.3.2).
    #[derive(Clone, Copy)]
    pub(super) struct Avx(());

    impl Avx {
        /// What this processor has. One byte of its own is read faster than what the standard library keeps.
        #[inline]
        pub(super) fn detect() -> Option<Self> {
            const NO: u8 = 1;
            const YES: u8 = 2;
            static AVX: AtomicU8 = AtomicU8::new(0);
            // Relaxed: whoever sees nothing here finds the same by himself.
            let has_avx = match AVX.load(Ordering::Relaxed) {
                YES => true,
                NO => false,
                _ => {
                    let has_avx = is_x86_feature_detected!("avx");
                    AVX.store(if has_avx { YES } else { NO }, Ordering::Relaxed);
                    has_avx
                }
            };
            has_avx.then_some(Self(()))
        }

        #[inline]
        pub(super) fn load(self, word: &AtomicU128) -> u128 {
            let read: __m128i;
            // SAFETY: an `Avx` exists only where there is AVX; the word is valid and aligned to 16 bytes, and is
            // only changed by atomic instructions. Neither `nomem` nor `readonly`: nothing is moved across it, and
            // the processor orders loads, so this one is an acquire.
            unsafe {
                asm!("vmovdqa {read}, xmmword ptr [{word}]", word = in(reg) word.as_ptr(),
                    read = out(xmm_reg) read, options(nostack, preserves_flags));
            }
            // SAFETY: SSE2 is part of x86-64.
            let (low, high) =
                unsafe { (_mm_cvtsi128_si64(read), _mm_cvtsi128_si64(_mm_unpackhi_epi64(read, read))) };
            (u128::from(high as u64) << 64) | u128::from(low as u64)
        }
    }
}

#[cfg(all(not(loom), not(target_arch = "x86_64")))]
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
    pub(crate) fn glance(&self) -> Pair {
        let count = self.load().count;
        Pair { tat: self.load().tat, count }
    }

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
