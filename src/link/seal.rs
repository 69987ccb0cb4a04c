//! The envelope of a datagram, which is in the clear and authenticated, and the seal of what is in it.
//!
//! `version (1) | from (1) | to (1) | 0 (1) | cluster tag (4) | boot salt (16) | number (8) | sealed | tag (16)`.
//! The first eight bytes mean the same in every version. AES-256-GCM (RFC 5116); its nonce is the
//! datagram's number, which a sender never uses twice under one salt.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce};

use super::keys::BootSalt;
use super::stats::Rejected;

/// Most bytes of a datagram: they pass the Internet in one piece (IPv6 promises 1,280 with headers).
pub const MAX_DATAGRAM_BYTES: usize = 1232;
/// The version of the format.
pub const VERSION: u8 = 2;

/// Bytes of the envelope before what is sealed.
pub(super) const ENVELOPE_BYTES: usize = 32;
/// Bytes of the tag after what is sealed.
pub(super) const TAG_BYTES: usize = 16;
const _: () = assert!(TAG_BYTES == MAX_TAG_LEN);

/// Which key opens a datagram. Nothing in it is believed before it has opened one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) cluster: [u8; 4],
    pub(super) salt: BootSalt,
    pub(super) number: u64,
}

impl Envelope {
    /// Reads the front of a datagram of this version and cluster.
    pub(super) fn read(datagram: &[u8], cluster: [u8; 4]) -> Result<Self, Rejected> {
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return Err(Rejected::TooLong { bytes: datagram.len() });
        }
        let short = Rejected::TooShort { bytes: datagram.len() };
        let Some((&[version, from, to, zero, tag @ ..], rest)) = datagram.split_first_chunk::<8>() else {
            return Err(short);
        };
        if tag != cluster {
            return Err(Rejected::Cluster);
        }
        if version != VERSION {
            return Err(Rejected::Version { theirs: version });
        }
        if datagram.len() < ENVELOPE_BYTES + TAG_BYTES {
            return Err(short);
        }
        // Authenticated as all of the envelope, so what this version never writes would not open.
        if zero != 0 {
            return Err(Rejected::Unopened);
        }
        let Some((salt, rest)) = rest.split_first_chunk::<16>() else { return Err(short) };
        let Some((number, _)) = rest.split_first_chunk::<8>() else { return Err(short) };
        Ok(Self { from, to, cluster: tag, salt: *salt, number: u64::from_le_bytes(*number) })
    }

    fn write(&self, out: &mut [u8; ENVELOPE_BYTES]) {
        out[..4].copy_from_slice(&[VERSION, self.from, self.to, 0]);
        out[4..8].copy_from_slice(&self.cluster);
        out[8..24].copy_from_slice(&self.salt);
        out[24..].copy_from_slice(&self.number.to_le_bytes());
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.number.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Where the content of a datagram goes.
pub(super) fn body_mut(out: &mut [u8; MAX_DATAGRAM_BYTES]) -> &mut [u8] {
    &mut out[ENVELOPE_BYTES..MAX_DATAGRAM_BYTES - TAG_BYTES]
}

/// Seals the first `length` bytes of the body in place; how long the datagram is.
pub(super) fn seal(
    key: &LessSafeKey,
    envelope: &Envelope,
    length: usize,
    out: &mut [u8; MAX_DATAGRAM_BYTES],
) -> usize {
    debug_assert_eq!(key.algorithm(), &AES_256_GCM);
    let (head, body) = out.split_first_chunk_mut::<ENVELOPE_BYTES>().expect("an envelope is shorter");
    envelope.write(head);
    let (sealed, rest) = body.split_at_mut(length);
    let tag = key.seal_in_place_separate_tag(envelope.nonce(), Aad::from(&*head), sealed);
    rest[..TAG_BYTES].copy_from_slice(tag.expect("AES-GCM seals up to 64 GiB").as_ref());
    ENVELOPE_BYTES + length + TAG_BYTES
}

/// Opens a datagram in place; its content.
pub(super) fn open<'d>(
    key: &LessSafeKey,
    envelope: &Envelope,
    datagram: &'d mut [u8],
) -> Result<&'d [u8], Rejected> {
    let (head, sealed) = datagram.split_at_mut_checked(ENVELOPE_BYTES).ok_or(Rejected::Unopened)?;
    let body = key.open_in_place(envelope.nonce(), Aad::from(&*head), sealed);
    body.map(|body| &*body).map_err(|_| Rejected::Unopened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::keys::{KeySchedule, Secret};
    use crate::replica::NodeId;

    fn sealed() -> (LessSafeKey, Envelope, Vec<u8>) {
        let (a, b) = (NodeId::new(1).unwrap(), NodeId::new(2).unwrap());
        let schedule = KeySchedule::new(&Secret::new([7; 32]));
        let cluster = schedule.cluster_tag();
        let key = schedule.datagram_key(a, b, &[9; 16]);
        let envelope = Envelope { from: 1, to: 2, cluster, salt: [9; 16], number: 5 };
        let mut out = [0; MAX_DATAGRAM_BYTES];
        body_mut(&mut out)[..5].copy_from_slice(b"hello");
        let length = seal(&key, &envelope, 5, &mut out);
        (key, envelope, out[..length].to_vec())
    }

    #[test]
    fn what_is_sealed_opens() {
        let (key, envelope, mut datagram) = sealed();
        assert_eq!(Envelope::read(&datagram, envelope.cluster), Ok(envelope));
        assert_eq!(open(&key, &envelope, &mut datagram), Ok(&b"hello"[..]));
    }

    #[test]
    fn the_bytes_of_an_envelope_stay() {
        let (_, _, datagram) = sealed();
        let hex: String = crate::hex::encode(&datagram);
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "0201020038ede24609090909090909090909090909090909\
        0500000000000000e899d34352bb1d3f47cdce04e98d87cc1aad0bc664";

    #[test]
    fn a_bit_flipped_anywhere_does_not_open() {
        let (key, envelope, datagram) = sealed();
        for bit in 0..datagram.len() * 8 {
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let opened = Envelope::read(&forged, envelope.cluster)
                .and_then(|e| open(&key, &e, &mut forged).map(<[u8]>::to_vec));
            assert!(opened.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_datagram_of_another_version_is_refused_in_words() {
        let (_, envelope, mut datagram) = sealed();
        datagram[0] = 3;
        let refused = Envelope::read(&datagram, envelope.cluster).unwrap_err();
        assert_eq!(refused, Rejected::Version { theirs: 3 });
        assert_eq!(
            refused.to_string(),
            "it has version 3 of the link's format, and this node speaks version 2"
        );
        assert_eq!(Envelope::read(&datagram, [0; 4]), Err(Rejected::Cluster));
    }
}
