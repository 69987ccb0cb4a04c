//! When the watchdog of the service manager is fed. Pure: what the control plane saw comes in.

/// Feeds once for every look that the control plane took and found all data threads turning: a data
/// thread that hangs starves the watchdog, and so does a control plane that looks no more.
#[derive(Debug, Default)]
pub struct Feeding {
    looks: u64,
}

impl Feeding {
    /// Whether to feed now, when `looks` were taken so far and the last one found all threads `turning`.
    pub fn is_due(&mut self, looks: u64, turning: bool) -> bool {
        let is_new = looks != self.looks;
        self.looks = looks;
        is_new && turning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_good_look_feeds_once() {
        let mut feeding = Feeding::default();
        assert!(!feeding.is_due(0, true), "nobody has looked yet");
        assert!(feeding.is_due(1, true));
        assert!(!feeding.is_due(1, true), "the control plane has not looked again");
        assert!(feeding.is_due(3, true));
    }

    #[test]
    fn a_stalled_thread_starves_the_watchdog_until_it_turns_again() {
        let mut feeding = Feeding::default();
        assert!(!feeding.is_due(1, false) && !feeding.is_due(2, false));
        assert!(feeding.is_due(3, true));
    }
}
