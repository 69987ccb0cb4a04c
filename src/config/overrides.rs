//! Settings laid over the file: environment variables, then `--set` arguments.
//!
//! `OPENCLAW_RATING__SERVER__THREADS=2` and `--set server.threads=2` say the same. An array of tables
//! is entered by the `name` of an element: `--set policy.default.burst=50`.

use std::collections::BTreeMap;

use super::problem::{Findings, Place};
use super::value::{Entry, Kind, Table, Value, parse_bare};

/// What an environment variable that holds a setting begins with.
const ENVIRONMENT_PREFIX: &str = "OPENCLAW_RATING__";

/// The same with a slip of the hand. Kubernetes sets variables of services that begin so, none with two
/// underscores in a row.
const NEARLY_PREFIX: &str = "OPENCLAW_RATING_";

struct Segment {
    name: String,
    place: Place,
}

struct Override {
    path: Vec<Segment>,
    value: Value,
    /// The names of environment variables are in capitals; the names of policies need not be.
    ignore_case: bool,
}

/// Lays the environment's settings over `root`, in the order of their names.
pub(super) fn apply_environment(root: &mut Value, environment: &[(String, String)], findings: &Findings) {
    let settings: BTreeMap<_, _> =
        environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).cloned().collect();
    for (name, text) in settings {
        let source = findings.add_source("the environment".to_owned(), format!("{name}={text}"), false);
        let mut at = ENVIRONMENT_PREFIX.len();
        let mut path = Vec::new();
        for part in name[at..].split("__") {
            path.push(Segment { name: part.to_lowercase(), place: Place::new(source, at..at + part.len()) });
            at += part.len() + 2;
        }
        let value = parse_bare(&text, source, name.len() + 1);
        apply(root, &Override { path, value, ignore_case: true }, findings);
    }
}

/// Reports what was to be a setting, and would be passed over.
pub(super) fn check_names(environment: &[(String, String)], findings: &Findings) {
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(NEARLY_PREFIX) else { continue };
        if rest.starts_with('_') || !rest.contains("__") {
            continue;
        }
        let source = findings.add_source("the environment".to_owned(), format!("{name}={text}"), false);
        findings.wrong(
            Place::new(source, 0..name.len()),
            format!("the variable {name} looks like a setting and is none"),
            format!("did you mean {ENVIRONMENT_PREFIX}{rest}?"),
        );
    }
}

/// Lays `--set` arguments over `root`, in the order given.
pub(super) fn apply_sets(root: &mut Value, sets: &[String], findings: &Findings) {
    for text in sets {
        let source = findings.add_source("--set".to_owned(), text.clone(), false);
        let Some((path, value_at)) = split_path(text, source) else {
            findings.wrong(
                Place::new(source, 0..text.len()),
                "this is not KEY=VALUE",
                "write it like `--set server.threads=2`; a name with a dot goes in quotes",
            );
            continue;
        };
        let value = parse_bare(&text[value_at..], source, value_at);
        apply(root, &Override { path, value, ignore_case: false }, findings);
    }
}

/// The keys before the first `=` that is not in quotes, and where the value begins. A key may stand in quotes of
/// either kind, as in TOML.
fn split_path(text: &str, source: usize) -> Option<(Vec<Segment>, usize)> {
    let mut path = Vec::new();
    let (mut name, mut begin, mut quote) = (String::new(), 0, None);
    for (at, c) in text.char_indices() {
        match c {
            c if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() && name.trim().is_empty() => quote = Some(c),
            '.' | '=' if quote.is_none() => {
                let place = Place::new(source, begin..at);
                path.push(Segment { name: std::mem::take(&mut name).trim().to_owned(), place });
                begin = at + 1;
                if c == '=' {
                    return Some((path, begin));
                }
            }
            c => name.push(c),
        }
    }
    None
}

fn apply(root: &mut Value, change: &Override, findings: &Findings) {
    let Some((last, parents)) = change.path.split_last() else { return };
    let mut at = root;
    for (depth, segment) in parents.iter().enumerate() {
        let Some(next) = enter(at, segment, change.ignore_case) else {
            let path: Vec<&str> = change.path[..=depth].iter().map(|s| s.name.as_str()).collect();
            findings.wrong(
                segment.place,
                format!("there is no `{}` to change", path.join(".")),
                "name a section, or an element of an array of tables by its `name`",
            );
            return;
        };
        at = next;
    }
    match &mut at.kind {
        Kind::Table(table) => {
            let entry = Entry { key: last.place, value: change.value.clone() };
            table.insert(last.name.clone(), entry);
        }
        _ => findings.wrong(
            last.place,
            format!("`{}` cannot be set here, inside {}", last.name, at.described()),
            "name a section and a key in it: `server.threads`",
        ),
    }
}

/// The table or array that `segment` names inside `value`; a table that is not there is made.
fn enter<'a>(value: &'a mut Value, segment: &Segment, ignore_case: bool) -> Option<&'a mut Value> {
    match &mut value.kind {
        Kind::Table(table) => {
            let new = || Entry {
                key: segment.place,
                value: Value { place: segment.place, kind: Kind::Table(Table::new()) },
            };
            Some(&mut table.entry(segment.name.clone()).or_insert_with(new).value)
        }
        Kind::Array(items) => items.iter_mut().find(|item| is_named(item, &segment.name, ignore_case)),
        _ => None,
    }
}

fn is_named(item: &Value, name: &str, ignore_case: bool) -> bool {
    let Kind::Table(table) = &item.kind else { return false };
    let Some(Kind::Text(own)) = table.get("name").map(|entry| &entry.value.kind) else { return false };
    if ignore_case { own.eq_ignore_ascii_case(name) } else { own == name }
}
