//! One measure over time as SVG, drawn by us: the phases shaded, gaps left open.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};

use super::facts::{Facts, Stretch};
use super::figures::{Style, figure, style};
use crate::agent::history::Series;
use crate::agent::journal::phase_name;
use crate::agent::types::{Phase, UnixMs};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 748.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 160.0;
/// Beside an incident at least and at most this much is shown.
const MIN_MARGIN_MS: u64 = 60_000;
const MAX_MARGIN_MS: u64 = 600_000;
const MAX_TIME_TICKS: u64 = 8;
const TIME_STEPS_S: [u64; 14] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400];
/// A distance between two points beyond this many steps is a gap.
const GAP_STEPS: u64 = 2;
/// Narrower gaps are seen in the line alone.
const MIN_HATCH: f64 = 3.0;

/// What the plots of one report have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    from: UnixMs,
    to: UnixMs,
}

impl Frame {
    /// As much before and after as the incident is long, within limits, and not past what is known.
    pub(super) fn new(facts: &Facts, series: &[Series]) -> Self {
        let end = facts.ended_at.unwrap_or(facts.last_at);
        let margin_ms = end.since_ms(facts.began_at).clamp(MIN_MARGIN_MS, MAX_MARGIN_MS);
        let known = series.iter().flat_map(|series| &series.points).filter(|point| point.value.is_some());
        let latest = known.map(|point| point.at).max().unwrap_or(end);
        let to = end.after_ms(margin_ms).min(latest.max(end.after_ms(MIN_MARGIN_MS / 6)));
        Self { from: UnixMs(facts.began_at.0.saturating_sub(margin_ms)), to }
    }

    fn x(self, at: UnixMs) -> f64 {
        let share = at.since_ms(self.from) as f64 / self.to.since_ms(self.from).max(1) as f64;
        LEFT + (RIGHT - LEFT) * share.clamp(0.0, 1.0)
    }

    /// Whole multiples of a step that people count in, and how they are written.
    fn ticks(self) -> Vec<(f64, String)> {
        let length_s = self.to.since_ms(self.from) / 1000;
        let fits = |step_s: &&u64| length_s / **step_s <= MAX_TIME_TICKS;
        let step_s = TIME_STEPS_S.iter().find(fits).copied().unwrap_or(length_s.max(1));
        let step_ms = step_s * 1000;
        let format = if step_s.is_multiple_of(60) { "%H:%M" } else { "%H:%M:%S" };
        (self.from.0.div_ceil(step_ms)..=self.to.0 / step_ms)
            .take(2 * MAX_TIME_TICKS as usize)
            .map(|multiple| UnixMs(multiple * step_ms))
            .map(|at| (self.x(at), clock(at, format)))
            .collect()
    }
}

/// How a phase is shaded; several phases share a colour.
pub(super) const fn shade(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Suspect | Phase::Paged | Phase::Acknowledged | Phase::AutoApproved => Some("detect"),
        Phase::Preflight | Phase::Switching => Some("switch"),
        Phase::Validating => Some("validate"),
        Phase::RollingBack => Some("rollback"),
        Phase::Watching
        | Phase::Declined
        | Phase::Recovered
        | Phase::RolledBack
        | Phase::HandedOver
        | Phase::Reported => None,
    }
}

/// The values on the vertical axis.
struct Scale {
    top: f64,
    step: f64,
}

impl Scale {
    /// The least of 1, 2, 2.5, 5 times a power of ten whose four-fold is not exceeded.
    fn new(greatest: f64) -> Self {
        if greatest <= 0.0 {
            return Self { top: 1.0, step: 0.5 };
        }
        let rough = greatest / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power);
        Self { top: (greatest / step).ceil() * step, step }
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (value / self.top).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let count = (self.top / self.step).round().clamp(1.0, 10.0) as u32;
        (0..=count).map(|tick| f64::from(tick) * self.step).collect()
    }
}

