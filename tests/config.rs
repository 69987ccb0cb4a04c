//! Promises of the configuration: every problem is found, each with its place and a remedy.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use openclaw_rating::agent::secret::SecretSource;
use openclaw_rating::bucket::gcra::Rate;
use openclaw_rating::bucket::policy::{Matcher, Mode};
use openclaw_rating::bucket::sharing::{Consistency, Partition, Share, Sharing};
use openclaw_rating::bucket::table::OnTableFull;
use openclaw_rating::config::{self, Config, Problems, Sources, WatchedKey};
use openclaw_rating::data_plane::ListenAddr;
use proptest::prelude::*;

const POLICY: &str = "[[policy]]\nname = \"login\"\nrate = \"10/s\"\n";

fn file_with(text: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_ref()).expect("room for it");
    file
}

fn load(text: impl AsRef<[u8]>) -> Result<Config, Problems> {
    let file = file_with(text);
    config::load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() })
}

fn problems(text: impl AsRef<[u8]>) -> Problems {
    load(text).expect_err("the text has a mistake")
}

fn load_with(environment: &[(&str, &str)], sets: &[&str]) -> Result<Config, Problems> {
    let environment = environment.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let sets = sets.iter().map(|set| set.to_string()).collect();
    config::load(&Sources { file: None, environment, sets })
}

#[test]
fn without_a_file_the_defaults_serve_the_loopback_address() {
    let config = config::load(&Sources::default()).unwrap();
    assert_eq!(config.server.listen, [ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))]);
    let default = &config.policies[0];
    let hundred = Rate::new(100, 1_000_000_000).unwrap();
    assert_eq!((default.name.as_str(), default.limit.rate, default.limit.burst), ("default", hundred, 200));
    assert!(config.hash_secret.is_none());
}

const EVERY_SETTING: &str = r#"
    [server]
    listen = ["127.0.0.1:8081", "unix:/run/check.sock"]
    threads = 3
    pin = false
    max_connections = 77
    idle_timeout = "1min"
    header_timeout = "2s"
    body_timeout = "3s"
    write_timeout = "250ms"
    max_header_bytes = 4000
    max_target_bytes = 500
    max_body_bytes = 6000
    max_requests_per_connection = 9
    [table]
    capacity = 1000
    on_table_full = "deny"
    populate = false
    [[policy]]
    name = "login"
    rate = "10/5s"
    burst = 7
    shadow = true
    partition = "full"
    share = "equal"
    consistency = "strict"
    metadata = { owner = "identity" }
    [[policy.override]]
    key = "alice"
    burst = 70
    [[policy.override]]
    prefix = "team-"
    rate = "5000/min"
    [[policy]]
    name = "off"
    rate = "1/day"
    kill = "deny"
    [metrics]
    watch = [{ policy = "login", key = "alice" }]
    [node]
    region = "eu"
    [shutdown]
    lame_duck = "5s"
    deadline = "20s"
    [log]
    level = "debug"
"#;

