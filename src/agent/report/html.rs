//! The report as one HTML file: nothing is loaded, nothing runs, and it prints.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::facts::{Facts, State};
use super::figures::{Band, SHOWN, duration, figure, rows};
use super::plot::{Frame, plot};
use crate::agent::history::Series;
use crate::agent::journal::{printable, record_words, utc};
use crate::agent::types::{RecordState, UnixMs};

const STYLE: &str = include_str!("style.css");
/// Should any text ever get through as markup, it can still load and run nothing.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// Empty rows for people to fill in.
const ACTION_ROWS: usize = 3;
const WHYS: usize = 5;
const LEGEND: [(&str, &str); 5] = [
    ("detect", "detected, paged, approved"),
    ("switch", "preflight and switch"),
    ("validate", "validation"),
    ("rollback", "rollback"),
    ("gap", "no data"),
];

pub(super) fn render(facts: &Facts, series: &[Series]) -> String {
    let headline = printable(&facts.headline);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (headline) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                p.kicker { "Incident report · " (printable(&facts.incident.0)) }
                h1 { (headline) }
                @if facts.is_drill { p.drill { "Drill: the live record was not touched" } }
                (head(facts))
                h2 { "What happened" }
                p { @for sentence in &facts.summary { (printable(sentence)) " " } }
                h2 { "How long it took" }
                (durations(facts))
                h2 { "Checklist" }
                (checklist(facts))
                h2 { "Before, during and after" }
                (measures(facts, series))
                h2 { "The public record" }
                (records(facts))
                h2 { "Timeline" }
                (timeline(facts))
                h2 { "Root cause" }
                (root_cause())
                h2 { "Action items" }
                (action_items())
            }
        }
    };
    page.into_string()
}

fn time(at: UnixMs) -> String {
    // Milliseconds are for the timeline.
    utc(at).split('.').next().unwrap_or_default().to_owned()
}

fn head(facts: &Facts) -> Markup {
    let time = |at: Option<UnixMs>, without: &str| at.map_or(without.to_owned(), time);
    html! {
        dl.cards {
            div { dt { "Began (UTC)" } dd.small { (time(Some(facts.began_at), "")) } }
            div { dt { "Ended (UTC)" } dd.small { (time(facts.ended_at, "not yet")) } }
            div {
                dt { "This report is due (UTC)" }
                dd.small { (time(facts.due_at, "48 h after the end")) }
            }
        }
    }
}

fn durations(facts: &Facts) -> Markup {
    html! {
        dl.cards {
            @for row in &facts.durations {
                div {
                    dt { (row.name) }
                    dd { (row.ms.map_or("–".to_owned(), duration)) }
                    p { (row.meaning) }
                }
            }
        }
    }
}

fn checklist(facts: &Facts) -> Markup {
    html! {
        ul.checklist {
            @for (name, state) in &facts.checklist {
                @let (class, mark, when) = match state {
                    State::Done(at) => ("done", "✓", clock(*at)),
                    State::Failed(at) => ("failed", "✗", format!("failed {}", clock(*at))),
                    State::Unknown(at) => ("failed", "?", open_end(*at)),
                    State::NotDone => ("skipped", "–", "did not come to it".to_owned()),
                };
                li class=(class) {
                    span.mark aria-hidden="true" { (mark) }
                    span { (name) " " span.when { (when) } }
                }
            }
        }
    }
}

fn open_end(at: UnixMs) -> String {
    format!("begun {}, its end is not known", clock(at))
}

fn clock(at: UnixMs) -> String {
    time(at).split(' ').nth(1).unwrap_or_default().to_owned()
}

fn measures(facts: &Facts, series: &[Series]) -> Markup {
    let rows = rows(facts, series);
    if rows.is_empty() {
        return html! {
            p.notice { "The history of that time is not kept any more, so there are no plots and \
                no figures." }
        };
    }
    let cell = |band: Option<Band>, worst: &str| match band {
        Some(Band { mean, worst: value }) => html! {
            td.number { (figure(mean)) " " span.worst { "(" (worst) " " (figure(value)) ")" } }
        },
        None => html! { td.number.worst { "no data" } },
    };
    let frame = Frame::new(facts, series);
    let shown = SHOWN.iter().filter_map(|measure| series.iter().find(|series| series.measure == *measure));
    html! {
        (legend())
        @for (number, series) in shown.enumerate() { (plot(facts, series, frame, number)) }
        div.wide {
            table {
                thead { tr {
                    th { "Mean" } th.number { "Before" } th.number { "During" } th.number { "After" }
                } }
                tbody {
                    @for row in &rows {
                        tr {
                            td { (row.name) " " span.unit { (row.unit) } }
                            @for band in row.bands { (cell(band, row.worst)) }
                        }
                    }
                }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="nodata" width="6" height="6" patternUnits="userSpaceOnUse"
                    patternTransform="rotate(45)" {
                    line.hatch x1="0" y1="0" x2="0" y2="6" {}
                }
            }
        }
        ul.legend {
            @for (class, words) in LEGEND {
                li {
                    svg viewBox="0 0 22 16" aria-hidden="true" {
                        rect class=(class) width="22" height="16" {}
                    }
                    (words)
                }
            }
        }
    }
}

fn records(facts: &Facts) -> Markup {
    let row = |name: &str, state: Option<&RecordState>| {
        html! {
            tr {
                th scope="row" { (name) }
                td { code { (state.map_or("not known".to_owned(), record_words)) } }
            }
        }
    };
    html! {
        table { tbody {
            (row("Before", facts.record_before.as_ref()))
            (row("After", facts.record_after.as_ref()))
        } }
    }
}

fn timeline(facts: &Facts) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { th { "Time (UTC)" } th.number { "Line" } th { "What" } } }
                tbody {
                    @for event in &facts.timeline {
                        tr.milestone[event.is_milestone] {
                            td.time { (utc(event.at)) }
                            td.number { (event.sequence) }
                            td { (event.words) }
                        }
                    }
                }
            }
        }
    }
}

fn root_cause() -> Markup {
    html! {
        ol.whys {
            @for number in 1..=WHYS {
                li {
                    @if number == 1 { "Why did it happen?" } @else { "And why was that?" }
                    div.field contenteditable="true" role="textbox" aria-label=(format!("Why, {number}")) {}
                }
            }
        }
    }
}

fn action_items() -> Markup {
    let field = |name: &str| html! { div.field contenteditable="true" role="textbox" aria-label=(name) {} };
    html! {
        table.actions {
            thead { tr { th { "What is done so that it does not come back" } th { "Owner" } th { "Due" } } }
            tbody {
                @for _ in 0..ACTION_ROWS {
                    tr {
                        td { (field("Action")) }
                        td.owner { (field("Owner")) }
                        td.due { (field("Due")) }
                    }
                }
            }
        }
    }
}
