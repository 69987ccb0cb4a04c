//! `[agent.drill]`: the shadow record, which must have nothing in common with what clients use.
//!
//! A drill asks nobody and waits for nothing, since it can do no harm: so whatever it could do harm with is
//! refused here.

use super::super::problem::{Findings, Place};
use super::super::section::Section;
use super::regions::{PublicConfig, Written};
use super::source;
use super::traffic::{ProviderConfig, TrafficConfig, read_traffic};
use crate::agent::signals::ProbeUrl;
use crate::agent::traffic::{POOLS, canonical_name, canonical_value};

/// `[agent.drill]`: the record of a drill and the name under which it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillConfig {
    /// The shadow record.
    pub traffic: TrafficConfig,
    /// The name that it stands for.
    pub url: ProbeUrl,
}

pub(super) fn read_drill(
    agent: &mut Section<'_>,
    public: Option<&PublicConfig>,
    live: Option<&TrafficConfig>,
) -> Option<DrillConfig> {
    agent.get("drill")?;
    let mut section = agent.section("drill");
    let url = section.required("url", "https://drill.rates.example.com");
    let url = url.and_then(|url| source::probe_url(url, agent.findings()));
    let traffic = read_traffic(&mut section, url.as_ref().map(ProbeUrl::host));
    if let Some(traffic) = &traffic {
        check_name(&mut section, traffic, public, live);
        check_balancer(&mut section, traffic, live);
    }
    section.finish();
    Some(DrillConfig { traffic: traffic?, url: url? })
}

/// Any type counts, since clients ask for A and AAAA alike, and any provider, since two may serve one zone.
fn check_name(
    section: &mut Section<'_>,
    shadow: &TrafficConfig,
    public: Option<&PublicConfig>,
    live: Option<&TrafficConfig>,
) {
    let own = canonical_name(&shadow.name);
    let is_live = live.is_some_and(|live| canonical_name(&live.name) == own);
    if is_live || public.is_some_and(|public| canonical_name(public.url.host()) == own) {
        // Without a name of its own it has that of its URL.
        let place = ["name", "url"].into_iter().find_map(|key| section.get(key));
        let place = place.map_or(section.place(), |value| value.place);
        let what = format!("the drill would change {}, the name that clients use", shadow.name);
        section.findings().wrong(
            place,
            what,
            "give the drill a record of its own, such as \"drill.rates.example.com\"",
        );
    }
}

fn check_balancer(section: &mut Section<'_>, shadow: &TrafficConfig, live: Option<&TrafficConfig>) {
    let balancer = |traffic: &TrafficConfig| match &traffic.provider {
        ProviderConfig::CloudflareLb { load_balancer_id, .. } => Some(load_balancer_id.clone()),
        _ => None,
    };
    let own = balancer(shadow);
    if own.is_some() && own == live.and_then(balancer) {
        let place = section.get("load_balancer_id").map_or(section.place(), |value| value.place);
        let what = "the drill would change the load balancer of [agent.traffic]";
        section.findings().wrong(place, what, "make another load balancer for drills, with pools of its own");
    }
}

/// What a drill changes must be no value of the live record: a pool is enabled or disabled for all load
/// balancers of an account, and a live CNAME follows the record that it names.
pub(super) fn check_values(shadow: &TrafficConfig, regions: &[Written], findings: &Findings) {
    let live: Vec<String> =
        regions.iter().flat_map(|one| &one.region.values).map(|v| canonical_value(v)).collect();
    for one in regions {
        if shadow.kind == POOLS {
            check_pools(one, &live, findings);
        }
        let named =
            one.values.iter().find(|(value, _)| canonical_value(value) == canonical_name(&shadow.name));
        if let Some((value, place)) = named {
            let what = format!("the drill would change {value}, to which the public record leads");
            findings.wrong(*place, what, "give [agent.drill] a name that no value of a region is");
        }
    }
}

fn check_pools(one: &Written, live: &[String], findings: &Findings) {
    let region = &one.region.name.0;
    let help = "write drill_values = [\"…\"], the id of a pool that only the drill's load balancer has";
    if one.drill_values.is_empty() {
        let what = format!(
            "a drill would enable and disable the live pools of {region:?}: it has no `drill_values`"
        );
        findings.wrong(one.place, what, help);
    }
    let shared = |(value, _): &&(String, Place)| live.contains(&canonical_value(value));
    for (value, place) in one.drill_values.iter().filter(shared) {
        let what =
            format!("{value:?} in `drill_values` of {region:?} is a live pool, which a drill would disable");
        findings.wrong(*place, what, help);
    }
}
