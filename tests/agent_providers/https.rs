//! The client: TLS, proxy, limits, and what each failure is taken for.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use openclaw_rating::agent::https::{
    Client, ClientOptions, Effect, Failure, Method, Repeat, Request, RetryPolicy, Service,
};
use openclaw_rating::agent::secret::{Secret, SecretSource};

use crate::common::fake::{Fake, Fault, status, text, too_many};
use crate::common::support::{assert_says, client, options};

static SERVICE: Service = Service {
    name: "Fake",
    credential: "renew the token",
    status_page: None,
    throttle_marks: &["<Throttled>"],
};

fn echo() -> Fake {
    Fake::start(|asked| text(200, &asked.body))
}

fn post(fake: &Fake, repeat: Repeat) -> Request {
    Request::new(Method::Post, fake.url("/echo"), repeat).body("text/plain", "hello".to_owned())
}

#[test]
fn a_request_arrives_as_it_was_made() {
    let fake = echo();
    let response = client().call(&SERVICE, &post(&fake, Repeat::Harmless).header("X-One", "1")).unwrap();
    assert_eq!((response.status(), response.body()), (200, &b"hello"[..]));
    let asked = &fake.asked()[0];
    assert_eq!((asked.line().as_str(), asked.header("x-one")), ("POST /echo", "1"));
    assert_eq!(asked.header("content-type"), "text/plain");
    assert!(asked.header("user-agent").starts_with("openclaw-rating/"));
}

#[test]
fn passing_troubles_are_outlasted() {
    let fake = echo();
    for fault in [status(500), status(503), too_many(0), Fault::CloseAfterwards, Fault::CutShort] {
        fake.inject([fault.clone(), fault]);
        client().call(&SERVICE, &post(&fake, Repeat::Harmless)).unwrap();
    }
    assert_eq!(fake.asked().len(), 15);
}

#[test]
fn retry_after_is_waited_for() {
    let fake = echo();
    fake.inject([too_many(1)]);
    let start = Instant::now();
    client().call(&SERVICE, &post(&fake, Repeat::OnlyIfWithoutEffect)).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    fake.inject([too_many(3600)]);
    let start = Instant::now();
    let error = client().call(&SERVICE, &post(&fake, Repeat::Harmless)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_says(&error.to_string(), &["HTTP 429", "in 3600 s"]);
}

#[test]
fn a_throttled_400_is_taken_for_what_it_is() {
    let fake = echo();
    fake.inject([Fault::Answer(text(400, "<E><Throttled></E>"))]);
    client().call(&SERVICE, &post(&fake, Repeat::OnlyIfWithoutEffect)).unwrap();
    assert_eq!(fake.asked().len(), 2);
}

#[test]
fn what_may_have_been_done_is_not_sent_again() {
    let fake = echo();
    for fault in [Fault::SilentAfterwards, Fault::CloseAfterwards, Fault::CutShort, status(500)] {
        let before = fake.asked().len();
        fake.inject([fault.clone()]);
        let error = client().call(&SERVICE, &post(&fake, Repeat::OnlyIfWithoutEffect)).unwrap_err();
        assert_eq!((fake.asked().len() - before, error.effect()), (1, Effect::Unknown), "{fault:?}");
        assert_says(&error.to_string(), &["look before you repeat it"]);
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let fake = echo();
    fake.inject([Fault::Silent, Fault::Silent, Fault::Silent]);
    let start = Instant::now();
    let error = client().call(&SERVICE, &Request::get(fake.url("/"))).unwrap_err();
    assert_eq!(error.failure(), &Failure::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// Half-open: the connection is made by the kernel, and nobody is behind it.
#[test]
fn a_connection_to_nobody_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let start = Instant::now();
    let error = client().call(&SERVICE, &Request::get(url)).unwrap_err();
    assert_eq!(error.failure(), &Failure::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_refused_connection_had_no_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = client().call(&SERVICE, &Request::get(url)).unwrap_err();
    assert!(matches!(error.failure(), Failure::NotSent(_)), "{error}");
    assert_says(&error.to_string(), &["Nothing was changed", "firewall"]);
}

#[test]
fn an_unknown_host_had_no_effect() {
    let error = client().call(&SERVICE, &Request::get("https://nowhere.invalid/")).unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
}

#[test]
fn an_answer_that_is_too_long_is_not_read() {
    let fake = Fake::start(|_| text(200, &"x".repeat(2000)));
    let client = Client::new(&ClientOptions { max_response_bytes: 1000, ..options() }).unwrap();
    let error = client.call(&SERVICE, &Request::get(fake.url("/"))).unwrap_err();
    assert_says(&error.to_string(), &["longer than 1000 bytes", "base URL"]);
}

#[test]
fn what_is_not_http_is_not_understood() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 100]);
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap();
    });
    let error = client().call(&SERVICE, &Request::get(url)).unwrap_err();
    assert_says(&error.to_string(), &["not HTTP/1.1", "base URL"]);
}