#[test]
fn every_setting_reaches_the_configuration() {
    let config = load(EVERY_SETTING).unwrap_or_else(|problems| panic!("{problems}"));
    let server = &config.server;
    assert_eq!(server.listen[1], ListenAddr::Unix(PathBuf::from("/run/check.sock")));
    assert_eq!((server.threads, server.pin, server.max_connections), (3, false, Some(77)));
    assert_eq!(
        (server.idle_timeout, server.write_timeout),
        (Duration::from_secs(60), Duration::from_millis(250))
    );
    assert_eq!(
        (server.header_timeout, server.body_timeout),
        (Duration::from_secs(2), Duration::from_secs(3))
    );
    assert_eq!((server.max_header_bytes, server.max_target_bytes, server.max_body_bytes), (4000, 500, 6000));
    assert_eq!(server.max_requests_per_connection, 9);
    assert_eq!((config.table.lines, config.table.on_full), (2048, OnTableFull::Deny));
    assert!(!config.table.populate);
    assert_eq!(config.watched, [WatchedKey { policy: "login".into(), key: "alice".into() }]);
    assert_eq!(config.node.region, "eu");
    assert_eq!((config.shutdown.lame_duck.as_secs(), config.shutdown.deadline.as_secs()), (5, 20));
    assert_eq!(config.log_level, tracing::Level::DEBUG);

    let login = &config.policies[0];
    assert_eq!((login.mode, login.limit.burst), (Mode::Shadow, 7));
    assert_eq!(
        login.sharing,
        Sharing { partition: Partition::Full, share: Share::Equal, consistency: Consistency::Strict }
    );
    assert_eq!(config.policies[1].sharing, Sharing::default());
    assert_eq!(login.metadata["owner"], "identity");
    assert_eq!(login.overrides[0].matcher, Matcher::Exact(b"alice".to_vec()));
    assert_eq!((login.overrides[0].limit.rate, login.overrides[0].limit.burst), (login.limit.rate, 70));
    assert_eq!(login.overrides[1].matcher, Matcher::Prefix(b"team-".to_vec()));
    assert_eq!(login.overrides[1].limit.burst, 5000);
    assert_eq!((config.policies[1].mode, config.policies[1].limit.burst), (Mode::DenyAll, 1));
}

#[test]
fn an_admin_listener_has_tokens_by_file_or_credential_and_none_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "a-token-that-is-not-shown").unwrap();
    let text = format!(
        "{POLICY}[admin]\nsocket = \"a.sock\"\nlisten = \"[::]:9090\"\ntoken_file = {token:?}\n\
         witness_token_credential = \"witness\"\nalertmanager_token_file = {token:?}\n\
         pagerduty_secret_files = [{token:?}]\npagerduty_secret_credentials = [\"old\"]\n"
    );
    let admin = load(&text).unwrap_or_else(|problems| panic!("{problems}")).admin;
    assert_eq!(admin.token, Some(SecretSource::File(token.clone())));
    assert_eq!(admin.witness_token, Some(SecretSource::Credential("witness".to_owned())));
    assert_eq!(admin.pagerduty_secrets[1], SecretSource::Credential("old".to_owned()));
    assert_eq!(admin.pagerduty_secrets.len(), 2);
    let shown = format!("{admin:?}{}", admin.warnings().join("\n"));
    assert!(!shown.contains("not-shown"), "{shown}");
}

#[test]
fn an_admin_listener_that_is_exposed_or_lets_nobody_in_is_warned_of() {
    let warnings = |listen: &str, token: &str, more: &str| {
        let file = file_with(token);
        let path = file.path();
        let text = format!("{POLICY}[admin]\nlisten = {listen:?}\ntoken_file = {path:?}\n{more}\n");
        load(text).unwrap().admin.warnings()
    };
    let long = "a-token-of-some-length";
    for loopback in ["127.0.0.1:9090", "[::1]:9090", "[::ffff:127.0.0.1]:9090"] {
        assert!(warnings(loopback, long, "").is_empty(), "{loopback}");
    }
    for exposed in ["0.0.0.0:9090", "[::]:9090", "10.0.0.1:9090"] {
        assert!(warnings(exposed, long, "")[0].contains("in the clear"), "{exposed}");
        assert!(warnings(exposed, long, "behind_tls = true").is_empty(), "{exposed}");
    }
    assert!(warnings("127.0.0.1:9090", "short", "")[0].contains("fewer than 16 bytes"));
    let missing = warnings("127.0.0.1:9090", long, "witness_token_file = \"/nonexistent/token\"");
    assert!(missing[0].contains("/nonexistent/token"), "{missing:?}");
}

#[test]
fn the_table_is_at_most_three_quarters_full_at_its_capacity() {
    for capacity in [1, 12, 13, 1000, 750_000, 786_432, 786_433, 10_000_000] {
        let table = load(format!("{POLICY}[table]\ncapacity = {capacity}")).unwrap().table;
        assert!(table.lines.is_power_of_two() && table.capacity * 4 <= table.lines * 3, "{table:?}");
        assert!(
            table.lines == 16 || table.capacity * 4 > table.lines / 2 * 3,
            "a smaller table would do: {table:?}"
        );
    }
}

