//! The status page: one file that loads nothing, and looks again by itself. Pure.

use std::fmt::{self, Display, Write as _};

use super::status::{AgentReport, PeerReport, StatusReport};
use crate::agent::orders::AgentStatus;
use crate::agent::types::UnixMs;

/// Seconds until a browser looks again.
const REFRESH_S: u32 = 5;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;\
    color:#1c1c1c;background:#fff}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:1.6em}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25em .8em .25em 0;\
    border-bottom:1px solid #ddd;vertical-align:top}th{font-weight:600;white-space:nowrap}\
    .good{color:#146c2e}.bad{color:#a11;font-weight:600}code{background:#f2f2f2;padding:0 .3em}\
    @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#181818}th,td{border-color:#444}\
    code{background:#2a2a2a}.good{color:#6fcf97}.bad{color:#ff8a80}}";

/// The page of a report.
pub(super) fn render(report: &StatusReport) -> String {
    let mut page = String::with_capacity(8192);
    // A String takes all that is written.
    let _ = write_page(&mut page, report);
    page
}

fn write_page(page: &mut String, report: &StatusReport) -> fmt::Result {
    let (node, region) = (Text(&report.node), Text(&report.region));
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\
         <title>{node} ({region})</title><style>{STYLE}</style></head><body>\n\
         <h1>{node} in {region}: {}</h1>\n",
        verdict(report.healthy)
    )?;
    write_server(page, report)?;
    write_agent(page, &report.agent)?;
    write_peers(page, report)?;
    write_policies(page, report)?;
    page.push_str("</body></html>");
    Ok(())
}

fn verdict(healthy: bool) -> &'static str {
    if healthy {
        "<span class=\"good\">healthy</span>"
    } else {
        "<span class=\"bad\">no traffic, please</span>"
    }
}

fn write_server(page: &mut String, report: &StatusReport) -> fmt::Result {
    page.push_str("<table>");
    for reason in &report.reasons {
        row(page, "reason", &Text(reason), true)?;
    }
    for warning in &report.warnings {
        row(page, "warning", &Text(warning), true)?;
    }
    row(page, "version", &Text(&report.version), false)?;
    row(page, "running for", &lasting(report.uptime_s * 1000), false)?;
    let table = &report.table;
    let percent = table.occupied as f64 * 100.0 / table.lines.max(1) as f64;
    let used = format!("{} of {} lines were ever used ({percent:.1} %)", table.occupied, table.lines);
    row(page, "table", &used, false)?;
    let moved = format!("{} buckets gave way, {} checks found no room", table.evictions, table.full);
    row(page, "", &moved, table.full > 0)?;
    page.push_str("</table>\n");
    Ok(())
}

fn write_agent(page: &mut String, agent: &AgentReport) -> fmt::Result {
    page.push_str("<h2>Failover agent</h2>\n");
    match agent {
        AgentReport::None => writeln!(page, "<p>None is configured.</p>"),
        AgentReport::Silent(why) => writeln!(page, "<p class=\"bad\">{}</p>", Text(why)),
        AgentReport::Running(status) => write_running(page, status),
    }
}

