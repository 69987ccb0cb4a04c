//! What the lines of one incident say, for people: times, durations, checklist, records.

use crate::agent::journal::{Line, phase_name, words_of};
use crate::agent::types::{Cause, Entry, IncidentId, Phase, RecordState, Region, Step, UnixMs};

/// The report is due this long after the end.
const DUE_AFTER_MS: u64 = 48 * 60 * 60 * 1000;
/// What is plotted of before and after.
const AROUND_MS: u64 = 10 * 60 * 1000;

/// An incident as its report shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub(super) incident: IncidentId,
    pub(super) headline: String,
    pub(super) summary: Vec<String>,
    pub(super) is_drill: bool,
    pub(super) began_at: UnixMs,
    /// `None` while it goes on.
    pub(super) ended_at: Option<UnixMs>,
    pub(super) due_at: Option<UnixMs>,
    pub(super) last_at: UnixMs,
    pub(super) durations: Vec<Duration>,
    pub(super) checklist: Vec<(&'static str, State)>,
    pub(super) record_before: Option<RecordState>,
    pub(super) record_after: Option<RecordState>,
    pub(super) phases: Vec<Stretch>,
    pub(super) timeline: Vec<Event>,
}

/// A named time from one thing to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Duration {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// `None` when it did not come to that.
    pub(super) ms: Option<u64>,
}

/// Whether a thing of the checklist was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Done(UnixMs),
    Failed(UnixMs),
    /// Begun, and how it ended was not written down.
    Unknown(UnixMs),
    NotDone,
}

/// The incident in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) phase: Phase,
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
}

/// One row of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: UnixMs,
    pub(super) sequence: u64,
    pub(super) words: String,
    pub(super) is_milestone: bool,
}

impl Facts {
    /// Reads the lines of `incident`; those of others are passed over, and so are those about the report.
    /// `None` when there are none.
    #[must_use]
    pub fn new(incident: &IncidentId, lines: &[Line]) -> Option<Self> {
        let own: Vec<&Line> = lines
            .iter()
            .filter(|line| line.incident.as_ref() == Some(incident) && !is_about_report(line))
            .collect();
        let (first, last) = (own.first()?, own.last()?);
        let journey = Journey { lines: &own };
        let ended_at = journey.ended_at();
        let phases = journey.phases(ended_at.unwrap_or(last.at));
        let is_drill = journey.first(is_drill);
        Some(Self {
            incident: incident.clone(),
            headline: journey.headline(is_drill.is_some()),
            summary: journey.summary(),
            is_drill: is_drill.is_some(),
            began_at: first.at,
            ended_at,
            due_at: ended_at.map(|at| at.after_ms(DUE_AFTER_MS)),
            last_at: last.at,
            durations: journey.durations(first.at, ended_at),
            checklist: journey.checklist(),
            record_before: journey.record_before(),
            record_after: journey.record_after(),
            phases,
            timeline: own.iter().map(|line| event(line)).collect(),
        })
    }
}

/// What is to be plotted: ten minutes before the incident to ten minutes after its end.
#[must_use]
pub fn window(facts: &Facts) -> (UnixMs, UnixMs) {
    let end = facts.ended_at.unwrap_or(facts.last_at);
    (UnixMs(facts.began_at.0.saturating_sub(AROUND_MS)), end.after_ms(AROUND_MS))
}

/// A report that told of its own writing would be another one each time.
fn is_about_report(line: &Line) -> bool {
    match line.logged.known() {
        Some(Entry::Intent { step, .. } | Entry::Outcome { step, .. }) => *step == Step::WriteReport,
        Some(Entry::Moved { from, to, .. }) => *to == Phase::Reported || *from == Phase::Reported,
        _ => false,
    }
}

fn is_drill(entry: &Entry) -> bool {
    match entry {
        Entry::Command { command, .. } => command == "drill",
        Entry::Planned { cause, .. } => *cause == Cause::Drill,
        _ => false,
    }
}

fn event(line: &Line) -> Event {
    let is_milestone = matches!(line.logged.known(), Some(Entry::Moved { .. }));
    Event { at: line.at, sequence: line.sequence, words: words_of(&line.logged), is_milestone }
}

