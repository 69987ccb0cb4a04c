//! A witness that gives no vote is known while all is calm, by its name and the reason, and is told once.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use common::fake::{Answer, Asked, Fake, json, text};
use common::program::{Program, command, promtool_finds_nothing};
use common::support::assert_says;
use serde_json::{Value, json};

const TOKEN: &str = "the-token-of-witnesses";
/// No name has a part of so many letters, so it is not looked up anywhere.
const NO_NAME: usize = 64;

/// A witness that votes: it sees `us` and does not see `eu`.
fn votes(asked: &Asked) -> Answer {
    text(if asked.target == "/v1/witness/us" { 200 } else { 503 }, "")
}

/// One that votes for who shows the right token.
fn votes_by_token(asked: &Asked) -> Answer {
    if asked.header("authorization") == format!("Bearer {TOKEN}") {
        return votes(asked);
    }
    json(401, &json!({"title": "Unauthorized", "status": 401, "detail": "show the token"}))
}

/// Answers every connection with these words, or lets it wait.
fn says(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.write_all(words);
                while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

/// A node of `us` that sees both regions healthy, with these witnesses.
fn start(healthy: &Fake, authority: &str, witnesses: &[(String, &str)]) -> Program {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("authority"), authority).unwrap();
    fs::write(directory.path().join("token"), "not the token").unwrap();
    let health = healthy.url("/health");
    let region = |name, value| {
        format!("[[agent.region]]\nname = \"{name}\"\nvalues = [\"{value}\"]\nhealth = [\"{health}\"]\n")
    };
    let regions = [region("eu", "192.0.2.1"), region("us", "192.0.2.2")].concat();
    let witness = |(place, more): &(String, &str)| {
        format!("[[agent.witness]]\nurl = \"{place}/v1/witness/{{region}}\"\n{more}\n")
    };
    let witnesses: String = witnesses.iter().map(witness).collect();
    let config = format!(
        r#"
        [server]
        threads = 1
        [[policy]]
        name = "api"
        rate = "10/s"
        [node]
        region = "us"
        [state]
        directory = "state"
        [admin]
        socket = "admin.sock"
        [agent]
        cluster = "rates"
        {regions}
        {witnesses}
        [agent.http]
        ca_file = "authority"
        [agent.public]
        url = "{health}"
        [agent.probe]
        interval = "200ms"
        timeout = "400ms"
        up_after = 2
        [agent.traffic]
        provider = "exec"
        name = "rates.example.com"
        command = ["/bin/echo", "192.0.2.1"]
        "#
    );
    Program::start_in(directory, &config)
}

fn failover_status(node: &Program, more: &[&str]) -> String {
    let output = command(node.directory()).args(["failover", "status"]).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a metrics page has this series of a witness with a value that is as wanted.
fn has(page: &str, series: &str, wanted: impl Fn(f64) -> bool) -> bool {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    line.is_some_and(|value| wanted(value.trim().parse().unwrap()))
}

fn is_mute(page: &str, name: &str) -> Option<bool> {
    let series = format!("openclaw_agent_witness_mute{{witness=\"{name}\"}} ");
    [true, false].into_iter().find(|mute| has(page, &series, |value| (value == 1.0) == *mute))
}

fn told(log: &[String], name: &str, words: &str) -> usize {
    log.iter().filter(|line| line.contains(&format!("the witness {name} {words}"))).count()
}

#[test]
fn who_gives_no_vote_is_named_with_the_reason_before_a_region_fails() {
    let (healthy, good, by_token) =
        (Fake::start(|_| text(200, "")), Fake::start(votes), Fake::start(votes_by_token));
    let (expired, authority) = Fake::start_tls_expired("127.0.0.1");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let no_name = "a".repeat(NO_NAME);
    let bad = [
        (by_token.address.to_string(), "token_file = \"token\"", "it answers 401: show the token"),
        (expired.address.to_string(), "", "expired"),
        (no_name, "", "is not resolved"),
        (says(b"SSH-2.0-x\r\n\r\n").to_string(), "", "it is not HTTP"),
        (says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").to_string(), "", "it answers 404"),
        (says(b"").to_string(), "", "not in time"),
        (nobody.to_string(), "", "no connection"),
        (says(b"HTTP/1.1 200 OK\r\n\r\n").to_string(), "token_file = \"missing\"", "missing"),
    ];
    let is_expired = |name: &str| name == expired.address.to_string();
    let place = |name: &str| format!("{}://{name}", if is_expired(name) { "https" } else { "http" });
    let good_name = good.address.to_string();
    let mut witnesses = vec![(place(&good_name), "")];
    witnesses.extend(bad.iter().map(|(name, more, _)| (place(name), *more)));
    let node = start(&healthy, &authority, &witnesses);
    let page = node.until("/metrics", |page| bad.iter().all(|(name, ..)| is_mute(page, name) == Some(true)));
    promtool_finds_nothing(&page);
    assert_eq!(is_mute(&page, &good_name), Some(false), "{page}");
    let asks = |name: &str, result: &str, wanted: fn(f64) -> bool| {
        let labels = format!("witness=\"{name}\",result=\"{result}\"");
        assert!(
            has(&page, &format!("openclaw_agent_witness_asks_total{{{labels}}} "), wanted),
            "{labels}\n{page}"
        );
    };
    asks(&good_name, "sees", |count| count > 10.0);
    asks(&good_name, "does_not_see", |count| count > 10.0);
    asks(&good_name, "no_vote", |count| count == 0.0);
    let health = node.get("/health");
    assert_says(&health, &["HTTP/1.1 200", "\"warnings\":[\"a witness of the agent gives no vote\"]"]);
    let screen = failover_status(&node, &[]);
    assert_says(&screen, &[&format!("witness   {good_name} does not see eu; sees us\n")]);
    for (name, _, why) in &bad {
        asks(name, "sees", |count| count == 0.0);
        asks(name, "no_vote", |count| count > 0.0);
        let line = screen.lines().find(|line| line.contains(&**name)).unwrap();
        assert!(line.starts_with(&format!("WITNESS   {name} no vote on ")) && line.contains(why), "{line}");
    }
    let status: Value = serde_json::from_str(&failover_status(&node, &["--json"])).unwrap();
    let first = json!({"witness": good_name, "mute": false,
        "votes": [{"region": "eu", "sees": false}, {"region": "us", "sees": true}]});
    assert_eq!(status["witnesses"][0], first);

    fs::write(node.directory().join("token"), TOKEN).unwrap();
    node.until("/metrics", |page| is_mute(page, &bad[0].0) == Some(false));
    std::thread::sleep(Duration::from_secs(2));
    let log = node.logged();
    for (at, (name, ..)) in bad.iter().enumerate() {
        assert_eq!(told(&log, name, "gives no vote"), 1, "{log:#?}");
        assert_eq!(told(&log, name, "votes again"), usize::from(at == 0), "{log:#?}");
    }
    assert_eq!(told(&log, &good_name, ""), 0, "{log:#?}");
}
