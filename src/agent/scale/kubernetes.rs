//! The `scale` subresource of a Deployment or a StatefulSet.

use serde::Deserialize;
use serde_json::json;

use super::{ScaleError, Scaled, Scaler};
use crate::agent::https::{BaseUrl, Client, Method, Repeat, Request, Service};
use crate::agent::secret::SecretSource;
use crate::percent::percent_encode;

static KUBERNETES: Service = Service {
    name: "Kubernetes",
    credential: "the service account needs `get` and `patch` on the workload's `scale` subresource; a token \
        of a pod is renewed by itself, one made by hand expires",
    status_page: None,
    throttle_marks: &[],
};
/// An autoscaler may get in between once or twice.
const MAX_CONFLICTS: u32 = 3;

/// What is scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// `deployments` or `statefulsets`.
    pub resource: String,
    /// Its name.
    pub name: String,
}

/// Scales a workload by its API server.
#[derive(Debug)]
pub struct KubernetesScaler {
    /// Sends the calls; it trusts the cluster's CA.
    pub client: Client,
    /// The API server.
    pub base: BaseUrl,
    /// A service account's token, read anew for each call since it is renewed.
    pub token: SecretSource,
    /// What is scaled.
    pub workload: Workload,
    /// Never more than this.
    pub ceiling: u32,
}

#[derive(Deserialize)]
struct Scale {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

#[derive(Default, Deserialize)]
struct Spec {
    /// Left out by the API server when it is 0.
    #[serde(default)]
    replicas: u32,
}

impl KubernetesScaler {
    fn url(&self) -> String {
        let Workload { namespace, resource, name } = &self.workload;
        let [namespace, resource, name] = [namespace, resource, name].map(percent_encode);
        self.base.join(&format!("/apis/apps/v1/namespaces/{namespace}/{resource}/{name}/scale"))
    }

    fn get_request(&self) -> Request {
        Request::get(self.url()).header("Accept", "application/json")
    }

    /// The version makes the server refuse when the workload changed since it was read.
    fn patch_request(&self, resource_version: &str, replicas: u32) -> Request {
        let body = json!({"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}});
        Request::new(Method::Patch, self.url(), Repeat::OnlyIfWithoutEffect)
            .header("Accept", "application/json")
            .body("application/merge-patch+json", body.to_string())
    }

    fn send(&self, request: Request) -> Result<Scale, ScaleError> {
        let token = self.token.read()?;
        Ok(self.client.call(&KUBERNETES, &request.bearer(&token))?.json()?)
    }
}

impl Scaler for KubernetesScaler {
    fn raise(&mut self, wanted: u32) -> Result<Scaled, ScaleError> {
        let to = wanted.min(self.ceiling);
        for _ in 0..MAX_CONFLICTS {
            let Scale { metadata, spec } = self.send(self.get_request())?;
            if spec.replicas >= to {
                return Ok(Scaled::Enough { replicas: spec.replicas });
            }
            match self.send(self.patch_request(&metadata.resource_version, to)) {
                Ok(scale) => return Ok(Scaled::Raised { from: spec.replicas, to: scale.spec.replicas }),
                Err(ScaleError::Call(error)) if error.status() == Some(409) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ScaleError::Contended { workload: format!("{}/{}", self.workload.resource, self.workload.name) })
    }

    fn plan(&self, wanted: u32) -> Vec<String> {
        let change = self.patch_request("{version as read}", wanted.min(self.ceiling));
        vec![self.get_request().shown(), change.shown()]
    }
}
