//! PMAC (Black, Rogaway: "A Block-Cipher Mode of Operation for Parallelizable Message Authentication", 2002).
//!
//! Here a message begins with a block of its own, whose part of the sum can be kept. Everything is in line, so that
//! all of it is compiled for the instructions of the cipher that it is used with.

/// Blocks of a message are counted in so many bits: more than any key has.
const COUNT_BITS: usize = 32;
/// What a bit shifted out of a block stands for: x^128 = x^7 + x^2 + x + 1 in the field of 2^128 elements.
const REDUCTION: u128 = 0x87;

/// A block cipher under a key, and how its blocks are handled.
pub(super) trait Cipher {
    /// Sixteen bytes.
    type Block: Copy;

    fn encrypt(&self, block: Self::Block) -> Self::Block;
    fn of_bytes(bytes: &[u8; 16]) -> Self::Block;
    /// Of two words, little-endian, the low one first.
    fn of_words(low: u64, high: u64) -> Self::Block;
    fn to_bytes(block: Self::Block) -> [u8; 16];
    fn xor(a: Self::Block, b: Self::Block) -> Self::Block;
}

/// PMAC under a key.
#[derive(Clone)]
pub(super) struct Pmac<C: Cipher> {
    cipher: C,
    /// `L(i)`: what the mask of a block has over that of the one before, by the trailing zeros of its number.
    steps: [C::Block; COUNT_BITS],
    /// `L(-1)`, which tells a last block that is full from one that was padded.
    full: C::Block,
}

impl<C: Cipher> Pmac<C> {
    #[inline(always)]
    pub(super) fn new(cipher: C) -> Self {
        let first = u128::from_be_bytes(C::to_bytes(cipher.encrypt(C::of_words(0, 0))));
        let mut step = first;
        let steps = std::array::from_fn(|_| {
            let this = step;
            step = doubled(this);
            C::of_bytes(&this.to_be_bytes())
        });
        Self { cipher, steps, full: C::of_bytes(&halved(first).to_be_bytes()) }
    }

    /// What a first block adds to the sum of its message.
    #[inline(always)]
    pub(super) fn begin(&self, first: &[u8; 16]) -> [u8; 16] {
        C::to_bytes(self.cipher.encrypt(C::xor(C::of_bytes(first), self.steps[0])))
    }

    /// The tag of a message of a first block, which adds `begun`, and of `rest`.
    #[inline(always)]
    pub(super) fn finish(&self, begun: &[u8; 16], rest: &[u8]) -> u128 {
        let begun = C::of_bytes(begun);
        let (blocks, end) = rest.as_chunks();
        let (middle, last) = match (rest.try_into(), blocks.split_last()) {
            // A key of just one block, as an identifier of 128 bits is, needs no more.
            (Ok(block), _) => (&[][..], C::xor(C::of_bytes(block), self.full)),
            (_, Some((last, middle))) if end.is_empty() => (middle, C::xor(C::of_bytes(last), self.full)),
            _ => (blocks, padded::<C>(end)),
        };
        let (mut mask, mut sum) = (self.steps[0], C::xor(begun, last));
        for (number, block) in (2_usize..).zip(middle) {
            mask = C::xor(mask, self.steps[number.trailing_zeros() as usize % COUNT_BITS]);
            sum = C::xor(sum, self.cipher.encrypt(C::xor(C::of_bytes(block), mask)));
        }
        u128::from_le_bytes(C::to_bytes(self.cipher.encrypt(sum)))
    }
}

/// Times `x` in the field.
const fn doubled(block: u128) -> u128 {
    (block << 1) ^ (REDUCTION * (block >> 127))
}

/// Divided by `x` in the field.
const fn halved(block: u128) -> u128 {
    let odd = block & 1;
    ((block ^ (REDUCTION * odd)) >> 1) | (odd << 127)
}

/// Fewer than 16 bytes, a one bit, and zeros. By words: a cipher that reads bytes just stored waits for them.
#[inline(always)]
fn padded<C: Cipher>(end: &[u8]) -> C::Block {
    let bits = u8::BITS * end.len() as u32;
    let one = 0x80 << (bits % u64::BITS);
    // Two loads that overlap take all bytes.
    if let (Some(first), Some(last)) = (end.first_chunk(), end.last_chunk()) {
        let above = u64::from_le_bytes(*last) >> 1 >> (2 * u64::BITS - 1 - bits);
        return C::of_words(u64::from_le_bytes(*first), above | one);
    }
    let word = match (end.first_chunk(), end.last_chunk()) {
        (Some(first), Some(last)) => {
            let above = u64::from(u32::from_le_bytes(*last)) << (bits - u32::BITS);
            u64::from(u32::from_le_bytes(*first)) | above
        }
        _ => end.iter().rev().fold(0, |word, byte| (word << u8::BITS) | u64::from(*byte)),
    };
    C::of_words(word | one, 0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_double_is_the_same() {
        for block in [0, 1, 2, 0x87, 1 << 127, u128::MAX, 0x0123_4567_89ab_cdef << 3] {
            assert_eq!(halved(doubled(block)), block);
            assert_eq!(doubled(halved(block)), block);
        }
    }
}
