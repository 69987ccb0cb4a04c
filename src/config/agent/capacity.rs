//! `[agent.scale]` and `[agent.gitops]`: more of the standby, and the region in a values file.

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::super::secret::secret;
use super::super::section::{Section, Text};
use super::source::{base_url, ca_file, line};
use super::traffic::read_command;
use crate::agent::https::BaseUrl;
use crate::agent::secret::SecretSource;

const MAX_REPLICAS: u64 = 10_000;
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MAX_NAME_CHARS: usize = 128;

/// `[agent.scale]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleConfig {
    /// How many are asked for.
    pub replicas: u32,
    /// Never more than this.
    pub ceiling: u32,
    /// How they are had.
    pub how: ScaleHow,
}

/// How more is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaleHow {
    /// By the scale subresource.
    Kubernetes {
        /// The API server.
        base: BaseUrl,
        /// A service account's token.
        token: SecretSource,
        /// The cluster's CA: in a pod that of its service account; else that of [`super::OutboundConfig`] when
        /// there is none.
        ca_file: Option<PathBuf>,
        /// The namespace.
        namespace: String,
        /// `deployments` or `statefulsets`.
        resource: String,
        /// The name.
        name: String,
    },
    /// By a command.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// How many there usually are.
        usual: u32,
        /// After this it is killed.
        timeout: Duration,
    },
}

/// `[agent.gitops]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitOpsConfig {
    /// The checkout.
    pub directory: PathBuf,
    /// The values file in it.
    pub file: PathBuf,
    /// The key to set, with dots between.
    pub key: String,
    /// Name and e-mail address of the commits.
    pub author: (String, String),
    /// Remote and branch, where commits are pushed.
    pub push: Option<(String, String)>,
    /// For each call of `git`.
    pub timeout: Duration,
}

#[derive(Clone, Copy)]
enum Provider {
    Kubernetes,
    Command,
}

pub(super) fn read_scale(agent: &mut Section<'_>) -> Option<ScaleConfig> {
    let findings = agent.findings();
    let written = agent.get("scale")?;
    let mut section = agent.section("scale");
    let mut count = |key| section.integer(key, 1..=MAX_REPLICAS).and_then(|count| u32::try_from(count).ok());
    let (replicas, ceiling) = (count("replicas"), count("ceiling"));
    if section.get("replicas").is_none() {
        findings.missing(
            written.place,
            "[agent.scale] has no `replicas`",
            "write replicas = 6, how many are asked for",
        );
    }
    let providers = [("kubernetes", Provider::Kubernetes), ("command", Provider::Command)];
    if section.get("provider").is_none() {
        findings.missing(
            written.place,
            "[agent.scale] has no `provider`",
            "write provider = \"kubernetes\" or \"command\"",
        );
    }
    let how = match section.choice("provider", &providers) {
        Some(Provider::Kubernetes) => read_kubernetes(&mut section),
        Some(Provider::Command) => read_command_scaler(&mut section),
        None => None,
    };
    if let (Some(replicas), Some(ceiling), Some(value)) = (replicas, ceiling, section.get("ceiling"))
        && ceiling < replicas
    {
        let what = format!("the ceiling {ceiling} is below the {replicas} replicas that are asked for");
        findings.wrong(value.place, what, "raise the ceiling or ask for fewer");
    }
    section.finish();
    let replicas = replicas?;
    Some(ScaleConfig { replicas, ceiling: ceiling.unwrap_or(replicas), how: how? })
}

fn read_kubernetes(section: &mut Section<'_>) -> Option<ScaleHow> {
    let base = base_url(section, "api", "https://kubernetes.default.svc");
    let token = secret(section, ["token_file", "token_credential"]);
    let ca_file = ca_file(section, "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
    // No root that comes with the program signs for a cluster's own API server.
    let ca_file = ca_file.or_else(|| account_ca(Path::new(ACCOUNT)).filter(|_| section.get("api").is_none()));
    let namespace = section.required("namespace", "rates");
    let kinds = [("deployments", "deployments"), ("statefulsets", "statefulsets")];
    let resource = section.choice("resource", &kinds).unwrap_or("deployments");
    let name = section.required("name", "rates-standby");
    let token = token.unwrap_or_else(|| SecretSource::File(Path::new(ACCOUNT).join("token")));
    Some(ScaleHow::Kubernetes {
        base: base?,
        token,
        ca_file,
        namespace: namespace?.text.to_owned(),
        resource: resource.to_owned(),
        name: name?.text.to_owned(),
    })
}

/// The authority of a pod's cluster, where this is a pod.
fn account_ca(account: &Path) -> Option<PathBuf> {
    Some(account.join("ca.crt")).filter(|file| file.is_file())
}

fn read_command_scaler(section: &mut Section<'_>) -> Option<ScaleHow> {
    let command = read_command(section);
    let usual = section.integer("usual", 0..=MAX_REPLICAS).and_then(|count| u32::try_from(count).ok());
    let timeout = section.duration("timeout", TIMEOUTS).unwrap_or(DEFAULT_TIMEOUT);
    Some(ScaleHow::Command { command: command?, usual: usual.unwrap_or(0), timeout })
}

pub(super) fn read_gitops(agent: &mut Section<'_>) -> Option<GitOpsConfig> {
    let findings = agent.findings();
    agent.get("gitops")?;
    let mut section = agent.section("gitops");
    let directory = section.required("directory", "/var/lib/openclaw-rating/deploy");
    let file = section.required("file", "charts/rates/values.yaml");
    let key = section.required("key", "global.activeRegion");
    let mut author = |key, usual: &str| {
        section.text(key, usual).map_or_else(|| usual.to_owned(), |text| line(text, MAX_NAME_CHARS, findings))
    };
    let author = (author("author", "openclaw-rating"), author("email", "openclaw-rating@localhost"));
    let remote = section.text("remote", "origin");
    let branch = section.text("branch", "main");
    let timeout = section.duration("timeout", TIMEOUTS).unwrap_or(DEFAULT_TIMEOUT);
    let place = section.place();
    section.finish();
    if remote.is_some() != branch.is_some() {
        findings.missing(
            place,
            "[agent.gitops] needs both `remote` and `branch` to push",
            "write both, or neither to only commit",
        );
    }
    if let Some(Text { text, place }) = file {
        let is_inside = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
        if text.is_empty() || !is_inside {
            findings.wrong(
                place,
                format!("{text:?} is not a path inside the checkout"),
                "give it relative to `directory`, without `..`",
            );
        }
    }
    Some(GitOpsConfig {
        directory: PathBuf::from(directory?.text),
        file: PathBuf::from(file?.text),
        key: key?.text.to_owned(),
        author,
        push: remote.zip(branch).map(|(remote, branch)| (remote.text.to_owned(), branch.text.to_owned())),
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_the_authority_of_its_cluster_and_no_other_host_has() {
        let account = tempfile::tempdir().unwrap();
        assert_eq!(account_ca(account.path()), None);
        std::fs::write(account.path().join("ca.crt"), b"").unwrap();
        assert_eq!(account_ca(account.path()), Some(account.path().join("ca.crt")));
    }
}
