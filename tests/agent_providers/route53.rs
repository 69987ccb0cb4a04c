//! Route 53 as its API reference describes it: signatures, XML, errors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw_rating::agent::traffic::{
    AwsKeys, PublicView, Route53, TrafficError, TrafficProvider, Visibility, Written,
};
use openclaw_rating::agent::types::RecordState;
use ring::{digest, hmac};
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, status, text};
use crate::common::support::{assert_says, client, record, secret};

const NAME: &str = "www.example.com";
const SECRET: &str = "wJalrXUtnFEMI";

struct World {
    /// What is in each set, in the order of the schema.
    sets: Vec<String>,
    looks_until_in_sync: u32,
    /// What somebody else makes of the first set right before the next change.
    meddled: Option<String>,
}

fn simple(value: &str) -> String {
    set("", 60, value, "")
}

fn set(routing: &str, ttl_s: u32, value: &str, more: &str) -> String {
    format!(
        "<Name>{NAME}</Name><Type>A</Type>{routing}<TTL>{ttl_s}</TTL><ResourceRecords><ResourceRecord>\
         <Value>{value}</Value></ResourceRecord></ResourceRecords>{more}"
    )
}

fn weighted(id: &str, weight: u32, ttl_s: u32, value: &str, health_check: &str) -> String {
    let routing = format!("<SetIdentifier>{id}</SetIdentifier><Weight>{weight}</Weight>");
    set(&routing, ttl_s, value, &format!("<HealthCheckId>{health_check}</HealthCheckId>"))
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let xml = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
         <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    text(status, &xml)
}

/// What the signature of a request should be, worked out from what arrived.
fn signature(asked: &Asked) -> String {
    let names =
        asked.header("authorization").split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", asked.header(name))).collect();
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let body = hex(digest::digest(&digest::SHA256, asked.body.as_bytes()).as_ref());
    let canonical = format!("{}\n{path}\n{query}\n{headers}\n{names}\n{body}", asked.method);
    let date = asked.header("x-amz-date");
    let scope = [&date[..8], "us-east-1", "route53", "aws4_request"];
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{hashed}", scope.join("/"));
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = scope.iter().fold(format!("AWS4{SECRET}").into_bytes(), |key, part| sign(&key, part));
    hex(&sign(&key, &to_sign))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let authorization = asked.header("authorization");
        if !authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") {
            return error(403, "MissingAuthenticationToken", "Missing Authentication Token");
        }
        assert!(authorization.contains("SignedHeaders=host;x-amz-date"));
        if authorization.rsplit_once("Signature=").unwrap().1 != signature(asked) {
            return error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match");
        }
        match asked.line().as_str() {
            "GET /2013-04-01/hostedzone/Z1/rrset?maxitems=100&name=www.example.com&type=A" => {
                let element = |set: &String| format!("<ResourceRecordSet>{set}</ResourceRecordSet>");
                let sets: String = self.sets.iter().map(element).collect();
                // Names come back with their root.
                let sets = sets.replace("</Name>", ".</Name>");
                text(
                    200,
                    &format!(
                        "<L><ResourceRecordSets>{sets}</ResourceRecordSets>\
                         <IsTruncated>false</IsTruncated></L>"
                    ),
                )
            }
            "POST /2013-04-01/hostedzone/Z1/rrset/" => {
                if let Some(set) = self.meddled.take() {
                    self.sets[0] = set;
                }
                let Some(sets) = changed(&self.sets, &asked.body) else {
                    let why = "the values provided do not match the current values";
                    return error(400, "InvalidChangeBatch", why);
                };
                self.sets = sets;
                text(200, "<C><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status></ChangeInfo></C>")
            }
            "GET /2013-04-01/change/C1" => {
                let state = if self.looks_until_in_sync == 0 { "INSYNC" } else { "PENDING" };
                self.looks_until_in_sync = self.looks_until_in_sync.saturating_sub(1);
                text(
                    200,
                    &format!("<G><ChangeInfo><Id>/change/C1</Id><Status>{state}</Status></ChangeInfo></G>"),
                )
            }
            other => error(404, "NoSuchHostedZone", other),
        }
    }
}

