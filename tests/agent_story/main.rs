//! Promises of the agent to who lives with it, by the real program: what other programs may tell it, a journal
//! without room, drills, more of the standby, the region in a checkout, Prometheus and its alerts.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod desk;
mod monitoring;
mod services;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::disk::Disk;
use common::fake::{Fake, text};
use common::program::{Program, command};
use common::story::{EU, PAGE_KEY, Story, US, audit_is_good, reports};
use common::support::{HELM_VALUES, assert_says, until};
use desk::{ALERT_NAME, Alert, Desk, Webhook};
use monitoring::{Monitoring, Places};
use rustix::process::Signal;
use serde_json::Value;
use services::{Checkout, Kubernetes, api_of_prometheus};

/// A start that soon sees everybody healthy. Who is down is seen as late as always.
const PROBES: &str = "[agent.probe]\ninterval = \"200ms\"\nup_after = 2\n";
/// How long nothing must happen where something would within some milliseconds.
const A_WHILE: Duration = Duration::from_millis(1500);

/// Both regions; `us` has the admin listener.
fn start_with_desk(story: &Story, desk: &Desk) -> [Program; 2] {
    story.start_each([PROBES, &format!("{PROBES}{}", desk.section)])
}

/// What the program says to somebody in this directory.
fn told(directory: &Path, arguments: &str) -> String {
    let output = command(directory).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the journal says of tasks that ended.
fn outcomes(directory: &Path) -> Vec<(String, bool)> {
    let text = told(directory, "audit show --json");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone());
    let outcome = |entry: Value| Some((entry["step"].as_str()?.to_owned(), entry["done"].as_bool()?));
    lines.filter_map(outcome).collect()
}

fn until_phase(node: &Program, phase: &str) {
    let line = format!("openclaw_agent_phase{{phase=\"{phase}\"}} 1");
    node.until("/metrics", |page| page.contains(&line));
}

fn is_reported(node: &Program) -> bool {
    reports(node.directory()).iter().any(|name| name.ends_with(".md"))
}

#[test]
fn a_signed_webhook_acknowledges_once_and_what_is_forged_or_replayed_moves_nothing() {
    let Some(story) = Story::begin() else { return };
    let desk = Desk::new(&story);
    let [eu, us] = start_with_desk(&story, &desk);
    let serial = story.dns.serial();
    let early = Webhook::acknowledged("01EARLY", PAGE_KEY);
    let answer = desk.webhook(&early);
    assert_eq!(answer.status, 200);
    assert_says(&answer.body, &["no page that waits here"]);
    eu.signal(Signal::KILL);
    story.pager.until_about("trigger", PAGE_KEY);
    until_phase(&us, "paged");
    let right = Webhook::acknowledged("01RIGHT", PAGE_KEY);
    for (webhook, status, says) in [
        (Webhook::acknowledged("01FORGED", PAGE_KEY).forged(), 401, ""),
        (Webhook::acknowledged("01BORROWED", PAGE_KEY).signed_as(&right), 401, ""),
        (Webhook::of_the_past(10, "01PAST", PAGE_KEY), 400, ""),
        (Webhook::of_the_past(2, "01EARLIER", PAGE_KEY), 200, "before the page that waits here"),
        (early, 200, "seen before"),
        (
            Webhook::acknowledged("01OTHER", "openclaw-rating:rates:failover:us"),
            200,
            "no page that waits here",
        ),
    ] {
        let answer = desk.webhook(&webhook);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_says(&answer.body, &[says]);
    }
    std::thread::sleep(A_WHILE);
    until_phase(&us, "paged");
    assert_says(
        &told(us.directory(), "failover status"),
        &["Ada acknowledged", "`failover ack` goes on", "NTP"],
    );
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
    assert_says(&desk.webhook(&right).body, &["acknowledged by Ada"]);
    until("the record", || story.dns.values() == [US]);
    story.pager.until_about("resolve", PAGE_KEY);
    assert_says(&desk.webhook(&right).body, &["seen before"]);
    until("the report", || is_reported(&us));
    assert_eq!(story.dns.serial(), serial + 1);
    assert_says(&told(us.directory(), "audit show"), &["Ada"]);
    audit_is_good(us.directory());
}

