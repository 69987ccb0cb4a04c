//! AES-128 by the instructions of x86-64 processors.
//!
//! A library's cipher takes a block through memory and a call, which is more than the encryption itself: here a key of
//! one block is hashed in a third of the time, and all of a hash is compiled for these instructions.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128,
    _mm_set_epi64x, _mm_shuffle_epi32, _mm_slli_si128, _mm_storeu_si128, _mm_xor_si128,
};

use super::pmac::{Cipher, Pmac};

/// The keys of the rounds. There are some only where the processor has the instructions.
#[derive(Clone)]
struct Aes([__m128i; 11]);

/// PMAC with AES-128, where the processor has the instructions.
#[derive(Clone)]
pub(super) struct NativePmac(Pmac<Aes>);

impl NativePmac {
    /// `None` where the processor lacks them.
    pub(super) fn new(key: &[u8; 16]) -> Option<Self> {
        // SAFETY: the processor has the instructions.
        std::arch::is_x86_feature_detected!("aes").then(|| Self(unsafe { new(key) }))
    }

    pub(super) fn begin(&self, first: &[u8; 16]) -> [u8; 16] {
        // SAFETY: there is one only where the processor has the instructions.
        unsafe { begin(&self.0, first) }
    }

    #[inline]
    pub(super) fn finish(&self, begun: &[u8; 16], rest: &[u8]) -> u128 {
        // SAFETY: as above.
        unsafe { finish(&self.0, begun, rest) }
    }

    /// As [`NativePmac::finish`] of each.
    #[inline]
    pub(super) fn finish_each<'k>(
        &self,
        begun: &[u8; 16],
        rests: impl Iterator<Item = &'k [u8]>,
        each: impl FnMut(u128),
    ) {
        // SAFETY: as above.
        unsafe { finish_each(&self.0, begun, rests, each) }
    }
}

#[target_feature(enable = "aes")]
fn new(key: &[u8; 16]) -> Pmac<Aes> {
    Pmac::new(Aes(expand(Aes::of_bytes(key))))
}

#[target_feature(enable = "aes")]
fn begin(pmac: &Pmac<Aes>, first: &[u8; 16]) -> [u8; 16] {
    pmac.begin(first)
}

// The tag in registers: words that are read from a vector just stored wait for it.
#[target_feature(enable = "aes")]
fn finish(pmac: &Pmac<Aes>, begun: &[u8; 16], rest: &[u8]) -> u128 {
    pmac.finish(begun, rest)
}

/// All in one loop compiled for the instructions: the processor encrypts several beside each other.
#[target_feature(enable = "aes")]
fn finish_each<'k>(
    pmac: &Pmac<Aes>,
    begun: &[u8; 16],
    rests: impl Iterator<Item = &'k [u8]>,
    mut each: impl FnMut(u128),
) {
    for rest in rests {
        each(pmac.finish(begun, rest));
    }
}

/// The key schedule of AES-128 (FIPS 197, section 5.2).
#[target_feature(enable = "aes")]
fn expand(key: __m128i) -> [__m128i; 11] {
    #[target_feature(enable = "aes")]
    fn next<const ROUND_CONSTANT: i32>(key: __m128i) -> __m128i {
        let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<ROUND_CONSTANT>(key));
        let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
        _mm_xor_si128(_mm_xor_si128(key, _mm_slli_si128::<8>(key)), word)
    }
    let first = next::<0x01>(key);
    let second = next::<0x02>(first);
    let third = next::<0x04>(second);
    let fourth = next::<0x08>(third);
    let fifth = next::<0x10>(fourth);
    let sixth = next::<0x20>(fifth);
    let seventh = next::<0x40>(sixth);
    let eighth = next::<0x80>(seventh);
    let ninth = next::<0x1b>(eighth);
    [key, first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, next::<0x36>(ninth)]
}

// SAFETY of all blocks: SSE2 is part of x86-64, and an `Aes` exists only where the processor has its instructions.
impl Cipher for Aes {
    type Block = __m128i;

    #[inline(always)]
    fn encrypt(&self, block: __m128i) -> __m128i {
        let [first, middle @ .., last] = &self.0;
        // SAFETY: see above.
        unsafe {
            let block =
                middle.iter().fold(_mm_xor_si128(block, *first), |block, key| _mm_aesenc_si128(block, *key));
            _mm_aesenclast_si128(block, *last)
        }
    }

    #[inline(always)]
    fn of_bytes(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: sixteen bytes are read, wherever they begin.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn of_words(low: u64, high: u64) -> __m128i {
        // SAFETY: see above.
        unsafe { _mm_set_epi64x(high as i64, low as i64) }
    }

    #[inline(always)]
    fn to_bytes(block: __m128i) -> [u8; 16] {
        let mut bytes = [0; 16];
        // SAFETY: sixteen bytes are written, wherever they begin.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) };
        bytes
    }

    #[inline(always)]
    fn xor(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: see above.
        unsafe { _mm_xor_si128(a, b) }
    }
}
