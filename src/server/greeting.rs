//! What a server serves and where, in the words of its first line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::bucket::policy::{LimitSpec, PolicySpec};
use crate::data_plane::ListenAddr;

/// Where the settings come from.
pub(crate) fn origin(file: Option<&Path>) -> String {
    file.map_or_else(|| "the built-in defaults".to_owned(), |path| path.display().to_string())
}

/// Addresses in a row.
pub(crate) fn addresses(listen: &[ListenAddr]) -> String {
    listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `login (10/min, burst 5)`.
pub(crate) fn named_limit(policy: &PolicySpec) -> String {
    format!("{} ({})", policy.name, limit(policy.limit))
}

/// A command that makes one check.
pub(crate) fn curl(listen: &ListenAddr, policy: &str) -> String {
    match listen {
        ListenAddr::Tcp(address) => {
            // An address for all interfaces is reached on the loopback one.
            let host = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
                ip => ip,
            };
            format!("curl -i http://{}/v1/check/{policy}/alice", SocketAddr::new(host, address.port()))
        }
        ListenAddr::Unix(path) => {
            format!("curl -i --unix-socket {} http://localhost/v1/check/{policy}/alice", path.display())
        }
    }
}

/// `100/s, burst 200`.
pub(crate) fn limit(limit: LimitSpec) -> String {
    format!("{}, burst {}", limit.rate, limit.burst)
}
