//! What is to be thought of a host.

use super::finding::{Check, Finding};
use super::host::{Host, Limit};
use crate::config::Problems;
use crate::counted::counted;

/// The first kernel with all that the ring needs.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// Ample for the queues of rings and what they register.
const AMPLE_LOCKED_BYTES: u64 = 64 << 20;
/// The table of a ring's connections must be below the limit of open files.
const AMPLE_FILES: u64 = 65_536;
/// Clocks that are read without a call to the kernel.
const FAST_CLOCKS: [&str; 5] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "xen"];
/// Where the limits of a service are set.
const OF_THE_SERVICE: &str = "in the unit, whose limits are not those of this shell";

/// A parameter of the kernel that should have at least some value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    least: u64,
    check: Check,
}

const fn parameter(name: &'static str, least: u64, meaning: &'static str) -> Parameter {
    Parameter { name, least, check: Check { name: "sysctl", meaning } }
}

const QUEUE: &str = "clients that connect at one time and do not fit wait a second before they try again";
const BURSTS: &str = "datagrams between nodes come in bursts; what does not fit is lost and sent again";

pub(super) const PARAMETERS: [Parameter; 4] = [
    parameter("net.core.somaxconn", 4096, QUEUE),
    parameter("net.ipv4.tcp_max_syn_backlog", 4096, QUEUE),
    parameter("net.core.rmem_max", 4 << 20, BURSTS),
    parameter("net.core.wmem_max", 4 << 20, BURSTS),
];

/// All that can be said of a host without the settings of a server.
pub(super) fn host(host: &Host) -> Vec<Finding> {
    let mut findings = vec![kernel(&host.release), ring(host.ring.as_deref())];
    findings.extend(host.processor_flags.as_deref().map(processor));
    findings.push(locked_memory(host.max_locked));
    findings.push(open_files(host.max_files));
    findings.extend(huge_pages(host));
    let parameters = PARAMETERS.iter().zip(&host.parameters);
    findings.extend(parameters.map(|(known, (_, value))| known.judge(value.as_deref())));
    findings.extend(host.clock_source.as_deref().map(clock));
    findings.extend(host.governor.as_deref().map(governor));
    findings.push(interrupts(host.balances_interrupts));
    findings.extend(host.isolated_cores.as_deref().and_then(isolated));
    findings
}

pub(super) fn unusable_configuration(problems: &Problems) -> Finding {
    let check = Check { name: "configuration", meaning: "a server does not start with it, nor reload it" };
    let count = counted(problems.iter().len(), "problem", "problems");
    let first = problems.iter().next().map(|problem| format!("; the first: {}", problem.what()));
    let found = format!("{count}{}", first.unwrap_or_default());
    check.fail(found, "`openclaw-rating check-config` says where each is, and what to write")
}

