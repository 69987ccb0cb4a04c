//! Whether two states of a record send traffic to the same place.

use std::net::IpAddr;

use super::POOLS;
use crate::agent::types::RecordState;

/// In words, how `found` differs from `expected` in where traffic goes. Empty when it does not.
///
/// The TTL does not count: it says how long an answer lives, not what it is, and providers round it.
#[must_use]
pub fn differences(expected: &RecordState, found: &RecordState) -> Vec<String> {
    let mut list = Vec::new();
    let mut differ = |what: &str, expected: String, found: String| {
        if expected != found {
            list.push(format!("{what} is {found} instead of {expected}"));
        }
    };
    differ("the name", canonical_name(&expected.name), canonical_name(&found.name));
    differ("the type", expected.kind.to_ascii_uppercase(), found.kind.to_ascii_uppercase());
    differ("the value", targets(expected), targets(found));
    if let (Some(expected), Some(found)) = (expected.proxied, found.proxied) {
        differ("`proxied`", expected.to_string(), found.to_string());
    }
    list
}

/// Values with their weights, one text for all ways to write the same.
fn targets(state: &RecordState) -> String {
    let weight = |at| state.weights.get(at).map(|weight| format!(" (weight {weight})")).unwrap_or_default();
    let values = state.values.iter().enumerate();
    let mut targets: Vec<_> = values.map(|(at, value)| canonical_value(value) + &weight(at)).collect();
    if state.kind != POOLS {
        targets.sort();
        targets.dedup();
    }
    if targets.is_empty() { "nothing".to_owned() } else { targets.join(", ") }
}

pub(crate) fn canonical_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

pub(crate) fn canonical_value(value: &str) -> String {
    value.parse::<IpAddr>().map_or_else(|_| canonical_name(value), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(kind: &str, values: &[&str], weights: &[u32]) -> RecordState {
        RecordState {
            name: "www.example.com".to_owned(),
            kind: kind.to_owned(),
            ttl_s: 60,
            values: values.iter().map(ToString::to_string).collect(),
            proxied: None,
            weights: weights.to_vec(),
        }
    }

    #[test]
    fn ways_to_write_the_same_are_no_difference() {
        let same = |a: &RecordState, b: &RecordState| differences(a, b).is_empty();
        assert!(same(
            &state("A", &["192.0.2.1", "192.0.2.2"], &[]),
            &state("a", &["192.0.2.2", "192.0.2.1"], &[])
        ));
        assert!(same(&state("AAAA", &["2001:db8::1"], &[]), &state("AAAA", &["2001:0DB8:0:0:0:0:0:1"], &[])));
        assert!(same(&state("CNAME", &["a.example.com"], &[]), &state("CNAME", &["A.example.com."], &[])));
        assert!(same(
            &state("A", &["192.0.2.1", "192.0.2.2"], &[1, 0]),
            &state("A", &["192.0.2.2", "192.0.2.1"], &[0, 1])
        ));
        let ttl = RecordState { ttl_s: 300, ..state("A", &["192.0.2.1"], &[]) };
        assert!(same(&state("A", &["192.0.2.1"], &[]), &ttl));
        let proxied = RecordState { proxied: Some(true), ..state("A", &["192.0.2.1"], &[]) };
        assert!(same(&state("A", &["192.0.2.1"], &[]), &proxied));
    }

    #[test]
    fn every_other_place_for_traffic_is_a_difference() {
        let one = state("A", &["192.0.2.1"], &[]);
        let other_name = RecordState { name: "api.example.com".to_owned(), ..one.clone() };
        let proxied = |proxied| RecordState { proxied: Some(proxied), ..one.clone() };
        for (a, b) in [
            (one.clone(), other_name),
            (one.clone(), state("AAAA", &["192.0.2.1"], &[])),
            (one.clone(), state("A", &["192.0.2.2"], &[])),
            (one.clone(), state("A", &[], &[])),
            (one.clone(), state("A", &["192.0.2.1", "192.0.2.2"], &[])),
            (state("A", &["a", "b"], &[1, 0]), state("A", &["a", "b"], &[0, 1])),
            (state(POOLS, &["a", "b"], &[]), state(POOLS, &["b", "a"], &[])),
            (proxied(true), proxied(false)),
        ] {
            assert_eq!(differences(&a, &b).len(), 1, "{a:?} {b:?}");
        }
        let text = differences(&one, &state("A", &["192.0.2.2"], &[])).concat();
        assert_eq!(text, "the value is 192.0.2.2 instead of 192.0.2.1");
    }
}
