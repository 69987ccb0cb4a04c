//! Cloudflare's API v4: DNS records and load-balancer pools.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw_rating::agent::traffic::{
    CloudflareAccess, CloudflareLoadBalancer, CloudflareRecord, POOLS, PublicView, TrafficError,
    TrafficProvider, Visibility, Written, Zone,
};
use openclaw_rating::agent::types::RecordState;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, json as answer, status, too_many};
use crate::common::support::{assert_says, client, record, secret};

const NAME: &str = "www.example.com";

fn success(result: Value) -> Answer {
    answer(200, &json!({"success": true, "errors": [], "messages": [], "result": result}))
}

fn refusal(status: u16, code: u32, message: &str) -> Answer {
    let errors = json!([{"code": code, "message": message}]);
    answer(status, &json!({"success": false, "errors": errors, "messages": [], "result": null}))
}

/// What the API has, and its rules.
struct World {
    records: Vec<Value>,
    pools: BTreeMap<String, bool>,
    order: Vec<String>,
    steering: Value,
}

impl World {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.header("authorization") != "Bearer good-token" {
            return refusal(403, 9109, "Invalid access token");
        }
        if asked.method == "PATCH" && asked.header("content-type") != "application/json" {
            return refusal(415, 1000, "Unsupported media type");
        }
        let zone = "/zones/zone1";
        match (asked.method.as_str(), asked.target.as_str()) {
            ("GET", "/zones?name=example.com") => success(json!([{"id": "zone1", "name": "example.com"}])),
            ("GET", "/zones?name=other.example") => success(json!([])),
            ("GET", "/zones?name=twice.example") => success(
                json!([{"id": "zone1", "name": "twice.example"}, {"id": "zone2", "name": "twice.example"}]),
            ),
            ("GET", "/zones/zone1/dns_records?type=A&name=www.example.com") => success(json!(self.records)),
            ("GET", "/zones/zone1/load_balancers/lb1") => {
                let mut balancer = json!({"id": "lb1", "name": NAME, "ttl": 30, "default_pools": self.order,
                    "proxied": true, "fallback_pool": "p1", "region_pools": {}, "pop_pools": {},
                    "country_pools": {}});
                balancer["region_pools"] = self.steering.clone();
                success(balancer)
            }
            ("PATCH", "/zones/zone1/load_balancers/lb1") => {
                self.order = serde_json::from_value(asked.json()["default_pools"].clone()).unwrap();
                success(json!({"id": "lb1", "default_pools": self.order}))
            }
            (method, target) => {
                if let Some(id) = target.strip_prefix("/accounts/acct1/load_balancers/pools/") {
                    let Some(enabled) = self.pools.get_mut(id) else {
                        return refusal(404, 1001, "pool not found");
                    };
                    if method == "PATCH" {
                        *enabled = asked.json()["enabled"].as_bool().unwrap();
                    }
                    return success(json!({"id": id, "enabled": *enabled}));
                }
                let id = target
                    .strip_prefix(&format!("{zone}/dns_records/"))
                    .unwrap_or_else(|| panic!("{}", asked.line()));
                assert_eq!(method, "PATCH");
                let Some(found) = self.records.iter_mut().find(|record| record["id"] == id) else {
                    return refusal(404, 81044, "Record does not exist.");
                };
                let body = asked.json();
                assert_eq!((&body["type"], &body["name"]), (&found["type"], &found["name"]));
                assert_eq!(body.as_object().unwrap().len(), 3, "only what changes is sent");
                found["content"] = body["content"].clone();
                success(found.clone())
            }
        }
    }
}

struct Cloudflare {
    fake: Fake,
    world: Arc<Mutex<World>>,
    directory: TempDir,
}

fn cloudflare() -> Cloudflare {
    let a = json!({"id": "rec1", "type": "A", "name": NAME, "content": "192.0.2.1", "ttl": 1,
        "proxied": true, "proxiable": true});
    let pools = [("p1".to_owned(), true), ("p2".to_owned(), false)].into();
    let order = vec!["p1".to_owned(), "p2".to_owned()];
    let world = Arc::new(Mutex::new(World { records: vec![a], pools, order, steering: json!({}) }));
    let theirs = Arc::clone(&world);
    let fake = Fake::start(move |asked| theirs.lock().unwrap().answer(asked));
    Cloudflare { fake, world, directory: tempfile::tempdir().unwrap() }
}

impl Cloudflare {
    fn access(&self, token: &str) -> CloudflareAccess {
        CloudflareAccess {
            client: client(),
            base: self.fake.base(),
            token: secret(&self.directory, "token", token),
        }
    }

