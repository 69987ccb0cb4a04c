//! Promises of the admin socket and of `inspect`, kept by real processes.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::program::{PATIENCE, Program, answer_to, command};
use openclaw_rating::admin::bucket::BucketReport;
use openclaw_rating::admin::status::{AgentReport, StatusReport};
use rustix::process::Signal;

const ALONE: &str = "[admin]\nsocket = \"admin.sock\"\n[server]\nthreads = 1\n\
    [[policy]]\nname = \"p\"\nrate = \"1/day\"\nburst = 100\n\
    [[policy.override]]\nkey = \"vip\"\nburst = 1000\n";

fn socket(program: &Program) -> PathBuf {
    program.directory().join("admin.sock")
}

fn inspect(directory: &Path, arguments: &[&str]) -> Output {
    command(directory).arg("inspect").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn report(directory: &Path, key: &str) -> BucketReport {
    let output = inspect(directory, &["p", key, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn inspect_tells_what_is_spent_of_a_bucket_and_of_one_that_is_not_there() {
    let program = Program::start(ALONE);
    for _ in 0..3 {
        program.get("/v1/check/p/a%20key/1?cost=10");
    }
    let found = report(program.directory(), "a key/1");
    assert!(found.exists && found.used_here == 30 && found.burst == 100, "{found:?}");
    assert!((69.0..71.0).contains(&found.available) && found.peers.is_empty(), "{found:?}");
    let none = report(program.directory(), "nobody");
    assert!(!none.exists && none.available == 100.0 && none.level == 0.0, "{none:?}");
    assert_eq!(report(program.directory(), "vip").burst, 1000);
    let shown = text(&inspect(program.directory(), &["p", "a key/1"]).stdout);
    assert!(shown.contains("30 admitted since"), "{shown}");
}

#[test]
fn inspect_says_why_it_cannot_tell() {
    let program = Program::start(ALONE);
    let unknown = inspect(program.directory(), &["q", "k"]);
    assert!(!unknown.status.success());
    assert!(text(&unknown.stderr).contains("no policy has this name"), "{}", text(&unknown.stderr));
    let nobody = inspect(program.directory(), &["p", "k", "--socket", "/nonexistent/admin.sock"]);
    let said = text(&nobody.stderr);
    assert!(
        !nobody.status.success() && said.contains("/nonexistent/admin.sock") && said.contains("--socket"),
        "{said}"
    );
    let empty = inspect(program.directory(), &["p", ""]);
    assert!(text(&empty.stderr).contains("1 to 512 bytes"), "{}", text(&empty.stderr));
}

#[test]
fn the_socket_is_for_its_owner_and_group_and_goes_with_the_server() {
    let mut program = Program::start(ALONE);
    let path = socket(&program);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_socket_left_by_a_killed_server_is_replaced_and_one_in_use_is_left() {
    let mut killed = Program::start(ALONE);
    killed.signal(Signal::KILL);
    killed.exit_code();
    let path = socket(&killed);
    assert!(path.exists());
    let program = Program::start_in(killed.into_directory(), ALONE);
    assert_eq!(report(program.directory(), "k").burst, 100);

    let taken = tempfile::tempdir().unwrap();
    let _other = UnixListener::bind(taken.path().join("admin.sock")).unwrap();
    let beside = Program::start_in(taken, ALONE);
    assert!(beside.said_before("another server answers there"), "it says nothing of the socket");
    assert!(beside.get("/v1/check/p/k").starts_with("HTTP/1.1 200"), "checks wait for the admin socket");
}

#[test]
fn requests_that_are_no_questions_are_refused_in_words() {
    let program = Program::start(ALONE);
    let ask = |path: &str| answer_to(UnixStream::connect(socket(&program)).unwrap(), path);
    assert!(ask("/v1/nothing").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(ask("/v1/buckets/p/%zz").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(ask("/v1/buckets/p/k").contains("\r\nContent-Type: application/json\r\n"));
    let raw = |request: &[u8]| {
        let mut stream = UnixStream::connect(socket(&program)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(raw(b"POST /v1/buckets/p/k HTTP/1.1\r\nHost: x\r\n\r\n").contains("Allow: GET, DELETE\r\n"));
    assert!(raw(b"GET /v1/buckets/p/k HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(raw(b"\0\0\0\0\r\n\r\n").starts_with("HTTP/1.1 400"));
    let large = [b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec(), vec![b'x'; 10_000]].concat();
    assert!(raw(&large).starts_with("HTTP/1.1 431"));
}

#[test]
fn those_who_say_nothing_are_cut_off_and_keep_others_out_no_longer_than_that() {
    let program = Program::start(ALONE);
    let silent: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(socket(&program)).unwrap()).collect();
    let answer = |stream: UnixStream| answer_to(stream, "/v1/buckets/p/k");
    assert!(answer(UnixStream::connect(socket(&program)).unwrap()).starts_with("HTTP/1.1 429"));
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    }
    assert!(answer(UnixStream::connect(socket(&program)).unwrap()).starts_with("HTTP/1.1 200"));
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory).args(arguments).output().unwrap()
}

#[test]
fn a_drained_server_goes_on_answering_until_it_is_told_otherwise_or_started_again() {
    let program = Program::start(ALONE);
    let drained = run(program.directory(), &["drain"]);
    assert!(drained.status.success() && text(&drained.stdout).contains("503 until `undrain`"), "{drained:?}");
    let health = program.get("/health");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("draining by order"), "{health}");
    assert!(program.get("/v1/check/p/k").starts_with("HTTP/1.1 200"), "a drained server does not serve");
    assert!(run(program.directory(), &["undrain"]).status.success());
    assert!(program.get("/health").starts_with("HTTP/1.1 200"));
    run(program.directory(), &["drain"]);
    let mut program = program;
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), Some(0));
    let program = Program::start_in(program.into_directory(), ALONE);
    assert!(program.get("/health").starts_with("HTTP/1.1 200"), "a drain outlives the process");
}

#[test]
fn a_command_for_a_server_that_it_cannot_find_asks_no_other_and_one_with_a_broken_policy_is_found() {
    let program = Program::start(ALONE);
    let lost = run(program.directory(), &["drain", "--config", "stagng.toml"]);
    let said = text(&lost.stderr);
    assert!(lost.status.code() == Some(78) && lost.stdout.is_empty(), "{lost:?}");
    assert!(said.contains("stagng.toml") && said.contains("no server was asked"), "{said}");
    assert!(program.get("/health").starts_with("HTTP/1.1 200"));
    let broken = ALONE.replace("1/day", "often");
    std::fs::write(program.directory().join("openclaw-rating.toml"), broken).unwrap();
    assert!(run(program.directory(), &["drain"]).status.success());
    assert!(program.get("/health").starts_with("HTTP/1.1 503"));
}

#[test]
fn a_reload_by_order_does_what_sighup_does_and_says_every_problem() {
    let program = Program::start(ALONE);
    let write = |config: &str| {
        std::fs::write(program.directory().join("openclaw-rating.toml"), config).unwrap();
        run(program.directory(), &["reload", "--socket", "admin.sock"])
    };
    let reloaded =
        write(&ALONE.replace("burst = 100\n", "burst = 7\n").replace("threads = 1", "threads = 2"));
    let said = text(&reloaded.stdout);
    assert!(
        reloaded.status.success() && said.contains("1 policy in force") && said.contains("[server] take"),
        "{reloaded:?}"
    );
    assert!(program.get("/v1/check/p/k").contains("\"limit\":7,"));
    let refused = write(&format!("{ALONE}[server]\nthreads = 0\n[tabel]\n"));
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains("the old policies stay in force") && said.contains("did you mean `table`?"),
        "{said}"
    );
    assert!(program.get("/v1/check/p/k").contains("\"limit\":7,"));
    program.until("/metrics", |page| {
        page.contains(
            "openclaw_reloads_total{result=\"applied\"} 1\nopenclaw_reloads_total{result=\"refused\"} 1",
        )
    });
}

#[test]
fn a_bucket_that_is_reset_can_be_spent_again() {
    let program = Program::start(ALONE);
    program.get("/v1/check/p/k?cost=100");
    assert!(program.get("/v1/check/p/k").starts_with("HTTP/1.1 429"));
    let reset = run(program.directory(), &["reset", "p", "k"]);
    assert!(text(&reset.stdout).contains("is full again"), "{reset:?}");
    assert!(program.get("/v1/check/p/k?cost=100").starts_with("HTTP/1.1 200"));
    assert_eq!(report(program.directory(), "k").used_here, 200);
    assert_eq!(run(program.directory(), &["reset", "q", "k"]).status.code(), Some(1));
}

#[test]
fn the_status_is_one_page_and_one_object_and_there_is_no_agent_to_order() {
    let program = Program::start(ALONE);
    let ask = |path: &str| answer_to(UnixStream::connect(socket(&program)).unwrap(), path);
    let (page, json) = (ask("/"), ask("/v1/status"));
    assert!(
        page.contains("text/html") && page.contains("healthy") && page.contains("None is configured"),
        "{page}"
    );
    let status: StatusReport = serde_json::from_str(json.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(
        status.healthy && !status.draining && status.peers.is_empty() && status.table.lines > 0,
        "{status:?}"
    );
    assert_eq!((status.policies[0].name.as_str(), status.agent), ("p", AgentReport::None));
    for order in [&["failover", "status"][..], &["failover", "ack"], &["failover", "freeze", "--why", "x"]] {
        let refused = run(program.directory(), order);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("add an [agent] section"), "{refused:?}");
    }
    let nobody = run(program.directory(), &["failover", "status", "--socket", "/nonexistent/a.sock"]);
    let said = text(&nobody.stderr);
    assert!(
        nobody.status.code() == Some(1) && said.contains("--socket") && said.contains("systemctl"),
        "{said}"
    );
}

#[test]
fn tcp_is_for_who_has_the_token_and_check_config_refuses_it_without_one() {
    let port = 29_000 + (std::process::id() % 900) as u16;
    let config = ALONE
        .replace("[admin]\n", &format!("[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken_file = \"token\"\n"));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "a-token-of-some-length\n").unwrap();
    let program = Program::start_in(directory, &config);
    let ask = |token: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("a-token-of-some-length").starts_with("HTTP/1.1 200"));
    assert!(ask("another-token-of-some-length").starts_with("HTTP/1.1 401"));
    std::fs::write(program.directory().join("token"), "another-token-of-some-length").unwrap();
    assert!(
        ask("another-token-of-some-length").starts_with("HTTP/1.1 200"),
        "a new token waits for a restart"
    );
    let summary = text(&run(program.directory(), &["check-config"]).stdout);
    assert!(
        summary.contains("for who has the token in token") && !summary.contains("some-length"),
        "{summary}"
    );
    std::fs::write(
        program.directory().join("openclaw-rating.toml"),
        config.replace("token_file = \"token\"\n", ""),
    )
    .unwrap();
    let refused = run(program.directory(), &["check-config"]);
    assert!(text(&refused.stderr).contains("whoever reaches it could move traffic"), "{refused:?}");
}

#[test]
fn two_nodes_tell_the_same_counters_and_what_one_has_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    assert!(
        Command::new(env!("CARGO_BIN_EXE_openclaw-rating"))
            .arg("keygen")
            .arg(&secret)
            .status()
            .unwrap()
            .success()
    );
    let port = 30_000 + (std::process::id() % 1000) as u16 * 2;
    let config = |id: u16| {
        format!(
            "{ALONE}[node]\nid = {id}\nregion = \"r{id}\"\n[cluster]\nsecret_file = \"{}\"\n\
             listen = \"127.0.0.1:{}\"\n[[peer]]\nid = {}\naddress = \"127.0.0.1:{}\"\n",
            secret.display(),
            port + id,
            3 - id,
            port + 3 - id
        )
    };
    let nodes = [1, 2].map(|id| Program::start(&config(id)));
    for (node, peer) in nodes.iter().zip([2, 1]) {
        node.until("/metrics", |page| page.contains(&format!("openclaw_peer_synced{{peer=\"{peer}\"}} 1\n")));
    }
    nodes[0].get("/v1/check/p/k?cost=40");
    nodes[1].until("/v1/check/p/k?cost=0", |body| body.contains("\"remaining\":60,"));
    nodes[0].until("/metrics", |page| page.contains("openclaw_peer_in_flight_buckets{peer=\"2\"} 0\n"));
    let [one, two] = [0, 1].map(|n: usize| report(nodes[n].directory(), "k"));
    let count = |report: &BucketReport, node| {
        report.counters.iter().find(|counter| counter.node == node).map(|c| c.count)
    };
    assert_eq!(count(&one, 1), count(&two, 1), "{one:?} {two:?}");
    assert!(count(&one, 1).is_some() && one.used_here == 40 && two.used_here == 0, "{one:?} {two:?}");
    assert!(
        one.peers.iter().all(|peer| peer.node == 2 && peer.present && peer.synced && !peer.pending),
        "{one:?}"
    );
    let status = answer_to(UnixStream::connect(socket(&nodes[0])).unwrap(), "/v1/status");
    let status: StatusReport = serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(status.node_id == Some(1) && status.peers.len() == 1, "{status:?}");
    assert!(status.peers[0].node == 2 && status.peers[0].present && status.peers[0].synced, "{status:?}");
    let reset = run(nodes[0].directory(), &["reset", "p", "k"]);
    assert!(text(&reset.stdout).contains("every other node keeps its own level"), "{reset:?}");
    assert_eq!(count(&report(nodes[0].directory(), "k"), 1), count(&one, 1), "a reset moves a counter");
    nodes[1].until("/v1/check/p/k?cost=0", |body| body.contains("\"remaining\":60,"));
    nodes[1].signal(Signal::STOP);
    nodes[0].get("/v1/check/p/k?cost=1");
    nodes[0].until("/health", |body| body.contains("a peer cannot be heard"));
    let waiting = report(nodes[0].directory(), "k");
    assert!(waiting.peers.iter().all(|peer| !peer.present && peer.pending), "{waiting:?}");
}
