//! Route 53 as its API reference describes it: signatures, XML, errors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw_rating::agent::traffic::{
    AwsKeys, PublicView, Route53, TrafficError, TrafficProvider, Visibility, Written,
};
use ring::{digest, hmac};
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, status, text};
use crate::common::support::{assert_says, client, record, secret};

const NAME: &str = "www.example.com";
const SECRET: &str = "wJalrXUtnFEMI";

struct World {
    value: String,
    looks_until_in_sync: u32,
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
                let set = format!(
                    "<ResourceRecordSet><Name>{NAME}.</Name><Type>A</Type><TTL>60</TTL><ResourceRecords>\
                     <ResourceRecord><Value>{}</Value></ResourceRecord></ResourceRecords>\
                     </ResourceRecordSet>",
                    self.value
                );
                text(
                    200,
                    &format!(
                        "<L><ResourceRecordSets>{set}</ResourceRecordSets>\
                         <IsTruncated>false</IsTruncated></L>"
                    ),
                )
            }
            "POST /2013-04-01/hostedzone/Z1/rrset/" => {
                let (_, rest) = asked.body.split_once("<Action>UPSERT</Action>").unwrap();
                let value = rest.split("<Value>").nth(1).unwrap().split('<').next().unwrap();
                value.clone_into(&mut self.value);
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

fn route53() -> (Fake, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World { value: "192.0.2.1".to_owned(), looks_until_in_sync: 1 }));
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
fn a_set_is_upserted_by_the_planned_calls_and_waited_for() {
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
    assert_eq!(calls, plan[..3]);
    assert_says(&plan[3], &["/2013-04-01/change/", "INSYNC"]);
    assert_eq!(fake.asked()[0].header("x-amz-security-token"), "session-token");
    assert!(matches!(provider.visible(&after), Ok(Visibility::Pending(why)) if why.contains("C1")));
    // In sync, so the zone's servers are asked, and here there are none.
    assert!(matches!(provider.visible(&after), Err(TrafficError::Dns(_))));
    assert_eq!(world.lock().unwrap().value, "198.51.100.1");
}

#[test]
fn a_change_whose_answer_was_lost_is_seen_and_not_repeated() {
    for fault in [Fault::SilentAfterwards, Fault::CloseAfterwards, Fault::Garble("<html>"), Fault::CutShort] {
        let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), route53());
        fake.inject([Fault::Pass, fault]);
        assert_eq!(switch(&mut provider(&fake, &directory)).unwrap(), Written::Changed);
        assert_eq!(fake.lines().iter().filter(|line| line.starts_with("POST")).count(), 1);
    }
}

#[test]
fn throttling_is_waited_out_although_it_is_a_400() {
    let (directory, (fake, _)) = (tempfile::tempdir().unwrap(), route53());
    let throttled = || Fault::Answer(error(400, "Throttling", "Rate exceeded"));
    let busy = Fault::Answer(error(400, "PriorRequestNotComplete", "The request was rejected"));
    fake.inject([throttled(), Fault::Pass, throttled(), busy]);
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
        (Fault::Answer(error(403, "AccessDenied", "no")), &["route53:ChangeResourceRecordSets"]),
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
    provider.set_identifiers = vec!["east".to_owned()];
    let mismatch = provider.put(&record(NAME, &["192.0.2.1"]), &record(NAME, &["192.0.2.2"])).unwrap_err();
    assert_says(&mismatch.to_string(), &["do not go together", "set identifier"]);
}
