//! What fuzzers reach of the link without having to forge a seal; built for them alone.

use ring::aead::LessSafeKey;

use super::keys::{BootSalt, KeySchedule, Secret};
use super::seal::{self, Envelope, MAX_DATAGRAM_BYTES};
use super::wire::{self, Frame, Header};
use crate::replica::{Entry, NodeId};

/// Most bytes of what is sealed.
pub const MAX_BODY_BYTES: usize = MAX_DATAGRAM_BYTES - seal::ENVELOPE_BYTES - seal::TAG_BYTES;

/// Reads `body` as if it had opened. What can be read can be written, and then means the same.
///
/// # Panics
/// When that is not so.
pub fn read(body: &[u8]) {
    let Ok(frame) = Frame::parse(body) else { return };
    let entries: Vec<(u32, Entry)> = frame.entries().map(|entry| (0, entry)).collect();
    let words: Vec<u64> = frame.words().collect();
    let mut out = [0; MAX_BODY_BYTES];
    let (length, written) = wire::encode(Header { groups: 0, ..frame.header }, &words, &entries, &mut out);
    assert_eq!(written, entries.len());
    let again = Frame::parse(&out[..length]).expect("what was written can be read");
    assert!(again.entries().eq(frame.entries()) && again.words().eq(words));
}

/// What a datagram may say, of the right form.
#[derive(Clone, Debug, Default)]
pub struct Saying {
    /// The highest number that was heard of the receiver.
    pub ack_highest: u64,
    /// Which others were heard; the first 32 are sent.
    pub ack_words: Vec<u64>,
    /// Microseconds since it was heard.
    pub ack_delay_us: u32,
    /// The sync asked for, and the sync served.
    pub syncs: [u32; 2],
    /// Flags, also such as there are none.
    pub flags: u8,
    /// As many are sent as there is room for.
    pub entries: Vec<Entry>,
}

/// A node that holds the secret and says what it likes to one other.
#[derive(Debug)]
pub struct Insider {
    sends: LessSafeKey,
    schedule: KeySchedule,
    envelope: Envelope,
    nodes: [NodeId; 2],
    /// What the other wants to be echoed.
    challenge: u64,
    /// The sync that the other asks for.
    asked: u32,
}

impl Insider {
    /// Node `from` in the boot of `salt`, which speaks with node `to`.
    #[must_use]
    pub fn new(secret: &Secret, from: NodeId, to: NodeId, salt: BootSalt) -> Self {
        let schedule = KeySchedule::new(secret);
        let cluster = schedule.cluster_tag();
        let envelope = Envelope { from: from.get(), to: to.get(), cluster, salt, number: 0 };
        let sends = schedule.datagram_key(from, to, &salt);
        Self { sends, schedule, envelope, nodes: [from, to], challenge: 0, asked: 0 }
    }

    /// Takes what the other node sent.
    pub fn hear(&mut self, datagram: &mut [u8]) {
        let Ok(envelope) = Envelope::read(datagram, self.envelope.cluster) else { return };
        let key = self.schedule.datagram_key(self.nodes[1], self.nodes[0], &envelope.salt);
        let body = seal::open(&key, &envelope, datagram).ok();
        if let Some(frame) = body.and_then(|body| Frame::parse(body).ok()) {
            (self.challenge, self.asked) = (frame.header.challenge, frame.header.sync_wanted);
        }
    }

    /// The sync that the other node asks for, zero when it has it.
    #[must_use]
    pub const fn asked(&self) -> u32 {
        self.asked
    }

    /// Seals `saying` under the next number; the bytes of the datagram.
    pub fn tell(&mut self, saying: &Saying, out: &mut [u8; MAX_DATAGRAM_BYTES]) -> usize {
        let header = Header {
            challenge: 1,
            echo: self.challenge,
            ack_highest: saying.ack_highest,
            ack_delay_us: saying.ack_delay_us,
            sync_wanted: saying.syncs[0],
            sync_served: saying.syncs[1],
            flags: saying.flags,
            ..Header::default()
        };
        let words = &saying.ack_words[..saying.ack_words.len().min(wire::MAX_ACK_WORDS)];
        let entries: Vec<(u32, Entry)> = saying.entries.iter().map(|entry| (0, *entry)).collect();
        let (length, _) = wire::encode(header, words, &entries, seal::body_mut(out));
        self.seal(length, out)
    }

    /// Seals any bytes under the next number, with the echo put right where there is one.
    pub fn utter(&mut self, body: &[u8], out: &mut [u8; MAX_DATAGRAM_BYTES]) -> usize {
        let length = body.len().min(MAX_BODY_BYTES);
        let place = seal::body_mut(out);
        place[..length].copy_from_slice(&body[..length]);
        if length >= wire::HEADER_BYTES {
            place[8..16].copy_from_slice(&self.challenge.to_le_bytes());
        }
        self.seal(length, out)
    }

    fn seal(&mut self, length: usize, out: &mut [u8; MAX_DATAGRAM_BYTES]) -> usize {
        self.envelope.number += 1;
        seal::seal(&self.sends, &self.envelope, length, out)
    }
}
