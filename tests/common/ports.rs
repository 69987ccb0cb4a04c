//! Ports that the kernel gives to nobody by itself, so that one stays free from one use to the next.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports of clients (`net.ipv4.ip_local_port_range`), above those of well-known services.
const FIRST: u32 = 20_000;
const COUNT: u32 = 10_000;

/// A port of the loopback held for TCP and UDP; no two calls of one process get the same.
pub(crate) fn hold_port() -> (TcpListener, UdpSocket) {
    let both = |address: Ipv4Addr, port| {
        let tcp = TcpListener::bind((address, port))?;
        Ok::<_, std::io::Error>((tcp, UdpSocket::bind((address, port))?))
    };
    (0..COUNT)
        .map(|_| next())
        // What is taken on one address is passed over for all.
        .filter(|port| both(Ipv4Addr::UNSPECIFIED, *port).is_ok())
        .find_map(|port| both(Ipv4Addr::LOCALHOST, port).ok())
        .unwrap()
}

/// A port that nobody has at this moment, for TCP and UDP.
pub(crate) fn free_port() -> u16 {
    hold_port().0.local_addr().unwrap().port()
}

fn next() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run side by side begin far from one another.
    let start = std::process::id().wrapping_mul(97);
    (FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT) as u16
}
