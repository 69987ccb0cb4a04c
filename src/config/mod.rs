//! The configuration: a TOML file, the environment and `--set`, made into settings that are valid.
//!
//! [`load`] reads [`Sources`] into a [`Config`], or into [`Problems`]: every one of them, with line and
//! column, never the first only. The text becomes a tree of values with places (`value`); overrides
//! are laid over it; then each section is read into its runtime type, and that conversion is the
//! validation, so a `Config` that exists can be served.

mod address;
mod admin;
mod agent;
mod cluster;
mod file;
mod overrides;
mod policy;
mod problem;
mod region;
mod secret;
mod section;
mod server;
mod state;
mod units;
mod value;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bucket::policy::PolicySpec;
use crate::bucket::table::OnTableFull;
use crate::hex;
pub use admin::AdminConfig;
pub(crate) use admin::MIN_TOKEN_BYTES;
pub use agent::{
    AgentConfig, CloudflareConfig, DrillConfig, Failback, GitOpsConfig, OutboundConfig, PaceConfig,
    PagerDutyConfig, ProbeConfig, PrometheusConfig, ProviderConfig, PublicConfig, RegionConfig, ScaleConfig,
    ScaleHow, SignalConfig, SlackConfig, SummaryConfig, TelegramConfig, TrafficConfig, VALIDATION_KEY_PREFIX,
    ValidationConfig, WebhookConfig, WitnessConfig,
};
pub use cluster::{ClusterConfig, ClusterSecret, NodeConfig, PeerConfig};
use problem::Findings;
pub use problem::{Location, Problem, Problems};
use region::Lookup;
use section::{Section, Text};
pub use server::ServerConfig;
pub use state::StateConfig;
pub(crate) use units::{parse_duration, written};
use value::Value;

/// The variable that names the file when `--config` does not.
pub const CONFIG_VARIABLE: &str = "OPENCLAW_RATING_CONFIG";
/// The file that is read from the working directory when nothing names one.
pub const DEFAULT_FILE: &str = "openclaw-rating.toml";
/// Most keys with metrics of their own.
pub const MAX_WATCHED: usize = 256;
/// 64 GiB of buckets.
const MAX_LINES: usize = 1 << 30;
/// The smallest table there is.
const MIN_LINES: usize = 16;
/// Fits a table of 2^20 lines, 64 MiB.
const DEFAULT_CAPACITY: usize = 750_000;
const MAX_SHUTDOWN: Duration = Duration::from_secs(3600);

/// Where settings come from, the later over the earlier: file, environment, sets.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; the built-in defaults when there is none.
    pub file: Option<PathBuf>,
    /// Environment variables; those that are no settings are passed over.
    pub environment: Vec<(String, String)>,
    /// `key.key=value`.
    pub sets: Vec<String>,
}

impl Sources {
    /// The sources of this process: the file is the one named, or that in
    /// `OPENCLAW_RATING_CONFIG`, or `openclaw-rating.toml` if it is in the working directory.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, sets: Vec<String>) -> Self {
        let named = file.or_else(|| std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from));
        let file = named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
        let readable = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, text)| (readable(name), readable(text))).collect();
        Self { file, environment, sets }
    }
}

/// Settings that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The data plane.
    pub server: ServerConfig,
    /// The bucket table.
    pub table: TableSettings,
    /// At least one.
    pub policies: Vec<PolicySpec>,
    /// Keys with metrics of their own, at most [`MAX_WATCHED`].
    pub watched: Vec<WatchedKey>,
    /// This node.
    pub node: NodeConfig,
    /// The nodes that it shares limits with; `None` when it is alone.
    pub cluster: Option<ClusterConfig>,
    /// What outlives the process.
    pub state: Option<StateConfig>,
    /// Where people on the host ask.
    pub admin: AdminConfig,
    /// What watches the regions and moves traffic; `None` when nothing does.
    pub agent: Option<AgentConfig>,
    /// How the server stops.
    pub shutdown: ShutdownConfig,
    /// The least severe messages that are logged.
    pub log_level: tracing::Level,
    /// The key of the bucket hash; a random one for each start when there is none.
    pub hash_secret: Option<HashSecret>,
}

