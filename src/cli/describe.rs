//! Settings in words.

use std::fmt::Write as _;

use crate::bucket::policy::{Matcher, Mode, PolicySpec};
use crate::bucket::table::{BYTES_PER_LINE, OnTableFull};
use crate::config::{AdminConfig, Config, ServerConfig, TableSettings, written};
use crate::counted::counted;
use crate::server::greeting::{addresses, limit, origin};

/// More overrides than this are counted, not listed.
const LISTED_OVERRIDES: usize = 10;

/// The settings in effect, a line each.
pub(super) fn summary(config: &Config) -> String {
    let mut text = format!("{}: no problems\n\n", origin(config.file.as_deref()));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("listen", addresses(&config.server.listen));
    describe_server(&config.server, &mut line);
    line("table", table(&config.table));
    let region = Some(&config.node.region).filter(|region| !region.is_empty());
    line("region", region.map_or("not known now", String::as_str).to_owned());
    describe_cluster(config, &mut line);
    match &config.agent {
        Some(agent) => super::agent::explain(agent).into_iter().for_each(|(name, text)| line(name, text)),
        None => line("agent", "none: nothing watches the regions".to_owned()),
    }
    let shutdown = &config.shutdown;
    let (lame_duck, deadline) = (written(shutdown.lame_duck), written(shutdown.deadline));
    line("shutdown", format!("lame duck {lame_duck}, deadline {deadline}"));
    line("log", config.log_level.as_str().to_lowercase());
    let secret = match (&config.cluster, config.hash_secret, &config.state) {
        (Some(_), ..) => "from the cluster's secret",
        (None, Some(_), _) => "from a file",
        (None, None, Some(_)) => "kept in the state directory",
        (None, None, None) => "random at each start",
    };
    line("hash key", secret.to_owned());
    line("watched", counted(config.watched.len(), "key", "keys"));
    for policy in &config.policies {
        describe_policy(policy, &mut line);
    }
    for warning in config.warnings() {
        line("warning", warning);
    }
    text
}

fn describe_cluster(config: &Config, line: &mut impl FnMut(&str, String)) {
    match &config.state {
        Some(state) => line(
            "state",
            format!("{}, a snapshot every {}", state.directory.display(), written(state.snapshot_interval)),
        ),
        None => line("state", "none: a restart begins with full buckets".to_owned()),
    }
    describe_admin(&config.admin, line);
    let Some(cluster) = &config.cluster else { return line("cluster", "none".to_owned()) };
    line("cluster", format!("node {} ({}) on {}", cluster.node, config.node.name, cluster.listen));
    let flush = format!(
        "flush every {}, absent after {}",
        written(cluster.flush_interval),
        written(cluster.detect_timeout)
    );
    line("", format!("{flush}, at most {} bytes/s a peer", cluster.max_bytes_per_second));
    for peer in &cluster.peers {
        line("peer", format!("node {} ({}) at {}", peer.id, peer.name, peer.address));
    }
}

fn describe_admin(admin: &AdminConfig, line: &mut impl FnMut(&str, String)) {
    match &admin.socket {
        Some(path) => line("admin", format!("unix:{}", path.display())),
        None => line("admin", "no socket: no `inspect`, no `failover`; set [admin] socket".to_owned()),
    }
    if let (Some(listen), Some(token)) = (admin.listen, &admin.token) {
        line("", format!("{listen}, for who has the token in {token}"));
    }
    if let Some(token) = &admin.witness_token {
        line("", format!("witnesses have the token in {token}"));
    }
    if let Some(token) = &admin.alertmanager_token {
        line("", format!("Alertmanager has the token in {token}"));
    }
    for secret in &admin.pagerduty_secrets {
        line("", format!("PagerDuty's webhooks are signed by the secret in {secret}"));
    }
}

fn describe_server(server: &ServerConfig, line: &mut impl FnMut(&str, String)) {
    let pinned = if server.pin { ", one a core" } else { "" };
    line("threads", format!("{}{pinned}", server.threads));
    let connections = counted(server.connections() as usize, "connection", "connections");
    let requests = match server.max_requests_per_connection {
        0 => "any number of requests".to_owned(),
        most => format!("at most {most} requests"),
    };
    line("clients", format!("at most {connections}, {requests} on each"));
    line(
        "timeouts",
        format!(
            "idle {}, header {}, body {}, write {}",
            written(server.idle_timeout),
            written(server.header_timeout),
            written(server.body_timeout),
            written(server.write_timeout)
        ),
    );
    line(
        "requests",
        format!(
            "header up to {} bytes, target {}, body {}",
            server.max_header_bytes, server.max_target_bytes, server.max_body_bytes
        ),
    );
}

fn table(table: &TableSettings) -> String {
    let on_full = match table.on_full {
        OnTableFull::Allow => "allow",
        OnTableFull::Deny => "deny",
    };
    let kib = table.lines * BYTES_PER_LINE / 1024;
    let size = if kib < 1024 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) };
    let taken = if table.populate { "" } else { ", taken as keys come" };
    let keys = counted(table.capacity, "key", "keys");
    format!("{keys}, {size}{taken}; {on_full} new keys when full")
}

fn describe_policy(policy: &PolicySpec, line: &mut impl FnMut(&str, String)) {
    let mode = match policy.mode {
        Mode::Enforce => "",
        Mode::Shadow => ", shadow: never denies",
        Mode::AllowAll => ", killed: allows all",
        Mode::DenyAll => ", killed: denies all",
    };
    line("policy", format!("{:<16} {}{mode}", policy.name, limit(policy.limit)));
    for spec in policy.overrides.iter().take(LISTED_OVERRIDES) {
        let keys = match &spec.matcher {
            Matcher::Exact(key) => format!("{:?}", String::from_utf8_lossy(key)),
            Matcher::Prefix(prefix) => format!("{:?}...", String::from_utf8_lossy(prefix)),
        };
        line("", format!("  {keys:<14} {}", limit(spec.limit)));
    }
    if policy.overrides.len() > LISTED_OVERRIDES {
        line("", format!("  and {} more overrides", policy.overrides.len() - LISTED_OVERRIDES));
    }
}
