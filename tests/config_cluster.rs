//! Promises of the settings of a cluster, of its secret and of the state directory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use openclaw_rating::config::{self, Config, Problems, Sources};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const POLICY: &str = "[[policy]]\nname = \"login\"\nrate = \"10/s\"\n";

fn load_with(directory: &Path, text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let file = directory.join("c.toml");
    fs::write(&file, format!("{POLICY}{}", text.replace("DIR", directory.to_str().unwrap()))).unwrap();
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    config::load(&Sources { file: Some(file), environment, sets: vec![] })
}

fn load(text: &str) -> Result<Config, Problems> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "ab".repeat(32)).unwrap();
    fs::write(directory.path().join("region"), "eu-west\n").unwrap();
    fs::write(directory.path().join("letters"), "z".repeat(64)).unwrap();
    fs::write(directory.path().join("zeros"), "0".repeat(64)).unwrap();
    mknodat(CWD, directory.path().join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    load_with(directory.path(), text, &[("MY_REGION", "us-east"), ("EMPTY", "")])
}

fn refusal(text: &str) -> String {
    load(text).expect_err("it has a mistake").to_string()
}

const CLUSTER: &str = r#"
[node]
id = 1
name = "fra-1"
region = "eu"
[cluster]
secret_file = "DIR/secret"
listen = "127.0.0.1:7946"
[[peer]]
id = 2
name = "nyc-1"
address = "127.0.0.1:7947"
"#;

const TINY: &str = "[[policy]]\nname = \"tiny\"\nrate = \"1/day\"\nconsistency = \"strict\"\n";

#[test]
fn a_strict_limit_of_a_node_that_is_alone_need_not_be_divided() {
    assert!(load(TINY).is_ok());
}

#[test]
fn a_cluster_is_read_with_its_defaults() {
    let config = load(CLUSTER).unwrap();
    let cluster = config.cluster.unwrap();
    assert_eq!((cluster.node.get(), cluster.peers.len()), (1, 1));
    assert_eq!(cluster.peers[0].address, "127.0.0.1:7947".parse::<std::net::SocketAddr>().unwrap());
    assert_eq!(cluster.secret.bytes(), &[0xab; 32]);
    assert_eq!(cluster.flush_interval, Duration::from_millis(20));
    assert_eq!(cluster.detect_timeout, Duration::from_millis(500));
    assert!(!format!("{cluster:?}").contains("171"), "the secret is shown");
}

#[test]
fn a_bandwidth_cap_leaves_room_beside_heartbeats() {
    for (flush, cap) in [("20ms", 16_000), ("1ms", 320_000), ("1s", 10_000)] {
        let settings = format!("flush_interval = \"{flush}\"\ndetect_timeout = \"5s\"\nmax_bytes_per_second");
        let capped = |cap: u64| load(&CLUSTER.replace("listen", &format!("{settings} = {cap}\nlisten")));
        assert!(capped(cap).is_ok() && capped(cap - 1).is_err(), "{flush}");
    }
}

#[test]
fn peers_without_a_state_directory_are_warned_of_and_nobody_else_is() {
    let warned = |text: &str| load(text).unwrap().warnings().join("\n").contains("no [state] directory");
    assert!(warned(CLUSTER));
    assert!(!warned(&format!("{CLUSTER}[state]\ndirectory = \"DIR/state\"\n")));
    assert!(!warned("[node]\nid = 3\n"));
}

#[test]
fn the_warning_is_in_the_summary_of_check_config() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "ab".repeat(32)).unwrap();
    load_with(directory.path(), CLUSTER, &[]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-rating"));
    command.env_clear().args(["check-config", "--config"]).arg(directory.path().join("c.toml"));
    let output = command.output().unwrap();
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && summary.contains("warning    there are peers and no [state]"),
        "{summary}"
    );
}

#[test]
fn without_peers_there_is_no_cluster() {
    let config = load("[node]\nid = 3\n").unwrap();
    assert!(config.cluster.is_none());
    assert_eq!(config.node.region, "local");
}