impl Config {
    /// What somebody should look at, though the settings can be served. Reads the admin secrets, and the modes of
    /// files.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let clock_alone = self.cluster.is_some() && self.state.is_none();
        let clock_alone = clock_alone.then(|| state::CLOCK_ALONE.to_owned());
        let cluster = self.cluster.iter().flat_map(ClusterConfig::warnings);
        let agent = self.agent.iter().flat_map(AgentConfig::warnings);
        let nowhere = self.node.region.is_empty().then(|| region::NOT_KNOWN_NOW.to_owned());
        let warnings = self.admin.warnings().into_iter().chain(cluster).chain(nowhere);
        warnings.chain(clock_alone).chain(agent).chain(self.server.warning()).collect()
    }

    /// The sections in which `new` differs and that a reload cannot change: it replaces policies only.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let sections = [
            ("server", self.server != new.server),
            ("table", self.table != new.table),
            ("metrics", self.watched != new.watched),
            ("node", self.node != new.node),
            ("cluster", self.cluster != new.cluster),
            ("state", self.state != new.state),
            ("admin", self.admin != new.admin),
            ("agent", self.agent != new.agent),
            ("shutdown", self.shutdown != new.shutdown),
            ("log", self.log_level != new.log_level),
            ("hash", self.hash_secret != new.hash_secret),
        ];
        sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// The size of the bucket table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// Keys that fit while the table is at most three quarters full.
    pub capacity: usize,
    /// Cache lines, a power of two.
    pub lines: usize,
    /// What a new key is told when its window is full of buckets in use.
    pub on_full: OnTableFull,
    /// Whether all memory is taken at the start, or each part with the first key in it.
    pub populate: bool,
}

/// A key whose tokens are in `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchedKey {
    /// The policy's name.
    pub policy: String,
    /// The key.
    pub key: String,
}

/// The phases of a graceful stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// `/health` says 503 for so long while checks are still answered.
    pub lame_duck: Duration,
    /// Then open requests have so long to be answered.
    pub deadline: Duration,
}

/// A key for the bucket hash. It is never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSecret(pub [u8; 16]);

impl fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSecret(..)")
    }
}

/// Reads, overlays and validates.
///
/// # Errors
/// Everything that is wrong in any of the sources.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_with(sources, Lookup::Required)
}

/// The same, to look at and not to serve: the region is empty where its metadata service does not answer now.
///
/// # Errors
/// Everything that is wrong in any of the sources.
pub fn check(sources: &Sources) -> Result<Config, Problems> {
    load_with(sources, Lookup::Tried)
}

/// The same, for a server that runs in `region`. It stays there, so no source of it is asked again.
///
/// # Errors
/// Everything that is wrong in any of the sources.
pub fn load_again(sources: &Sources, region: &str) -> Result<Config, Problems> {
    let findings = Findings::default();
    file::check_can_be_read_again(sources, &findings);
    if findings.is_empty() {
        load_with(sources, Lookup::Known(region))
    } else {
        Err(findings.into_problems())
    }
}

fn load_with(sources: &Sources, region: Lookup<'_>) -> Result<Config, Problems> {
    let findings = Findings::default();
    let Some(root) = read_tree(sources, &findings) else { return Err(findings.into_problems()) };
    let config = read_config(&root, sources, region, &findings);
    if findings.is_empty() { Ok(config) } else { Err(findings.into_problems()) }
}

