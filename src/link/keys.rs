//! What is derived from the secret of a cluster: the keys of datagrams, of bucket names, and the tag.
//!
//! HKDF with SHA-256 (RFC 5869). Each derivation has a label of its own, so no key says anything of
//! another.

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::sync::SyncId;
use crate::replica::NodeId;

/// Bytes of a cluster's secret.
pub const SECRET_BYTES: usize = 32;

/// What all nodes of a cluster know, and nobody else. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// The secret of those bytes, which should be random.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    fn root(&self) -> Root {
        Root(Salt::new(HKDF_SHA256, b"openclaw-rating cluster 1").extract(&self.0))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The key under which all nodes of a cluster hash keys to buckets.
#[must_use]
pub fn derive_hash_key(secret: &Secret) -> [u8; 16] {
    secret.root().expand(&[b"bucket names"])
}

/// Random bytes that a node chooses at its start; they are sent in the clear.
pub(super) type BootSalt = [u8; 16];

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

struct Root(Prk);

impl Root {
    fn expand<const N: usize>(&self, info: &[&[u8]]) -> [u8; N] {
        let mut out = [0; N];
        let filled = self.0.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out));
        filled.expect("HKDF gives up to 8160 bytes");
        out
    }
}

/// Derives the keys of datagrams.
pub(super) struct KeySchedule {
    root: Root,
}

impl std::fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySchedule(..)")
    }
}

impl KeySchedule {
    pub(super) fn new(secret: &Secret) -> Self {
        Self { root: secret.root() }
    }

    /// Tells clusters apart before anything is opened. Public, and says nothing of the secret.
    pub(super) fn cluster_tag(&self) -> [u8; 4] {
        self.root.expand(&[b"cluster tag"])
    }

    /// The key of datagrams from one node to another in one boot of the sender. Directions have keys of
    /// their own, so a datagram that is sent back or on opens nowhere.
    pub(super) fn datagram_key(&self, from: NodeId, to: NodeId, salt: &BootSalt) -> LessSafeKey {
        let key: [u8; 32] = self.root.expand(&[b"datagram", &[from.get(), to.get()], salt]);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has the AEAD's length"))
    }
}

/// Numbers that nobody can foretell, all from one seed.
pub(super) struct Random {
    root: Root,
    drawn: u64,
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(..)")
    }
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { root: Root(Salt::new(HKDF_SHA256, b"openclaw-rating link seed 1").extract(&seed)), drawn: 0 }
    }

    pub(super) fn salt(&mut self) -> BootSalt {
        self.draw()
    }

    /// Not zero, which stands for none.
    pub(super) fn challenge(&mut self) -> u64 {
        u64::from_le_bytes(self.draw()).max(1)
    }

    pub(super) fn sync_id(&mut self) -> SyncId {
        SyncId::new(u32::from_le_bytes(self.draw())).unwrap_or(SyncId::MIN)
    }

    fn draw<const N: usize>(&mut self) -> [u8; N] {
        self.drawn += 1;
        self.root.expand(&[&self.drawn.to_le_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let schedule = KeySchedule::new(&Secret::new([0x5a; 32]));
        let shown = format!("{:?} {schedule:?} {:?}", Secret::new([0x5a; 32]), Random::new([0x5a; 32]));
        assert_eq!(shown, "Secret(..) KeySchedule(..) Random(..)");
    }

    /// All nodes must derive alike, in this version and the next.
    #[test]
    fn derived_keys_stay() {
        let secret = Secret::new([7; 32]);
        let tag = KeySchedule::new(&secret).cluster_tag();
        let key = derive_hash_key(&secret);
        assert_eq!((tag, u128::from_be_bytes(key)), GOLDEN);
    }

    const GOLDEN: ([u8; 4], u128) = ([56, 237, 226, 70], 332_828_065_757_863_461_657_610_131_333_560_433_145);

    #[test]
    fn draws_differ() {
        let mut random = Random::new([1; 32]);
        assert_ne!(random.challenge(), random.challenge());
        assert_ne!(random.salt(), Random::new([2; 32]).salt());
    }
}
