//! What happened: latencies, answers by status, errors by kind, bytes.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::time::NS_PER_SECOND;

/// The longest latency told apart; whatever takes longer is counted as this long.
const MAX_LATENCY_NS: u64 = 3600 * NS_PER_SECOND;
/// Three digits: a latency is exact to a thousandth.
const LATENCY_DIGITS: u8 = 3;

/// What can go wrong with a request, beside an answer with an unexpected status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A connection was not made.
    Connect,
    /// No answer came in time.
    Timeout,
    /// The connection ended before the answer.
    Closed,
    /// What came was not an answer.
    Protocol,
}

impl ErrorKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Closed, Self::Protocol];

    /// The kind in a word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }
}

/// Counts and latencies of a thread, of an interval, or of a whole run.
#[derive(Clone, Debug)]
pub struct Record {
    latency: Histogram<u64>,
    allowed: u64,
    denied: u64,
    other: BTreeMap<u16, u64>,
    errors: [u64; ErrorKind::ALL.len()],
    first_error: Option<String>,
    /// Requests sent.
    pub sent: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Connections made.
    pub connected: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl Record {
    /// Nothing happened.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram accepts.
    #[must_use]
    pub fn new() -> Self {
        let latency = Histogram::new_with_max(MAX_LATENCY_NS, LATENCY_DIGITS);
        Self {
            latency: latency.expect("constant bounds are accepted"),
            allowed: 0,
            denied: 0,
            other: BTreeMap::new(),
            errors: [0; ErrorKind::ALL.len()],
            first_error: None,
            sent: 0,
            bytes_sent: 0,
            bytes_received: 0,
            connected: 0,
        }
    }

    /// An answer with this status came `latency_ns` after the request was due.
    #[inline]
    pub(super) fn answered(&mut self, status: u16, latency_ns: u64) {
        self.latency.saturating_record(latency_ns);
        match status {
            200 => self.allowed += 1,
            429 => self.denied += 1,
            other => *self.other.entry(other).or_default() += 1,
        }
    }

    /// An answer had an unexpected status; `why` is asked of the first error only.
    pub(super) fn refused(&mut self, why: impl FnOnce() -> String) {
        self.first_error.get_or_insert_with(why);
    }

    /// `count` requests, or attempts to connect, ended so; `why` is kept of the first only.
    pub(super) fn failed(&mut self, kind: ErrorKind, count: u64, why: impl FnOnce() -> String) {
        self.errors[kind as usize] += count;
        if count > 0 && self.first_error.is_none() {
            self.first_error = Some(why());
        }
    }

    /// Adds all of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for step in other.latency.iter_recorded() {
            self.latency.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
        self.allowed += other.allowed;
        self.denied += other.denied;
        for (status, count) in &other.other {
            *self.other.entry(*status).or_default() += count;
        }
        for (sum, count) in self.errors.iter_mut().zip(other.errors) {
            *sum += count;
        }
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
        self.sent += other.sent;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.connected += other.connected;
    }

    /// Latencies of all answers, in nanoseconds.
    #[must_use]
    pub const fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// Answers, of any status.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.latency.len()
    }

    /// Answers with status 200.
    #[must_use]
    pub const fn allowed(&self) -> u64 {
        self.allowed
    }

    /// Answers with status 429.
    #[must_use]
    pub const fn denied(&self) -> u64 {
        self.denied
    }

    /// Answers by status.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut statuses = self.other.clone();
        let known = [(200, self.allowed), (429, self.denied)];
        statuses.extend(known.into_iter().filter(|(_, count)| *count > 0));
        statuses
    }

    /// Answers that are neither 200 nor 429.
    #[must_use]
    pub fn unexpected(&self) -> u64 {
        self.other.values().sum()
    }

    /// Errors of one kind.
    #[must_use]
    pub const fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize]
    }

    /// All errors: unexpected answers, requests without one, attempts to connect.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.iter().sum::<u64>() + self.unexpected()
    }

    /// What the first error was, in words.
    #[must_use]
    pub fn first_error(&self) -> Option<&str> {
        self.first_error.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let mut record = Record::new();
        record.answered(200, 1_000_000);
        record.answered(429, 2_000_000);
        record.answered(503, 3_000_000);
        record.failed(ErrorKind::Timeout, 2, || "too late".to_owned());
        record.failed(ErrorKind::Closed, 1, || "gone".to_owned());
        record.sent = 6;
        record
    }

    #[test]
    fn answers_are_counted_by_status_and_errors_by_kind() {
        let record = sample();
        assert_eq!((record.answers(), record.allowed(), record.denied()), (3, 1, 1));
        assert_eq!(record.statuses(), BTreeMap::from([(200, 1), (429, 1), (503, 1)]));
        assert_eq!((record.errors(), record.unexpected()), (4, 1));
        assert_eq!(record.errors_of(ErrorKind::Timeout), 2);
        assert_eq!(record.first_error(), Some("too late"));
    }

    #[test]
    fn a_sum_of_records_loses_nothing() {
        let (mut sum, other) = (Record::new(), sample());
        sum.add(&other);
        sum.add(&other);
        assert_eq!((sum.answers(), sum.allowed(), sum.errors(), sum.sent), (6, 2, 8, 12));
        assert_eq!(sum.latency().value_at_quantile(0.5), other.latency().value_at_quantile(0.5));
        assert_eq!(sum.latency().max(), other.latency().max());
        assert_eq!(sum.first_error(), Some("too late"));
    }

    #[test]
    fn a_latency_beyond_the_longest_is_counted_as_the_longest() {
        let mut record = Record::new();
        record.answered(200, u64::MAX);
        assert!(record.latency().max() >= MAX_LATENCY_NS);
    }
}
