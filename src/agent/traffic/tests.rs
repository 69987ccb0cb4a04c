//! The order of a change, against a provider with every kind of bad luck.

use super::*;
use crate::agent::https::{CallError, Failure, Service};

const SERVICE: Service = Service { name: "Fake", credential: "none", status_page: None, throttle_marks: &[] };

fn record(value: &str) -> RecordState {
    RecordState {
        name: "www.example.com".to_owned(),
        kind: "A".to_owned(),
        ttl_s: 30,
        values: vec![value.to_owned()],
        proxied: None,
        weights: vec![],
    }
}

/// A record that may be changed by others, and whose answers may be lost.
struct Fake {
    held: RecordState,
    /// What a put leaves behind, and what it answers.
    put: fn(&mut RecordState, &RecordState) -> Result<(), TrafficError>,
    reads_left: u32,
    puts: u32,
}

fn fake(held: &str, put: fn(&mut RecordState, &RecordState) -> Result<(), TrafficError>) -> Fake {
    Fake { held: record(held), put, reads_left: 2, puts: 0 }
}

fn lost_answer() -> TrafficError {
    CallError::new(&SERVICE, "PATCH", Failure::TimedOut).into()
}

impl TrafficProvider for Fake {
    fn read(&mut self) -> Result<RecordState, TrafficError> {
        match self.reads_left.checked_sub(1) {
            Some(left) => self.reads_left = left,
            None => return Err(lost_answer()),
        }
        Ok(self.held.clone())
    }

    fn put(&mut self, _: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        self.puts += 1;
        (self.put)(&mut self.held, wanted)
    }

    fn visible(&mut self, _: &RecordState) -> Result<Visibility, TrafficError> {
        Ok(Visibility::Shown)
    }

    fn plan(&self, _: &RecordState, _: &RecordState) -> Vec<String> {
        vec![]
    }

    fn limits(&self, _: u32) -> Vec<String> {
        vec![]
    }
}

fn write(fake: &mut Fake) -> Result<Written, TrafficError> {
    fake.write(&record("192.0.2.1"), &record("198.51.100.1"))
}

fn apply(held: &mut RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
    held.clone_from(wanted);
    Ok(())
}

#[test]
fn a_record_that_is_as_expected_is_changed_once() {
    let mut provider = fake("192.0.2.1", apply);
    assert_eq!(write(&mut provider).unwrap(), Written::Changed);
    assert_eq!((provider.held, provider.puts), (record("198.51.100.1"), 1));
}

#[test]
fn a_record_that_is_already_as_wanted_is_not_written() {
    let mut provider = fake("198.51.100.1", apply);
    assert_eq!(write(&mut provider).unwrap(), Written::AlreadyThere);
    assert_eq!(provider.puts, 0);
}

#[test]
fn a_record_that_someone_else_changed_is_not_written_and_a_person_is_asked() {
    let mut provider = fake("203.0.113.9", apply);
    let error = write(&mut provider).unwrap_err();
    assert_eq!(provider.puts, 0);
    assert!(matches!(&error, TrafficError::Conflict { found, .. } if found.values == ["203.0.113.9"]));
    let text = error.to_string();
    assert!(text.contains("203.0.113.9") && text.contains("failover"), "{text}");
}

#[test]
fn a_change_that_is_stopped_while_the_record_is_read_is_not_made() {
    let mut provider = fake("192.0.2.1", apply);
    let stopped = || Err("it was stopped".to_owned());
    let error = provider.write_while(&stopped, &record("192.0.2.1"), &record("198.51.100.1")).unwrap_err();
    assert!(matches!(&error, TrafficError::NotBegun(_)) && !error.may_have_happened(), "{error}");
    assert_eq!(provider.puts, 0);
}

#[test]
fn a_lost_answer_is_settled_by_reading() {
    let mut done = fake("192.0.2.1", |held, wanted| apply(held, wanted).and(Err(lost_answer())));
    assert_eq!(write(&mut done).unwrap(), Written::Changed);

    let mut not_done = fake("192.0.2.1", |_, _| Err(lost_answer()));
    assert!(matches!(write(&mut not_done), Err(TrafficError::NotDone(_))));

    let mut half_done = fake("192.0.2.1", |held, _| {
        held.values.push("198.51.100.1".to_owned());
        Err(lost_answer())
    });
    assert!(matches!(write(&mut half_done), Err(TrafficError::InPart { .. })));

    let mut unseen = fake("192.0.2.1", |_, _| Err(lost_answer()));
    unseen.reads_left = 1;
    let error = write(&mut unseen).unwrap_err();
    assert!(matches!(error, TrafficError::Unknown(_)) && error.may_have_happened());
    assert!([done, not_done, half_done, unseen].iter().all(|provider| provider.puts == 1));
}

#[test]
fn a_refused_write_is_not_read_back() {
    let mut provider = fake("192.0.2.1", |_, _| {
        Err(CallError::new(&SERVICE, "PATCH", Failure::NotSent("refused".to_owned())).into())
    });
    assert!(matches!(write(&mut provider), Err(TrafficError::Call(_))));
    assert_eq!(provider.reads_left, 1);
}

#[test]
fn success_is_not_believed_without_seeing_it() {
    let mut provider = fake("192.0.2.1", |_, _| Ok(()));
    assert!(matches!(write(&mut provider), Err(TrafficError::NotApplied { .. })));
    let mut raced = fake("192.0.2.1", |held, _| {
        *held = record("203.0.113.9");
        Ok(())
    });
    assert!(matches!(write(&mut raced), Err(TrafficError::Conflict { .. })));
}
