//! `[state]`: the directory that outlives the process.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Set by systemd for `StateDirectory=`.
const SYSTEMD_VARIABLE: &str = "STATE_DIRECTORY";

/// The warning where there are peers and no directory.
pub(super) const CLOCK_ALONE: &str = "there are peers and no [state] directory: a restart begins \
    with full buckets where no peer can be heard, and its counters rest on the wall clock alone; write \
    directory = \"/var/lib/openclaw-rating\" below [state]";

/// Where snapshots are kept, and how often one is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// The directory; this server's own.
    pub directory: PathBuf,
    /// Between two snapshots.
    pub snapshot_interval: Duration,
}

impl StateConfig {
    /// Where the agent's journal is.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }
}

/// `None` when neither the file nor systemd names a directory: then a restart begins with full buckets.
pub(super) fn read_state(root: &mut Section<'_>, environment: &[(String, String)]) -> Option<StateConfig> {
    let mut section = root.section("state");
    let named = section.text("directory", "/var/lib/openclaw-rating");
    let intervals = Duration::from_secs(1)..=Duration::from_secs(86_400);
    let interval = section.duration("snapshot_interval", intervals);
    section.finish();
    let of_systemd = environment.iter().find(|(name, _)| name == SYSTEMD_VARIABLE);
    let directory = named
        .map(|text| PathBuf::from(text.text))
        .or_else(|| of_systemd.and_then(|(_, paths)| paths.split(':').next()).map(PathBuf::from));
    let directory = directory.filter(|path| !path.as_os_str().is_empty())?;
    Some(StateConfig { directory, snapshot_interval: interval.unwrap_or(DEFAULT_INTERVAL) })
}
