//! Which bucket a key has: a keyed 128-bit hash.
//!
//! SipHash-1-3 with 128 bits of output (Aumasson, Bernstein), keyed by a secret, so that a client
//! cannot aim keys at one place of the table, and two keys share a bucket with probability 2^-128.
//! Nodes of a cluster share the secret and so name buckets alike.

use std::num::NonZeroU128;

use siphasher::sip128::SipHasher13;

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
    base: SipHasher13,
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
        Self { base: SipHasher13::new_with_key(&secret) }
    }

    /// The bucket of `key` under `policy`.
    #[must_use]
    pub fn bucket_id(&self, policy: &Policy, key: &[u8]) -> BucketId {
        self.raw(policy.identity(), key)
    }

    fn raw(&self, identity: u64, key: &[u8]) -> BucketId {
        use std::hash::Hasher as _;
        let mut hasher = self.base;
        hasher.write_u64(identity);
        hasher.write(key);
        let hash = siphasher::sip128::Hasher128::finish128(&hasher);
        BucketId::from_u128(u128::from(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
