//! Addresses of this server's own sockets: what cannot be bound or reached, and which two collide.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, absolute};

use super::problem::{Findings, Place};
use crate::data_plane::ListenAddr;

/// Reports an address that no socket can be bound to, or that nobody could connect or send to.
pub(super) fn check_own(address: SocketAddr, place: Place, findings: &Findings) {
    let ip = address.ip();
    let as_ipv4 = as_ipv4(address);
    if as_ipv4 != address {
        let what = format!("{address} is an IPv4 address in the form of IPv6, where no socket can listen");
        findings.wrong(place, what, format!("write \"{as_ipv4}\""));
    } else if is_no_single_hosts(ip) {
        let what = format!("the address {ip} is no single host's, so nobody could be heard there");
        findings.wrong(place, what, "write an address of this host; 0.0.0.0 or [::] are all that it has");
    } else if lacks_interface(address) {
        let what = format!("{address} is an address of one link and does not say on which interface");
        let help = "add the interface's number, as `ip -o link` lists it: \"[fe80::1%2]:8080\"";
        findings.wrong(place, what, help);
    }
}

/// An IPv4 address that is written in the form of IPv6 as what it is.
pub(super) fn as_ipv4(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip != address.ip() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

/// Whether it stands for several hosts.
pub(super) fn is_no_single_hosts(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn lacks_interface(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

/// Whether only one of two sockets can be had.
pub(super) fn collide(one: &ListenAddr, other: &ListenAddr) -> bool {
    match (one, other) {
        (ListenAddr::Tcp(one), ListenAddr::Tcp(other)) => overlap(*one, *other),
        (ListenAddr::Unix(one), ListenAddr::Unix(other)) => is_same_path(one, other),
        _ => false,
    }
}

/// Port 0 is one that is free. Sockets of IPv6 take no IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    let is_same_ip = one == other || (one.is_ipv4() == other.is_ipv4() && is_all);
    one.port() == other.port() && one.port() != 0 && is_same_ip
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    match (absolute(one), absolute(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
