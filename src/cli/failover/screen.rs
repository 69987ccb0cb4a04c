//! The agent's answers as a person on call reads them at night. Pure.

use std::fmt::Write as _;

use crate::agent::orders::{AgentStatus, OrderAnswer, PlanReport, PlannedStep, RegionStatus};
use crate::agent::types::{RecordState, Region, Step, UnixMs};

/// An answer in words.
pub(super) fn answer(answer: &OrderAnswer) -> String {
    match answer {
        OrderAnswer::Status(status) => status_screen(status),
        OrderAnswer::Plan(plan) => plan_screen(plan),
        OrderAnswer::Accepted { what } => format!("{}\n", shown(what)),
        OrderAnswer::Seen { region, healthy: true } => format!("{} is seen healthy\n", shown(&region.0)),
        OrderAnswer::Seen { region, healthy: false } => format!("{} is not seen healthy\n", shown(&region.0)),
    }
}

/// What matters most comes first: where it stands, what happens next, what can be typed.
fn status_screen(status: &AgentStatus) -> String {
    let mut text = String::with_capacity(1024);
    // A String takes all that is written.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<9} {}", shown(&value));
    };
    line("phase", phase(status));
    line("next", next(status));
    for objection in &status.objections {
        line("against", objection.clone());
    }
    for command in &status.commands {
        line("type", format!("openclaw-rating failover {}   # {}", command.command, command.does));
    }
    if let Some(why) = &status.frozen {
        line("FROZEN", format!("nothing is written to the world: {why}"));
    }
    if status.dry_run {
        line("DRY RUN", "nothing is written to the world".to_owned());
    }
    if let Some(unsent) = &status.unsent_pages {
        line("PAGES", format!("wait on disk and have reached nobody, {unsent}"));
    }
    for problem in &status.unusable_secrets {
        line("SECRET", problem.clone());
    }
    if status.journal_fails {
        line("JOURNAL", "cannot be written: the agent only pages".to_owned());
    }
    for region in &status.regions {
        line("region", region_line(region, status));
    }
    for witness in &status.witnesses {
        let name = if witness.mute { "WITNESS" } else { "witness" };
        line(name, format!("{} {}", witness.witness, witness.words()));
    }
    line("record", record(status));
    line("mode", mode(status));
    line("switches", switches(status));
    line("journal", status.journal.clone());
    if let Some(error) = &status.last_error {
        line("error", error.clone());
    }
    text
}

fn phase(status: &AgentStatus) -> String {
    let mut text = status.phase.in_words().to_uppercase();
    if status.drill {
        text.push_str(" (DRILL)");
    }
    if let Some(region) = &status.failed_region {
        let _ = write!(text, ", region {region} failed");
    }
    if let Some(incident) = &status.incident {
        let _ = write!(text, ", incident {incident}, for {}", span(status.now.since_ms(status.since)));
    }
    text
}

fn next(status: &AgentStatus) -> String {
    match status.deadline {
        Some(at) if at > status.now => {
            format!("{}, in {} at the latest", status.next, span(at.since_ms(status.now)))
        }
        Some(_) => format!("{}, now", status.next),
        None => status.next.clone(),
    }
}

fn region_line(region: &RegionStatus, status: &AgentStatus) -> String {
    let served = status.in_service.as_ref().is_some_and(|regions| regions.contains(&region.region));
    let here = if region.region == status.own_region { ", here" } else { "" };
    let served = if served { "in service" } else { "standby" };
    let mut text = format!("{} ({served}{here}): {}", region.region, region.standing.to_uppercase());
    if !region.detail.is_empty() {
        let _ = write!(text, ", {}", region.detail);
    }
    if let Some(at) = region.probed {
        let _ = write!(text, "; {} {} ago", region.last_probe, span(status.now.since_ms(at)));
    }
    text
}

