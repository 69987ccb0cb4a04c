//! The thread that keeps the state directory up to date, and what a start finds in it.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use tracing::{error, info, warn};

use super::format::{self, Header, Record, SnapshotError, SnapshotWriter};
use super::{Directory, DirectoryError, Epoch, HostTime, Store};
use crate::bucket::kept::{KeptError, KeptTable, Provenance};
use crate::bucket::named::NamedLimits;
use crate::bucket::policy::{Limits, Policy, PolicySet, level_at};
use crate::bucket::table::BucketTable;
use crate::health::{Health, Warning};
use crate::metrics::Family;
use crate::time::{Clock as _, MonotonicNs, SystemClock, host_monotonic_ns, whole_ms};

/// How often the promise about epochs is looked at.
const EPOCH_CHECK: Duration = Duration::from_secs(30);

/// What the keeper has done, for metrics.
#[derive(Debug, Default)]
pub struct Kept {
    written: AtomicU64,
    failed: AtomicU64,
    buckets: AtomicU64,
    last_unix_ms: AtomicU64,
    took_ms: AtomicU64,
    interval_ms: AtomicU64,
    restored: AtomicU64,
}

impl Kept {
    /// As metrics.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        // Relaxed: numbers for people, read one by one.
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        vec![
            Family::counter("openclaw_snapshots_total", "Snapshots of the buckets, by result.")
                .with(&[("result", "written")], read(&self.written))
                .with(&[("result", "failed")], read(&self.failed)),
            Family::gauge("openclaw_snapshot_buckets", "Buckets in the last snapshot.")
                .with(&[], read(&self.buckets)),
            Family::gauge("openclaw_snapshot_timestamp_seconds", "When the last snapshot was written.")
                .with(&[], read(&self.last_unix_ms) / 1e3),
            Family::gauge("openclaw_snapshot_duration_seconds", "How long the last snapshot took.")
                .with(&[], read(&self.took_ms) / 1e3),
            Family::gauge("openclaw_snapshot_interval_seconds", "From one snapshot to the next.")
                .with(&[], read(&self.interval_ms) / 1e3),
            Family::gauge("openclaw_snapshot_restored_buckets", "Buckets restored at the start.")
                .with(&[], read(&self.restored)),
        ]
    }
}

/// What a [`Keeper`] is made of.
#[derive(Debug)]
pub struct KeeperParts {
    /// Where to write, now or as soon as it can be opened.
    pub store: Store,
    /// Between two snapshots.
    pub interval: Duration,
    /// The epoch of this run.
    pub epoch: Epoch,
    /// The buckets.
    pub table: Arc<BucketTable>,
    /// The policies in force.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// A print of the key that names buckets.
    pub key_print: [u8; 16],
    /// What `/health` tells.
    pub health: Arc<Health>,
    /// What was done.
    pub kept: Arc<Kept>,
    /// The clock of the data plane, whose zero is that of the epoch.
    pub clock: SystemClock,
}