fn write_running(page: &mut String, status: &AgentStatus) -> fmt::Result {
    page.push_str("<table>");
    row(page, "phase", &status.phase.in_words(), status.incident.is_some())?;
    if let Some(incident) = &status.incident {
        let drill = if status.drill { " (drill)" } else { "" };
        row(page, "incident", &format!("{}{drill}", Text(&incident.0)), true)?;
    }
    row(page, "next", &Text(&status.next), false)?;
    for objection in &status.objections {
        row(page, "against it", &Text(objection), true)?;
    }
    if let Some(deadline) = status.deadline {
        row(page, "at the latest in", &lasting(deadline.since_ms(status.now)), false)?;
    }
    for command in &status.commands {
        let typed = Text(&command.command);
        let does = Text(&command.does);
        row(page, "you can", &format!("<code>openclaw-rating failover {typed}</code> {does}"), false)?;
    }
    if let Some(why) = &status.frozen {
        row(page, "frozen", &Text(why), true)?;
    }
    if let Some(unsent) = &status.unsent_pages {
        row(page, "pages that reached nobody", &Text(unsent), true)?;
    }
    for problem in &status.unusable_secrets {
        row(page, "secret", &Text(problem), true)?;
    }
    let dry = if status.dry_run { ", dry run: nothing is written" } else { "" };
    let role = if status.elected { "acts for its region" } else { "another node acts for its region" };
    row(page, "mode", &format!("{}{dry}; {role}", status.mode.name()), status.dry_run)?;
    for region in &status.regions {
        let bad = region.standing != "healthy";
        let ago =
            region.probed.map(|at| format!(", {} ago", lasting(status.now.since_ms(at)))).unwrap_or_default();
        let (standing, detail, probe) =
            (Text(&region.standing), Text(&region.detail), Text(&region.last_probe));
        let words = format!("{standing} {detail} (last probe: {probe}{ago})");
        row(page, &format!("region {}", region.region.0), &words, bad)?;
    }
    for witness in &status.witnesses {
        row(page, &format!("witness {}", witness.witness), &Text(&witness.words()), witness.mute)?;
    }
    write_record(page, status)?;
    row(page, "switches left", &status.switches_left, false)?;
    if let Some(until) = status.cooldown_until.filter(|until| *until > status.now) {
        row(page, "cooldown", &format!("{} more", lasting(until.since_ms(status.now))), false)?;
    }
    row(page, "journal", &Text(&status.journal), status.journal_fails)?;
    if let Some(error) = &status.last_error {
        row(page, "last error", &Text(error), true)?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn write_record(page: &mut String, status: &AgentStatus) -> fmt::Result {
    let Some(record) = &status.record else { return row(page, "record", &"not read yet", false) };
    let (name, values) = (Text(&record.name), record.values.join(", "));
    let of = match &status.in_service {
        Some(regions) => regions.iter().map(|region| region.0.as_str()).collect::<Vec<_>>().join(", "),
        None => "no set of regions that is configured".to_owned(),
    };
    let read = status.record_read.unwrap_or(UnixMs(0));
    let ago = lasting(status.now.since_ms(read));
    let words = format!("{name} {} {}: {}, read {ago} ago", Text(&record.kind), Text(&values), Text(&of));
    row(page, "record", &words, status.in_service.is_none())
}

fn write_peers(page: &mut String, report: &StatusReport) -> fmt::Result {
    page.push_str("<h2>Peers</h2>\n");
    if let Some(why) = &report.peers_unknown {
        return writeln!(page, "<p class=\"bad\">{}</p>", Text(why));
    }
    if report.peers.is_empty() {
        return writeln!(page, "<p>This node is alone.</p>");
    }
    page.push_str("<table>");
    for peer in &report.peers {
        let PeerReport { node, present, synced, lag_ms } = *peer;
        let words = match (present, synced) {
            (false, _) => "cannot be heard".to_owned(),
            (true, false) => format!("is heard, still sends what it has; lag {lag_ms} ms"),
            (true, true) => format!("is heard; lag {lag_ms} ms"),
        };
        row(page, &format!("node {node}"), &words, !present)?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn write_policies(page: &mut String, report: &StatusReport) -> fmt::Result {
    page.push_str("<h2>Policies</h2>\n<table>");
    for policy in &report.policies {
        let words = format!("{}, {}", Text(&policy.limit), Text(&policy.mode));
        row(page, &policy.name, &words, false)?;
    }
    if report.more_policies > 0 {
        row(page, "", &format!("and {} more", report.more_policies), false)?;
    }
    page.push_str("</table>\n");
    Ok(())
}

/// One line of a table; `value` is HTML already.
fn row(page: &mut String, name: &str, value: &dyn Display, bad: bool) -> fmt::Result {
    let class = if bad { " class=\"bad\"" } else { "" };
    writeln!(page, "<tr><th>{}</th><td{class}>{value}</td></tr>", Text(name))
}

/// A time span in its two largest units.
fn lasting(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Text from anywhere, as HTML that shows it.
struct Text<'t>(&'t str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                letter if letter.is_control() && letter != '\n' => {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{PolicyReport, TableReport};
    use crate::admin::tests::agent_status;
    use crate::agent::orders::{RegionStatus, Suggested, WitnessStatus, WitnessVote};
    use crate::agent::types::{IncidentId, RecordState, Region};

    const EVIL: &str = "<script>alert(\"1\")</script>'&\u{1b}";

    fn report(text: &str, agent: AgentReport) -> StatusReport {
        let texts = || vec![text.to_owned()];
        let text = || text.to_owned();
        StatusReport {
            version: text(),
            uptime_s: 90_061,
            node: text(),
            node_id: Some(1),
            region: text(),
            healthy: false,
            reasons: texts(),
            warnings: texts(),
            draining: true,
            table: TableReport { lines: 1000, occupied: 250, evictions: 3, full: 0 },
            policies: vec![PolicyReport { name: text(), limit: text(), mode: text() }],
            more_policies: 2,
            peers: vec![PeerReport { node: 2, present: false, synced: false, lag_ms: 9 }],
            peers_unknown: None,
            agent,
        }
    }

    fn evil_agent() -> AgentStatus {
        let text = || EVIL.to_owned();
        let mut status = agent_status();
        status.incident = Some(IncidentId(text()));
        status.next = text();
        status.frozen = Some(text());
        status.objections = vec![text()];
        status.unsent_pages = Some(text());
        status.unusable_secrets = vec![text()];
        let vote = WitnessVote { region: Region(text()), sees: None, why: Some(text()) };
        status.witnesses = vec![WitnessStatus { witness: text(), mute: true, votes: vec![vote] }];
        status.journal = text();
        status.last_error = Some(text());
        status.commands = vec![Suggested { command: text(), does: text() }];
        let region = Region(text());
        let standing = RegionStatus {
            region: region.clone(),
            standing: text(),
            detail: text(),
            last_probe: text(),
            probed: Some(status.now),
        };
        status.regions = vec![standing];
        status.record = Some(RecordState {
            name: text(),
            kind: text(),
            ttl_s: 1,
            values: vec![text()],
            proxied: None,
            weights: vec![],
        });
        status.in_service = Some(vec![region]);
        status
    }

    #[test]
    fn no_text_becomes_markup_wherever_it_comes_from() {
        let running = AgentReport::Running(Box::new(evil_agent()));
        let mut unknown = report(EVIL, AgentReport::Silent(EVIL.to_owned()));
        unknown.peers_unknown = Some(EVIL.to_owned());
        for page in [render(&report(EVIL, running)), render(&unknown)] {
            let body = page.replace(STYLE, "");
            assert!(
                !body.contains("<script") && !body.contains("alert(\"") && !body.contains('\u{1b}'),
                "{page}"
            );
            assert!(!body.contains("'"), "{page}");
            assert!(body.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;\u{fffd}"));
        }
    }

    #[test]
    fn every_field_of_the_agent_that_is_text_is_shown() {
        let page = render(&report("x", AgentReport::Running(Box::new(evil_agent()))));
        // Incident, next, objection, command twice, frozen, pages, secret, region name, standing, detail, probe,
        // witness, its region, its reason, record's name, kind, value, set, journal, error.
        assert_eq!(page.matches("&lt;script&gt;").count(), 21, "{page}");
    }

    #[test]
    fn the_page_stands_alone_and_looks_again() {
        let page = render(&report("eu", AgentReport::None));
        assert!(page.contains("<meta http-equiv=\"refresh\" content=\"5\">"), "{page}");
        for loads in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            assert!(!page.contains(loads), "the page has {loads}");
        }
        for words in
            ["no traffic, please", "1 d 1 h", "250 of 1000", "25.0 %", "cannot be heard", "and 2 more"]
        {
            assert!(page.contains(words), "{words} is not in\n{page}");
        }
    }
}
