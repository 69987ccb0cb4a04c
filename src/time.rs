//! Time as the program sees it: monotonic nanoseconds that are passed in, never read in pure code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds in a millisecond.
pub(crate) const NS_PER_MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub(crate) const NS_PER_SECOND: u64 = 1000 * NS_PER_MS;

/// The whole milliseconds of `duration`.
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds on a monotonic clock, counted from an origin that the clock chose.
///
/// Values of two clocks (two processes, two hosts) are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicNs(pub u64);

impl MonotonicNs {
    /// The instant `duration` later; saturates after 584 years.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Nanoseconds from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A source of monotonic time.
pub trait Clock {
    /// The time now. Never goes back.
    fn now(&self) -> MonotonicNs;
}

/// The host's monotonic clock, counted from the moment this value was made.
///
/// Copies share the origin, so their readings may be compared.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that starts at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Where `CLOCK_MONOTONIC`, which all processes of a boot share, has the zero of this clock: at most a
    /// moment too late.
    #[must_use]
    pub fn origin_on_host(&self) -> u64 {
        let since_origin = self.now().0;
        host_monotonic_ns().saturating_sub(since_origin)
    }
}

/// `CLOCK_MONOTONIC` now, in nanoseconds.
#[must_use]
pub fn host_monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).ok().and_then(|now| u64::try_from(now.as_nanos()).ok()).unwrap_or(u64::MAX)
}

impl<C: Clock> Clock for Arc<C> {
    fn now(&self) -> MonotonicNs {
        C::now(self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> MonotonicNs {
        MonotonicNs(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock that moves only when told to, for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
}

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, duration: Duration) {
        let step_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(step_ns, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> MonotonicNs {
        MonotonicNs(self.now_ns.load(Ordering::Relaxed))
    }
}
