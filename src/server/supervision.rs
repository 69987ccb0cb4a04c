//! What the service manager is told of a running server, and what it keeps for the next one.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::config::{ShutdownConfig, written};
use crate::data_plane::{DataPlane, ListenAddr};
use crate::health::{Health, Reason};
use crate::metrics::core::CoreMetrics;
use crate::service_manager::{Feeding, HandedListener, Message, STORED_LISTENER, ServiceManager};
use crate::time::host_monotonic_ns;

/// How often the data threads are looked at, and the watchdog is fed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the status line is told.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// What the last snapshot may take, after the deadline of open requests.
pub(super) const LAST_SNAPSHOT: Duration = Duration::from_secs(60);
/// Descriptors that are kept beside the sockets.
const KEPT_TABLES: usize = 1;

/// Speaks with the service manager, if there is one.
#[derive(Debug)]
pub(super) struct Supervision {
    manager: ServiceManager,
    feeding: Feeding,
    cores: Vec<Arc<CoreMetrics>>,
    health: Arc<Health>,
    serving: String,
    refused_reload: bool,
    told: Instant,
    checks: u64,
}

impl Supervision {
    pub(super) fn new(manager: ServiceManager, health: Arc<Health>) -> Self {
        Self {
            manager,
            feeding: Feeding::default(),
            cores: Vec::new(),
            health,
            serving: String::new(),
            refused_reload: false,
            told: Instant::now(),
            checks: 0,
        }
    }

    /// Counts checks by these.
    pub(super) fn count_by(&mut self, cores: Vec<Arc<CoreMetrics>>) {
        self.cores = cores;
    }

    /// How often [`Supervision::look`] is to be called.
    pub(super) fn look_interval(&self) -> Duration {
        self.manager.watchdog().map_or(LOOK_INTERVAL, |watchdog| LOOK_INTERVAL.min(watchdog / 4))
    }

    /// All listeners answer; `serving` says what.
    pub(super) fn ready(&mut self, serving: String) {
        self.serving = serving;
        let status = self.status(0.0);
        self.manager.tell(&Message::default().ready().status(&status));
    }

    pub(super) fn reloading(&self) {
        let now = Duration::from_nanos(host_monotonic_ns());
        self.manager.tell(&Message::default().reloading(now).status("reloading"));
    }

    /// A reload has ended; `serving` is what is in force now, `None` when it was refused.
    pub(super) fn reloaded(&mut self, serving: Option<String>) {
        self.refused_reload = serving.is_none();
        let serving = serving.unwrap_or_else(|| std::mem::take(&mut self.serving));
        self.ready(serving);
    }

    pub(super) fn stopping(&self, shutdown: ShutdownConfig) {
        let longest = shutdown.lame_duck + shutdown.deadline + LAST_SNAPSHOT;
        self.tell_stopping(longest, &format!("lame duck for {}", written(shutdown.lame_duck)));
    }

    /// A data thread has ended, and the server stops for that. Nobody feeds the watchdog from now on: a service
    /// manager that is not told would cut off the last snapshot.
    pub(super) fn thread_ended(&self, shutdown: ShutdownConfig) {
        self.health.set(Reason::DeadCore, true);
        self.tell_stopping(shutdown.deadline + LAST_SNAPSHOT, Reason::DeadCore.label());
    }

    fn tell_stopping(&self, longest: Duration, why: &str) {
        let status = format!("stopping: {why}");
        self.manager.tell(&Message::default().stopping().wait_for(longest).status(&status));
    }

    /// Feeds the watchdog while the control plane, which took `looks` looks so far, finds all well, and
    /// tells the status from time to time.
    pub(super) fn look(&mut self, looks: u64) {
        if self.feeding.is_due(looks, self.health.all_turn()) && self.manager.watchdog().is_some() {
            self.manager.tell(&Message::default().alive());
        }
        let since = self.told.elapsed();
        if since >= STATUS_INTERVAL && self.manager.is_there() {
            let before = self.checks;
            self.told = Instant::now();
            self.checks = self.cores.iter().map(|core| core.all_checks()).sum();
            let status = self.status((self.checks - before) as f64 / since.as_secs_f64());
            self.manager.tell(&Message::default().status(&status));
        }
    }

