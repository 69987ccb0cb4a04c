//! Probes over TLS: whom they trust, and what they say of whom they do not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use openclaw_rating::agent::signals::{Blind, Probe, ProbeUrl, Resolver, Sight, trust};

use crate::common::fake::{Fake, Fault, status, text};
use crate::common::support::assert_says;

/// A look at `https://HOST:PORT/health` by who trusts the authority `pem`, or the built-in ones.
fn look(host: &str, port: u16, pem: Option<&str>, timeout_ms: u64) -> Sight {
    let file = pem.map(|pem| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        file
    });
    let probe = Probe {
        url: ProbeUrl::new(&format!("https://{host}:{port}/health")).unwrap(),
        resolver: Resolver::Host,
        tls: trust(file.as_ref().map(|file| file.path())).unwrap(),
        token: None,
        timeout: Duration::from_millis(timeout_ms),
    };
    probe.look()
}

fn start() -> (Fake, String) {
    Fake::start_tls("127.0.0.1", |asked| text(200, &format!("{} {}", asked.target, asked.header("host"))))
}

fn untrusted(sight: &Sight) -> String {
    let Err(Blind::Untrusted(why)) = &sight.seen else { panic!("{sight}") };
    assert!(!sight.is_good());
    why.clone()
}

#[test]
fn an_answer_over_tls_is_seen_with_how_long_each_part_took() {
    let (fake, pem) = start();
    let port = fake.address.port();
    let sight = look("127.0.0.1", port, Some(&pem), 5000);
    assert_eq!(sight.seen.as_ref().unwrap().body, format!("/health 127.0.0.1:{port}"));
    assert!(sight.is_good() && sight.address == Some(fake.address), "{sight}");
    let timings = sight.timings;
    assert!(timings.tls > Duration::ZERO);
    assert!(timings.resolve + timings.connect + timings.tls < timings.total);
    fake.inject([status(503), Fault::Silent]);
    let sick = look("127.0.0.1", port, Some(&pem), 5000);
    assert!(!sick.is_good() && sick.to_string().starts_with("503 in "), "{sick}");
    let silent = look("127.0.0.1", port, Some(&pem), 300);
    assert_eq!(silent.seen, Err(Blind::Unanswered("not in time".to_owned())));
}

#[test]
fn a_certificate_of_a_stranger_or_for_another_name_is_not_trusted() {
    let (fake, pem) = start();
    let port = fake.address.port();
    assert_says(&untrusted(&look("127.0.0.1", port, None, 5000)), &["invalid peer certificate"]);
    let (_other, other_pem) = start();
    assert_says(
        &untrusted(&look("127.0.0.1", port, Some(&other_pem), 5000)),
        &["invalid peer certificate", "ca_file"],
    );
    assert_says(&untrusted(&look("localhost", port, Some(&pem), 5000)), &["not valid for name"]);
    assert_eq!(fake.asked().len(), 0, "nothing is sent to whom is not trusted");
}

/// Takes one connection, says this, and waits for the other end to go.
fn says(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(words);
        while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
    });
    address
}

#[test]
fn who_does_not_speak_tls_or_says_nothing_is_given_up_in_time() {
    let (_fake, pem) = start();
    let plain = look("127.0.0.1", says(b"HTTP/1.1 400 Bad Request\r\n\r\n").port(), Some(&pem), 5000);
    assert_says(&untrusted(&plain), &["does not speak TLS"]);
    let silent = look("127.0.0.1", says(b"").port(), Some(&pem), 300);
    assert_eq!(untrusted(&silent), "not in time");
    assert!(silent.timings.total < Duration::from_secs(2), "{silent}");
    assert!(silent.timings.tls >= Duration::from_millis(200), "{silent}");
}