/// One plot; `number` makes its ids unique in the page.
pub(super) fn plot(facts: &Facts, series: &Series, frame: Frame, number: usize) -> Markup {
    let Style { name, unit, scale, low_is_bad } = style(&series.measure);
    let shown = Shown::new(series, frame, scale);
    let greatest = shown.values().fold(0.0, f64::max);
    // A share is seen against the whole.
    let axis = if low_is_bad { Scale { top: 100.0, step: 25.0 } } else { Scale::new(greatest) };
    let range = shown.values().reduce(f64::min).map_or("no data".to_owned(), |least| {
        format!("between {} and {} {unit}", figure(least), figure(greatest))
    });
    let (title, description) = (format!("t{number}"), format!("d{number}"));
    html! {
        figure {
            figcaption { strong { (name) } " " span.unit { (unit) } }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
                aria-labelledby=(format!("{title} {description}")) {
                title id=(title) { (name) ", " (unit) ", over time" }
                desc id=(description) { (range) }
                @for stretch in &facts.phases { (band(frame, *stretch)) }
                @for tick in axis.ticks() { (value_tick(&axis, tick)) }
                @for (x, label) in frame.ticks() { (time_tick(x, &label)) }
                @for (from, to) in shown.gaps(frame) {
                    rect.gap x=(px(from)) y=(px(TOP)) width=(px(to - from)) height=(px(BOTTOM - TOP)) {}
                }
                path.line d=(shown.path(frame, &axis)) {}
                (edge(frame, facts.began_at, "start"))
                @if let Some(ended_at) = facts.ended_at { (edge(frame, ended_at, "end")) }
                line.axis x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(BOTTOM)) y2=(px(BOTTOM)) {}
                text.label x=(px(RIGHT)) y=(px(HEIGHT - 2.0)) text-anchor="end" { "time, UTC" }
            }
        }
    }
}

fn band(frame: Frame, stretch: Stretch) -> Markup {
    let (from, to) = (frame.x(stretch.from), frame.x(stretch.to));
    html! {
        @if let Some(shade) = shade(stretch.phase) {
            rect class=(format!("band {shade}")) x=(px(from)) y=(px(TOP)) width=(px((to - from).max(1.0)))
                height=(px(BOTTOM - TOP)) {
                title { (phase_name(stretch.phase)) }
            }
        }
    }
}

fn edge(frame: Frame, at: UnixMs, label: &str) -> Markup {
    let x = frame.x(at);
    html! {
        line.edge x1=(px(x)) x2=(px(x)) y1=(px(TOP)) y2=(px(BOTTOM)) {}
        text.label x=(px(x)) y=(px(TOP - 4.0)) text-anchor=(if label == "start" { "end" } else { "start" }) {
            (label)
        }
    }
}

fn value_tick(axis: &Scale, value: f64) -> Markup {
    let y = axis.y(value);
    html! {
        line.grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y)) y2=(px(y)) {}
        text.label x=(px(LEFT - 6.0)) y=(px(y + 3.5)) text-anchor="end" { (figure(value)) }
    }
}

fn time_tick(x: f64, label: &str) -> Markup {
    html! {
        line.axis x1=(px(x)) x2=(px(x)) y1=(px(BOTTOM)) y2=(px(BOTTOM + 4.0)) {}
        text.label x=(px(x)) y=(px(BOTTOM + 15.0)) text-anchor="middle" { (label) }
    }
}

/// The runs of a series within a frame: between two runs is a gap.
struct Shown {
    runs: Vec<Vec<(UnixMs, f64)>>,
}

impl Shown {
    fn new(series: &Series, frame: Frame, scale: f64) -> Self {
        let mut runs: Vec<Vec<(UnixMs, f64)>> = Vec::new();
        let mut latest: Option<UnixMs> = None;
        for point in series.points.iter().filter(|point| point.at >= frame.from && point.at <= frame.to) {
            let Some(value) = point.value else {
                latest = None;
                continue;
            };
            let follows = latest
                .is_some_and(|latest| point.at.since_ms(latest) <= series.step_ms.saturating_mul(GAP_STEPS));
            match runs.last_mut() {
                Some(run) if follows => run.push((point.at, value * scale)),
                _ => runs.push(vec![(point.at, value * scale)]),
            }
            latest = Some(point.at);
        }
        Self { runs }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.runs.iter().flatten().map(|(_, value)| *value)
    }