#[test]
fn regions_and_the_public_name_are_seen_and_tried_over_tls() {
    let Some(story) = Story::begin() else { return };
    let story = story.behind_tls();
    let [eu, us] = story.start_both(PROBES);
    let [_, before] = story.passed();
    eu.signal(Signal::KILL);
    story.pager.until_about("trigger", PAGE_KEY);
    assert_says(&told(us.directory(), "failover ack"), &[]);
    until("the record", || story.dns.values() == [US]);
    story.pager.until_about("resolve", PAGE_KEY);
    until("the report", || is_reported(&us));
    assert!(outcomes(us.directory()).contains(&("validate".to_owned(), true)));
    // The trial's load, ten requests, and every look at the region.
    assert!(story.passed()[1] > before + 10, "{before} requests, then {:?}", story.passed());
    audit_is_good(us.directory());
}

/// Leaves no room on the disk, not even in the last page of the journal, and returns what takes it.
fn fill(disk: &Disk, desk: &Desk) -> std::path::PathBuf {
    let filler = disk.fill();
    let sizes = [1500, 700, 300, 100].into_iter().chain(std::iter::repeat_n(0, 12));
    for (number, size) in sizes.enumerate() {
        let (fingerprint, summary) = (format!("f{number}"), "x".repeat(size));
        let alert = Alert { fingerprint: &fingerprint, status: "firing", summary: &summary };
        assert_eq!(desk.alert(&alert).status, 200);
    }
    filler
}

#[test]
fn without_room_for_its_journal_the_agent_pages_and_serves_and_moves_once_there_is_room() {
    let Some(story) = Story::begin() else { return };
    let Some(disk) = Disk::mount() else { return };
    let desk = Desk::new(&story);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    fs::create_dir(directories[1].path().join("state")).unwrap();
    symlink(disk.path(), directories[1].path().join("state/journal")).unwrap();
    let [eu, us] = story.start_each_in(directories, [PROBES, &format!("{PROBES}{}", desk.section)]);
    let serial = story.dns.serial();
    let filler = fill(&disk, &desk);
    let journal_key = "openclaw-rating:rates:us:node-2:journal";
    story.pager.until_about("trigger", journal_key);
    us.until("/metrics", |page| page.contains("openclaw_agent_journal_failing 1"));
    eu.signal(Signal::KILL);
    story.pager.until_about("trigger", PAGE_KEY);
    until_phase(&us, "paged");
    // It is not taken, so PagerDuty sends it again.
    let acknowledged = Webhook::acknowledged("01ADA", PAGE_KEY);
    for _ in 0..2 {
        assert_eq!(desk.webhook(&acknowledged).status, 503);
        std::thread::sleep(A_WHILE);
    }
    until_phase(&us, "paged");
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
    assert_says(&us.get("/v1/check/api/somebody"), &["HTTP/1.1 200"]);
    assert_says(&told(us.directory(), "failover status"), &["journal"]);
    assert_says(&told(us.directory(), "failover freeze --why network"), &["frozen", "not durable"]);
    assert_eq!(story.pager.count("resolve", journal_key), 0);
    fs::remove_file(filler).unwrap();
    story.pager.until_about("resolve", journal_key);
    assert_eq!(desk.webhook(&acknowledged).status, 200);
    until("the freeze", || told(us.directory(), "audit show").contains("signal frozen raised"));
    assert_eq!(story.dns.values(), [EU]);
    assert_says(&told(us.directory(), "failover thaw"), &["thawed"]);
    until("the record", || story.dns.values() == [US]);
    story.pager.until_about("resolve", PAGE_KEY);
    until("the report", || is_reported(&us));
    assert_eq!(story.dns.serial(), serial + 1);
    assert_eq!(story.triggers(), 1);
    audit_is_good(us.directory());
}

