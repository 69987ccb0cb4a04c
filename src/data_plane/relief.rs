//! Receive buffers are there for all connections of a thread. What some of them hold and cannot step over,
//! since their clients take no answers or a metrics page is under way, must not keep the others from asking.

use super::core::Core;
use super::service::{Event, Service};
use crate::time::Clock;

/// Buffers are taken back once fewer than one part in so many of all are free.
const SCARCE_FRACTION: u16 = 4;
/// Connections are closed until one part in so many is free, so that this is not to be done every turn.
const ENOUGH_FRACTION: u16 = 2;

impl<S: Service, C: Clock> Core<S, C> {
    /// Takes buffers back when they are scarce: what is held is copied to the memory for incomplete
    /// requests, and connections that hold more than fits there are closed, the longest-waiting first.
    pub(super) fn relieve(&mut self) {
        if !self.is_scarce(SCARCE_FRACTION) {
            return;
        }
        let mut hoarders = std::mem::take(&mut self.hoarders);
        for index in 0..self.connections.len() as u32 {
            if !self.put_aside(index) {
                hoarders.push(index);
            }
        }
        if self.is_scarce(SCARCE_FRACTION) {
            hoarders.sort_unstable_by_key(|index| self.deadlines[*index as usize]);
            for index in &hoarders {
                if !self.is_scarce(ENOUGH_FRACTION) {
                    break;
                }
                self.service.observe(Event::Refused);
                self.close(*index);
            }
        }
        hoarders.clear();
        self.hoarders = hoarders;
    }

    fn is_scarce(&self, fraction: u16) -> bool {
        self.receives.free() < self.receives.count() / fraction
    }

    /// Copies what a connection holds out of its receive buffers; whether it holds none of them any more.
    fn put_aside(&mut self, index: u32) -> bool {
        let connection = &mut self.connections[index as usize];
        if connection.held.is_empty() {
            return true;
        }
        if connection.partial.is_none() {
            connection.partial = self.partials.take();
        }
        while self.append_first(index).is_some_and(|taken| taken > 0) {}
        self.connections[index as usize].held.is_empty()
    }
}