    fn status(&self, per_second: f64) -> String {
        let reasons: Vec<&str> = self.health.reasons().map(|reason| reason.label()).collect();
        let mut notes: Vec<&str> = self.health.warnings().map(|warning| warning.label()).collect();
        if self.refused_reload {
            notes.push("the last reload was refused, the old policies are in force");
        }
        let begin =
            if reasons.is_empty() { String::new() } else { format!("SICK ({}); ", reasons.join(", ")) };
        let end = if notes.is_empty() { String::new() } else { format!("; warning: {}", notes.join(", ")) };
        format!("{begin}serving {}; {} checks, {per_second:.0}/s{end}", self.serving, self.checks)
    }

    pub(super) const fn manager(&self) -> &ServiceManager {
        &self.manager
    }

    /// The sockets to listen on, of those that were handed over. The others are closed, and what this
    /// server had kept itself is forgotten.
    pub(super) fn sockets(
        &self,
        handed: Vec<HandedListener>,
        listen: &[ListenAddr],
    ) -> Vec<(ListenAddr, OwnedFd)> {
        let mut sockets = Vec::with_capacity(handed.len());
        for listener in handed {
            match usable(&listener, listen) {
                Ok(()) => sockets.push((listener.address, listener.socket)),
                Err(why) if listener.is_stored() => {
                    info!("no longer listening on {}: {why}", listener.address);
                    self.manager.forget(&listener.name);
                }
                Err(why) => warn!("{} of {} is not used: {why}", listener.address, listener.name),
            }
        }
        sockets
    }

    /// Has the listening sockets kept for the next process, but for those that were handed over: these are
    /// kept already, so many at each address.
    pub(super) fn keep_sockets(&self, data_plane: &mut DataPlane, mut handed: HashMap<ListenAddr, usize>) {
        if !self.manager.is_there() {
            return;
        }
        let needed = data_plane.sockets().count() + KEPT_TABLES;
        let beyond = beyond_store(needed, self.manager.store());
        beyond.iter().for_each(|warning| warn!("{warning}"));
        let mut all = beyond.is_none();
        for (address, socket) in data_plane.sockets() {
            match handed.get_mut(address) {
                Some(left) if *left > 0 => *left -= 1,
                _ => all &= self.manager.keep(&stored_name(address), socket),
            }
        }
        if all {
            data_plane.outlive();
        }
    }
}

/// How many sockets there are at each address.
pub(super) fn count(sockets: &[(ListenAddr, OwnedFd)]) -> HashMap<ListenAddr, usize> {
    let mut counts = HashMap::new();
    for (address, _) in sockets {
        *counts.entry(address.clone()).or_default() += 1;
    }
    counts
}

/// Said when the service manager drops some of what it is given to keep.
fn beyond_store(needed: usize, store: usize) -> Option<String> {
    (needed > store).then(|| {
        format!(
            "a restart loses the connections that wait in some listening sockets: {needed} descriptors are \
             to be kept, one a thread and address of [server] and the table, and FileDescriptorStoreMax= is \
             {store}; raise it in the unit"
        )
    })
}

fn usable(listener: &HandedListener, listen: &[ListenAddr]) -> Result<(), &'static str> {
    if !listen.contains(&listener.address) {
        return Err("[server] listen does not name it");
    }
    if let ListenAddr::Unix(path) = &listener.address
        && !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
    {
        return Err(
            "its path is gone, so nobody can connect to it; is RuntimeDirectoryPreserve=restart set?",
        );
    }
    Ok(())
}

