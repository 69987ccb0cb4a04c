//! Latencies as bars of text: how many answers took how long.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Cells of the longest bar.
const WIDTH: u64 = 40;
/// A cell filled by so many eighths.
const EIGHTHS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// One line a band of latencies, from the fastest answer's to the slowest's. Bands end at 1, 2 and 5
/// times a power of ten, so each is about twice as wide as the one before.
pub(super) fn bars(latency: &Histogram<u64>) -> String {
    let bands = bands(latency);
    let most = bands.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for (end_ns, count) in bands {
        let share = 100.0 * count as f64 / latency.len() as f64;
        let (end, bar) = (duration(end_ns), bar(count, most));
        // Writing to a string does not fail.
        let _ = writeln!(text, "  up to {end:>7} │{bar} {share:.2} %");
    }
    text
}

/// The end of each band, in nanoseconds, and how many latencies are in it.
fn bands(latency: &Histogram<u64>) -> Vec<(u64, u64)> {
    if latency.is_empty() {
        return vec![];
    }
    let (mut bands, mut below) = (Vec::new(), 0);
    for end_ns in (2..=13).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power))) {
        // A value stands for its whole bucket, so both ends of a band are rounded alike.
        let up_to = latency.count_between(0, end_ns);
        if up_to > below || !bands.is_empty() {
            bands.push((end_ns, up_to - below));
        }
        below = up_to;
        if below == latency.len() {
            break;
        }
    }
    bands
}

/// A bar for `count` where `most` fills [`WIDTH`] cells. A count of one shows.
fn bar(count: u64, most: u64) -> String {
    let eighths = (u128::from(count) * u128::from(WIDTH) * 8).div_ceil(u128::from(most)) as usize;
    let mut bar: String = std::iter::repeat_n(EIGHTHS[8], eighths / 8).collect();
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// A latency in three digits and a unit.
pub(super) fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1000 => return format!("{ns} ns"),
        1000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::Record;

    #[test]
    fn each_band_between_the_fastest_and_the_slowest_has_a_bar() {
        let mut record = Record::new();
        (0..90).for_each(|_| record.answered(200, 150_000));
        (0..9).for_each(|_| record.answered(200, 300_000));
        record.answered(200, 1_500_000);
        let text = bars(record.latency());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], format!("  up to  200 µs │{} 90.00 %", "█".repeat(40)));
        assert_eq!(lines[1], "  up to  500 µs │████ 9.00 %");
        assert_eq!(lines[2], "  up to 1.00 ms │ 0.00 %");
        assert_eq!(lines[3], "  up to 2.00 ms │▌ 1.00 %");
    }

    #[test]
    fn without_an_answer_there_is_nothing_to_draw() {
        assert_eq!(bars(Record::new().latency()), "");
    }

    #[test]
    fn a_latency_is_shown_in_the_unit_that_fits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1234, "1.23 µs"),
            (56_789, "56.8 µs"),
            (2_000_000, "2.00 ms"),
            (200_000_000, "200 ms"),
            (12_345_678_901, "12.3 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }
}