fn record(status: &AgentStatus) -> String {
    let Some(record) = &status.record else { return "not read yet".to_owned() };
    let of = match &status.in_service {
        Some(regions) => format!("serves {}", names(regions)),
        None => {
            "is NO SET OF OUR REGIONS: somebody else wrote it, and the agent will not touch it".to_owned()
        }
    };
    let read = status.record_read.unwrap_or(UnixMs(0));
    format!("{} {of}; read {} ago", record_line(record), span(status.now.since_ms(read)))
}

fn record_line(record: &RecordState) -> String {
    format!("{} {} {} ({} s)", record.name, record.kind, record.values.join(" "), record.ttl_s)
}

fn mode(status: &AgentStatus) -> String {
    let role = match status.elected {
        true => "this node acts for its region",
        false => "another node acts for this region",
    };
    format!("{}; {role}", status.mode.name())
}

fn switches(status: &AgentStatus) -> String {
    let left = format!("{} left today", status.switches_left);
    match status.cooldown_until.filter(|until| *until > status.now) {
        Some(until) => format!("{left}; none by itself for {}", span(until.since_ms(status.now))),
        None => left,
    }
}

fn plan_screen(plan: &PlanReport) -> String {
    let mut text = String::with_capacity(1024);
    let _ = writeln!(
        text,
        "{} is withdrawn, {} takes over; then in service: {}",
        shown(&plan.from.0),
        shown(&plan.to.0),
        shown(&names(&plan.in_service))
    );
    for objection in &plan.objections {
        let _ = writeln!(text, "REFUSED NOW: {}", shown(objection));
    }
    if let (Some(record), Some(wanted)) = (&plan.record, &plan.wanted) {
        let _ = writeln!(text, "from {}\n  to {}", shown(&record_line(record)), shown(&record_line(wanted)));
    }
    list_steps(&mut text, &plan.steps);
    if !plan.rollback.is_empty() {
        let _ = writeln!(text, "if validation fails:");
        list_steps(&mut text, &plan.rollback);
    }
    text.push_str("nothing was done\n");
    text
}

fn list_steps(text: &mut String, steps: &[PlannedStep]) {
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "{:>3}. {}", number + 1, step_in_words(step.step));
        for call in &step.calls {
            let _ = writeln!(text, "       {}", shown(call));
        }
    }
}

const fn step_in_words(step: Step) -> &'static str {
    match step {
        Step::Page => "page",
        Step::ResolvePage => "resolve the page",
        Step::Preflight => "preflight: look at the target",
        Step::ReadRecord => "read the public record",
        Step::WriteRecord => "change the public record",
        Step::AwaitVisible => "wait until resolvers show it",
        Step::Validate => "validate through the public name",
        Step::RestoreRecord => "put the public record back",
        Step::Notify => "tell the chat rooms",
        Step::Scale => "ask for more of the standby",
        Step::CommitRegion => "commit the region to the values file",
        Step::WriteReport => "write the report",
    }
}

