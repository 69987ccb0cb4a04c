//! The whole story on hosts of its own: regions that are killed, lose their power or each other while clients
//! ask for them, with real DNS, a real witness and a stand-in for the pager.
//!
//! A page is to be out 3 s after the last healthy answer, and the record to have moved after 5 s. What the
//! machine took away from a thread that only sleeps beside them does not count: two cores run all of it.
#![allow(clippy::unwrap_used)]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod world;

use std::time::{Duration, Instant};

use common::support::until;
use world::{EU, US, World, address, stays};

const SECOND: Duration = Duration::from_secs(1);
const PAGED_WITHIN: Duration = Duration::from_secs(3);
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// Follows a failover from eu to us to its end; `fault` is when eu was taken away.
fn assert_fails_over(world: &World, fault: Instant, what: &str) {
    let clients = world.clients();
    until("the record", || clients.noted(|notes| notes.shown_after(fault, address(US)).is_some()));
    world.until_event(EU, "resolve");
    until("the reports", || world.sites[US].reports().len() == 2);
    let paged = world.pager().until("trigger");
    clients.noted(|notes| {
        let last_good = notes.last_good_of(address(EU)).unwrap();
        let moved = notes.shown_after(fault, address(US)).unwrap();
        let (wrong, of) = notes.wrong(fault, moved);
        let failed = wrong.len();
        let [to_page, to_move] = [paged, moved].map(|at| at.duration_since(last_good));
        let [page_lag, move_lag] = [paged, moved].map(|at| notes.lag(last_good, at));
        println!(
            "{what}: after the last healthy answer, paged after {to_page:.2?} and moved after {to_move:.2?} \
             (the machine lagged by {page_lag:.2?} and {move_lag:.2?}); {failed} of {of} requests failed \
             meanwhile"
        );
        assert!(to_page < PAGED_WITHIN + page_lag, "paged after {to_page:?}");
        assert!(to_move < MOVED_WITHIN + move_lag, "moved after {to_move:?}");
        assert!(failed > 0, "nobody missed {what}");
    });
    assert_eq!(world.events(EU).iter().filter(|kind| *kind == "resolve").count(), 1);
    for report in world.sites[US].reports() {
        assert!(report.contains("recovered") && report.contains(&address(US).to_string()), "{report}");
    }
    let audit = world.sites[US].run(&["audit", "verify", "--dir", "state/journal"]);
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
}

/// No client that resolved the name after `since` met an error.
fn assert_no_errors(world: &World, since: Instant) {
    let (wrong, of) = world.clients().noted(|notes| notes.wrong(since, Instant::now()));
    println!("{} of {of} requests failed after that", wrong.len());
    assert!(wrong.is_empty() && of > 0, "{wrong:#?}");
}

fn moved_at(world: &World, since: Instant, region: usize) -> Instant {
    until("the record", || {
        world.clients().noted(|notes| notes.shown_after(since, address(region)).is_some())
    });
    world.clients().noted(|notes| notes.shown_after(since, address(region)).unwrap())
}

#[test]
fn a_killed_region_is_failed_over_and_comes_back_only_when_a_person_says_so() {
    let Some(mut world) = World::begin() else { return };
    std::thread::sleep(SECOND);
    let (killed, before) = (Instant::now(), world.serial());
    world.kill(EU);
    assert_fails_over(&world, killed, "the kill");
    let moved = moved_at(&world, killed, US);
    let serial = world.serial();
    assert_eq!(serial, before + 1);

    world.start(EU);
    world.until_seen(EU, [EU, US]);
    world.until_seen(US, [EU, US]);
    let events = world.pager().events().len();
    stays("the record", SECOND * 10, || world.serial() == serial);
    assert_eq!(world.pager().events().len(), events, "{:?}", world.pager().events());
    assert_no_errors(&world, moved);

    let ordered = Instant::now();
    let why = "its disk was replaced";
    let order = world.sites[EU].run(&["failover", "start", "--from", "us", "--to", "eu", "--why", why]);
    assert!(order.status.success(), "{}", String::from_utf8_lossy(&order.stderr));
    let back = moved_at(&world, ordered, EU);
    println!("back {:.2?} after the order", back.duration_since(ordered));
    until("the reports", || world.sites[EU].reports().len() == 2);
    assert!(world.sites[EU].reports().iter().all(|report| report.contains(why)), "no report says why");
    assert_no_errors(&world, moved);
}

#[test]
fn a_region_without_power_is_failed_over() {
    let Some(mut world) = World::begin() else { return };
    std::thread::sleep(SECOND);
    let off = world.power_off(EU);
    assert_fails_over(&world, off, "the power cut");
    let moved = moved_at(&world, off, US);
    std::thread::sleep(SECOND * 2);
    assert_no_errors(&world, moved);
}

#[test]
fn regions_that_only_lose_each_other_move_nothing() {
    let Some(world) = World::begin() else { return };
    let (serial, cut) = (world.serial(), Instant::now());
    world.cut_link();
    world.until_event(EU, "trigger");
    let page = world.pager().first_page();
    assert_eq!(page["payload"]["severity"], "warning", "{page}");
    assert!(page["payload"]["summary"].as_str().unwrap().contains("link down"), "{page}");
    stays("the record", SECOND * 15, || world.serial() == serial);
    world.mend_link();
    world.until_event(EU, "resolve");
    world.until_seen(EU, [EU, US]);
    world.until_seen(US, [EU, US]);
    assert_eq!(world.serial(), serial);
    let now = Instant::now();
    let (wrong, of) = world.clients().noted(|notes| notes.wrong(cut, now));
    let lag = world.clients().noted(|notes| notes.lag(cut, now));
    println!("the link cut: {} of {of} requests failed, nothing was moved (lag {lag:.2?})", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