/// A text after [`POLICY`], the line and column of its problem, and words of the report.
const MISTAKES: &[(&str, (usize, usize), &str)] = &[
    ("[server]\nthread = 2", (5, 1), "did you mean `threads`?"),
    ("[serve]", (4, 2), "did you mean `server`?"),
    ("[server]\ncolour = 1", (5, 1), "the keys are"),
    ("server = 1", (4, 1), "[[policy]] \"login\" has no key `server`"),
    ("[server]\nthreads = 0", (5, 11), "a whole number from 1 to 512, not 0"),
    ("[server]\nthreads = \"2\"", (5, 11), "not \"2\""),
    ("[server]\nthreads = 1.5", (5, 11), "not a number with a fraction"),
    ("[server]\nthreads = 9999999999999999999999999999999999999999999", (5, 11), "whole number from 1"),
    ("[server]\nthreads = 1000", (5, 11), "choose a number from 1 to 512"),
    ("[server]\nthreads = \"1000\"", (5, 11), "without quotes or unit"),
    ("[[policy]]\nname = \"x\"\nrate = \"99999999999999999999/s\"", (6, 8), "choose a rate from \"1/day\""),
    ("[[policy]]\nname = \"x\"\nrate = \"0/s\"", (6, 8), "choose a rate from \"1/day\""),
    ("[server]\npin = \"yes\"", (5, 7), "true or false"),
    ("[server]\nidle_timeout = 10", (5, 16), "write `idle_timeout = \"10s\"`"),
    ("[server]\nidle_timeout = \"10\"", (5, 16), "lacks a unit of time"),
    ("[server]\nidle_timeout = \"10 parsecs\"", (5, 16), "`parsecs`"),
    ("[server]\nidle_timeout = \"0s\"", (5, 16), "must be from 1ms"),
    ("[server]\nlisten = []", (5, 10), "names no address"),
    ("[server]\nlisten = 8080", (5, 10), "an array"),
    ("[server]\nlisten = [8080]", (5, 11), "must be text"),
    ("[server]\nlisten = [\"localhost:8080\"]", (5, 11), "host names are not looked up"),
    ("[server]\nlisten = [\"unix:\"]", (5, 11), "Unix socket"),
    ("[server]\nlisten = [\"[::1]:1\", \"[::1]:1\"]", (5, 22), "twice"),
    ("[server]\nlisten = [\"0.0.0.0:1\", \"127.0.0.1:1\"]", (5, 24), "only one of them can be had"),
    ("[server]\nlisten = [\"unix:a\", \"unix:./a\"]", (5, 21), "only one of them can be had"),
    ("[server]\nlisten = \"[::ffff:127.0.0.1]:1\"", (5, 10), "write \"127.0.0.1:1\""),
    ("[server]\nlisten = \"224.0.0.1:1\"", (5, 10), "no single host's"),
    ("[server]\nlisten = \"255.255.255.255:1\"", (5, 10), "no single host's"),
    ("[server]\nlisten = \"[fe80::1]:1\"", (5, 10), "on which interface"),
    ("[table]\ncapacity = 0", (5, 12), "whole number from 1"),
    ("[table]\non_table_full = \"alow\"", (5, 17), "did you mean `allow`?"),
    ("[table]\non_table_full = true", (5, 17), "one of \"allow\", \"deny\""),
    ("[[policy]]\nname = \"login\"\nrate = \"1/s\"", (5, 8), "the other is on line 2"),
    ("[[policy]]\nname = \"a b\"\nrate = \"1/s\"", (5, 8), "A-Z a-z 0-9 . _ -"),
    ("[[policy]]\nname = 5\nrate = \"1/s\"", (5, 8), "text in quotes"),
    ("[[policy]]\nrate = \"1/s\"", (4, 1), "has no `name`"),
    ("[[policy]]\nname = \"x\"", (4, 1), "has no `rate`"),
    ("[[policy]]\nname = \"x\"\nrate = \"1\"", (6, 8), "no `/`"),
    ("[[policy]]\nname = \"x\"\nrate = \"10000001/s\"", (6, 8), "10,000,000"),
    ("[[policy]]\nname = \"x\"\nrate = \"1/2day\"", (6, 8), "1 token a day"),
    ("burst = 0", (4, 9), "from 1 to 2147483648, not 0"),
    ("burst = 2147483649", (4, 9), "from 1 to 2147483648"),
    ("kill = \"on\"", (4, 8), "one of \"allow\", \"deny\""),
    ("shadow = 1", (4, 10), "true or false"),
    ("partition = \"ful\"", (4, 13), "did you mean `full`?"),
    ("share = 3", (4, 9), "one of \"observed\", \"equal\""),
    ("consistency = \"exact\"", (4, 15), "one of \"eventual\", \"strict\""),
    ("metadata = 3", (4, 12), "must be a table"),
    ("metadata = { a = 3 }", (4, 18), "put it in quotes"),
    ("[[policy.override]]\nburst = 3", (4, 1), "either `key` or `prefix`"),
    ("[[policy.override]]\nkey = \"a\"\nprefix = \"b\"\nburst = 3", (4, 1), "both `key` and `prefix`"),
    ("[[policy.override]]\nkey = \"a\"", (4, 1), "neither `rate` nor `burst`"),
    ("[[policy.override]]\nkey = \"\"\nburst = 3", (5, 7), "1 to 512 bytes"),
    ("[[policy.override]]\nkye = \"a\"\nkey = \"a\"\nburst = 3", (5, 1), "did you mean `key`?"),
    (
        "[[policy.override]]\nkey = \"a\"\nburst = 3\n[[policy.override]]\nkey = \"a\"\nburst = 4",
        (7, 1),
        "the other is on line 4",
    ),
    ("[metrics]\nwatch = [{ policy = \"logn\", key = \"a\" }]", (5, 21), "did you mean `login`?"),
    ("[metrics]\nwatch = [{ policy = \"login\" }]", (5, 10), "has no `key`"),
    ("[metrics]\nwatch = [\"login\"]", (5, 10), "must be a table"),
    ("[admin]\nlisten = \"127.0.0.1:9090\"", (5, 10), "without a token: whoever reaches it"),
    ("[admin]\nlisten = \"localhost:9090\"\ntoken_file = \"t\"", (5, 10), "host names are not looked up"),
    ("[admin]\nlisten = \"[ff02::1]:9090\"\ntoken_file = \"t\"", (5, 10), "no single host's"),
    ("[admin]\nlisten = \"[::ffff:127.0.0.1]:8080\"\ntoken_file = \"t\"", (5, 10), "choose another port"),
    ("[admin]\nlisten = 9090\ntoken_file = \"t\"", (5, 10), "must be text in quotes"),
    ("[admin]\ntoken_file = \"t\"", (5, 14), "[admin] has no `listen`"),
    ("[admin]\nwitness_token_credential = \"t\"", (5, 28), "[admin] has no `listen`"),
    ("[admin]\nbehind_tls = true", (5, 14), "[admin] has no `listen`"),
    (
        "[admin]\nlisten = \"[::1]:9090\"\ntoken_file = \"t\"\ntoken_credential = \"t\"",
        (7, 20),
        "both `token_file` and `token_credential`",
    ),
    ("[admin]\nlisten = \"[::1]:9090\"\ntoken_file = \"\"", (6, 14), "names no file"),
    ("[admin]\nlisten = \"[::1]:9090\"\ntoken_credential = \"a/b\"", (6, 20), "LoadCredential="),
    ("[admin]\npagerduty_secret_files = \"t\"", (5, 26), "an array"),
    ("[admin]\npagerduty_secret_files = [\"t\", 5]", (5, 32), "must hold texts"),
    ("[admin]\npagerduty_secret_credentials = [\"\"]", (5, 33), "LoadCredential="),
    ("[admin]\nsocket = \"\"", (5, 10), "1 to 107 bytes"),
    (
        "[server]\nlisten = \"127.0.0.1:9090\"\n[admin]\nlisten = \"127.0.0.1:9090\"\ntoken_file = \"t\"",
        (7, 10),
        "where [server] listens for checks",
    ),
    ("[admin]\nlisten = \"0.0.0.0:8080\"\ntoken_file = \"t\"", (5, 10), "choose another port"),
    ("[server]\nlisten = \"unix:/a\"\n[admin]\nsocket = \"/a\"", (7, 10), "choose another path"),
    ("[admin]\ntoken = \"secret\"", (5, 1), "has no key `token`"),
    ("[node]\nregion = \"\"", (5, 10), "does not know where it is"),
    ("[node]\nregion = \"Unknown\"", (5, 10), "does not know where it is"),
    ("[node]\nregion = \"a b\"", (5, 10), "name of a region"),
    ("[log]\nlevel = \"loud\"", (5, 9), "\"info\""),
    ("[shutdown]\ndeadline = \"2h\"", (5, 12), "from 0s to 1h"),
    ("[hash]\nsecret_file = \"/nonexistent/secret\"", (5, 15), "No such file"),
    ("[server]\nthreads = = 2", (5, 11), "not TOML"),
    ("[server]\nthreads = 2\nthreads = 3", (6, 1), "not TOML"),
];