fn names(regions: &[Region]) -> String {
    match regions {
        [] => "none".to_owned(),
        regions => regions.iter().map(|region| region.0.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// A time span in its largest units.
fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// What others wrote must not steer the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::agent_status;
    use crate::agent::orders::{Suggested, WitnessStatus, WitnessVote};
    use crate::agent::types::{IncidentId, Phase};

    fn paged() -> AgentStatus {
        let mut status = agent_status();
        status.phase = Phase::Paged;
        status.incident = Some(IncidentId("eu-1700".to_owned()));
        status.failed_region = Some(Region("eu".to_owned()));
        status.since = UnixMs(status.now.0 - 95_000);
        status.deadline = Some(status.now.after_ms(25_000));
        status.next = "without a no, preflight of us begins".to_owned();
        let ack = Suggested { command: "ack".to_owned(), does: "go on now".to_owned() };
        status.commands = vec![ack];
        status.objections = vec!["the public record could not be read yet".to_owned()];
        status
    }

    #[test]
    fn the_first_lines_say_where_it_stands_what_comes_and_what_can_be_typed() {
        let screen = answer(&OrderAnswer::Status(Box::new(paged())));
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines[0], "phase     PAGED, region eu failed, incident eu-1700, for 1 min 35 s");
        assert_eq!(lines[1], "next      without a no, preflight of us begins, in 25 s at the latest");

        assert_eq!(lines[2], "against   the public record could not be read yet");
        assert_eq!(lines[3], "type      openclaw-rating failover ack   # go on now");
        assert!(
            screen.contains("eu (in service): UNREACHABLE, 3 of 3 cannot see it; connection refused 2 s ago"),
            "{screen}"
        );
        assert!(screen.contains("us (standby, here): HEALTHY; 200 in 12 ms 500 ms ago"), "{screen}");
        assert!(screen.contains("serves eu; read 5 s ago") && screen.contains("2 left today"), "{screen}");
    }

    #[test]
    fn what_stops_the_agent_is_not_overlooked() {
        let mut status = paged();
        status.frozen = Some("maintenance".to_owned());
        (status.dry_run, status.journal_fails, status.drill, status.in_service) = (true, true, true, None);
        status.cooldown_until = Some(status.now.after_ms(600_000));
        status.deadline = Some(status.now);
        status.unsent_pages = Some("2: connection refused".to_owned());
        status.unusable_secrets = vec!["the secret in /k is empty".to_owned()];
        let vote = |region: &str, sees, why: Option<&str>| WitnessVote {
            region: Region(region.to_owned()),
            sees,
            why: why.map(str::to_owned),
        };
        let votes = vec![
            vote("eu", Some(false), None),
            vote("us", None, Some("it answers 401")),
            vote("ap", None, Some("it answers 401")),
        ];
        status.witnesses = vec![WitnessStatus { witness: "w:1".to_owned(), mute: true, votes }];
        let screen = answer(&OrderAnswer::Status(Box::new(status)));
        for words in [
            "WITNESS   w:1 does not see eu; no vote on us, ap: it answers 401",
            "FROZEN    nothing is written to the world: maintenance",
            "PAGES     wait on disk and have reached nobody, 2: connection refused",
            "SECRET    the secret in /k is empty",
            "DRY RUN ",
            "JOURNAL   cannot be written",
            "PAGED (DRILL)",
            "NO SET OF OUR REGIONS",
            "none by itself for 10 min 0 s",
            "begins, now",
        ] {
            assert!(screen.contains(words), "{words} is not in\n{screen}");
        }
    }

    #[test]
    fn a_plan_is_exactly_its_calls_in_order_and_says_that_nothing_was_done() {
        let step = |step, call: &str| PlannedStep { step, calls: vec![call.to_owned()] };
        let plan = PlanReport {
            from: Region("eu".to_owned()),
            to: Region("us".to_owned()),
            in_service: vec![Region("us".to_owned())],
            objections: vec!["us did not answer".to_owned()],
            steps: vec![
                step(Step::Preflight, "GET http://us/health"),
                step(Step::WriteRecord, "UPDATE a\n\x1b[2J"),
            ],
            record: agent_status().record,
            wanted: agent_status().record,
            rollback: vec![step(Step::RestoreRecord, "UPDATE b")],
        };
        let screen = answer(&OrderAnswer::Plan(Box::new(plan)));
        let expected = "eu is withdrawn, us takes over; then in service: us\nREFUSED NOW: us did not answer\n\
            from rating.example A 192.0.2.1 (30 s)\n  to rating.example A 192.0.2.1 (30 s)\n\
            \x20 1. preflight: look at the target\n       GET http://us/health\n\
            \x20 2. change the public record\n       UPDATE a\u{fffd}\u{fffd}[2J\n\
            if validation fails:\n  1. put the public record back\n       UPDATE b\nnothing was done\n";
        assert_eq!(screen, expected);
    }
}
