//! What the manual says of the settings is true: each is in it, with its default and its range, and its examples work.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use openclaw_rating::config::{Config, Problems};
use tempfile::TempDir;

use common::settings::{AGENT, load_in};

const MANUAL: &str = include_str!("../docs/CONFIGURATION.md");
const README: &str = include_str!("../README.md");

/// What a node has besides its agent that has something of everything, and says only what it must.
const AROUND: &str = r#"
[[policy]]
name = "api"
rate = "10/s"
[node]
id = 1
region = "eu"
[cluster]
secret_file = "DIR/cluster.secret"
listen = "127.0.0.1:7946"
[[peer]]
id = 2
name = "iad-1"
region = "us"
address = "127.0.0.1:7947"
[state]
directory = "DIR/state"
[admin]
listen = "127.0.0.1:9096"
token_file = "DIR/admin.token"
"#;

/// A directory with the secrets that a configuration names.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("cluster.secret"), "ab".repeat(32)).unwrap();
    fs::write(directory.path().join("hash.secret"), "ab".repeat(16)).unwrap();
    directory
}

fn load(text: &str) -> Result<Config, Problems> {
    load_in(directory().path(), text, &[])
}

/// The settings of the table that `heading` opens, as the parser lists them for a key it does not know.
fn keys_of(heading: &str) -> Vec<String> {
    // Peers are read only by a node that has a number.
    let before = if heading == "[[peer]]" { "[node]\nid = 1\n" } else { "" };
    let policy = "[[policy]]\nname = \"login\"\nrate = \"10/s\"\n";
    let report = load(&format!("{policy}{before}{heading}\nqqqqqqqqqqqq = 1\n")).unwrap_err();
    let unknown = report.iter().find(|problem| problem.to_string().contains("qqqqqqqqqqqq"));
    let list = unknown.and_then(|problem| problem.help()?.strip_prefix("the keys are "));
    list.unwrap_or_else(|| panic!("{heading}\n{report}")).split(", ").map(str::to_owned).collect()
}

/// The chapter of the manual whose title names `heading`.
fn chapter_of(heading: &str) -> &'static str {
    let title_names = |chapter: &&str| chapter.lines().next().is_some_and(|title| title.contains(heading));
    let chapter = MANUAL.split("\n## ").find(title_names);
    chapter.unwrap_or_else(|| panic!("no chapter of the manual is about {heading}"))
}

#[test]
fn every_setting_is_in_the_manual() {
    let sections = keys_of("[qqqqqqqqqqqq]");
    assert!(sections.len() >= 9, "{sections:?}");
    let heading = |section: &str| match section {
        "policy" | "peer" => format!("[[{section}]]"),
        _ => format!("[{section}]"),
    };
    let chapters = sections.iter().map(|section| (heading(section), heading(section)));
    let overrides = ("[[policy.override]]".to_owned(), "[[policy]]".to_owned());
    for (table, chapter) in chapters.chain([overrides]) {
        for key in keys_of(&table) {
            // A setting, a secret that stands there as a file, or a table below this one.
            let as_file = key.replace("_credential", "_file");
            let forms = [format!("`{key}`"), format!("`{as_file}`"), format!(".{key}]")];
            let is_there = forms.iter().any(|form| chapter_of(&chapter).contains(form));
            assert!(is_there, "`{key}` of {table} is not in the manual");
        }
    }
}

/// A setting as a table of the manual has it.
#[derive(Debug)]
struct Setting {
    /// As `--set` names it in [`AROUND`] and [`AGENT`].
    path: String,
    kind: String,
    default: String,
    range: String,
}

/// The settings of all tables that have a column for the default.
fn settings() -> Vec<Setting> {
    let (mut section, mut settings) = (String::new(), Vec::new());
    for line in MANUAL.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, names, kinds, defaults, ranges, ..] = cells[..]
            && names.starts_with('`')
        {
            settings.extend(settings_of_row(&section, [names, kinds, defaults, ranges]));
        } else if let Some(heading) = heading_in(line) {
            section = match heading {
                "policy" => "policy.api".to_owned(),
                "peer" => "peer.iad-1".to_owned(),
                "agent.region" => "agent.region.eu".to_owned(),
                other => other.to_owned(),
            };
        }
    }
    settings
}

/// The table that a line begins to tell of.
fn heading_in(line: &str) -> Option<&str> {
    let begins = ["## `[", "Each `[", "`["].iter().find_map(|begin| line.strip_prefix(begin))?;
    Some(begins.split(']').next()?.trim_start_matches('['))
}