/// Where a server with these sources listens for people on the host; `None` when it does not. A mistake outside of
/// `[state]` and `[admin]` does not matter, nor a secret that only the server may read: a server that runs is
/// steered also while its file is being changed.
///
/// # Errors
/// What keeps the path from being known.
pub fn admin_socket(sources: &Sources) -> Result<Option<PathBuf>, Problems> {
    let findings = Findings::default();
    let Some(root) = read_tree(sources, &findings) else { return Err(findings.into_problems()) };
    let mut root = Section::of("the configuration", &root, &findings);
    let state = state::read_state(&mut root, &sources.environment);
    let around = admin::Around { listen: &[], state: state.as_ref(), environment: &sources.environment };
    let admin = admin::read_admin(&mut root, &around);
    if findings.is_empty() { Ok(admin.socket) } else { Err(findings.into_problems()) }
}

/// All sources laid over one another; `None` when the file cannot be read.
fn read_tree(sources: &Sources, findings: &Findings) -> Option<Value> {
    if file::is_nameless(sources, findings) {
        return None;
    }
    let mut root = file::read_document(sources.file.as_deref(), findings)?;
    overrides::check_names(&sources.environment, findings);
    overrides::apply_environment(&mut root, &sources.environment, findings);
    overrides::apply_sets(&mut root, &sources.sets, findings);
    Some(root)
}

fn read_config(root: &Value, sources: &Sources, region: Lookup<'_>, findings: &Findings) -> Config {
    let mut root = Section::of("the configuration", root, findings);
    let policies = policy::read_policies(&mut root);
    let names = policy::names(&mut root);
    let written = cluster::read_node(&mut root, &sources.environment, region);
    let cluster = cluster::read_cluster(&mut root, &written);
    policy::check_parts(&mut root, &policies);
    let node = written.node;
    let state = state::read_state(&mut root, &sources.environment);
    let around =
        agent::Around { node: &node, cluster: cluster.as_ref(), state: state.as_ref(), policies: &names };
    let agent = agent::read_agent(&mut root, &around);
    let server = server::read_server(&mut root);
    let admin =
        admin::Around { listen: &server.listen, state: state.as_ref(), environment: &sources.environment };
    let admin = admin::read_admin(&mut root, &admin);
    let config = Config {
        agent,
        file: sources.file.clone(),
        server,
        table: read_table(&mut root),
        watched: read_watched(&mut root, &names),
        policies,
        admin,
        state,
        shutdown: read_shutdown(&mut root),
        log_level: read_log_level(&mut root),
        hash_secret: read_hash_secret(&mut root, cluster.as_ref()),
        node,
        cluster,
    };
    root.finish();
    config
}

fn read_table(root: &mut Section<'_>) -> TableSettings {
    let mut section = root.section("table");
    let max_capacity = MAX_LINES as u64 / 4 * 3;
    let capacity = section.count("capacity", 1..=max_capacity).unwrap_or(DEFAULT_CAPACITY);
    let choices = [("allow", OnTableFull::Allow), ("deny", OnTableFull::Deny)];
    let on_full = section.choice("on_table_full", &choices).unwrap_or(OnTableFull::Allow);
    let populate = section.boolean("populate").unwrap_or(true);
    section.finish();
    TableSettings { capacity, lines: lines_for(capacity), on_full, populate }
}

/// Probing stays short while at most three quarters of the lines are taken.
fn lines_for(capacity: usize) -> usize {
    (capacity * 4).div_ceil(3).next_power_of_two().max(MIN_LINES)
}

fn read_watched(root: &mut Section<'_>, policies: &[&str]) -> Vec<WatchedKey> {
    let findings = root.findings();
    let mut section = root.section("metrics");
    let help = "write watch = [{ policy = \"login\", key = \"alice\" }]";
    let mut watched = Vec::new();
    for item in section.array("watch", MAX_WATCHED, help) {
        let Some(key) = read_watched_key(item, policies, findings) else { continue };
        if watched.contains(&key) {
            let what = format!("the key {:?} of {:?} is watched twice", key.key, key.policy);
            findings.wrong(item.place, what, "remove one of them");
        }
        watched.push(key);
    }
    section.finish();
    watched
}