#[test]
fn a_drill_runs_the_whole_runbook_on_the_shadow_record_and_leaves_the_live_one_alone() {
    let Some(story) = Story::begin() else { return };
    let drill = story.dns.drill_section(&story.secrets.path().join("tsig"), story.port);
    let [_eu, us] = story.start_both(&format!("{PROBES}{drill}"));
    let (serial, shadow_serial) = (story.dns.serial(), story.dns.shadow_serial());
    assert_eq!(story.dns.shadow_values(), [EU]);
    assert_says(&told(us.directory(), "failover drill"), &["the drill begins"]);
    until("the shadow record", || story.dns.shadow_values() == [US]);
    until("the shadow record's return", || story.dns.shadow_values() == [EU]);
    until("the report", || is_reported(&us));
    until_phase(&us, "watching");
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
    assert_eq!(story.dns.shadow_serial(), shadow_serial + 2);
    let outcomes = outcomes(us.directory());
    for step in [
        "preflight",
        "read_record",
        "write_record",
        "await_visible",
        "validate",
        "restore_record",
        "write_report",
    ] {
        assert!(outcomes.contains(&(step.to_owned(), true)), "{step} is not among {outcomes:?}");
    }
    assert_eq!(story.triggers(), 0, "a drill wakes nobody under the key of a failover");
    audit_is_good(us.directory());
}

#[test]
fn a_bucket_that_is_almost_empty_has_the_standby_raised_once_and_moves_nothing() {
    let Some(story) = Story::begin() else { return };
    let kubernetes = Kubernetes::start(2);
    let orders = story.secrets.path().join("orders");
    let token = story.secrets.path().join("kubernetes");
    fs::write(&token, Kubernetes::TOKEN).unwrap();
    let common = format!(
        r#"{PROBES}
        [agent.signals]
        tokens_critical_for = "1s"
        [[policy]]
        name = "scarce"
        rate = "1/day"
        burst = 100
        [metrics]
        watch = [{{ policy = "scarce", key = "k" }}]
        [agent.scale]
        replicas = 6
        "#
    );
    let script = format!("echo $OPENCLAW_REPLICAS >> {}", orders.display());
    let by_command =
        format!("{common}provider = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    let by_kubernetes = format!(
        "{common}provider = \"kubernetes\"\napi = \"http://{}\"\ntoken_file = \"{}\"\nnamespace = \"edge\"\n\
         name = \"rating\"\n",
        kubernetes.fake.address,
        token.display()
    );
    let [eu, us] = story.start_each([&by_command, &by_kubernetes]);
    let serial = story.dns.serial();
    let ordered = || fs::read_to_string(&orders).unwrap_or_default();
    // Six percent are left: low, and not critical.
    assert_says(&eu.get("/v1/check/scarce/k?cost=94"), &["HTTP/1.1 200"]);
    std::thread::sleep(2 * A_WHILE);
    assert_eq!((ordered(), kubernetes.replicas()), (String::new(), 2));
    assert_says(&eu.get("/v1/check/scarce/k?cost=2"), &["HTTP/1.1 200"]);
    until("the command", || ordered() == "6\n");
    until("the replicas", || kubernetes.replicas() == 6);
    let key = "openclaw-rating:rates:eu:tokens_critical/scarce/k";
    story.pager.until_about("trigger", key);
    // It fills, and is drained again within the cooldown.
    told(eu.directory(), "reset scarce k");
    story.pager.until_about("resolve", key);
    assert_says(&eu.get("/v1/check/scarce/k?cost=97"), &["HTTP/1.1 200"]);
    until("the second page", || story.pager.count("trigger", key) == 2);
    std::thread::sleep(A_WHILE);
    assert_eq!((ordered().as_str(), kubernetes.patches()), ("6\n", 1));
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
    assert_eq!(story.triggers(), 0);
    for node in [&eu, &us] {
        assert!(outcomes(node.directory()).contains(&("scale".to_owned(), true)));
        audit_is_good(node.directory());
    }
}

