//! Addresses that a process which was just killed may still have.

use std::io;
use std::time::{Duration, Instant};

/// The kernel takes a ring apart after its process has ended, and lets go of the ring's sockets only then.
const LET_GO: Duration = Duration::from_secs(2);

/// Binds, and while the address is in use tries again for a bounded time.
///
/// # Errors
/// When the address cannot be had.
pub(crate) fn patiently<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + LET_GO;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(LET_GO / 100);
            }
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;

    #[test]
    fn an_address_that_is_let_go_of_soon_is_had_and_one_that_is_not_is_refused() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let dying = UdpSocket::bind(any).unwrap();
        let address = dying.local_addr().unwrap();
        let mut tries = 0;
        let mut dying = Some(dying);
        let had = patiently(|| {
            tries += 1;
            if tries == 3 {
                dying = None;
            }
            UdpSocket::bind(address)
        });
        assert!(had.is_ok() && tries == 3);
        let refused = patiently(|| UdpSocket::bind(address)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}