#[test]
fn what_a_cluster_lacks_or_has_twice_is_said() {
    for (wrong, words) in [
        (CLUSTER.replace("id = 1", ""), "[node] has no `id`"),
        (CLUSTER.replace("region = \"eu\"", ""), "[node] has no `region`"),
        (CLUSTER.replace("secret_file = \"DIR/secret\"", ""), "[cluster] has no `secret_file`"),
        (CLUSTER.replace("listen = \"127.0.0.1:7946\"", ""), "[cluster] has no `listen`"),
        (CLUSTER.replace("DIR/secret", "DIR/region"), "does not hold a cluster secret"),
        (CLUSTER.replace("DIR/secret", "DIR/region"), "64 hexadecimal digits: it has 7 characters"),
        (CLUSTER.replace("DIR/secret", "DIR/letters"), "64 characters, of which some are no such digits"),
        (CLUSTER.replace("DIR/secret", "DIR/zeros"), "one digit again and again"),
        (CLUSTER.replace("DIR/secret", "DIR/nothing"), "cannot read the secret file"),
        (CLUSTER.replace("127.0.0.1:7946", "224.0.0.1:7946"), "no single host's, so nobody"),
        (CLUSTER.replace("127.0.0.1:7946", "[fe80::1]:7946"), "on which interface"),
        (CLUSTER.replace("DIR/secret", "DIR/pipe"), "cannot read the secret file"),
        (CLUSTER.replace("id = 2", "id = 1"), "this node's own id"),
        (CLUSTER.replace("id = 2", "id = 65"), "from 1 to 64"),
        (CLUSTER.replace("id = 2", ""), "a [[peer]] has no `id`"),
        (CLUSTER.replace("127.0.0.1:7947", "nyc.example:7946"), "not an address for datagrams"),
        (CLUSTER.replace("127.0.0.1:7947", "[::1]:0"), "not an address for datagrams"),
        (format!("{CLUSTER}[[peer]]\nid = 2\naddress = \"127.0.0.1:9\"\n"), "one id or one address"),
        (format!("{CLUSTER}[[peer]]\nid = 3\naddress = \"127.0.0.1:7947\"\n"), "one id or one address"),
        (CLUSTER.replace("listen", "detect_timeout = \"60ms\"\nlisten"), "heard every 20ms only"),
        (CLUSTER.replace("listen", "max_bytes_per_second = 15999\nlisten"), "at least 16000"),
        (CLUSTER.replace("127.0.0.1:7947", "127.0.0.1:7946"), "where this node listens itself"),
        (CLUSTER.replace("127.0.0.1:7947", "[::1]:7947"), "between IPv4 and IPv6 nothing passes"),
        (CLUSTER.replace("127.0.0.1:7947", "[::ffff:127.0.0.1]:7947"), "not an address for datagrams"),
        (CLUSTER.replace("127.0.0.1:7947", "0.0.0.0:7947"), "no single host's"),
        (CLUSTER.replace("127.0.0.1:7947", "224.0.0.1:7947"), "no single host's"),
        (CLUSTER.replace("127.0.0.1:7946", "0.0.0.0:7947"), "where this node listens itself"),
        (format!("{CLUSTER}{TINY}"), "\"tiny\" is strict and has a limit that 2 nodes cannot divide"),
        (format!("{CLUSTER}[hash]\nsecret_file = \"DIR/secret\"\n"), "remove [hash]"),
        (CLUSTER.replace("listen", "lsten"), "did you mean `listen`?"),
    ] {
        let said = refusal(&wrong);
        assert!(said.contains(words), "{words:?} is not in\n{said}");
        assert!(!said.contains("zzz") && !said.contains("0000"), "{said}");
    }
}

#[test]
fn a_node_without_an_id_is_told_all_else_that_is_wrong_too() {
    let text =
        CLUSTER.replace("id = 1", "").replace("region = \"eu\"", "").replace("127.0.0.1:7947", "nyc:1");
    let said = refusal(&text.replace("name = \"nyc-1\"", "nane = \"nyc-1\""));
    for words in ["[node] has no `id`", "[node] has no `region`", "not an address for datagrams", "`name`?"] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

#[test]
fn a_secret_that_every_user_may_open_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "ab".repeat(32)).unwrap();
    for (mode, warned) in [(0o400, false), (0o440, false), (0o640, false), (0o644, true), (0o602, true)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load_with(directory.path(), CLUSTER, &[]).unwrap().cluster.unwrap().warnings();
        assert_eq!(warnings.len(), usize::from(warned), "{mode:o}: {warnings:?}");
    }
    let file = directory.path().join("c.toml");
    let program = Command::new(env!("CARGO_BIN_EXE_openclaw-rating"))
        .env_clear()
        .args(["check-config", "--config"])
        .arg(file)
        .output()
        .unwrap();
    let summary = String::from_utf8(program.stdout).unwrap();
    assert!(summary.contains("warning    every user of this host may open"), "{summary}");
}

#[test]
fn what_is_written_and_wrong_is_not_said_to_be_missing() {
    for (wrong, words) in [
        (CLUSTER.replace("id = 1", "id = 0"), "from 1 to 64"),
        (CLUSTER.replace("region = \"eu\"", "region_file = \"DIR/nothing\""), "cannot be had"),
    ] {
        let said = refusal(&wrong);
        assert!(said.contains(words) && said.ends_with("\n1 problem in the configuration"), "{said}");
    }
    assert_eq!(load(&CLUSTER.replace("\"eu\"", "\"local\"")).unwrap().node.region, "local");
}

