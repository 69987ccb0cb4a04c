//! DNS messages as the agent needs them: one question, one answer, one update.

mod error;
mod exchange;
mod message;

pub use error::{DnsError, Trouble};
pub(super) use exchange::{Transport, exchange, query_udp_then_tcp};
pub(super) use message::{Answer, Data, data_of, name_of, query, read_addresses, read_answer};

use std::net::{SocketAddr, ToSocketAddrs as _};

/// The port where DNS is answered.
const PORT: u16 = 53;

/// The addresses of `server`: an address or a name, with or without a port.
pub(super) fn addresses(server: &str) -> Result<Vec<SocketAddr>, DnsError> {
    let resolved = match server.parse::<std::net::IpAddr>() {
        Ok(address) => return Ok(vec![SocketAddr::new(address, PORT)]),
        Err(_) if server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            server.to_socket_addrs()
        }
        Err(_) => (server, PORT).to_socket_addrs(),
    };
    let not_found = |why: String| DnsError::new(server, Trouble::NotReached(why));
    let list: Vec<_> = resolved.map_err(|error| not_found(error.to_string()))?.collect();
    if list.is_empty() { Err(not_found("it has no address".to_owned())) } else { Ok(list) }
}
