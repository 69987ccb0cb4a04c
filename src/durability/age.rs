//! How long ago a snapshot was taken, by clocks of this host alone.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::format::Header;
use crate::time::{NS_PER_SECOND, whole_ms};

/// The clocks of a host at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTime {
    /// Names the boot; zero when the kernel does not tell.
    pub boot_id: [u8; 16],
    /// Nanoseconds since that boot, sleep included.
    pub since_boot_ns: u64,
    /// Wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
}

impl HostTime {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        let since_boot = clock_gettime(ClockId::Boottime);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            boot_id: boot_id(),
            since_boot_ns: (since_boot.tv_sec as u64).saturating_mul(NS_PER_SECOND)
                + since_boot.tv_nsec as u64,
            unix_ms: whole_ms(unix),
        }
    }

    /// Nanoseconds from a snapshot to now: by the boot's clock within one boot, which nobody sets, else
    /// by the wall clock, and nothing when that has gone back.
    #[must_use]
    pub fn since(&self, taken: &Header) -> u64 {
        if taken.boot_id == self.boot_id && self.boot_id != [0; 16] {
            return self.since_boot_ns.saturating_sub(taken.since_boot_ns);
        }
        self.unix_ms.saturating_sub(taken.unix_ms).saturating_mul(1_000_000)
    }
}

fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.trim().replace('-', "");
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: Header =
        Header { key_print: [0; 16], boot_id: [1; 16], since_boot_ns: 5_000, unix_ms: 10_000 };

    #[test]
    fn within_one_boot_a_set_wall_clock_does_not_matter() {
        let now = HostTime { boot_id: [1; 16], since_boot_ns: 7_000, unix_ms: 99_000 };
        assert_eq!(now.since(&TAKEN), 2_000);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts_and_never_below_zero() {
        let now = HostTime { boot_id: [2; 16], since_boot_ns: 1, unix_ms: 10_500 };
        assert_eq!(now.since(&TAKEN), 500_000_000);
        assert_eq!(HostTime { unix_ms: 1, ..now }.since(&TAKEN), 0);
    }

    #[test]
    fn a_boot_without_a_name_is_no_boot_in_common() {
        let taken = Header { boot_id: [0; 16], ..TAKEN };
        let now = HostTime { boot_id: [0; 16], since_boot_ns: 7_000, unix_ms: 10_001 };
        assert_eq!(now.since(&taken), 1_000_000);
    }

    #[test]
    fn this_host_has_a_boot_and_both_clocks_go_on() {
        let (first, second) = (HostTime::read(), HostTime::read());
        assert_ne!(first.boot_id, [0; 16]);
        assert!(second.since_boot_ns >= first.since_boot_ns && first.unix_ms > 1_600_000_000_000);
    }
}
