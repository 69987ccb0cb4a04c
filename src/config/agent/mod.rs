//! `[agent]`: what the agent watches, how it decides, whom it calls.
//!
//! Each part is a file here; this one puts them together and checks what must hold between them.

mod capacity;
mod drill;
mod regions;
mod rules;
mod services;
mod source;
mod traffic;

pub use capacity::{GitOpsConfig, ScaleConfig, ScaleHow};
pub use drill::DrillConfig;
pub use regions::{PublicConfig, RegionConfig, WitnessConfig};
pub use rules::{Failback, PaceConfig, ProbeConfig, SignalConfig, VALIDATION_KEY_PREFIX, ValidationConfig};
pub use services::{
    OutboundConfig, PagerDutyConfig, PrometheusConfig, SlackConfig, SummaryConfig, TelegramConfig,
    WebhookConfig,
};
pub use traffic::{CloudflareConfig, ProviderConfig, TrafficConfig};

use super::cluster::{ClusterConfig, NodeConfig};
use super::policy;
use super::problem::Findings;
use super::section::{Section, Text};
use super::state::StateConfig;
use super::value::Value;
use crate::agent::orders::AgentMode;
use crate::agent::pager::Link;
use crate::agent::types::Region;

const MAX_LINKS: usize = 8;
const MAX_LINK_CHARS: usize = 1024;

/// What the agent watches, how it decides, whom it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// How far it goes by itself.
    pub mode: AgentMode,
    /// Whether it only shows what it would write.
    pub dry_run: bool,
    /// The name of what is served, in pages: the same on all nodes.
    pub cluster: String,
    /// The region of this node, one of `regions`.
    pub own_region: Region,
    /// At least two, in order of preference.
    pub regions: Vec<RegionConfig>,
    /// The name that clients use.
    pub public: PublicConfig,
    /// Who else looks.
    pub witnesses: Vec<WitnessConfig>,
    /// How regions are probed.
    pub probe: ProbeConfig,
    /// When this server's own figures are a signal.
    pub signals: SignalConfig,
    /// Pauses and caps.
    pub pace: PaceConfig,
    /// What a target must show.
    pub validation: ValidationConfig,
    /// The public record.
    pub traffic: TrafficConfig,
    /// The shadow record.
    pub drill: Option<DrillConfig>,
    /// Who is woken.
    pub pagerduty: Option<PagerDutyConfig>,
    /// Who is told.
    pub slack: Option<SlackConfig>,
    /// Who is told.
    pub telegram: Option<TelegramConfig>,
    /// Who is told.
    pub webhook: Option<WebhookConfig>,
    /// Who writes summaries.
    pub summary: Option<SummaryConfig>,
    /// More of the standby.
    pub scale: Option<ScaleConfig>,
    /// The region in a values file.
    pub gitops: Option<GitOpsConfig>,
    /// Where the report looks further back.
    pub prometheus: Option<PrometheusConfig>,
    /// The way out.
    pub http: OutboundConfig,
    /// Graphs and the runbook, for the page.
    pub links: Vec<Link>,
}

impl AgentConfig {
    /// What somebody should look at, though the settings can be served.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.witnesses.iter().filter_map(WitnessConfig::warning).collect()
    }
}

/// What other sections say that the agent needs.
pub(super) struct Around<'a> {
    pub(super) node: &'a NodeConfig,
    pub(super) cluster: Option<&'a ClusterConfig>,
    pub(super) state: Option<&'a StateConfig>,
    pub(super) policies: &'a [&'a str],
}

/// `None` without a section `[agent]`: then nobody watches.
pub(super) fn read_agent(root: &mut Section<'_>, around: &Around<'_>) -> Option<AgentConfig> {
    root.get("agent")?;
    let mut section = root.section("agent");
    let modes = [AgentMode::Manual, AgentMode::Automatic, AgentMode::Observe].map(|mode| (mode.name(), mode));
    let mode = section.choice("mode", &modes).unwrap_or_default();
    let dry_run = section.boolean("dry_run").unwrap_or(false);
    let cluster = read_name(&mut section);
    let public = regions::read_public(&mut section);
    let traffic = read_live(&mut section, public.as_ref());
    let drill = drill::read_drill(&mut section, public.as_ref(), traffic.as_ref());
    let shadow = drill.as_ref().map(|drill| &drill.traffic);
    let regions = regions::read_regions(&mut section, traffic.as_ref(), shadow);
    let witnesses = regions::read_witnesses(&mut section, &regions);
    let probe = rules::read_probe(&mut section);
    let signals = rules::read_signals(&mut section);
    let pace = rules::read_pace(&mut section, mode);
    let validation = rules::read_validation(&mut section, around.policies);
    let pagerduty = services::read_pagerduty(&mut section);
    let slack = services::read_slack(&mut section);
    let telegram = services::read_telegram(&mut section);
    let webhook = services::read_webhook(&mut section);
    let summary = services::read_summary(&mut section);
    let scale = capacity::read_scale(&mut section);
    let gitops = capacity::read_gitops(&mut section);
    let prometheus = services::read_prometheus(&mut section);
    let http = services::read_outbound(&mut section);
    let links = read_links(&mut section);
    check_around(&mut section, around, &regions);
    check_mode(&mut section, mode, &witnesses);
    for record in traffic.iter().chain(shadow) {
        check_sets(&section, record, &regions);
    }
    section.finish();
    Some(AgentConfig {
        mode,
        dry_run,
        cluster: cluster?,
        own_region: Region(around.node.region.clone()),
        regions,
        public: public?,
        witnesses,
        probe,
        signals,
        pace,
        validation,
        traffic: traffic?,
        drill,
        pagerduty,
        slack,
        telegram,
        webhook,
        summary,
        scale,
        gitops,
        prometheus,
        http,
        links,
    })
}

