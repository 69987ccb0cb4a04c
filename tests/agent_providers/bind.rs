//! RFC 2136 against real BIND: a primary with a TSIG key, and a secondary that follows it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openclaw_rating::agent::secret::SecretSource;
use openclaw_rating::agent::traffic::{
    PublicView, Rfc2136, TrafficError, TrafficProvider, TsigKey, Visibility, Written,
};
use openclaw_rating::agent::types::RecordState;
use tempfile::TempDir;

use crate::common::dns::start_named;
use crate::common::ports::{free_port, hold_port};
use crate::common::support::{assert_says, is_there, record, secret, until};

const NAME: &str = "www.example.com";
const KEY: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgYnl0ZXM=";
const OTHER_KEY: &str = "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3RzLi4uLi4=";

/// One BIND at a time: two cores run them all.
static ONE: Mutex<()> = Mutex::new(());

/// A BIND with a directory of its own; killed when dropped.
struct Named {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Zone {
    primary: Named,
    secondary: Named,
    secrets: TempDir,
    _one: MutexGuard<'static, ()>,
}

fn named(port: u16, zone: &str) -> Named {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let config = format!(
        r#"options {{
            directory "{path}"; managed-keys-directory "{path}"; session-keyfile "{path}/session.key";
            pid-file none;
            listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
            recursion no; dnssec-validation no; notify-delay 0; allow-query {{ any; }};
        }};
        controls {{ }};
        key "failover" {{ algorithm hmac-sha256; secret "{KEY}"; }};
        zone "example.com" {{ {zone} }};"#
    );
    std::fs::write(directory.path().join("named.conf"), config).unwrap();
    std::fs::write(
        directory.path().join("example.com.zone"),
        "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n\
         www6 AAAA 2001:db8::1\nwww6 AAAA 2001:db8::2\napi CNAME east\nguarded A 192.0.2.1\n",
    )
    .unwrap();
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let child = start_named(directory.path(), log.into());
    let named = Named { child, port, _directory: directory };
    let log = named._directory.path().join("log");
    until("BIND", || dig(port, NAME, "A") == ["192.0.2.1"] || fail_if_ended(&log));
    named
}

fn fail_if_ended(log: &Path) -> bool {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(!text.contains("exiting (due to"), "{text}");
    false
}

/// What `dig` shows, sorted.
fn dig(port: u16, name: &str, kind: &str) -> Vec<String> {
    let port = port.to_string();
    let arguments = ["+short", "+norecurse", "+time=1", "+tries=1", "@127.0.0.1", "-p", &port, name, kind];
    let output = Command::new("dig").args(arguments).output().unwrap();
    let mut lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with(';'));
    lines.sort();
    lines
}

/// Primary and secondary, or nothing when BIND is not installed.
fn zone() -> Option<Zone> {
    if !is_there("named") || !is_there("dig") {
        return None;
    }
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (port, other_port) = (free_port(), free_port());
    let primary = named(
        port,
        &format!(
            r#"type primary; file "example.com.zone";
            notify explicit; also-notify {{ 127.0.0.1 port {other_port}; }};
            update-policy {{ grant failover name www.example.com. A;
                             grant failover name www6.example.com. AAAA;
                             grant failover name api.example.com. CNAME; }};"#
        ),
    );
    let secondary = named(
        other_port,
        &format!(
            r#"type secondary; file "copy.zone"; masterfile-format text;
               primaries port {port} {{ 127.0.0.1; }}; allow-notify {{ 127.0.0.1; }};"#
        ),
    );
    Some(Zone { primary, secondary, secrets: tempfile::tempdir().unwrap(), _one: one })
}

impl Zone {
    fn provider(&self) -> Rfc2136 {
        let servers = [self.primary.port, self.secondary.port].map(|port| format!("127.0.0.1:{port}"));
        self.provider_at(self.primary.port, self.key(KEY), servers.to_vec())
    }

    fn key(&self, text: &str) -> SecretSource {
        secret(&self.secrets, "tsig", text)
    }