    fn record(&self, token: &str) -> CloudflareRecord {
        let zone = Zone::Name("example.com".to_owned());
        let view =
            PublicView { servers: vec!["127.0.0.1:1".to_owned()], timeout: Duration::from_millis(100) };
        CloudflareRecord {
            access: self.access(token),
            zone,
            name: NAME.to_owned(),
            kind: "A".to_owned(),
            view,
        }
    }

    fn balancer(&self) -> CloudflareLoadBalancer {
        let (account_id, load_balancer_id) = ("acct1".to_owned(), "lb1".to_owned());
        let zone = Zone::Id("zone1".to_owned());
        CloudflareLoadBalancer { access: self.access("good-token"), zone, account_id, load_balancer_id }
    }

    fn content(&self) -> Value {
        self.world.lock().unwrap().records[0]["content"].clone()
    }
}

fn pools(order: &[&str], weights: &[u32]) -> RecordState {
    RecordState { kind: POOLS.to_owned(), weights: weights.to_vec(), ..record(NAME, order) }
}

fn switch(provider: &mut CloudflareRecord) -> Result<Written, TrafficError> {
    provider.write(&record(NAME, &["192.0.2.1"]), &record(NAME, &["198.51.100.1"]))
}

#[test]
fn a_record_is_found_by_name_and_changed_by_exactly_the_planned_calls() {
    let cloudflare = cloudflare();
    let mut provider = cloudflare.record("good-token");
    let plan = provider.plan(&record(NAME, &["192.0.2.1"]), &record(NAME, &["198.51.100.1"]));
    assert_eq!(switch(&mut provider).unwrap(), Written::Changed);
    assert_eq!(cloudflare.content(), "198.51.100.1");
    let base = cloudflare.fake.base().to_string();
    let calls = cloudflare.fake.asked().into_iter().map(|asked| {
        let call = format!("{} {base}{} {}", asked.method, asked.target, asked.body);
        call.replace("zone1", "{zone id}").replace("rec1", "{record id}").trim_end().to_owned()
    });
    assert_eq!(calls.collect::<Vec<_>>(), plan);
}

#[test]
fn a_record_that_is_there_already_is_left_alone() {
    let cloudflare = cloudflare();
    let mut provider = cloudflare.record("good-token");
    switch(&mut provider).unwrap();
    assert_eq!(switch(&mut provider).unwrap(), Written::AlreadyThere);
    assert_eq!(cloudflare.fake.lines().iter().filter(|line| line.starts_with("PATCH")).count(), 1);
}

#[test]
fn someone_elses_change_stops_the_switch() {
    let cloudflare = cloudflare();
    cloudflare.world.lock().unwrap().records[0]["content"] = json!("203.0.113.9");
    let error = switch(&mut cloudflare.record("good-token")).unwrap_err();
    assert!(matches!(error, TrafficError::Conflict { .. }));
    assert_says(&error.to_string(), &["203.0.113.9 instead of 192.0.2.1", "left alone", "failover plan"]);
    assert_eq!(cloudflare.content(), "203.0.113.9");
}

/// Somebody edits between the comparison and the change.
struct Raced<P> {
    provider: P,
    world: Arc<Mutex<World>>,
}

impl<P: TrafficProvider> Raced<P> {
    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        self.provider.read().unwrap();
        let mut world = self.world.lock().unwrap();
        world.records[0]["content"] = json!("203.0.113.9");
        world.order.reverse();
        drop(world);
        self.provider.put(expected, wanted)
    }
}

#[test]
fn an_edit_right_before_the_change_is_left_alone() {
    let cloudflare = cloudflare();
    let world = || Arc::clone(&cloudflare.world);
    let mut raced = Raced { provider: cloudflare.record("good-token"), world: world() };
    let error = raced.put(&record(NAME, &["192.0.2.1"]), &record(NAME, &["198.51.100.1"])).unwrap_err();
    assert!(matches!(error, TrafficError::Conflict { .. }), "{error}");
    let mut raced = Raced { provider: cloudflare.balancer(), world: world() };
    let error = raced.put(&pools(&["p2", "p1"], &[0, 1]), &pools(&["p2", "p1"], &[1, 0])).unwrap_err();
    assert!(matches!(error, TrafficError::Conflict { .. }), "{error}");
    assert!(cloudflare.fake.lines().iter().all(|line| !line.starts_with("PATCH")));
}

