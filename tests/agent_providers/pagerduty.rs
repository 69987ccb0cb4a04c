//! PagerDuty: the Events API v2, the REST API, and what happens when neither answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use openclaw_rating::agent::https::BaseUrl;
use openclaw_rating::agent::pager::{
    Acknowledged, Delivery, Event, EventAction, Flushed, Link, PageState, PagerDuty, PagerError, RestAccess,
    Severity, Site, Spool,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, json as answer, status, text, too_many};
use crate::common::support::{assert_says, client, secret};

const ROUTING_KEY: &str = "R0123456789abcdef0123456789abcde";
const REST_KEY: &str = "u+rest-key";

/// Incidents by dedup key: their status and what is in their log.
#[derive(Default)]
struct World {
    incidents: BTreeMap<String, Incident>,
    order: Vec<String>,
}

#[derive(Clone)]
struct Incident {
    status: &'static str,
    acknowledger: Option<Value>,
    log: Vec<Value>,
}

fn person() -> Value {
    json!({"id": "PXPGF42", "type": "user_reference", "summary": "Earline Greenholt",
        "self": "https://x", "html_url": "https://y"})
}

impl World {
    fn answer(&mut self, asked: &Asked) -> Answer {
        match asked.target.split('?').next().unwrap() {
            "/v2/enqueue" => self.enqueue(asked),
            "/incidents" => self.list(asked),
            path => {
                let key =
                    path.strip_prefix("/incidents/Q").and_then(|rest| rest.strip_suffix("/log_entries"));
                let key = key.unwrap_or_else(|| panic!("{}", asked.line()));
                Self::check_rest(asked)
                    .unwrap_or_else(|| answer(200, &json!({"log_entries": self.incidents[key].log})))
            }
        }
    }