/// The running thread.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(mut parts: KeeperParts) -> io::Result<Self> {
        let (stop, stopped) = bounded::<()>(1);
        let interval_ms = parts.interval.as_millis().try_into().unwrap_or(u64::MAX);
        parts.kept.interval_ms.store(interval_ms, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let mut next_snapshot = Instant::now() + parts.interval;
            loop {
                parts.keep_promise();
                let wait = next_snapshot.saturating_duration_since(Instant::now()).min(EPOCH_CHECK);
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                if Instant::now() >= next_snapshot {
                    parts.snapshot();
                    next_snapshot = Instant::now() + parts.interval;
                }
            }
            parts.last_snapshot();
            parts.last_promise();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Writes the last snapshot, and ends. To be called when no check is answered any more.
    pub fn shutdown(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the last snapshot was not written: its thread panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl KeeperParts {
    fn keep_promise(&mut self) {
        let elapsed = Duration::from_nanos(self.clock.now().0);
        let Some(directory) = self.store.directory() else { return };
        let Some(promise) = self.epoch.renewal(elapsed) else { return };
        match directory.replace_epoch(promise) {
            Ok(()) => self.epoch.promised(promise),
            Err(failure) => self.failed(&failure),
        }
    }

    fn snapshot(&mut self) {
        // One moment for all levels, that of the header: a start lets them drain from then on.
        let (began, taken, now) = (Instant::now(), HostTime::read(), self.clock.now());
        match self.write_snapshot(taken, now) {
            Ok(buckets) => {
                let took_ms = whole_ms(began.elapsed());
                self.kept.written.fetch_add(1, Ordering::Relaxed);
                self.kept.buckets.store(buckets, Ordering::Relaxed);
                self.kept.took_ms.store(took_ms, Ordering::Relaxed);
                self.kept.last_unix_ms.store(taken.unix_ms, Ordering::Relaxed);
                self.health.warn(Warning::Snapshot, false);
            }
            Err(failure) => self.failed(&failure),
        }
    }

    /// What another server left in the directory, when it ended just before this one, is not replaced.
    fn last_snapshot(&mut self) {
        if !self.store.is_held_by_another() {
            self.snapshot();
        }
    }

    fn last_promise(&self) {
        let promise = self.epoch.last_promise(Duration::from_nanos(self.clock.now().0));
        let stored = self.store.directory().map(|directory| directory.replace_epoch(promise));
        if let Some(Err(failure)) = stored {
            self.failed(&failure);
        }
    }

    /// Opens the directory, if the start could not or it was replaced since, and stores the key, if it is not stored.
    fn be_ready(&mut self) -> Result<(), DirectoryError> {
        if self.store.leave_if_replaced() {
            warn!("the state directory was removed or replaced; what is at its path is used from now on");
            self.epoch.lost();
        }
        if self.store.directory().is_none() {
            let promised = self.store.open(Duration::ZERO)?.epoch();
            warn!("the state directory can be used now; what was in it is replaced, not restored");
            match promised {
                Ok(promised_ms) => self.epoch.found(promised_ms.unwrap_or(0)),
                Err(failure) => error!("{failure}; it is written anew"),
            }
            self.keep_promise();
        }
        self.store.store_key()
    }

    /// A snapshot is good only where the next start can read it: so the key comes first.
    fn write_snapshot(&mut self, taken: HostTime, now: MonotonicNs) -> Result<u64, DirectoryError> {
        self.be_ready()?;
        let (key_print, policies) = (self.key_print, self.policies.load());
        self.store.open(Duration::ZERO)?.replace_snapshot(|out| {
            let HostTime { boot_id, since_boot_ns, unix_ms } = taken;
            let mut writer =
                SnapshotWriter::new(out, &Header { key_print, boot_id, since_boot_ns, unix_ms })?;
            write_buckets(&mut writer, &self.table, &policies, now)?;
            writer.finish().map(|(_, buckets)| buckets)
        })
    }

    fn failed(&self, failure: &DirectoryError) {
        self.kept.failed.fetch_add(1, Ordering::Relaxed);
        self.health.warn(Warning::Snapshot, true);
        error!("{failure}; checks are answered, but a restart would find older buckets");
    }
}

fn write_buckets(
    writer: &mut SnapshotWriter<impl io::Write>,
    table: &BucketTable,
    policies: &PolicySet,
    now: MonotonicNs,
) -> io::Result<()> {
    let in_force: HashSet<u64> = policies.iter().map(Policy::identity).collect();
    for line in 0..table.len_lines() {
        let Some(view) = table.view(line) else { continue };
        let (Some(limits), Some(owner)) = (policies.slot(view.slot), policies.owner(view.slot)) else {
            continue;
        };
        let level = level_at(view.tat, limits, now);
        if level == 0 || !in_force.contains(&owner.identity) {
            continue;
        }
        let id = [view.id.get() as u64, (view.id.get() >> 64) as u64];
        writer.push(Record { policy: owner.limits, id, level: limits.clock().to_fixed(level) })?;
    }
    Ok(())
}

/// Puts the buckets of the last snapshot into an empty table, less what has drained since. A snapshot
/// that cannot be used is logged and left alone: the server starts without it.
pub fn restore(
    directory: &Directory,
    table: &BucketTable,
    policies: &PolicySet,
    key_print: [u8; 16],
    kept: &Kept,
    now: MonotonicNs,
) {
    let path = directory.snapshot_path();
    let file = match directory.snapshot() {
        Ok(Some(file)) => file,
        Ok(None) => return info!("no snapshot in {}: all buckets start full", path.display()),
        Err(failure) => return warn!("{failure}; all buckets start full"),
    };
    let named = NamedLimits::new(policies);
    let limits_of = |identity: u64| policies.slot(named.slot(identity)?);
    let (host, mut restored) = (HostTime::read(), 0_u64);
    let read = format::read(file, key_print, |header, record| {
        let Some(limits) = limits_of(record.policy) else { return };
        let age = Duration::from_nanos(host.since(header));
        restored += u64::from(restore_one(table, limits, &record, age, now));
    });
    kept.restored.store(restored, Ordering::Relaxed);
    match read {
        Ok((_, records)) => info!("restored {restored} of {records} buckets from {}", path.display()),
        Err(refusal @ SnapshotError::Foreign) => {
            warn!("the snapshot {} is not used: {refusal}; all buckets start full", path.display());
        }
        Err(refusal) => {
            error!("the snapshot {} is not used: {refusal}; all buckets start full", path.display());
        }
    }
}

/// Puts the buckets of a table that an earlier process had into an empty table. How many were put there, of
/// how many.
///
/// # Errors
/// When the table is not of `here`.
pub fn restore_kept(
    old: &KeptTable,
    here: &Provenance,
    table: &BucketTable,
    policies: &PolicySet,
    kept: &Kept,
    now: MonotonicNs,
) -> Result<(u64, u64), KeptError> {
    let named = NamedLimits::new(policies);
    let limits_of = |identity: u64| policies.slot(named.slot(identity)?);
    let mut restored = 0_u64;
    let found = old.read(here, host_monotonic_ns(), |bucket| {
        let Some(limits) = limits_of(bucket.policy) else { return };
        let level = limits.clock().from_fixed(bucket.level);
        restored += u64::from(table.restore(bucket.id, limits, level, now));
    })?;
    kept.restored.fetch_add(restored, Ordering::Relaxed);
    Ok((restored, found))
}

/// False for a bucket that is full again.
fn restore_one(
    table: &BucketTable,
    limits: &Limits,
    record: &Record,
    age: Duration,
    now: MonotonicNs,
) -> bool {
    let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    let clock = limits.clock();
    let drained = clock.at(MonotonicNs(now.0.saturating_add(age_ns))).saturating_sub(clock.at(now));
    let level = clock.from_fixed(record.level).saturating_sub(drained);
    let id = (u128::from(record.id[1]) << 64) | u128::from(record.id[0]);
    level > 0 && table.restore(crate::bucket::hash::BucketId::from_u128(id), limits, level, now)
}
