//! The end of a stop that does not come to one: on a disk or mount that hangs, or for an error of ours.

use std::time::Duration;

use tracing::error;

use crate::config::written;

/// The status that the process then ends with.
const OVERDUE: i32 = 1;

/// Ends the process when it is still there after so long, with nothing that hangs asked any more.
pub(super) fn end_the_process_after(longest: Duration) {
    after(longest, move || {
        error!(
            "not stopped after {}: the process ends now, and what was not stored is lost; look at the disk \
             of [state]",
            written(longest)
        );
        signal_hook::low_level::exit(OVERDUE);
    });
}

fn after(longest: Duration, end: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("last-resort".to_owned());
    let started = thread.spawn(move || {
        std::thread::sleep(longest);
        end();
    });
    if let Err(error) = started {
        error!("cannot start the thread that ends a stop which takes too long: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_comes_when_it_is_due() {
        let (ended, end) = crossbeam::channel::bounded(1);
        let begun = std::time::Instant::now();
        after(Duration::from_millis(30), move || ended.send(()).unwrap_or_default());
        assert_eq!(end.recv(), Ok(()));
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
}