#[test]
fn redirects_are_not_followed_with_credentials() {
    let target = echo();
    let location = target.url("/elsewhere");
    let fake = Fake::start(move |_| {
        let mut answer = text(302, "");
        answer.headers.push(("Location", location.clone()));
        answer
    });
    let request = Request::get(fake.url("/")).bearer(&Secret::new("token"));
    let error = client().call(&SERVICE, &request).unwrap_err();
    assert_says(&error.to_string(), &["302", "base URL redirects"]);
    assert!(target.asked().is_empty());
}

#[test]
fn a_secret_that_the_server_repeats_is_covered() {
    let fake = Fake::start(|asked| text(403, &format!("bad credential: {}", asked.header("authorization"))));
    let request = Request::get(fake.url("/")).bearer(&Secret::new("hunter2"));
    let error = client().call(&SERVICE, &request).unwrap_err();
    assert_says(&error.to_string(), &["bad credential: Bearer [secret]", "renew the token"]);
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_proxy_that_is_kept_in_a_file_is_read_for_each_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy");
    let options = ClientOptions {
        proxy_source: Some(SecretSource::File(file.clone())),
        retry: RetryPolicy::ONCE,
        ..options()
    };
    let client = Client::new(&options).unwrap();
    let call = || client.call(&SERVICE, &Request::get("https://api.example.com/")).unwrap_err();
    let unread = call();
    assert_says(&unread.to_string(), &["proxy is not known", file.to_str().unwrap()]);
    assert_eq!(unread.effect(), Effect::None);
    std::fs::write(&file, "ftp://me:hunter2@nowhere").unwrap();
    let said = call().to_string();
    assert_says(&said, &["does not hold its proxy"]);
    assert!(!said.contains("hunter2"), "{said}");
    let proxy = Fake::start(|_| text(403, "not from here"));
    std::fs::write(&file, format!("http://me:hunter2@{}\n", proxy.address)).unwrap();
    call();
    assert_eq!(proxy.asked()[0].line(), "CONNECT api.example.com:443");
}

#[test]
fn calls_go_through_the_proxy_and_say_when_it_refuses() {
    let proxy = Fake::start(|_| text(403, "not from here"));
    let url = Secret::new(format!("http://me:hunter2@{}", proxy.address));
    let client = Client::new(&ClientOptions { proxy: Some(url), ..options() }).unwrap();
    let error = client.call(&SERVICE, &Request::get("https://api.example.com/")).unwrap_err();
    assert_says(&error.to_string(), &["proxy"]);
    assert!(!format!("{error} {client:?}").contains("hunter2"), "{error} {client:?}");
    let asked = &proxy.asked()[0];
    assert_eq!(asked.line(), "CONNECT api.example.com:443");
    assert!(asked.header("proxy-authorization").starts_with("Basic "));
}

#[test]
fn a_certificate_counts_only_when_its_authority_is_trusted() {
    let (fake, pem) = Fake::start_tls("127.0.0.1", |_| text(200, "hi"));
    let url = format!("https://{}/", fake.address);
    let error = client().call(&SERVICE, &Request::get(url.as_str())).unwrap_err();
    assert!(matches!(error.failure(), Failure::Untrusted(_)), "{error}");
    assert_says(&error.to_string(), &["`ca_file`", "Nothing was changed"]);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let trusting = Client::new(&ClientOptions { ca_file: Some(path), ..options() }).unwrap();
    assert_eq!(trusting.call(&SERVICE, &Request::get(url)).unwrap().body(), b"hi");
}