#[test]
fn a_change_whose_answer_was_lost_is_seen_and_not_repeated() {
    for fault in [Fault::SilentAfterwards, Fault::CloseAfterwards, Fault::Garble("<html>"), Fault::CutShort] {
        let cloudflare = cloudflare();
        // Zone and record to read, zone and record to find, then the change.
        cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 4).chain([fault.clone()]));
        assert_eq!(switch(&mut cloudflare.record("good-token")).unwrap(), Written::Changed, "{fault:?}");
        let patches = cloudflare.fake.lines().iter().filter(|line| line.starts_with("PATCH")).count();
        assert_eq!(patches, 1, "{fault:?}");
    }
}

#[test]
fn a_change_that_was_not_done_is_known_not_to_be() {
    let cloudflare = cloudflare();
    cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 4).chain([status(500)]));
    let error = switch(&mut cloudflare.record("good-token")).unwrap_err();
    assert!(matches!(error, TrafficError::NotDone(_)));
    assert_says(
        &error.to_string(),
        &["still the old one", "HTTP 500", "cloudflarestatus.com", "tried again"],
    );
    assert_eq!(cloudflare.content(), "192.0.2.1");
}

#[test]
fn a_change_that_cannot_be_read_back_is_said_to_be_unknown() {
    let cloudflare = cloudflare();
    let down = std::iter::repeat_n(status(502), 9);
    cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 4).chain([Fault::SilentAfterwards]).chain(down));
    let error = switch(&mut cloudflare.record("good-token")).unwrap_err();
    assert!(matches!(error, TrafficError::Unknown(_)) && error.may_have_happened());
    assert_says(&error.to_string(), &["nobody knows yet", "502"]);
}

#[test]
fn too_many_calls_are_waited_out() {
    let cloudflare = cloudflare();
    cloudflare.fake.inject([too_many(0), Fault::Pass, too_many(0)]);
    assert_eq!(switch(&mut cloudflare.record("good-token")).unwrap(), Written::Changed);
}

/// Cloudflare does not compare, and somebody may edit while a change that was refused waits.
#[test]
fn a_change_is_never_sent_again_without_a_look_at_the_record() {
    let cloudflare = cloudflare();
    cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 4).chain([too_many(0)]));
    let error = switch(&mut cloudflare.record("good-token")).unwrap_err();
    assert_eq!((error.may_have_happened(), error.retry_after()), (false, Some(Duration::ZERO)));
    // Three reads twice, then the first change of several.
    cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 6).chain([too_many(0)]));
    let (before, after) = (pools(&["p1", "p2"], &[1, 0]), pools(&["p2", "p1"], &[1, 0]));
    let error = cloudflare.balancer().write(&before, &after).unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    let patches = cloudflare.fake.lines().iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!((patches, cloudflare.content()), (2, json!("192.0.2.1")));
}

#[test]
fn the_later_changes_of_a_switch_of_pools_are_waited_for() {
    let cloudflare = cloudflare();
    cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 7).chain([too_many(0)]));
    let (before, after) = (pools(&["p1", "p2"], &[1, 0]), pools(&["p2", "p1"], &[1, 0]));
    assert_eq!(cloudflare.balancer().write(&before, &after).unwrap(), Written::Changed);
}

#[test]
fn a_refused_token_says_what_it_needs() {
    let cloudflare = cloudflare();
    let error = switch(&mut cloudflare.record("expired-token")).unwrap_err();
    assert_says(&error.to_string(), &["Invalid access token", "DNS Edit", "API Tokens"]);
    assert!(!error.to_string().contains("expired-token"));
    assert!(!error.may_have_happened());
}

#[test]
fn a_refusal_within_a_success_is_one() {
    let cloudflare = cloudflare();
    cloudflare.fake.inject([Fault::Answer(refusal(200, 7003, "Could not route to /zones"))]);
    let error = cloudflare.record("good-token").read().unwrap_err();
    assert_says(&error.to_string(), &["Could not route", "code 7003", "[agent]"]);
}

#[test]
fn an_answer_without_sense_points_to_the_base_url() {
    let cloudflare = cloudflare();
    for instead in [
        "<html>captive portal</html>",
        "",
        "{\"success\":true}",
        "{\"success\":true,\"result\":[{\"id\":1}]}",
    ] {
        cloudflare.fake.inject([Fault::Garble(instead)]);
        let error = cloudflare.record("good-token").read().unwrap_err();
        assert_says(&error.to_string(), &["cannot be understood", "base URL"]);
    }
}

