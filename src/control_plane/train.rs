//! Datagrams that leave in one call. Pure.

use std::net::SocketAddr;

use crate::link::MAX_DATAGRAM_BYTES;

/// Datagrams in one call: fewer than the kernel's 64, and together below the 65,507 bytes that one may have.
const MOST: usize = 48;
const _: () = assert!(MOST * MAX_DATAGRAM_BYTES <= 65_507);

/// Datagrams to one address, all of one length but the last, which may be shorter: what the kernel cuts into
/// pieces by itself (`UDP_SEGMENT`).
#[derive(Debug)]
pub(super) struct Train {
    to: SocketAddr,
    /// The length of each but the last; zero when there is none.
    segment: usize,
    bytes: Vec<u8>,
}

impl Train {
    pub(super) fn new() -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { to: nowhere, segment: 0, bytes: Vec::with_capacity(MOST * MAX_DATAGRAM_BYTES) }
    }

    /// Whether a datagram can join; any can join when there is none.
    pub(super) fn takes(&self, to: SocketAddr, datagram: &[u8]) -> bool {
        let is_whole = self.segment != 0 && self.bytes.len().is_multiple_of(self.segment);
        let joins = to == self.to && is_whole && datagram.len() <= self.segment && self.len() < MOST;
        self.is_empty() || joins
    }

    /// Adds one that [can join](Self::takes).
    pub(super) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        debug_assert!(self.takes(to, datagram));
        if self.is_empty() {
            (self.to, self.segment) = (to, datagram.len());
        }
        self.bytes.extend_from_slice(datagram);
    }

    pub(super) fn clear(&mut self) {
        self.segment = 0;
        self.bytes.clear();
    }

    pub(super) const fn to(&self) -> SocketAddr {
        self.to
    }

    pub(super) const fn segment(&self) -> usize {
        self.segment
    }

    /// All of them, one after the other.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.max(1))
    }

    pub(super) fn len(&self) -> usize {
        self.datagrams().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn datagrams_of_one_length_to_one_address_travel_together_and_come_apart_as_they_were() {
        let mut train = Train::new();
        for length in [5, 5, 3] {
            assert!(train.takes(address(1), &vec![7; length]));
            train.push(address(1), &vec![length as u8; length]);
        }
        assert_eq!(train.datagrams().map(<[u8]>::len).collect::<Vec<_>>(), [5, 5, 3]);
        assert!(train.datagrams().all(|datagram| datagram[0] == datagram.len() as u8));
        train.clear();
        assert!(train.is_empty() && train.takes(address(2), &[1]));
    }

    #[test]
    fn none_joins_after_a_shorter_one_or_is_longer_or_goes_elsewhere_or_is_one_too_many() {
        let mut train = Train::new();
        train.push(address(1), &[1; 5]);
        assert!(!train.takes(address(1), &[1; 6]) && !train.takes(address(2), &[1; 5]));
        (1..MOST).for_each(|_| train.push(address(1), &[1; 5]));
        assert!(train.len() == MOST && !train.takes(address(1), &[1; 5]));
        train.clear();
        [5, 4].into_iter().for_each(|length| train.push(address(1), &vec![1; length]));
        assert!(!train.takes(address(1), &[1; 4]), "it would be taken for a part of the last");
    }
}
