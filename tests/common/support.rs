//! What the tests share: quick clients, secrets in files, programs that may be missing.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use openclaw_rating::agent::https::{Client, ClientOptions, RetryPolicy};
use openclaw_rating::agent::secret::SecretSource;
use openclaw_rating::agent::types::RecordState;
use tempfile::TempDir;

/// Set where every program is installed, so that a missing one is a failure.
const REQUIRE_ALL: &str = "OPENCLAW_TESTS_REQUIRE_ALL";

pub(crate) fn options() -> ClientOptions {
    let retry = RetryPolicy {
        attempts: 3,
        first_delay: Duration::from_millis(5),
        max_delay: Duration::from_millis(20),
        total: Duration::from_secs(3),
    };
    ClientOptions { timeout: Duration::from_millis(700), retry, ..ClientOptions::default() }
}

pub(crate) fn client() -> Client {
    Client::new(&options()).unwrap()
}

/// A secret in a file of its own.
pub(crate) fn secret(directory: &TempDir, name: &str, text: &str) -> SecretSource {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    SecretSource::File(path)
}

pub(crate) fn record(name: &str, values: &[&str]) -> RecordState {
    RecordState {
        name: name.to_owned(),
        kind: "A".to_owned(),
        ttl_s: 60,
        values: values.iter().map(ToString::to_string).collect(),
        proxied: None,
        weights: vec![],
    }
}

/// Whether a test can run, or why it is skipped.
pub(crate) fn is_there(program: &str) -> bool {
    let directories = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let found = program.contains('/') && Path::new(program).exists()
        || directories.split(':').any(|directory| Path::new(directory).join(program).exists());
    assert!(found || std::env::var_os(REQUIRE_ALL).is_none(), "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A values file as people write it.
pub(crate) const HELM_VALUES: &str =
    "# Helm values\nreplicas: 3   # each\nglobal:\n  region: eu  # by the agent\n";

/// What `git` prints in a directory.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let identity =
        ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").current_dir(directory).args(identity).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A bare repository, `origin`, and a checkout of it, `checkout`, with one values file.
pub(crate) fn repository() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let checkout = directory.path().join("checkout");
    git(directory.path(), &["init", "--quiet", "--bare", "origin"]);
    git(directory.path(), &["clone", "--quiet", "origin", "checkout"]);
    std::fs::write(checkout.join("values.yaml"), HELM_VALUES).unwrap();
    git(&checkout, &["add", "values.yaml"]);
    git(&checkout, &["commit", "--quiet", "-m", "start"]);
    git(&checkout, &["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    directory
}

/// That `text` has each of `parts`.
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}
