//! The process as the kernel sees it, under the names that Prometheus' own libraries use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Family;

/// Readings of this process; what cannot be read is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    cpu_seconds: f64,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_files: Option<u64>,
    max_files: Option<u64>,
    start_unix_seconds: f64,
}

impl ProcessStats {
    /// Reads them. `started` is when the process began to serve.
    #[must_use]
    pub fn read(started: SystemTime) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let pages = fs::read_to_string("/proc/self/statm").ok();
        let pages = pages.as_deref().map(parse_statm).unwrap_or_default();
        let page_bytes = rustix::param::page_size() as u64;
        let open_files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            virtual_bytes: pages.0.map(|pages| pages * page_bytes),
            resident_bytes: pages.1.map(|pages| pages * page_bytes),
            // The listing itself has one open.
            open_files: open_files.map(|files| files.saturating_sub(1)),
            max_files: getrlimit(Resource::Nofile).current,
            start_unix_seconds: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let gauge = |name, help, value: Option<u64>| {
            value.map(|value| Family::gauge(name, help).with(&[], value as f64))
        };
        let cpu = Family::counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds.");
        let start = Family::gauge("process_start_time_seconds", "When the process started, in Unix time.");
        let mut families = vec![cpu.with(&[], self.cpu_seconds), start.with(&[], self.start_unix_seconds)];
        families.extend(gauge("process_resident_memory_bytes", "Resident memory.", self.resident_bytes));
        families.extend(gauge("process_virtual_memory_bytes", "Virtual memory.", self.virtual_bytes));
        families.extend(gauge("process_open_fds", "Open file descriptors.", self.open_files));
        families.extend(gauge("process_max_fds", "Most file descriptors that may be open.", self.max_files));
        families
    }
}

/// Virtual and resident pages, the first two numbers (proc(5)).
fn parse_statm(text: &str) -> (Option<u64>, Option<u64>) {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    (numbers.next().flatten(), numbers.next().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_time() {
        let stats = ProcessStats::read(SystemTime::now());
        assert!(stats.resident_bytes.unwrap() > 100_000);
        assert!(stats.virtual_bytes >= stats.resident_bytes);
        assert!(stats.open_files.unwrap() >= 3);
        assert!(stats.cpu_seconds > 0.0);
        assert_eq!(stats.families().len(), 6);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(parse_statm(""), (None, None));
        assert_eq!(parse_statm("12 x"), (Some(12), None));
        assert_eq!(ProcessStats::default().families().len(), 2);
    }
}
