//! What systemd, or whatever speaks its protocol, is told and hands over.
//!
//! [`ServiceManager`] tells it how the server is (`sd_notify(3)`) and gives it descriptors to keep.
//! [`Handed`] is what it hands over at a start: listening sockets of `.socket` units, and what an earlier
//! process gave it to keep (`sd_listen_fds(3)`). [`Feeding`] decides when its watchdog is fed. Without a
//! service manager all of this does nothing.

mod feeding;
mod handed;
mod notify;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

pub use feeding::Feeding;
pub use handed::{Handed, HandedListener, HandedMemory, Refused, STORED_LISTENER, STORED_TABLE};
pub use notify::{Message, NotifyError, NotifySocket};

/// How many descriptors it keeps where it does not say so (`FDSTORE`, from systemd 254 on): that of the unit file.
const USUAL_STORE: usize = 1024;

/// The service manager of this process, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<NotifySocket>,
    watchdog: Option<Duration>,
    store: usize,
    /// Said once: a manager that cannot be reached would fill the log.
    complained: AtomicBool,
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET` and `WATCHDOG_USEC` name; `variable` looks a variable up.
    #[must_use]
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let socket = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            NotifySocket::open(&name)
                .map_err(|error| warn!("{error}; the service manager is told nothing"))
                .ok()
        });
        let watchdog = watchdog(&variable, std::process::id()).filter(|_| socket.is_some());
        let store = variable("FDSTORE").and_then(|most| most.parse().ok()).unwrap_or(USUAL_STORE);
        Self { socket, watchdog, store, complained: AtomicBool::new(false) }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How long it waits for a sign of life before it kills the process, if it does.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// How many descriptors it keeps at most. What is beyond is closed by it without a word.
    #[must_use]
    pub const fn store(&self) -> usize {
        self.store
    }

    /// Tells it something.
    pub fn tell(&self, message: &Message) {
        self.send(message, None);
    }

    /// Gives it a descriptor to keep under `name` for the next process. Whether it was sent.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> bool {
        self.send(&Message::default().keep(name), Some(descriptor))
    }

    /// Has it close what it keeps under `name`.
    pub fn forget(&self, name: &str) {
        self.send(&Message::default().forget(name), None);
    }

    fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> bool {
        let Some(socket) = &self.socket else { return false };
        let sent = socket.send(message, descriptor);
        if let Err(error) = &sent
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!("{error}; this is not said again");
        }
        sent.is_ok()
    }
}

/// `WATCHDOG_USEC`, unless it is meant for another process.
fn watchdog(variable: &impl Fn(&str) -> Option<String>, process: u32) -> Option<Duration> {
    let for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(process));
    let microseconds: u64 = variable("WATCHDOG_USEC").filter(|_| for_us)?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn without_a_manager_nothing_is_told_and_no_watchdog_waits() {
        let none = ServiceManager::of_environment(environment(&[("WATCHDOG_USEC", "1000000")]));
        assert!(!none.is_there() && none.watchdog().is_none());
        none.tell(&Message::default().ready());
        let unusable = ServiceManager::of_environment(environment(&[("NOTIFY_SOCKET", "vsock:2:1234")]));
        assert!(!unusable.is_there());
    }

    #[test]
    fn it_keeps_as_many_descriptors_as_it_says_or_as_the_unit_says() {
        assert_eq!(ServiceManager::of_environment(environment(&[("FDSTORE", "16")])).store(), 16);
        assert_eq!(ServiceManager::of_environment(environment(&[])).store(), USUAL_STORE);
    }

    #[test]
    fn a_watchdog_for_another_process_or_of_no_time_is_none() {
        let of = |pairs| watchdog(&environment(pairs), 7);
        assert_eq!(of(&[("WATCHDOG_USEC", "10000000")]), Some(Duration::from_secs(10)));
        assert_eq!(of(&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "7")]), Some(Duration::from_micros(5)));
        assert_eq!(of(&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "soon")]), None);
    }
}
