//! Which bucket a key has: a keyed 128-bit hash.
//!
//! SipHash-1-3 with 128 bits of output (Aumasson, Bernstein), keyed by a secret, so that a client
//! cannot aim keys at one place of the table, and two keys share a bucket with probability 2^-128.
//! Nodes of a cluster share the secret and so name buckets alike.

use std::num::NonZeroU128;

use super::policy::Policy;

/// The identity of a bucket, the same on every node that has the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketId(NonZeroU128);

impl BucketId {
    /// An identity from its value; zero, which marks an empty line, becomes one.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        Self(NonZeroU128::new(value).unwrap_or(NonZeroU128::MIN))
    }

    /// The value.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0.get()
    }
}

/// Hashes keys under a secret.
#[derive(Clone)]
pub struct KeyHasher {
    base: SipState,
}

impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHasher(secret)")
    }
}

impl KeyHasher {
    /// A hasher for `secret`.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self { base: SipState::new(u128::from_le_bytes(secret)) }
    }

    /// The bucket of `key` under `policy`.
    #[inline]
    #[must_use]
    pub fn bucket_id(&self, policy: &Policy, key: &[u8]) -> BucketId {
        self.raw(policy.identity(), key)
    }

    /// The hash of the identity's eight bytes, little-endian, and the key's.
    #[inline]
    fn raw(&self, identity: u64, key: &[u8]) -> BucketId {
        let mut state = self.base;
        state.absorb(identity);
        let (words, rest) = key.as_chunks();
        for word in words {
            state.absorb(u64::from_le_bytes(*word));
        }
        // The last word has the length, of which SipHash takes one byte, above what is left of the key.
        let length = (key.len() as u64).wrapping_add(size_of::<u64>() as u64);
        state.absorb((length << 56) | last_word(key, rest));
        BucketId::from_u128(state.finish())
    }
}

/// The last `rest` bytes of a key, fewer than eight, as the low bytes of a word.
#[inline]
fn last_word(key: &[u8], rest: &[u8]) -> u64 {
    match key.last_chunk() {
        _ if rest.is_empty() => 0,
        // One load that overlaps the word before.
        Some(last) => u64::from_le_bytes(*last) >> (u64::BITS - u8::BITS * rest.len() as u32),
        None => rest.iter().rev().fold(0, |word, byte| (word << u8::BITS) | u64::from(*byte)),
    }
}

/// SipHash-1-3 with 128 bits of output over whole words: the message is at hand, so nothing is buffered.
#[derive(Clone, Copy)]
struct SipState {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipState {
    fn new(key: u128) -> Self {
        let (low, high) = (key as u64, (key >> 64) as u64);
        // "somepseudorandomlygeneratedbytes", and the mark of the longer output.
        Self {
            v0: low ^ 0x736f_6d65_7073_6575,
            v1: high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: low ^ 0x6c79_6765_6e65_7261,
            v3: high ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline]
    const fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    const fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline]
    const fn squeeze(&mut self) -> u64 {
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline]
    fn finish(mut self) -> u128 {
        self.v2 ^= 0xee;
        let low = self.squeeze();
        self.v1 ^= 0xdd;
        let high = self.squeeze();
        (u128::from(high) << 64) | u128::from(low)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use proptest::prelude::*;
    use siphasher::sip128::{Hasher128 as _, SipHasher13};

    use super::*;

    fn reference(secret: [u8; 16], identity: u64, key: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&secret);
        hasher.write(&identity.to_le_bytes());
        hasher.write(key);
        u128::from(hasher.finish128())
    }

    #[test]
    fn keys_of_every_length_hash_as_the_reference_does() {
        let key: Vec<u8> = (0..=512_u32).map(|byte| (byte * 37 % 251) as u8).collect();
        for length in 0..=key.len() {
            let hash = KeyHasher::new(*b"0123456789abcdef").raw(7, &key[..length]).get();
            assert_eq!(hash, reference(*b"0123456789abcdef", 7, &key[..length]), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_key_under_any_secret_hashes_as_the_reference_does(
            secret: [u8; 16], identity: u64, key in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let hash = KeyHasher::new(secret).raw(identity, &key).get();
            prop_assert_eq!(hash, reference(secret, identity, &key));
        }
    }

    #[test]
    fn policies_keys_and_secrets_all_count() {
        let (a, b) = (KeyHasher::new([1; 16]), KeyHasher::new([2; 16]));
        assert_eq!(a.raw(1, b"k"), a.raw(1, b"k"));
        assert_ne!(a.raw(1, b"k"), a.raw(2, b"k"));
        assert_ne!(a.raw(1, b"k"), a.raw(1, b"l"));
        assert_ne!(a.raw(1, b"k"), b.raw(1, b"k"));
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(format!("{:?}", KeyHasher::new([7; 16])), "KeyHasher(secret)");
    }
}
