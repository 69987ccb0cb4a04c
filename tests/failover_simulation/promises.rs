//! What must hold whatever goes wrong, by the world's own knowledge: not by what an agent believes.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_rating::agent::orders::AgentMode;
use openclaw_rating::agent::runbook::{Action, Assessment, Command, Task, Work};
use openclaw_rating::agent::types::{Cause, Entry, IncidentId, Phase, RecordState, Region, Step};

use crate::agent::{Agent, timing};
use crate::faults::Fault;
use crate::person::index_of;
use crate::provider::{Pending, set_of};
use crate::scenario::Scenario;

/// Probes, hysteresis and late probes together: what an agent knows may be as old.
const LAG_MS: u64 = 9_000;
/// An agent leaves an incident within this long, while it runs.
const LONGEST_INCIDENT_MS: u64 = 300_000;
/// The cooldown runs from the announcement of a write, and its effect may come so much later.
const SLOWEST_WRITE_MS: u64 = 6_000;
/// A write that gave no answer may be tried again for so long, when the record is found unchanged.
const DOUBT_MS: u64 = 20_000;
/// Somebody is woken when an agent has seen a region down for so long, whatever else it is about.
const WAKES_WITHIN_MS: u64 = 5_000;
const DAY_MS: u64 = 86_400_000;

/// A change of the live record that had an effect.
#[derive(Clone, Debug)]
struct Applied {
    at_ms: u64,
    /// `None` for somebody who is no agent.
    by: Option<(usize, String)>,
    is_by_hand: bool,
}

/// A live write that was announced.
#[derive(Clone, Debug)]
struct Announced {
    at_ms: u64,
    wanted: RecordState,
    /// It is in the journal; before that it has not happened.
    is_written_down: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// When each region was last fit to serve, and last was not, as the rest of the world sees it.
    well_ms: [u64; 3],
    unwell_ms: [Option<u64>; 3],
    /// The same for the hosts alone, whoever reaches them.
    healthy_ms: [u64; 3],
    frozen: BTreeMap<usize, bool>,
    declined: BTreeSet<(usize, IncidentId)>,
    /// What a person stopped, by `abort` or `rollback`.
    stopped: BTreeMap<(usize, IncidentId), Command>,
    /// Regions that a node sees down, and since when; those for which it has woken somebody, or a person was there.
    down_since: BTreeMap<(usize, Region), u64>,
    woken: BTreeSet<(usize, Region)>,
    forgetful: BTreeSet<usize>,
    passed_ms: BTreeMap<(usize, IncidentId), (usize, u64)>,
    announced: BTreeMap<(usize, IncidentId), Announced>,
    applied: Vec<Applied>,
    /// What each node last read, and changes that cancelled out between two of its reads: it knows of neither.
    read: BTreeMap<usize, (u64, Vec<String>)>,
    unseen: BTreeSet<(usize, u64)>,
    wrote_ms: BTreeMap<usize, u64>,
    /// Effective changes of each run, there and back.
    moves: BTreeMap<(usize, String, bool), u32>,
    open_since: BTreeMap<usize, (IncidentId, u64)>,
    pub(crate) switched: u64,
    pub(crate) restored: u64,
    pub(crate) handed_over: u64,
}

type Kept = Result<(), String>;

fn has_lies(scenario: &Scenario) -> bool {
    scenario.faults.0.iter().any(|timed| matches!(timed.fault, Fault::WitnessLies(_)))
}

fn must(is_kept: bool, what: impl FnOnce() -> String) -> Kept {
    if is_kept { Ok(()) } else { Err(what()) }
}

impl Promises {
    pub(crate) fn observe_region(&mut self, region: usize, now_ms: u64, is_healthy: bool, is_well: bool) {
        if is_healthy {
            self.healthy_ms[region] = now_ms;
        }
        if is_well {
            self.well_ms[region] = now_ms;
        } else {
            self.unwell_ms[region] = Some(now_ms);
        }
    }

    pub(crate) fn freeze(&mut self, node: usize, is_frozen: bool) {
        self.frozen.insert(node, is_frozen);
    }

    pub(crate) fn decline(&mut self, node: usize, incident: IncidentId) {
        self.declined.insert((node, incident));
    }

    pub(crate) fn approve(&mut self, node: usize, incident: &IncidentId) {
        self.declined.remove(&(node, incident.clone()));
    }

    pub(crate) fn stop(&mut self, node: usize, incident: IncidentId, order: Command) {
        self.stopped.insert((node, incident), order);
    }

