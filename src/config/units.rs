//! Quantities as people write them: `"100/s"`, `"250ms"`.

use std::time::Duration;

use crate::bucket::gcra::{Rate, RateError};
use crate::time::{NS_PER_MS, NS_PER_SECOND};

/// Spellings of units of time, the usual one first, in nanoseconds.
const TIME_UNITS: &[(&[&str], u64)] = &[
    (&["ms", "millisecond", "milliseconds"], NS_PER_MS),
    (&["s", "sec", "second", "seconds"], NS_PER_SECOND),
    (&["min", "m", "minute", "minutes"], 60 * NS_PER_SECOND),
    (&["h", "hr", "hour", "hours"], 3600 * NS_PER_SECOND),
    (&["day", "d", "days"], 86_400 * NS_PER_SECOND),
];

/// Why a text is not the quantity it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("has no `/` between tokens and time")]
    NoSlash,
    #[error("does not begin with a whole number")]
    NoNumber,
    #[error("has a number that is too large")]
    TooLarge,
    #[error("lacks a unit of time")]
    NoUnit,
    #[error("has the unit `{0}`, which is not a unit of time")]
    UnknownUnit(String),
    #[error("counts no time at all")]
    NoTime,
    #[error("is out of range: {0}")]
    Rate(#[from] RateError),
}

/// A rate, and the number of tokens it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrittenRate {
    pub(super) rate: Rate,
    pub(super) tokens: u64,
}

/// Reads `"100/s"`, `"5000/min"`, `"1/day"`, `"10/5s"`.
pub(super) fn parse_rate(text: &str) -> Result<WrittenRate, UnitError> {
    let (tokens, time) = text.split_once('/').ok_or(UnitError::NoSlash)?;
    let (tokens, rest) = leading_number(tokens.trim())?;
    let tokens = tokens.ok_or(UnitError::NoNumber)?;
    if !rest.is_empty() {
        return Err(UnitError::NoNumber);
    }
    let (count, unit) = leading_number(time.trim())?;
    let per_ns = count.unwrap_or(1).checked_mul(unit_ns(unit)?).ok_or(UnitError::TooLarge)?;
    if per_ns == 0 {
        return Err(UnitError::NoTime);
    }
    Ok(WrittenRate { rate: Rate::new(tokens, per_ns)?, tokens })
}

/// Reads `"250ms"`, `"10s"`, `"5min"`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (count, unit) = leading_number(text.trim())?;
    let count = count.ok_or(UnitError::NoNumber)?;
    count.checked_mul(unit_ns(unit)?).map(Duration::from_nanos).ok_or(UnitError::TooLarge)
}

/// A time as a configuration writes it, with the largest unit that it is a whole number of.
pub(crate) fn written(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let counted = |(names, unit_ns): &(&[&str], u64)| {
        let unit_ns = u128::from(*unit_ns);
        let is_whole = duration.as_nanos().is_multiple_of(unit_ns);
        is_whole.then(|| format!("{}{}", duration.as_nanos() / unit_ns, names[0]))
    };
    TIME_UNITS.iter().rev().find_map(counted).unwrap_or_else(|| format!("{duration:?}"))
}

/// The digits that `text` begins with (`_` may group them), and the rest.
fn leading_number(text: &str) -> Result<(Option<u64>, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let digits = text[..end].replace('_', "");
    let rest = text[end..].trim();
    if digits.is_empty() {
        return if end == 0 { Ok((None, rest)) } else { Err(UnitError::NoNumber) };
    }
    Ok((Some(digits.parse().map_err(|_| UnitError::TooLarge)?), rest))
}

fn unit_ns(unit: &str) -> Result<u64, UnitError> {
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let known = TIME_UNITS.iter().find(|(spellings, _)| spellings.contains(&unit));
    known.map(|(_, ns)| *ns).ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let second = NS_PER_SECOND;
        for (text, tokens, per_ns) in [
            ("100/s", 100, second),
            ("5000/min", 5000, 60 * second),
            ("1/day", 1, 86_400 * second),
            ("10/5s", 10, 5 * second),
            (" 1_000 / 2 hours ", 1000, 7200 * second),
            ("10000000/s", 10_000_000, second),
            ("7/250ms", 7, 250 * NS_PER_MS),
        ] {
            let expected = WrittenRate { rate: Rate::new(tokens, per_ns).unwrap(), tokens };
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_rate_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", UnitError::NoSlash),
            ("100", UnitError::NoSlash),
            ("/s", UnitError::NoNumber),
            ("1.5/s", UnitError::NoNumber),
            ("-1/s", UnitError::NoNumber),
            ("_/s", UnitError::NoNumber),
            ("1/", UnitError::NoUnit),
            ("1/5", UnitError::NoUnit),
            ("1/0s", UnitError::NoTime),
            ("1/fortnight", UnitError::UnknownUnit("fortnight".to_owned())),
            ("99999999999999999999/s", UnitError::TooLarge),
            ("1/99999999999999d", UnitError::TooLarge),
            ("0/s", UnitError::Rate(RateError::TooSlow)),
            ("1/2days", UnitError::Rate(RateError::TooSlow)),
            ("10000001/s", UnitError::Rate(RateError::TooFast)),
        ] {
            assert_eq!(parse_rate(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2 h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("s"), Err(UnitError::NoNumber));
        assert_eq!(parse_duration("10"), Err(UnitError::NoUnit));
        assert_eq!(parse_duration("9999999999999999d"), Err(UnitError::TooLarge));
    }

    #[test]
    fn a_time_is_written_as_it_is_read_with_its_largest_unit() {
        for text in ["0s", "250ms", "90s", "5min", "90min", "12h", "1day"] {
            assert_eq!(written(parse_duration(text).unwrap()), text);
        }
        assert_eq!(written(Duration::from_secs(3600)), "1h");
        assert_eq!(written(Duration::from_micros(1500)), "1.5ms");
    }
}