    /// As the description of `POST /v2/enqueue` has it.
    fn enqueue(&mut self, asked: &Asked) -> Answer {
        assert_eq!((asked.method.as_str(), asked.header("content-type")), ("POST", "application/json"));
        let body = asked.json();
        let invalid = |why: &str| {
            answer(
                400,
                &json!({"status": "invalid event", "message": "Event object is invalid", "errors": [why]}),
            )
        };
        if body["routing_key"] != ROUTING_KEY {
            return invalid("'routing_key' is invalid");
        }
        let key = body["dedup_key"].as_str().unwrap().to_owned();
        let status = match body["event_action"].as_str().unwrap() {
            "trigger" => {
                let payload = &body["payload"];
                let severities = ["critical", "error", "warning", "info"];
                if payload["summary"].as_str().is_none_or(str::is_empty) || !payload["source"].is_string() {
                    return invalid("'payload.summary' is missing or blank");
                }
                assert!(severities.contains(&payload["severity"].as_str().unwrap()));
                assert!(payload["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
                assert!(body["links"].as_array().unwrap().iter().all(|link| link["href"].is_string()));
                "triggered"
            }
            "acknowledge" => "acknowledged",
            "resolve" => "resolved",
            other => panic!("{other}"),
        };
        self.order.push(format!("{key} {status}"));
        let fresh = Incident { status, acknowledger: None, log: vec![] };
        self.incidents.entry(key.clone()).or_insert(fresh).status = status;
        answer(202, &json!({"status": "success", "message": "Event processed", "dedup_key": key}))
    }

    fn check_rest(asked: &Asked) -> Option<Answer> {
        assert_eq!(
            (asked.method.as_str(), asked.header("accept")),
            ("GET", "application/vnd.pagerduty+json;version=2")
        );
        let refused = json!({"error": {"message": "Unauthorized", "code": 2006}});
        (asked.header("authorization") != format!("Token token={REST_KEY}")).then(|| answer(401, &refused))
    }

    fn list(&self, asked: &Asked) -> Answer {
        if let Some(refusal) = Self::check_rest(asked) {
            return refusal;
        }
        let query = asked.target.split_once('?').unwrap().1;
        let key = query.split('&').find_map(|pair| pair.strip_prefix("incident_key=")).unwrap();
        let incidents: Vec<Value> = self
            .incidents
            .get(key)
            .into_iter()
            .map(|incident| {
                let at = "2026-01-02T03:04:05Z";
                let acknowledgers = incident.acknowledger.iter();
                let list: Vec<_> = acknowledgers.map(|who| json!({"at": at, "acknowledger": who})).collect();
                json!({"id": format!("Q{key}"), "type": "incident", "status": incident.status,
                    "incident_key": key, "acknowledgements": list})
            })
            .collect();
        answer(200, &json!({"incidents": incidents, "limit": 1, "offset": 0, "more": false, "total": null}))
    }
}

struct Desk {
    fake: Fake,
    world: Arc<Mutex<World>>,
    directory: TempDir,
}

fn desk() -> Desk {
    let world = Arc::new(Mutex::new(World::default()));
    let theirs = Arc::clone(&world);
    let fake = Fake::start(move |asked| theirs.lock().unwrap().answer(asked));
    Desk { fake, world, directory: tempfile::tempdir().unwrap() }
}

impl Desk {
    fn pager(&self) -> PagerDuty {
        let key = secret(&self.directory, "rest", REST_KEY);
        PagerDuty {
            client: client(),
            events_base: self.fake.base(),
            routing_key: secret(&self.directory, "routing", ROUTING_KEY),
            rest: Some(RestAccess { base: self.fake.base(), key }),
            spool: Spool::open(self.directory.path().join("spool")),
        }
    }

    fn order(&self) -> Vec<String> {
        self.world.lock().unwrap().order.clone()
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Incident)) {
        change(self.world.lock().unwrap().incidents.get_mut(key).unwrap());
    }
}

fn trigger(key: &str, summary: &str) -> Event {
    let action = EventAction::Trigger {
        summary: summary.to_owned(),
        source: "eu-1".to_owned(),
        severity: Severity::Critical,
        details: json!({"region": "eu", "level": "4 %"}).as_object().cloned().unwrap(),
        links: vec![Link { href: "https://graphs.example.com".to_owned(), text: "Graphs".to_owned() }],
    };
    Event { dedup_key: key.to_owned(), action, at_ms: 1_700_000_000_000 }
}

fn later(key: &str, action: EventAction) -> Event {
    Event { dedup_key: key.to_owned(), action, at_ms: 1_700_000_001_000 }
}

#[test]
fn an_incident_is_triggered_acknowledged_and_resolved_under_one_key() {
    let desk = desk();
    let mut pager = desk.pager();
    for event in [
        trigger("i1", "eu is dark"),
        later("i1", EventAction::Acknowledge),
        later("i1", EventAction::Resolve),
    ] {
        assert_eq!(pager.send(&event).unwrap(), Delivery::Accepted);
    }
    assert_eq!(desk.order(), ["i1 triggered", "i1 acknowledged", "i1 resolved"]);
}

#[test]
fn passing_troubles_do_not_lose_a_page_and_the_key_makes_repeats_harmless() {
    let desk = desk();
    desk.fake.inject([
        too_many(0),
        status(500),
        Fault::Pass,
        Fault::SilentAfterwards,
        Fault::CloseAfterwards,
    ]);
    let mut pager = desk.pager();
    assert_eq!(pager.send(&trigger("i1", "dark")).unwrap(), Delivery::Accepted);
    assert_eq!(pager.send(&trigger("i2", "dark")).unwrap(), Delivery::Accepted);
    assert_eq!(desk.world.lock().unwrap().incidents.len(), 2);
}

#[test]
fn pages_wait_on_disk_in_order_until_pagerduty_is_back_even_over_a_restart() {
    let desk = desk();
    let mut pager = desk.pager();
    desk.fake.inject(std::iter::repeat_n(status(503), 3));
    let Delivery::Spooled(why) = pager.send(&trigger("i1", "dark")).unwrap() else { panic!("not spooled") };
    assert_says(&why, &["HTTP 503", "status.pagerduty.com"]);
    desk.fake.inject(std::iter::repeat_n(status(503), 3));
    assert!(matches!(pager.send(&later("i1", EventAction::Resolve)), Ok(Delivery::Spooled(_))));
    let kept = std::fs::read_dir(desk.directory.path().join("spool")).unwrap();
    for file in kept {
        let content = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!content.contains(ROUTING_KEY), "{content}");
    }
    drop(pager);

    let mut pager = desk.pager();
    assert_eq!(pager.spool.len(), 2);
    assert_eq!(pager.send(&trigger("i2", "darker")).unwrap(), Delivery::Accepted);
    assert_eq!(desk.order(), ["i1 triggered", "i1 resolved", "i2 triggered"]);
    assert!(pager.spool.is_empty());
}