#[test]
fn each_mistake_is_reported_at_its_place_with_a_remedy() {
    for &(text, place, words) in MISTAKES {
        let report = problems(format!("{POLICY}{text}"));
        let found: Vec<_> = report.iter().map(|problem| problem.line_and_column()).collect();
        assert_eq!(found[0], Some(place), "{text}\n{report}");
        assert!(report.to_string().contains(words), "{text}\n{report}");
    }
}

#[test]
fn what_is_no_table_or_no_list_is_one_problem_and_not_also_what_it_lacks() {
    for (text, place, words) in [
        ("[policy]\nname = \"a\"\nrate = \"1/s\"", (1, 1), "begin each policy with a line `[[policy]]`"),
        ("[policy.a]\nrate = \"1/s\"", (1, 2), "must be an array, not a table"),
        ("policy = 3", (1, 10), "must be an array, not 3"),
        ("policy = [3]", (1, 11), "must be a table, not 3"),
        ("metrics.watch = [3]\n[[policy]]\nname = \"a\"\nrate = \"1/s\"", (1, 18), "must be a table, not 3"),
    ] {
        let report = problems(text);
        let found: Vec<_> = report.iter().map(|problem| problem.line_and_column()).collect();
        assert_eq!(found, [Some(place)], "{text}\n{report}");
        assert!(report.to_string().contains(words), "{text}\n{report}");
    }
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_text() {
    let text = "[server]\nthread = 2\npin = 1\n[[policy]]\nname = \"a\"\nrate = \"x\"\nburst = 0\n\
        [tabel]\nx = 1\n[log]\nlevel = = 5\n";
    let report = problems(text);
    let lines: Vec<_> = report.iter().map(|problem| problem.line_and_column().unwrap().0).collect();
    assert_eq!(lines, [2, 3, 6, 7, 8, 11], "{report}");
    assert!(report.to_string().ends_with("6 problems in the configuration"), "{report}");
}

#[test]
fn a_problem_is_not_blamed_on_what_refers_to_it() {
    let watch = "[metrics]\nwatch = [{ policy = \"a\", key = \"k\" }]\n";
    let report = problems(format!("[[policy]]\nname = \"a\"\nrate = \"x\"\n{watch}"));
    assert_eq!(report.iter().len(), 1, "{report}");
    let report = problems(watch);
    assert!(report.iter().len() == 1 && report.to_string().contains("there is no policy, so"), "{report}");
}

#[test]
fn listeners_that_do_not_meet_are_accepted() {
    for (server, admin) in
        [("127.0.0.1:9090", "127.0.0.2:9090"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::]:9090", "0.0.0.0:9090")]
    {
        let text = format!(
            "{POLICY}[server]\nlisten = \"{server}\"\n[admin]\nlisten = \"{admin}\"\ntoken_file = \"t\"\n"
        );
        assert!(load(text).is_ok(), "{server} {admin}");
    }
}

#[test]
fn one_port_on_several_addresses_of_a_host_is_accepted() {
    let listen = "[\"0.0.0.0:1\", \"[::]:1\", \"127.0.0.1:0\", \"127.0.0.2:0\", \"unix:a\"]";
    assert_eq!(load(format!("{POLICY}[server]\nlisten = {listen}\n")).unwrap().server.listen.len(), 5);
    let listen = "[\"127.0.0.1:1\", \"127.0.0.2:1\", \"[fe80::1%2]:1\", \"[fe80::1%3]:1\"]";
    assert_eq!(load(format!("{POLICY}[server]\nlisten = {listen}\n")).unwrap().server.listen.len(), 4);
}

#[test]
fn a_report_shows_the_line_and_marks_the_place() {
    let file = file_with(format!("{POLICY}[server]\n\tthread = 2\n"));
    let name = file.path().display().to_string();
    let report =
        config::load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() }).unwrap_err();
    let expected = format!(
        "error: [server] has no key `thread`\n  --> {name}:5:2\n   |\n5  |  thread = 2\n   |  ^^^^^^\n  \
         = help: did you mean `threads`?\n\n1 problem in the configuration"
    );
    assert_eq!(report.to_string(), expected);
}