    /// How the regions look to a node, and which one was being withdrawn there before: people
    /// know of that one.
    pub(crate) fn assessed(
        &mut self,
        node: usize,
        assessment: &Assessment,
        withdrawn: Option<Region>,
        now_ms: u64,
    ) {
        for (region, view) in &assessment.regions {
            let key = (node, region.clone());
            if assessment.is_healthy(region) {
                self.woken.remove(&key);
            }
            let is_news = view.standing.is_down() && !self.down_since.contains_key(&key);
            if is_news && withdrawn.as_ref() == Some(region) {
                self.woken.insert(key.clone());
            }
            if view.standing.is_down() {
                self.down_since.entry(key).or_insert(now_ms);
            } else {
                self.down_since.remove(&key);
            }
        }
    }

    /// A node starts; it may have forgotten what it saw while its disk was full.
    pub(crate) fn began_anew(&mut self, node: usize, may_have_forgotten: bool) {
        self.down_since.retain(|(of, _), _| *of != node);
        if may_have_forgotten {
            self.forgetful.insert(node);
        }
    }

    /// A person is at `node` for the sake of `region`.
    pub(crate) fn somebody_is_there(&mut self, node: usize, region: Region) {
        self.woken.insert((node, region));
    }

    /// A task is handed out: a page of a region wakes somebody.
    pub(crate) fn wakes(&mut self, node: usize, task: &Task) {
        let Work::Page(page) = &task.work else { return };
        let region = page.dedup_key.split_once(":failover:").map(|(_, region)| Region(region.to_owned()));
        self.woken.extend(region.map(|region| (node, region)));
    }

    /// Nobody sleeps through a region that stays down.
    pub(crate) fn check_woken(&self, node: usize, now_ms: u64) -> Kept {
        let of_node =
            self.down_since.iter().filter(|((of, _), _)| *of == node && !self.forgetful.contains(of));
        let mut late =
            of_node.filter(|(key, since)| now_ms - **since > WAKES_WITHIN_MS && !self.woken.contains(key));
        late.try_for_each(|((_, region), since)| {
            Err(format!("node {node} sees {} down since {since} ms, and has woken nobody", region.0))
        })
    }

    pub(crate) fn passed(&mut self, node: usize, incident: &IncidentId, target: usize, now_ms: u64) {
        self.passed_ms.insert((node, incident.clone()), (target, now_ms));
    }

    /// A node has read the live record.
    pub(crate) fn read(&mut self, node: usize, now_ms: u64, values: &[String]) {
        let before = self.read.insert(node, (now_ms, values.to_vec()));
        if let Some((at_ms, _)) = before.filter(|(_, before)| *before == values) {
            let between = self.applied.iter().filter(|applied| (at_ms..=now_ms).contains(&applied.at_ms));
            self.unseen.extend(between.map(|applied| (node, applied.at_ms)));
        }
    }

    /// Everything that an agent is about to do at once.
    pub(crate) fn check_actions(
        &mut self,
        agent: &Agent,
        scenario: &Scenario,
        actions: &[Action],
        now_ms: u64,
    ) -> Kept {
        for action in actions {
            match action {
                Action::Journal { entry: Entry::Moved { from, to: Phase::HandedOver, why }, .. }
                    if *from != Phase::HandedOver =>
                {
                    self.handed_over += 1;
                    let is_paged = |action: &Action| matches!(action, Action::Perform(Task { work: Work::Page(page), .. }) if page.dedup_key.contains("handover"));
                    must(why.len() > 20, || format!("handed over without an explanation: {why:?}"))?;
                    must(actions.iter().any(is_paged), || "handed over and nobody is paged".to_owned())?;
                }
                Action::Journal { incident: Some(id), entry: Entry::Moved { to: Phase::Recovered, .. } } => {
                    let is_stopped = self.stopped.contains_key(&(agent.index, id.clone()));
                    must(!is_stopped, || format!("{} was stopped, and ends as if it had gone well", id.0))?;
                }
                Action::Perform(task) => self.check_task(agent, scenario, task, now_ms)?,
                Action::Journal { .. } => {}
            }
        }
        Ok(())
    }

