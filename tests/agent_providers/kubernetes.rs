//! The `scale` subresource of Kubernetes.

use std::sync::{Arc, Mutex};

use openclaw_rating::agent::scale::{KubernetesScaler, Scaled, Scaler, Workload};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, json as answer, status, too_many};
use crate::common::support::{assert_says, client, secret};

struct World {
    replicas: u32,
    version: u32,
    /// Somebody else writes between each read and write while this is above 0.
    rivals: u32,
}

fn failure(code: u16, reason: &str, message: &str) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    answer(code, &body)
}

impl World {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.header("authorization") != "Bearer good-token" {
            return failure(401, "Unauthorized", "Unauthorized");
        }
        if asked.target != "/apis/apps/v1/namespaces/edge/deployments/rating/scale" {
            return failure(404, "NotFound", "deployments.apps \"x\" not found");
        }
        assert_eq!(asked.header("accept"), "application/json");
        match asked.method.as_str() {
            "GET" => {
                let scale = self.scale();
                if self.rivals > 0 {
                    self.rivals -= 1;
                    self.version += 1;
                }
                answer(200, &scale)
            }
            "PATCH" => {
                assert_eq!(asked.header("content-type"), "application/merge-patch+json");
                let body = asked.json();
                let version = self.version.to_string();
                if body["metadata"]["resourceVersion"].as_str() != Some(&version) {
                    return failure(409, "Conflict", "the object has been modified");
                }
                self.replicas = u32::try_from(body["spec"]["replicas"].as_u64().unwrap()).unwrap();
                self.version += 1;
                answer(200, &self.scale())
            }
            other => panic!("{other}"),
        }
    }

    /// The API server leaves out a number that is 0.
    fn scale(&self) -> Value {
        let spec = if self.replicas == 0 { json!({}) } else { json!({"replicas": self.replicas}) };
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": spec, "status": {"replicas": 1},
            "metadata": {"name": "rating", "namespace": "edge", "resourceVersion": self.version.to_string()}})
    }
}

fn kubernetes(replicas: u32, rivals: u32) -> (Fake, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World { replicas, version: 7, rivals }));
    let theirs = Arc::clone(&world);
    (Fake::start(move |asked| theirs.lock().unwrap().answer(asked)), world)
}

fn scaler(fake: &Fake, directory: &TempDir) -> KubernetesScaler {
    let workload = Workload {
        namespace: "edge".to_owned(),
        resource: "deployments".to_owned(),
        name: "rating".to_owned(),
    };
    let token = secret(directory, "token", "good-token");
    KubernetesScaler { client: client(), base: fake.base(), token, workload, ceiling: 5 }
}

#[test]
fn replicas_are_raised_to_the_ceiling_and_never_lowered() {
    let directory = tempfile::tempdir().unwrap();
    for (before, wanted, expected, after) in [
        (2, 4, Scaled::Raised { from: 2, to: 4 }, 4),
        (2, 9, Scaled::Raised { from: 2, to: 5 }, 5),
        (0, 1, Scaled::Raised { from: 0, to: 1 }, 1),
        (4, 3, Scaled::Enough { replicas: 4 }, 4),
        (8, 9, Scaled::Enough { replicas: 8 }, 8),
    ] {
        let (fake, world) = kubernetes(before, 0);
        assert_eq!(scaler(&fake, &directory).raise(wanted).unwrap(), expected);
        assert_eq!(world.lock().unwrap().replicas, after);
    }
}

#[test]
fn the_plan_is_what_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, _) = kubernetes(2, 0);
    let mut scaler = scaler(&fake, &directory);
    let plan = scaler.plan(4);
    scaler.raise(4).unwrap();
    let base = fake.base().to_string();
    let calls = fake.asked().into_iter().map(|asked| {
        let body = asked.body.replace("\"7\"", "\"{version as read}\"");
        format!("{} {base}{} {body}", asked.method, asked.target).trim_end().to_owned()
    });
    assert_eq!(calls.collect::<Vec<_>>(), plan);
}

#[test]
fn a_rival_is_given_way_to_but_not_forever() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, world) = kubernetes(2, 2);
    assert_eq!(scaler(&fake, &directory).raise(4).unwrap(), Scaled::Raised { from: 2, to: 4 });
    world.lock().unwrap().rivals = 99;
    let error = scaler(&fake, &directory).raise(5).unwrap_err();
    assert_says(&error.to_string(), &["deployments/rating", "autoscaler"]);
}

#[test]
fn every_refusal_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, world) = kubernetes(2, 0);
    let mut scaler = scaler(&fake, &directory);
    scaler.token = secret(&directory, "old", "expired-token");
    let error = scaler.raise(4).unwrap_err().to_string();
    assert_says(&error, &["401", "Unauthorized", "`patch`", "expires"]);
    assert!(!error.contains("expired-token"));
    scaler.token = secret(&directory, "token", "good-token");
    fake.inject([Fault::Answer(failure(403, "Forbidden", "deployments.apps \"rating\" is forbidden"))]);
    assert_says(&scaler.raise(4).unwrap_err().to_string(), &["is forbidden", "`scale` subresource"]);
    fake.inject([Fault::Pass, Fault::SilentAfterwards]);
    assert_says(&scaler.raise(3).unwrap_err().to_string(), &["no answer in time", "look before"]);
    assert_eq!(world.lock().unwrap().replicas, 3);
    fake.inject([Fault::Garble("{\"kind\":\"Scale\"}")]);
    assert_says(&scaler.raise(4).unwrap_err().to_string(), &["cannot be understood"]);
    fake.inject([Fault::Pass, status(500)]);
    assert_says(&scaler.raise(4).unwrap_err().to_string(), &["HTTP 500"]);
    fake.inject([too_many(0)]);
    scaler.raise(4).unwrap();
    scaler.workload.name = "other".to_owned();
    assert_says(&scaler.raise(4).unwrap_err().to_string(), &["not found", "names and ids"]);
}