/// The name under which a socket is kept: printable, without colons, as systemd wants it.
fn stored_name(address: &ListenAddr) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && c != ':' { c } else { '_' };
    format!("{STORED_LISTENER}-{}", address.to_string().chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Warning;
    use std::os::unix::net::UnixDatagram;

    fn supervision() -> Supervision {
        let mut supervision = Supervision::new(ServiceManager::default(), Arc::new(Health::default()));
        supervision.serving = "1 policy on 127.0.0.1:8080".to_owned();
        supervision
    }

    #[test]
    fn the_status_says_what_is_served_and_what_is_wrong() {
        let mut supervision = supervision();
        assert_eq!(supervision.status(2.4), "serving 1 policy on 127.0.0.1:8080; 0 checks, 2/s");
        supervision.health.set(Reason::StalledCore, true);
        supervision.health.warn(Warning::AbsentPeer, true);
        supervision.refused_reload = true;
        let status = supervision.status(0.0);
        assert!(status.starts_with("SICK (a data thread is stalled); serving 1 policy"), "{status}");
        let end = "; warning: a peer cannot be heard, or does not hear this node, the last reload was \
                   refused, the old policies are in force";
        assert!(status.ends_with(end), "{status}");
    }

    #[test]
    fn a_thread_that_ends_is_in_health_and_the_service_manager_waits_for_the_last_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let environment = |name: &str| (name == "NOTIFY_SOCKET").then(|| path.to_str().unwrap().to_owned());
        let manager = ServiceManager::of_environment(environment);
        let supervision = Supervision::new(manager, Arc::new(Health::default()));
        let second = Duration::from_secs(1);
        supervision.thread_ended(ShutdownConfig { lame_duck: 99 * second, deadline: 10 * second });
        let reasons: Vec<Reason> = supervision.health.reasons().collect();
        assert_eq!(reasons, [Reason::DeadCore]);
        let mut bytes = [0; 512];
        let length = heard.recv(&mut bytes).unwrap();
        let said = std::str::from_utf8(&bytes[..length]).unwrap();
        for line in ["STOPPING=1", "EXTEND_TIMEOUT_USEC=70000000", "STATUS=stopping: a data thread has ended"]
        {
            assert!(said.lines().any(|said| said == line), "{said}");
        }
    }

    #[test]
    fn a_reload_that_is_refused_keeps_what_is_served_and_the_next_good_one_clears_the_note() {
        let mut supervision = supervision();
        supervision.reloaded(None);
        assert!(supervision.refused_reload && supervision.serving.contains("1 policy"));
        supervision.reloaded(Some("2 policies".to_owned()));
        assert!(!supervision.refused_reload && supervision.serving == "2 policies");
    }

    #[test]
    fn a_socket_whose_path_is_gone_or_that_is_not_configured_is_not_listened_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("check.sock");
        let address = ListenAddr::Unix(path.clone());
        let handed = |address: &ListenAddr| {
            let socket = std::os::unix::net::UnixListener::bind(directory.path().join("any")).unwrap();
            fs::remove_file(directory.path().join("any")).unwrap();
            HandedListener { name: "listener".to_owned(), address: address.clone(), socket: socket.into() }
        };
        let listen = [address.clone()];
        assert!(usable(&handed(&address), &listen).unwrap_err().contains("path is gone"));
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(usable(&handed(&address), &listen), Ok(()));
        assert!(usable(&handed(&address), &[]).unwrap_err().contains("does not name it"));
    }

    #[test]
    fn more_sockets_than_are_kept_are_warned_of() {
        assert_eq!(beyond_store(1024, 1024), None);
        let warning = beyond_store(1025, 1024).unwrap();
        assert!(warning.contains("1025 descriptors") && warning.contains("FileDescriptorStoreMax= is 1024"));
    }

    #[test]
    fn names_of_kept_sockets_have_no_colon_or_space() {
        let name = stored_name(&ListenAddr::Unix("/run/a b:ü".into()));
        assert!(name.starts_with(STORED_LISTENER) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
    }
}