    fn check_task(&mut self, agent: &Agent, scenario: &Scenario, task: &Task, now_ms: u64) -> Kept {
        let Some((expected, wanted)) = task.work.change() else { return Ok(()) };
        let (before, after) = (set_of(expected, scenario.regions), set_of(wanted, scenario.regions));
        let (Some(before), Some(after)) = (before, after) else {
            return Err(format!(
                "node {} writes {:?}, which is no set of regions",
                agent.index, wanted.values
            ));
        };
        let node = agent.index;
        must(agent.config.mode != AgentMode::Observe, || format!("node {node} writes in observe mode"))?;
        must(!scenario.dry_run, || format!("node {node} writes in a dry run"))?;
        must(self.frozen.get(&node) != Some(&true), || format!("node {node} writes while frozen"))?;
        if task.is_drill {
            return Ok(());
        }
        let id = task.incident.clone().ok_or("a write of no incident")?;
        let stopped = self.stopped.get(&(node, id.clone()));
        let may_write = stopped
            .is_none_or(|order| *order == Command::Rollback && task.work.step() == Step::RestoreRecord);
        must(may_write, || format!("node {node} writes after {stopped:?} in {}", id.0))?;
        // Read since the last write, and a moment ago: nothing is written blindly.
        let read_ms = self.read.get(&node).map(|(at_ms, _)| *at_ms);
        let last_ms = self.wrote_ms.insert(node, now_ms);
        must(
            read_ms.is_some_and(|at_ms| Some(at_ms) > last_ms && at_ms + SLOWEST_WRITE_MS >= now_ms),
            || format!("node {node} writes at {now_ms} ms, read at {read_ms:?} and wrote at {last_ms:?}"),
        )?;
        if task.work.step() == Step::RestoreRecord {
            return before.symmetric_difference(&after).try_for_each(|region| {
                let is_healthy = !after.contains(region) || self.healthy_ms[*region] + LAG_MS >= now_ms;
                must(is_healthy, || format!("node {node} puts back to region {region}, which is not healthy"))
            });
        }
        self.check_switch(agent, scenario, (&id, wanted), (&before, &after), now_ms)
    }

    fn check_switch(
        &mut self,
        agent: &Agent,
        scenario: &Scenario,
        (id, wanted): (&IncidentId, &RecordState),
        (before, after): (&BTreeSet<usize>, &BTreeSet<usize>),
        now_ms: u64,
    ) -> Kept {
        let (node, key) = (agent.index, (agent.index, id.clone()));
        let plan = agent.plans.get(id).ok_or("a switch that was not planned in the journal")?;
        must(!self.declined.contains(&key), || format!("node {node} switches after a person declined"))?;
        let passed = self.passed_ms.get(&key).copied();
        let is_fresh = |at_ms: u64| now_ms - at_ms <= timing().preflight_fresh_ms;
        must(passed.is_some_and(|(target, at_ms)| after.contains(&target) && is_fresh(at_ms)), || {
            format!("node {node} switches to {after:?} and has preflight {passed:?}")
        })?;
        let newcomers: BTreeSet<_> = after.difference(before).copied().collect();
        must(newcomers.iter().all(|region| passed.is_some_and(|(target, _)| target == *region)), || {
            format!("node {node} leads to {newcomers:?} and looked at {passed:?} only")
        })?;
        for region in after {
            let is_healthy = self.healthy_ms[*region] + LAG_MS >= now_ms;
            must(is_healthy, || format!("node {node} leads to {region}, which is long dead"))?;
        }
        let failed = index_of(&plan.region);
        let lies = has_lies(scenario);
        if plan.cause == Cause::Signal && !lies {
            let was_down = self.unwell_ms[failed].is_some_and(|at_ms| at_ms + LAG_MS + 6_000 >= now_ms);
            must(was_down, || format!("node {node} withdraws {failed}, which everybody sees well"))?;
        }
        if !plan.is_by_hand {
            self.check_pace(agent, id, now_ms)?;
        }
        if let Some(earlier) = self.announced.get(&key) {
            let is_same = earlier.wanted.values == wanted.values;
            must(is_same, || format!("node {node} switches twice in one incident"))?;
        }
        let is_written_down = self.announced.get(&key).is_some_and(|earlier| earlier.is_written_down);
        self.announced.insert(key, Announced { at_ms: now_ms, wanted: wanted.clone(), is_written_down });
        Ok(())
    }

    /// A write of `incident` is in the journal, and goes out.
    pub(crate) fn written_down(&mut self, node: usize, incident: &IncidentId) {
        if let Some(announced) = self.announced.get_mut(&(node, incident.clone())) {
            announced.is_written_down = true;
        }
    }

    fn check_pace(&self, agent: &Agent, id: &IncidentId, now_ms: u64) -> Kept {
        let own = (agent.index, id.0.clone());
        let others = self.applied.iter().filter(|applied| applied.by.as_ref() != Some(&own));
        let is_retry = self.announced.contains_key(&(agent.index, id.clone()));
        // Not told from a write that had no effect: see `changed`.
        let others = others.filter(|applied| !is_retry || applied.by.is_some());
        let others = others.filter(|applied| !self.unseen.contains(&(agent.index, applied.at_ms)));
        // What came after the read is found by the write, which compares.
        let read_ms = self.read.get(&agent.index).map_or(0, |(at_ms, _)| *at_ms);
        let last = others.map(|applied| applied.at_ms).filter(|at_ms| *at_ms < read_ms).max();
        let is_rested = last.is_none_or(|at_ms| now_ms - at_ms + SLOWEST_WRITE_MS >= timing().cooldown_ms);
        must(is_rested, || {
            format!("node {} switches although the record changed at {last:?} ms", agent.index)
        })?;
        let day = |at_ms| agent.time(at_ms).0 / DAY_MS;
        let of_today = self.announced.iter().filter(|((node, other), announced)| {
            *node == agent.index
                && other != id
                && announced.is_written_down
                && day(announced.at_ms) == day(now_ms)
        });
        let count = of_today.count();
        must(count < agent.config.max_switches_per_day as usize, || {
            format!("node {} switches, and has made {count} today", agent.index)
        })
    }