/// `sets` after a batch, which is done as a whole or not at all: what is deleted must be as it is said to be.
fn changed(sets: &[String], body: &str) -> Option<Vec<String>> {
    let mut sets = sets.to_vec();
    for change in body.split("<Change>").skip(1) {
        let inner = change.split_once("<ResourceRecordSet>")?.1.split_once("</ResourceRecordSet>")?.0;
        if change.starts_with("<Action>DELETE</Action>") {
            let at = sets.iter().position(|set| set == inner)?;
            sets.remove(at);
        } else {
            assert!(change.starts_with("<Action>CREATE</Action>"), "{change}");
            sets.push(inner.to_owned());
        }
    }
    Some(sets)
}

fn route53() -> (Fake, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World {
        sets: vec![simple("192.0.2.1")],
        looks_until_in_sync: 1,
        meddled: None,
    }));
    let theirs = Arc::clone(&world);
    (Fake::start(move |asked| theirs.lock().unwrap().answer(asked)), world)
}

fn provider(fake: &Fake, directory: &TempDir) -> Route53 {
    let keys = AwsKeys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: secret(directory, "key", SECRET),
        session_token: Some(secret(directory, "token", "session-token")),
    };
    Route53 {
        client: client(),
        base: fake.base(),
        keys,
        zone_id: "Z1".to_owned(),
        name: NAME.to_owned(),
        kind: "A".to_owned(),
        set_identifiers: vec![],
        view: PublicView { servers: vec!["127.0.0.1:1".to_owned()], timeout: Duration::from_millis(100) },
        pending_change: None,
    }
}

fn switch(provider: &mut Route53) -> Result<Written, TrafficError> {
    provider.write(&record(NAME, &["192.0.2.1"]), &record(NAME, &["198.51.100.1"]))
}

#[test]
fn a_set_is_replaced_by_the_planned_calls_and_waited_for() {
    let (directory, (fake, world)) = (tempfile::tempdir().unwrap(), route53());
    let mut provider = provider(&fake, &directory);
    let (before, after) = (record(NAME, &["192.0.2.1"]), record(NAME, &["198.51.100.1"]));
    let plan = provider.plan(&before, &after);
    assert_eq!(switch(&mut provider).unwrap(), Written::Changed);
    let base = fake.base().to_string();
    let calls: Vec<_> = fake
        .asked()
        .into_iter()
        .map(|asked| format!("{} {base}{} {}", asked.method, asked.target, asked.body).trim_end().to_owned())
        .collect();
    assert_eq!(calls, plan[..4]);
    assert_says(&plan[4], &["/2013-04-01/change/", "INSYNC"]);
    assert_says(&plan[5], &["TTL", "health check"]);
    assert_eq!(fake.asked()[0].header("x-amz-security-token"), "session-token");
    assert!(matches!(provider.visible(&after), Ok(Visibility::Pending(why)) if why.contains("C1")));
    // In sync, so the zone's servers are asked, and here there are none.
    assert!(matches!(provider.visible(&after), Err(TrafficError::Dns(_))));
    assert_eq!(world.lock().unwrap().sets, [simple("198.51.100.1")]);
}

/// Two regions, of which `eu` serves, with health checks and a TTL of their own.
fn two_regions() -> (Fake, Arc<Mutex<World>>) {
    let (fake, world) = route53();
    world.lock().unwrap().sets =
        vec![weighted("eu", 100, 300, "192.0.2.1", "abc"), weighted("us", 0, 120, "198.51.100.1", "def")];
    (fake, world)
}

fn weights(eu: u32, us: u32) -> RecordState {
    RecordState { weights: vec![eu, us], ..record(NAME, &["192.0.2.1", "198.51.100.1"]) }
}

#[test]
fn weighted_sets_keep_their_health_checks_and_their_ttl() {
    let (directory, (fake, world)) = (tempfile::tempdir().unwrap(), two_regions());
    let mut provider = provider(&fake, &directory);
    provider.set_identifiers = vec!["eu".to_owned(), "us".to_owned()];
    assert_eq!(provider.read().unwrap(), RecordState { ttl_s: 300, ..weights(100, 0) });
    assert_eq!(provider.write(&weights(100, 0), &weights(0, 1)).unwrap(), Written::Changed);
    let after = [weighted("eu", 0, 300, "192.0.2.1", "abc"), weighted("us", 1, 120, "198.51.100.1", "def")];
    assert_eq!(world.lock().unwrap().sets, after);
}

