//! `[agent.traffic]` and `[agent.drill]`: the provider that holds a record, each with keys of its own.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::problem::Findings;
use super::super::secret::secret;
use super::super::section::{Section, Text};
use super::source::{base_url, required_secret};
use crate::agent::https::BaseUrl;
use crate::agent::secret::SecretSource;
use crate::agent::traffic::{POOLS, is_domain_name, is_value_of};

const TTL_S: RangeInclusive<u64> = 1..=86_400;
const DEFAULT_TTL_S: u32 = 30;
/// The deadlines of reads, writes and looks follow it; more than this would hold up a failover for too long.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(25);
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_SERVERS: usize = 16;
const MAX_ARGUMENTS: usize = 64;

/// A record, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficConfig {
    /// The record's full name.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, or `POOLS`.
    pub kind: String,
    /// How long resolvers may keep an answer, in seconds, as a command is told. Other providers' records have a TTL
    /// of their own, which stays.
    pub ttl_s: u32,
    /// The zone's own servers, asked whether a change shows; found by NS records when there are none.
    pub servers: Vec<String>,
    /// Who holds it.
    pub provider: ProviderConfig,
}

/// A provider and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderConfig {
    /// One record at Cloudflare.
    Cloudflare(CloudflareConfig),
    /// The pools of a load balancer at Cloudflare.
    CloudflareLb {
        /// How Cloudflare is reached.
        access: CloudflareConfig,
        /// The account that its pools are in.
        account_id: String,
        /// The load balancer.
        load_balancer_id: String,
    },
    /// Record sets at Route 53.
    Route53 {
        /// The API.
        base: BaseUrl,
        /// The hosted zone.
        zone_id: String,
        /// Which key signs.
        access_key_id: String,
        /// Its secret.
        secret_access_key: SecretSource,
        /// A temporary key's session token.
        session_token: Option<SecretSource>,
        /// The set identifiers of weighted sets, one a region in their order; none for a simple set.
        set_identifiers: Vec<String>,
    },
    /// Dynamic updates with TSIG.
    Rfc2136 {
        /// The primary, with or without a port.
        server: String,
        /// The zone.
        zone: String,
        /// The key's name.
        key_name: String,
        /// The key's algorithm.
        algorithm: String,
        /// The key.
        key: SecretSource,
        /// For each question and update, at all addresses of the server together.
        timeout: Duration,
    },
    /// A command.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
        /// After this it is killed.
        timeout: Duration,
    },
}

/// How Cloudflare is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudflareConfig {
    /// The API.
    pub base: BaseUrl,
    /// The API token.
    pub token: SecretSource,
    /// The zone's id, where it is not looked up by name.
    pub zone_id: Option<String>,
    /// The zone's name.
    pub zone: String,
}

impl TrafficConfig {
    /// How long one call to its provider may take, where that is a setting.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        match &self.provider {
            ProviderConfig::Rfc2136 { timeout, .. } | ProviderConfig::Exec { timeout, .. } => Some(*timeout),
            _ => None,
        }
    }

    /// Whether all regions' values stay in the record and weights say which are in service.
    #[must_use]
    pub const fn is_weighted(&self) -> bool {
        match &self.provider {
            ProviderConfig::CloudflareLb { .. } => true,
            ProviderConfig::Route53 { set_identifiers, .. } => !set_identifiers.is_empty(),
            _ => false,
        }
    }

    /// Whether the record has room for one value only.
    #[must_use]
    pub fn is_single(&self) -> bool {
        matches!(self.provider, ProviderConfig::Cloudflare(_)) || self.kind == "CNAME"
    }

    /// Whether `value` is one that this record can hold.
    #[must_use]
    pub fn takes(&self, value: &str) -> bool {
        match self.kind.as_str() {
            POOLS => !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control()),
            kind => is_value_of(kind, value),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Cloudflare,
    CloudflareLb,
    Route53,
    Rfc2136,
    Exec,
}