    /// The live record has changed.
    pub(crate) fn changed(
        &mut self,
        agents: &[Agent],
        pending: &Pending,
        before: &RecordState,
        scenario: &Scenario,
    ) -> Kept {
        let regions = scenario.regions;
        let (from, to) = (set_of(before, regions), set_of(&pending.wanted, regions));
        must(to.is_some(), || format!("the record is {:?}", pending.wanted.values))?;
        if pending.is_drill || from == to {
            return Ok(());
        }
        let id = IncidentId(pending.incident.clone());
        let announced = self.announced.get(&(pending.by, id.clone()));
        let is_there = announced.is_some_and(|announced| announced.wanted.values == pending.wanted.values);
        *(if is_there { &mut self.switched } else { &mut self.restored }) += 1;
        let count = self.moves.entry((pending.by, pending.incident.clone(), is_there)).or_default();
        *count += 1;
        let count = *count;
        // Somebody who put the record back while the answer was lost cannot be told from a write without effect,
        // for as long as the answer may take.
        let own = Some((pending.by, pending.incident.clone()));
        let before_ms =
            self.applied.iter().rev().find(|applied| applied.by == own).map(|applied| applied.at_ms);
        let is_in_doubt = before_ms.is_some_and(|at_ms| pending.at_ms - at_ms <= DOUBT_MS);
        let is_put_back = is_in_doubt && self.applied.last().is_some_and(|applied| applied.by != own);
        must(count == 1 || is_put_back, || {
            format!("node {} moves traffic {count} times in {}", pending.by, id.0)
        })?;
        let plan = agents[pending.by].plans.get(&id);
        self.applied.push(Applied {
            at_ms: pending.at_ms,
            by: Some((pending.by, pending.incident.clone())),
            is_by_hand: plan.is_some_and(|plan| plan.is_by_hand),
        });
        self.check_no_fight(has_lies(scenario))
    }

    /// Two agents never change the record by turns.
    fn check_no_fight(&self, lies: bool) -> Kept {
        for pair in self.applied.windows(2) {
            let (Some((one, _)), Some((other, _))) = (&pair[0].by, &pair[1].by) else { continue };
            // A false majority on both sides, at a provider that does not compare: the later of two writes holds.
            let is_unseen = lies || self.unseen.contains(&(*other, pair[0].at_ms));
            if is_unseen || pair.iter().any(|applied| applied.is_by_hand) {
                continue;
            }
            let gap_ms = pair[1].at_ms - pair[0].at_ms;
            must(one == other || gap_ms >= timing().cooldown_ms - LAG_MS, || {
                format!("nodes {one} and {other} change the record within {gap_ms} ms")
            })?;
        }
        Ok(())
    }

    pub(crate) fn edited(&mut self, now_ms: u64) {
        self.applied.push(Applied { at_ms: now_ms, by: None, is_by_hand: true });
    }

    /// No agent stays in one incident for ever.
    pub(crate) fn check_progress(&mut self, agent: &Agent, now_ms: u64) -> Kept {
        let Some(runbook) = &agent.runbook else { return Ok(()) };
        let Some(id) = runbook.status(agent.time(now_ms)).incident else {
            self.open_since.remove(&agent.index);
            return Ok(());
        };
        let open = self.open_since.entry(agent.index).or_insert((id.clone(), now_ms));
        if open.0 != id {
            *open = (id, now_ms);
        }
        let long_ms = now_ms - open.1.max(agent.up_since_ms);
        must(long_ms <= LONGEST_INCIDENT_MS, || {
            format!("node {} is {} for {long_ms} ms", agent.index, runbook.phase().in_words())
        })
    }

    /// While every region is well all the time, no signal moves traffic.
    pub(crate) fn check_calm(&self, scenario: &Scenario) -> Kept {
        let lies = has_lies(scenario);
        let was_calm = (0..scenario.regions).all(|region| self.unwell_ms[region].is_none());
        let moved = self.applied.iter().find(|applied| !applied.is_by_hand);
        must(!was_calm || lies || moved.is_none(), || {
            format!("all was well, and the record was moved: {moved:?}")
        })
    }

    pub(crate) fn last_change_ms(&self) -> Option<u64> {
        self.applied.last().map(|applied| applied.at_ms)
    }
}
