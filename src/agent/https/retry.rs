//! What is sent again, how often, and after how long.

use std::time::Duration;

use super::error::{CallError, Effect, Failure};

/// What a second sending of a request could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing that the first did not: reads, and writes with a key of their own.
    Harmless,
    /// Harm, if the first one had an effect: it is repeated only when that is ruled out.
    OnlyIfWithoutEffect,
    /// Harm in any case, since what it rests on may have changed: who sends it looks again first.
    Never,
}

/// How long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most sendings, the first one included.
    pub attempts: u32,
    /// The wait after the first failure; doubled after each further one.
    pub first_delay: Duration,
    /// The longest wait, unless the server asks for more.
    pub max_delay: Duration,
    /// No wait begins that would end later than this after the start.
    pub total: Duration,
}

impl Default for RetryPolicy {
    /// Four attempts within ten seconds: a page or a switch must not wait longer for one call.
    fn default() -> Self {
        Self {
            attempts: 4,
            first_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(4),
            total: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// One attempt only.
    pub const ONCE: Self =
        Self { attempts: 1, first_delay: Duration::ZERO, max_delay: Duration::ZERO, total: Duration::ZERO };

    /// The wait before the next attempt, or `None` to give up.
    ///
    /// Exponential back-off, of which the upper half is spread by `jitter` (0 to 1), so that agents
    /// that failed together do not come back together. A `Retry-After` is never undercut; one that
    /// does not fit into `total` ends the attempts.
    #[must_use]
    pub fn delay(
        &self,
        failed_attempts: u32,
        elapsed: Duration,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if failed_attempts >= self.attempts {
            return None;
        }
        let doublings = failed_attempts.saturating_sub(1).min(30);
        let full = self.first_delay.saturating_mul(1 << doublings).min(self.max_delay);
        let spread = full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        let delay = spread.max(retry_after.unwrap_or_default());
        (elapsed.saturating_add(delay) <= self.total).then_some(delay)
    }
}

/// The clock and the chance that a series of attempts runs by.
pub trait Pace {
    /// Since the first attempt began.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn pause(&mut self, delay: Duration);
    /// From 0 to 1, evenly spread.
    fn jitter(&mut self) -> f64;
}

/// Calls `attempt` until it succeeds, or until repeating is useless, harmful or too late.
pub(super) fn run<T>(
    policy: &RetryPolicy,
    repeat: Repeat,
    pace: &mut impl Pace,
    mut attempt: impl FnMut() -> Result<T, CallError>,
) -> Result<T, CallError> {
    let mut failed_attempts = 0;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        failed_attempts += 1;
        if !is_worth_repeating(error.failure(), repeat) {
            return Err(error);
        }
        let jitter = pace.jitter();
        match policy.delay(failed_attempts, pace.elapsed(), error.failure().retry_after(), jitter) {
            Some(delay) => pace.pause(delay),
            None => return Err(error),
        }
    }
}

fn is_worth_repeating(failure: &Failure, repeat: Repeat) -> bool {
    let may_pass = match failure {
        Failure::NotSent(_) | Failure::TimedOut | Failure::Broken(_) => true,
        Failure::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500 | 502 | 503 | 504),
        Failure::Untrusted(_) | Failure::TooLarge(_) | Failure::NotUnderstood(_) => false,
    };
    let may_repeat = match repeat {
        Repeat::Harmless => true,
        Repeat::OnlyIfWithoutEffect => failure.effect() == Effect::None,
        Repeat::Never => false,
    };
    may_pass && may_repeat
}

#[cfg(test)]
mod tests {
    use super::super::error::Service;
    use super::*;
    use proptest::prelude::*;

    const SERVICE: Service =
        Service { name: "Test", credential: "the token", status_page: None, throttle_marks: &[] };

    #[derive(Default)]
    struct FakePace {
        now: Duration,
        pauses: Vec<Duration>,
    }

    impl Pace for FakePace {
        fn elapsed(&self) -> Duration {
            self.now
        }

        fn pause(&mut self, delay: Duration) {
            self.now += delay;
            self.pauses.push(delay);
        }

        fn jitter(&mut self) -> f64 {
            1.0
        }
    }

    fn status(code: u16, retry_after: Option<u64>) -> Failure {
        Failure::Status { code, retry_after: retry_after.map(Duration::from_secs), excerpt: String::new() }
    }

    /// How often a request that always fails so is sent, and the waits between.
    fn attempts(failure: &Failure, repeat: Repeat) -> (u32, Vec<Duration>) {
        let (mut pace, mut count) = (FakePace::default(), 0);
        let outcome: Result<(), _> = run(&RetryPolicy::default(), repeat, &mut pace, || {
            count += 1;
            Err(CallError::new(&SERVICE, "GET https://a", failure.clone()))
        });
        assert!(outcome.is_err());
        (count, pace.pauses)
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let (count, pauses) = attempts(&Failure::TimedOut, Repeat::Harmless);
        assert_eq!(count, 4);
        assert_eq!(pauses, [250, 500, 1000].map(Duration::from_millis));
    }

    #[test]
    fn retry_after_is_kept_and_ends_the_attempts_when_it_is_too_long() {
        assert_eq!(attempts(&status(429, Some(3)), Repeat::Harmless).1, [Duration::from_secs(3); 3]);
        assert_eq!(attempts(&status(429, Some(11)), Repeat::Harmless), (1, vec![]));
    }

    #[test]
    fn what_may_have_had_an_effect_is_not_sent_twice() {
        for (failure, sendings) in [
            (Failure::TimedOut, 1),
            (Failure::Broken(String::new()), 1),
            (status(500, None), 1),
            (status(503, None), 1),
            (status(429, None), 4),
            (Failure::NotSent(String::new()), 4),
        ] {
            assert_eq!(attempts(&failure, Repeat::OnlyIfWithoutEffect).0, sendings, "{failure:?}");
            assert_eq!(attempts(&failure, Repeat::Never).0, 1, "{failure:?}");
        }
    }

    #[test]
    fn what_cannot_pass_by_itself_is_not_repeated() {
        for failure in [
            status(400, None),
            status(401, None),
            status(404, None),
            Failure::Untrusted(String::new()),
            Failure::TooLarge(1),
            Failure::NotUnderstood(String::new()),
        ] {
            assert_eq!(attempts(&failure, Repeat::Harmless).0, 1, "{failure:?}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_ends_after_the_total_or_undercuts_the_server(
            failed in 0_u32..100,
            elapsed_ms in 0_u64..20_000,
            asked_s in proptest::option::of(0_u64..100),
            jitter in 0.0..1.0_f64,
        ) {
            let policy = RetryPolicy { attempts: 50, ..RetryPolicy::default() };
            let elapsed = Duration::from_millis(elapsed_ms);
            let asked = asked_s.map(Duration::from_secs);
            if let Some(delay) = policy.delay(failed, elapsed, asked, jitter) {
                prop_assert!(elapsed + delay <= policy.total);
                prop_assert!(delay >= asked.unwrap_or_default());
                prop_assert!(delay >= policy.first_delay / 2);
                prop_assert!(delay <= policy.max_delay.max(asked.unwrap_or_default()));
            }
        }
    }
}
