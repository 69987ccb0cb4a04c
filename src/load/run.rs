//! A whole run: the server is found, workers connect, start together, and are gathered.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, ScopedJoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::error::LoadError;
use super::plan::Plan;
use super::reach::reach;
use super::record::Record;
use super::summary::{Ended, Summary};
use super::worker::{Worker, WorkerReport};
use crate::ring::Destination;
use crate::time::{Clock as _, MonotonicNs, SystemClock};

/// Progress is told when every worker has handed over its record of an interval, and at the latest
/// after this long: a worker may have ended, or be late.
const PROGRESS_PATIENCE: Duration = Duration::from_millis(1200);
/// Records of intervals that wait to be added up, a worker.
const RECORDS_QUEUED: usize = 4;

/// How a run stands.
#[derive(Debug)]
pub struct Progress<'r> {
    /// Since the start.
    pub elapsed: Duration,
    /// What workers handed over since the last time: about a second's worth.
    pub interval: &'r Record,
    /// How long that took.
    pub interval_length: Duration,
    /// All so far.
    pub total: &'r Record,
}

/// What a worker needs of the run it is part of.
struct Part<'r> {
    plan: &'r Plan,
    number: u32,
    destination: Destination,
    clock: SystemClock,
    stop: &'r AtomicBool,
    /// Gets one word: whether the worker can start.
    ready: Sender<bool>,
    /// The moment to start, or nothing when another worker cannot.
    start: Receiver<MonotonicNs>,
    records: Sender<Record>,
}

type WorkerHandle<'s> = ScopedJoinHandle<'s, Result<Option<WorkerReport>, LoadError>>;

/// Carries out `plan`, until it ends or `stop` is set, and tells `progress` about once a second.
///
/// # Errors
/// When the server cannot be reached at all or before `stop`, or a ring, memory or threads cannot be had. Errors of
/// single requests and connections are in the summary.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    mut progress: impl FnMut(&Progress<'_>),
) -> Result<Summary, LoadError> {
    let settings = plan.settings();
    let destination = reach(&settings.target, settings.timeout, stop)?;
    let clock = SystemClock::start();
    let threads = settings.threads as usize;
    std::thread::scope(|scope| {
        let (records, handed_over) = bounded(threads * RECORDS_QUEUED);
        let (ready, readied) = bounded(threads);
        let (mut starts, mut workers): (Vec<Sender<_>>, Vec<WorkerHandle<'_>>) = (vec![], vec![]);
        for number in 0..settings.threads {
            let (start, starting) = bounded(1);
            let (ready, records, destination) = (ready.clone(), records.clone(), destination.clone());
            let part = Part { plan, number, destination, clock, stop, ready, start: starting, records };
            let thread = Builder::new().name(format!("load-{number}"));
            workers.push(thread.spawn_scoped(scope, || work(part)).map_err(LoadError::Thread)?);
            starts.push(start);
        }
        drop((ready, records));
        let all_ready = readied.iter().filter(|ready| *ready).count() == threads;
        let begin = clock.now();
        for start in starts.iter().filter(|_| all_ready) {
            // A worker that is gone meanwhile says why when it is joined.
            let _ = start.send(begin);
        }
        drop(starts);
        let total = gather(&handed_over, threads, clock, begin, &mut progress);
        summarize(workers, total, begin, stop)
    })
}

/// A worker's thread.
fn work(part: Part<'_>) -> Result<Option<WorkerReport>, LoadError> {
    if part.plan.settings().pin {
        pin(part.number);
    }
    // A request that is due is sent a little late at the default slack of 50 microseconds; where that
    // cannot be changed it is.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let Part { plan, number, destination, clock, stop, ready, start, records } = part;
    let prepared = Worker::new(plan, number, destination, clock)
        .and_then(|mut worker| worker.connect_all(stop).map(|()| worker));
    // The receiver waits for all.
    let _ = ready.send(prepared.is_ok());
    drop(ready);
    let worker = prepared?;
    let Ok(start) = start.recv() else { return Ok(None) };
    worker
        .run(start, stop, |record| match records.try_send(record) {
            Ok(()) => None,
            Err(TrySendError::Full(record) | TrySendError::Disconnected(record)) => Some(record),
        })
        .map(Some)
}

/// Keeps the calling thread to a core, the last core first, since servers take the first.
fn pin(number: u32) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if !cores.is_empty() {
        // Refused where the process may not use that core; then the scheduler places the thread.
        core_affinity::set_for_current(cores[cores.len() - 1 - number as usize % cores.len()]);
    }
}

/// Adds up what `threads` workers hand over until all have ended.
fn gather(
    records: &Receiver<Record>,
    threads: usize,
    clock: SystemClock,
    begin: MonotonicNs,
    progress: &mut impl FnMut(&Progress<'_>),
) -> Record {
    let (mut total, mut interval) = (Record::new(), Record::new());
    let (mut told, mut parts) = (begin, 0);
    loop {
        let left = PROGRESS_PATIENCE.saturating_sub(Duration::from_nanos(clock.now().since(told)));
        match records.recv_timeout(left) {
            Ok(record) => {
                interval.add(&record);
                parts += 1;
                if parts < threads {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = clock.now();
        total.add(&interval);
        progress(&Progress {
            elapsed: Duration::from_nanos(now.since(begin)),
            interval: &interval,
            interval_length: Duration::from_nanos(now.since(told)),
            total: &total,
        });
        (interval, told, parts) = (Record::new(), now, 0);
    }
    total.add(&interval);
    total
}

fn summarize(
    workers: Vec<WorkerHandle<'_>>,
    mut record: Record,
    begin: MonotonicNs,
    stop: &AtomicBool,
) -> Result<Summary, LoadError> {
    let (mut unsent, mut abandoned, mut gave_up, mut ended) = (0, 0, true, begin);
    // All are joined before the first error is returned: it may be another's consequence.
    let reports: Vec<_> = workers.into_iter().map(|w| w.join().unwrap_or(Err(LoadError::Panicked))).collect();
    for report in reports {
        let Some(report) = report? else { continue };
        record.add(&report.record);
        unsent += report.unsent;
        abandoned += report.abandoned;
        gave_up &= report.gave_up;
        ended = ended.max(report.ended);
    }
    let how = match (gave_up, stop.load(Ordering::Relaxed)) {
        (true, _) => Ended::GaveUp,
        (false, true) => Ended::Stopped,
        (false, false) => Ended::Completed,
    };
    let elapsed = Duration::from_nanos(ended.since(begin));
    Ok(Summary { record, elapsed, unsent, abandoned, ended: how })
}
