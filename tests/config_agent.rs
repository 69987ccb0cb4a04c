//! Promises of the settings of the agent.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use openclaw_rating::agent::orders::AgentMode;
use openclaw_rating::config::{self, Config, Failback, Problems, ProviderConfig, Sources};

use common::settings::{AGENT, load_in};

const EXAMPLE: &str = include_str!("../deploy/openclaw-rating.example.toml");

const AROUND: &str = r#"
[[policy]]
name = "api"
rate = "10/s"
[node]
region = "eu"
[state]
directory = "DIR/state"
"#;

fn load_text(text: &str) -> Result<Config, Problems> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "ab".repeat(32)).unwrap();
    load_in(directory.path(), text, &[])
}

/// The base configuration with some text replaced, and some added.
fn load(changes: &[(&str, &str)], more: &str) -> Result<Config, Problems> {
    let mut text = format!("{AROUND}{AGENT}{more}");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    load_text(&text)
}

fn refusal(changes: &[(&str, &str)], more: &str) -> String {
    load(changes, more).expect_err("it has a mistake").to_string()
}

#[test]
fn little_is_needed_and_the_rest_has_the_documented_defaults() {
    let agent = load(&[], "").unwrap_or_else(|problems| panic!("{problems}")).agent.unwrap();
    assert_eq!((agent.mode, agent.dry_run, agent.own_region.0.as_str()), (AgentMode::Manual, false, "eu"));
    assert_eq!(agent.traffic.name, "rates.example.com");
    assert_eq!((agent.traffic.kind.as_str(), agent.traffic.ttl_s), ("A", 30));
    assert_eq!((agent.pace.cooldown, agent.pace.max_switches_per_day), (Duration::from_secs(600), 3));
    assert_eq!((agent.pace.failback, agent.pace.keep_reports), (Failback::Manual, 200));
    let signals = &agent.signals;
    assert_eq!((signals.tokens_low_percent, signals.tokens_low_for), (10, Duration::from_secs(120)));
    assert_eq!((signals.tokens_critical_percent, signals.tokens_critical_for), (5, Duration::from_secs(30)));
    assert_eq!((agent.probe.down_after, agent.probe.down_for), (3, Duration::from_secs(1)));
    assert_eq!((agent.validation.policy.as_str(), agent.validation.min_tokens_percent), ("api", 80));
    assert_eq!(agent.regions[0].drill_values, ["192.0.2.1"]);
    assert!(load_text(AROUND).unwrap().agent.is_none());
}

