//! What the settings name on this host: addresses, directories, peers, secrets, memory.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use socket2::{Domain, Protocol, Socket, Type};

use super::finding::{Check, Finding};
use super::host::parameter;
use crate::bucket::table::BYTES_PER_LINE;
use crate::config::{ClusterConfig, Config, PeerConfig};
use crate::data_plane::{ListenAddr, connections_of_core, places_for};
use crate::files::is_open_to_others;
use crate::ring::{Ring, RingConfig};
use crate::server::agent::secrets::{secrets, unusable};

/// A snapshot is written beside the one that it replaces.
const SNAPSHOTS_ON_DISK: u64 = 2;
/// What the unit of `systemd/` makes at each start (`RuntimeDirectory=`, `StateDirectory=`).
const MADE_BY_THE_UNIT: [&str; 2] = ["/run/openclaw-rating", "/var/lib/openclaw-rating"];

/// All that can be said of the settings on this host.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let socket = config.admin.socket.as_deref();
    let is_running = socket.is_some_and(|socket| UnixStream::connect(socket).is_ok());
    let state = config.state.as_ref().map(|state| state.directory.as_path());
    let mut findings = vec![connections(config), memory(config)];
    findings.extend(config.server.listen.iter().map(|address| match address {
        ListenAddr::Tcp(tcp) => tcp_address("[server] listen", *tcp, is_running),
        ListenAddr::Unix(path) => socket_path("[server] listen", path, None),
    }));
    findings.extend(config.admin.socket.as_deref().map(|path| socket_path("[admin] socket", path, state)));
    findings.extend(config.admin.listen.map(|tcp| tcp_address("[admin] listen", tcp, is_running)));
    if let Some(cluster) = &config.cluster {
        findings.push(address("[cluster] listen", cluster.listen, bind_udp(cluster.listen), is_running));
        findings.extend(cluster.peers.iter().map(|peer| route(cluster, peer)));
    }
    findings.extend(ports(config));
    let snapshots = table_bytes(config) * SNAPSHOTS_ON_DISK;
    findings.extend(state.map(|path| directory(path, snapshots)));
    findings.extend(secret_files(config).iter().filter_map(|path| secret_file(path)));
    findings.extend(config.warnings().into_iter().chain(config.agent.iter().flat_map(unusable)).map(warned));
    findings
}

fn connections(config: &Config) -> Finding {
    let meaning = "each data thread has a ring with a place for each of its connections";
    let check = Check { name: "connections", meaning };
    let threads = config.server.threads;
    let each = connections_of_core(config.server.connections(), threads);
    match Ring::new(RingConfig::of_connections(places_for(each), threads)) {
        Ok(_) => check.ok(format!("up to {each} on each of {threads} threads")),
        Err(error) => check.fail(format!("a ring for {each} cannot be made"), error.to_string()),
    }
}

fn table_bytes(config: &Config) -> u64 {
    (config.table.lines * BYTES_PER_LINE) as u64
}

fn memory(config: &Config) -> Finding {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limit = group_limit(&text("/proc/self/cgroup"), text);
    judge_memory(table_bytes(config), available_memory(&text("/proc/meminfo")), limit)
}

fn judge_memory(needed: u64, available: Option<u64>, limit: Option<u64>) -> Finding {
    let check = Check { name: "memory", meaning: "the whole table is taken at the start" };
    let found = format!("the table takes {} MiB", needed.div_ceil(1 << 20));
    let too_little = |memory: Option<u64>| memory.filter(|bytes| *bytes < needed).map(|bytes| bytes >> 20);
    if let Some(limit) = too_little(limit) {
        let found = format!("{found}, and the control group of this shell may have {limit} MiB");
        return check.warn(
            found,
            "lower [table] capacity, or raise the limit (MemoryMax= of the unit, limits.memory of the pod)",
        );
    }
    match too_little(available) {
        Some(available) => {
            let found = format!("{found}, and {available} MiB are free");
            check.warn(found, "lower [table] capacity, or end what else takes memory")
        }
        None => check.ok(found),
    }
}

/// The least limit of memory of the control group and of those above it (cgroup v2); `text` reads a file, where it is.
fn group_limit(groups: &str, text: impl Fn(&str) -> String) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let limit = |group: &Path| {
        let group = group.strip_prefix("/").unwrap_or(group);
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        text(file.to_str()?).trim().parse().ok()
    };
    Path::new(own).ancestors().filter_map(limit).min()
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn tcp_address(setting: &str, at: SocketAddr, is_running: bool) -> Finding {
    address(setting, at, bind_tcp(at), is_running)
}

