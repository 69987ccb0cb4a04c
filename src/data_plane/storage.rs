//! What a data thread keeps of connections: all of it allocated at the start.

use std::io;

use crate::memory::Pages;
use crate::ring::Received;

const NONE: u16 = u16::MAX;

/// A first-in first-out list of received buffers that a connection has not used up, threaded through
/// [`HeldBuffers`].
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldList {
    first: u16,
    last: u16,
}

impl Default for HeldList {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl HeldList {
    pub(super) const fn is_empty(self) -> bool {
        self.first == NONE
    }
}

/// The received buffers of all connections, by buffer number.
#[derive(Debug)]
pub(super) struct HeldBuffers {
    places: Vec<(Option<Received>, u16)>,
}

impl HeldBuffers {
    pub(super) fn new(buffers: u16) -> Self {
        Self { places: (0..buffers).map(|_| (None, NONE)).collect() }
    }

    pub(super) fn push(&mut self, list: &mut HeldList, received: Received) {
        let number = received.buffer();
        self.places[usize::from(number)] = (Some(received), NONE);
        if list.is_empty() {
            list.first = number;
        } else {
            self.places[usize::from(list.last)].1 = number;
        }
        list.last = number;
    }

    pub(super) fn first(&mut self, list: HeldList) -> Option<&mut Received> {
        self.places.get_mut(usize::from(list.first))?.0.as_mut()
    }

    pub(super) fn pop(&mut self, list: &mut HeldList) -> Option<Received> {
        let place = self.places.get_mut(usize::from(list.first))?;
        let received = place.0.take();
        list.first = place.1;
        received
    }
}

/// The beginning of a request whose rest has not arrived.
#[derive(Debug)]
pub(super) struct Partial {
    index: u32,
    pub(super) len: usize,
}

/// Memory for incomplete requests, of one size, taken only while a request is incomplete.
#[derive(Debug)]
pub(super) struct PartialPool {
    /// Zero pages: a part that was never used costs no memory.
    memory: Pages,
    bytes: usize,
    free: Vec<u32>,
}

impl PartialPool {
    /// # Errors
    /// When there is not that much address space.
    pub(super) fn new(count: u32, bytes: usize) -> io::Result<Self> {
        let memory = Pages::new(count as usize * bytes, false)?;
        Ok(Self { memory, bytes, free: (0..count).rev().collect() })
    }

    pub(super) fn take(&mut self) -> Option<Partial> {
        self.free.pop().map(|index| Partial { index, len: 0 })
    }

    pub(super) fn give_back(&mut self, partial: Partial) {
        self.free.push(partial.index);
    }

    pub(super) fn bytes(&self, partial: &Partial) -> &[u8] {
        let start = partial.index as usize * self.bytes;
        &self.memory.bytes()[start..start + partial.len]
    }

    /// Appends as much of `bytes` as fits; how much that was.
    pub(super) fn append(&mut self, partial: &mut Partial, bytes: &[u8]) -> usize {
        let room = &mut self.part(partial)[partial.len..];
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        partial.len += taken;
        taken
    }

    /// Drops the first `consumed` bytes.
    pub(super) fn consume(&mut self, partial: &mut Partial, consumed: usize) {
        self.part(partial).copy_within(consumed..partial.len, 0);
        partial.len -= consumed;
    }

    fn part(&mut self, partial: &Partial) -> &mut [u8] {
        let start = partial.index as usize * self.bytes;
        &mut self.memory.bytes_mut()[start..start + self.bytes]
    }
}
