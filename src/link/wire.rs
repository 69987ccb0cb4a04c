//! What a datagram says once it is open: a header, acknowledgements, and entries grouped by policy.
//!
//! `Header | ack words (8 each) | groups`, where a group is a [`GroupHeader`] and its [`WireEntry`]s. Each
//! piece is an rkyv archive of fixed size without padding, little-endian, and is read with checked
//! access. A version has exactly one meaning: what is unknown or left over is malformed.

use rkyv::api::serialize_using;
use rkyv::rancor::{Failure, Strategy};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Archived, Portable, Serialize};

use super::level;
use crate::bucket::hash::BucketId;
use crate::replica::Entry;

/// Most acknowledgement words in a datagram: they reach as far back as the replay window does.
pub(super) const MAX_ACK_WORDS: usize = 32;

/// The first datagram of a flush: one interval of the heartbeat.
pub(super) const FLAG_HEARTBEAT: u8 = 1;
/// The entries belong to the full sync that the receiver asked for.
pub(super) const FLAG_SYNC: u8 = 2;
/// The full sync has arrived whole.
pub(super) const FLAG_SYNC_DONE: u8 = 4;
const FLAGS: u8 = FLAG_HEARTBEAT | FLAG_SYNC | FLAG_SYNC_DONE;

/// What each datagram says first.
#[derive(Archive, Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Who echoes this is alive now.
    pub(super) challenge: u64,
    /// The receiver's challenge, zero when none was heard.
    pub(super) echo: u64,
    /// The highest number heard of the receiver.
    pub(super) ack_highest: u64,
    /// Microseconds from hearing it to sending this.
    pub(super) ack_delay_us: u32,
    /// The full sync that the sender asks for, zero when it does not.
    pub(super) sync_wanted: u32,
    /// The full sync that the sender serves, zero when it does not.
    pub(super) sync_served: u32,
    /// `FLAG_*`.
    pub(super) flags: u8,
    /// How many words follow: bit `b` of word `w` says that `ack_highest - 64 w - b` was heard.
    pub(super) ack_words: u8,
    /// How many groups follow.
    pub(super) groups: u8,
}

/// Entries of one policy follow.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
struct GroupHeader {
    policy: u64,
    entries: u8,
}

/// One bucket.
#[derive(Archive, Serialize, Clone, Copy, Debug)]
struct WireEntry {
    id: u128,
    count: u64,
    /// Saturated: more than 2^32 tokens in use are beyond any limit.
    used: u32,
    level: u32,
}

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = size_of::<Archived<Header>>();
/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = size_of::<Archived<WireEntry>>();
const GROUP_BYTES: usize = size_of::<Archived<GroupHeader>>();
const WORD_BYTES: usize = size_of::<u64>();
const _: () = assert!(HEADER_BYTES == 39 && ENTRY_BYTES == 32 && GROUP_BYTES == 9);

/// What opened, and is not of this version's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Writes a datagram's content to `out`: the header, which learns what follows it, the words, and as many
/// of `entries` as there is room for. Returns the bytes and the entries written.
///
/// Entries of a policy should be beside each other: each run of them costs a group header.
pub(super) fn encode(
    mut header: Header,
    acks: &[u64],
    entries: &[(u32, Entry)],
    out: &mut [u8],
) -> (usize, usize) {
    let mut at = HEADER_BYTES;
    for word in acks {
        put(word, out, &mut at);
    }
    header.ack_words = acks.len() as u8;
    let mut written = 0;
    while written < entries.len() && header.groups < u8::MAX {
        let taken = encode_group(&entries[written..], out, &mut at);
        if taken == 0 {
            break;
        }
        written += taken;
        header.groups += 1;
    }
    put(&header, out, &mut 0);
    (at, written)
}

