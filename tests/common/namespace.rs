//! Hosts of a test's own: network namespaces joined by virtual cables that can be pulled.
//!
//! Addresses exist inside of them only. Names are unique by process, and all is removed on drop.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host: whatever runs [`inside`](Self::inside) of it has its network alone.
pub(crate) struct Namespace {
    name: String,
    cables: AtomicU32,
}

/// Whether there can be namespaces, or why a test is skipped.
pub(crate) fn can_be_made() -> bool {
    let name = unused_name();
    let tried = Command::new("ip").args(["netns", "add", &name]).output();
    let why = match tried {
        Ok(output) if output.status.success() => {
            ip(&["netns", "delete", &name]);
            return true;
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("ip (Debian package iproute2): {error}"),
    };
    let required = std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_some();
    assert!(!required, "network namespaces cannot be made: {why}");
    eprintln!("skipped: network namespaces cannot be made, which takes root: {why}");
    false
}

/// A name that no other namespace of this process has, nor one of another process.
fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("ocr{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", arguments.join(" "));
}

impl Namespace {
    /// A host with a loopback interface.
    pub(crate) fn create() -> Self {
        let name = unused_name();
        ip(&["netns", "add", &name]);
        let namespace = Self { name, cables: AtomicU32::new(0) };
        namespace.up("lo");
        namespace
    }

    /// A cable to another host; the names of the interface here and there. An address is one with the length
    /// of its network, `10.0.0.1/24`.
    pub(crate) fn join(&self, address: &str, other: &Self, other_address: &str) -> (String, String) {
        let (here, there) = self.cable(other);
        self.ip(&["address", "add", address, "dev", &here]);
        other.ip(&["address", "add", other_address, "dev", &there]);
        (here, there)
    }

    fn cable(&self, other: &Self) -> (String, String) {
        let next = |host: &Self| format!("eth{}", host.cables.fetch_add(1, Ordering::Relaxed));
        let (here, there) = (next(self), next(other));
        ip(&[
            "link",
            "add",
            &here,
            "netns",
            &self.name,
            "type",
            "veth",
            "peer",
            "name",
            &there,
            "netns",
            &other.name,
        ]);
        self.up(&here);
        other.up(&there);
        (here, there)
    }

    /// Makes this a switch: all that is plugged into it can hear each other.
    pub(crate) fn into_switch(self) -> Self {
        self.ip(&["link", "add", "switch", "type", "bridge"]);
        self.up("switch");
        self
    }

    /// Plugs a host into this switch; the name of the port here and of the interface there.
    pub(crate) fn plug_in(&self, host: &Self, address: &str) -> (String, String) {
        let (port, interface) = self.cable(host);
        self.ip(&["link", "set", &port, "master", "switch"]);
        host.ip(&["address", "add", address, "dev", &interface]);
        (port, interface)
    }

    /// Pulls a cable: nothing passes, and neither side is told more than that.
    pub(crate) fn down(&self, interface: &str) {
        self.ip(&["link", "set", interface, "down"]);
    }

    /// Puts it back.
    pub(crate) fn up(&self, interface: &str) {
        self.ip(&["link", "set", interface, "up"]);
    }

    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-netns", &self.name], arguments].concat());
    }

    /// Runs a program to its end in here.
    pub(crate) fn exec(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new("ip").args(["netns", "exec", &self.name, program]).args(arguments).output().unwrap()
    }

    /// Does something on a thread that is in here, and so are the processes and sockets it makes.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = self.network();
        let enter = || {
            network.enter();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    /// The way in for a thread of the test's own.
    pub(crate) fn network(&self) -> Network {
        Network(File::open(format!("/run/netns/{}", self.name)).unwrap())
    }
}

/// The network of a host.
pub(crate) struct Network(File);

impl Network {
    /// From here on this thread, and what it starts, is on that host.
    pub(crate) fn enter(&self) {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
