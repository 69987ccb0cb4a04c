//! One line of the journal as bytes.
//!
//! ```text
//! {"seq":7,"at":1764053000123,"incident":"eu-1","entry":{…},"prev":"<64 digits>","hash":"<64 digits>"}
//! ```
//!
//! `hash` is the SHA-256 of the exact bytes before `,"hash"`; `prev` is the `hash` of the line before, and 64
//! zeros in the first line. Digits are lower case, so a line has one form only.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Fault;
use crate::agent::types::{Entry, IncidentId, UnixMs};
use crate::hex;

/// A line is at most this long, its line end included.
pub const MAX_LINE_BYTES: usize = 256 << 10;
const HASH_MARK: &str = r#","hash":""#;
const HASH_DIGITS: usize = 64;
/// `,"hash":"`, the digits, `"}`.
const TRAILER_BYTES: usize = HASH_MARK.len() + HASH_DIGITS + 2;

/// The SHA-256 of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// An entry that this version knows.
    Known(Entry),
    /// One that a newer version wrote, or in a form that this one does not know.
    Unknown {
        /// The value of `entry`, as far as it has one.
        kind: String,
        /// The whole of it, as JSON.
        json: String,
    },
}

impl Logged {
    /// The entry, when it is known.
    #[must_use]
    pub const fn known(&self) -> Option<&Entry> {
        match self {
            Self::Known(entry) => Some(entry),
            Self::Unknown { .. } => None,
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counts from 1.
    pub sequence: u64,
    /// When it was written.
    pub at: UnixMs,
    /// The incident that it is about, when there was one.
    pub incident: Option<IncidentId>,
    /// What it says.
    pub logged: Logged,
}

/// Where a chain stands: what the next line must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last line; 0 before the first.
    pub sequence: u64,
    /// Its hash; zeros before the first.
    pub hash: Hash,
}

impl Chain {
    /// Before the first line.
    pub const START: Self = Self { sequence: 0, hash: Hash([0; 32]) };

    /// The bytes of the next line, and the chain after it.
    ///
    /// # Errors
    /// When the line would be longer than [`MAX_LINE_BYTES`].
    pub fn encode(
        self,
        at: UnixMs,
        incident: Option<&IncidentId>,
        entry: &Entry,
    ) -> Result<(Vec<u8>, Self), Fault> {
        let sequence = self.sequence + 1;
        let body = Written { seq: sequence, at, incident, entry, prev: &hex::encode(&self.hash.0) };
        let mut bytes = serde_json::to_vec(&body).map_err(|_| Fault::NotALine)?;
        // The closing brace comes after the hash.
        bytes.pop();
        let hash = hash_of(&bytes);
        bytes.extend_from_slice(HASH_MARK.as_bytes());
        bytes.extend_from_slice(hex::encode(&hash.0).as_bytes());
        bytes.extend_from_slice(b"\"}\n");
        if bytes.len() > MAX_LINE_BYTES { Err(Fault::TooLong) } else { Ok((bytes, Self { sequence, hash })) }
    }

    /// The line in `bytes`, which end with the line end, and the chain after it.
    ///
    /// # Errors
    /// When it is no whole line, was changed, or does not follow.
    pub fn follow(self, bytes: &[u8]) -> Result<(Line, Self), Fault> {
        let opened = Opened::new(bytes)?;
        if opened.sequence != self.sequence + 1 {
            return Err(Fault::Sequence { expected: self.sequence + 1, found: opened.sequence });
        }
        if opened.previous != self.hash {
            return Err(Fault::NotChained);
        }
        Ok(opened.finish())
    }

    /// The chain that the line in `bytes` follows.
    ///
    /// # Errors
    /// When it is no whole line, was changed, or has no number.
    pub fn before(bytes: &[u8]) -> Result<Self, Fault> {
        let opened = Opened::new(bytes)?;
        let sequence = opened.sequence.checked_sub(1).ok_or(Fault::Sequence { expected: 1, found: 0 })?;
        Ok(Self { sequence, hash: opened.previous })
    }

    /// The line in `bytes` as the first one that is kept: earlier files may have been dropped.
    ///
    /// # Errors
    /// When it is no whole line, was changed, or claims to be the first and is not.
    pub fn begin(bytes: &[u8]) -> Result<(Line, Self), Fault> {
        let opened = Opened::new(bytes)?;
        match opened.sequence {
            0 => Err(Fault::Sequence { expected: 1, found: 0 }),
            1 if opened.previous != Hash::default() => Err(Fault::NotChained),
            _ => Ok(opened.finish()),
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    seq: u64,
    at: UnixMs,
    incident: Option<&'a IncidentId>,
    entry: &'a Entry,
    prev: &'a str,
}

#[derive(Deserialize)]
struct Read {
    seq: u64,
    at: UnixMs,
    incident: Option<IncidentId>,
    entry: Value,
    prev: String,
}

/// A line whose hash is right.
struct Opened {
    sequence: u64,
    previous: Hash,
    hash: Hash,
    read: Read,
}

impl Opened {
    fn new(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > MAX_LINE_BYTES {
            return Err(Fault::TooLong);
        }
        let line = bytes.strip_suffix(b"\n").ok_or(Fault::Unfinished)?;
        let split = line.len().checked_sub(TRAILER_BYTES).ok_or(Fault::NotALine)?;
        let (body, trailer) = line.split_at(split);
        let digits = trailer.strip_prefix(HASH_MARK.as_bytes()).and_then(|rest| rest.strip_suffix(b"\"}"));
        let hash = hash_of(body);
        // Compared as digits: upper case would be a second form of the same line.
        if digits.ok_or(Fault::NotALine)? != hex::encode(&hash.0).as_bytes() {
            return Err(Fault::Changed);
        }
        let read: Read = serde_json::from_slice(&[body, b"}"].concat()).map_err(|_| Fault::NotALine)?;
        let previous = hex::decode(&read.prev).map(Hash).ok_or(Fault::NotALine)?;
        Ok(Self { sequence: read.seq, previous, hash, read })
    }

    fn finish(self) -> (Line, Chain) {
        let Self { sequence, hash, read, .. } = self;
        let line = Line { sequence, at: read.at, incident: read.incident, logged: logged(read.entry) };
        (line, Chain { sequence, hash })
    }
}

fn logged(value: Value) -> Logged {
    if let Ok(entry) = Entry::deserialize(&value) {
        return Logged::Known(entry);
    }
    let kind = value.get("entry").and_then(Value::as_str).unwrap_or("unnamed").to_owned();
    Logged::Unknown { kind, json: value.to_string() }
}

fn hash_of(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.0.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