#[test]
fn the_region_comes_from_one_source() {
    let region = |text: &str| load(&format!("[node]\n{text}\n")).map(|config| config.node.region);
    assert_eq!(region("region_file = \"DIR/region\"").unwrap(), "eu-west");
    assert_eq!(region("region_env = \"MY_REGION\"").unwrap(), "us-east");
    for (text, words) in [
        ("region_env = \"EMPTY\"", "does not know where it is"),
        ("region_env = \"NOWHERE\"", "the environment has no NOWHERE"),
        ("region_file = \"DIR/nothing\"", "cannot read"),
        ("region_file = \"DIR/pipe\"", "it is not a regular file"),
        ("region = \"eu\"\nregion_env = \"MY_REGION\"", "both `region` and `region_env`"),
        ("region_url = \"http://127.0.0.1:1/region\"", "cannot be had from `region_url`"),
    ] {
        let said = region(text).expect_err("it has a mistake").to_string();
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

/// It can change nothing about where it is, and the service may be away in an incident.
#[test]
fn a_server_that_runs_is_reconfigured_without_asking_for_its_region_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let text = format!("{POLICY}[node]\nregion_url = \"http://127.0.0.1:1/region\"\n");
    fs::write(&file, &text).unwrap();
    assert!(config::load(&sources).is_err());
    assert_eq!(config::load_again(&sources, "eu").unwrap().node.region, "eu");
    let checked = config::check(&sources).unwrap();
    assert!(checked.warnings().iter().any(|warning| warning.contains("not known now")));
    // What is written is believed, so that it shows that a restart is needed.
    fs::write(&file, format!("{POLICY}[node]\nregion = \"us\"\n")).unwrap();
    assert_eq!(config::load_again(&sources, "eu").unwrap().node.region, "us");
}

#[test]
fn a_metadata_service_that_cannot_be_asked_as_it_is_written_is_no_service_that_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    for settings in [
        "region_url = \"ftp://127.0.0.1/\"",
        "region_url = \"127.0.0.1\"",
        "region_url = \"http://127.0.0.1:1/\"\nregion_url_header = \"no colon\"",
        "region_url = \"http://127.0.0.1:1/\"\nregion_url_header = \"a name: x\"",
    ] {
        fs::write(&file, format!("{POLICY}[node]\n{settings}\n")).unwrap();
        let said = config::check(&sources).expect_err("it has a mistake").to_string();
        assert!(said.contains("cannot be had from `region_url`"), "{said}");
    }
}

#[test]
fn the_region_is_asked_of_a_metadata_service_with_its_header() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nap-east\n").unwrap();
        String::from_utf8_lossy(&request[..length]).to_lowercase()
    });
    let text = format!(
        "[node]\nregion_url = \"http://{address}/zone\"\nregion_url_header = \"Metadata-Flavor: Google\"\n"
    );
    assert_eq!(load(&text).unwrap().node.region, "ap-east");
    let request = service.join().unwrap();
    assert!(request.starts_with("get /zone ") && request.contains("metadata-flavor: google"), "{request}");
}

#[test]
fn the_state_directory_is_the_one_named_or_systemds() {
    let directory = tempfile::tempdir().unwrap();
    let systemd = [("STATE_DIRECTORY", "/var/lib/openclaw-rating")];
    let load = |text, environment| load_with(directory.path(), text, environment).unwrap().state;
    assert!(load("", &[]).is_none());
    assert_eq!(load("", &systemd).unwrap().directory, Path::new("/var/lib/openclaw-rating"));
    let named = load("[state]\ndirectory = \"/s\"\nsnapshot_interval = \"5s\"\n", &systemd).unwrap();
    assert_eq!(
        (named.directory.as_path(), named.snapshot_interval),
        (Path::new("/s"), Duration::from_secs(5))
    );
}

fn keygen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_openclaw-rating")).arg("keygen").args(arguments).output().unwrap()
}

#[test]
fn keygen_makes_a_file_for_its_owner_alone_and_replaces_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let made = keygen(&[path.to_str().unwrap()]);
    assert!(made.status.success() && made.stdout.is_empty());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&path).unwrap();
    assert!(load_with(directory.path(), CLUSTER, &[]).is_ok());
    let again = keygen(&[path.to_str().unwrap()]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is there already"));
    assert_eq!(fs::read_to_string(&path).unwrap(), secret);
    let (one, two) = (keygen(&[]).stdout, keygen(&[]).stdout);
    assert!(one != two && one.len() == 65);
    assert!(!keygen(&["/proc/nowhere/secret"]).status.success());
}

#[test]
fn keygen_leaves_nothing_where_the_disk_takes_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let full = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" keygen \"$1\""])
        .args([Path::new(env!("CARGO_BIN_EXE_openclaw-rating")), &path])
        .output()
        .unwrap();
    assert!(!full.status.success() && !path.exists(), "{}", String::from_utf8_lossy(&full.stderr));
}