#[test]
fn an_event_that_is_wrong_is_refused_at_once_and_does_not_hold_up_the_spool() {
    let desk = desk();
    let mut pager = desk.pager();
    let error = pager.send(&trigger("i1", "")).unwrap_err();
    assert_says(&error.to_string(), &["payload.summary", "refused as it is"]);
    pager.spool.push(&trigger("i2", "")).unwrap();
    pager.spool.push(&trigger("i3", "dark")).unwrap();
    let Flushed { sent, dropped, waiting, .. } = pager.flush().unwrap();
    assert_eq!((sent, dropped.len(), waiting), (1, 1, None));
    assert_eq!(desk.order(), ["i3 triggered"]);
    let long = trigger(&"x".repeat(256), "dark");
    assert_says(&pager.send(&long).unwrap_err().to_string(), &["255", "shorter"]);
}

#[test]
fn a_long_queue_is_worked_off_in_parts_and_a_new_page_keeps_its_place() {
    let desk = desk();
    let mut pager = desk.pager();
    for number in 0..20 {
        pager.spool.push(&trigger(&format!("i{number}"), "dark")).unwrap();
    }
    let Delivery::Spooled(why) = pager.send(&trigger("new", "dark")).unwrap() else { panic!("not spooled") };
    assert_says(&why, &["4 earlier events"]);
    assert_eq!((desk.order().len(), pager.flush().unwrap().sent), (16, 5));
    assert_eq!(desk.order().last().unwrap(), "new triggered");
}

#[test]
fn a_page_with_a_missing_key_waits_until_the_key_is_there() {
    let desk = desk();
    let mut pager = desk.pager();
    pager.routing_key = openclaw_rating::agent::secret::SecretSource::File("/nonexistent/key".into());
    let Delivery::Spooled(why) = pager.send(&trigger("i1", "dark")).unwrap() else { panic!("not spooled") };
    assert_says(&why, &["/nonexistent/key", "Check"]);
    pager.routing_key = secret(&desk.directory, "routing", ROUTING_KEY);
    assert_eq!(pager.flush().unwrap().sent, 1);
}

#[test]
fn a_page_that_neither_pagerduty_nor_the_disk_takes_is_said_to_be_lost() {
    let desk = desk();
    let mut pager = desk.pager();
    std::fs::remove_dir_all(desk.directory.path().join("spool")).unwrap();
    desk.fake.inject(std::iter::repeat_n(status(500), 3));
    let error = pager.send(&trigger("i1", "dark")).unwrap_err();
    assert!(matches!(error, PagerError::Lost { .. }));
    assert_says(&error.to_string(), &["lost", "HTTP 500", "free space"]);
}

