//! Which boot of a peer is believed.
//!
//! A boot that is not known must echo a random challenge of this node before anything it says counts, so
//! datagrams of an earlier boot that someone recorded can be sent again and never reset or move a session.
//! The challenge is replaced whenever it has served. The two nodes meet in one and a half round trips.

use std::time::Duration;

use ring::aead::LessSafeKey;

use super::keys::{BootSalt, KeySchedule, Random};
use super::replay::ReplayWindow;
use super::seal::{Envelope, open};
use super::stats::Rejected;
use super::wire::Frame;
use crate::replica::NodeId;
use crate::time::MonotonicNs;

/// A datagram that counts.
#[derive(Debug)]
pub(super) struct Opened<'d> {
    pub(super) frame: Frame<'d>,
    /// No later one was heard: what it says of the sender's state is how things are.
    pub(super) is_newest: bool,
    /// The sender has started since it was last heard.
    pub(super) is_new_boot: bool,
}

/// The boot of a peer that is believed.
#[derive(Debug)]
struct Session {
    salt: BootSalt,
    key: LessSafeKey,
    window: ReplayWindow,
    /// What the peer wants to be echoed.
    challenge: u64,
    heard_at: MonotonicNs,
    newest_at: MonotonicNs,
}

impl Session {
    fn receive<'d>(
        &mut self,
        envelope: &Envelope,
        datagram: &'d mut [u8],
        now: MonotonicNs,
    ) -> Result<Opened<'d>, Rejected> {
        if !self.window.is_new(envelope.number) {
            return Err(Rejected::Replayed);
        }
        let body = open(&self.key, envelope, datagram)?;
        self.window.mark(envelope.number);
        self.heard_at = now;
        let frame = Frame::parse(body).map_err(|_| Rejected::Malformed)?;
        let is_newest = envelope.number == self.window.highest();
        if is_newest {
            (self.newest_at, self.challenge) = (now, frame.header.challenge);
        }
        Ok(Opened { frame, is_newest, is_new_boot: false })
    }
}

/// A boot that holds the secret and has not shown that it runs now.
#[derive(Debug)]
struct Candidate {
    salt: BootSalt,
    key: LessSafeKey,
    challenge: u64,
    number: u64,
    since: MonotonicNs,
}

/// What acknowledges the datagrams of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) window: &'a ReplayWindow,
    /// When the highest was heard.
    pub(super) newest_at: MonotonicNs,
}

/// The receiving half of a link to one peer.
#[derive(Debug)]
pub(super) struct Inbound {
    from: NodeId,
    to: NodeId,
    detect_timeout: Duration,
    session: Option<Session>,
    candidate: Option<Candidate>,
    /// The boot before; two that take turns are two nodes.
    previous: Option<BootSalt>,
    challenge: u64,
    boots: u64,
    duplicates: u64,
}

impl Inbound {
    pub(super) fn new(from: NodeId, to: NodeId, detect_timeout: Duration, random: &mut Random) -> Self {
        Self {
            from,
            to,
            detect_timeout,
            session: None,
            candidate: None,
            previous: None,
            challenge: random.challenge(),
            boots: 0,
            duplicates: 0,
        }
    }

    /// What a boot must echo to be believed.
    pub(super) const fn challenge(&self) -> u64 {
        self.challenge
    }

    /// What the peer wants to be echoed, zero when it was not heard. Once a boot is believed, no other is
    /// echoed until it has shown itself.
    pub(super) fn echo(&self) -> u64 {
        let session = self.session.as_ref().map(|session| session.challenge);
        session.or(self.candidate.as_ref().map(|candidate| candidate.challenge)).unwrap_or(0)
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// What was heard of the boot that is believed.
    pub(super) fn heard(&self) -> Option<Heard<'_>> {
        self.session.as_ref().map(|session| Heard { window: &session.window, newest_at: session.newest_at })
    }

    /// Boots that were believed, and signs of a second node.
    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.boots, self.duplicates)
    }

    /// Opens a datagram that names the peer.
    pub(super) fn receive<'d>(
        &mut self,
        envelope: &Envelope,
        datagram: &'d mut [u8],
        schedule: &KeySchedule,
        random: &mut Random,
        now: MonotonicNs,
    ) -> Result<Opened<'d>, Rejected> {
        match &mut self.session {
            Some(session) if session.salt == envelope.salt => session.receive(envelope, datagram, now),
            _ => self.receive_of_other_boot(envelope, datagram, schedule, random, now),
        }
    }

    fn receive_of_other_boot<'d>(
        &mut self,
        envelope: &Envelope,
        datagram: &'d mut [u8],
        schedule: &KeySchedule,
        random: &mut Random,
        now: MonotonicNs,
    ) -> Result<Opened<'d>, Rejected> {
        let known = self.candidate.take_if(|candidate| candidate.salt == envelope.salt);
        let candidate = known.unwrap_or_else(|| Candidate {
            salt: envelope.salt,
            key: schedule.datagram_key(self.from, self.to, &envelope.salt),
            challenge: 0,
            number: 0,
            since: now,
        });
        let opened = open(&candidate.key, envelope, datagram);
        if opened.is_err() && candidate.number == 0 {
            return Err(Rejected::Unopened);
        }
        let candidate = self.candidate.insert(candidate);
        let frame = Frame::parse(opened?).map_err(|_| Rejected::Malformed)?;
        if envelope.number > candidate.number {
            (candidate.number, candidate.challenge) = (envelope.number, frame.header.challenge);
        }
        if frame.header.echo != self.challenge {
            self.suspect_duplicate(now);
            return Err(Rejected::Unconfirmed);
        }
        self.believe(envelope.number, random, now);
        Ok(Opened { frame, is_newest: true, is_new_boot: true })
    }

    /// A node that restarted is silent under its old boot; one that goes on is another node, unless
    /// someone sends again what was recorded long ago.
    fn suspect_duplicate(&mut self, now: MonotonicNs) {
        let (Some(session), Some(candidate)) = (&self.session, &self.candidate) else { return };
        let within = |since: MonotonicNs| u128::from(now.since(since)) < self.detect_timeout.as_nanos();
        if within(session.heard_at) && !within(candidate.since) {
            self.duplicates += 1;
        }
    }

    fn believe(&mut self, number: u64, random: &mut Random, now: MonotonicNs) {
        let Some(Candidate { salt, key, challenge, .. }) = self.candidate.take() else { return };
        let mut window = ReplayWindow::new();
        window.mark(number);
        let session = Session { salt, key, window, challenge, heard_at: now, newest_at: now };
        self.duplicates += u64::from(self.previous == Some(salt));
        self.previous = self.session.replace(session).map(|before| before.salt);
        self.challenge = random.challenge();
        self.boots += 1;
    }
}
