//! What one data thread counts: plain counters that only it writes.
//!
//! All are allocated at start. A counter is one relaxed load and one relaxed store, without a
//! locked instruction, since nobody else writes it; readers on other threads see a value that is at
//! most a moment old.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bucket::policy::MAX_POLICIES;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The tokens were there.
    Allowed,
    /// The tokens were not there.
    Denied,
    /// The tokens were not there, but the policy only watches.
    ShadowDenied,
    /// Asked without charging.
    Peeked,
    /// The tokens were there and were not charged, since another check of the batch was denied.
    Withheld,
    /// The table had no room for the key; the configuration said what to answer.
    TableFull,
}

impl CheckResult {
    /// All results, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Allowed, Self::Denied, Self::ShadowDenied, Self::Peeked, Self::Withheld, Self::TableFull];

    /// The value of the `result` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::ShadowDenied => "shadow_denied",
            Self::Peeked => "peeked",
            Self::Withheld => "withheld",
            Self::TableFull => "table_full",
        }
    }
}

/// Why a request was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// Not HTTP, or ambiguous HTTP.
    BadRequest,
    /// The header section passed its limit.
    HeadersTooLarge,
    /// The request target passed its limit.
    TargetTooLong,
    /// The body passed its limit.
    BodyTooLarge,
    /// The request did not arrive in time.
    Timeout,
    /// The path does not know the method.
    MethodNotAllowed,
    /// No policy has that name.
    UnknownPolicy,
    /// The cost is no number, or above the burst.
    BadCost,
    /// The key is empty, too long or wrongly encoded.
    BadKey,
    /// The body is not the JSON that was asked for.
    BadJson,
    /// No such path.
    NotFound,
}

impl ParseErrorKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::HeadersTooLarge,
        Self::TargetTooLong,
        Self::BodyTooLarge,
        Self::Timeout,
        Self::MethodNotAllowed,
        Self::UnknownPolicy,
        Self::BadCost,
        Self::BadKey,
        Self::BadJson,
        Self::NotFound,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::Timeout => "timeout",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownPolicy => "unknown_policy",
            Self::BadCost => "bad_cost",
            Self::BadKey => "bad_key",
            Self::BadJson => "bad_json",
            Self::NotFound => "not_found",
        }
    }
}

/// A counter with one writer: a second one would lose increments, never corrupt anything.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    #[inline]
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

type PolicyRow = [Counter; CheckResult::ALL.len()];

/// The counters of one data thread, written by that thread only.
///
/// Aligned to two cache lines, since the prefetcher fetches pairs: no two cores share one.
#[repr(align(128))]
#[derive(Debug)]
pub struct CoreMetrics {
    turns: Counter,
    connections_opened: Counter,
    connections_closed: Counter,
    connections_refused: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    parse_errors: [Counter; ParseErrorKind::ALL.len()],
    checks: Box<[PolicyRow]>,
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl CoreMetrics {
    /// All counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            turns: Counter::default(),
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_refused: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            parse_errors: Default::default(),
            checks: (0..MAX_POLICIES).map(|_| PolicyRow::default()).collect(),
        }
    }

    /// Counts a decided check of the policy with this index.
    #[inline]
    pub fn check(&self, policy_index: u16, result: CheckResult) {
        if let Some(row) = self.checks.get(usize::from(policy_index)) {
            row[result as usize].add(1);
        }
    }

    /// Counts a request answered with an error.
    #[inline]
    pub fn parse_error(&self, kind: ParseErrorKind) {
        self.parse_errors[kind as usize].add(1);
    }

    /// Counts an accepted connection.
    #[inline]
    pub fn connection_opened(&self) {
        self.connections_opened.add(1);
    }

    /// Counts the end of an accepted connection.
    #[inline]
    pub fn connection_closed(&self) {
        self.connections_closed.add(1);
    }

    /// Counts a connection closed at once, over the limit.
    #[inline]
    pub fn connection_refused(&self) {
        self.connections_refused.add(1);
    }

    /// Counts bytes that arrived.
    #[inline]
    pub fn add_bytes_received(&self, n: u64) {
        self.bytes_received.add(n);
    }

    /// Counts bytes handed to the kernel.
    #[inline]
    pub fn add_bytes_sent(&self, n: u64) {
        self.bytes_sent.add(n);
    }

    /// Counts a turn of the loop: the heartbeat that the watchdog looks at.
    #[inline]
    pub fn turn(&self) {
        self.turns.add(1);
    }

    /// Turns of the loop so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// Checks of a policy that ended so.
    #[must_use]
    pub fn checks(&self, policy_index: u16, result: CheckResult) -> u64 {
        self.checks.get(usize::from(policy_index)).map_or(0, |row| row[result as usize].get())
    }

    /// Checks of all policies, however they ended.
    #[must_use]
    pub fn all_checks(&self) -> u64 {
        CheckResult::ALL.into_iter().map(|result| self.all_checks_that(result)).sum()
    }

    /// Checks of all policies that ended so.
    #[must_use]
    pub fn all_checks_that(&self, result: CheckResult) -> u64 {
        self.checks.iter().map(|row| row[result as usize].get()).sum()
    }

    /// Requests answered with this error.
    #[must_use]
    pub fn parse_errors(&self, kind: ParseErrorKind) -> u64 {
        self.parse_errors[kind as usize].get()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections_opened(&self) -> u64 {
        self.connections_opened.get()
    }

    /// Connections open now. Never negative, though two counters are read one after the other.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        let closed = self.connections_closed.get();
        self.connections_opened.get().saturating_sub(closed)
    }

    /// Connections refused so far.
    #[must_use]
    pub fn connections_refused(&self) -> u64 {
        self.connections_refused.get()
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received.get()
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_and_reason_has_a_counter_of_its_own() {
        let metrics = CoreMetrics::new();
        for (n, result) in CheckResult::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| metrics.check(1023, result));
        }
        for (n, kind) in ParseErrorKind::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| metrics.parse_error(kind));
        }
        for (n, result) in CheckResult::ALL.into_iter().enumerate() {
            assert_eq!(metrics.checks(1023, result), n as u64 + 1);
            assert_eq!(metrics.checks(0, result), 0);
        }
        for (n, kind) in ParseErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(metrics.parse_errors(kind), n as u64 + 1);
        }
    }

    #[test]
    fn a_policy_index_out_of_range_is_not_counted_and_does_no_harm() {
        let metrics = CoreMetrics::new();
        metrics.check(u16::MAX, CheckResult::Allowed);
        assert_eq!(metrics.checks(u16::MAX, CheckResult::Allowed), 0);
    }

    #[test]
    fn counters_of_two_cores_share_no_cache_line() {
        assert_eq!(align_of::<CoreMetrics>() % 128, 0);
        assert_eq!(size_of::<CoreMetrics>() % 128, 0);
    }

    #[test]
    fn connections_open_is_opened_less_closed() {
        let metrics = CoreMetrics::new();
        (0..5).for_each(|_| metrics.connection_opened());
        (0..2).for_each(|_| metrics.connection_closed());
        assert_eq!((metrics.connections_opened(), metrics.connections_open()), (5, 3));
    }
}
