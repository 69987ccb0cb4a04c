//! What the agent is made of, from the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam::channel::Receiver;
use rustls::ClientConfig;

use super::providers::{self, PartError};
use super::secrets::secrets;
use crate::agent::engine::{
    AgentParts, Caller, DeedParts, Hands, Informer, PeerPlace, Planners, Record, Standby, TargetBars, Trial,
    WatchParts, Witnesses,
};
use crate::agent::history::{History, Prometheus, Queries, Subjects};
use crate::agent::https::Client;
use crate::agent::orders::OrderRequest;
use crate::agent::runbook::{Failback, Hysteresis, Outlook, RegionRecord, RunbookConfig, Timing};
use crate::agent::signals::{OwnLimits, Probe, ProbeUrl, Resolver, Watched, trust};
use crate::agent::types::Region;
use crate::config::{self, AgentConfig, Config, StateConfig, TrafficConfig, VALIDATION_KEY_PREFIX};
use crate::health::Health;
use crate::metrics::Published;
use crate::time::whole_ms;

const REPORTS: &str = "reports";
const SPOOL: &str = "pages";
/// One look at the public name in a trial.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// A trial waits so long for resolvers that show the past: for those of a TTL of 30 s. Those of a longer one are not
/// waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(35);
/// What a provider's command takes to end after its time limit, and some more.
const CALL_MARGIN: Duration = Duration::from_secs(1);
/// A write reads, writes and reads.
const CALLS_OF_A_WRITE: u32 = 3;
/// What a trial takes beside patience and load.
const TRIAL_MARGIN: Duration = Duration::from_secs(15);

/// The agent's parts, apart from threads.
pub(crate) fn prepare(
    config: &Config,
    agent: &AgentConfig,
    state: &StateConfig,
    published: &Arc<Published>,
    health: &Arc<Health>,
    orders: Receiver<OrderRequest>,
) -> Result<AgentParts, PartError> {
    let client = providers::client(&agent.http, |_| {})?;
    let looks = Looks { agent, tls: trust(agent.http.ca_file.as_deref())? };
    let pager = agent.pagerduty.as_ref();
    let pager =
        pager.map(|pager| providers::pager(pager, &agent.http, &state.directory.join(SPOOL))).transpose()?;
    let summariser =
        agent.summary.as_ref().map(|summary| providers::summariser(summary, &agent.http)).transpose()?;
    Ok(AgentParts {
        runbook: runbook(&config.node.name, agent),
        watch: watch(config, agent, &state.directory, published, health)?,
        probes: looks.probes(),
        probe_interval: agent.probe.interval,
        hands: hands(agent, &looks, &client, published)?,
        standby: standby(agent)?,
        caller: Caller { pager },
        informer: Informer {
            notifiers: providers::notifiers(agent, &client),
            summariser,
            secrets: secrets(agent).into_iter().cloned().collect(),
        },
        deeds: deeds(config, agent, &state.directory, &client)?,
        journal: state.journal(),
        orders,
        published: Arc::clone(published),
    })
}

fn names(agent: &AgentConfig) -> Vec<Region> {
    agent.regions.iter().map(|region| region.name.clone()).collect()
}

/// Deadlines that leave what is waited for the time that its own settings give it: what ends after its deadline has
/// been of no use.
fn timing(agent: &AgentConfig) -> Timing {
    let usual = Timing::default();
    let records = std::iter::once(&agent.traffic).chain(agent.drill.as_ref().map(|drill| &drill.traffic));
    let call = records.filter_map(TrafficConfig::timeout).max().unwrap_or_default() + CALL_MARGIN;
    let trial = MAX_PATIENCE + agent.validation.duration + TRIAL_MARGIN;
    Timing {
        hold_off_ms: whole_ms(agent.pace.hold_off),
        ack_timeout_ms: whole_ms(agent.pace.ack_timeout),
        cooldown_ms: whole_ms(agent.pace.cooldown),
        // A node that answers as late as a probe lets it answers preflight as well.
        preflight_timeout_ms: usual.preflight_timeout_ms.max(whole_ms(agent.probe.timeout) + 1_000),
        read_timeout_ms: usual.read_timeout_ms.max(whole_ms(call)),
        look_timeout_ms: usual.look_timeout_ms.max(whole_ms(call)),
        write_timeout_ms: usual.write_timeout_ms.max(whole_ms(call * CALLS_OF_A_WRITE)),
        validate_timeout_ms: usual.validate_timeout_ms.max(whole_ms(trial)),
        ..usual
    }
}

fn runbook(node: &str, agent: &AgentConfig) -> RunbookConfig {
    let record = |region: &config::RegionConfig| RegionRecord {
        region: region.name.clone(),
        values: region.values.clone(),
        drill_values: region.drill_values.clone(),
        weight: region.weight,
    };
    RunbookConfig {
        cluster: agent.cluster.clone(),
        node: node.to_owned(),
        own_region: agent.own_region.clone(),
        regions: agent.regions.iter().map(record).collect(),
        mode: agent.mode,
        dry_run: agent.dry_run,
        max_switches_per_day: agent.pace.max_switches_per_day,
        failback: match agent.pace.failback {
            config::Failback::Manual => Failback::Manual,
            config::Failback::After(after) => Failback::AfterMs(whole_ms(after)),
        },
        can_scale: agent.scale.is_some(),
        commits_region: agent.gitops.is_some(),
        can_drill: agent.drill.is_some(),
        timing: timing(agent),
    }
}

