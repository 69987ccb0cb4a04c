//! Keys as clients send them, drawn at random by a generator that is the same in every run.

/// A key: `user` and twelve digits.
pub(crate) type Key = [u8; 16];

/// The key of that number, below 10^12.
pub(crate) fn key(number: usize) -> Key {
    let mut key = *b"user000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A key as text with memory of its own, which a map of keys of any length needs.
pub(crate) fn text(key: &Key) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for each `seed`.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) const fn below(&mut self, end: usize) -> usize {
        ((self.next() as u128 * end as u128) >> 64) as usize
    }

    /// `count` keys out of the first `keys`.
    pub(crate) fn draw(&mut self, keys: usize, count: usize) -> Vec<Key> {
        (0..count).map(|_| key(self.below(keys))).collect()
    }
}