/// The lines of one incident, and what can be asked of them.
struct Journey<'a> {
    lines: &'a [&'a Line],
}

impl Journey<'_> {
    fn first(&self, is_it: impl Fn(&Entry) -> bool) -> Option<UnixMs> {
        let found = self.lines.iter().find(|line| line.logged.known().is_some_and(&is_it));
        found.map(|line| line.at)
    }

    fn last(&self, is_it: impl Fn(&Entry) -> bool) -> Option<UnixMs> {
        let found = self.lines.iter().rev().find(|line| line.logged.known().is_some_and(&is_it));
        found.map(|line| line.at)
    }

    fn moved_to(&self, phases: &[Phase]) -> Option<UnixMs> {
        self.first(|entry| matches!(entry, Entry::Moved { to, .. } if phases.contains(to)))
    }

    fn moved_out_of(&self, phase: Phase) -> Option<UnixMs> {
        self.last(|entry| matches!(entry, Entry::Moved { from, .. } if *from == phase))
    }

    fn done(&self, wanted: Step) -> Option<UnixMs> {
        self.first(|entry| matches!(entry, Entry::Outcome { step, done: true, .. } if *step == wanted))
    }

    fn state_of(&self, wanted: Step) -> State {
        let failed =
            self.last(|entry| matches!(entry, Entry::Outcome { step, done: false, .. } if *step == wanted));
        let begun = self.begun(wanted).map(State::Unknown);
        let ended = self.done(wanted).map(State::Done).or(failed.map(State::Failed));
        ended.or(begun).unwrap_or(State::NotDone)
    }

    fn begun(&self, wanted: Step) -> Option<UnixMs> {
        self.first(|entry| matches!(entry, Entry::Intent { step, .. } if *step == wanted))
    }

    /// A write whose answer was lost is settled by reading, and resolvers are asked only for what was read.
    fn switched(&self) -> State {
        let state = self.state_of(Step::WriteRecord);
        let settled = self.begun(Step::AwaitVisible).filter(|_| !matches!(state, State::Done(_)));
        settled.map_or(state, State::Done)
    }

    /// The phase in which it was left and when; a report closes it.
    fn final_move(&self) -> Option<(Phase, UnixMs, &str)> {
        self.lines.iter().rev().find_map(|line| match line.logged.known() {
            Some(Entry::Moved { to, why, .. }) => Some((*to, line.at, why.as_str())),
            _ => None,
        })
    }

    fn ended_at(&self) -> Option<UnixMs> {
        let (phase, at, _) = self.final_move()?;
        let is_end = matches!(
            phase,
            Phase::Recovered | Phase::RolledBack | Phase::Declined | Phase::HandedOver | Phase::Watching
        );
        is_end.then_some(at)
    }

    fn phases(&self, end: UnixMs) -> Vec<Stretch> {
        let moves: Vec<_> = self
            .lines
            .iter()
            .filter_map(|line| match line.logged.known() {
                Some(Entry::Moved { to, .. }) => Some((*to, line.at)),
                _ => None,
            })
            .collect();
        let ends = moves.iter().skip(1).map(|(_, at)| *at).chain([end]);
        moves.iter().zip(ends).map(|((phase, from), to)| Stretch { phase: *phase, from: *from, to }).collect()
    }

    fn headline(&self, is_drill: bool) -> String {
        let plan = self.plan();
        let target = plan.and_then(|(_, target, _)| target).map(|target| format!(" to {target}"));
        let moved = format!("traffic was moved{}", target.unwrap_or_default());
        let ending = match self.final_move() {
            Some((Phase::Recovered, ..)) if matches!(self.switched(), State::Done(_)) => {
                format!("{moved} and is served again")
            }
            Some((Phase::Recovered, ..)) => "traffic is served again".to_owned(),
            Some((Phase::RolledBack, ..)) => format!("{moved} and put back"),
            Some((Phase::Declined, ..)) => "a person declined the switch".to_owned(),
            Some((Phase::HandedOver, ..)) => "the agent stopped and handed over to a person".to_owned(),
            Some((Phase::Watching, ..)) => "it went away by itself".to_owned(),
            Some((phase, ..)) => format!("it goes on ({})", phase_name(phase)),
            None => "nothing was decided".to_owned(),
        };
        let drill = if is_drill { "Drill: " } else { "" };
        format!("{drill}{}: {ending}", self.cause())
    }

    /// What began it, and where.
    fn cause(&self) -> String {
        let plan = self.plan();
        let cause = match (self.raised().first(), plan) {
            (_, Some((_, _, Cause::Failback))) => "Return".to_owned(),
            (Some((signal, _)), _) => sentence(&signal.replace('_', " ")),
            (None, Some((_, _, Cause::Person))) => "Switch by hand".to_owned(),
            (None, Some((_, _, Cause::Signal))) => "Region down".to_owned(),
            (None, _) => "Incident".to_owned(),
        };
        plan.map_or_else(|| cause.clone(), |(region, ..)| format!("{cause} ({region})"))
    }

    /// The last plan holds.
    fn plan(&self) -> Option<(&Region, Option<&Region>, Cause)> {
        self.lines.iter().rev().find_map(|line| match line.logged.known() {
            Some(Entry::Planned { region, target, cause, .. }) => Some((region, target.as_ref(), *cause)),
            _ => None,
        })
    }

    /// Names and details of the signals that were raised, each name once.
    fn raised(&self) -> Vec<(&str, &str)> {
        let mut raised: Vec<(&str, &str)> = Vec::new();
        for line in self.lines {
            if let Some(Entry::Signal { signal, raised: true, detail }) = line.logged.known()
                && !raised.iter().any(|(name, _)| name == signal)
            {
                raised.push((signal, detail));
            }
        }
        raised
    }

    /// One paragraph, a sentence an item.
    fn summary(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let signals: Vec<_> =
            self.raised().iter().map(|(name, detail)| with(&name.replace('_', " "), detail)).collect();
        if !signals.is_empty() {
            sentences.push(format!("What was seen: {}.", signals.join("; ")));
        } else if let Some(why) = self.why(Phase::Paged).or_else(|| self.why(Phase::Suspect)) {
            sentences.push(format!("What was seen: {}.", why.trim_end_matches('.')));
        }
        for (phase, words) in [
            (Phase::Acknowledged, "A person acknowledged it"),
            (Phase::AutoApproved, "The switch was approved by policy, since nobody declined it in time"),
            (Phase::Declined, "A person declined the switch"),
            (Phase::RollingBack, "The record was put back"),
            (Phase::HandedOver, "The agent stopped and handed over to a person"),
            (Phase::Recovered, "Service was confirmed"),
        ] {
            if let Some(why) = self.why(phase) {
                sentences.push(format!("{}.", with(words, why)));
            }
        }
        if let (Some(before), Some(after)) = (self.record_before(), self.record_after()) {
            sentences.push(if before == after {
                format!("The public name {} stayed as it was.", before.name)
            } else {
                let [before_values, after_values] = [&before, &after].map(|state| state.values.join(", "));
                format!("The public name {} went from {before_values} to {after_values}.", before.name)
            });
        }
        if sentences.is_empty() {
            sentences.push("The journal has no signal and no decision of it.".to_owned());
        }
        sentences
    }

    fn why(&self, phase: Phase) -> Option<&str> {
        self.lines.iter().find_map(|line| match line.logged.known() {
            Some(Entry::Moved { to, why, .. }) if *to == phase => Some(why.as_str()),
            _ => None,
        })
    }

    fn durations(&self, began: UnixMs, ended: Option<UnixMs>) -> Vec<Duration> {
        let last_healthy = self.last_healthy();
        let failed = last_healthy.unwrap_or(began);
        let (to_suspicion, to_end) = if last_healthy.is_some() {
            ("last healthy answer to suspicion", "last healthy answer to the end")
        } else {
            ("first signal to suspicion", "first signal to the end")
        };
        let detected = self.detected();
        let paged = self.done(Step::Page);
        let agreed = self.moved_to(&[Phase::Acknowledged, Phase::AutoApproved, Phase::Declined]);
        let switching = self.begun(Step::WriteRecord);
        let switched = self.done(Step::AwaitVisible);
        let validating = self.moved_to(&[Phase::Validating]);
        let validated = self.moved_out_of(Phase::Validating);
        let row = |name, meaning, from: Option<UnixMs>, to: Option<UnixMs>| {
            let ms = from.zip(to).map(|(from, to)| to.since_ms(from));
            Duration { name, meaning, ms }
        };
        vec![
            row("Detection", to_suspicion, Some(failed), detected),
            row("Page", "suspicion to a page that got through", detected, paged),
            row("Acknowledgement", "page to a person's or the policy's word", paged, agreed),
            row("Switch", "first write to the change being visible", switching, switched),
            row("Validate", "first try to the verdict", validating, validated),
            row("Total", to_end, Some(failed), ended),
        ]
    }

    fn last_healthy(&self) -> Option<UnixMs> {
        self.lines.iter().find_map(|line| match line.logged.known() {
            Some(Entry::Planned { last_healthy, .. }) => *last_healthy,
            _ => None,
        })
    }

    fn detected(&self) -> Option<UnixMs> {
        self.first(|entry| matches!(entry, Entry::Moved { to, .. } if *to != Phase::Watching))
    }

    fn checklist(&self) -> Vec<(&'static str, State)> {
        let reached = |phases: &[Phase]| self.moved_to(phases).map_or(State::NotDone, State::Done);
        let agreed = match (self.moved_to(&[Phase::Acknowledged]), self.moved_to(&[Phase::AutoApproved])) {
            (None, Some(at)) => ("Approved by policy", State::Done(at)),
            (at, _) => ("Acknowledged by a person", at.map_or(State::NotDone, State::Done)),
        };
        let mut list = vec![
            ("Detected", self.detected().map_or(State::NotDone, State::Done)),
            ("Paged", self.state_of(Step::Page)),
            agreed,
            ("Target passed preflight", self.state_of(Step::Preflight)),
            ("Record switched", self.switched()),
            ("Change visible to resolvers", self.state_of(Step::AwaitVisible)),
            ("Validated through the public name", self.state_of(Step::Validate)),
        ];
        if let Some(at) = self.moved_to(&[Phase::Declined]) {
            list.push(("Declined by a person", State::Done(at)));
        }
        if self.moved_to(&[Phase::RollingBack, Phase::RolledBack]).is_some() {
            let restored = match reached(&[Phase::RolledBack]) {
                State::NotDone => self.state_of(Step::RestoreRecord),
                state => state,
            };
            list.push(("Rolled back", restored));
        }
        if let Some(at) = self.moved_to(&[Phase::HandedOver]) {
            list.push(("Handed over to a person", State::Done(at)));
        }
        list.push(("Page resolved", self.state_of(Step::ResolvePage)));
        list
    }

    fn record_before(&self) -> Option<RecordState> {
        self.lines.iter().find_map(|line| match line.logged.known()? {
            Entry::Record { state } => Some(state.clone()),
            Entry::Intent { step: Step::WriteRecord, expected, .. } => expected.clone(),
            _ => None,
        })
    }

    /// As last found, or as last written and confirmed, by an answer or by what came next.
    fn record_after(&self) -> Option<RecordState> {
        let mut wanted = None;
        let mut before = None;
        let mut after = None;
        for line in self.lines {
            match line.logged.known() {
                Some(Entry::Record { state }) => after = Some(state.clone()),
                Some(Entry::Intent { step, wanted: state, expected, .. }) if is_write(*step) => {
                    if *step == Step::WriteRecord {
                        before.clone_from(expected);
                    }
                    wanted.clone_from(state);
                }
                Some(Entry::Intent { step: Step::AwaitVisible, .. }) => after = wanted.take().or(after),
                Some(Entry::Moved { to: Phase::RolledBack, .. }) => after = before.take().or(after),
                Some(Entry::Outcome { step, done: true, .. }) if is_write(*step) => {
                    after = wanted.take().or(after);
                }
                _ => {}
            }
        }
        after
    }
}

const fn is_write(step: Step) -> bool {
    matches!(step, Step::WriteRecord | Step::RestoreRecord)
}

fn with(words: &str, detail: &str) -> String {
    let detail = detail.trim().trim_end_matches('.');
    if detail.is_empty() { words.to_owned() } else { format!("{words} ({detail})") }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
