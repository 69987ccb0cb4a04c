//! Promises of the program around its configuration: start, reload, stop.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use common::program::{PATIENCE, Program, answer_to, command};
use rustix::process::Signal;

/// A small server with this configuration file or none.
fn serve(file: Option<&str>, arguments: &[&str]) -> Program {
    let small = ["--set", "server.threads=1", "--set", "table.capacity=1000"];
    Program::launch(tempfile::tempdir().unwrap(), file, &[&small, arguments].concat())
}

fn check_config(file: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("openclaw-rating.toml"), file).unwrap();
    command(directory.path()).arg("check-config").output().unwrap()
}

fn policy(rate: &str, burst: u32) -> String {
    format!("[[policy]]\nname = \"p\"\nrate = \"{rate}\"\nburst = {burst}\n")
}

#[test]
fn without_a_file_one_line_says_what_is_served_and_what_to_try() {
    let directory = tempfile::tempdir().unwrap();
    let output = command(directory.path()).arg("check-config").output().unwrap();
    assert!(output.status.success());

    let mut server = serve(None, &[]);
    assert!(server.said_nothing_before());
    assert!(server.get("/v1/check/default/alice").starts_with("HTTP/1.1 200 OK"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn check_config_fails_on_any_problem_and_prints_all_of_them() {
    let output = check_config(&format!("{}kil = \"deny\"\n[server]\nthreads = 0\n", policy("1/s", 1)));
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(
        report.contains("openclaw-rating.toml:5:1") && report.contains("openclaw-rating.toml:7:11"),
        "{report}"
    );

    let output = check_config(&policy("1/s", 7));
    assert!(output.status.success());
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("1/s, burst 7"), "{summary}");
}

#[test]
fn a_bad_configuration_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let output = command(directory.path()).args(["--set", "server.threads=0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8(output.stderr).unwrap().contains("from 1 to 512"));
}

/// What the program, as a small server, says in the end under a limit that the shell sets.
fn under_limit(limit: &str, arguments: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let program = command(directory.path());
    let small = "--set server.threads=1 --set table.capacity=1000";
    std::process::Command::new("sh")
        .args(["-c", &format!("ulimit {limit}; exec \"$0\" {arguments} {small}")])
        .arg(program.get_program())
        .env("OPENCLAW_RATING__SERVER__LISTEN", "127.0.0.1:0")
        .current_dir(directory.path())
        .output()
        .unwrap()
}

#[test]
fn a_limit_that_is_reached_at_the_start_is_named() {
    for files in [6, 7, 8] {
        let output = under_limit(&format!("-n {files}"), "");
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("RLIMIT_NOFILE"), "{files}: {told}");
    }
}

#[test]
fn connections_fit_into_the_limit_of_open_files_where_nobody_said_how_many() {
    let output = under_limit("-n 3000", "check-config");
    let (summary, told) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let all = format!("{summary}{told}");
    assert!(output.status.success(), "{all}");
    assert!(summary.contains("at most 2936 connections,"), "{all}");
    assert!(all.contains("LimitNOFILE=") && all.contains("max_connections = 2936"), "{all}");

    let output = under_limit("-n 3000", "check-config --set server.max_connections=2937");
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("at most 2937 connections,") && !summary.contains("LimitNOFILE="), "{summary}");
    let output = under_limit("-n 3000", "serve --set server.max_connections=2937");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("LimitNOFILE="), "{told}");
}

#[test]
fn a_reload_changes_limits_and_keeps_levels() {
    let server = serve(Some(&policy("1/day", 10)), &[]);
    assert!(server.get("/v1/check/p/alice?cost=9").contains("\"remaining\":1,"));
    server.reload(&policy("1/day", 100));
    server.until_logged("reloaded");
    // The data thread takes the policies up in its next turn.
    let until = Instant::now() + PATIENCE;
    while !server.get("/v1/check/p/alice?cost=0").contains("\"limit\":100,\"remaining\":91,") {
        assert!(Instant::now() < until, "{}", server.get("/v1/check/p/alice?cost=0"));
    }
}

