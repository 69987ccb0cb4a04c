//! `[server]`: where the server listens, and what one client can take of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{check_own, collide};
use super::problem::{Findings, Place};
use super::section::{Section, Text};
use super::value::{Kind, Value};
use crate::bind::MAX_SOCKET_PATH_BYTES;
use crate::data_plane::{ListenAddr, connections_within};
use crate::limits::open_files;

const MAX_LISTENERS: usize = 16;
const MAX_THREADS: u64 = 512;
/// A direct descriptor each, in one table.
const MAX_CONNECTIONS: u64 = 1 << 20;
/// Of all threads together, where the file does not say.
const DEFAULT_CONNECTIONS: u32 = 16_384;
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const LISTEN_HELP: &str = "write listen = [\"127.0.0.1:8080\", \"unix:/run/openclaw-rating/check.sock\"]";

/// The data plane's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen; at least one address.
    pub listen: Vec<ListenAddr>,
    /// Data threads; one a core when the file does not say.
    pub threads: usize,
    /// Whether each data thread stays on one core.
    pub pin: bool,
    /// Connections of all threads together, when the file says.
    pub max_connections: Option<u32>,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// A request's header section must be complete after this.
    pub header_timeout: Duration,
    /// A request's body must be complete after this.
    pub body_timeout: Duration,
    /// A client that takes no bytes of its answers is cut off after this.
    pub write_timeout: Duration,
    /// Largest header section.
    pub max_header_bytes: usize,
    /// Longest request target.
    pub max_target_bytes: usize,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Requests before a connection is closed; 0 for no limit.
    pub max_requests_per_connection: u64,
}

impl ServerConfig {
    /// Connections of all threads together: as many as the file says, or by default as the limit of open files lets
    /// each thread have places for.
    #[must_use]
    pub fn connections(&self) -> u32 {
        let by_default = || connections_within(open_files(), DEFAULT_CONNECTIONS, self.threads);
        self.max_connections.unwrap_or_else(by_default)
    }

    /// That there are fewer than usual, if so.
    pub(super) fn warning(&self) -> Option<String> {
        let connections = self.connections();
        (self.max_connections.is_none() && connections < DEFAULT_CONNECTIONS).then(|| {
            format!(
                "at most {connections} connections, not {DEFAULT_CONNECTIONS}: a thread has no more places \
                 for them than files may be open; raise that limit (`ulimit -Hn`, systemd: LimitNOFILE=) \
                 or settle for [server] max_connections = {connections}"
            )
        })
    }
}

pub(super) fn read_server(root: &mut Section<'_>) -> ServerConfig {
    let mut section = root.section("server");
    let timeouts = MIN_TIMEOUT..=MAX_TIMEOUT;
    let mut timeout =
        |key, default_s| section.duration(key, timeouts.clone()).unwrap_or(Duration::from_secs(default_s));
    let idle_timeout = timeout("idle_timeout", 60);
    let header_timeout = timeout("header_timeout", 10);
    let body_timeout = timeout("body_timeout", 10);
    let write_timeout = timeout("write_timeout", 10);
    let max_connections = section.count("max_connections", 1..=MAX_CONNECTIONS).map(|most| most as u32);
    let mut count = |key, range, default| section.count(key, range).unwrap_or(default);
    let config = ServerConfig {
        threads: count("threads", 1..=MAX_THREADS, cores()),
        max_connections,
        max_header_bytes: count("max_header_bytes", 256..=65_536, 8192),
        max_target_bytes: count("max_target_bytes", 64..=65_536, 4096),
        max_body_bytes: count("max_body_bytes", 0..=1 << 20, 65_536),
        idle_timeout,
        header_timeout,
        body_timeout,
        write_timeout,
        max_requests_per_connection: section
            .integer("max_requests_per_connection", 0..=u64::from(u32::MAX))
            .unwrap_or(0),
        pin: section.boolean("pin").unwrap_or(true),
        listen: read_listen(&mut section),
    };
    section.finish();
    config
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn read_listen(section: &mut Section<'_>) -> Vec<ListenAddr> {
    let findings = section.findings();
    let items = match section.get("listen") {
        None => return vec![ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))],
        Some(one @ Value { kind: Kind::Text(_), .. }) => std::slice::from_ref(one),
        Some(_) => section.array("listen", MAX_LISTENERS, LISTEN_HELP),
    };
    let mut listen = Vec::with_capacity(items.len());
    for item in items {
        let Kind::Text(text) = &item.kind else {
            let what = format!("an address to listen on must be text in quotes, not {}", item.described());
            findings.wrong(item.place, what, LISTEN_HELP);
            continue;
        };
        let Some(address) = read_address(Text { text, place: item.place }, findings) else { continue };
        if let Some(other) = listen.iter().find(|other| **other == address || collide(other, &address)) {
            let what = match *other == address {
                true => format!("{address} is in `listen` twice"),
                false => format!("{address} and {other} are in `listen`, and only one of them can be had"),
            };
            findings.wrong(item.place, what, "remove one of them");
        }
        listen.push(address);
    }
    if items.is_empty()
        && let Some(Value { place, kind: Kind::Array(_) }) = section.get("listen")
    {
        findings.missing(*place, "`listen` in [server] names no address", LISTEN_HELP);
    }
    listen
}

fn read_address(address: Text<'_>, findings: &Findings) -> Option<ListenAddr> {
    let Text { text, place } = address;
    if let Some(path) = text.strip_prefix("unix:") {
        return read_unix_path(path, place, findings);
    }
    let Ok(address) = text.parse() else {
        let help = "write an IP address and a port, \"127.0.0.1:8080\" or \"[::1]:8080\", or \"unix:\" and a \
            path; host names are not looked up";
        findings.wrong(place, format!("{text:?} is not an address to listen on"), help);
        return None;
    };
    check_own(address, place, findings);
    Some(ListenAddr::Tcp(address))
}

fn read_unix_path(path: &str, place: Place, findings: &Findings) -> Option<ListenAddr> {
    if path.is_empty() || path.len() > MAX_SOCKET_PATH_BYTES || path.contains('\0') {
        findings.wrong(
            place,
            format!("{path:?} cannot be the path of a Unix socket"),
            format!("a path has 1 to {MAX_SOCKET_PATH_BYTES} bytes and no NUL"),
        );
        return None;
    }
    Some(ListenAddr::Unix(PathBuf::from(path)))
}