    fn provider_at(&self, port: u16, key: SecretSource, servers: Vec<String>) -> Rfc2136 {
        Rfc2136 {
            server: format!("127.0.0.1:{port}"),
            zone: "example.com".to_owned(),
            name: NAME.to_owned(),
            kind: "A".to_owned(),
            key: TsigKey { name: "failover".to_owned(), algorithm: "hmac-sha256".to_owned(), secret: key },
            timeout: Duration::from_secs(2),
            view: PublicView { servers, timeout: Duration::from_secs(2) },
        }
    }
}

fn of_kind(kind: &str, name: &str, values: &[&str]) -> RecordState {
    RecordState { kind: kind.to_owned(), ..record(name, values) }
}

#[test]
fn a_record_moves_and_all_servers_of_the_zone_show_it() {
    let Some(zone) = zone() else { return };
    let mut provider = zone.provider();
    let (before, after) = (record(NAME, &["192.0.2.1"]), record(NAME, &["198.51.100.1", "198.51.100.2"]));
    assert_eq!(provider.read().unwrap(), before);
    assert_eq!(provider.visible(&before).unwrap(), Visibility::Shown);
    assert!(
        matches!(provider.visible(&after).unwrap(), Visibility::Pending(why) if why.contains("192.0.2.1"))
    );
    assert_eq!(provider.write(&before, &after).unwrap(), Written::Changed);
    assert_eq!(dig(zone.primary.port, NAME, "A"), ["198.51.100.1", "198.51.100.2"]);
    until("the secondary", || provider.visible(&after).unwrap() == Visibility::Shown);
    assert_eq!(dig(zone.secondary.port, NAME, "A"), ["198.51.100.1", "198.51.100.2"]);
    assert_eq!(provider.write(&before, &after).unwrap(), Written::AlreadyThere);
    let plan = provider.plan(&before, &after).join("\n");
    assert_says(
        &plan,
        &["UPDATE zone example.com", "exactly 192.0.2.1", "replace it by 198.51.100.1, 198.51.100.2"],
    );
    assert!(!plan.contains(KEY) && !format!("{provider:?}").contains(KEY));
}

#[test]
fn other_types_move_too() {
    let Some(zone) = zone() else { return };
    let mut provider = zone.provider();
    (provider.name, provider.kind) = ("www6.example.com".to_owned(), "AAAA".to_owned());
    let before = of_kind("AAAA", "www6.example.com", &["2001:db8::1", "2001:db8::2"]);
    provider.write(&before, &of_kind("AAAA", "www6.example.com", &["2001:db8::3"])).unwrap();
    assert_eq!(dig(zone.primary.port, "www6.example.com", "AAAA"), ["2001:db8::3"]);
    (provider.name, provider.kind) = ("api.example.com".to_owned(), "CNAME".to_owned());
    let (before, after) = (
        of_kind("CNAME", "api.example.com", &["east.example.com"]),
        of_kind("CNAME", "api.example.com", &["west.example.com."]),
    );
    provider.write(&before, &after).unwrap();
    assert_eq!(dig(zone.primary.port, "api.example.com", "CNAME"), ["west.example.com."]);
}

#[test]
fn the_server_itself_refuses_an_update_of_what_is_not_as_expected() {
    let Some(zone) = zone() else { return };
    let mut provider = zone.provider();
    for expected in [&["203.0.113.9"][..], &["192.0.2.1", "203.0.113.9"]] {
        // Past the comparison on this side, as if someone had got in between.
        let error = provider.put(&record(NAME, expected), &record(NAME, &["198.51.100.1"])).unwrap_err();
        assert!(
            matches!(&error, TrafficError::Conflict { found, .. } if found.values == ["192.0.2.1"]),
            "{error}"
        );
    }
    let error =
        provider.write(&record(NAME, &["203.0.113.9"]), &record(NAME, &["198.51.100.1"])).unwrap_err();
    assert_says(&error.to_string(), &["192.0.2.1 instead of 203.0.113.9", "left alone"]);
    assert_eq!(dig(zone.primary.port, NAME, "A"), ["192.0.2.1"]);
}

