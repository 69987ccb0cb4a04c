//! Promises of the admin socket and of `inspect`, kept by real processes.
#![allow(clippy::unwrap_used)]

mod program;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use openclaw_rating::admin::bucket::BucketReport;
use program::{PATIENCE, Program, answer_to, command};
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
    assert!(ask("/").starts_with("HTTP/1.1 404 Not Found\r\n"));
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
    assert!(raw(b"POST /v1/buckets/p/k HTTP/1.1\r\nHost: x\r\n\r\n").contains("Allow: GET\r\n"));
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
    assert!(answer(UnixStream::connect(socket(&program)).unwrap()).starts_with("HTTP/1.1 503"));
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    }
    assert!(answer(UnixStream::connect(socket(&program)).unwrap()).starts_with("HTTP/1.1 200"));
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
            "{ALONE}[node]\nid = {id}\nregion = \"r{id}\"\n[cluster]\nsecret_file = \"{}\"\nlisten = \"127.0.0.1:{}\"\n\
             [[peer]]\nid = {}\naddress = \"127.0.0.1:{}\"\n",
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
    nodes[1].signal(Signal::STOP);
    nodes[0].get("/v1/check/p/k?cost=1");
    nodes[0].until("/health", |body| body.contains("a peer cannot be heard"));
    let waiting = report(nodes[0].directory(), "k");
    assert!(waiting.peers.iter().all(|peer| !peer.present && peer.pending), "{waiting:?}");
}
