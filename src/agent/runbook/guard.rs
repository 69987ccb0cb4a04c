//! The rules of safety, one a function. Nothing is approved or written against any of them.

use super::assessment::{Assessment, Standing};
use super::config::RunbookConfig;
use super::incident::{Approval, Change, Pass};
use super::ledger::{Ledger, is_same};
use super::record_set::{RegionSet, in_words};
use crate::agent::orders::AgentMode;
use crate::agent::types::{Cause, IncidentId, RecordState, Region, UnixMs};

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) now: UnixMs,
    pub(super) config: &'a RunbookConfig,
    pub(super) assessment: &'a Assessment,
    pub(super) assessed_at: UnixMs,
    pub(super) frozen: Option<&'a str>,
    pub(super) journal_fails: Option<&'a str>,
    pub(super) ledger: &'a Ledger,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intended<'a> {
    pub(super) incident: &'a IncidentId,
    pub(super) region: &'a Region,
    pub(super) cause: Cause,
    pub(super) target: &'a Region,
    pub(super) approval: &'a Approval,
    pub(super) before: &'a RegionSet,
    pub(super) after: &'a RegionSet,
}

/// `Err` says what stands against it and what to do.
pub(super) type Verdict = Result<(), String>;
type Rule = fn(&Facts<'_>, &Intended<'_>) -> Verdict;

/// Rules that hold before a run begins, and again before the write.
const RULES: [Rule; 18] = [
    |facts, _| own_region_is_known(facts),
    |facts, _| mode_lets_act(facts),
    |facts, _| is_not_frozen(facts),
    |facts, _| journal_is_written(facts),
    |facts, _| assessment_is_fresh(facts),
    |facts, _| is_fit(facts),
    |facts, _| is_elected(facts),
    acts_for_the_target,
    region_is_down_by_majority,
    silence_is_not_of_the_probe_alone,
    target_is_healthy,
    all_that_serve_are_healthy,
    nobody_serves_who_is_not_looked_at,
    somebody_serves,
    keeps_a_healthy_region,
    changes_what_it_is_about,
    cooldown_has_passed,
    cap_of_the_day_is_not_reached,
];

/// What stands against a run; empty when nothing does.
pub(super) fn before_a_run(facts: &Facts<'_>, intended: &Intended<'_>) -> Vec<String> {
    RULES.iter().filter_map(|rule| rule(facts, intended).err()).collect()
}

/// What stands against writing `wanted`; empty when nothing does.
pub(super) fn before_a_write(
    facts: &Facts<'_>,
    intended: &Intended<'_>,
    pass: &Pass,
    wanted: &RecordState,
) -> Vec<String> {
    let mut list = before_a_run(facts, intended);
    list.extend(target_has_just_passed(facts, intended, pass).err());
    list.extend(switches_once(facts, intended, wanted).err());
    list
}

/// What stands against putting the record back; empty when nothing does.
pub(super) fn before_a_restore(facts: &Facts<'_>, change: &Change, cause: Cause) -> Vec<String> {
    let rules = [
        mode_lets_act(facts),
        is_no_dry_run(facts),
        is_not_frozen(facts),
        journal_is_written(facts),
        assessment_is_fresh(facts),
        what_comes_back_is_healthy(facts, change, cause),
    ];
    rules.into_iter().filter_map(Result::err).collect()
}

/// Whether nothing but a fresh look at the regions is missing for putting the record back, as after a restart.
pub(super) fn only_lacks_a_look(facts: &Facts<'_>, change: &Change) -> bool {
    let others =
        [mode_lets_act(facts), is_no_dry_run(facts), is_not_frozen(facts), journal_is_written(facts)];
    let mut comes_back = change.before.difference(&change.after);
    let is_stale = assessment_is_fresh(facts).is_err();
    let is_seen_down = !is_stale && comes_back.any(|region| facts.assessment.standing(region).is_down());
    others.iter().all(Result::is_ok) && !is_seen_down
}

/// MUST: an empty or unknown own region refuses to act.
fn own_region_is_known(facts: &Facts<'_>) -> Verdict {
    let own = &facts.config.own_region;
    if facts.config.record_of(own).is_some() && !own.0.is_empty() {
        return Ok(());
    }
    Err(format!(
        "this node's region {:?} is none of the agent's regions: correct [node] region, and restart",
        own.0
    ))
}

/// MUST: the mode `observe` pages only.
fn mode_lets_act(facts: &Facts<'_>) -> Verdict {
    if facts.config.mode == AgentMode::Observe {
        return Err(
            "the mode is observe: set mode = \"manual\" in [agent], or change the record by hand".into()
        );
    }
    Ok(())
}

/// MUST: a dry run writes nothing, not even to take back what was written before it was set.
fn is_no_dry_run(facts: &Facts<'_>) -> Verdict {
    if facts.config.dry_run {
        return Err("it is a dry run: take dry_run out of [agent], or set the record by hand".into());
    }
    Ok(())
}

