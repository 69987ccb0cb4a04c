//! The rule of the merge: what a counter that arrives adds to what was heard before.

use super::Entry;

/// What is new about a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing: it was heard before, or a later one was.
    Old,
    /// So many tokens since the last that was heard.
    Growth(u64),
    /// The sender was never heard for this bucket.
    First,
}

/// Compares an entry with the highest count heard of its sender.
///
/// The bucket may have been made anew since, at a start above all that was said before: what lies
/// between was never admitted.
pub(super) fn news(heard: Option<u64>, entry: &Entry) -> News {
    match heard {
        None => News::First,
        Some(heard) if entry.count <= heard => News::Old,
        Some(heard) => News::Growth(entry.count - heard.max(entry.count.saturating_sub(entry.used))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::hash::BucketId;
    use proptest::prelude::*;

    fn entry(count: u64, start: u64) -> Entry {
        Entry { policy: 1, id: BucketId::from_u128(1), count, used: count - start, level: 0 }
    }

    /// What a node that hears `counts` in turn has heard and charged in the end.
    fn hear(mut heard: Option<u64>, counts: &[(u64, u64)]) -> (Option<u64>, u64) {
        let mut charged = 0;
        for &(count, start) in counts {
            if let News::Growth(growth) = news(heard, &entry(count, start)) {
                charged += growth;
            }
            heard = Some(heard.unwrap_or(0).max(count));
        }
        (heard, charged)
    }

    #[test]
    fn a_bucket_made_anew_is_charged_from_its_start() {
        assert_eq!(news(Some(100), &entry(1010, 1000)), News::Growth(10));
        assert_eq!(news(Some(1005), &entry(1010, 1000)), News::Growth(5));
    }

    #[test]
    fn an_entry_that_claims_to_have_used_more_than_it_counted_is_believed_no_further() {
        let entry = Entry { used: 50, ..entry(10, 0) };
        assert_eq!(news(Some(4), &entry), News::Growth(6));
    }

    proptest! {
        #[test]
        fn growth_is_charged_once_in_any_order_and_however_often_it_is_heard(
            steps in prop::collection::vec(1_u64..1000, 1..20),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let start = 1 << 40;
            let mut said = vec![(start, start)];
            for step in &steps {
                said.push((said[said.len() - 1].0 + step, start));
            }
            let last = said[said.len() - 1];
            let mut heard: Vec<_> = order.iter().map(|index| *index.get(&said)).collect();
            heard.push(last);
            let (highest, charged) = hear(Some(start), &heard);
            prop_assert_eq!(highest, Some(last.0));
            prop_assert_eq!(charged, last.0 - start);
        }

        #[test]
        fn hearing_is_idempotent_commutative_and_associative(
            a in 0_u64..1000, b in 0_u64..1000, c in 0_u64..1000,
        ) {
            let hear = |counts: &[u64]| {
                let said: Vec<_> = counts.iter().map(|count| (*count, 0)).collect();
                hear(Some(0), &said)
            };
            prop_assert_eq!(hear(&[a, a]), hear(&[a]));
            prop_assert_eq!(hear(&[a, b]), hear(&[b, a]));
            // What one heard of the others is passed on as one.
            let (bc, _) = hear(&[b, c]);
            let (ab, _) = hear(&[a, b]);
            prop_assert_eq!(hear(&[a, bc.unwrap_or(0)]), hear(&[ab.unwrap_or(0), c]));
        }
    }
}
