//! `[[policy]]`: from the file's tables to the specifications that buckets are made of.

use std::collections::BTreeMap;

use super::problem::{Findings, Place};
use super::section::{Section, Text, did_you_mean};
use super::units::{UnitError, WrittenRate, parse_rate};
use super::value::{Kind, Value};
use crate::bucket::policy::{
    LimitSpec, MAX_BURST, MAX_KEY_BYTES, MAX_POLICIES, MAX_POLICY_NAME_BYTES, MAX_SLOTS, Matcher, Mode,
    OverrideSpec, PolicySpec,
};
use crate::bucket::sharing::{Consistency, Partition, Share, Sharing};

const MAX_METADATA: usize = 32;
const MAX_METADATA_BYTES: usize = 256;
/// More names than this are not listed in a suggestion.
const MAX_LISTED: usize = 8;
const EXAMPLE: &str =
    "add one:\n      [[policy]]\n      name = \"default\"\n      rate = \"100/s\"\n      burst = 200";

/// All policies, without those that are wrong.
pub(super) fn read_policies(root: &mut Section<'_>) -> Vec<PolicySpec> {
    let findings = root.findings();
    let items = root.array("policy", MAX_POLICIES, "begin each policy with a line `[[policy]]`");
    let is_listed = root.get("policy").is_none_or(|value| matches!(value.kind, Kind::Array(_)));
    if items.is_empty() && is_listed {
        findings.missing(root.place(), "there is no policy, so every check would be refused", EXAMPLE);
    }
    let mut names = BTreeMap::new();
    let mut policies = Vec::with_capacity(items.len());
    for item in items {
        policies.extend(read_policy(item, &mut names, findings));
    }
    let limits: usize = policies.iter().map(|policy| 1 + policy.overrides.len()).sum();
    if limits > MAX_SLOTS {
        let what = format!("policies and overrides come to {limits} limits; the most is {MAX_SLOTS}");
        findings.wrong(root.place(), what, "use a prefix where many keys share a limit");
    }
    policies
}

/// The names of all policies, also of those that are wrong: what speaks of one need not be wrong too.
pub(super) fn names<'a>(root: &mut Section<'a>) -> Vec<&'a str> {
    let Some(Value { kind: Kind::Array(items), .. }) = root.get("policy") else { return Vec::new() };
    items.iter().filter_map(name_of).collect()
}

fn name_of(item: &Value) -> Option<&str> {
    let Kind::Table(table) = &item.kind else { return None };
    let Kind::Text(name) = &table.get("name")?.value.kind else { return None };
    Some(name)
}

/// Reports that `named` is none of the policies. Where there are none, that is reported already.
pub(super) fn check_known(named: Text<'_>, purpose: &str, names: &[&str], findings: &Findings) -> bool {
    let Text { text, place } = named;
    if names.contains(&text) {
        return true;
    }
    if !names.is_empty() {
        let list = || format!("the policies are {}", names[..names.len().min(MAX_LISTED)].join(", "));
        let help = did_you_mean(text, names.iter().copied()).unwrap_or_else(list);
        findings.missing(place, format!("there is no policy {text:?} to {purpose}"), help);
    }
    false
}

/// Reports strict policies whose limits the nodes of the cluster cannot divide.
pub(super) fn check_parts(root: &mut Section<'_>, policies: &[PolicySpec]) {
    let mut items = |key| match root.get(key) {
        Some(Value { kind: Kind::Array(items), .. }) => items.as_slice(),
        _ => &[],
    };
    let (tables, nodes) = (items("policy"), 1 + items("peer").len());
    let nodes = u8::try_from(nodes).unwrap_or(u8::MAX);
    for policy in policies {
        let Err(error) = policy.part_of(nodes) else { continue };
        let table = tables.iter().find(|item| name_of(item) == Some(&policy.name));
        let place = table.map_or_else(|| root.place(), |table| table.place);
        let help = "raise its `rate` and `burst`, or leave out consistency = \"strict\"";
        root.findings().wrong(place, error.to_string(), help);
    }
}

fn read_policy<'a>(
    item: &'a Value,
    names: &mut BTreeMap<&'a str, Place>,
    findings: &'a Findings,
) -> Option<PolicySpec> {
    let mut section = Section::of("[[policy]]", item, findings);
    let name = read_name(&mut section, names);
    let rate = read_rate(&mut section);
    let burst = section.integer("burst", 1..=MAX_BURST);
    if section.get("rate").is_none() {
        let what = format!("{} has no `rate`", section.label());
        findings.missing(section.place(), what, "say how fast tokens arrive: rate = \"100/s\"");
    }
    let limit = rate.map(|written| limit_of(written, burst));
    let shadow = section.boolean("shadow").unwrap_or(false);
    let kill = section.choice("kill", &[("allow", Mode::AllowAll), ("deny", Mode::DenyAll)]);
    let mode = kill.unwrap_or(if shadow { Mode::Shadow } else { Mode::Enforce });
    let sharing = read_sharing(&mut section);
    let metadata = read_metadata(&mut section);
    let overrides = read_overrides(&mut section, limit);
    section.finish();
    Some(PolicySpec { name: name?.to_owned(), limit: limit?, overrides, mode, sharing, metadata })
}

fn read_name<'a>(section: &mut Section<'a>, names: &mut BTreeMap<&'a str, Place>) -> Option<&'a str> {
    let findings = section.findings();
    if section.get("name").is_none() {
        findings.missing(section.place(), "a [[policy]] has no `name`", "name it: name = \"login\"");
        return None;
    }
    let Text { text, place } = section.text("name", "login")?;
    section.name(text);
    if !is_name(text) {
        let what = format!("{text:?} cannot be the name of a policy");
        findings.wrong(place, what, "use 1 to 64 of the characters A-Z a-z 0-9 . _ -");
        return None;
    }
    if let Some(first) = names.insert(text, place) {
        let what = format!("the policy {text:?} is defined twice");
        findings.wrong(
            place,
            what,
            format!("the other is on {}; rename or remove one", findings.describe(first)),
        );
    }
    Some(text)
}

