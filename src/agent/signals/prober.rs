//! Threads that look again and again, a few a URL: a look that hangs delays none after it.

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
/// Looks at one URL that are under way at once.
const MAX_AT_ONCE: u32 = 4;

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

/// Threads that look at one URL in turn; they end when this is dropped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    threads: Vec<Option<JoinHandle<()>>>,
}

impl Prober {
    /// Looks every `interval`, `offset` after the others, and tells `seen`. A look takes up to the probe's time
    /// limit, and those that come after it do not wait for it; so they may end in another order than they began.
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
        let mut prober = Self { stop: Arc::default(), threads: Vec::new() };
        let at_once = at_once(interval, probe.timeout);
        for turn in 0..at_once {
            let (stop, watched, probe) = (Arc::clone(&prober.stop), watched.clone(), probe.clone());
            let (seen, url) = (seen.clone(), probe.url.to_string());
            let run = move || {
                super::super::lower_priority();
                let mut due = Instant::now() + offset + interval * turn;
                while wait_until(due, &stop) {
                    let begun = Instant::now();
                    let sight = probe.look();
                    // Who is behind by so much that the channel is full has newer ones to come.
                    let _ = seen.try_send(Observation { watched: watched.clone(), begun, sight }.into());
                    due = (due + interval * at_once).max(Instant::now());
                }
            };
            let thread = Builder::new().name("agent-probe".to_owned()).spawn(run);
            prober.threads.push(Some(thread.map_err(|cause| ProberError { url, cause })?));
        }
        Ok(prober)
    }

    /// Lets it end after the looks that are under way.
    pub fn stop(&self) {
        // Relaxed: nothing is handed over by it, and joining orders the rest.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end until `deadline`; a look that takes longer is left behind.
    pub fn join(&mut self, deadline: Instant) {
        self.stop();
        for thread in &mut self.threads {
            super::super::join_until(thread, deadline);
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How many looks are under way when each takes all of its time.
fn at_once(interval: Duration, timeout: Duration) -> u32 {
    let looks = timeout.as_nanos().div_ceil(interval.as_nanos().max(1));
    u32::try_from(looks).unwrap_or(MAX_AT_ONCE).clamp(1, MAX_AT_ONCE)
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crossbeam::channel::bounded;

    use super::*;
    use crate::agent::signals::{ProbeUrl, Resolver, trust};

    #[test]
    fn as_many_looks_are_under_way_as_one_that_hangs_would_delay() {
        let ms = Duration::from_millis;
        for (interval, timeout, looks) in [(400, 800, 2), (400, 801, 3), (1000, 800, 1), (50, 60_000, 4)] {
            assert_eq!(at_once(ms(interval), ms(timeout)), looks, "{timeout} every {interval}");
        }
    }

    #[test]
    fn a_look_that_hangs_delays_none_after_it() {
        // It takes connections, and nobody answers on them.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = Probe {
            url: ProbeUrl::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap(),
            resolver: Resolver::Host,
            tls: trust(None).unwrap(),
            token: None,
            timeout: Duration::from_millis(800),
        };
        let (seen, looks) = bounded::<Observation>(16);
        let begun = Instant::now();
        let prober =
            Prober::start(Watched::Public, probe, Duration::from_millis(200), Duration::ZERO, seen).unwrap();
        for _ in 0..5 {
            assert!(!looks.recv_timeout(Duration::from_secs(10)).unwrap().sight.is_good());
        }
        drop(prober);
        // One after the other they would take 4 s.
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}