#[test]
fn what_bind_refuses_says_what_to_do() {
    let Some(zone) = zone() else { return };
    let mut provider = zone.provider();
    provider.key.secret = zone.key(OTHER_KEY);
    assert_says(&provider.read().unwrap_err().to_string(), &["TSIG", "copy it again"]);
    provider.key.secret = zone.key("not base64!");
    assert_says(&provider.read().unwrap_err().to_string(), &["not base64", "[agent]"]);
    provider.key.secret = zone.key(KEY);
    provider.key.name = "another".to_owned();
    assert_says(&provider.read().unwrap_err().to_string(), &["TSIG", "key's name"]);
    provider.key.name = "failover".to_owned();
    provider.key.algorithm = "hmac-md5".to_owned();
    assert_says(&provider.read().unwrap_err().to_string(), &["hmac-md5", "hmac-sha256"]);
    provider.key.algorithm = "hmac-sha256".to_owned();

    provider.name = "guarded.example.com".to_owned();
    let guarded = |value| record("guarded.example.com", &[value]);
    let error = provider.write(&guarded("192.0.2.1"), &guarded("192.0.2.2")).unwrap_err();
    assert_says(&error.to_string(), &["REFUSED", "update-policy"]);
    assert!(!error.may_have_happened());
    provider.name = "missing.example.com".to_owned();
    assert_says(&provider.read().unwrap_err().to_string(), &["no A record missing", "Create it once"]);
    provider.name = "www.example.org".to_owned();
    assert_says(&provider.read().unwrap_err().to_string(), &["DNS server 127.0.0.1"]);
    provider.name = "a..b".to_owned();
    assert_says(&provider.read().unwrap_err().to_string(), &["not a domain name"]);
    provider.name = NAME.to_owned();
    provider.zone = "example.org".to_owned();
    let error = provider.put(&record(NAME, &["192.0.2.1"]), &record(NAME, &["192.0.2.2"])).unwrap_err();
    assert_says(&error.to_string(), &["NOT", "primary"]);
    provider.zone = "example.com".to_owned();
    let wrong_value = provider.put(&record(NAME, &["192.0.2.1"]), &record(NAME, &["elsewhere"])).unwrap_err();
    assert_says(&wrong_value.to_string(), &["`elsewhere` is not the value"]);
}

#[test]
fn a_secondary_does_not_take_updates() {
    let Some(zone) = zone() else { return };
    let mut provider = zone.provider_at(zone.secondary.port, zone.key(KEY), vec![]);
    let error = provider.write(&record(NAME, &["192.0.2.1"]), &record(NAME, &["192.0.2.2"])).unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    assert_says(&error.to_string(), &["DNS server 127.0.0.1"]);
}

/// Passes TCP on to `port`, but swallows the answer on one connection, counted from 0.
fn relay(port: u16, deaf: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay_port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming().take(8) {
            let (mut client, number) = (client.unwrap(), count.fetch_add(1, Ordering::SeqCst));
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut buffer = [0; 4096];
            let length = client.read(&mut buffer).unwrap();
            server.write_all(&buffer[..length]).unwrap();
            let length = server.read(&mut buffer).unwrap();
            if number != deaf {
                client.write_all(&buffer[..length]).unwrap();
            }
            let _ = client.shutdown(Shutdown::Both);
        }
    });
    relay_port
}

#[test]
fn an_update_whose_answer_was_lost_is_seen_and_not_repeated() {
    let Some(zone) = zone() else { return };
    // Read, update (unanswered), read.
    let port = relay(zone.primary.port, 1);
    let mut provider = zone.provider_at(port, zone.key(KEY), vec![]);
    let (before, after) = (record(NAME, &["192.0.2.1"]), record(NAME, &["198.51.100.1"]));
    assert_eq!(provider.write(&before, &after).unwrap(), Written::Changed);
    // Read, update (answered), read (unanswered).
    let mut provider = zone.provider_at(relay(zone.primary.port, 2), zone.key(KEY), vec![]);
    let error = provider.write(&after, &before).unwrap_err();
    assert!(matches!(error, TrafficError::Unknown(_)), "{error}");
    assert_says(&error.to_string(), &["nobody knows yet", "dig"]);
}

