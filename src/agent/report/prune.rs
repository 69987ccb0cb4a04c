//! Keeps the reports in a directory from growing without end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::write::SUFFIXES;
use crate::agent::types::IncidentId;

/// Removes the files of the oldest incidents in `directory`, so that those of `keep` are left. `newest` is one of
/// them whatever its age. Files with other names are somebody else's.
///
/// # Errors
/// When the directory cannot be read, or a file cannot be removed; the others are removed.
pub fn prune(directory: &Path, keep: usize, newest: &IncidentId) -> io::Result<()> {
    let mut reports: BTreeMap<(u64, String), Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let age = path.file_name().and_then(|name| name.to_str()).and_then(incident_of);
        if let Some((second, incident)) = age.filter(|(_, incident)| *incident != newest.0) {
            reports.entry((second, incident.to_owned())).or_default().push(path);
        }
    }
    let more = (reports.len() + 1).saturating_sub(keep.max(1));
    let removed: Vec<io::Result<()>> =
        reports.into_values().take(more).flatten().map(fs::remove_file).collect();
    removed.into_iter().collect()
}

/// The incident that a file is about, by its name, and the second in which that began.
fn incident_of(name: &str) -> Option<(u64, &str)> {
    let incident = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)?.strip_suffix('.'))?;
    let second = incident.rsplit_once('-')?.1.parse().ok()?;
    Some((second, incident))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_reports_go_and_what_is_no_report_stays() {
        let directory = tempfile::tempdir().unwrap();
        let others = ["notes.md", "eu-west.html", "eu-7.txt", "eu-8.md.part"];
        for incident in ["us-west-9", "eu-10", "eu-11", "eu-2"] {
            for suffix in SUFFIXES {
                fs::write(directory.path().join(format!("{incident}.{suffix}")), "").unwrap();
            }
        }
        for name in others {
            fs::write(directory.path().join(name), "").unwrap();
        }
        // By number: the second of `us-west-9` is before that of `eu-10`. `eu-2` was written just now.
        prune(directory.path(), 2, &IncidentId("eu-2".to_owned())).unwrap();
        let mut wanted = [&others[..], &["eu-11.html", "eu-11.md", "eu-11.series.json"]].concat();
        wanted.extend(["eu-2.html", "eu-2.md", "eu-2.series.json"]);
        wanted.sort_unstable();
        assert_eq!(names(directory.path()), wanted);
        prune(directory.path(), 2, &IncidentId("eu-2".to_owned())).unwrap();
        assert_eq!(names(directory.path()), wanted);
    }
}
