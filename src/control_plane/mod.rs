//! What must not be on a data thread: one glommio executor on a thread of its own.
//!
//! It renders `/metrics` for the data threads, gathers their histograms, walks the table for the fill
//! ratios, watches that every data thread turns (`watchdog`), and drives the link to other nodes
//! (`replication`), of which it also tells what people ask (`inspect`). It touches the data plane through
//! atomics and channels only.

mod gather;
mod inspect;
mod peer_metrics;
mod refusals;
mod replication;
mod socket;
mod train;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use glommio::timer::sleep;
use glommio::{ExecutorJoinHandle, GlommioError, LocalExecutorBuilder};
use tracing::error;

use crate::data_plane::{MetricsReplies, RenderRequest};
use crate::time::{MonotonicNs, SystemClock};

pub use gather::{CoreHandles, Observed, ObservedParts};
pub use inspect::{MAX_QUESTIONS, TellRequest, Told, ToldPeer};
use replication::Replication;
pub use replication::{Joined, ReplicationError, ReplicationParts};

/// How long a request for the metrics page may wait before it is looked at.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks at histograms and heartbeats.
const COLLECT: Duration = Duration::from_secs(1);
/// Between two looks at how peers are heard.
const LISTEN: Duration = Duration::from_millis(100);
/// How long its last words to the peers and the end of its executor may take.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Submissions that fit into the executor's rings.
const RING_DEPTH: usize = 64;
/// Memory the executor registers for storage, which it does not use here.
const IO_MEMORY: usize = 64 * 1024;

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// No executor.
    #[error(
        "cannot start the control plane: {0}; it needs io_uring (sysctl kernel.io_uring_disabled=0), 512 KiB \
         of locked memory (ulimit -l, or LimitMEMLOCK= in the unit) and two threads (ulimit -u, or TasksMax=)"
    )]
    Executor(String),
    /// Its thread ended before it served.
    #[error("the control plane ended while it started")]
    Ended,
}

impl<T> From<GlommioError<T>> for ControlPlaneError {
    fn from(error: GlommioError<T>) -> Self {
        Self::Executor(error.to_string())
    }
}

/// What the control plane is made of.
#[derive(Debug)]
pub struct ControlParts {
    /// What it looks at.
    pub observed: Observed,
    /// What the data threads ask.
    pub renders: Receiver<RenderRequest>,
    /// The way back.
    pub replies: MetricsReplies,
    /// The link to other nodes, where there are any.
    pub replication: Option<ReplicationParts>,
    /// Questions about single buckets.
    pub questions: Receiver<TellRequest>,
    /// The clock of the data plane.
    pub clock: SystemClock,
}

/// The running control plane; it ends when dropped.
pub struct ControlPlane {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    thread: Option<ExecutorJoinHandle<()>>,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Starts it, and returns when it serves.
    ///
    /// # Errors
    /// When there is no thread or no ring for it.
    pub fn start(parts: ControlParts) -> Result<Self, ControlPlaneError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = bounded(1);
        let stopped = Arc::clone(&stop);
        let looks = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&looks);
        let thread = LocalExecutorBuilder::default()
            .name("control")
            .ring_depth(RING_DEPTH)
            .io_memory(IO_MEMORY)
            .spawn(move || async move {
                // Nobody waits any more only when the start was given up.
                let _ = ready.send(());
                run(parts, &stopped, &counted).await;
            })?;
        if started.recv().is_err() {
            return Err(thread.join().err().map_or(ControlPlaneError::Ended, ControlPlaneError::from));
        }
        Ok(Self { stop, looks, thread: Some(thread) })
    }

    /// How often it has looked whether the data threads turn; `/health` tells what it found.
    #[must_use]
    pub fn looks(&self) -> u64 {
        // Acquire: what the look found is seen with it.
        self.looks.load(Ordering::Acquire)
    }

    /// Ends it. The last snapshot and the end of the process do not wait for an executor that does not end.
    pub fn shutdown(&mut self) {
        // Relaxed: nothing is handed over by it, and the join below orders the rest.
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        match within(END_WITHIN, move || thread.join().map_err(|error| error.to_string())) {
            Some(Ok(())) => {}
            Some(Err(error)) => error!("the control plane ended badly: {error}"),
            None => {
                error!("the control plane has not ended within {END_WITHIN:?}; the server ends without it");
            }
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// What `wait` returns, unless it takes longer than `patience`: then the thread that waits is left behind.
fn within<T: Send + 'static>(patience: Duration, wait: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, ended) = bounded(1);
    let thread = std::thread::Builder::new().name("control-end".to_owned());
    // After `patience` nobody listens.
    thread.spawn(move || drop(done.send(wait()))).ok()?;
    ended.recv_timeout(patience).ok()
}

async fn run(parts: ControlParts, stop: &AtomicBool, looks: &AtomicU64) {
    use crate::time::Clock as _;
    let ControlParts { mut observed, renders, replies, replication, questions, clock } = parts;
    let replication = replication.map(|parts| Replication::start(parts, clock));
    let published = observed.published();
    let (mut next_collect, mut next_listen) = (clock.now(), clock.now());
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        if now >= next_collect {
            observed.collect(now);
            looks.fetch_add(1, Ordering::Release);
            next_collect = now.after(COLLECT);
        }
        if let Some(replication) = replication.as_ref().filter(|_| now >= next_listen) {
            published.peers.store(Arc::new(replication.vitals()));
            next_listen = now.after(LISTEN);
        }
        observed.walk(now);
        observed.answer(&renders, &replies, now, || {
            replication.as_ref().map(Replication::families).unwrap_or_default()
        });
        if let Some(replication) = &replication {
            questions.try_iter().take(MAX_QUESTIONS).for_each(|question| replication.tell(question));
        }
        // Together with a flush where there are any: each time that this thread wakes has its price.
        let flush = replication.as_ref().map(|replication| replication.next_flush());
        sleep(flush.map_or(TICK, |flush| rest_until(flush, clock.now()))).await;
    }
    if let Some(replication) = replication {
        replication.finish().await;
    }
}

/// How long to sleep so as to wake at `flush`, or a whole number of ticks before or after it: a tick, but for a half of
/// one more or less.
fn rest_until(flush: MonotonicNs, now: MonotonicNs) -> Duration {
    let tick_ns = TICK.as_nanos() as u64;
    let ahead_ns = (flush.since(now) % tick_ns + tick_ns - now.since(flush) % tick_ns) % tick_ns;
    Duration::from_nanos(if ahead_ns < tick_ns / 2 { ahead_ns + tick_ns } else { ahead_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_with_flushes() {
        let at = |ms: u64| MonotonicNs(ms * 1_000_000);
        let cases = [(100, 93, 27), (100, 73, 27), (100, 100, 20), (100, 80, 20), (100, 107, 13)];
        for (flush, now, rest) in cases.into_iter().chain([(100, 115, 25), (101, 100, 21), (115, 100, 15)]) {
            assert_eq!(rest_until(at(flush), at(now)), Duration::from_millis(rest), "{flush} {now}");
        }
    }

    #[test]
    fn the_end_of_the_process_waits_for_a_thread_that_ends_and_not_for_one_that_does_not() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let (end, ended) = bounded::<()>(1);
        assert_eq!(within(Duration::from_millis(20), move || ended.recv().is_ok()), None);
        drop(end);
    }
}
