//! The limits that a policy has for particular keys, found without a look at each.

use std::collections::HashMap;

use super::limits::Limits;
use super::spec::Matcher;

/// Limits by key and by the beginning of keys.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    exact: HashMap<Box<[u8]>, Limits>,
    prefixes: Prefixes,
}

/// Limits by the beginning of keys, of which the longest wins.
#[derive(Debug, Default)]
struct Prefixes {
    /// Sorted by prefix.
    all: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    limits: Limits,
    /// The place of the longest other prefix that this one begins with.
    shorter: Option<u32>,
}

/// Two overrides are for the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Twice;

impl Overrides {
    /// # Errors
    /// When two are for the same key or prefix.
    pub(super) fn new<'m>(all: impl IntoIterator<Item = (&'m Matcher, Limits)>) -> Result<Self, Twice> {
        let (mut exact, mut prefixes) = (HashMap::new(), Vec::new());
        for (matcher, limits) in all {
            match matcher {
                Matcher::Exact(key) => {
                    if exact.insert(key.as_slice().into(), limits).is_some() {
                        return Err(Twice);
                    }
                }
                Matcher::Prefix(text) => prefixes.push((text.as_slice().into(), limits)),
            }
        }
        Ok(Self { exact, prefixes: Prefixes::new(prefixes)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.all.is_empty()
    }

    /// The limits of a key that one of them names.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<&Limits> {
        self.exact.get(key).or_else(|| self.prefixes.of_key(key))
    }

    /// The limits of the override for exactly these keys.
    pub(super) fn of_matcher(&self, matcher: &Matcher) -> Option<&Limits> {
        match matcher {
            Matcher::Exact(key) => self.exact.get(key.as_slice()),
            Matcher::Prefix(text) => self.prefixes.of_prefix(text),
        }
    }

    pub(super) fn limits(&self) -> impl Iterator<Item = &Limits> {
        self.exact.values().chain(self.prefixes.all.iter().map(|prefix| &prefix.limits))
    }
}

impl Prefixes {
    fn new(mut all: Vec<(Box<[u8]>, Limits)>) -> Result<Self, Twice> {
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        if all.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Twice);
        }
        let mut sorted: Vec<Prefix> = Vec::with_capacity(all.len());
        for (text, limits) in all {
            // Whatever it begins with is before it, and is what the one just before it is or begins with.
            let mut shorter = sorted.len().checked_sub(1).map(|last| last as u32);
            while let Some(place) = shorter.filter(|place| !text.starts_with(&sorted[*place as usize].text)) {
                shorter = sorted[place as usize].shorter;
            }
            sorted.push(Prefix { text, limits, shorter });
        }
        Ok(Self { all: sorted })
    }

    /// The limits of the longest prefix of `key`.
    fn of_key(&self, key: &[u8]) -> Option<&Limits> {
        // Between a prefix of the key and the key stands only what begins with that prefix.
        let mut place = self.all.partition_point(|prefix| *prefix.text <= *key).checked_sub(1);
        while let Some(prefix) = place.map(|place| &self.all[place]) {
            if key.starts_with(&prefix.text) {
                return Some(&prefix.limits);
            }
            place = prefix.shorter.map(|place| place as usize);
        }
        None
    }

    fn of_prefix(&self, text: &[u8]) -> Option<&Limits> {
        let place = self.all.binary_search_by(|prefix| prefix.text.as_ref().cmp(text)).ok()?;
        Some(&self.all[place].limits)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bucket::spec::LimitSpec;
    use crate::time::MonotonicNs;

    fn limits(slot: usize) -> Limits {
        Limits::new(slot as u16, LimitSpec::per_second(1, 1).unwrap(), MonotonicNs(0))
    }

    fn overrides(matchers: &[Matcher]) -> Result<Overrides, Twice> {
        Overrides::new(matchers.iter().enumerate().map(|(slot, matcher)| (matcher, limits(slot))))
    }

    #[test]
    fn an_override_for_keys_that_have_one_is_refused() {
        let (exact, prefix) =
            (|key: &str| Matcher::Exact(key.into()), |key: &str| Matcher::Prefix(key.into()));
        assert!(overrides(&[exact("a"), prefix("a"), prefix("ab"), exact("ab")]).is_ok());
        assert_eq!(overrides(&[exact("a"), prefix("b"), exact("a")]).unwrap_err(), Twice);
        assert_eq!(overrides(&[prefix("a"), prefix("b"), prefix("a")]).unwrap_err(), Twice);
    }

    proptest! {
        #[test]
        fn an_exact_key_wins_over_prefixes_and_the_longest_prefix_over_shorter_ones(
            names in prop::collection::btree_set((any::<bool>(), "[ab]{1,6}"), 0..40),
            keys in prop::collection::vec("[abc]{1,8}", 1..40),
        ) {
            let matchers: Vec<Matcher> = names.into_iter()
                .map(|(exact, text)| match exact {
                    true => Matcher::Exact(text.into_bytes()),
                    false => Matcher::Prefix(text.into_bytes()),
                })
                .collect();
            let overrides = overrides(&matchers).unwrap();
            for key in keys.iter().map(String::as_bytes) {
                let strength = |matcher: &Matcher| match matcher {
                    Matcher::Exact(text) => (text == key).then_some(usize::MAX),
                    Matcher::Prefix(text) => key.starts_with(text).then_some(text.len()),
                };
                let slots = (0..matchers.len()).filter(|slot| strength(&matchers[*slot]).is_some());
                let expected = slots.max_by_key(|slot| strength(&matchers[*slot]));
                let found = overrides.of_key(key).map(|limits| usize::from(limits.slot()));
                prop_assert_eq!(found, expected);
            }
            for (slot, matcher) in matchers.iter().enumerate() {
                prop_assert_eq!(overrides.of_matcher(matcher), Some(&limits(slot)));
            }
        }
    }
}
