//! A real BIND with a zone of the public record, one of the shadow record, and a TSIG key.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::ports::free_port;
use crate::common::support::{is_there, until};

pub(crate) const NAME: &str = "www.example.com";
/// The shadow record of drills.
pub(crate) const SHADOW: &str = "www.example.net";
pub(crate) const KEY: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgYnl0ZXM=";

/// Killed when dropped.
pub(crate) struct Dns {
    child: Child,
    listens: String,
    pub(crate) port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// BIND with the `named.conf` of a directory.
pub(crate) fn start_named(directory: &Path, log: Stdio) -> Child {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    Command::new("named")
        .env("PATH", path)
        .args(["-g", "-n", "1", "-c"])
        .arg(directory.join("named.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Dns {
    /// Says at the address `listens` that `www.example.com` is at `address`; nothing when BIND is not installed.
    pub(crate) fn start(listens: &str, address: &str) -> Option<Self> {
        if !is_there("named") || !is_there("dig") {
            return None;
        }
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        write_files(directory.path(), (listens, port), address);
        let child = start_named(directory.path(), Stdio::null());
        let dns = Self { child, listens: listens.to_owned(), port, _directory: directory };
        until("BIND", || dns.values() == [address]);
        Some(dns)
    }

    /// `[agent.traffic]` for the public record; `key_file` holds [`KEY`].
    pub(crate) fn traffic_section(&self, key_file: &Path) -> String {
        format!("[agent.traffic]\n{}", self.settings("example.com", key_file))
    }

    /// `[agent.drill]` for the shadow record, tried at `port`.
    pub(crate) fn drill_section(&self, key_file: &Path, port: u16) -> String {
        let url = format!("http://{SHADOW}:{port}/health");
        format!("[agent.drill]\nurl = \"{url}\"\n{}", self.settings("example.net", key_file))
    }

    fn settings(&self, zone: &str, key_file: &Path) -> String {
        let (server, key_file) = (format!("{}:{}", self.listens, self.port), key_file.display());
        format!(
            r#"
            provider = "rfc2136"
            ttl = 1
            server = "{server}"
            servers = ["{server}"]
            zone = "{zone}"
            key_name = "failover"
            key_file = "{key_file}"
            "#
        )
    }

    /// What `dig` shows.
    pub(crate) fn values(&self) -> Vec<String> {
        self.dig(NAME, "A")
    }

    /// The same of the shadow record.
    pub(crate) fn shadow_values(&self) -> Vec<String> {
        self.dig(SHADOW, "A")
    }

    /// The serial number of the public record's zone: one more with each change.
    pub(crate) fn serial(&self) -> u32 {
        self.serial_of("example.com")
    }

    /// The same of the shadow record's zone.
    pub(crate) fn shadow_serial(&self) -> u32 {
        self.serial_of("example.net")
    }

    fn serial_of(&self, zone: &str) -> u32 {
        self.dig(zone, "SOA")[0].split(' ').nth(2).unwrap().parse().unwrap()
    }

    fn dig(&self, name: &str, kind: &str) -> Vec<String> {
        let (server, port) = (format!("@{}", self.listens), self.port.to_string());
        let arguments = ["+short", "+norecurse", "+time=1", "+tries=1", &server, "-p", &port, name, kind];
        let output = Command::new("dig").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
    }
}

fn write_files(directory: &Path, (listens, port): (&str, u16), address: &str) {
    let path = directory.display();
    let config = format!(
        r#"options {{
            directory "{path}"; managed-keys-directory "{path}"; session-keyfile "{path}/session.key";
            pid-file none;
            listen-on port {port} {{ {listens}; }}; listen-on-v6 {{ none; }};
            recursion no; dnssec-validation no; allow-query {{ any; }};
        }};
        controls {{ }};
        key "failover" {{ algorithm hmac-sha256; secret "{KEY}"; }};
        zone "example.com" {{ type primary; file "example.com.zone";
            update-policy {{ grant failover name {NAME}. A; }}; }};
        zone "example.net" {{ type primary; file "example.net.zone";
            update-policy {{ grant failover name {SHADOW}. A; }}; }};"#
    );
    std::fs::write(directory.join("named.conf"), config).unwrap();
    let zone = format!(
        "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A {listens}\nwww A {address}\n"
    );
    for file in ["example.com.zone", "example.net.zone"] {
        std::fs::write(directory.join(file), &zone).unwrap();
    }
}