#[test]
fn a_bad_file_is_refused_whole_and_the_old_one_stays() {
    let server = serve(Some(&policy("1/day", 10)), &[]);
    server.reload(&format!("{}[[policy]]\nname = \"new\"\nrate = \"wrong\"\n", policy("1/day", 100)));
    server.until_logged("not usable");
    server.until_logged("the old policies stay in force");
    assert!(server.get("/v1/check/p/alice").contains("\"limit\":10,"));
    assert!(server.get("/v1/check/new/alice").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_reload_says_what_it_cannot_change() {
    let server = serve(Some(&policy("1/s", 1)), &[]);
    server.reload(&format!("{}[node]\nregion = \"elsewhere\"\n", policy("1/s", 1)));
    assert!(server.until_logged("next restart").contains("[node]"));
    assert!(server.get("/health").contains("\"region\":\"local\""));
}

#[test]
fn a_lame_duck_is_unhealthy_and_still_answers() {
    let mut server = serve(None, &["--set", "shutdown.lame_duck=1h"]);
    server.signal(Signal::TERM);
    server.until_logged("stopping");
    assert!(server.get("/health").starts_with("HTTP/1.1 503"));
    assert!(server.get("/v1/check/default/alice").starts_with("HTTP/1.1 200"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_unix_socket_is_served_beside_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("check.sock");
    let listen = format!("server.listen=[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let server = serve(None, &["--set", &listen]);
    let answer = answer_to(UnixStream::connect(&path).unwrap(), "/v1/check/default/alice");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"remaining\":199,"), "{answer}");
    assert!(server.get("/v1/check/default/alice?cost=0").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn an_agent_that_finds_neither_its_directory_nor_its_secrets_keeps_nobody_from_serving() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    // A file in the place of the state directory.
    fs::write(at("state"), "").unwrap();
    let region = |name: &str, value: &str| {
        format!(
            "[[agent.region]]\nname = \"{name}\"\nvalues = [\"{value}\"]\nhealth = [\"http://{value}:1\"]\n"
        )
    };
    let config = format!(
        "{}[node]\nregion = \"eu\"\n[state]\ndirectory = \"{}\"\n[agent]\ncluster = \"c\"\n{}{}\
         [agent.public]\nurl = \"http://127.0.0.9:1\"\n[agent.traffic]\nname = \"a.example\"\n\
         provider = \"exec\"\ncommand = [\"/bin/false\"]\n\
         [agent.pagerduty]\nevents_api = \"http://127.0.0.9:1\"\nrouting_key_file = \"{}\"\n\
         [agent.http]\nproxy_file = \"{}\"\n",
        policy("10/s", 10),
        at("state"),
        region("eu", "127.0.0.7"),
        region("us", "127.0.0.8"),
        at("routing.key"),
        at("proxy"),
    );
    let program = serve(Some(&config), &[]);
    assert!(program.get("/v1/check/p/a").contains("\"allowed\":true"));
    // The agent's threads say it, in any order.
    let mut unsaid = vec![at("routing.key"), at("proxy"), "cannot use the spool".to_owned()];
    unsaid.retain(|words| !program.said_before(words));
    while !unsaid.is_empty() {
        let line = program.until_logged("");
        unsaid.retain(|words| !line.contains(words));
    }
}

#[test]
fn doctor_looks_at_host_and_settings_and_fails_only_for_what_does_not_work() {
    let directory = tempfile::tempdir().unwrap();
    let examine = |file: &str| {
        fs::write(directory.path().join("openclaw-rating.toml"), file).unwrap();
        let output = command(directory.path()).args(["doctor", "--json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        (output.status.code(), report)
    };
    let level = |report: &serde_json::Value, check: &str| {
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.map(|finding| finding["level"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let good = format!("[table]\ncapacity = 1000\n[state]\ndirectory = \"state\"\n{}", policy("1/s", 1));
    let (code, report) = examine(&good);
    assert_eq!((code, &report["ok"]), (Some(0), &true.into()), "{report}");
    for check in ["kernel", "io_uring", "connections", "address", "state"] {
        assert_eq!(level(&report, check), "ok", "{check}: {report}");
    }
    assert!(!directory.path().join("state").exists());

    fs::write(directory.path().join("state"), "a file in its place").unwrap();
    let (code, report) = examine(&good);
    assert_eq!((code, level(&report, "state").as_str()), (Some(1), "fail"), "{report}");

    let (code, report) = examine("[server]\nthreads = 0\n");
    assert_eq!((code, level(&report, "configuration").as_str()), (Some(1), "fail"), "{report}");
    assert_eq!(level(&report, "io_uring"), "ok", "the host is looked at all the same: {report}");
}

#[test]
fn doctor_knows_the_addresses_of_the_server_that_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("server.listen={}", taken.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let admin = format!("admin.socket={}", socket.display());
    let examine = || {
        let arguments = ["doctor", "--set", &listen, "--set", &admin, "--set", "table.capacity=1000"];
        let output = command(directory.path()).env_clear().args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let address = |report: String| report.lines().find(|line| line.contains(" address ")).unwrap().to_owned();
    assert!(address(examine()).starts_with("warn"));
    let _running = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(address(examine()).starts_with("ok"));
}
