//! Several checks in one request: the JSON, and all or nothing.

use arrayvec::ArrayVec;

use super::check::{Check, Decided};
use super::json::{JsonError, JsonReader, Mistake};
use super::problem::{CheckProblem, Problem};
use super::route::NameBuffers;
use crate::bucket::policy::{MAX_KEY_BYTES, Mode, PolicySet};
use crate::bucket::table::{BatchItem, Charger};
use crate::time::MonotonicNs;

/// Most checks of one request.
pub(super) const MAX_CHECKS: usize = 64;
const LIST: &str = "a list of 1 to 64 checks";
const _: () = assert!(MAX_CHECKS == 64, "as LIST says");

/// The decided checks of a request, and whether all passed.
pub(super) struct BatchOutcome<'p> {
    pub(super) allowed: bool,
    pub(super) checks: ArrayVec<Decided<'p>, MAX_CHECKS>,
}

/// A check as it is asked for, its names decoded; `None` is one longer than any that is known.
struct Wanted<'n> {
    policy: Option<&'n [u8]>,
    key: Option<&'n [u8]>,
    cost: u64,
}

impl<'n> Wanted<'n> {
    fn read<'j: 'n>(reader: &mut JsonReader<'j>, names: &'n mut NameBuffers) -> Result<Self, JsonError> {
        // Taken by the first field of its name; a second finds none.
        let (mut policy_room, mut key_room) = (Some(&mut names.policy[..]), Some(&mut names.key[..]));
        let (mut policy, mut key, mut cost) = (None, None, None);
        reader.object(|reader, name| {
            match name {
                Some(b"policy") => match policy_room.take() {
                    Some(room) => policy = Some(reader.string(room, "a string")?),
                    None => return reader.fail(Mistake::DuplicateField("policy")),
                },
                Some(b"key") => match key_room.take() {
                    Some(room) => key = Some(reader.string(room, "a string")?),
                    None => return reader.fail(Mistake::DuplicateField("key")),
                },
                Some(b"cost") if cost.is_some() => return reader.fail(Mistake::DuplicateField("cost")),
                Some(b"cost") => cost = Some(reader.whole_number()?),
                other => return reader.fail(Mistake::unknown_field(other, "`policy`, `key` or `cost`")),
            }
            Ok(())
        })?;
        let Some(policy) = policy else { return reader.fail(Mistake::MissingField("policy")) };
        let Some(key) = key else { return reader.fail(Mistake::MissingField("key")) };
        Ok(Self { policy, key, cost: cost.unwrap_or(1) })
    }

    fn find<'p>(&self, policies: &'p PolicySet) -> Result<Check<'p>, CheckProblem> {
        let key = self.key.filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
        let key = key.ok_or(CheckProblem::BadKey)?;
        let policy = self.policy.ok_or(CheckProblem::UnknownPolicy)?;
        Check::find(policies, policy, key, self.cost)
    }
}

/// Reads `body` and finds each of its checks.
fn read<'p>(
    body: &[u8],
    names: &mut NameBuffers,
    policies: &'p PolicySet,
) -> Result<ArrayVec<Result<Check<'p>, CheckProblem>, MAX_CHECKS>, JsonError> {
    let mut list = None;
    let mut reader = JsonReader::new(body)?;
    reader.object(|reader, name| match name {
        Some(b"checks") if list.is_some() => reader.fail(Mistake::DuplicateField("checks")),
        Some(b"checks") => {
            let checks = list.insert(ArrayVec::new());
            reader.list(LIST, |reader| {
                let check = Wanted::read(reader, names)?.find(policies);
                let fits = checks.try_push(check).is_ok();
                if fits { Ok(()) } else { reader.fail(Mistake::TooMany { most: MAX_CHECKS, what: "checks" }) }
            })?;
            if checks.is_empty() { reader.fail(Mistake::Empty("checks")) } else { Ok(()) }
        }
        other => reader.fail(Mistake::unknown_field(other, "`checks`")),
    })?;
    let Some(checks) = list else { return reader.fail(Mistake::MissingField("checks")) };
    reader.end().map(|()| checks)
}

/// Reads and decides the checks in `body`.
///
/// # Errors
/// When the JSON is not as asked for, or one of the checks cannot be decided; nothing is charged then.
pub(super) fn decide<'p>(
    body: &[u8],
    names: &mut NameBuffers,
    policies: &'p PolicySet,
    charger: Charger<'_>,
    now: MonotonicNs,
) -> Result<BatchOutcome<'p>, Problem> {
    let mut checks: ArrayVec<Check<'p>, MAX_CHECKS> = ArrayVec::new();
    for (index, check) in read(body, names, policies)?.into_iter().enumerate() {
        checks.push(check.map_err(|problem| Problem::InBatch { index, problem })?);
    }
    within_bursts(&checks)?;
    Ok(charge(&checks, charger, now))
}

/// Refuses what no waiting would help: costs of one bucket that together are above its burst.
fn within_bursts(checks: &[Check<'_>]) -> Result<(), Problem> {
    let enforced = |check: &&Check<'_>| check.policy.mode() == Mode::Enforce;
    for (index, check) in checks.iter().enumerate().filter(|(_, check)| enforced(check)) {
        let same = checks[..=index].iter().filter(enforced).filter(|other| other.id == check.id);
        // No cost is above a burst, so that all of a batch do not overflow.
        let (cost, burst) = (same.map(|other| other.cost).sum(), check.limits.burst());
        if cost > burst {
            let problem = CheckProblem::SumAboveBurst { cost, burst };
            return Err(Problem::InBatch { index, problem });
        }
    }
    Ok(())
}

/// Policies whose kill switch is thrown touch no bucket, but a denial by one denies the batch.
fn charge<'p>(
    checks: &ArrayVec<Check<'p>, MAX_CHECKS>,
    charger: Charger<'_>,
    now: MonotonicNs,
) -> BatchOutcome<'p> {
    let ids: ArrayVec<_, MAX_CHECKS> = checks.iter().map(|check| check.id).collect();
    charger.table().prefetch_batch(&ids);
    let killed = checks.iter().any(|check| check.policy.mode() == Mode::DenyAll);
    // A cost of zero only looks: a batch that is denied anyway charges nothing.
    let mut items: ArrayVec<BatchItem<'p>, MAX_CHECKS> =
        checks.iter().filter(|check| check.fixed().is_none()).map(Check::item).collect();
    let fits =
        if killed { charger.table().look_all(&mut items, now) } else { charger.charge_all(&mut items, now) };
    let mut charges = items.iter().map(|item| item.charge);
    let allowed = fits && !killed;
    let decided = checks.iter().map(|check| {
        let charge = check.fixed().or_else(|| charges.next()).unwrap_or_default();
        let decided = check.decided(&charge);
        if allowed { decided } else { decided.withheld() }
    });
    BatchOutcome { checks: decided.collect(), allowed }
}
