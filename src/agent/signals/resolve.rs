//! Names to addresses, anew each time: by the host, or by servers that are named.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::probe::host_addresses;
use crate::agent::traffic::{DnsError, resolve};

/// Who is asked for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The host, as any program on it would be answered.
    Host,
    /// These servers, in order, each with or without a port.
    Servers(Vec<String>),
    /// Nobody: every name is at these addresses.
    Fixed(Vec<IpAddr>),
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The host does not know.
    #[error("the name {name} is not resolved: {why}")]
    Host {
        /// The name.
        name: String,
        /// What the host said.
        why: String,
    },
    /// No server said.
    #[error("{0}")]
    Servers(String),
    /// They say that there is none.
    #[error("the name {name} has no address")]
    NoAddress {
        /// The name.
        name: String,
    },
}

impl Resolver {
    /// Those servers, or the host when there are none.
    #[must_use]
    pub fn of(servers: &[String]) -> Self {
        if servers.is_empty() { Self::Host } else { Self::Servers(servers.to_vec()) }
    }

    /// The addresses of `host`, found by `deadline` where the host's own means allow it.
    pub fn addresses(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found: Vec<SocketAddr> = match self {
            Self::Host => {
                let failed =
                    |error: io::Error| ResolveError::Host { name: host.to_owned(), why: error.to_string() };
                host_addresses(host, port).map_err(failed)?
            }
            Self::Fixed(addresses) => {
                addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
            }
            Self::Servers(servers) => ask(servers, host, deadline)?
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect(),
        };
        if found.is_empty() { Err(ResolveError::NoAddress { name: host.to_owned() }) } else { Ok(found) }
    }
}

/// The answer of the first server that gives one.
fn ask(servers: &[String], host: &str, deadline: Instant) -> Result<Vec<IpAddr>, ResolveError> {
    let mut last = ResolveError::Servers("no resolver is named".to_owned());
    for (at, server) in servers.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(servers.len() - at).unwrap_or(1);
        match resolve(server, host, share.max(Duration::from_millis(1))) {
            Ok(addresses) => return Ok(addresses),
            Err(error) => last = servers_failed(&error),
        }
    }
    Err(last)
}

fn servers_failed(error: &DnsError) -> ResolveError {
    ResolveError::Servers(error.to_string())
}