fn watch(
    config: &Config,
    agent: &AgentConfig,
    state: &Path,
    published: &Arc<Published>,
    health: &Arc<Health>,
) -> Result<WatchParts, PartError> {
    let probe = &agent.probe;
    let hysteresis = Hysteresis {
        down_after: probe.down_after,
        down_for_ms: whole_ms(probe.down_for),
        up_after: probe.up_after,
        // Two looks that are missed and one that is late.
        stale_after_ms: whole_ms((probe.interval + probe.timeout) * 3),
    };
    let nodes: Vec<(Region, usize)> =
        agent.regions.iter().map(|region| (region.name.clone(), region.health.len())).collect();
    let keys = config.watched.iter().map(|watched| format!("{}/{}", watched.policy, watched.key));
    let subjects = Subjects {
        keys: keys.take(Subjects::MAX_KEYS).collect(),
        regions: names(agent),
        ..Subjects::default()
    };
    let peers = config.cluster.iter().flat_map(|cluster| &cluster.peers);
    let place = |peer: &config::PeerConfig| {
        let region = Region(peer.region.clone()?);
        let of = agent.regions.iter().find(|known| known.name == region);
        let health = of.and_then(|of| health_of(peer.address.ip(), of));
        Some(PeerPlace { node: peer.id.get(), region, health })
    };
    let signals = &agent.signals;
    Ok(WatchParts {
        outlook: Outlook::new(hysteresis, &nodes, agent.witnesses.len()),
        witnesses: Witnesses::new(hysteresis, &names(agent), agent.witnesses.iter().map(|w| w.name.clone())),
        regions: names(agent),
        own_region: agent.own_region.clone(),
        own_node: config.cluster.as_ref().map(|cluster| cluster.node.get()),
        peers: peers.filter_map(place).collect(),
        limits: OwnLimits {
            tokens_low_percent: f64::from(signals.tokens_low_percent),
            tokens_low_for: signals.tokens_low_for,
            tokens_critical_percent: f64::from(signals.tokens_critical_percent),
            tokens_critical_for: signals.tokens_critical_for,
            error_percent: f64::from(signals.error_percent),
            errors_for: signals.errors_for,
            p99: signals.p99,
            p99_for: signals.p99_for,
            disk_free_percent: f64::from(signals.disk_free_percent),
        },
        history: History::new(subjects)?,
        published: Arc::clone(published),
        health: Arc::clone(health),
        state_directory: state.to_owned(),
    })
}

/// Which health URL of `region` is that of the node at `address`; `None` where none, or more than one, may be.
fn health_of(address: IpAddr, region: &config::RegionConfig) -> Option<usize> {
    let is_there = |url: &ProbeUrl| url.host().parse() == Ok(address);
    let mut places = (0..region.health.len()).filter(|place| is_there(&region.health[*place]));
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

/// How things are looked at.
struct Looks<'a> {
    agent: &'a AgentConfig,
    tls: Arc<ClientConfig>,
}

impl Looks<'_> {
    fn probe(&self, url: &ProbeUrl, resolver: Resolver, timeout: Duration) -> Probe {
        Probe { url: url.clone(), resolver, tls: Arc::clone(&self.tls), token: None, timeout }
    }

    fn health(&self) -> BTreeMap<Region, Vec<Probe>> {
        let probe = |url: &ProbeUrl| self.probe(url, Resolver::Host, self.agent.probe.timeout);
        let of =
            |region: &config::RegionConfig| (region.name.clone(), region.health.iter().map(probe).collect());
        self.agent.regions.iter().map(of).collect()
    }

    fn public(&self, url: &ProbeUrl, timeout: Duration) -> Probe {
        self.probe(url, Resolver::of(&self.agent.public.resolvers), timeout)
    }

    fn probes(&self) -> Vec<(Watched, Probe)> {
        let timeout = self.agent.probe.timeout;
        let mut list = vec![(Watched::Public, self.public(&self.agent.public.url, timeout))];
        for (region, probes) in self.health() {
            list.extend(
                (0..).zip(probes).map(|(node, probe)| (Watched::Health(region.clone(), node), probe)),
            );
        }
        for (at, witness) in self.agent.witnesses.iter().enumerate() {
            for (region, url) in names(self.agent).into_iter().zip(&witness.urls) {
                let probe =
                    Probe { token: witness.token.clone(), ..self.probe(url, Resolver::Host, timeout) };
                list.push((Watched::Witness(region, at), probe));
            }
        }
        list
    }

    fn trial(&self, url: &ProbeUrl) -> Trial {
        let validation = &self.agent.validation;
        Trial {
            probe: self.public(url, TRIAL_TIMEOUT),
            policy: validation.policy.clone(),
            key_prefix: VALIDATION_KEY_PREFIX.to_owned(),
            rate_per_s: validation.rate_per_s,
            duration: validation.duration,
            patience: MAX_PATIENCE,
        }
    }
}