fn read_name(section: &mut Section<'_>) -> Option<String> {
    let Text { text, place } = section.required("cluster", "rates-prod")?;
    if !policy::is_name(text) {
        let what = format!("{text:?} cannot be the name of what is served");
        section.findings().wrong(place, what, "use 1 to 64 of the characters A-Z a-z 0-9 . _ -");
    }
    Some(text.to_owned())
}

fn read_live(agent: &mut Section<'_>, public: Option<&PublicConfig>) -> Option<TrafficConfig> {
    if agent.get("traffic").is_none() {
        let help = "write [agent.traffic] and below it provider = \"rfc2136\", \"cloudflare\", …";
        agent.findings().missing(agent.place(), "[agent] has no section `traffic`", help);
        return None;
    }
    let mut section = agent.section("traffic");
    let traffic = traffic::read_traffic(&mut section, public.map(|public| public.url.host()));
    section.finish();
    traffic
}

fn read_links(agent: &mut Section<'_>) -> Vec<Link> {
    let items = agent.array("link", MAX_LINKS, "begin each link with a line `[[agent.link]]`");
    items.iter().filter_map(|item| read_link(item, agent.findings())).collect()
}

fn read_link(item: &Value, findings: &Findings) -> Option<Link> {
    let mut section = Section::of("[[agent.link]]", item, findings);
    let text = section.required("text", "Runbook");
    let href = section.required("href", "https://wiki.example.com/rates");
    section.finish();
    let (text, href) = (text?, href?);
    if !(href.text.starts_with("https://") || href.text.starts_with("http://")) {
        findings.wrong(href.place, format!("{:?} is not a link", href.text), "begin it with https://");
    }
    let text = source::line(text, MAX_LINK_CHARS, findings);
    Some(Link { href: source::line(href, MAX_LINK_CHARS, findings), text })
}

/// What the rest of the configuration must say: a node that does not know where it is does not act.
fn check_around(section: &mut Section<'_>, around: &Around<'_>, regions: &[RegionConfig]) {
    let findings = section.findings();
    let place = section.place();
    let is_ours = |name: &str| regions.iter().any(|region| region.name.0 == name);
    let own = &around.node.region;
    if !regions.is_empty() && !own.is_empty() && !is_ours(own) {
        let names: Vec<&str> = regions.iter().map(|region| region.name.0.as_str()).collect();
        let what = format!("this node's region {own:?} is none of the agent's, so it could not act");
        findings.missing(place, what, format!("set [node] region to one of {}", names.join(", ")));
    }
    if around.state.is_none() {
        let what = "the agent needs a state directory: nothing is done that is not journalled first";
        findings.missing(place, what, "write [state] and below it directory = \"/var/lib/openclaw-rating\"");
    }
    for peer in around.cluster.iter().flat_map(|cluster| &cluster.peers) {
        let help = "write region = \"…\" in its [[peer]], so that nodes of one region can agree on who acts";
        match &peer.region {
            None => {
                findings.missing(place, format!("the region of the peer {:?} is not known", peer.name), help);
            }
            Some(region) if !regions.is_empty() && !is_ours(region) => {
                let what =
                    format!("the region {region:?} of the peer {:?} is none of the agent's", peer.name);
                findings.missing(place, what, help);
            }
            Some(_) => {}
        }
    }
}

fn check_mode(section: &mut Section<'_>, mode: AgentMode, witnesses: &[WitnessConfig]) {
    // One that is written and could not be read has been reported as such.
    let is_written = section.get("witness").is_some_and(|value| !value.is_empty_array());
    if mode == AgentMode::Automatic
        && witnesses.is_empty()
        && !is_written
        && let Some(value) = section.get("mode")
    {
        let what = "automatic mode needs a witness: a node that cannot see a region may itself be the one \
            that is cut off";
        section.findings().missing(value.place, what, "add a [[agent.witness]], or choose mode = \"manual\"");
    }
}

fn check_sets(section: &Section<'_>, record: &TrafficConfig, regions: &[RegionConfig]) {
    let findings = section.findings();
    let ProviderConfig::Route53 { set_identifiers: sets, .. } = &record.provider else { return };
    if let Some((_, twice)) = sets.iter().enumerate().find(|(at, set)| sets[..*at].contains(set)) {
        let what = format!("set identifier {twice:?} stands for two regions");
        findings.missing(
            section.place(),
            what,
            "name the set of each region once, in the order of [[agent.region]]",
        );
    }
    if !sets.is_empty() && sets.len() != regions.len() {
        let what = format!("{} set identifiers stand for {} regions", sets.len(), regions.len());
        findings.missing(section.place(), what, "write one a region, in the order of [[agent.region]]");
    }
}
