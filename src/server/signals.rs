//! The signals that a server follows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// Reloads that wait: one reads all that was written before it.
const RELOADS_QUEUED: usize = 1;
/// Stops that wait: the first stops the server, the second cuts its lame duck short.
const STOPS_QUEUED: usize = 2;

/// Signals as messages. Each kind has a queue of its own, so that no number of reloads keeps a stop out.
#[derive(Debug)]
pub(super) struct Signals {
    /// SIGTERM and SIGINT.
    pub(super) stops: Receiver<()>,
    /// SIGHUP.
    pub(super) reloads: Receiver<()>,
}

/// Where signals are put.
struct Senders {
    stops: Sender<()>,
    reloads: Sender<()>,
}

impl Senders {
    /// A full queue holds one of the same already.
    fn put(&self, signal: i32) {
        let queue = if signal == SIGHUP { &self.reloads } else { &self.stops };
        let _ = queue.try_send(());
    }
}

fn queues() -> (Senders, Signals) {
    let (stop, stops) = bounded(STOPS_QUEUED);
    let (reload, reloads) = bounded(RELOADS_QUEUED);
    (Senders { stops: stop, reloads: reload }, Signals { stops, reloads })
}

impl Signals {
    /// Takes signals from now on, on a thread of its own. Once `impatient` is set, one to stop ends the process.
    ///
    /// # Errors
    /// When the kernel or the host refuses a handler, a descriptor or a thread.
    pub(super) fn receive(impatient: &Arc<AtomicBool>) -> io::Result<Self> {
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(impatient))?;
        }
        let mut arriving = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (senders, signals) = queues();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || arriving.forever().for_each(|signal| senders.put(signal)))?;
        Ok(signals)
    }
}

/// Has a write beyond RLIMIT_FSIZE fail, as on a full disk; without a handler its signal ends the process.
pub(crate) fn survive_full_files() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_not_lost_behind_reloads_and_a_second_one_is_kept() {
        let (senders, signals) = queues();
        (0..100).for_each(|_| senders.put(SIGHUP));
        (0..3).for_each(|_| senders.put(SIGTERM));
        assert_eq!((signals.reloads.len(), signals.stops.len()), (1, 2));
    }
}