#[test]
fn after_a_failover_the_region_is_pushed_and_the_report_has_what_prometheus_knows() {
    let Some(story) = Story::begin() else { return };
    let Some(checkout) = Checkout::start() else { return };
    let prometheus = Fake::start(api_of_prometheus);
    let more = format!(
        "{PROBES}{}[agent.prometheus]\nurl = \"http://{}\"\n",
        checkout.section(),
        prometheus.address
    );
    let [eu, us] = story.start_each([PROBES, &more]);
    eu.signal(Signal::KILL);
    story.pager.until_about("trigger", PAGE_KEY);
    assert_eq!(checkout.pushed(), ["start"]);
    assert_says(&told(us.directory(), "failover ack"), &[]);
    until("the record", || story.dns.values() == [US]);
    until("the commit", || checkout.pushed().len() == 2);
    assert_says(&checkout.pushed()[0], &["us"]);
    assert_eq!(checkout.pushed_values(), HELM_VALUES.replace("eu", "us"));
    until("the report", || is_reported(&us));
    let name = reports(us.directory()).into_iter().find(|name| name.ends_with(".md")).unwrap();
    let report = fs::read_to_string(us.directory().join("state/reports").join(name)).unwrap();
    assert_says(&report, &["| Available tokens, % of capacity | 43.2 (least 43.2) |"]);
    until("the outcome", || outcomes(us.directory()).contains(&("commit_region".to_owned(), true)));
    audit_is_good(us.directory());
}

#[test]
fn an_alert_of_alertmanager_pages_once_until_it_is_resolved_and_moves_nothing() {
    let Some(story) = Story::begin() else { return };
    let desk = Desk::new(&story);
    let [_eu, us] = start_with_desk(&story, &desk);
    let serial = story.dns.serial();
    let firing = Alert { fingerprint: "1a30ba71", status: "firing", summary: "eu is not heard" };
    assert_eq!(desk.alert_by("a-token-of-somebody", &firing).status, 401);
    for _ in 0..2 {
        assert_eq!(desk.alert(&firing).status, 200);
    }
    let key = format!("openclaw-rating:rates:alert/{ALERT_NAME}/1a30ba71");
    story.pager.until_about("trigger", &key);
    let page = story.pager.first_page();
    assert_eq!(
        (&page["payload"]["severity"], &page["dedup_key"]),
        (&"critical".into(), &key.as_str().into())
    );
    assert_says(page["payload"]["summary"].as_str().unwrap(), &[ALERT_NAME, "eu is not heard"]);
    assert_eq!(desk.alert(&Alert { status: "resolved", ..firing }).status, 200);
    story.pager.until_about("resolve", &key);
    std::thread::sleep(A_WHILE);
    assert_eq!((story.pager.events().len(), story.triggers()), (2, 0));
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
    assert_says(&told(us.directory(), "audit show"), &[ALERT_NAME, "eu is not heard"]);
}

#[test]
fn the_shipped_rule_fires_through_a_real_prometheus_and_alertmanager_into_a_page() {
    let Some(story) = Story::begin() else { return };
    let desk = Desk::new(&story);
    let [_eu, us] = start_with_desk(&story, &desk);
    let serial = story.dns.serial();
    let is_scraped = Arc::new(AtomicBool::new(true));
    let eu_exporter = {
        let is_scraped = Arc::clone(&is_scraped);
        Fake::start(move |_| text(if is_scraped.load(Ordering::Relaxed) { 200 } else { 500 }, ""))
    };
    let people = Fake::start(|_| text(200, ""));
    let places = Places {
        scraped: [eu_exporter.address.to_string(), format!("{US}:{}", story.port)],
        admin: desk.address(),
        token: &story.secrets.path().join("alerts"),
        people: people.address.to_string(),
    };
    let Some(_monitoring) = Monitoring::start(&places) else { return };
    until("the first scrape", || !eu_exporter.asked().is_empty());
    is_scraped.store(false, Ordering::Relaxed);
    let begins = "openclaw-rating:rates:alert/OpenClawRegionDown/";
    let key_of = |kind: &str| {
        let mut events = story.pager.events().into_iter();
        events.find_map(|(found, key, _)| (found == kind && key.starts_with(begins)).then_some(key))
    };
    until("the page", || key_of("trigger").is_some());
    let page = story.pager.first_page();
    assert_says(
        page["payload"]["summary"].as_str().unwrap(),
        &["OpenClawRegionDown", "No rate-limit server answers in eu"],
    );
    assert_eq!(page["payload"]["severity"], "critical");
    is_scraped.store(true, Ordering::Relaxed);
    until("the end of the page", || key_of("resolve").is_some());
    assert_eq!(key_of("resolve"), key_of("trigger"));
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
    assert_eq!(story.triggers(), 0);
    assert_says(&told(us.directory(), "audit show"), &["OpenClawRegionDown"]);
}