#[test]
fn a_file_without_policies_is_refused() {
    for text in ["", "policy = []", "[server]\nthreads = 1"] {
        assert!(problems(text).to_string().contains("[[policy]]"), "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    for path in ["/nonexistent/openclaw-rating.toml", "/"] {
        let sources = Sources { file: Some(PathBuf::from(path)), ..Sources::default() };
        let report = config::load(&sources).unwrap_err().to_string();
        assert!(report.contains(path) && report.contains("--config"), "{report}");
    }
}

#[test]
fn a_file_with_an_empty_name_is_told_by_where_it_was_to_be_named() {
    let nameless = |variable: Option<&str>| {
        let environment = variable.map(|text| (config::CONFIG_VARIABLE.to_owned(), text.to_owned()));
        let environment = environment.into_iter().collect();
        let sources = Sources { file: Some(PathBuf::new()), environment, ..Sources::default() };
        config::load(&sources).unwrap_err().to_string()
    };
    assert!(nameless(Some("")).contains("OPENCLAW_RATING_CONFIG is empty"));
    assert!(nameless(None).contains("--config is empty"));
}

#[test]
fn a_byte_order_mark_takes_no_column() {
    assert!(load([b"\xef\xbb\xbf", POLICY.as_bytes()].concat()).is_ok());
    let problems = problems([b"\xef\xbb\xbfserver = 5\n", POLICY.as_bytes()].concat());
    assert_eq!(problems.iter().next().unwrap().line_and_column(), Some((1, 10)));
    assert!(problems.to_string().contains("1  | server = 5\n   |          ^\n"), "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_has_a_remedy_of_its_kind() {
    let help = |file: PathBuf| {
        let problems = config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
        problems.iter().next().unwrap().help().unwrap().to_owned()
    };
    assert!(help("/nonexistent.toml".into()).contains("--config"));
    let huge = file_with(vec![b'#'; 9 << 20]);
    assert!(help(huge.path().to_owned()).contains("prefix"));
    // root is not refused.
    let hidden = file_with(POLICY);
    std::fs::set_permissions(hidden.path(), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::File::open(hidden.path()).is_err() {
        assert!(help(hidden.path().to_owned()).contains("chmod"));
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_reported_where_they_are() {
    let report = problems(b"# caf\xe9\n[server]\n");
    assert_eq!(report.iter().next().unwrap().line_and_column(), Some((1, 6)), "{report}");
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    for line in ["\"\\u001b[2J\" = \"\x1b[2J\"", "\"\\u001b[2J\" = 1"] {
        let report = problems(format!("{POLICY}{line}\n")).to_string();
        assert!(!report.contains('\x1b'), "{report:?}");
    }
}

#[test]
fn a_value_of_any_length_leaves_a_sentence_that_can_be_read() {
    let report = problems(format!("{POLICY}burst = \"{}\"\n", "x".repeat(100_000)));
    let what = report.iter().next().unwrap().what().to_owned();
    assert!(what.chars().count() < 600 && what.starts_with("`burst`") && what.ends_with("xx\""), "{what}");
}

#[test]
fn problems_beyond_those_that_are_listed_are_counted() {
    let report = problems(format!("{POLICY}{}", "[[policy.override]]\n".repeat(1500)));
    assert_eq!(report.iter().len(), 1000);
    assert!(report.to_string().ends_with("configuration, and 2000 more that are not listed"));
    let report = problems("=\n".repeat(1500)).to_string();
    assert!(report.ends_with("and 500 more that are not listed"));
}

#[test]
fn a_secret_is_thirty_two_hexadecimal_digits_and_is_never_shown() {
    let load_secret = |text: &str| {
        let secret = file_with(text);
        load(format!("{POLICY}[hash]\nsecret_file = \"{}\"", secret.path().display()))
    };
    for text in ["", "abc", "zz0102030405060708090a0b0c0d0e0f", "+00102030405060708090a0b0c0d0e0f"] {
        let report = load_secret(text).unwrap_err().to_string();
        assert!(report.contains("32 hexadecimal digits"), "{report}");
        assert!(text.is_empty() || !report.contains(&format!("\"{text}\"")), "{report}");
    }
    let config = load_secret("000102030405060708090a0b0c0d0eff\n").unwrap();
    assert_eq!(config.hash_secret.unwrap().0[14..], [0x0e, 0xff]);
    assert!(format!("{config:?}").contains("HashSecret(..)"));
}

#[test]
fn the_environment_overrides_the_file_and_arguments_override_both() {
    let environment = [
        ("OPENCLAW_RATING__SERVER__THREADS", "2"),
        ("OPENCLAW_RATING__SERVER__LISTEN", "127.0.0.1:9000"),
        ("OPENCLAW_RATING__POLICY__DEFAULT__BURST", "50"),
        ("OPENCLAW_RATING_CONFIG", "not a setting"),
        ("OPENCLAW_RATING_PORT_8080_TCP_ADDR", "10.0.0.7"),
        ("OPENCLAW_RATING_SERVICE_HOST", "10.0.0.7"),
        ("PATH", "/bin"),
    ];
    let sets = ["server.threads=3", "log.level=warn", "policy.\"default\".rate=7/min"];
    let config = load_with(&environment, &sets).unwrap();
    assert_eq!(config.server.threads, 3);
    assert_eq!(config.server.listen, [ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 9000)))]);
    assert_eq!(config.log_level, tracing::Level::WARN);
    assert_eq!(config.policies[0].limit.burst, 50);
    assert_eq!(config.policies[0].limit.rate, Rate::new(7, 60_000_000_000).unwrap());
}

#[test]
fn an_override_is_read_as_toml_is_with_quotes_of_either_kind_and_spaces() {
    let file = file_with("[[policy]]\nname = \"a.b\"\nrate = \"1/s\"\nburst = 9");
    let burst = |environment: &[(String, String)], set: &str| {
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: environment.to_vec(),
            sets: vec![set.to_owned()],
        };
        let config = config::load(&sources).map_err(|report| report.to_string())?;
        assert_eq!(config.log_level, tracing::Level::WARN);
        Ok::<_, String>(config.policies[0].limit.burst)
    };
    let loud = [("OPENCLAW_RATING__LOG__LEVEL".to_owned(), " warn ".to_owned())];
    for set in ["policy.'a.b'.burst=7", "policy.\"a.b\".burst = 7 ", " policy . 'a.b' . 'burst' =7"] {
        assert_eq!(burst(&loud, set), Ok(7), "{set}");
    }
    assert_eq!(burst(&loud, "policy.'a.b'.metadata.o'brien=x"), Ok(9), "a quote within a key is a letter");
    for (set, words) in [("policy.'a.b.burst=7", "goes in quotes"), ("policy.'a\".burst=7", "goes in quotes")]
    {
        let report = burst(&loud, set).unwrap_err();
        assert!(report.contains(words), "{set}\n{report}");
    }
}

#[test]
fn a_wrong_override_names_the_variable_or_the_argument() {
    for (environment, sets, words) in [
        (&[("OPENCLAW_RATING__SERVER__THREAD", "2")][..], &[][..], "did you mean `threads`?"),
        (&[("OPENCLAW_RATING__SERVER__THREADS", "two")], &[], "OPENCLAW_RATING__SERVER__THREADS=two"),
        (&[("OPENCLAW_RATING_SERVER__THREADS", "2")], &[], "did you mean OPENCLAW_RATING__SERVER__THREADS?"),
        (&[("OPENCLAW_RATING__", "2")], &[], "no key ``"),
        (&[("OPENCLAW_RATING__POLICY__NONE__BURST", "2")], &[], "there is no `policy.none`"),
        (&[], &["server.threads"], "this is not KEY=VALUE"),
        (&[], &["server.threads=x"], "must be a whole number"),
        (&[], &["policy.none.burst=1"], "there is no `policy.none`"),
        (&[], &["policy.default.rate.x=1"], "cannot be set here"),
        (&[], &["=1"], "no key ``"),
    ] {
        let report = load_with(environment, sets).unwrap_err();
        assert!(report.to_string().contains(words), "{words}\n{report}");
        assert!(report.iter().all(|problem| problem.help().is_some()), "{report}");
    }
}

#[test]
fn a_reload_does_not_wait_for_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let sources = Sources { file: Some(pipe), ..Sources::default() };
    let report = config::load_again(&sources, "local").unwrap_err().to_string();
    assert!(report.contains("is no file") && report.contains("restart the server"), "{report}");
}