/// The record of `section`; `usual_name` where it has none of its own.
pub(super) fn read_traffic(section: &mut Section<'_>, usual_name: Option<&str>) -> Option<TrafficConfig> {
    let findings = section.findings();
    const KINDS: [(&str, Kind); 5] = [
        ("cloudflare", Kind::Cloudflare),
        ("cloudflare_lb", Kind::CloudflareLb),
        ("route53", Kind::Route53),
        ("rfc2136", Kind::Rfc2136),
        ("exec", Kind::Exec),
    ];
    if section.get("provider").is_none() {
        let what = format!("{} has no `provider`", section.label());
        findings.missing(
            section.place(),
            what,
            "write provider = \"cloudflare\", \"cloudflare_lb\", \"route53\", \"rfc2136\" or \"exec\"",
        );
    }
    let chosen = section.choice("provider", &KINDS);
    let name = match (section.get("name"), usual_name) {
        (None, Some(usual)) => Some(usual.to_owned()),
        _ => section.required("name", "rates.example.com").map(|text| domain(text, findings)),
    };
    let ttl_s = section.integer("ttl", TTL_S).and_then(|ttl| u32::try_from(ttl).ok());
    let kind = read_kind(section, chosen);
    let servers = section.texts("servers", MAX_SERVERS, "write servers = [\"ns1.example.com\"]");
    let servers = servers.iter().map(|server| server.text.to_owned()).collect();
    let provider = match chosen? {
        Kind::Cloudflare => read_cloudflare(section).map(ProviderConfig::Cloudflare),
        Kind::CloudflareLb => read_load_balancer(section),
        Kind::Route53 => read_route53(section),
        Kind::Rfc2136 => read_rfc2136(section),
        Kind::Exec => read_exec(section),
    };
    Some(TrafficConfig {
        name: name?,
        kind: kind?,
        ttl_s: ttl_s.unwrap_or(DEFAULT_TTL_S),
        servers,
        provider: provider?,
    })
}

fn domain(text: Text<'_>, findings: &Findings) -> String {
    if !is_domain_name(text.text) {
        findings.wrong(
            text.place,
            format!("{:?} is not a domain name", text.text),
            "write it in full: \"rates.example.com\"",
        );
    }
    text.text.to_owned()
}

fn read_kind(section: &mut Section<'_>, chosen: Option<Kind>) -> Option<String> {
    const RECORDS: [(&str, &str); 3] = [("A", "A"), ("AAAA", "AAAA"), ("CNAME", "CNAME")];
    const ALL: [(&str, &str); 4] = [("A", "A"), ("AAAA", "AAAA"), ("CNAME", "CNAME"), ("POOLS", POOLS)];
    let (choices, usual): (&[(&str, &str)], &str) = match chosen {
        Some(Kind::CloudflareLb) => (&ALL[3..], POOLS),
        Some(Kind::Exec) => (&ALL, "A"),
        _ => (&RECORDS, "A"),
    };
    match section.get("type") {
        None => Some(usual.to_owned()),
        Some(_) => section.choice("type", choices).map(str::to_owned),
    }
}

fn read_cloudflare(section: &mut Section<'_>) -> Option<CloudflareConfig> {
    let base = base_url(section, "api", "https://api.cloudflare.com/client/v4");
    let token = required_secret(section, ["token_file", "token_credential"]);
    let zone_id = section.text("zone_id", "023e105f4ecef8ad9ca31a8372d0c353");
    let zone = match zone_id {
        Some(_) => section.text("zone", "example.com"),
        None => section.required("zone", "example.com"),
    };
    let zone = zone.map(|text| domain(text, section.findings()));
    if zone.is_none() && zone_id.is_none() {
        return None;
    }
    Some(CloudflareConfig {
        base: base?,
        token: token?,
        zone_id: zone_id.map(|text| text.text.to_owned()),
        zone: zone.unwrap_or_default(),
    })
}

