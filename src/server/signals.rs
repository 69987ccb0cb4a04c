//! The signals that a server follows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Signals that wait to be acted on; more of the same say nothing new.
const SIGNALS_QUEUED: usize = 16;

/// Has a write beyond RLIMIT_FSIZE fail, as on a full disk; without a handler its signal ends the process.
pub(crate) fn survive_full_files() -> Result<(), io::Error> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Signals as messages, from a thread of their own.
pub(super) fn receive_signals(impatient: &Arc<AtomicBool>) -> Result<Receiver<i32>, io::Error> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(impatient))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(SIGNALS_QUEUED);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let _ = sender.try_send(signal);
        }
    })?;
    Ok(receiver)
}