/// Whether `text` can stand in a URL, a header and a metric label as it is.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_POLICY_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn read_rate(section: &mut Section<'_>) -> Option<WrittenRate> {
    let Text { text, place } = section.text("rate", "100/s")?;
    parse_rate(text)
        .map_err(|error| {
            let what = format!("`rate` in {} is not usable: {text:?} {error}", section.label());
            let help = match error {
                UnitError::Rate(_) | UnitError::TooLarge => "choose a rate from \"1/day\" to \"10000000/s\"",
                _ => "write tokens, a slash and a time: \"100/s\", \"5000/min\", \"10/5s\", \"1/day\"",
            };
            section.findings().wrong(place, what, help);
        })
        .ok()
}

/// A burst that is not given is what the rate gives in its own time: 100 for "100/s".
fn limit_of(written: WrittenRate, burst: Option<u64>) -> LimitSpec {
    LimitSpec { rate: written.rate, burst: burst.unwrap_or(written.tokens.min(MAX_BURST)) }
}

fn read_sharing(section: &mut Section<'_>) -> Sharing {
    let partitions = [("share", Partition::Share), ("full", Partition::Full)];
    let shares = [("observed", Share::Observed), ("equal", Share::Equal)];
    let consistencies = [("eventual", Consistency::Eventual), ("strict", Consistency::Strict)];
    Sharing {
        partition: section.choice("partition", &partitions).unwrap_or_default(),
        share: section.choice("share", &shares).unwrap_or_default(),
        consistency: section.choice("consistency", &consistencies).unwrap_or_default(),
    }
}

fn read_metadata(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let findings = section.findings();
    let table = section.section("metadata");
    let mut metadata = BTreeMap::new();
    for (name, place, value) in table.entries() {
        let Kind::Text(text) = &value.kind else {
            let what =
                format!("`{name}` in [policy.metadata] must be text in quotes, not {}", value.described());
            findings.wrong(value.place, what, "put it in quotes");
            continue;
        };
        if name.len().max(text.len()) > MAX_METADATA_BYTES {
            let what = format!("metadata is longer than {MAX_METADATA_BYTES} bytes");
            findings.wrong(place, what, "shorten it, or link to a page");
        }
        metadata.insert(name.clone(), text.clone());
    }
    if metadata.len() > MAX_METADATA {
        let what = format!("[policy.metadata] has {} entries; the most is {MAX_METADATA}", metadata.len());
        findings.wrong(table.place(), what, "remove some");
    }
    metadata
}

fn read_overrides(section: &mut Section<'_>, inherited: Option<LimitSpec>) -> Vec<OverrideSpec> {
    let findings = section.findings();
    let help = "begin each override with a line `[[policy.override]]`";
    let items = section.array("override", MAX_SLOTS, help);
    let mut places = std::collections::HashMap::new();
    let mut overrides = Vec::with_capacity(items.len());
    for item in items {
        let Some(spec) = read_override(item, inherited, findings) else { continue };
        if let Some(first) = places.insert(spec.matcher.clone(), item.place) {
            let what = format!("{} has two overrides for the same keys", section.label());
            let help = format!("the other is on {}; remove one", findings.describe(first));
            findings.wrong(item.place, what, help);
        }
        overrides.push(spec);
    }
    overrides
}

fn read_override(item: &Value, inherited: Option<LimitSpec>, findings: &Findings) -> Option<OverrideSpec> {
    let mut section = Section::of("[[policy.override]]", item, findings);
    let key = read_key(&mut section, "key");
    let prefix = read_key(&mut section, "prefix");
    let rate = read_rate(&mut section);
    let burst = section.integer("burst", 1..=MAX_BURST);
    let (has_key, has_prefix) = (section.get("key").is_some(), section.get("prefix").is_some());
    let help = "write key = \"alice\" for one key, or prefix = \"team-\" for all that begin so";
    match (has_key, has_prefix) {
        (true, true) => {
            let what = "an override has both `key` and `prefix`, and may have one of them";
            findings.wrong(item.place, what, help);
        }
        (false, false) => findings.missing(item.place, "an override needs either `key` or `prefix`", help),
        _ => {}
    }
    if section.get("rate").is_none() && section.get("burst").is_none() {
        findings.missing(item.place, "an override changes neither `rate` nor `burst`", "give one of them");
    }
    section.finish();
    let limit = match (rate, burst) {
        (Some(rate), burst) => limit_of(rate, burst),
        (None, Some(burst)) => LimitSpec { burst, ..inherited? },
        (None, None) => return None,
    };
    let matcher = match (key, prefix) {
        (Some(key), None) => Matcher::Exact(key),
        (None, Some(prefix)) => Matcher::Prefix(prefix),
        _ => return None,
    };
    Some(OverrideSpec { matcher, limit })
}

/// The bytes of a bucket's key.
pub(super) fn read_key(section: &mut Section<'_>, name: &'static str) -> Option<Vec<u8>> {
    let Text { text, place } = section.text(name, "alice")?;
    if text.is_empty() || text.len() > MAX_KEY_BYTES {
        let what = format!("`{name}` in {} has {} bytes", section.label(), text.len());
        section.findings().wrong(place, what, format!("a key has 1 to {MAX_KEY_BYTES} bytes"));
        return None;
    }
    Some(text.as_bytes().to_vec())
}