/// Binds as the server does, and lets go again. Nobody can connect meanwhile, since it does not listen.
fn bind_tcp(at: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())
}

fn bind_udp(at: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(at).map(drop)
}

fn address(setting: &str, at: SocketAddr, bound: io::Result<()>, is_running: bool) -> Finding {
    let check = Check { name: "address", meaning: "where it cannot listen nobody is heard" };
    let Err(error) = bound else { return check.ok(format!("{setting} {at} is free")) };
    let found = format!("{setting} {at}: {error}");
    match error.kind() {
        ErrorKind::AddrInUse if is_running => check.ok(format!("{setting} {at} is in use, as is the server")),
        ErrorKind::AddrInUse => check.warn(
            format!("{setting} {at} is in use"),
            format!(
                "nothing when this server or its socket unit has it; else end what `ss -anp` shows for {}",
                at.port()
            ),
        ),
        ErrorKind::PermissionDenied => {
            check.fail(found, "a port below 1024 needs AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit")
        }
        ErrorKind::AddrNotAvailable => {
            check.fail(found, "give an interface this address, or name one that `ip address` shows")
        }
        _ => check.fail(found, "name an address of this host"),
    }
}

/// A socket in the state directory is as that is: the server makes it first.
fn socket_path(setting: &str, path: &Path, state: Option<&Path>) -> Finding {
    let meaning = "the socket is made there at the start, and one that a dead server left is replaced";
    let check = Check { name: "socket", meaning };
    let found = format!("{setting} {}", path.display());
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return check.fail(format!("{found}: something is there that is no socket"), "move it away");
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match access(parent, Access::WRITE_OK | Access::EXEC_OK) {
        Err(_) if state == Some(parent) => check.ok(found),
        Err(_) if is_left_to_the_unit(parent, parent.exists()) => made_by_the_unit(check, &found, parent),
        Ok(()) => check.ok(found),
        Err(error) => check.fail(
            format!("{found}: {}: {error}", parent.display()),
            "make the directory and give it to the user of the service (RuntimeDirectory= does both)",
        ),
    }
}

/// Whether `directory` lacks only because the unit has not been started since it was installed, or stopped.
fn is_left_to_the_unit(directory: &Path, exists: bool) -> bool {
    !exists && MADE_BY_THE_UNIT.iter().any(|made| directory == Path::new(made))
}

fn made_by_the_unit(check: Check, found: &str, directory: &Path) -> Finding {
    check.warn(
        format!("{found}: {} is not there yet", directory.display()),
        "nothing where the unit starts the server, since it makes the directory; else make it, and give it \
         to the user of the server",
    )
}

/// A datagram socket that is connected has sent nothing; the kernel has only looked for a way.
fn route(cluster: &ClusterConfig, peer: &PeerConfig) -> Finding {
    let from = SocketAddr::new(cluster.listen.ip(), 0);
    judge_route(peer, UdpSocket::bind(from).and_then(|socket| socket.connect(peer.address)))
}

fn judge_route(peer: &PeerConfig, found: io::Result<()>) -> Finding {
    let meaning = "nodes that cannot be heard are absent, and this one keeps to its share";
    let check = Check { name: "peer", meaning };
    let PeerConfig { name, address, .. } = peer;
    match found {
        Ok(()) => check.ok(format!("there is a way to {name} at {address}")),
        Err(error) => check.warn(
            format!("there is no way to {name} at {address}: {error}"),
            format!("see `ip route get {}`, and that [cluster] listen is of the same family", address.ip()),
        ),
    }
}

