//! Entries gathered for one peer, in the order in which they leave: by policy.
//!
//! Lines come in the order of their hashes, so policies are mixed. Sorted by policy over many datagrams, each
//! policy costs a group header or two, not one a datagram.

use super::ack::Cargo;
use crate::replica::Entry;
use crate::time::MonotonicNs;

/// Entries gathered at once.
pub(super) const BATCH_ENTRIES: usize = 512;

/// Entries that wait to be sent, with their lines.
#[derive(Debug)]
pub(super) struct Batch {
    entries: Vec<(u32, Entry)>,
    sent: usize,
    cargo: Cargo,
    oldest_change: MonotonicNs,
}

impl Batch {
    pub(super) fn new() -> Self {
        let (entries, oldest_change) = (Vec::with_capacity(BATCH_ENTRIES), MonotonicNs::default());
        Self { entries, sent: 0, cargo: Cargo::Nothing, oldest_change }
    }

    /// Begins anew.
    pub(super) fn begin(&mut self, cargo: Cargo, oldest_change: MonotonicNs) {
        self.entries.clear();
        (self.sent, self.cargo, self.oldest_change) = (0, cargo, oldest_change);
    }

    /// Takes entries from who adds them; there is room for [`BATCH_ENTRIES`].
    pub(super) fn gather(&mut self, add: impl FnOnce(&mut Vec<(u32, Entry)>)) {
        add(&mut self.entries);
        debug_assert!(self.entries.len() <= BATCH_ENTRIES);
    }

    /// Puts those gathered in order.
    pub(super) fn finish(&mut self) {
        self.entries.sort_unstable_by_key(|(_, entry)| entry.policy);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Those that were not sent.
    pub(super) fn rest(&self) -> &[(u32, Entry)] {
        &self.entries[self.sent..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) const fn cargo(&self) -> Cargo {
        self.cargo
    }

    pub(super) const fn oldest_change(&self) -> MonotonicNs {
        self.oldest_change
    }

    /// Notes that the first `entries` of the rest have been sent.
    pub(super) fn sent(&mut self, entries: usize) {
        self.sent += entries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::hash::BucketId;

    #[test]
    fn entries_leave_by_policy_and_each_once() {
        let mut batch = Batch::new();
        batch.begin(Cargo::Changes, MonotonicNs(5));
        for line in 0..6_u32 {
            let id = BucketId::from_u128(line.into());
            let entry = Entry { policy: u64::from(line % 2), id, count: 1, used: 1, level: 1 };
            batch.gather(|said| said.push((line, entry)));
        }
        batch.finish();
        let policies: Vec<u64> = batch.rest().iter().map(|(_, entry)| entry.policy).collect();
        assert_eq!(policies, [0, 0, 0, 1, 1, 1]);
        batch.sent(4);
        assert_eq!((batch.rest().len(), batch.is_empty()), (2, false));
        batch.sent(2);
        assert!(batch.is_empty());
        batch.begin(Cargo::Sync, MonotonicNs(6));
        assert_eq!((batch.len(), batch.cargo(), batch.oldest_change()), (0, Cargo::Sync, MonotonicNs(6)));
    }
}