fn kernel(release: &str) -> Finding {
    let meaning = "multishot operations and provided buffers of io_uring are there from Linux 6.1 on";
    let check = Check { name: "kernel", meaning };
    let found = format!("Linux {release}");
    match version(release) {
        Some(version) if version < OLDEST_KERNEL => check.fail(found, "install Linux 6.1 or newer"),
        Some(_) => check.ok(found),
        None => check.warn(found, "see for yourself whether this is Linux 6.1 or newer"),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn ring(refused: Option<&str>) -> Finding {
    let check = Check { name: "io_uring", meaning: "every connection is served through it" };
    match refused {
        None => check.ok("a ring can be made, with all operations that are needed"),
        Some(why) => check.fail("no ring can be made", why),
    }
}

fn processor(flags: &str) -> Finding {
    let meaning = "a bucket is charged by one instruction of it, and the hash of a key is a few others";
    let check = Check { name: "processor", meaning };
    let remedy = "of a virtual machine: give it the processor of its host (`-cpu host`, `host-passthrough`)";
    let has = |wanted| flags.split_ascii_whitespace().any(|flag| flag == wanted);
    match (has("cx16"), has("aes")) {
        (true, true) => check.ok("has the instructions that are needed"),
        (true, false) => {
            check.warn("no AES instructions: keys are hashed at a fraction of the speed", remedy)
        }
        (false, _) => check.fail("no 16-byte compare-exchange (cmpxchg16b)", remedy),
    }
}

fn locked_memory(limit: Limit) -> Finding {
    let check =
        Check { name: "locked memory", meaning: "queues of rings and what they register count as such" };
    match limit.0 {
        Some(bytes) if bytes < AMPLE_LOCKED_BYTES => {
            let found = format!("at most {} KiB", bytes >> 10);
            check.warn(found, format!("LimitMEMLOCK=64M {OF_THE_SERVICE}; else `ulimit -l`"))
        }
        Some(bytes) => check.ok(format!("up to {} MiB", bytes >> 20)),
        None => check.ok("no limit"),
    }
}

fn open_files(limit: Limit) -> Finding {
    let meaning = "a ring's table of connections must be smaller than this limit";
    let check = Check { name: "open files", meaning };
    match limit.0 {
        Some(files) if files < AMPLE_FILES => {
            let remedy = format!("LimitNOFILE=1048576 {OF_THE_SERVICE}; else `ulimit -n`");
            check.warn(format!("at most {files}"), remedy)
        }
        Some(files) => check.ok(format!("up to {files}")),
        None => check.ok("no limit"),
    }
}

/// Under systemd the table is in memory that outlives the process, for which the second setting counts.
fn huge_pages(host: &Host) -> Vec<Finding> {
    let meaning = "with millions of keys most checks would else miss the TLB too";
    let check = Check { name: "huge pages", meaning };
    let own = match host.huge_pages.as_deref() {
        None => check.warn("this kernel has no transparent huge pages", "run one that has them"),
        Some(mode) if mode.contains("[never]") => {
            check.warn(format!("off: {mode}"), "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
        }
        Some(mode) => check.ok(mode),
    };
    let kept = host.shared_huge_pages.as_deref().map(|mode| {
        let check = Check { name: "kept pages", meaning: "the same, of a table that systemd keeps" };
        if mode.contains("[never]") || mode.contains("[deny]") {
            let remedy = "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled";
            return check.warn(format!("off: {mode}"), remedy);
        }
        check.ok(mode)
    });
    std::iter::once(own).chain(kept).collect()
}

impl Parameter {
    fn judge(self, value: Option<&str>) -> Finding {
        let Self { name, least, check } = self;
        let Some(value) = value else {
            return check.warn(format!("{name} cannot be seen here"), "look at it on the host itself");
        };
        let found = format!("{name} = {value}");
        match value.parse::<u64>() {
            Ok(number) if number >= least => check.ok(found),
            _ => check.warn(found, format!("sysctl -w {name}={least} (tuning/90-openclaw-rating.conf)")),
        }
    }
}

fn clock(source: &str) -> Finding {
    let check = Check { name: "clock", meaning: "it is read for every batch of requests" };
    let found = format!("clock source {source}");
    if FAST_CLOCKS.contains(&source) {
        return check.ok(found);
    }
    let remedy = "boot with clocksource=tsc where the processor's counter is steady; each reading is a \
        system call now";
    check.warn(found, remedy)
}

fn governor(governor: &str) -> Finding {
    let check = Check { name: "cpu frequency", meaning: "a core that was slowed down answers late at first" };
    let found = format!("governor {governor}");
    if governor == "performance" {
        check.ok(found)
    } else {
        check.warn(found, "cpupower frequency-set -g performance")
    }
}

fn interrupts(balanced: bool) -> Finding {
    let meaning = "packets are best handled on the core that answers them";
    let check = Check { name: "interrupts", meaning };
    if balanced {
        return check.warn(
            "irqbalance runs, and moves interrupts away from the data threads",
            "systemctl stop irqbalance, and give each queue its core (tuning/README.md)",
        );
    }
    check.ok("irqbalance does not run")
}

fn isolated(cores: &str) -> Option<Finding> {
    let meaning =
        "the scheduler puts nothing else there; [server] pin puts data threads on cores from the first on";
    let check = Check { name: "isolated cores", meaning };
    (!cores.is_empty()).then(|| check.ok(cores))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    /// A host that lacks nothing.
    fn good() -> Host {
        Host {
            release: "6.1.0-13-amd64".to_owned(),
            processor_flags: Some("\t\t: fpu cx16 aes avx".to_owned()),
            huge_pages: Some("always [madvise] never".to_owned()),
            shared_huge_pages: Some("always within_size [advise] never deny force".to_owned()),
            parameters: PARAMETERS.map(|known| (known.name, Some(known.least.to_string()))).to_vec(),
            governor: Some("performance".to_owned()),
            isolated_cores: Some("2-3".to_owned()),
            clock_source: Some("tsc".to_owned()),
            ..Host::default()
        }
    }

    /// What is not well about the host that `spoil` makes of a good one.
    fn bad(spoil: impl FnOnce(&mut Host)) -> Vec<(&'static str, Level, String)> {
        let mut spoiled = good();
        spoil(&mut spoiled);
        let findings = host(&spoiled).into_iter().filter(|finding| finding.level != Level::Ok);
        findings.map(|finding| (finding.check, finding.level, finding.remedy.unwrap())).collect()
    }

    fn one_bad(spoil: impl FnOnce(&mut Host)) -> (&'static str, Level, String) {
        let mut found = bad(spoil);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn nothing_is_wrong_with_a_host_that_has_all() {
        assert!(bad(|_| {}).is_empty());
        assert!(bad(|host| host.max_locked = Limit(Some(AMPLE_LOCKED_BYTES))).is_empty());
    }

    #[test]
    fn what_keeps_the_server_from_starting_fails() {
        let (check, level, _) = one_bad(|host| host.release = "5.15.0-91-generic".to_owned());
        assert_eq!((check, level), ("kernel", Level::Fail));
        let (check, level, remedy) = one_bad(|host| host.ring = Some("set the sysctl".to_owned()));
        assert_eq!((check, level, remedy.as_str()), ("io_uring", Level::Fail, "set the sysctl"));
        let (check, level, remedy) = one_bad(|host| host.processor_flags = Some(": fpu aes cx8".to_owned()));
        assert_eq!((check, level), ("processor", Level::Fail));
        assert!(remedy.contains("-cpu host"));
    }

    #[test]
    fn what_only_slows_it_down_warns_and_names_the_remedy() {
        type Spoil = fn(&mut Host);
        let cases: [(Spoil, &str, &str); 11] = [
            (|host| host.release = "unknown".to_owned(), "kernel", "6.1"),
            (|host| host.processor_flags = Some(": fpu cx16".to_owned()), "processor", "host-passthrough"),
            (|host| host.max_locked = Limit(Some(8 << 20)), "locked memory", "LimitMEMLOCK=64M"),
            (|host| host.max_files = Limit(Some(1024)), "open files", "LimitNOFILE="),
            (|host| host.huge_pages = Some("always madvise [never]".to_owned()), "huge pages", "/enabled"),
            (
                |host| host.shared_huge_pages = Some("always [never]".to_owned()),
                "kept pages",
                "shmem_enabled",
            ),
            (|host| host.parameters[0].1 = Some("128".to_owned()), "sysctl", "net.core.somaxconn=4096"),
            (|host| host.parameters[2].1 = None, "sysctl", "on the host"),
            (|host| host.clock_source = Some("hpet".to_owned()), "clock", "clocksource=tsc"),
            (|host| host.governor = Some("powersave".to_owned()), "cpu frequency", "-g performance"),
            (|host| host.balances_interrupts = true, "interrupts", "stop irqbalance"),
        ];
        for (spoil, wanted, words) in cases {
            let (check, level, remedy) = one_bad(spoil);
            assert_eq!((check, level), (wanted, Level::Warn));
            assert!(remedy.contains(words), "{wanted}: {remedy}");
        }
    }

    #[test]
    fn what_a_virtual_machine_does_not_show_is_no_fault() {
        let hide = |host: &mut Host| {
            host.processor_flags = None;
            (host.governor, host.clock_source, host.isolated_cores, host.shared_huge_pages) =
                (None, None, None, None);
        };
        assert!(bad(hide).is_empty());
    }

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(version("6.10.3"), Some((6, 10)));
        assert!(version("6.10.3").unwrap() > version("6.9-rc1").unwrap());
        assert_eq!((version("6"), version("")), (None, None));
    }
}
