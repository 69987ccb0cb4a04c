//! `[[agent.region]]`, `[agent.public]` and `[[agent.witness]]`: what is watched, from where.

use std::net::IpAddr;

use super::super::policy;
use super::super::problem::{Findings, Place};
use super::super::secret::secret;
use super::super::section::{Section, Text};
use super::super::value::Value;
use super::drill;
use super::source::probe_url;
use super::traffic::{ProviderConfig, TrafficConfig};
use crate::agent::secret::SecretSource;
use crate::agent::signals::ProbeUrl;
use crate::agent::traffic::canonical_value;
use crate::agent::types::Region;
use crate::counted::counted;

const MAX_REGIONS: usize = 8;
const MAX_VALUES: usize = 16;
const MAX_HEALTH_URLS: usize = 16;
const MAX_WITNESSES: usize = 16;
const MAX_RESOLVERS: usize = 4;
/// What a witness's URL has in place of a region's name.
const PLACEHOLDER: &str = "{region}";

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionConfig {
    /// Its name, as in `[node]` of its nodes.
    pub name: Region,
    /// What the public record holds for it.
    pub values: Vec<String>,
    /// What the shadow record holds for it.
    pub drill_values: Vec<String>,
    /// Its share where the record has weights.
    pub weight: u32,
    /// `/health` of its nodes.
    pub health: Vec<ProbeUrl>,
}

/// The name that clients use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicConfig {
    /// Scheme, name and port, and `/health`.
    pub url: ProbeUrl,
    /// Who resolves it; the host's resolvers when there are none.
    pub resolvers: Vec<String>,
}

/// Somebody else who looks at the regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessConfig {
    /// What it is called: its host and port as written, and its place among the witnesses where another has the same.
    pub name: String,
    /// One URL for each region, in their order.
    pub urls: Vec<ProbeUrl>,
    /// A bearer token.
    pub token: Option<SecretSource>,
}

impl WitnessConfig {
    /// What somebody should look at, though it can be asked.
    pub(super) fn warning(&self) -> Option<String> {
        let is_open = |url: &&ProbeUrl| !url.is_tls() && !is_this_machine(url.host());
        let url = self.urls.iter().find(is_open).filter(|_| self.token.is_some())?;
        Some(format!(
            "[[agent.witness]] is asked at {url}, where its token crosses the network in the clear: ask \
             it by https"
        ))
    }
}

/// Host and port of a URL as they are written.
fn place_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// A region and where each part of it is written.
pub(super) struct Written {
    pub(super) region: RegionConfig,
    pub(super) place: Place,
    pub(super) values: Vec<(String, Place)>,
    /// As written: none where the values of the public record stand for them.
    pub(super) drill_values: Vec<(String, Place)>,
}

impl Written {
    fn of_drill(&self) -> &[(String, Place)] {
        if self.drill_values.is_empty() { &self.values } else { &self.drill_values }
    }
}

/// The regions in order of preference, their values checked against the records that hold them.
pub(super) fn read_regions(
    agent: &mut Section<'_>,
    traffic: Option<&TrafficConfig>,
    drill: Option<&TrafficConfig>,
) -> Vec<RegionConfig> {
    let findings = agent.findings();
    let help = "begin each region with a line `[[agent.region]]`";
    let items = agent.array("region", MAX_REGIONS, help);
    if items.len() < 2 {
        let regions = counted(items.len(), "region", "regions");
        let what = format!("{} has {regions}; failing over takes two", agent.label());
        findings.missing(agent.place(), what, help);
    }
    let written: Vec<Written> = items.iter().filter_map(|item| read_region(item, findings)).collect();
    check_apart(&written, findings);
    for (record, is_drill) in [(traffic, false), (drill, true)] {
        let Some(record) = record else { continue };
        for one in &written {
            let values = if is_drill { one.of_drill() } else { &one.values };
            check_values(record, one, values, findings);
        }
    }
    if let Some(drill) = drill {
        drill::check_values(drill, &written, findings);
    }
    written.into_iter().map(|written| written.region).collect()
}

fn read_region(item: &Value, findings: &Findings) -> Option<Written> {
    let mut section = Section::of("[[agent.region]]", item, findings);
    let name = section.required("name", "eu-central");
    if let Some(Text { text, place }) = name {
        section.name(text);
        if !policy::is_name(text) || text.eq_ignore_ascii_case("unknown") {
            let what = format!("{text:?} cannot be the name of a region");
            findings.wrong(place, what, "use 1 to 64 of the characters A-Z a-z 0-9 . _ -");
        }
    }
    let values = read_values(&mut section, "values");
    let drill_values = read_values(&mut section, "drill_values");
    if section.get("values").is_none() {
        let what = format!("{} has no `values`", section.label());
        findings.missing(
            item.place,
            what,
            "write values = [\"192.0.2.1\"], what the public record holds for it",
        );
    }
    let health = read_health(&mut section);
    let weight = section.integer("weight", 1..=255).and_then(|weight| u32::try_from(weight).ok());
    section.finish();
    let only = |values: &[(String, Place)]| values.iter().map(|(value, _)| value.clone()).collect::<Vec<_>>();
    let region = RegionConfig {
        name: Region(name?.text.to_owned()),
        drill_values: only(if drill_values.is_empty() { &values } else { &drill_values }),
        values: only(&values),
        weight: weight.unwrap_or(1),
        health,
    };
    Some(Written { region, place: item.place, values, drill_values })
}