fn read_load_balancer(section: &mut Section<'_>) -> Option<ProviderConfig> {
    let access = read_cloudflare(section);
    let mut id =
        |key| section.required(key, "699d98642c564d2e855e9661899b7252").map(|text| text.text.to_owned());
    let (account_id, load_balancer_id) = (id("account_id"), id("load_balancer_id"));
    Some(ProviderConfig::CloudflareLb {
        access: access?,
        account_id: account_id?,
        load_balancer_id: load_balancer_id?,
    })
}

fn read_route53(section: &mut Section<'_>) -> Option<ProviderConfig> {
    let base = base_url(section, "api", "https://route53.amazonaws.com");
    let zone_id = section.required("zone_id", "Z0123456789ABCDEFGHIJ");
    let access_key_id = section.required("access_key_id", "AKIAIOSFODNN7EXAMPLE");
    let secret_access_key =
        required_secret(section, ["secret_access_key_file", "secret_access_key_credential"]);
    let session_token = secret(section, ["session_token_file", "session_token_credential"]);
    let help = "write set_identifiers = [\"eu\", \"us\"], one a region in the order of [[agent.region]]";
    let sets = section.texts("set_identifiers", MAX_SERVERS, help);
    Some(ProviderConfig::Route53 {
        base: base?,
        zone_id: zone_id?.text.to_owned(),
        access_key_id: access_key_id?.text.to_owned(),
        secret_access_key: secret_access_key?,
        session_token,
        set_identifiers: sets.iter().map(|set| set.text.to_owned()).collect(),
    })
}

fn read_rfc2136(section: &mut Section<'_>) -> Option<ProviderConfig> {
    let findings = section.findings();
    const ALGORITHMS: [(&str, &str); 4] = [
        ("hmac-sha256", "hmac-sha256"),
        ("hmac-sha384", "hmac-sha384"),
        ("hmac-sha512", "hmac-sha512"),
        ("hmac-sha1", "hmac-sha1"),
    ];
    let server = section.required("server", "ns1.example.com:53");
    let zone = section.required("zone", "example.com").map(|text| domain(text, findings));
    let key_name = section.required("key_name", "failover").map(|text| domain(text, findings));
    let algorithm = match section.get("algorithm") {
        None => Some("hmac-sha256"),
        Some(_) => section.choice("algorithm", &ALGORITHMS),
    };
    let key = required_secret(section, ["key_file", "key_credential"]);
    let timeout = section.duration("timeout", TIMEOUTS).unwrap_or(DNS_TIMEOUT);
    Some(ProviderConfig::Rfc2136 {
        server: server?.text.to_owned(),
        zone: zone?,
        key_name: key_name?,
        algorithm: algorithm?.to_owned(),
        key: key?,
        timeout,
    })
}

fn read_exec(section: &mut Section<'_>) -> Option<ProviderConfig> {
    let command = read_command(section);
    let timeout = section.duration("timeout", TIMEOUTS).unwrap_or(COMMAND_TIMEOUT);
    Some(ProviderConfig::Exec { command: command?, timeout })
}

/// A program and its arguments.
pub(super) fn read_command(section: &mut Section<'_>) -> Option<Vec<String>> {
    let findings = section.findings();
    let help = "write command = [\"/usr/local/bin/move-traffic\", \"--quiet\"]; no shell reads it";
    if section.get("command").is_none() {
        let what = format!("{} has no `command`", section.label());
        findings.missing(section.place(), what, help);
        return None;
    }
    let words = section.texts("command", MAX_ARGUMENTS, help);
    let words: Vec<String> = words.iter().map(|word| word.text.to_owned()).collect();
    match words.first() {
        Some(program) if PathBuf::from(program).is_absolute() => Some(words),
        _ => {
            let place = section.get("command").map_or(section.place(), |value| value.place);
            findings.wrong(place, "a command begins with the full path of a program", help);
            None
        }
    }
}
