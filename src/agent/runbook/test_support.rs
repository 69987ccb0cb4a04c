//! A cluster of three regions for the tests of this folder.

use super::config::{Failback, RegionRecord, RunbookConfig, Timing};
use super::record_set::RegionSet;
use crate::agent::orders::AgentMode;
use crate::agent::types::{RecordState, Region};

pub(super) fn region(name: &str) -> Region {
    Region(name.to_owned())
}

pub(super) fn set(names: &[&str]) -> RegionSet {
    names.iter().map(|name| region(name)).collect()
}

pub(super) fn record(values: &[&str]) -> RecordState {
    RecordState {
        name: "rates.example.com".to_owned(),
        kind: "A".to_owned(),
        ttl_s: 30,
        values: values.iter().map(ToString::to_string).collect(),
        proxied: None,
        weights: Vec::new(),
    }
}

/// `us` watches, and acts by itself.
pub(super) fn config() -> RunbookConfig {
    let of = |name: &str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        RegionRecord { region: region(name), drill_values: values.clone(), values, weight: 1 }
    };
    RunbookConfig {
        cluster: "test".to_owned(),
        node: "us-1".to_owned(),
        own_region: region("us"),
        regions: vec![
            of("eu", &["192.0.2.1"]),
            of("us", &["192.0.2.2"]),
            of("ap", &["192.0.2.3", "2001:db8::3"]),
        ],
        mode: AgentMode::Automatic,
        dry_run: false,
        max_switches_per_day: 3,
        failback: Failback::Manual,
        can_scale: true,
        commits_region: true,
        can_drill: true,
        timing: Timing::default(),
    }
}
