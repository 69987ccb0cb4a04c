//! Threads that look again and again, one a URL.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;

use super::probe::{Probe, Sight};
use crate::agent::types::Region;

/// A thread that waits looks whether it is to end so often.
const NAP: Duration = Duration::from_millis(50);

/// What a look was at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// `/health` of one node of a region, by its place in the configuration.
    Health(Region, usize),
    /// The public name.
    Public,
    /// What a witness, by its place in the configuration, says of a region.
    Witness(Region, usize),
}

/// One look and when it ended.
#[derive(Clone, Debug)]
pub struct Observation {
    /// At what.
    pub watched: Watched,
    /// When it began.
    pub begun: Instant,
    /// What was seen.
    pub sight: Sight,
}

/// Why there is no prober.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread that probes {url}: {cause}")]
pub struct ProberError {
    url: String,
    cause: io::Error,
}

/// A thread that looks at one URL; it ends when dropped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Looks every `interval`, `offset` after the others, and tells `seen`.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start<M: From<Observation> + Send + 'static>(
        watched: Watched,
        probe: Probe,
        interval: Duration,
        offset: Duration,
        seen: Sender<M>,
    ) -> Result<Self, ProberError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, url) = (Arc::clone(&stop), probe.url.to_string());
        let run = move || {
            super::super::lower_priority();
            let mut due = Instant::now() + offset;
            while wait_until(due, &theirs) {
                let begun = Instant::now();
                let sight = probe.look();
                // Who is behind by so much that the channel is full has newer ones to come.
                let _ = seen.try_send(Observation { watched: watched.clone(), begun, sight }.into());
                due = (due + interval).max(Instant::now());
            }
        };
        let thread = Builder::new().name("agent-probe".to_owned()).spawn(run);
        let thread = thread.map_err(|cause| ProberError { url, cause })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Lets it end after the look that is under way.
    pub fn stop(&self) {
        // Relaxed: nothing is handed over by it, and joining orders the rest.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end until `deadline`; a look that takes longer is left behind.
    pub fn join(&mut self, deadline: Instant) {
        self.stop();
        super::super::join_until(&mut self.thread, deadline);
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether it is time, rather than over.
fn wait_until(due: Instant, stop: &AtomicBool) -> bool {
    while !stop.load(Ordering::Relaxed) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(NAP));
    }
    false
}