/// Ports that a client's connection on this host could have got just when the server starts.
fn ports(config: &Config) -> Option<Finding> {
    let tcp = config.server.listen.iter().filter_map(|address| match address {
        ListenAddr::Tcp(tcp) => Some(tcp.port()),
        ListenAddr::Unix(_) => None,
    });
    let others = config.admin.listen.into_iter().chain(config.cluster.iter().map(|cluster| cluster.listen));
    let ports: Vec<u16> = tcp.chain(others.map(|address| address.port())).collect();
    let range = parameter("net.ipv4.ip_local_port_range")?;
    let reserved = parameter("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    Some(judge_ports(&ports, &range, &reserved))
}

fn judge_ports(ports: &[u16], range: &str, reserved: &str) -> Finding {
    let meaning = "any connection from this host may get such a port just before the server starts";
    let check = Check { name: "ports", meaning };
    let numbers: Vec<u16> = range.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let is_given_away = |port: &u16| match numbers[..] {
        [first, last] => (first..=last).contains(port) && !is_reserved(*port, reserved),
        _ => false,
    };
    let exposed: Vec<String> = ports.iter().filter(|port| is_given_away(port)).map(u16::to_string).collect();
    if exposed.is_empty() {
        return check.ok("none of the server's is given to clients of this host");
    }
    let list = exposed.join(",");
    let before = if reserved.is_empty() { String::new() } else { format!("{reserved},") };
    check.warn(
        format!("{list} may be given to clients of this host"),
        format!("sysctl -w net.ipv4.ip_local_reserved_ports={before}{list}"),
    )
}

/// Whether `port` is in a list like `8080,9000-9010`.
fn is_reserved(port: u16, list: &str) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = (first.parse::<u16>(), last.parse::<u16>());
        matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

fn directory(path: &Path, needed: u64) -> Finding {
    let there = path.ancestors().find(|at| at.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let written = if there.is_dir() {
        access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
    } else {
        Err(ErrorKind::NotADirectory.into())
    };
    let free = statvfs(there).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    judge_directory(path, there, written, free, needed)
}

fn judge_directory(
    path: &Path,
    there: &Path,
    written: io::Result<()>,
    free: Option<u64>,
    needed: u64,
) -> Finding {
    let check = Check { name: "state", meaning: "without it a restart begins with full buckets" };
    let found = format!("[state] directory {}", path.display());
    if let Err(error) = written {
        if is_left_to_the_unit(path, there == path) {
            return made_by_the_unit(check, &found, path);
        }
        return check.fail(
            format!("{found}: {}: {error}", there.display()),
            "give it to the user of the service, as StateDirectory= does, or name another",
        );
    }
    match free {
        Some(free) if free < needed => check.warn(
            format!("{found}: {} MiB are free on its disk", free >> 20),
            format!("make room: two snapshots of a full table take {} MiB", needed >> 20),
        ),
        _ if there != path => check.ok(format!("{found} is not there, and can be made")),
        _ => check.ok(found),
    }
}

/// The files of all secrets that are named. One of the cluster that others may open is among the warnings.
fn secret_files(config: &Config) -> Vec<PathBuf> {
    let admin = &config.admin;
    let tokens = [&admin.token, &admin.witness_token, &admin.alertmanager_token].into_iter().flatten();
    let of_agent = config.agent.iter().flat_map(secrets);
    let named = tokens.chain(&admin.pagerduty_secrets).chain(of_agent);
    let mut paths: Vec<PathBuf> = named.filter_map(|secret| secret.path().ok()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// `None` for one that is not there: that is a warning of its own.
fn secret_file(path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    Some(judge_mode(path, mode))
}

fn judge_mode(path: &Path, mode: u32) -> Finding {
    let check = Check { name: "secret", meaning: "who reads it can do what the server can" };
    let path = path.display();
    if !is_open_to_others(mode) {
        return check.ok(format!("{path} is closed to other users"));
    }
    check.warn(format!("every user of this host may open {path}"), format!("chmod o= {path}"))
}

fn warned(what: String) -> Finding {
    let check = Check { name: "settings", meaning: "the server starts with it, and says it in its log" };
    check.warn(what, "as it says; then `openclaw-rating check-config`")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::replica::NodeId;

    fn refused(kind: ErrorKind, is_running: bool) -> Level {
        let at = SocketAddr::from(([127, 0, 0, 1], 8080));
        address("[server] listen", at, Err(kind.into()), is_running).level
    }

    #[test]
    fn an_address_that_the_running_server_has_is_well_and_one_of_others_is_not() {
        assert_eq!(refused(ErrorKind::AddrInUse, true), Level::Ok);
        assert_eq!(refused(ErrorKind::AddrInUse, false), Level::Warn);
        for kind in [ErrorKind::PermissionDenied, ErrorKind::AddrNotAvailable, ErrorKind::Unsupported] {
            assert_eq!(refused(kind, true), Level::Fail);
        }
    }

    #[test]
    fn an_address_is_free_again_after_the_look() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        assert_eq!(bind_udp(at).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(taken);
        for _ in 0..2 {
            bind_udp(at).unwrap();
            bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        }
    }

    #[test]
    fn ports_that_clients_may_get_are_to_be_reserved_beside_what_is() {
        let level = |reserved| judge_ports(&[80, 8080, 9096], "1024\t65535", reserved).level;
        assert_eq!(level("8000-8100,9096"), Level::Ok);
        assert_eq!(level("8080"), Level::Warn);
        let finding = judge_ports(&[80, 8080, 9096], "1024\t65535", "7946,8080");
        assert!(finding.remedy.unwrap().ends_with("=7946,8080,9096"));
        assert_eq!(judge_ports(&[8080], "32768\t60999", "").level, Level::Ok);
    }

    #[test]
    fn a_state_directory_is_one_that_can_be_written_or_made_with_room_for_snapshots() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(directory(parent.path(), 0).level, Level::Ok);
        assert!(directory(&parent.path().join("a/b"), 0).found.ends_with("can be made"));
        assert_eq!(directory(&file, 0).level, Level::Fail);
        assert_eq!(directory(&file.join("below"), 0).level, Level::Fail);
        assert_eq!(directory(parent.path(), u64::MAX).level, Level::Warn);
    }

    #[test]
    fn what_the_unit_makes_at_its_start_is_no_failure_before_it() {
        let made = Path::new("/run/openclaw-rating");
        assert!(is_left_to_the_unit(made, false) && !is_left_to_the_unit(made, true));
        assert!(!is_left_to_the_unit(Path::new("/run/another"), false));
        let state = |path: &str, there: &str| {
            let denied = Err(ErrorKind::PermissionDenied.into());
            judge_directory(Path::new(path), Path::new(there), denied, None, 0)
        };
        let waiting = state("/var/lib/openclaw-rating", "/var/lib");
        assert_eq!(waiting.level, Level::Warn);
        assert!(waiting.found.ends_with("/var/lib/openclaw-rating is not there yet"), "{}", waiting.found);
        assert_eq!(state("/var/lib/openclaw-rating", "/var/lib/openclaw-rating").level, Level::Fail);
        assert_eq!(state("/srv/rating", "/srv").level, Level::Fail);
    }

    #[test]
    fn a_socket_needs_a_directory_and_nothing_else_in_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("check.sock");
        let to_be_made = parent.path().join("none");
        let below = to_be_made.join("check.sock");
        assert_eq!(socket_path("x", &path, None).level, Level::Ok);
        let _left = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(socket_path("x", &path, None).level, Level::Ok);
        assert_eq!(socket_path("x", &below, None).level, Level::Fail);
        assert_eq!(socket_path("x", &below, Some(&to_be_made)).level, Level::Ok);
        fs::write(parent.path().join("file"), "").unwrap();
        assert_eq!(socket_path("x", &parent.path().join("file"), None).level, Level::Fail);
    }

    #[test]
    fn secrets_are_for_their_owner_and_group() {
        let level = |mode| judge_mode(Path::new("token"), mode).level;
        assert_eq!([0o100_600, 0o100_640, 0o100_644].map(level), [Level::Ok, Level::Ok, Level::Warn]);
    }

    #[test]
    fn a_peer_without_a_way_to_it_is_a_warning() {
        let peer = PeerConfig {
            id: NodeId::new(2).unwrap(),
            name: "us-1".to_owned(),
            address: SocketAddr::from(([192, 0, 2, 1], 7946)),
            region: None,
        };
        assert_eq!(judge_route(&peer, Ok(())).level, Level::Ok);
        let finding = judge_route(&peer, Err(ErrorKind::NetworkUnreachable.into()));
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.found.contains("us-1") && finding.remedy.unwrap().contains("192.0.2.1"));
    }

    #[test]
    fn a_table_that_does_not_fit_is_told_before_the_kernel_ends_the_server() {
        let meminfo = "MemTotal:  999 kB\nMemAvailable:     2048 kB\n";
        assert_eq!(available_memory(meminfo), Some(2 << 20));
        assert_eq!(judge_memory(3 << 20, available_memory(meminfo), None).level, Level::Warn);
        assert_eq!(judge_memory(2 << 20, available_memory(meminfo), Some(2 << 20)).level, Level::Ok);
        assert_eq!(judge_memory(3 << 20, available_memory(""), None).level, Level::Ok);
        let limited = judge_memory(2 << 20, available_memory(meminfo), Some(1 << 20));
        assert!(limited.level == Level::Warn && limited.remedy.unwrap().contains("MemoryMax="));
    }

    #[test]
    fn the_limit_of_memory_is_the_least_of_all_groups_above() {
        let text = |path: &str| match path {
            "/sys/fs/cgroup/a.slice/b.service/memory.max" => "max\n".to_owned(),
            "/sys/fs/cgroup/a.slice/memory.max" => "4096\n".to_owned(),
            "/sys/fs/cgroup/memory.max" => "8192\n".to_owned(),
            _ => String::new(),
        };
        assert_eq!(group_limit("1:cpu:/\n0::/a.slice/b.service\n", text), Some(4096));
        assert_eq!(group_limit("0::/\n", text), Some(8192));
        assert_eq!(group_limit("4:memory:/a.slice\n", text), None);
    }
}