#[test]
fn an_answer_that_confirms_nothing_is_not_believed() {
    let desk = desk();
    let other = text(202, r#"{"status":"success","message":"Event processed","dedup_key":"another"}"#);
    for fault in [Fault::Answer(other), Fault::Garble("<html>captive portal</html>")] {
        desk.fake.inject([fault]);
        let Delivery::Spooled(why) = desk.pager().send(&trigger("i1", "dark")).unwrap() else {
            panic!("not spooled")
        };
        assert_says(&why, &["base URL"]);
        desk.pager().flush().unwrap();
    }
}

/// What the REST API says of the page `i1`.
fn state_of_page(pager: &PagerDuty) -> Result<PageState, PagerError> {
    pager.rest.as_ref().unwrap().state(&pager.client, "i1")
}

#[test]
fn an_acknowledgement_by_a_person_is_found() {
    let desk = desk();
    let mut pager = desk.pager();
    assert_eq!(state_of_page(&pager).unwrap(), PageState::Unknown);
    pager.send(&trigger("i1", "dark")).unwrap();
    assert_eq!(state_of_page(&pager).unwrap(), PageState::Waiting);
    // Acknowledged by this agent: nobody has consented.
    pager.send(&later("i1", EventAction::Acknowledge)).unwrap();
    desk.change("i1", |incident| {
        incident.acknowledger = Some(json!({"id": "S1", "type": "service_reference", "summary": "API"}));
    });
    assert_eq!(state_of_page(&pager).unwrap(), PageState::Waiting);
    desk.change("i1", |incident| incident.acknowledger = Some(person()));
    let (by, at) = ("Earline Greenholt".to_owned(), "2026-01-02T03:04:05Z".to_owned());
    assert_eq!(
        state_of_page(&pager).unwrap(),
        PageState::Acknowledged(Acknowledged { by: by.clone(), at, ago: None })
    );
    // Resolved in the meantime: the list forgets, the log does not.
    desk.change("i1", |incident| {
        incident.status = "resolved";
        incident.acknowledger = None;
    });
    assert_eq!(state_of_page(&pager).unwrap(), PageState::Resolved);
    desk.change("i1", |incident| {
        incident.log.push(json!({"type": "acknowledge_log_entry", "created_at": "t", "agent": person()}));
    });
    assert_eq!(
        state_of_page(&pager).unwrap(),
        PageState::Acknowledged(Acknowledged { by, at: "t".to_owned(), ago: None })
    );
}

#[test]
fn an_acknowledgement_of_what_the_page_was_merged_into_is_found() {
    let desk = desk();
    let mut pager = desk.pager();
    pager.send(&trigger("i1", "dark")).unwrap();
    let merged =
        json!({"type": "merge_resolve_reason", "incident": {"id": "Q9", "type": "incident_reference"}});
    let list = json!({"incidents": [{"id": "Q1", "status": "resolved", "resolve_reason": merged}]});
    let log = json!({"log_entries": []});
    let acknowledgements = json!([{"at": "2026-01-02T03:04:05Z", "acknowledger": person()}]);
    let other = |status: &str, acknowledgements: &Value| {
        json!({"incident": {"id": "Q9", "status": status, "acknowledgements": acknowledgements,
            "resolve_reason": null}})
    };
    let state = |other: Value| {
        desk.fake.inject([&list, &log, &other].map(|body| Fault::Answer(answer(200, body))));
        state_of_page(&pager).unwrap()
    };
    assert_eq!(state(other("triggered", &json!([]))), PageState::Waiting);
    let PageState::Acknowledged(person) = state(other("acknowledged", &acknowledgements)) else {
        panic!("Q9 is acknowledged")
    };
    assert_eq!(person.by, "Earline Greenholt");
    assert_eq!(desk.fake.lines().last().unwrap(), "GET /incidents/Q9");
}

#[test]
fn how_long_ago_somebody_acknowledged_is_by_the_clock_of_pagerduty() {
    let desk = desk();
    let mut pager = desk.pager();
    pager.send(&trigger("i1", "dark")).unwrap();
    // Far from what the clock of this host says.
    let acknowledged = json!({"incidents": [{"id": "Q1", "status": "acknowledged",
        "acknowledgements": [{"at": "2026-01-02T03:04:05Z", "acknowledger": person()}]}]});
    let mut answer = answer(200, &acknowledged);
    answer.headers.push(("Date", "Fri, 02 Jan 2026 03:04:12 GMT".to_owned()));
    desk.fake.inject([Fault::Answer(answer)]);
    let PageState::Acknowledged(person) = state_of_page(&pager).unwrap() else {
        panic!("it is acknowledged")
    };
    assert_eq!(person.ago, Some(std::time::Duration::from_secs(7)));
}

#[test]
fn asking_fails_with_the_way_to_acknowledge_by_hand() {
    let desk = desk();
    let mut pager = desk.pager();
    desk.fake.inject([too_many(0), Fault::CutShort]);
    assert_eq!(state_of_page(&pager).unwrap(), PageState::Unknown);
    pager.rest = Some(RestAccess { base: desk.fake.base(), key: secret(&desk.directory, "old", "expired") });
    let error = state_of_page(&pager).unwrap_err().to_string();
    assert_says(&error, &["401", "REST API key", "failover ack"]);
    assert!(!error.contains("expired"));
}

#[test]
fn both_sites_have_hosts_that_credentials_may_go_to() {
    for site in [Site::Us, Site::Eu] {
        assert!(BaseUrl::new(site.events_base()).is_ok() && BaseUrl::new(site.rest_base()).is_ok());
        assert_eq!(
            site == Site::Eu,
            site.events_base().contains(".eu.") && site.rest_base().contains(".eu.")
        );
    }
}