fn hands(
    agent: &AgentConfig,
    looks: &Looks<'_>,
    client: &Client,
    published: &Arc<Published>,
) -> Result<Hands, PartError> {
    let record = |record: &TrafficConfig, url| Record {
        provider: providers::traffic(record, client),
        trial: looks.trial(url),
    };
    let validation = &agent.validation;
    Ok(Hands {
        live: record(&agent.traffic, &agent.public.url),
        shadow: agent.drill.as_ref().map(|drill| record(&drill.traffic, &drill.url)),
        health: looks.health(),
        bars: TargetBars {
            min_tokens_percent: f64::from(validation.min_tokens_percent),
            max_lag: validation.max_lag,
            max_error_percent: f64::from(validation.max_error_percent),
            max_p99: validation.max_p99,
        },
        published: Arc::clone(published),
        cut_short: Arc::new(AtomicBool::new(false)),
    })
}

fn standby(agent: &AgentConfig) -> Result<Option<Standby>, PartError> {
    let made = agent.scale.as_ref().map(|scale| {
        let scaler = providers::scaler(scale, &agent.http)?;
        Ok(Standby { scaler, replicas: scale.replicas })
    });
    made.transpose()
}

fn deeds(
    config: &Config,
    agent: &AgentConfig,
    state: &Path,
    client: &Client,
) -> Result<DeedParts, PartError> {
    let shadow = agent.drill.as_ref().map(|drill| providers::traffic(&drill.traffic, client));
    let planners =
        Planners { live: providers::traffic(&agent.traffic, client), shadow, standby: standby(agent)? };
    let prometheus = agent.prometheus.as_ref().map(|prometheus| {
        let client = providers::client(&agent.http, |options| {
            options.max_response_bytes = Prometheus::MAX_ANSWER_BYTES;
        })?;
        let (base, token) = (prometheus.base.clone(), prometheus.token.clone());
        Ok::<_, PartError>(Arc::new(Prometheus { client, base, token, queries: Queries::default() }))
    });
    Ok(DeedParts {
        planners,
        source: format!("{} ({})", config.node.name, agent.own_region),
        links: agent.links.clone(),
        checkout: agent.gitops.as_ref().map(providers::checkout),
        regions: names(agent),
        reports: state.join(REPORTS),
        keep_reports: agent.pace.keep_reports as usize,
        prometheus: prometheus.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn a_nodes_health_is_known_where_one_url_alone_leads_to_its_address() {
        let url = |text: &&str| ProbeUrl::new(text).unwrap();
        let found = |address: &str, urls: &[&str]| {
            let region = config::RegionConfig {
                name: Region("eu".to_owned()),
                values: Vec::new(),
                drill_values: Vec::new(),
                health: urls.iter().map(url).collect(),
                weight: 1,
            };
            health_of(address.parse().unwrap(), &region)
        };
        let urls =
            ["http://192.0.2.1:8080/health", "http://[2001:db8:0::1]:8080/health", "http://eu-3.example"];
        assert_eq!((found("192.0.2.1", &urls), found("2001:db8::1", &urls)), (Some(0), Some(1)));
        assert_eq!(found("192.0.2.3", &urls), None);
        let two_on_one_host = ["http://192.0.2.1:8080", "http://192.0.2.1:8081"];
        assert_eq!(found("192.0.2.1", &two_on_one_host), None);
    }

    /// With an `exec` whose time limit is `timeout`.
    fn timing_with(timeout: &str) -> Timing {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        let region = |name: &str, value: &str| {
            format!(
                "[[agent.region]]\nname = \"{name}\"\nvalues = [\"{value}\"]\nhealth = [\"http://{value}\"]\n"
            )
        };
        let text = format!(
            "[[policy]]\nname = \"api\"\nrate = \"1/s\"\n[node]\nregion = \"eu\"\n[state]\n\
             directory = \"/s\"\n\
             [agent]\ncluster = \"c\"\n{}{}[agent.public]\nurl = \"http://a.example\"\n[agent.traffic]\n\
             provider = \"exec\"\ncommand = [\"/bin/true\"]\ntimeout = \"{timeout}\"\n",
            region("eu", "192.0.2.1"),
            region("us", "192.0.2.2")
        );
        std::fs::write(&file, text).unwrap();
        let config = config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        timing(config.agent.as_ref().unwrap())
    }

    #[test]
    fn a_call_that_may_take_long_is_not_given_up_before_it_ends() {
        let usual = Timing::default();
        let short = timing_with("1s");
        assert_eq!(short.read_timeout_ms, usual.read_timeout_ms);
        assert_eq!(short.write_timeout_ms, usual.write_timeout_ms);
        let long = timing_with("25s");
        assert_eq!((long.read_timeout_ms, long.look_timeout_ms), (26_000, 26_000));
        assert_eq!(long.write_timeout_ms, 78_000);
    }
}
