//! What this host has, as the kernel says.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::ring::{RECEIVE_BUFFERS, RECEIVE_BYTES, Ring, RingConfig};

/// Connections of the ring that is made to see whether one can be.
const TRIAL_CONNECTIONS: u32 = 64;

/// Each value as it is read; `None` where this kernel has no such thing, or does not let it be seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// `uname -r`.
    pub(super) release: String,
    /// What its processors can, of x86-64.
    pub(super) processor_flags: Option<String>,
    /// Why no ring can be made.
    pub(super) ring: Option<String>,
    pub(super) max_locked: Limit,
    pub(super) max_files: Limit,
    pub(super) huge_pages: Option<String>,
    pub(super) shared_huge_pages: Option<String>,
    /// Of `net.` and so on, by name.
    pub(super) parameters: Vec<(&'static str, Option<String>)>,
    pub(super) governor: Option<String>,
    pub(super) isolated_cores: Option<String>,
    pub(super) clock_source: Option<String>,
    pub(super) balances_interrupts: bool,
}

/// A limit of this process; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<u64>);

impl Host {
    pub(super) fn read() -> Self {
        let hard = |resource| Limit(getrlimit(resource).maximum);
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor_flags: processor_flags(),
            ring: try_ring().err(),
            max_locked: hard(Resource::Memlock),
            max_files: hard(Resource::Nofile),
            huge_pages: value("/sys/kernel/mm/transparent_hugepage/enabled"),
            shared_huge_pages: value("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            parameters: super::judge::PARAMETERS.map(|known| (known.name, parameter(known.name))).to_vec(),
            governor: value("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            isolated_cores: value("/sys/devices/system/cpu/isolated"),
            clock_source: value("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            balances_interrupts: runs("irqbalance"),
        }
    }
}

/// The value of a parameter of `sysctl`.
pub(super) fn parameter(name: &str) -> Option<String> {
    value(Path::new("/proc/sys").join(name.replace('.', "/")))
}

fn value(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn processor_flags() -> Option<String> {
    let processors = value("/proc/cpuinfo")?;
    processors.lines().find_map(|line| line.strip_prefix("flags")).map(ToOwned::to_owned)
}

/// Whether the kernel gives this process a ring with all that a data thread asks of it.
fn try_ring() -> Result<(), String> {
    let ring = Ring::new(RingConfig::of_connections(TRIAL_CONNECTIONS, 1));
    let buffers = ring.and_then(|mut ring| ring.receive_buffers(RECEIVE_BUFFERS, RECEIVE_BYTES).map(drop));
    buffers.map_err(|error| error.to_string())
}

/// Whether a process of this name runs.
fn runs(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| value(process.path().join("comm"))).any(|found| found == name)
}