#[test]
fn a_set_that_somebody_else_changes_is_left_as_they_made_it() {
    let (directory, (fake, world)) = (tempfile::tempdir().unwrap(), two_regions());
    let mut provider = provider(&fake, &directory);
    provider.set_identifiers = vec!["eu".to_owned(), "us".to_owned()];
    // Between the last look and the write a TTL changes, which is no difference in where traffic goes.
    world.lock().unwrap().meddled = Some(weighted("eu", 100, 60, "192.0.2.1", "abc"));
    let error = provider.write(&weights(100, 0), &weights(0, 1)).unwrap_err();
    assert_says(&error.to_string(), &["InvalidChangeBatch"]);
    assert!(!error.may_have_happened());
    assert_eq!(world.lock().unwrap().sets[0], weighted("eu", 100, 60, "192.0.2.1", "abc"));
    // The next attempt finds what is there now.
    assert_eq!(provider.write(&weights(100, 0), &weights(0, 1)).unwrap(), Written::Changed);
    // An unknown set would keep its traffic.
    world.lock().unwrap().sets.push(weighted("old", 50, 60, "192.0.2.99", "x"));
    assert_says(&provider.read().unwrap_err().to_string(), &["set_identifiers does not name: old"]);
}

#[test]
fn who_may_not_ask_for_a_change_asks_the_zones_servers() {
    let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), route53());
    let mut provider = provider(&fake, &directory);
    switch(&mut provider).unwrap();
    fake.inject([Fault::Answer(error(403, "AccessDenied", "not authorized to perform: route53:GetChange"))]);
    let after = record(NAME, &["198.51.100.1"]);
    assert!(
        matches!(provider.visible(&after), Err(TrafficError::Dns(_))),
        "the zone's servers, of which there are none"
    );
    assert!(provider.pending_change.is_none());
}

#[test]
fn a_change_whose_answer_was_lost_is_seen_and_not_repeated() {
    for fault in [Fault::SilentAfterwards, Fault::CloseAfterwards, Fault::Garble("<html>"), Fault::CutShort] {
        let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), route53());
        fake.inject([Fault::Pass, Fault::Pass, fault]);
        assert_eq!(switch(&mut provider(&fake, &directory)).unwrap(), Written::Changed);
        assert_eq!(fake.lines().iter().filter(|line| line.starts_with("POST")).count(), 1);
    }
}

#[test]
fn throttling_is_waited_out_although_it_is_a_400() {
    let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), route53());
    let throttled = || Fault::Answer(error(400, "Throttling", "Rate exceeded"));
    let busy = Fault::Answer(error(400, "PriorRequestNotComplete", "The request was rejected"));
    fake.inject([throttled(), Fault::Pass, Fault::Pass, throttled(), busy]);
    assert_eq!(switch(&mut provider(&fake, &directory)).unwrap(), Written::Changed);
}

#[test]
fn every_refusal_says_what_to_do_and_no_secret() {
    let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), route53());
    let mut provider = provider(&fake, &directory);
    for (fault, parts) in [
        (
            Fault::Answer(error(
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            )),
            &["ExpiredToken", "session token"][..],
        ),
        (
            Fault::Answer(error(403, "SignatureDoesNotMatch", "wJalrXUtnFEMI session-token")),
            &["SignatureDoesNotMatch", "clock"],
        ),
        (
            Fault::Answer(error(403, "AccessDenied", "no")),
            &["route53:ChangeResourceRecordSets", "arn:aws:route53:::change/*"],
        ),
        (Fault::Answer(error(400, "InvalidInput", "bad name")), &["InvalidInput", "[agent]"]),
        (Fault::Garble("<html>"), &["cannot be understood", "base URL"]),
    ] {
        fake.inject([fault]);
        let text = provider.read().unwrap_err().to_string();
        assert_says(&text, parts);
        assert!(!text.contains("wJalr") && !text.contains("session-token"), "{text}");
    }
    fake.inject([status(500), status(502), status(503)]);
    assert_says(&provider.read().unwrap_err().to_string(), &["health.aws.amazon.com"]);
    provider.zone_id = "Z2".to_owned();
    assert_says(&provider.read().unwrap_err().to_string(), &["NoSuchHostedZone", "names and ids"]);
}

#[test]
fn values_that_have_no_set_are_not_written() {
    let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), two_regions());
    let mut provider = provider(&fake, &directory);
    provider.set_identifiers = vec!["eu".to_owned(), "us".to_owned()];
    let mismatch = provider.put(&weights(100, 0), &record(NAME, &["192.0.2.2"])).unwrap_err();
    assert_says(&mismatch.to_string(), &["do not go together", "set identifier"]);
    assert!(!fake.lines().iter().any(|line| line.starts_with("POST")));
}
