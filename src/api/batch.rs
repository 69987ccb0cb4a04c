//! Several checks in one request: the JSON, and all or nothing.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use arrayvec::ArrayVec;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::check::{Check, Decided};
use super::problem::Problem;
use crate::bucket::hash::KeyHasher;
use crate::bucket::policy::{MAX_KEY_BYTES, Mode, PolicySet};
use crate::bucket::table::{BatchItem, BucketTable};
use crate::time::MonotonicNs;

/// Most checks of one request.
pub(super) const MAX_CHECKS: usize = 64;
/// Most of an error's text that is passed on.
const MAX_ERROR_CHARACTERS: usize = 160;

/// The decided checks of a request, and whether all passed.
pub(super) struct BatchOutcome<'p> {
    pub(super) allowed: bool,
    pub(super) checks: ArrayVec<Decided<'p>, MAX_CHECKS>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchJson<'j> {
    #[serde(borrow)]
    checks: CheckList<'j>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckJson<'j> {
    #[serde(borrow)]
    policy: Cow<'j, str>,
    #[serde(borrow)]
    key: Cow<'j, str>,
    #[serde(default = "one")]
    cost: u64,
}

const fn one() -> u64 {
    1
}

/// What is written as an object: a derived `Deserialize` takes a list of the values too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A list that needs no allocation.
struct CheckList<'j>(ArrayVec<CheckJson<'j>, MAX_CHECKS>);

impl<'de: 'j, 'j> Deserialize<'de> for CheckList<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = CheckList<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of 1 to {MAX_CHECKS} checks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut checks = ArrayVec::new();
        while let Some(Object(check)) = list.next_element()? {
            let more = checks.try_push(check).is_err();
            if more {
                return Err(A::Error::custom(format_args!("more than {MAX_CHECKS} checks")));
            }
        }
        if checks.is_empty() {
            return Err(A::Error::custom("no checks"));
        }
        Ok(CheckList(checks))
    }
}

/// Reads and decides the checks in `body`.
///
/// # Errors
/// When the JSON is not as asked for, or one of the checks cannot be decided; nothing is charged then.
pub(super) fn decide<'p>(
    body: &[u8],
    policies: &'p PolicySet,
    hasher: &KeyHasher,
    table: &BucketTable,
    now: MonotonicNs,
) -> Result<BatchOutcome<'p>, Problem> {
    let Object(batch): Object<BatchJson<'_>> = serde_json::from_slice(body).map_err(|error| {
        let text: String = error.to_string().chars().take(MAX_ERROR_CHARACTERS).collect();
        Problem::BadJson(text)
    })?;
    let mut checks: ArrayVec<Check<'p>, MAX_CHECKS> = ArrayVec::new();
    for (index, wanted) in batch.checks.0.iter().enumerate() {
        let check = find(wanted, policies, hasher);
        checks.push(check.map_err(|problem| Problem::InBatch { index, problem: Box::new(problem) })?);
    }
    within_bursts(&checks)?;
    Ok(charge(&checks, table, now))
}

/// Refuses what no waiting would help: costs of one bucket that together are above its burst.
fn within_bursts(checks: &[Check<'_>]) -> Result<(), Problem> {
    let enforced = |check: &&Check<'_>| check.policy.mode() == Mode::Enforce;
    for (index, check) in checks.iter().enumerate().filter(|(_, check)| enforced(check)) {
        let same = checks[..=index].iter().filter(enforced).filter(|other| other.id == check.id);
        // No cost is above a burst, so that all of a batch do not overflow.
        let (cost, burst) = (same.map(|other| other.cost).sum(), check.limits.burst());
        if cost > burst {
            let problem = Box::new(Problem::SumAboveBurst { cost, burst });
            return Err(Problem::InBatch { index, problem });
        }
    }
    Ok(())
}

fn find<'p>(
    wanted: &CheckJson<'_>,
    policies: &'p PolicySet,
    hasher: &KeyHasher,
) -> Result<Check<'p>, Problem> {
    let key = wanted.key.as_bytes();
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err(Problem::BadKey);
    }
    Check::find(policies, hasher, wanted.policy.as_bytes(), key, wanted.cost)
}

/// Policies whose kill switch is thrown touch no bucket, but a denial by one denies the batch.
fn charge<'p>(
    checks: &ArrayVec<Check<'p>, MAX_CHECKS>,
    table: &BucketTable,
    now: MonotonicNs,
) -> BatchOutcome<'p> {
    let ids: ArrayVec<_, MAX_CHECKS> = checks.iter().map(|check| check.id).collect();
    table.prefetch_batch(&ids);
    let killed = checks.iter().any(|check| check.policy.mode() == Mode::DenyAll);
    // A cost of zero only looks: a batch that is denied anyway charges nothing.
    let mut items: ArrayVec<BatchItem<'p>, MAX_CHECKS> =
        checks.iter().filter(|check| check.fixed().is_none()).map(Check::item).collect();
    let fits = if killed { table.look_all(&mut items, now) } else { table.charge_all(&mut items, now) };
    let mut charges = items.iter().map(|item| item.charge);
    let allowed = fits && !killed;
    let decided = checks.iter().map(|check| {
        let charge = check.fixed().or_else(|| charges.next()).unwrap_or_default();
        let decided = check.decided(&charge);
        if allowed { decided } else { decided.withheld() }
    });
    BatchOutcome { checks: decided.collect(), allowed }
}