#[test]
fn records_that_do_not_fit_are_refused_with_the_remedy() {
    let cloudflare = cloudflare();
    let mut provider = cloudflare.record("good-token");
    let two = provider
        .write(&record(NAME, &["192.0.2.1"]), &record(NAME, &["192.0.2.2", "192.0.2.3"]))
        .unwrap_err();
    assert_says(&two.to_string(), &["one value, not 2", "cloudflare_lb"]);
    provider.zone = Zone::Name("other.example".to_owned());
    assert_says(&provider.read().unwrap_err().to_string(), &["no zone other.example", "Zone Read"]);
    provider.zone = Zone::Name("twice.example".to_owned());
    assert_says(&provider.read().unwrap_err().to_string(), &["2 zones twice.example", "by zone_id"]);
    provider.zone = Zone::Id("zone1".to_owned());
    let second =
        json!({"id": "rec2", "type": "A", "name": NAME, "content": "192.0.2.2", "ttl": 60, "proxied": false});
    cloudflare.world.lock().unwrap().records.push(second);
    assert_says(&provider.read().unwrap_err().to_string(), &["has 2 A records", "cloudflare_lb"]);
    cloudflare.world.lock().unwrap().records.clear();
    assert_says(&provider.read().unwrap_err().to_string(), &["no A record", "Create it once"]);
}

#[test]
fn a_proxied_record_is_not_looked_for_in_dns() {
    let cloudflare = cloudflare();
    let mut provider = cloudflare.record("good-token");
    let read = provider.read().unwrap();
    assert_eq!((read.proxied, read.ttl_s), (Some(true), 300));
    assert!(matches!(provider.visible(&read), Ok(Visibility::Hidden(_))));
    let unsaid = RecordState { proxied: None, ..read.clone() };
    assert!(matches!(provider.visible(&unsaid), Ok(Visibility::Hidden(_))));
    let direct = RecordState { proxied: Some(false), ..read };
    assert!(matches!(provider.visible(&direct), Err(TrafficError::Dns(_))));
    assert_says(&provider.limits(30).join("\n"), &["proxied", "TTL", "30 s"]);
}

#[test]
fn pools_are_enabled_first_reordered_then_disabled_as_planned() {
    let cloudflare = cloudflare();
    let mut provider = cloudflare.balancer();
    let (before, after) = (pools(&["p1", "p2"], &[1, 0]), pools(&["p2", "p1"], &[1, 0]));
    let plan = provider.plan(&before, &after);
    assert_eq!(provider.write(&before, &after).unwrap(), Written::Changed);
    let patches: Vec<String> = cloudflare
        .fake
        .asked()
        .into_iter()
        .filter(|asked| asked.method == "PATCH")
        .map(|asked| format!("{} {}", asked.target, asked.body))
        .collect();
    assert_eq!(
        patches,
        [
            r#"/accounts/acct1/load_balancers/pools/p2 {"enabled":true}"#,
            r#"/zones/zone1/load_balancers/lb1 {"default_pools":["p2","p1"]}"#,
            r#"/accounts/acct1/load_balancers/pools/p1 {"enabled":false}"#,
        ]
    );
    let base = cloudflare.fake.base().to_string();
    let calls =
        cloudflare.fake.asked().into_iter().map(|asked| {
            format!("{} {base}{} {}", asked.method, asked.target, asked.body).trim_end().to_owned()
        });
    assert_eq!(calls.collect::<Vec<_>>(), plan);
    assert_eq!(provider.read().unwrap().values, ["p2", "p1"]);
    assert!(matches!(provider.visible(&after), Ok(Visibility::Hidden(_))));
}

#[test]
fn a_switch_of_pools_that_stops_half_way_says_so() {
    let cloudflare = cloudflare();
    let mut provider = cloudflare.balancer();
    // Three reads, the same again, one change that works, one that does not.
    cloudflare.fake.inject(std::iter::repeat_n(Fault::Pass, 7).chain([status(500)]));
    let error = provider.write(&pools(&["p1", "p2"], &[1, 0]), &pools(&["p2", "p1"], &[1, 0])).unwrap_err();
    assert!(matches!(error, TrafficError::InPart { .. }), "{error}");
    assert_says(&error.to_string(), &["only in part", "HTTP 500", "set it by hand"]);
    assert!(cloudflare.world.lock().unwrap().pools["p1"], "no pool was lost");
}

#[test]
fn a_balancer_that_steers_by_place_is_refused() {
    let cloudflare = cloudflare();
    cloudflare.world.lock().unwrap().steering = json!({"WEU": ["p1"]});
    let error = cloudflare.balancer().read().unwrap_err();
    assert_says(&error.to_string(), &["steers by region", "failover"]);
    cloudflare.world.lock().unwrap().steering = json!({});
    cloudflare.world.lock().unwrap().pools.clear();
    assert_says(&cloudflare.balancer().read().unwrap_err().to_string(), &["pool not found", "names and ids"]);
}