/// Writes the entries of the first one's policy, and says how many.
fn encode_group(entries: &[(u32, Entry)], out: &mut [u8], at: &mut usize) -> usize {
    let room = out.len().saturating_sub(*at + GROUP_BYTES) / ENTRY_BYTES;
    let policy = entries[0].1.policy;
    let alike = entries.iter().take(room.min(usize::from(u8::MAX))).take_while(|(_, e)| e.policy == policy);
    let taken = alike.count();
    if taken == 0 {
        return 0;
    }
    put(&GroupHeader { policy, entries: taken as u8 }, out, at);
    let places = out[*at..].as_chunks_mut::<ENTRY_BYTES>().0;
    for ((_, entry), place) in entries[..taken].iter().zip(places) {
        let used = u32::try_from(entry.used).unwrap_or(u32::MAX);
        let level = level::encode(entry.level);
        put(&WireEntry { id: entry.id.get(), count: entry.count, used, level }, place, &mut 0);
    }
    *at += taken * ENTRY_BYTES;
    taken
}

fn put<'b, T>(value: &T, out: &'b mut [u8], at: &mut usize)
where
    T: Serialize<Strategy<Buffer<'b>, Failure>>,
{
    let mut buffer = Buffer::from(&mut out[*at..]);
    let end = serialize_using::<_, Failure>(value, &mut buffer).map(|start| start + size_of::<T::Archived>());
    *at += end.expect("callers have seen that there is room");
}

/// A datagram's content, checked whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) header: Header,
    words: &'a [u8],
    groups: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads `body`, to its end.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = take::<Archived<Header>>(body)?;
        let header = header_of(header);
        if header.flags & !FLAGS != 0 || usize::from(header.ack_words) > MAX_ACK_WORDS {
            return Err(Malformed);
        }
        let (words, groups) =
            rest.split_at_checked(usize::from(header.ack_words) * WORD_BYTES).ok_or(Malformed)?;
        let mut left = groups;
        for _ in 0..header.groups {
            let (group, rest) = take::<Archived<GroupHeader>>(left)?;
            let (_, rest) =
                rest.split_at_checked(usize::from(group.entries) * ENTRY_BYTES).ok_or(Malformed)?;
            left = rest;
        }
        if left.is_empty() { Ok(Self { header, words, groups }) } else { Err(Malformed) }
    }

    /// The acknowledgement words.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + 'a {
        self.words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
    }

    /// The entries, in order.
    pub(super) fn entries(&self) -> Entries<'a> {
        Entries { rest: self.groups, policy: 0, left: 0 }
    }
}

/// The entries of a checked frame.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    policy: u64,
    left: u8,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        while self.left == 0 {
            let (group, rest) = take::<Archived<GroupHeader>>(self.rest).ok()?;
            (self.policy, self.left, self.rest) = (group.policy.to_native(), group.entries, rest);
        }
        let (entry, rest) = take::<Archived<WireEntry>>(self.rest).ok()?;
        self.rest = rest;
        self.left -= 1;
        Some(Entry {
            policy: self.policy,
            id: BucketId::from_u128(entry.id.to_native()),
            count: entry.count.to_native(),
            used: u64::from(entry.used.to_native()),
            level: level::decode(entry.level.to_native()),
        })
    }
}

fn header_of(archived: &Archived<Header>) -> Header {
    Header {
        challenge: archived.challenge.to_native(),
        echo: archived.echo.to_native(),
        ack_highest: archived.ack_highest.to_native(),
        ack_delay_us: archived.ack_delay_us.to_native(),
        sync_wanted: archived.sync_wanted.to_native(),
        sync_served: archived.sync_served.to_native(),
        flags: archived.flags,
        ack_words: archived.ack_words,
        groups: archived.groups,
    }
}

