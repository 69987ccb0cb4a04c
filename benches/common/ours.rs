//! Our table, three quarters full.

use arrayvec::ArrayVec;
use openclaw_rating::bucket::gcra::Rate;
use openclaw_rating::bucket::hash::{BucketId, KeyHasher};
use openclaw_rating::bucket::policy::{LimitSpec, Policy, PolicySet, PolicySpec};
use openclaw_rating::bucket::table::{BatchItem, BucketTable, OnTableFull, TableConfig};
use openclaw_rating::time::MonotonicNs;

use super::keys::key;
use super::{BATCH, Size};

/// A limit that is never reached, so that every check is a charge: 10^7 a second, burst 2^31.
pub(crate) fn policies() -> PolicySet {
    let limit = LimitSpec::per_second(Rate::MAX_PER_SECOND, 1 << 31).unwrap();
    let spec = PolicySpec::new("default", limit);
    // The same secret in every run.
    PolicySet::new(&[spec], &KeyHasher::new(*b"secret of bench."), MonotonicNs(0)).unwrap()
}

/// A table and what its checks need.
#[derive(Debug)]
pub(crate) struct Ours {
    table: BucketTable,
    policies: PolicySet,
    now: MonotonicNs,
}

impl Ours {
    /// A table in which the first keys have buckets.
    pub(crate) fn new(size: Size) -> Self {
        let policies = policies();
        let config = TableConfig { lines: size.lines, on_full: OnTableFull::Deny };
        let table = BucketTable::new(config).unwrap();
        table.publish_limits(&policies);
        let ours = Self { table, policies, now: MonotonicNs(1_000_000_000) };
        for number in 0..size.keys() {
            ours.check(&key(number));
        }
        ours
    }

    fn policy(&self) -> &Policy {
        self.policies.iter().next().unwrap()
    }

    /// The bucket of a key.
    pub(crate) fn id(&self, key: &[u8]) -> BucketId {
        self.policies.bucket_id(self.policy(), key)
    }

    /// Decides for buckets that are known already, one by one; how many were allowed.
    pub(crate) fn decide(&self, ids: &[BucketId]) -> usize {
        let limits = self.policy().default_limits();
        ids.iter().filter(|id| self.table.charge(**id, limits, 1, self.now).allowed).count()
    }

    /// The same, where no look-up begins before the decision before it has ended.
    pub(crate) fn decide_in_turn(&self, ids: &[BucketId]) -> usize {
        let limits = self.policy().default_limits();
        let mut allowed = 0;
        for id in ids {
            // Level's top bit is never set, which the compiler and the processor cannot know.
            let before = allowed >> 63;
            let id = BucketId::from_u128(id.get() ^ before as u128);
            let charge = self.table.charge(id, limits, 1, self.now);
            allowed += usize::from(charge.allowed) | (charge.level >> 63 << 63) as usize;
        }
        allowed
    }

    /// The same in batches.
    pub(crate) fn decide_batches(&self, ids: &[BucketId]) -> usize {
        self.charge_batches(ids, |ids, items| items.extend(ids.iter().map(|id| self.item(*id))))
    }

    fn item(&self, id: BucketId) -> BatchItem<'_> {
        BatchItem::new(id, self.policy().default_limits(), 1, true)
    }

    /// Hashes and decides; whether allowed.
    #[inline]
    pub(crate) fn check(&self, key: &[u8]) -> bool {
        self.table.charge(self.id(key), self.policy().default_limits(), 1, self.now).allowed
    }

    /// Hashes and decides one after another; how many were allowed.
    pub(crate) fn check_all(&self, keys: &[String]) -> usize {
        keys.iter().filter(|key| self.check(key.as_bytes())).count()
    }

    /// Hashes and decides, in batches; how many were allowed.
    pub(crate) fn check_batches(&self, keys: &[String]) -> usize {
        self.charge_batches(keys, |keys, items| {
            let keys = keys.iter().map(String::as_bytes);
            self.policies.each_bucket_id(self.policy(), keys, |id| items.push(self.item(id)));
        })
    }

    /// Charges what `fill` makes of `keys`, a batch at a time; how many were allowed.
    fn charge_batches<'s, K>(
        &'s self,
        keys: &[K],
        fill: impl Fn(&[K], &mut ArrayVec<BatchItem<'s>, BATCH>),
    ) -> usize {
        let (mut allowed, mut items) = (0, ArrayVec::new());
        for batch in keys.chunks(BATCH) {
            // In its place: a list made anew for each batch would be put together elsewhere and copied.
            items.clear();
            fill(batch, &mut items);
            self.table.charge_each(&mut items, self.now);
            allowed += items.iter().filter(|item| item.charge.allowed).count();
        }
        allowed
    }

    /// Checks that were decided without a bucket.
    pub(crate) fn without_bucket(&self) -> u64 {
        self.table.stats().full
    }
}