fn read_values(section: &mut Section<'_>, key: &'static str) -> Vec<(String, Place)> {
    let help = "write values = [\"192.0.2.1\"]";
    let texts = section.texts(key, MAX_VALUES, help);
    if texts.is_empty()
        && let Some(value) = section.get(key)
    {
        section.findings().wrong(value.place, format!("`{key}` in {} is empty", section.label()), help);
    }
    texts.iter().map(|text| (text.text.to_owned(), text.place)).collect()
}

fn read_health(section: &mut Section<'_>) -> Vec<ProbeUrl> {
    let findings = section.findings();
    let help = "write health = [\"http://192.0.2.1:8080/health\"], one for each of its nodes";
    let texts = section.texts("health", MAX_HEALTH_URLS, help);
    if texts.is_empty() {
        findings.missing(section.place(), format!("{} has no `health`", section.label()), help);
    }
    texts.into_iter().filter_map(|text| probe_url(text, findings)).collect()
}

/// A value must tell which region it belongs to.
fn check_apart(written: &[Written], findings: &Findings) {
    for (at, one) in written.iter().enumerate() {
        for other in &written[..at] {
            if one.region.name == other.region.name {
                let what = format!("the region {:?} is there twice", one.region.name.0);
                findings.wrong(one.place, what, "give each region a name of its own");
            }
            check_no_value_shared((&one.values, one), (&other.values, other), findings);
            // Where neither has any of its own, these are the values again.
            if !(one.drill_values.is_empty() && other.drill_values.is_empty()) {
                check_no_value_shared((one.of_drill(), one), (other.of_drill(), other), findings);
            }
        }
    }
}

type ValuesOf<'a> = (&'a [(String, Place)], &'a Written);

/// However a value is written, it is the same: the record is read so.
fn check_no_value_shared((own, one): ValuesOf<'_>, (theirs, other): ValuesOf<'_>, findings: &Findings) {
    for (value, place) in own {
        if theirs.iter().any(|(their, _)| canonical_value(their) == canonical_value(value)) {
            let (first, second) = (&other.region.name.0, &one.region.name.0);
            let what = format!("{value:?} is a value of both {first:?} and {second:?}");
            findings.wrong(*place, what, "a value must say which region is served");
        }
    }
}

fn check_values(record: &TrafficConfig, one: &Written, values: &[(String, Place)], findings: &Findings) {
    for (value, place) in values {
        if !record.takes(value) {
            let what = format!("{value:?} is not the value of a record of type {}", record.kind);
            findings.wrong(
                *place,
                what,
                "write addresses for A and AAAA, a name for CNAME, pool ids for POOLS",
            );
        }
    }
    if matches!(record.provider, ProviderConfig::CloudflareLb { .. }) && one.region.weight != 1 {
        let what = format!("{:?} has a weight, and a pool is enabled or disabled only", one.region.name.0);
        findings.wrong(one.place, what, "leave `weight` out, or choose a provider that has weights");
    }
    if (record.is_single() || record.is_weighted()) && values.len() > 1 {
        let name = &one.region.name.0;
        let what = format!("the record {} takes one value of {name:?}, not {}", record.name, values.len());
        findings.wrong(one.place, what, "leave one, or choose a provider whose records hold several");
    }
}

pub(super) fn read_public(agent: &mut Section<'_>) -> Option<PublicConfig> {
    let findings = agent.findings();
    if agent.get("public").is_none() {
        let help = "write [agent.public] and below it url = \"https://rates.example.com\"";
        findings.missing(agent.place(), "[agent] has no section `public`", help);
        return None;
    }
    let mut section = agent.section("public");
    let url = section.required("url", "https://rates.example.com");
    let url = url.and_then(|text| probe_url(text, findings));
    let resolvers = section.texts("resolvers", MAX_RESOLVERS, "write resolvers = [\"10.0.0.53\"]");
    section.finish();
    let resolvers = resolvers.iter().map(|resolver| resolver.text.to_owned()).collect();
    Some(PublicConfig { url: url?, resolvers })
}

pub(super) fn read_witnesses(agent: &mut Section<'_>, regions: &[RegionConfig]) -> Vec<WitnessConfig> {
    let items = agent.array("witness", MAX_WITNESSES, "begin each witness with a line `[[agent.witness]]`");
    let mut witnesses: Vec<WitnessConfig> =
        items.iter().filter_map(|item| read_witness(item, regions, agent.findings())).collect();
    let names: Vec<String> = witnesses.iter().map(|witness| witness.name.clone()).collect();
    for (at, witness) in witnesses.iter_mut().enumerate() {
        if names.iter().filter(|name| **name == witness.name).count() > 1 {
            witness.name = format!("{} #{}", witness.name, at + 1);
        }
    }
    witnesses
}

fn read_witness(item: &Value, regions: &[RegionConfig], findings: &Findings) -> Option<WitnessConfig> {
    let mut section = Section::of("[[agent.witness]]", item, findings);
    let example = "https://iad-1.example.com:9443/v1/witness/{region}";
    let url = section.required("url", example);
    let token = secret(&mut section, ["token_file", "token_credential"]);
    section.finish();
    let Text { text, place } = url?;
    if !text.contains(PLACEHOLDER) {
        let what = format!("{text:?} does not say which region is asked about");
        findings.wrong(
            place,
            what,
            format!("put {PLACEHOLDER} where the region's name belongs: \"{example}\""),
        );
        return None;
    }
    let names = regions.iter().map(|region| text.replace(PLACEHOLDER, &region.name.0));
    let urls: Option<Vec<ProbeUrl>> =
        names.map(|text| probe_url(Text { text: &text, place }, findings)).collect();
    Some(WitnessConfig { name: place_of(text).to_owned(), urls: urls?, token })
}