/// MUST: freeze stops all writes.
fn is_not_frozen(facts: &Facts<'_>) -> Verdict {
    let frozen = |why| Err(format!("writes are frozen ({why}): `failover thaw` ends it"));
    facts.frozen.map_or(Ok(()), frozen)
}

/// MUST: what is not journalled is not done.
fn journal_is_written(facts: &Facts<'_>) -> Verdict {
    let fails =
        |why| Err(format!("the journal cannot be written ({why}): free the disk of the state directory"));
    facts.journal_fails.map_or(Ok(()), fails)
}

/// Nobody acts on old looks.
fn assessment_is_fresh(facts: &Facts<'_>) -> Verdict {
    let age_ms = facts.now.since_ms(facts.assessed_at);
    if facts.assessed_at.0 > 0 && age_ms <= facts.config.timing.assessment_fresh_ms {
        return Ok(());
    }
    Err(format!(
        "the regions were last looked at {} s ago: see why this host's probes stand still",
        age_ms / 1000
    ))
}

/// A node that is not well itself does not act.
fn is_fit(facts: &Facts<'_>) -> Verdict {
    let unfit = |why: &String| Err(format!("this node is not fit to act ({why}): act on another node"));
    facts.assessment.unfit.as_ref().map_or(Ok(()), unfit)
}

/// One node acts for its region.
fn is_elected(facts: &Facts<'_>) -> Verdict {
    if facts.assessment.elected {
        return Ok(());
    }
    let own = &facts.config.own_region;
    Err(format!("another node acts for {own}: the live one with the lowest identity"))
}

/// The agents of the region that takes over act, so that no two fight. A failback is for the one that made
/// the switch.
fn acts_for_the_target(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let (own, target) = (&facts.config.own_region, intended.target);
    if intended.cause == Cause::Failback || own == target {
        return Ok(());
    }
    Err(format!("{target} is to take over, and its agent acts, not that of {own}: act on a node of {target}"))
}

/// MUST: a region that cannot be seen is only taken over when the majority of {own probe, witnesses} cannot
/// see it either. One that is withdrawn by a person while it is seen healthy needs no votes.
fn region_is_down_by_majority(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let region = intended.region;
    let view = facts.assessment.regions.get(region);
    let words = || view.map_or_else(|| "not looked at".to_owned(), super::assessment::RegionView::words);
    let standing = facts.assessment.standing(region);
    match intended.cause {
        Cause::Failback | Cause::Drill => Ok(()),
        Cause::Person if *standing == Standing::Healthy => Ok(()),
        Cause::Signal | Cause::Person if facts.assessment.is_down_by_majority(region) => Ok(()),
        _ => Err(format!(
            "most of those who look do not say that {region} is down ({}): this host may itself be cut off, \
             so look from elsewhere and see to the witnesses",
            words()
        )),
    }
}

/// While heartbeats of a region arrive, silence of probes is not acted on without a person.
fn silence_is_not_of_the_probe_alone(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let view = facts.assessment.regions.get(intended.region);
    let contradicts =
        view.is_some_and(|view| view.link_is_up && matches!(view.standing, Standing::Unreachable { .. }));
    if intended.cause == Cause::Signal && *intended.approval == Approval::Policy && contradicts {
        return Err(format!(
            "probes of {} fail while its heartbeats arrive over the replication link: look at its public \
             side, and `failover ack` to go on",
            intended.region
        ));
    }
    Ok(())
}

/// MUST: never point at a region that is not healthy.
fn target_is_healthy(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let target = intended.target;
    if facts.assessment.is_healthy(target) && (target != intended.region || intended.cause == Cause::Failback)
    {
        return Ok(());
    }
    Err(format!("{target} cannot take over: it is {}", facts.assessment.standing(target).name()))
}

/// MUST: every region that serves after the change is seen healthy.
fn all_that_serve_are_healthy(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let sick: RegionSet =
        intended.after.iter().filter(|region| !facts.assessment.is_healthy(region)).cloned().collect();
    if sick.is_empty() {
        return Ok(());
    }
    Err(format!(
        "traffic would go to {}, which is not seen healthy: bring it back, or take it out of the record by \
         hand",
        in_words(&sick)
    ))
}

/// MUST: only the target, which passed preflight, comes into service.
fn nobody_serves_who_is_not_looked_at(_: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let comes = intended.after.difference(intended.before);
    let others: RegionSet = comes.filter(|region| *region != intended.target).cloned().collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(format!("{} would come into service without a preflight: bring it in by itself", in_words(&others)))
}

/// MUST: the record never leads nowhere, and leads to the target.
fn somebody_serves(_: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    if intended.after.contains(intended.target) {
        return Ok(());
    }
    Err("the record would not lead to the region that takes over: look at the values of [[agent.region]]"
        .into())
}

/// MUST: never drain the last healthy region.
fn keeps_a_healthy_region(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    if intended.after.iter().any(|region| facts.assessment.is_healthy(region)) {
        return Ok(());
    }
    Err("no healthy region would serve: bring one back first".into())
}