/// The archive at the front of `bytes`, and what follows it.
fn take<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Malformed>
where
    T: Portable + for<'c> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'c, Failure>>,
{
    let (front, rest) = bytes.split_at_checked(size_of::<T>()).ok_or(Malformed)?;
    let archived = rkyv::access::<T, Failure>(front).map_err(|_| Malformed)?;
    Ok((archived, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::encode as hex;
    use proptest::prelude::*;

    fn entry(policy: u64, id: u128) -> (u32, Entry) {
        (
            0,
            Entry {
                policy,
                id: BucketId::from_u128(id),
                count: 0x0102_0304_0506_0708,
                used: 9,
                level: 65_536,
            },
        )
    }

    #[test]
    fn the_bytes_of_a_body_stay() {
        let header = Header {
            challenge: 0x1122_3344_5566_7788,
            echo: 0x99aa_bbcc_ddee_ff00,
            ack_highest: 7,
            ack_delay_us: 1500,
            sync_wanted: 0xa1a2_a3a4,
            sync_served: 0xb1b2_b3b4,
            flags: FLAG_HEARTBEAT | FLAG_SYNC,
            ..Header::default()
        };
        let mut out = [0; 1024];
        let entries = [entry(0xc0ff_ee00, 1), entry(0xc0ff_ee00, 2), entry(5, 3)];
        let (length, written) = encode(header, &[0b101], &entries, &mut out);
        assert_eq!(written, 3);
        let expected = concat!(
            "8877665544332211",
            "00ffeeddccbbaa99",
            "0700000000000000",
            "dc050000",
            "a4a3a2a1",
            "b4b3b2b1",
            "03",
            "01",
            "02",
            "0500000000000000",
            "00eeffc000000000",
            "02",
            "01000000000000000000000000000000",
            "0807060504030201",
            "09000000",
            "00000100",
            "02000000000000000000000000000000",
            "0807060504030201",
            "09000000",
            "00000100",
            "0500000000000000",
            "01",
            "03000000000000000000000000000000",
            "0807060504030201",
            "09000000",
            "00000100",
        );
        assert_eq!(hex(&out[..length]), expected);
    }

    #[test]
    fn a_frame_cut_anywhere_or_with_more_behind_it_is_malformed() {
        let mut out = [0; 1024];
        let (length, _) = encode(Header::default(), &[1, 2], &[entry(1, 1), entry(2, 2)], &mut out);
        assert!(Frame::parse(&out[..length]).is_ok());
        for cut in (0..length).chain([length + 1]) {
            assert_eq!(Frame::parse(&out[..cut]).err(), Some(Malformed), "{cut} bytes");
        }
    }

    #[test]
    fn a_flag_of_another_version_is_malformed() {
        let mut out = [0; HEADER_BYTES];
        encode(Header { flags: 8, ..Header::default() }, &[], &[], &mut out);
        assert_eq!(Frame::parse(&out).err(), Some(Malformed));
    }

    #[test]
    fn what_does_not_fit_is_left() {
        let entries = vec![entry(1, 1); 40];
        let mut out = [0; 1184];
        let (length, written) = encode(Header::default(), &[0], &entries, &mut out);
        assert_eq!(written, 35);
        assert_eq!(Frame::parse(&out[..length]).unwrap().entries().count(), 35);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            said in proptest::collection::vec(
                (0_u64..3, 1_u128.., any::<u64>(), any::<u32>(), 0_u64..1 << 26),
                0..30,
            ),
            words in proptest::collection::vec(any::<u64>(), 0..4),
            challenge: u64,
        ) {
            let mut entries: Vec<_> = said.iter().map(|&(policy, id, count, used, level)| {
                (0, Entry { policy, id: BucketId::from_u128(id), count, used: u64::from(used), level })
            }).collect();
            entries.sort_by_key(|(_, entry)| entry.policy);
            let mut out = [0; 1184];
            let header = Header { challenge, ..Header::default() };
            let (length, written) = encode(header, &words, &entries, &mut out);
            prop_assert_eq!(written, entries.len());
            let frame = Frame::parse(&out[..length]).unwrap();
            prop_assert_eq!(frame.header.challenge, challenge);
            prop_assert_eq!(frame.words().collect::<Vec<_>>(), words);
            let read: Vec<_> = frame.entries().map(|entry| (0, entry)).collect();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1232)) {
            if let Ok(frame) = Frame::parse(&bytes) {
                prop_assert!(frame.entries().count() <= 1232 / ENTRY_BYTES);
            }
        }
    }
}