#[test]
fn a_reload_knows_what_it_cannot_change() {
    let old = load(EVERY_SETTING).unwrap();
    let policies_only = load(EVERY_SETTING.replace("burst = 7\n", "burst = 8\n")).unwrap();
    assert!(old.needs_restart(&policies_only).is_empty());
    let more = load(EVERY_SETTING.replace("threads = 3", "threads = 4").replace("\"eu\"", "\"us\"")).unwrap();
    assert_eq!(old.needs_restart(&more), ["server", "node"]);
}

/// Lines that are nearly right, so that generated files get past the syntax.
fn plausible_line() -> impl Strategy<Value = String> {
    let headings = ["[server]", "[table]", "[[policy]]", "[[policy.override]]", "[metrics]", "[log]"];
    let keys = vec![
        "name",
        "rate",
        "burst",
        "key",
        "listen",
        "watch",
        "idle_timeout",
        "policy",
        "metadata",
        "capacity",
    ];
    let values = [
        "",
        "1",
        "-1",
        "\"10/s\"",
        "\"a\"",
        "\"unix:\"",
        "[]",
        "{}",
        "[[",
        "true",
        "1.5",
        "\"\u{e9}\"",
        "0xffffffffffffffffffff",
        "1979-05-27",
        "'''",
        "\r",
        "{ policy = \"a\", key = \"b\" }",
    ];
    let setting = (prop::sample::select(keys), prop::sample::select(values.to_vec()))
        .prop_map(|(key, value)| format!("{key} = {value}\n"));
    prop_oneof![prop::sample::select(headings.to_vec()).prop_map(|heading| format!("{heading}\n")), setting]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_file_makes_loading_or_reporting_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(bytes).map_err(|report| report.to_string());
    }

    #[test]
    fn no_nearly_right_file_makes_it_panic(lines in prop::collection::vec(plausible_line(), 0..20)) {
        let _ = load(lines.concat()).map_err(|report| report.to_string());
    }

    #[test]
    fn no_override_makes_it_panic(path in "[a-z._\"=]{0,30}", text in "\\PC{0,30}") {
        let variable = format!("OPENCLAW_RATING__{}", path.to_uppercase().replace('.', "__"));
        let set = format!("policy.default.{path}={text}");
        let _ = load_with(&[(&variable, &text)], &[&set, &text]).map_err(|report| report.to_string());
    }
}