/// A run takes its region out of service, or a failback brings it in; one that changes nothing is not begun.
fn changes_what_it_is_about(_: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    let serves = |set: &RegionSet| set.contains(intended.region);
    let (is_before, is_after) = (serves(intended.before), serves(intended.after));
    let is_right =
        if intended.cause == Cause::Failback { !is_before && is_after } else { is_before && !is_after };
    if is_right {
        return Ok(());
    }
    Err(format!(
        "the record leads to {} already; there is nothing to change for {}",
        in_words(intended.before),
        intended.region
    ))
}

/// MUST: one switch per cooldown, then only by hand.
fn cooldown_has_passed(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    if intended.cause == Cause::Drill || matches!(intended.approval, Approval::Hand(_)) {
        return Ok(());
    }
    let last = facts.ledger.changed_before(Some(intended.incident));
    let until = last.map(|at| at.after_ms(facts.config.timing.cooldown_ms));
    match until.filter(|until| *until > facts.now) {
        None => Ok(()),
        Some(until) => Err(format!(
            "the record changed a short while ago, and the cooldown lasts {} s more: `failover start` by a \
             person does not wait",
            until.since_ms(facts.now).div_ceil(1000)
        )),
    }
}

/// MUST: a cap per day, then only by hand.
fn cap_of_the_day_is_not_reached(facts: &Facts<'_>, intended: &Intended<'_>) -> Verdict {
    if intended.cause == Cause::Drill || matches!(intended.approval, Approval::Hand(_)) {
        return Ok(());
    }
    let made = facts.ledger.on_day_of(facts.now, Some(intended.incident));
    if made < facts.config.max_switches_per_day {
        return Ok(());
    }
    Err(format!(
        "{made} switches were made today, which is all that may be without a person: `failover start`"
    ))
}

/// MUST: never point at a region that has not just passed preflight.
fn target_has_just_passed(facts: &Facts<'_>, intended: &Intended<'_>, pass: &Pass) -> Verdict {
    if pass.target == *intended.target && is_fresh(facts, pass) {
        return Ok(());
    }
    Err(format!("{} has not just passed preflight", intended.target))
}

/// Whether a passed preflight still counts.
pub(super) fn is_fresh(facts: &Facts<'_>, pass: &Pass) -> bool {
    facts.now.since_ms(pass.at) <= facts.config.timing.preflight_fresh_ms
}

/// MUST: one incident switches once; what may be tried again is the same change.
fn switches_once(facts: &Facts<'_>, intended: &Intended<'_>, wanted: &RecordState) -> Verdict {
    let before = facts.ledger.switch_of(intended.incident);
    if before.is_none_or(|switch| is_same(&switch.wanted, wanted)) {
        return Ok(());
    }
    Err("this incident has switched already, to something else: `failover start` begins another".into())
}

/// MUST: putting back does not drain the last healthy region, nor lead to one that is not healthy. A drill
/// puts the shadow record back in any case.
fn what_comes_back_is_healthy(facts: &Facts<'_>, change: &Change, cause: Cause) -> Verdict {
    let comes_back = change.before.difference(&change.after);
    let sick: RegionSet = comes_back.filter(|region| !facts.assessment.is_healthy(region)).cloned().collect();
    let is_served = change.before.iter().any(|region| facts.assessment.is_healthy(region));
    if cause == Cause::Drill || (sick.is_empty() && is_served) {
        return Ok(());
    }
    let back = if sick.is_empty() { &change.before } else { &sick };
    Err(format!("the old record leads to {}, which is not healthy either", in_words(back)))
}

/// Who takes over: the region that was asked for, or the first healthy one in configured order, those in
/// service first. Only a region that most voters call down is passed over; the agent of any other might act
/// too.
pub(super) fn choose_target(
    facts: &Facts<'_>,
    withdrawn: &Region,
    before: &RegionSet,
    asked: Option<&Region>,
) -> Result<Region, String> {
    if let Some(asked) = asked {
        return Ok(asked.clone());
    }
    let regions =
        || facts.config.regions.iter().map(|record| &record.region).filter(|region| *region != withdrawn);
    let serving = regions().filter(|region| before.contains(region));
    let others = regions().filter(|region| !before.contains(region));
    for region in serving.chain(others) {
        if facts.assessment.is_healthy(region) {
            return Ok(region.clone());
        }
        if !facts.assessment.is_down_by_majority(region) {
            return Err(format!(
                "{region} would be the next in line; it is {} from here, and most do not say that it is down",
                facts.assessment.standing(region).name()
            ));
        }
    }
    Err(format!("no other region than {withdrawn} is healthy: bring one back"))
}

/// The regions that serve without `withdrawn`: the others in service; if the target is not among them, the
/// target and those of them that are healthy.
pub(super) fn set_without(
    assessment: &Assessment,
    withdrawn: &Region,
    target: &Region,
    before: &RegionSet,
) -> RegionSet {
    let mut left: RegionSet = before.iter().filter(|region| *region != withdrawn).cloned().collect();
    if !left.contains(target) {
        left.retain(|region| assessment.is_healthy(region));
        left.insert(target.clone());
    }
    left
}

#[cfg(test)]
mod tests;
