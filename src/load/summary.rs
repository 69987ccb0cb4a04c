//! The outcome of a run.

use std::time::Duration;

use super::record::Record;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As planned.
    Completed,
    /// By hand.
    Stopped,
    /// Early, since every connection failed too often in a row.
    GaveUp,
}

impl Ended {
    /// The end in a word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::GaveUp => "gave_up",
        }
    }
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Counts and latencies of the whole run.
    pub record: Record,
    /// From the start to the end of sending, or to the last answer if that came later.
    pub elapsed: Duration,
    /// Requests of an open loop that were due and not sent, for want of connections with room.
    pub unsent: u64,
    /// Requests without an answer when the run was stopped by hand.
    pub abandoned: u64,
    /// How the run ended.
    pub ended: Ended,
}

impl Summary {
    /// Answers a second.
    #[must_use]
    pub fn answers_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.record.answers() as f64 / seconds } else { 0.0 }
    }

    /// The latency that a share of the answers, 0 to 1, does not exceed.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.record.latency().value_at_quantile(quantile))
    }

    /// Errors as a share of errors and good answers, 0 to 1; 1 when there is neither.
    #[must_use]
    pub fn error_ratio(&self) -> f64 {
        let good = self.record.allowed() + self.record.denied();
        let all = good + self.record.errors();
        if all == 0 { 1.0 } else { self.record.errors() as f64 / all as f64 }
    }

    /// Whether something was answered and nothing went wrong, nor was left without an answer.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let all_answered = self.record.errors() == 0 && self.abandoned == 0;
        self.record.answers() > 0 && all_answered && self.ended != Ended::GaveUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::ErrorKind;

    fn summary(record: Record) -> Summary {
        let elapsed = Duration::from_millis(500);
        Summary { record, elapsed, unsent: 0, abandoned: 0, ended: Ended::Completed }
    }

    #[test]
    fn a_run_without_an_answer_is_all_error() {
        let nothing = summary(Record::new());
        assert!(!nothing.is_clean());
        assert_eq!((nothing.error_ratio(), nothing.answers_per_second()), (1.0, 0.0));
    }

    #[test]
    fn a_run_that_leaves_requests_without_an_answer_is_not_clean() {
        let mut record = Record::new();
        record.answered(200, 1000);
        let stopped = Summary { abandoned: 1, ended: Ended::Stopped, ..summary(record) };
        assert!(!stopped.is_clean());
        assert!(Summary { abandoned: 0, ..stopped }.is_clean());
    }

    #[test]
    fn denials_are_answers_and_other_statuses_are_errors() {
        let mut record = Record::new();
        record.answered(200, 1000);
        record.answered(429, 3000);
        assert!(summary(record.clone()).is_clean());
        record.answered(500, 5000);
        record.failed(ErrorKind::Closed, 1, String::new);
        let summary = summary(record);
        assert!(!summary.is_clean());
        assert_eq!((summary.error_ratio(), summary.answers_per_second()), (0.5, 6.0));
        assert_eq!(summary.latency(0.5).as_nanos() / 10, 300);
    }
}
