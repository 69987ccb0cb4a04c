//! A stand-in for PagerDuty: events in, incidents out, a person who acknowledges when told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::fake::{Answer, Asked, Fake, json as answer, text};

#[derive(Default)]
struct World {
    events: Vec<(Instant, Value)>,
    /// By key, when.
    acknowledged: BTreeMap<String, String>,
}

pub(crate) struct Pager {
    pub(crate) fake: Fake,
    world: Arc<Mutex<World>>,
}

impl Pager {
    pub(crate) fn start() -> Self {
        let world: Arc<Mutex<World>> = Arc::default();
        let theirs = Arc::clone(&world);
        let fake = Fake::start(move |asked| theirs.lock().unwrap().answer(asked));
        Self { fake, world }
    }

    /// Over TLS, as it must be when it is not on this host; its authority as PEM.
    pub(crate) fn start_tls(address: &str) -> (Self, String) {
        let world: Arc<Mutex<World>> = Arc::default();
        let theirs = Arc::clone(&world);
        let (fake, pem) = Fake::start_tls(address, move |asked| theirs.lock().unwrap().answer(asked));
        (Self { fake, world }, pem)
    }

    /// Kinds, keys and times of the events so far.
    pub(crate) fn events(&self) -> Vec<(String, String, Instant)> {
        let world = self.world.lock().unwrap();
        let event = |(at, event): &(Instant, Value)| {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            (text("event_action"), text("dedup_key"), *at)
        };
        world.events.iter().map(event).collect()
    }

    /// The payload of the first page.
    pub(crate) fn first_page(&self) -> Value {
        let world = self.world.lock().unwrap();
        world.events.iter().find(|(_, event)| event["event_action"] == "trigger").unwrap().1.clone()
    }

    /// Waits for an event of this kind.
    pub(crate) fn until(&self, kind: &str) -> Instant {
        self.until_one(|found, _| found == kind, kind)
    }

    /// Waits for an event of this kind about this key.
    pub(crate) fn until_about(&self, kind: &str, key: &str) -> Instant {
        self.until_one(|found, about| (found, about) == (kind, key), &format!("{kind} of {key}"))
    }

    fn until_one(&self, is_it: impl Fn(&str, &str) -> bool, what: &str) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some((.., at)) = self.events().into_iter().find(|(kind, key, _)| is_it(kind, key)) {
                return at;
            }
            assert!(Instant::now() < deadline, "no {what} among {:?}", self.events());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many events of this kind there were about this key.
    pub(crate) fn count(&self, kind: &str, key: &str) -> usize {
        self.events().iter().filter(|(found, about, _)| found == kind && about == key).count()
    }

    /// A person takes the incident of this key on.
    pub(crate) fn acknowledge(&self, key: &str) {
        let now = jiff::Timestamp::now().to_string();
        self.world.lock().unwrap().acknowledged.insert(key.to_owned(), now);
    }
}

impl World {
    fn answer(&mut self, asked: &Asked) -> Answer {
        match (asked.method.as_str(), asked.target.split('?').next().unwrap()) {
            ("POST", "/v2/enqueue") => {
                let event = asked.json();
                assert_eq!(event["routing_key"], "the-routing-key");
                let key = event["dedup_key"].clone();
                self.events.push((Instant::now(), event));
                answer(202, &json!({"status": "success", "message": "Event processed", "dedup_key": key}))
            }
            ("GET", "/incidents") if asked.header("authorization") == "Token token=the-rest-key" => {
                answer(200, &json!({ "incidents": self.incidents(&asked.target) }))
            }
            _ => text(404, &asked.line()),
        }
    }

    /// The incident that is asked for by its key.
    fn incidents(&self, target: &str) -> Vec<Value> {
        let is_asked_for = |key: &str| target.contains(&format!("incident_key={}&", key.replace(':', "%3A")));
        let mut keys = self.events.iter().filter_map(|(_, event)| event["dedup_key"].as_str());
        let Some(key) = keys.find(|key| is_asked_for(key)) else { return Vec::new() };
        let person = json!({"id": "P1", "type": "user_reference", "summary": "Ada"});
        let acknowledgements: Vec<Value> = self
            .acknowledged
            .get(key)
            .into_iter()
            .map(|at| json!({"at": at, "acknowledger": person}))
            .collect();
        let status = if acknowledgements.is_empty() { "triggered" } else { "acknowledged" };
        vec![json!({"id": "Q1", "status": status, "acknowledgements": acknowledgements})]
    }
}
