//! The services that stand around a failover: a Kubernetes API, a Git checkout, Prometheus.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::common::fake::{Answer, Asked, Fake, json as answer};
use crate::common::support::{git, is_there, repository};

/// The `scale` subresource of one Deployment.
pub(crate) struct Kubernetes {
    pub(crate) fake: Fake,
    world: Arc<Mutex<Scale>>,
}

struct Scale {
    replicas: u64,
    patches: usize,
}

impl Kubernetes {
    pub(crate) const TOKEN: &str = "a service account's token";

    pub(crate) fn start(replicas: u64) -> Self {
        let world = Arc::new(Mutex::new(Scale { replicas, patches: 0 }));
        let theirs = Arc::clone(&world);
        Self { fake: Fake::start(move |asked| theirs.lock().unwrap().answer(asked)), world }
    }

    pub(crate) fn replicas(&self) -> u64 {
        self.world.lock().unwrap().replicas
    }

    /// How often they were changed.
    pub(crate) fn patches(&self) -> usize {
        self.world.lock().unwrap().patches
    }
}

impl Scale {
    fn answer(&mut self, asked: &Asked) -> Answer {
        assert_eq!(asked.header("authorization"), format!("Bearer {}", Kubernetes::TOKEN));
        assert_eq!(asked.target, "/apis/apps/v1/namespaces/edge/deployments/rating/scale");
        if asked.method == "PATCH" {
            assert_eq!(asked.header("content-type"), "application/merge-patch+json");
            let body = asked.json();
            assert_eq!(body["metadata"]["resourceVersion"], self.version());
            self.replicas = body["spec"]["replicas"].as_u64().unwrap();
            self.patches += 1;
        }
        let metadata = json!({"name": "rating", "namespace": "edge", "resourceVersion": self.version()});
        answer(
            200,
            &json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
                "spec": {"replicas": self.replicas}, "status": {"replicas": self.replicas}}),
        )
    }

    fn version(&self) -> String {
        (7 + self.patches).to_string()
    }
}

/// A checkout with one values file, and where its commits are pushed.
pub(crate) struct Checkout {
    directory: tempfile::TempDir,
}

impl Checkout {
    /// Nothing when Git is not installed.
    pub(crate) fn start() -> Option<Self> {
        if !is_there("git") {
            return None;
        }
        Some(Self { directory: repository() })
    }

    /// `[agent.gitops]` for it.
    pub(crate) fn section(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            r#"
            [agent.gitops]
            directory = "{directory}/checkout"
            remote = "origin"
            branch = "main"
            file = "values.yaml"
            key = "global.region"
            "#
        )
    }

    /// Subjects of the commits that were pushed, the newest first.
    pub(crate) fn pushed(&self) -> Vec<String> {
        git(&self.origin(), &["log", "--format=%s", "main"]).lines().map(str::to_owned).collect()
    }

    /// The values file of the newest of them.
    pub(crate) fn pushed_values(&self) -> String {
        git(&self.origin(), &["show", "main:values.yaml"])
    }

    fn origin(&self) -> PathBuf {
        self.directory.path().join("origin")
    }
}

/// Answers range queries: 0.4321 of the tokens are there at any time, and nothing else is known.
pub(crate) fn api_of_prometheus(asked: &Asked) -> Answer {
    let (path, query) = asked.target.split_once('?').unwrap();
    assert_eq!((asked.method.as_str(), path), ("GET", "/api/v1/query_range"));
    let parameters: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let time = |name| parameters[name].parse::<f64>().unwrap();
    let (start, end, step) = (time("start"), time("end"), time("step"));
    let is_of_tokens = parameters["query"].starts_with("min%28");
    let points = ((end - start) / step).round() as u32;
    let values: Vec<Value> =
        (0..=points).map(|point| json!([start + f64::from(point) * step, "0.4321"])).collect();
    let rows = if is_of_tokens { json!([{"metric": {}, "values": values}]) } else { json!([]) };
    answer(200, &json!({"status": "success", "data": {"resultType": "matrix", "result": rows}}))
}
