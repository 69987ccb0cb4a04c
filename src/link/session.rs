//! Which boot of a peer is believed.
//!
//! A boot that is not known must echo a random challenge of this node before anything it says counts, so
//! datagrams of an earlier boot that someone recorded can be sent again and never reset or move a session.
//! The challenge is replaced whenever it has served. The two nodes meet in one and a half round trips.
//!
//! A boot that is believed goes on echoing. What it said to an earlier boot of this node, and what arrives
//! only now, does not count: it acknowledges datagrams of that boot, whose numbers this one has used again.

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
    /// No later one was heard, so what it says of the sender's state is current.
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
    /// The challenge that the peer echoed to be believed.
    believed_for: u64,
    heard_at: MonotonicNs,
    newest_at: MonotonicNs,
}

impl Session {
    fn receive<'d>(
        &mut self,
        envelope: &Envelope,
        datagram: &'d mut [u8],
        challenge: u64,
        now: MonotonicNs,
    ) -> Result<Opened<'d>, Rejected> {
        if !self.window.is_new(envelope.number) {
            return Err(Rejected::Replayed);
        }
        let frame = Frame::parse(open(&self.key, envelope, datagram)?).map_err(|_| Rejected::Malformed)?;
        // The peer learns of a new challenge a round trip after it has served.
        if ![challenge, self.believed_for].contains(&frame.header.echo) {
            return Err(Rejected::Unconfirmed);
        }
        // To mark it is to acknowledge it, so nothing that is refused above may be marked.
        self.window.mark(envelope.number);
        self.heard_at = now;
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
    /// The boot believed before and its highest number: when it comes back, there are two nodes of one id.
    previous: Option<(BootSalt, u64)>,
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
            Some(session) if session.salt == envelope.salt => {
                session.receive(envelope, datagram, self.challenge, now)
            }
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
        let goes_on = envelope.number > candidate.number;
        if goes_on {
            (candidate.number, candidate.challenge) = (envelope.number, frame.header.challenge);
        }
        if frame.header.echo != self.challenge {
            if goes_on {
                self.suspect_duplicate(frame.header.echo, now);
            }
            return Err(Rejected::Unconfirmed);
        }
        self.believe(envelope.number, random, now);
        Ok(Opened { frame, is_newest: true, is_new_boot: true })
    }

    /// Counts signs of a second node with the peer's id: another boot that goes on while the known one does.
    ///
    /// A node that has restarted says nothing more under its old boot. Recorded datagrams of an old boot are told
    /// apart: they have no number above the highest that was heard, or they echo a challenge that is gone. A second
    /// node echoes none, since this node's datagrams go to the address of the first.
    fn suspect_duplicate(&mut self, echo: u64, now: MonotonicNs) {
        let (Some(session), Some(candidate)) = (&self.session, &self.candidate) else { return };
        let within = |since: MonotonicNs| u128::from(now.since(since)) < self.detect_timeout.as_nanos();
        let is_live = match self.previous {
            Some((salt, highest)) if salt == candidate.salt => candidate.number > highest,
            _ => echo == 0,
        };
        if is_live && within(session.heard_at) && !within(candidate.since) {
            self.duplicates += 1;
        }
    }

    fn believe(&mut self, number: u64, random: &mut Random, now: MonotonicNs) {
        let Some(Candidate { salt, key, challenge, .. }) = self.candidate.take() else { return };
        let mut window = ReplayWindow::new();
        window.mark(number);
        let believed_for = self.challenge;
        let session = Session { salt, key, window, challenge, believed_for, heard_at: now, newest_at: now };
        self.duplicates += u64::from(self.previous.is_some_and(|(before, _)| before == salt));
        let before = self.session.replace(session);
        self.previous = before.map(|before| (before.salt, before.window.highest()));
        self.challenge = random.challenge();
        self.boots += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::keys::Secret;
    use crate::link::seal::{self, MAX_DATAGRAM_BYTES};
    use crate::link::wire::{self, Header};

    /// Node 2, which hears boots of node 1; the challenge of boot `n` is `n`.
    struct Receiver {
        schedule: KeySchedule,
        random: Random,
        inbound: Inbound,
    }

    impl Receiver {
        fn new() -> Self {
            let [from, to] = [1, 2].map(|number| NodeId::new(number).unwrap());
            let mut random = Random::new([3; 32]);
            let inbound = Inbound::new(from, to, Duration::from_millis(500), &mut random);
            Self { schedule: KeySchedule::new(&Secret::new([7; 32])), random, inbound }
        }

        /// Hears a datagram of a boot; whether it was the first that was believed, and the newest.
        fn hear(&mut self, boot: u8, number: u64, echo: u64, at_ms: u64) -> Result<(bool, bool), Rejected> {
            let mut body = [0; wire::HEADER_BYTES];
            wire::encode(Header { challenge: boot.into(), echo, ..Header::default() }, &[], &[], &mut body);
            self.hear_body(boot, number, &body, at_ms)
        }

        fn hear_body(
            &mut self,
            boot: u8,
            number: u64,
            body: &[u8],
            at_ms: u64,
        ) -> Result<(bool, bool), Rejected> {
            let envelope = Envelope { from: 1, to: 2, cluster: [0; 4], salt: [boot; 16], number };
            let Self { schedule, random, inbound } = self;
            let key = schedule.datagram_key(inbound.from, inbound.to, &envelope.salt);
            let mut out = [0; MAX_DATAGRAM_BYTES];
            seal::body_mut(&mut out)[..body.len()].copy_from_slice(body);
            let bytes = seal::seal(&key, &envelope, body.len(), &mut out);
            let now = MonotonicNs(at_ms * 1_000_000);
            let opened = inbound.receive(&envelope, &mut out[..bytes], schedule, random, now)?;
            Ok((opened.is_new_boot, opened.is_newest))
        }

        /// Comes to believe a boot; what it echoed.
        fn meet(&mut self, boot: u8) -> u64 {
            let challenge = self.inbound.challenge();
            assert_eq!(self.hear(boot, 1, challenge, 0), Ok((true, true)));
            challenge
        }
    }

    #[test]
    fn a_boot_is_believed_once_it_has_echoed_the_challenge() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.inbound.echo(), 0);
        assert_eq!(receiver.hear(5, 1, 0, 0), Err(Rejected::Unconfirmed));
        assert_eq!((receiver.inbound.echo(), receiver.inbound.is_connected()), (5, false));
        let challenge = receiver.inbound.challenge();
        assert_eq!(receiver.hear(5, 2, challenge, 1), Ok((true, true)));
        assert_eq!(
            receiver.hear(5, 3, challenge, 2),
            Ok((false, true)),
            "its answer to the next is on its way"
        );
        assert_eq!(receiver.hear(5, 4, receiver.inbound.challenge(), 3), Ok((false, true)));
        assert!(receiver.inbound.is_connected());
        assert_eq!(receiver.inbound.counts(), (1, 0));
    }

    #[test]
    fn a_challenge_serves_once() {
        let mut receiver = Receiver::new();
        let first = receiver.inbound.challenge();
        receiver.meet(5);
        assert_eq!(receiver.hear(6, 1, first, 1), Err(Rejected::Unconfirmed));
        assert_eq!(receiver.inbound.echo(), 5, "the boot that is believed goes on being echoed");
        receiver.meet(6);
        assert_eq!(receiver.hear(5, 2, first, 2), Err(Rejected::Unconfirmed));
        assert_eq!(receiver.inbound.counts(), (2, 0));
    }

    #[test]
    fn two_boots_that_take_turns_are_two_nodes() {
        let mut receiver = Receiver::new();
        [5, 6, 5].into_iter().for_each(|boot| _ = receiver.meet(boot));
        assert_eq!(receiver.inbound.counts(), (3, 1));
    }

    #[test]
    fn another_boot_that_goes_on_beside_the_one_that_is_heard_is_another_node() {
        let mut receiver = Receiver::new();
        let echo = receiver.meet(5);
        for at_ms in (0..1000).step_by(100) {
            receiver.hear(5, 2 + at_ms, echo, at_ms).unwrap();
            assert_eq!(receiver.hear(6, 1 + at_ms, 0, at_ms), Err(Rejected::Unconfirmed));
        }
        assert_eq!(receiver.inbound.counts(), (1, 5), "once for each after the time-out");
    }

    #[test]
    fn recorded_datagrams_of_an_earlier_boot_are_no_sign_of_a_second_node() {
        // The boot before, then one that an earlier boot of this node believed.
        for (boot, echo) in [(5, 1), (4, 99)] {
            let mut receiver = Receiver::new();
            let first = receiver.meet(5);
            receiver.hear(5, 40, first, 0).unwrap();
            let second = receiver.meet(6);
            for at_ms in (0..2000).step_by(100) {
                receiver.hear(6, 2 + at_ms, second, at_ms).unwrap();
                assert_eq!(receiver.hear(boot, 1 + at_ms / 100, echo, at_ms), Err(Rejected::Unconfirmed));
            }
            assert_eq!(receiver.inbound.counts(), (2, 0), "boot {boot}");
        }
    }

    #[test]
    fn the_boot_before_that_goes_on_is_another_node() {
        let mut receiver = Receiver::new();
        let first = receiver.meet(5);
        receiver.hear(5, 40, first, 0).unwrap();
        let second = receiver.meet(6);
        for at_ms in (0..1000).step_by(100) {
            receiver.hear(6, 2 + at_ms, second, at_ms).unwrap();
            assert_eq!(receiver.hear(5, 41 + at_ms, first, at_ms), Err(Rejected::Unconfirmed));
        }
        assert_eq!(receiver.inbound.counts(), (2, 5));
    }

    #[test]
    fn a_late_datagram_counts_and_does_not_set_the_state_back() {
        let mut receiver = Receiver::new();
        let echo = receiver.meet(5);
        assert_eq!(receiver.hear(5, 9, echo, 10), Ok((false, true)));
        assert_eq!(receiver.hear(5, 8, echo, 20), Ok((false, false)));
        assert_eq!(receiver.hear(5, 8, echo, 30), Err(Rejected::Replayed));
        assert_eq!(receiver.inbound.heard().unwrap().newest_at, MonotonicNs(10_000_000));
    }

    #[test]
    fn what_opens_and_is_malformed_is_not_acknowledged() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.hear_body(5, 1, b"?", 0), Err(Rejected::Malformed));
        receiver.meet(5);
        assert_eq!(receiver.hear_body(5, 2, b"?", 0), Err(Rejected::Malformed));
        assert_eq!(receiver.inbound.heard().unwrap().window.highest(), 1);
    }

    #[test]
    fn what_was_said_to_an_earlier_boot_of_this_node_does_not_count() {
        let mut receiver = Receiver::new();
        let echo = receiver.meet(5);
        let to_an_earlier_boot = echo ^ 1;
        assert_eq!(receiver.hear(5, 2, to_an_earlier_boot, 1), Err(Rejected::Unconfirmed));
        assert_eq!(receiver.hear(5, 3, 0, 1), Err(Rejected::Unconfirmed));
        assert_eq!(receiver.inbound.heard().unwrap().window.highest(), 1, "it is not acknowledged");
        assert_eq!(receiver.hear(5, 2, echo, 2), Ok((false, true)));
    }

    #[test]
    fn what_does_not_open_is_no_boot() {
        let mut receiver = Receiver::new();
        let Receiver { schedule, random, inbound } = &mut receiver;
        let envelope = Envelope { from: 1, to: 2, cluster: [0; 4], salt: [5; 16], number: 1 };
        let mut forged = [0; 100];
        let opened = inbound.receive(&envelope, &mut forged, schedule, random, MonotonicNs(0));
        assert_eq!(opened.err(), Some(Rejected::Unopened));
        assert!(receiver.inbound.candidate.is_none());
    }
}