    fn path(&self, frame: Frame, axis: &Scale) -> String {
        let mut path = String::new();
        for run in &self.runs {
            for (at, (time, value)) in run.iter().enumerate() {
                let letter = if at == 0 { 'M' } else { 'L' };
                // A String takes all that is written.
                let _ = write!(path, "{letter}{} {}", px(frame.x(*time)), px(axis.y(*value)));
            }
            if run.len() == 1 {
                // A round cap makes a dot of it.
                path.push_str("h0");
            }
        }
        path
    }

    /// From and to of the stretches without a value.
    fn gaps(&self, frame: Frame) -> Vec<(f64, f64)> {
        let edge = |point: Option<&(UnixMs, f64)>| point.map(|(at, _)| frame.x(*at));
        let begins = self.runs.iter().filter_map(|run| edge(run.first())).chain([RIGHT]);
        let ends = [LEFT].into_iter().chain(self.runs.iter().filter_map(|run| edge(run.last())));
        ends.zip(begins).filter(|(from, to)| to - from > MIN_HATCH).collect()
    }
}

fn clock(at: UnixMs, format: &str) -> String {
    let timestamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(String::new, |timestamp| timestamp.strftime(format).to_string())
}

/// A tenth of a pixel is enough.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::history::{Measure, Point};

    const FRAME: Frame = Frame { from: UnixMs(0), to: UnixMs(60_000) };

    fn shown(values: &[(u64, Option<f64>)]) -> Shown {
        let points = values.iter().map(|(second, value)| Point { at: UnixMs(second * 1000), value: *value });
        let points = points.collect();
        Shown::new(&Series { measure: Measure::Checks, step_ms: 1000, points }, FRAME, 1.0)
    }

    #[test]
    fn the_line_stops_at_a_gap_whether_it_is_written_down_or_only_missing() {
        let axis = Scale::new(4.0);
        for gap in [&[(2, None)][..], &[]] {
            let values =
                [&[(0, Some(1.0)), (1, Some(2.0))], gap, &[(30, Some(4.0)), (99, Some(1.0))]].concat();
            let shown = shown(&values);
            let path = shown.path(FRAME, &axis);
            assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
            assert!(path.ends_with("h0"), "{path}");
            assert_eq!(shown.gaps(FRAME).len(), 2);
        }
        // One missing second could be late; one that is known to be missing is a gap.
        let (late, missing) = ([(1, Some(1.0)), (3, Some(1.0))], [(1, Some(1.0)), (2, None), (3, Some(1.0))]);
        assert_eq!((shown(&late).runs.len(), shown(&missing).runs.len()), (1, 2));
        assert_eq!(shown(&[]).gaps(FRAME), [(LEFT, RIGHT)]);
    }

    #[test]
    fn axes_have_round_values_that_hold_the_greatest() {
        for (greatest, top, step) in
            [(0.0, 1.0, 0.5), (4.0, 4.0, 1.0), (7.0, 8.0, 2.0), (97.0, 100.0, 25.0), (1234.0, 1500.0, 500.0)]
        {
            let scale = Scale::new(greatest);
            assert_eq!((scale.top, scale.step), (top, step), "{greatest}");
        }
        let labels: Vec<_> = FRAME.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(
            labels,
            ["00:00:00", "00:00:10", "00:00:20", "00:00:30", "00:00:40", "00:00:50", "00:01:00"]
        );
        let day = Frame { from: UnixMs(0), to: UnixMs(86_400_000) };
        assert_eq!(day.ticks()[1].1, "06:00");
    }
}
