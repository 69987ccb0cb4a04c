//! A record and the set of regions that it puts into service.

use std::collections::BTreeSet;

use super::config::RunbookConfig;
use crate::agent::traffic::canonical_value;
use crate::agent::types::{RecordState, Region};

/// Regions in service.
pub(super) type RegionSet = BTreeSet<Region>;

/// Reads records by the values that regions are configured to have.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// In order of preference: the region, its values, its weight.
    regions: Vec<(Region, Vec<String>, u32)>,
}

impl Layout {
    /// Of the live record, or of the shadow record of drills.
    pub(super) fn new(config: &RunbookConfig, is_drill: bool) -> Self {
        let regions = config.regions.iter().map(|record| {
            let values = if is_drill { &record.drill_values } else { &record.values };
            (record.region.clone(), values.clone(), record.weight.max(1))
        });
        Self { regions: regions.collect() }
    }

    /// The regions in service; `None` for a record that is not of our making: one that has a value of nobody,
    /// only some values of a region, or nothing at all.
    pub(super) fn set_of(&self, record: &RecordState) -> Option<RegionSet> {
        let serves = |at: usize| record.weights.get(at).is_none_or(|weight| *weight > 0);
        let serving = record.values.iter().enumerate().filter(|(at, _)| serves(*at));
        let mut left: BTreeSet<String> = serving.map(|(_, value)| canonical_value(value)).collect();
        let mut set = RegionSet::new();
        for (region, values, _) in &self.regions {
            let own: BTreeSet<String> = values.iter().map(|value| canonical_value(value)).collect();
            if !own.is_empty() && own.is_subset(&left) {
                left.retain(|value| !own.contains(value));
                set.insert(region.clone());
            }
        }
        (left.is_empty() && !set.is_empty()).then_some(set)
    }

    /// `found` with exactly `set` in service: name, type, TTL and proxying stay. A record with weights keeps
    /// its values in their order, those out of service with weight 0.
    pub(super) fn with(&self, found: &RecordState, set: &RegionSet) -> RecordState {
        let serving: Vec<_> = self.regions.iter().filter(|(region, ..)| set.contains(region)).collect();
        let mut wanted = found.clone();
        if found.weights.is_empty() {
            wanted.values = serving.iter().flat_map(|(_, values, _)| values.clone()).collect();
            return wanted;
        }
        let weight_of = |value: &String| {
            let has = |values: &[String]| values.iter().any(|own| is_same(own, value));
            serving.iter().find(|(_, values, _)| has(values)).map_or(0, |(.., weight)| *weight)
        };
        wanted.weights = found.values.iter().map(weight_of).collect();
        let missing = serving.iter().flat_map(|(_, values, _)| values);
        for value in missing.filter(|value| !found.values.iter().any(|there| is_same(there, value))) {
            wanted.values.push(value.clone());
            wanted.weights.push(weight_of(value));
        }
        wanted
    }
}

fn is_same(a: &str, b: &str) -> bool {
    canonical_value(a) == canonical_value(b)
}

/// `eu, us`, for a person.
pub(super) fn in_words(set: &RegionSet) -> String {
    set.iter().map(|region| region.0.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{config, record, region, set};
    use super::*;

    fn layout() -> Layout {
        Layout::new(&config(), false)
    }

    #[test]
    fn a_record_is_a_set_of_regions_or_somebody_elses() {
        let of = |values: &[&str]| layout().set_of(&record(values));
        assert_eq!(of(&["192.0.2.1"]), Some(set(&["eu"])));
        assert_eq!(of(&["192.0.2.2", "192.0.2.1"]), Some(set(&["eu", "us"])));
        assert_eq!(of(&["2001:0DB8::0:3", "192.0.2.3"]), Some(set(&["ap"])), "written another way");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["192.0.2.3"]), None, "a part of a region");
        assert_eq!(of(&["192.0.2.1", "192.0.2.9"]), None, "a value of nobody");
    }

    #[test]
    fn every_set_survives_being_written_and_read() {
        let names = ["eu", "us", "ap"];
        for bits in 1..8_u8 {
            let wanted: RegionSet =
                (0..3).filter(|at| bits & (1 << at) != 0).map(|at| region(names[at])).collect();
            let plain = layout().with(&record(&["192.0.2.1"]), &wanted);
            assert_eq!(layout().set_of(&plain), Some(wanted.clone()));
            let weighted = RecordState { weights: vec![5], ..record(&["192.0.2.1"]) };
            let weighted = layout().with(&weighted, &wanted);
            assert_eq!(weighted.values.len(), weighted.weights.len());
            assert_eq!(layout().set_of(&weighted), Some(wanted), "{weighted:?}");
        }
    }

    #[test]
    fn weights_keep_the_order_of_values() {
        let found = RecordState { weights: vec![0, 7], ..record(&["192.0.2.2", "192.0.2.1"]) };
        assert_eq!(layout().set_of(&found), Some(set(&["eu"])));
        let wanted = layout().with(&found, &set(&["us"]));
        assert_eq!((wanted.values, wanted.weights), (found.values.clone(), vec![1, 0]));
        assert_eq!(wanted.ttl_s, found.ttl_s);
    }
}