/// Answers every TCP question by `answer`.
fn impostor(answer: fn(Vec<u8>) -> Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let mut prefix = [0; 2];
            stream.read_exact(&mut prefix).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(prefix))];
            stream.read_exact(&mut question).unwrap();
            let answer = answer(question);
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            let _ = stream.write_all(&[&length[..], &answer].concat());
        }
    });
    port
}

#[test]
fn an_answer_that_is_not_signed_is_not_believed() {
    let secrets = tempfile::tempdir().unwrap();
    let unsigned = impostor(|mut message| {
        message[2] |= 0x80;
        // Without the signature: no additional records.
        message[10..12].fill(0);
        message
    });
    let foreign = impostor(|mut message| {
        message[0] ^= 1;
        message
    });
    for (port, says) in [(unsigned, "not signed"), (foreign, "not the answer to what was asked")] {
        let mut provider = lonely(&secrets, port);
        let error = provider.put(&record(NAME, &["192.0.2.1"]), &record(NAME, &["192.0.2.2"])).unwrap_err();
        assert!(error.may_have_happened());
        assert_says(&error.to_string(), &[says]);
    }
}

/// A provider for a server that is not BIND.
fn lonely(secrets: &TempDir, port: u16) -> Rfc2136 {
    Rfc2136 {
        server: format!("127.0.0.1:{port}"),
        zone: "example.com".to_owned(),
        name: NAME.to_owned(),
        kind: "A".to_owned(),
        key: TsigKey {
            name: "failover".to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            secret: secret(secrets, "tsig", KEY),
        },
        timeout: Duration::from_millis(300),
        view: PublicView { servers: vec![format!("127.0.0.1:{port}")], timeout: Duration::from_millis(300) },
    }
}

#[test]
fn a_server_that_is_silent_or_gone_is_given_up_in_time() {
    let secrets = tempfile::tempdir().unwrap();
    // Not one that the kernel gives away: a test beside this one would get it as soon as it is free.
    let (listener, _) = hold_port();
    let port = listener.local_addr().unwrap().port();
    let start = Instant::now();
    let silent = lonely(&secrets, port).read().unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(silent.may_have_happened());
    assert_says(&silent.to_string(), &["no answer in time", "`dig`"]);
    drop(listener);
    let gone = lonely(&secrets, port).read().unwrap_err();
    assert!(!gone.may_have_happened());
    assert_says(&gone.to_string(), &["not reached", "firewalls"]);
    let unseen = lonely(&secrets, port).visible(&record(NAME, &["192.0.2.1"])).unwrap_err();
    assert_says(&unseen.to_string(), &["not reached"]);
}

#[test]
fn an_answer_too_long_for_udp_is_asked_for_over_tcp_and_strangers_are_passed_over() {
    let Some(zone) = zone() else { return };
    let (listener, udp) = hold_port();
    let address = udp.local_addr().unwrap();
    let port = zone.primary.port;
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = udp.recv_from(&mut buffer).unwrap();
        let mut stray = buffer;
        stray[1] ^= 1;
        stray[2] |= 0x80;
        udp.send_to(&stray[..length], from).unwrap();
        // QR and TC.
        buffer[2] |= 0x82;
        udp.send_to(&buffer[..length], from).unwrap();
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let length = client.read(&mut buffer).unwrap();
        server.write_all(&buffer[..length]).unwrap();
        let mut answer = [0; 4096];
        let length = server.read(&mut answer).unwrap();
        client.write_all(&answer[..length]).unwrap();
    });
    let view = PublicView { servers: vec![address.to_string()], timeout: Duration::from_secs(2) };
    assert_eq!(view.look(&record(NAME, &["192.0.2.1"])).unwrap(), Visibility::Shown);
}

#[test]
fn a_dead_server_does_not_hide_what_the_others_show() {
    let Some(zone) = zone() else { return };
    let servers = vec!["127.0.0.1:1".to_owned(), format!("127.0.0.1:{}", zone.primary.port)];
    let view = PublicView { servers, timeout: Duration::from_millis(500) };
    assert_eq!(view.look(&record(NAME, &["192.0.2.1"])).unwrap(), Visibility::Shown);
    assert!(matches!(view.look(&record(NAME, &["192.0.2.9"])).unwrap(), Visibility::Pending(_)));
}