/// A row may have several settings, with one cell of each column for all or a part of it for each.
fn settings_of_row(section: &str, row: [&str; 4]) -> Vec<Setting> {
    let [names, kinds, defaults, ranges] = row.map(|cell| cell.split(", ").collect::<Vec<_>>());
    let part = |column: usize, parts: &[&str], number: usize| {
        let is_apart = parts.len() == names.len();
        if is_apart { parts[number] } else { row[column] }.trim_matches('`').to_owned()
    };
    let setting = |(number, name): (usize, &&str)| Setting {
        path: format!("{section}.{}", name.trim_matches('`')),
        kind: part(1, &kinds, number),
        default: part(2, &defaults, number),
        range: part(3, &ranges, number),
    };
    names.iter().enumerate().map(setting).collect()
}

#[test]
fn a_setting_that_is_given_its_default_changes_nothing() {
    let directory = directory();
    let text = format!("{AROUND}{AGENT}");
    let base = load_in(directory.path(), &text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let is_value =
        |text: &str| text.parse::<u64>().is_ok() || text.parse::<bool>().is_ok() || text.starts_with('"');
    // Here the region must be one of the agent's, and the peer has a name by which `--set` finds it.
    let is_in_base = |path: &str| ["node.region", "peer.iad-1.name"].contains(&path);
    let with_default = |setting: &&Setting| is_value(&setting.default) && !is_in_base(&setting.path);
    let settings = settings();
    let tried: Vec<&Setting> = settings.iter().filter(with_default).collect();
    assert!(tried.len() > 50, "{tried:#?}");
    for Setting { path, default, .. } in tried {
        let with = load_in(directory.path(), &text, &[format!("{path}={default}")]);
        let with = with.unwrap_or_else(|problems| panic!("{path} = {default}\n{problems}"));
        assert_eq!(with, base, "{path} = {default}");
    }
}

/// A number, or a time in milliseconds, as the manual and the program write it.
fn quantity(text: &str) -> u64 {
    let text: String = text.chars().filter(|c| !matches!(c, ',' | ' ')).collect();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit_ms = match &text[unit_at..] {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "day" => 86_400_000,
        unit => panic!("{text} has the unit {unit}"),
    };
    text[..unit_at].parse::<u64>().unwrap() * unit_ms
}

#[test]
fn a_setting_beyond_its_range_is_refused_with_the_range_that_the_manual_has() {
    let (directory, text) = (directory(), format!("{AROUND}{AGENT}"));
    let settings = settings();
    let mut tried = 0;
    for Setting { path, kind, range, .. } in &settings {
        let Some((least, most)) = range.split_once(" to ") else { continue };
        let beyond = match kind.as_str() {
            "integer" => "99999999999999999999",
            "duration" | "durations" => "\"9999day\"",
            _ => continue,
        };
        let report = load_in(directory.path(), &text, &[format!("{path}={beyond}")]).unwrap_err().to_string();
        let said = report.split("from ").nth(1).and_then(|rest| rest.split_once(" to "));
        let (from, rest) = said.unwrap_or_else(|| panic!("{path}\n{report}"));
        let to = rest.split(", not").next().unwrap();
        assert_eq!([from, to].map(quantity), [least, most].map(quantity), "{path}: {range}\n{report}");
        tried += 1;
    }
    assert!(tried > 45, "{tried} of {settings:#?}");
}

/// The indented parts of a text that are TOML.
fn examples(text: &str) -> String {
    let indented = text.split("\n\n").filter(|part| part.lines().all(|line| line.starts_with("    ")));
    let is_toml = |part: &&str| part.trim_start().starts_with('[');
    let lines = indented.filter(is_toml).flat_map(|part| part.lines().map(|line| &line[4..]).chain([""]));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_examples_of_the_manual_are_one_whole_configuration() {
    let url = "region_url = \"http://169.254.169.254/latest/meta-data/placement/region\"";
    let hash = "[hash]\nsecret_file = \"DIR/hash.secret\"\n";
    let text = examples(MANUAL).replace("/etc/openclaw-rating/", "DIR/");
    assert!(text.contains(url) && text.contains(hash), "{text}");
    // Nobody answers there, and a node with peers has no key of its own.
    let text = text.replace(url, "region = \"eu\"").replace(hash, "");
    let config = load(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.server.threads, config.cluster.unwrap().peers.len()), (4, 1));
    assert!(config.state.is_some() && config.admin.listen.is_some());
    assert_eq!((config.watched.len(), config.policies[0].overrides.len()), (1, 1));
    assert_eq!(config.log_level, tracing::Level::WARN);
    let policy = "[[policy]]\nname = \"api\"\nrate = \"1/s\"\n";
    assert!(load(&format!("{policy}{hash}")).unwrap().hash_secret.is_some());
}

#[test]
fn the_configuration_in_the_readme_is_accepted() {
    let config = load(&examples(README)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.server.listen.len(), config.policies.len()), (2, 2));
}
