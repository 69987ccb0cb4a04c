//! What is shipped beside the program is true of it: alerts, dashboard and units.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::program::Program;

/// Series of the agent, which a server without one does not have.
const OF_THE_AGENT: &str = "openclaw_agent_";
/// The highest exposure that `systemd-analyze security` may find, in tenths.
const MOST_EXPOSED_TENTHS: u32 = 15;

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(shipped(path)).unwrap()
}

/// The metrics of a server that has something of everything: a peer, a state directory, a watched key.
fn page_of_a_server() -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("cluster.secret"), "5a".repeat(32)).unwrap();
    // Nobody is given a port from here by the kernel; another test that has it can only be one of these.
    let port = 14_000 + std::process::id() % 2_000;
    let config = "[server]\nthreads = 1\n[table]\ncapacity = 1000\n[state]\ndirectory = \"state\"\n\
        [node]\nid = 1\nregion = \"eu\"\n[cluster]\nsecret_file = \"cluster.secret\"\n\
        listen = \"127.0.0.1:PORT\"\n[[peer]]\nid = 2\naddress = \"127.0.0.1:9\"\nregion = \"us\"\n\
        [metrics]\nwatch = [{ policy = \"api\", key = \"a\" }]\n\
        [[policy]]\nname = \"api\"\nrate = \"1/s\"\n";
    let program = Program::start_in(directory, &config.replace("PORT", &port.to_string()));
    program.until("/metrics", |page| !page.is_empty())
}

fn series_in(page: &str) -> BTreeSet<String> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).flat_map(names_of_family).collect()
}

fn names_of_family(line: &str) -> Vec<String> {
    let (name, kind) = line.split_once(' ').unwrap();
    let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

/// All names of series in a text, whatever its syntax.
fn series_named_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = |word: &&str| ["openclaw_", "process_"].iter().any(|begin| word.starts_with(begin));
    text.split(|c| !is_part(c)).filter(ours).map(str::to_owned).collect()
}

/// Runs a program that may be missing; `None` when it is.
fn run(program: &str, arguments: &[&str], directory: &Path) -> Option<Output> {
    match Command::new(program).args(arguments).current_dir(directory).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_none(), "{program}: {error}");
            eprintln!("skipped: {program} is not installed");
            None
        }
    }
}

fn succeeds(program: &str, arguments: &[&str], directory: &Path) {
    let Some(output) = run(program, arguments, directory) else { return };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn alerts_and_dashboard_name_only_series_that_there_are() {
    let page = page_of_a_server();
    let there = series_in(&page);
    assert!(there.contains("openclaw_peer_present") && there.contains("openclaw_snapshots_total"));
    for file in [
        "deploy/prometheus/rules.yml",
        "deploy/prometheus/rules.test.yml",
        "deploy/grafana/openclaw-rating.json",
    ] {
        let named = series_named_in(&read(file));
        assert!(named.len() > 5, "{file} names {named:?}");
        let missing: Vec<&String> =
            named.iter().filter(|name| !name.starts_with(OF_THE_AGENT) && !there.contains(*name)).collect();
        assert!(missing.is_empty(), "{file} names series that no server has: {missing:?}");
    }
    // What `inhibit_rules` of deploy/alertmanager compare.
    assert!(page.contains("openclaw_peer_present{peer=\"2\",peer_region=\"us\"} "), "{page}");
}

#[test]
fn every_alert_points_to_a_part_of_the_operations_guide() {
    let guide = read("docs/OPERATIONS.md");
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect::<String>()
    };
    let anchors: BTreeSet<String> = guide
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    let rules = read("deploy/prometheus/rules.yml");
    let alerts = rules.lines().filter(|line| line.contains("- alert:")).count();
    let links: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.split("runbook: 'docs/OPERATIONS.md#").nth(1)?.strip_suffix('\''))
        .collect();
    assert_eq!(links.len(), alerts);
    for link in links {
        assert!(anchors.contains(link), "#{link} is not in {anchors:?}");
    }
}

#[test]
fn prometheus_and_alertmanager_accept_what_is_shipped() {
    let prometheus = shipped("deploy/prometheus");
    succeeds("promtool", &["check", "rules", "rules.yml"], &prometheus);
    succeeds("promtool", &["test", "rules", "rules.test.yml"], &prometheus);
    succeeds("promtool", &["check", "config", "prometheus.yml"], &prometheus);
    succeeds("amtool", &["check-config", "alertmanager.yml"], &shipped("deploy/alertmanager"));
}

#[test]
fn the_dashboard_is_whole_and_its_panels_lie_side_by_side() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/openclaw-rating.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for cell in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(cell.0 < 24 && taken.insert(cell), "{} overlaps another", panel["title"]);
        }
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()));
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

/// The units, with this program in place of the installed one and users that there are.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(shipped("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".service") || name.ends_with(".socket") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("/usr/local/bin/openclaw-rating", env!("CARGO_BIN_EXE_openclaw-rating"));
            fs::write(directory.path().join(name), text).unwrap();
        }
    }
    directory
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_little_exposed() {
    let directory = units();
    let names = ["openclaw-rating.service", "openclaw-rating.socket", "openclaw-rating-unix.socket"];
    let paths = names.map(|name| directory.path().join(name).to_str().unwrap().to_owned());
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(paths.iter().map(String::as_str));
    if let Some(output) = run("systemd-analyze", &arguments, directory.path()) {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    let threshold = format!("--threshold={MOST_EXPOSED_TENTHS}");
    let arguments = ["security", "--no-pager", "--offline=true", &threshold, &paths[0]];
    succeeds("systemd-analyze", &arguments, directory.path());
}

#[test]
fn the_kernel_knows_every_parameter() {
    for line in read("tuning/90-openclaw-rating.conf").lines() {
        let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let path = Path::new("/proc/sys").join(name.trim().replace('.', "/"));
        assert!(path.exists(), "{name} is no parameter of this kernel");
    }
}

/// Runs the example of a command that moves traffic, under the mask of the unit.
fn move_traffic(file: &Path, action: &str, (expected, wanted): (&str, &str)) -> Output {
    Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(shipped("docs/examples/move-traffic.sh"))
        .args([file.as_os_str(), "192.0.2.53".as_ref()])
        .envs([("OPENCLAW_ACTION", action), ("OPENCLAW_NAME", "www.example.com"), ("OPENCLAW_TYPE", "A")])
        .envs([("OPENCLAW_EXPECTED", expected), ("OPENCLAW_WANTED", wanted)])
        .output()
        .unwrap()
}

#[test]
fn the_example_command_compares_before_it_writes_and_the_name_server_can_read_what_it_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hosts");
    fs::write(&file, "192.0.2.1 www.example.com\n192.0.2.9 other.example.com\n").unwrap();
    let read = || String::from_utf8(move_traffic(&file, "read", ("", "")).stdout).unwrap();
    assert_eq!(read(), "192.0.2.1\n");
    let change = ("192.0.2.1", "198.51.100.1");
    assert_eq!(move_traffic(&file, "write", change).status.code(), Some(0));
    assert_eq!(read(), "198.51.100.1\n");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644, "{mode:o}");
    assert_eq!(move_traffic(&file, "write", change).status.code(), Some(3));
    assert!(fs::read_to_string(&file).unwrap().contains("192.0.2.9 other.example.com"));
}