#[test]
fn what_must_hold_between_the_parts_is_checked() {
    for (changes, more, says) in [
        (
            vec![("region = \"eu\"", "region = \"asia\"")],
            "",
            vec!["\"asia\" is none of the agent's", "could not act", "eu, us"],
        ),
        (vec![("region = \"eu\"", "")], "", vec!["\"local\" is none of the agent's"]),
        (
            vec![("[state]\ndirectory = \"DIR/state\"", "")],
            "",
            vec!["needs a state directory", "journalled first"],
        ),
        (
            vec![("[agent]", "[agent]\nmode = \"automatic\"")],
            "",
            vec!["automatic mode needs a witness", "cut off", ":11:8"],
        ),
        (
            vec![("[agent]", "[agent]\nmode = \"automatic\"\nwitness = []")],
            "",
            vec!["automatic mode needs a witness", ":11:8"],
        ),
        (vec![("name = \"us\"", "name = \"eu\"")], "", vec!["the region \"eu\" is there twice"]),
        (vec![("\"192.0.2.2\"]", "\"192.0.2.1\"]")], "", vec!["a value of both \"eu\" and \"us\""]),
        (
            vec![("\"192.0.2.2\"]", "\"elsewhere\"]")],
            "",
            vec!["\"elsewhere\" is not the value of a record of type A"],
        ),
        (
            vec![("provider = ", "type = \"CNAME\"\nprovider = ")],
            "",
            vec!["\"192.0.2.1\" is not the value of a record of type CNAME"],
        ),
        (
            vec![("health = [\"http://192.0.2.2:8080/health\"]", "")],
            "",
            vec!["[[agent.region]] \"us\" has no `health`"],
        ),
        (vec![("http://192.0.2.2:8080/health", "http://me@a/")], "", vec!["has a user name"]),
        (vec![("cluster = \"rates\"", "")], "", vec!["[agent] has no `cluster`"]),
        (vec![("[agent.public]\nurl = \"https://rates.example.com\"", "")], "", vec!["no section `public`"]),
        (vec![("provider = \"exec\"", "provider = \"exce\"")], "", vec!["did you mean `exec`?"]),
        (vec![("/bin/true", "true")], "", vec!["full path of a program"]),
        (
            vec![("provider = \"exec\"\ncommand = [\"/bin/true\"]", "provider = \"rfc2136\"")],
            "",
            vec!["no `server`", "no `zone`", "no `key_name`", "neither `key_file` nor `key_credential`"],
        ),
        (
            vec![
                (
                    "provider = \"exec\"\ncommand = [\"/bin/true\"]",
                    "provider = \"cloudflare\"\ntoken_file = \"/t\"\nzone = \"example.com\"",
                ),
                ("[\"192.0.2.2\"]", "[\"192.0.2.2\", \"192.0.2.3\"]"),
            ],
            "",
            vec!["takes one value of \"us\", not 2"],
        ),
        (
            vec![
                (
                    "provider = \"exec\"\ncommand = [\"/bin/true\"]",
                    "provider = \"cloudflare_lb\"\ntoken_file = \"/t\"\nzone_id = \"z\"\naccount_id = \"a\"\n\
                     load_balancer_id = \"l\"",
                ),
                ("name = \"us\"\n", "name = \"us\"\nweight = 3\n"),
            ],
            "",
            vec!["\"us\" has a weight, and a pool is enabled or disabled only"],
        ),
        (
            vec![("command = [\"/bin/true\"]", "command = [\"/bin/true\"]\ntimeout = \"30s\"")],
            "",
            vec!["from 100ms to 25s"],
        ),
        (
            vec![(
                "provider = \"exec\"\ncommand = [\"/bin/true\"]",
                "provider = \"route53\"\nzone_id = \"Z1\"\naccess_key_id = \"A\"\n\
                 secret_access_key_file = \"/s\"\nset_identifiers = [\"eu\"]",
            )],
            "",
            vec!["1 set identifiers stand for 2 regions"],
        ),
        (
            vec![(
                "provider = \"exec\"\ncommand = [\"/bin/true\"]",
                "provider = \"route53\"\nzone_id = \"Z1\"\naccess_key_id = \"A\"\n\
                 secret_access_key_file = \"/s\"\nset_identifiers = [\"eu\", \"eu\"]",
            )],
            "",
            vec!["set identifier \"eu\" stands for two regions"],
        ),
    ] {
        let text = refusal(&changes, more);
        for part in says {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}

const DRILL: &str =
    "[agent.drill]\nurl = \"https://drill.example.com\"\nprovider = \"exec\"\ncommand = [\"/bin/true\"]\n";
const BALANCER: &str = "provider = \"cloudflare_lb\"\nzone_id = \"z\"\ntoken_file = \"/t\"\n\
                        account_id = \"a\"\nload_balancer_id = \"live\"\n";

#[test]
fn a_drill_has_nothing_in_common_with_what_clients_use() {
    let url = |name: &str| DRILL.replace("drill.example.com", name);
    for (changes, more, says) in [
        // The name of its URL is the one that it changes, where it has none of its own.
        (vec![], url("rates.example.com"), "would change rates.example.com, the name that clients use"),
        (
            vec![],
            format!("{DRILL}name = \"Rates.Example.com.\"\n"),
            "would change Rates.Example.com., the name",
        ),
        // Another type of the same name is asked for by the same clients.
        (
            vec![],
            format!("{DRILL}name = \"rates.example.com\"\ntype = \"AAAA\"\n"),
            "the name that clients use",
        ),
        (
            vec![("provider = \"exec\"", "name = \"live.example.com\"\nprovider = \"exec\"")],
            format!("{DRILL}name = \"live.example.com\"\n"),
            "would change live.example.com, the name that clients use",
        ),
        (
            vec![
                ("values = [\"192.0.2.1\"]", "values = [\"eu.example.com\"]\ndrill_values = [\"192.0.2.1\"]"),
                ("values = [\"192.0.2.2\"]", "values = [\"us.example.com\"]\ndrill_values = [\"192.0.2.2\"]"),
                ("provider = \"exec\"", "type = \"CNAME\"\nprovider = \"exec\""),
            ],
            format!("{DRILL}name = \"US.example.com\"\n"),
            "would change us.example.com, to which the public record leads",
        ),
        (
            vec![],
            format!("{DRILL}type = \"POOLS\"\n"),
            "disable the live pools of \"us\": it has no `drill_values`",
        ),
        (
            vec![("values = [\"192.0.2.1\"]", "values = [\"192.0.2.1\"]\ndrill_values = [\"192.0.2.2\"]")],
            format!("{DRILL}type = \"POOLS\"\n"),
            "\"192.0.2.2\" in `drill_values` of \"eu\" is a live pool",
        ),
        (
            vec![("provider = \"exec\"\ncommand = [\"/bin/true\"]\n", BALANCER)],
            format!("[agent.drill]\nurl = \"https://drill.example.com\"\n{BALANCER}"),
            "would change the load balancer of [agent.traffic]",
        ),
    ] {
        let text = refusal(&changes, &more);
        assert!(text.contains(says), "{text} lacks {says}");
    }
    let text = refusal(&[], &format!("{DRILL}name = \"rates.example.com\"\n"));
    assert!(text.contains(":29:8") && text.contains("record of its own"), "{text}");
}

#[test]
fn a_drill_with_a_record_and_pools_of_its_own_is_accepted() {
    assert!(load(&[], DRILL).unwrap().agent.unwrap().drill.is_some());
    let pools = [
        ("values = [\"192.0.2.1\"]", "values = [\"eu\"]\ndrill_values = [\"eu-drill\"]"),
        ("values = [\"192.0.2.2\"]", "values = [\"us\"]\ndrill_values = [\"us-drill\"]"),
        ("provider = \"exec\"\ncommand = [\"/bin/true\"]\n", BALANCER),
    ];
    let drill = BALANCER.replace("live", "shadow");
    let drill = format!("[agent.drill]\nurl = \"https://drill.example.com\"\n{drill}");
    assert!(load(&pools, &drill).unwrap_or_else(|problems| panic!("{problems}")).agent.is_some());
}

#[test]
fn a_value_is_the_same_however_it_is_written() {
    let shared = [
        ("\"192.0.2.1\"]", "\"2001:db8::1\"]"),
        ("\"192.0.2.2\"]", "\"2001:DB8:0::1\"]"),
        ("provider = \"exec\"", "type = \"AAAA\"\nprovider = \"exec\""),
    ];
    assert!(refusal(&shared, "").contains("a value of both \"eu\" and \"us\""));
    let drill = ("values = [\"192.0.2.1\"]", "values = [\"192.0.2.1\"]\ndrill_values = [\"192.0.2.2\"]");
    assert!(refusal(&[drill], "").contains("\"192.0.2.2\" is a value of both \"eu\" and \"us\""));
}

#[test]
fn a_witness_token_over_plain_http_is_warned_of() {
    let warnings = |url: &str, more: &str| {
        load(&[], &format!("[[agent.witness]]\nurl = \"{url}\"\n{more}")).unwrap().warnings().join(" ")
    };
    let token = "token_file = \"/t\"\n";
    assert!(warnings("http://198.51.100.1/{region}", token).contains("in the clear: ask it by https"));
    for (url, more) in [
        ("https://198.51.100.1/{region}", token),
        ("http://127.0.0.1/{region}", token),
        ("http://[::1]/{region}", token),
        ("http://198.51.100.1/{region}", ""),
    ] {
        assert!(!warnings(url, more).contains("in the clear"), "{url}");
    }
}

#[test]
fn a_witness_is_called_by_its_host_and_one_that_shares_it_by_its_place_too() {
    let urls = ["https://a.example:9443/{region}", "http://[2001:db8::1]/x/{region}?q", "https://b/{region}"];
    let names = |urls: &[&str]| -> Vec<String> {
        let witnesses = urls.iter().map(|url| format!("[[agent.witness]]\nurl = \"{url}\"\n"));
        let agent = load(&[], &witnesses.collect::<String>()).unwrap().agent.unwrap();
        agent.witnesses.into_iter().map(|witness| witness.name).collect()
    };
    assert_eq!(names(&urls), ["a.example:9443", "[2001:db8::1]", "b"]);
    let shared = ["https://b/{region}", "https://a/{region}", "https://b/2/{region}"];
    assert_eq!(names(&shared), ["b #1", "a", "b #3"]);
}

#[test]
fn no_override_takes_the_witnesses_of_automatic_mode_away() {
    let directory = tempfile::tempdir().unwrap();
    let witness = "[[agent.witness]]\nurl = \"https://a/{region}\"\n";
    let automatic = AGENT.replace("[agent]", "[agent]\nmode = \"automatic\"");
    let text = format!("{AROUND}{automatic}{witness}");
    assert!(load_in(directory.path(), &text, &[]).is_ok());
    let without = ["agent.witness=[]".to_owned()];
    let report = load_in(directory.path(), &text, &without).unwrap_err().to_string();
    assert!(report.contains("automatic mode needs a witness"), "{report}");
}

#[test]
fn no_incident_is_over_before_the_agent_could_act_on_it() {
    let witness = "[[agent.witness]]\nurl = \"https://a/{region}\"\n";
    let with = |pace: &str| load(&[("[agent]", &format!("[agent]\n{pace}"))], witness);
    for (pace, place) in [
        ("mode = \"automatic\"\nhold_off = \"30min\"", ":12:"),
        ("mode = \"automatic\"\nack_timeout = \"500ms\"", ":12:"),
        ("ack_timeout = \"0s\"", ":11:"),
    ] {
        let report = with(pace).unwrap_err().to_string();
        assert!(report.contains("make ack_timeout longer than hold_off"), "{report}");
        assert!(report.contains("handed over") && report.contains(place), "{report}");
    }
    for pace in [
        "mode = \"automatic\"\nhold_off = \"29min\"",
        "mode = \"automatic\"\nhold_off = \"2h\"\nack_timeout = \"3h\"",
        "hold_off = \"2h\"",
        "mode = \"observe\"\nack_timeout = \"0s\"",
    ] {
        with(pace).unwrap_or_else(|problems| panic!("{pace}: {problems}"));
    }
}

#[test]
fn a_witness_that_cannot_be_read_is_reported_once() {
    let automatic = [("[agent]", "[agent]\nmode = \"automatic\"")];
    let text = refusal(&automatic, "[[agent.witness]]\nurl = \"https://a/b\"\n");
    assert!(text.contains("does not say which region") && text.ends_with("1 problem in the configuration"));
}

#[test]
fn each_service_says_what_it_lacks() {
    for (more, says) in [
        ("[agent.pagerduty]\n", "neither `routing_key_file` nor `routing_key_credential`"),
        ("[agent.pagerduty]\nrouting_key_file = \"/k\"\nrouting_key_credential = \"k\"\n", "has both"),
        (
            "[agent.pagerduty]\nrouting_key_file = \"/k\"\nrest_api = \"http://api.example.com\"\n",
            "plain http is only for this machine",
        ),
        ("[agent.pagerduty]\nrouting_key_file = \"/k\"\nsite = \"uk\"\n", "must be one of \"us\", \"eu\""),
        ("[agent.slack]\ntoken_file = \"/t\"\n", "names neither a webhook nor a bot"),
        ("[agent.telegram]\ntoken_file = \"/t\"\n", "[agent.telegram] has no `chat_id`"),
        ("[agent.webhook]\n", "[agent.webhook] has no `url`"),
        ("[agent.summary]\napi = \"https://a/v1\"\n", "[agent.summary] has no `model`"),
        ("[agent.scale]\nreplicas = 3\n", "[agent.scale] has no `provider`"),
        (
            "[agent.scale]\nprovider = \"kubernetes\"\nreplicas = 3\nceiling = 2\nnamespace = \"a\"\n\
             name = \"b\"\n",
            "ceiling 2 is below the 3",
        ),
        (
            "[agent.gitops]\ndirectory = \"/d\"\nfile = \"../x\"\nkey = \"k\"\n",
            "not a path inside the checkout",
        ),
        (
            "[agent.gitops]\ndirectory = \"/d\"\nfile = \"x\"\nkey = \"k\"\nremote = \"origin\"\n",
            "both `remote` and `branch`",
        ),
        ("[agent.prometheus]\nurl = \"ftp://a\"\n", "is not a URL"),
        ("[agent.http]\nproxy = \"http://me:hunter2@proxy:1\"\n", "holds a password"),
        ("[agent.http]\nca_file = \"/nonexistent.pem\"\n", "cannot read the CA file /nonexistent.pem"),
        (
            "[agent.scale]\nprovider = \"kubernetes\"\nreplicas = 3\nnamespace = \"a\"\nname = \"b\"\n\
             ca_file = \"/nonexistent.pem\"\n",
            "cannot read the CA file /nonexistent.pem",
        ),
        ("[agent.validation]\npolicy = \"apii\"\n", "did you mean `api`?"),
        ("[agent.signals]\ntokens_critical_percent = 20\n", "critical below 20 % and low only below 10 %"),
        ("[[agent.witness]]\nurl = \"https://a/b\"\n", "does not say which region"),
        ("[agent.drill]\nprovider = \"exec\"\ncommand = [\"/bin/true\"]\n", "[agent.drill] has no `url`"),
        ("[[agent.link]]\ntext = \"x\"\nhref = \"javascript:1\"\n", "is not a link"),
        ("[agent.probe]\nintervall = \"1s\"\n", "did you mean `interval`?"),
        ("[agent.paging]\nx = 1\n", "[agent] has no key `paging`"),
    ] {
        let text = refusal(&[], more);
        assert!(text.contains(says), "{text} lacks {says}");
        assert!(!text.contains("hunter2\"") || says.contains("password"), "{text}");
    }
    let text = refusal(&[("[agent]", "[agent]\nfailback = \"after:soon\"")], "");
    assert!(text.contains("does not say how traffic goes back"), "{text}");
}

#[test]
fn peers_must_say_where_they_are() {
    let cluster = "[cluster]\nsecret_file = \"DIR/secret\"\nlisten = \"127.0.0.1:7946\"\n[[peer]]\nid = 2\n\
        address = \"127.0.0.1:7947\"\n";
    let id = ("[node]", "[node]\nid = 1");
    assert!(refusal(&[id], cluster).contains("the region of the peer \"node-2\" is not known"));
    let elsewhere = format!("{cluster}region = \"asia\"\n");
    assert!(refusal(&[id], &elsewhere).contains("\"asia\" of the peer \"node-2\" is none"));
    let config = load(&[id], &format!("{cluster}region = \"us\"\n")).unwrap();
    assert_eq!(config.cluster.unwrap().peers[0].region.as_deref(), Some("us"));
}

/// The example with its secrets in a directory of the test.
fn example(directory: &Path) -> String {
    for name in ["witness.token", "tsig.key", "pagerduty.key", "pagerduty-rest.key"] {
        fs::write(directory.join(name), "c2VjcmV0").unwrap();
    }
    fs::write(directory.join("cluster.secret"), "ab".repeat(32)).unwrap();
    EXAMPLE.replace("/etc/openclaw-rating/", &format!("{}/", directory.display()))
}

#[test]
fn the_example_is_accepted_and_check_config_explains_its_provider() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("example.toml");
    fs::write(&file, example(directory.path())).unwrap();
    let config = config::load(&Sources { file: Some(file.clone()), ..Sources::default() });
    let agent = config.unwrap_or_else(|problems| panic!("{problems}")).agent.unwrap();
    assert!(matches!(agent.traffic.provider, ProviderConfig::Rfc2136 { .. }));
    let program = env!("CARGO_BIN_EXE_openclaw-rating");
    let output =
        Command::new(program).env_clear().args(["check-config", "--config"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "agent      manual, region eu-central of eu-central, us-east",
        "rfc2136 A rates.example.com",
        "clients keep the old address for up to its TTL, which stays as it is in the zone",
        "the server compares",
        "drill",
    ] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert!(!text.contains("c2VjcmV0"));
    fs::remove_file(directory.path().join("tsig.key")).unwrap();
    let output =
        Command::new(program).env_clear().args(["check-config", "--config"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // The record and the shadow record of drills have it in common.
    let notes = text.matches("cannot be used now: cannot read the secret in").count();
    assert!(output.status.success() && notes == 1, "{text}");
}

#[test]
fn every_line_of_the_example_that_is_commented_out_is_a_setting() {
    let directory = tempfile::tempdir().unwrap();
    let text = example(directory.path());
    let is_setting = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or("");
        let is_key = rest.split_once(" = ").is_some_and(|(key, _)| {
            key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        });
        is_key || rest.starts_with("[agent.") && !rest.starts_with("[agent.traffic]")
    };
    // The other providers would be a second [agent.traffic].
    let other_providers = text.find("# [agent.traffic]").unwrap()..text.find("# A shadow record").unwrap();
    let mut open = text.clone();
    open.replace_range(other_providers, "");
    let open: Vec<&str> = open.lines().map(|line| if is_setting(line) { &line[2..] } else { line }).collect();
    let open = open.join("\n").replace("/etc/ssl/certs/ca-certificates.crt", "DIR/ca.pem");
    let open = open.replace("ca_file", "# ca_file");
    let file = directory.path().join("open.toml");
    fs::write(&file, open).unwrap();
    let config = config::load(&Sources { file: Some(file), ..Sources::default() });
    let agent = config.unwrap_or_else(|problems| panic!("{problems}")).agent.unwrap();
    assert!(
        agent.slack.is_some() && agent.gitops.is_some() && agent.scale.is_some() && agent.summary.is_some()
    );
}