fn read_watched_key(item: &Value, policies: &[&str], findings: &Findings) -> Option<WatchedKey> {
    let mut section = Section::of("an element of `watch`", item, findings);
    for name in ["policy", "key"] {
        if section.get(name).is_none() {
            let what = format!("{} has no `{name}`", section.label());
            findings.missing(item.place, what, "write { policy = \"login\", key = \"alice\" }");
        }
    }
    let policy = section.text("policy", "login");
    let key = policy::read_key(&mut section, "key");
    section.finish();
    let policy = policy?;
    if !policy::check_known(policy, "watch", policies, findings) {
        return None;
    }
    Some(WatchedKey { policy: policy.text.to_owned(), key: String::from_utf8(key?).ok()? })
}

fn read_shutdown(root: &mut Section<'_>) -> ShutdownConfig {
    let mut section = root.section("shutdown");
    let times = Duration::ZERO..=MAX_SHUTDOWN;
    let lame_duck = section.duration("lame_duck", times.clone()).unwrap_or(Duration::ZERO);
    let deadline = section.duration("deadline", times).unwrap_or(Duration::from_secs(10));
    section.finish();
    ShutdownConfig { lame_duck, deadline }
}

fn read_log_level(root: &mut Section<'_>) -> tracing::Level {
    use tracing::Level;
    let mut section = root.section("log");
    let choices = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let level = section.choice("level", &choices).unwrap_or(Level::INFO);
    section.finish();
    level
}

fn read_hash_secret(root: &mut Section<'_>, cluster: Option<&ClusterConfig>) -> Option<HashSecret> {
    let findings = root.findings();
    let help = "write 32 hexadecimal digits into it: head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'";
    let mut section = root.section("hash");
    let file = section.text("secret_file", "/etc/openclaw-rating/hash.secret");
    section.finish();
    cluster::check_hash_key(file.map(|file| file.place), cluster, findings);
    read_secret_file(file?, "a secret", help, findings).map(HashSecret)
}

/// What to do about a secret that cannot be read. One that is there has to stay: another would part this node from the
/// others.
fn help_for_unreadable(kind: ErrorKind, path: &str, when_missing: &str) -> String {
    if kind != ErrorKind::PermissionDenied {
        return when_missing.to_owned();
    }
    format!(
        "let the user of the server read it, and nobody else: chgrp openclaw-rating {path} && chmod 640 \
         {path}; or have systemd hand it over (LoadCredential=)"
    )
}

/// The bytes that a secret file holds as hexadecimal digits, and nothing else; `what` it should hold.
fn read_secret_file<const N: usize>(
    file: Text<'_>,
    what: &str,
    help: &str,
    findings: &Findings,
) -> Option<[u8; N]> {
    let Text { text: path, place } = file;
    let digits = match file::read_named(Path::new(path)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let help = help_for_unreadable(error.kind(), path, help);
            findings.wrong(place, format!("cannot read the secret file {path}: {error}"), help);
            return None;
        }
    };
    let digits = digits.trim();
    let secret = hex::decode(digits);
    if secret.is_none() {
        let found = digits.chars().count();
        let but = if found == 2 * N { ", of which some are no such digits" } else { "" };
        let what = format!(
            "the secret file {path} does not hold {what}, which is {} hexadecimal digits: it has {found} \
             characters{but}",
            2 * N
        );
        findings.wrong(place, what, help);
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_replace_a_secret_that_is_there() {
        let help = |kind| help_for_unreadable(kind, "/etc/c.secret", "make one with keygen");
        assert_eq!(help(ErrorKind::NotFound), "make one with keygen");
        let denied = help(ErrorKind::PermissionDenied);
        assert!(
            denied.contains("chgrp openclaw-rating /etc/c.secret") && !denied.contains("make one"),
            "{denied}"
        );
    }
}
