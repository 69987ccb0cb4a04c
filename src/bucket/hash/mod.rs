//! Which bucket a key has: a keyed 128-bit hash.
//!
//! PMAC with AES-128, a pseudorandom function: a client cannot aim keys at one place of the table, and two keys share
//! a bucket with probability 2^-128. A key of up to 16 bytes takes one encryption, and those of the blocks of longer
//! ones do not wait for each other. Nodes of a cluster share the secret and so name buckets alike.

#[cfg(target_arch = "x86_64")]
mod native;
mod pmac;
mod portable;

use std::num::NonZeroU128;

use portable::PortablePmac;

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
///
/// The message is the policy's identity, in a block of its own, and the key.
#[derive(Clone)]
pub struct KeyHasher(Pmac);

#[derive(Clone)]
enum Pmac {
    #[cfg(target_arch = "x86_64")]
    Native(native::NativePmac),
    Portable(PortablePmac),
}

/// What a policy adds to the hash of its keys.
#[derive(Clone, Copy)]
pub(super) struct Prefix([u8; 16]);

impl std::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prefix(secret)")
    }
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
        #[cfg(target_arch = "x86_64")]
        if let Some(native) = native::NativePmac::new(&secret) {
            return Self(Pmac::Native(native));
        }
        Self(Pmac::Portable(PortablePmac::of_key(&secret)))
    }

    /// What the policy of that identity adds to the hash of its keys.
    pub(super) fn prefix(&self, identity: u64) -> Prefix {
        let block = u128::from(identity).to_le_bytes();
        Prefix(match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Pmac::Native(pmac) => pmac.begin(&block),
            Pmac::Portable(pmac) => pmac.begin(&block),
        })
    }

    /// The buckets of several keys under the policy of that prefix, in their order.
    #[inline]
    pub(super) fn hash_each<'k>(
        &self,
        Prefix(begun): &Prefix,
        keys: impl Iterator<Item = &'k [u8]>,
        mut each: impl FnMut(BucketId),
    ) {
        let each = |tag| each(BucketId::from_u128(tag));
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Pmac::Native(pmac) => pmac.finish_each(begun, keys, each),
            Pmac::Portable(pmac) => keys.map(|key| pmac.finish(begun, key)).for_each(each),
        }
    }

    /// The bucket of `key` under the policy of that prefix.
    #[inline]
    pub(super) fn hash(&self, Prefix(begun): &Prefix, key: &[u8]) -> BucketId {
        let tag = match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Pmac::Native(pmac) => pmac.finish(begun, key),
            Pmac::Portable(pmac) => pmac.finish(begun, key),
        };
        BucketId::from_u128(tag)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use ::pmac::{KeyInit as _, Mac as _};
    use proptest::prelude::*;

    use super::*;

    fn reference(secret: [u8; 16], identity: u64, key: &[u8]) -> u128 {
        let mut mac = ::pmac::Pmac::<aes::Aes128>::new(&secret.into());
        mac.update(&u128::from(identity).to_le_bytes());
        mac.update(key);
        u128::from_le_bytes(mac.finalize().into_bytes().into())
    }

    /// As any processor hashes, and as this one does; together as alone.
    fn hashes(secret: [u8; 16], identity: u64, key: &[u8]) -> [u128; 2] {
        let portable = KeyHasher(Pmac::Portable(PortablePmac::of_key(&secret)));
        [portable, KeyHasher::new(secret)].map(|hasher| {
            let prefix = hasher.prefix(identity);
            let (id, mut together) = (hasher.hash(&prefix, key), Vec::new());
            hasher.hash_each(&prefix, [key, b"another", key].into_iter(), |id| together.push(id));
            assert_eq!(together, [id, hasher.hash(&prefix, b"another"), id]);
            id.get()
        })
    }

    fn hash(secret: [u8; 16], identity: u64, key: &[u8]) -> u128 {
        hashes(secret, identity, key)[1]
    }

    #[test]
    fn keys_of_every_length_hash_as_the_reference_does() {
        let (secret, key): (_, Vec<u8>) =
            (*b"0123456789abcdef", (0..=512_u32).map(|byte| (byte * 37 % 251) as u8).collect());
        for length in 1..=key.len() {
            let expected = reference(secret, 7, &key[..length]);
            assert_eq!(hashes(secret, 7, &key[..length]), [expected; 2], "{length} bytes");
        }
    }

    /// Nodes, snapshots and kept tables of one version name a bucket alike.
    #[test]
    fn the_name_of_a_bucket_stays() {
        assert_eq!(hash(*b"0123456789abcdef", 7, b"user:1"), 0x7cfb_6951_3eb4_943b_71e5_e366_d089_9d43);
    }

    proptest! {
        #[test]
        fn any_key_under_any_secret_hashes_as_the_reference_does(
            secret: [u8; 16], identity: u64, key in proptest::collection::vec(any::<u8>(), 1..80),
        ) {
            prop_assert_eq!(hashes(secret, identity, &key), [reference(secret, identity, &key); 2]);
        }
    }

    #[test]
    fn policies_keys_and_secrets_all_count() {
        let first = hash([1; 16], 1, b"k");
        assert_eq!(first, hash([1; 16], 1, b"k"));
        for (secret, identity, key) in
            [([1; 16], 2, &b"k"[..]), ([1; 16], 1, b"l"), ([2; 16], 1, b"k"), ([1; 16], 1, b"")]
        {
            assert_ne!(first, hash(secret, identity, key));
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let hasher = KeyHasher::new([7; 16]);
        assert_eq!(format!("{hasher:?} {:?}", hasher.prefix(1)), "KeyHasher(secret) Prefix(secret)");
    }
}
