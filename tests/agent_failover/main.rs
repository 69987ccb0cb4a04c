//! Promises of the agent as a whole: two real servers, real DNS, a stand-in for the pager.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::fake::{Fake, Fault, text};
use common::program::promtool_finds_nothing;
use common::story::{EU, PAGE_KEY, Story, US, audit_is_good, reports};
use common::support::until;
use rustix::process::Signal;

const BACK_KEY: &str = "openclaw-rating:rates:failback:eu";

#[test]
fn a_dead_region_is_paged_acknowledged_moved_validated_resolved_and_reported() {
    let Some(story) = Story::begin() else { return };
    let [eu, us] = story.start_both("");
    promtool_finds_nothing(&us.until("/metrics", |page| page.contains("openclaw_agent_phase")));
    assert_eq!(story.dns.values(), [EU]);
    let killed = Instant::now();
    eu.signal(Signal::KILL);
    let paged = story.pager.until("trigger");
    eprintln!("paged {:?} after the kill", paged.duration_since(killed));
    let page = story.pager.first_page();
    assert_eq!(page["dedup_key"], PAGE_KEY);
    assert_eq!(page["links"][0]["text"], "Runbook");
    assert_eq!(page["payload"]["severity"], "critical");
    // Nobody has said yes.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(story.dns.values(), [EU]);
    story.pager.acknowledge(PAGE_KEY);
    let acknowledged = Instant::now();
    until("the record", || story.dns.values() == [US]);
    eprintln!("moved {:?} after the acknowledgement", acknowledged.elapsed());
    story.pager.until("resolve");
    until("the report", || reports(us.directory()).iter().any(|name| name.ends_with(".md")));
    assert_eq!(story.triggers(), 1);
    audit_is_good(us.directory());
    let page = us.until("/metrics", |page| page.contains("step=\"write_record\""));
    promtool_finds_nothing(&page);
}

#[test]
fn a_chat_room_that_never_answers_keeps_no_report_waiting() {
    let Some(story) = Story::begin() else { return };
    let room = Fake::start(|_| text(200, ""));
    room.inject(vec![Fault::Silent; 100]);
    let agent = format!("mode = \"manual\"\n[agent.webhook]\nurl = \"{}\"\n", room.url("/"));
    let [eu, us] = story.start_both(&agent);
    eu.signal(Signal::KILL);
    story.pager.until("trigger");
    story.pager.acknowledge(PAGE_KEY);
    story.pager.until("resolve");
    let resolved = Instant::now();
    until("the report", || reports(us.directory()).iter().any(|name| name.ends_with(".md")));
    // Several messages of some seconds each wait for the room.
    assert!(resolved.elapsed() < Duration::from_secs(5), "{:?}", resolved.elapsed());
}

#[test]
fn an_agent_killed_in_the_middle_goes_on_where_it_was_and_does_nothing_twice() {
    let Some(story) = Story::begin() else { return };
    let [eu, us] = story.start_both("");
    let serial = story.dns.serial();
    eu.signal(Signal::KILL);
    story.pager.until("trigger");
    us.signal(Signal::KILL);
    let directory = us.into_directory();
    // The kernel lets go of a killed process's ring, and of the sockets in it, a moment later.
    until("the port", || TcpListener::bind((US, story.port)).is_ok());
    // While nobody runs, a person takes it on.
    story.pager.acknowledge(PAGE_KEY);
    let us = story.start_in(directory, 2, "");
    until("the record", || story.dns.values() == [US]);
    story.pager.until("resolve");
    let keys: Vec<String> = story.pager.events().into_iter().map(|(_, key, _)| key).collect();
    assert!(keys.iter().all(|key| key == PAGE_KEY), "{keys:?}");
    assert_eq!(story.dns.serial(), serial + 1);
    until("the report", || reports(us.directory()).iter().any(|name| name.ends_with(".md")));
    audit_is_good(us.directory());
}

#[test]
fn the_way_back_is_paged_too_and_taken_once_that_page_is_acknowledged() {
    let Some(story) = Story::begin() else { return };
    let agent =
        "failback = \"after:2s\"\ncooldown = \"0s\"\n[agent.probe]\ninterval = \"200ms\"\nup_after = 2\n";
    let [eu, us] = story.start_both(agent);
    let serial = story.dns.serial();
    eu.signal(Signal::KILL);
    story.pager.until("trigger");
    story.pager.acknowledge(PAGE_KEY);
    until("the record", || story.dns.values() == [US]);
    story.pager.until_about("resolve", PAGE_KEY);
    let directory = eu.into_directory();
    until("the port", || TcpListener::bind((EU, story.port)).is_ok());
    let _eu = story.start_in(directory, 1, agent);
    story.pager.until_about("trigger", BACK_KEY);
    // The failover's acknowledgement does not count for it.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![US.to_owned()], serial + 1));
    story.pager.acknowledge(BACK_KEY);
    until("the record", || story.dns.values() == [EU]);
    story.pager.until_about("resolve", BACK_KEY);
    assert_eq!(story.dns.serial(), serial + 2);
    audit_is_good(us.directory());
}

#[test]
fn a_dry_run_pages_and_writes_nothing() {
    let Some(story) = Story::begin() else { return };
    let [eu, _us] = story.start_both("dry_run = true");
    let serial = story.dns.serial();
    eu.signal(Signal::KILL);
    story.pager.until("trigger");
    story.pager.acknowledge(PAGE_KEY);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!((story.dns.values(), story.dns.serial()), (vec![EU.to_owned()], serial));
}

#[test]
fn a_server_with_an_agent_stops_in_time() {
    let Some(story) = Story::begin() else { return };
    let [_eu, mut us] = story.start_both("");
    let told = Instant::now();
    us.signal(Signal::TERM);
    assert_eq!(us.exit_code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
}
