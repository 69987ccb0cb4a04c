//! The world: time, agents and what they reach.

use std::collections::BTreeMap;

use openclaw_rating::agent::runbook::{Action, Command, Event, Glimpse};
use openclaw_rating::agent::types::{Entry, IncidentId, Phase, RecordState};

use crate::Totals;
use crate::agent::Agent;
use crate::faults::Fault;
use crate::person::{OnCall, name_of};
use crate::promises::Promises;
use crate::provider::{Provider, record_of};
use crate::scenario::{FAULTS_MS, Scenario};
use crate::seeds::Random;

const TICK_MS: u64 = 50;
/// Everything is over by then.
const END_MS: u64 = 600_000;
/// Nothing may happen for as long before the world ends.
const QUIET_MS: u64 = 8_000;
const START_MS: u64 = 500;
/// A node that is gone for less is still counted as live by its neighbours.
const HEARTBEAT_MS: u64 = 500;
const PROGRESS_EVERY_MS: u64 = 5_000;

/// A page that is open.
#[derive(Clone, Debug)]
pub(crate) struct OpenPage {
    region: String,
    answer_ms: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) paged_ms: Option<u64>,
    pub(crate) changed_ms: Option<u64>,
    pub(crate) live: Vec<String>,
    switched: u64,
    restored: u64,
    handed_over: u64,
    pub(crate) crashes: u64,
    /// Lines of each journal.
    pub(crate) lines: Vec<u64>,
}

impl Summary {
    pub(crate) fn add_to(&self, totals: &mut Totals) {
        totals.switched += self.switched;
        totals.restored += self.restored;
        totals.handed_over += self.handed_over;
        totals.crashes += self.crashes;
    }
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) random: Random,
    pub(crate) is_told: bool,
    pub(crate) now_ms: u64,
    pub(crate) agents: Vec<Agent>,
    pub(crate) provider: Provider,
    pub(crate) pages: BTreeMap<String, OpenPage>,
    pub(crate) paged_ms: Option<u64>,
    pub(crate) promises: Promises,
    pub(crate) busy_ms: u64,
}

pub(crate) type Kept = Result<(), String>;

impl World {
    pub(crate) fn new(scenario: Scenario, is_told: bool) -> Self {
        let nodes = scenario.regions * scenario.nodes_each;
        Self {
            random: Random::new(scenario.seed ^ 0xFA11_07E5),
            agents: (0..nodes).map(|index| Agent::new(index, &scenario)).collect(),
            provider: Provider::new(record_of(&scenario.serving), scenario.visible_after_ms),
            is_told,
            now_ms: 0,
            pages: BTreeMap::new(),
            paged_ms: None,
            promises: Promises::default(),
            busy_ms: 0,
            scenario,
        }
    }

    pub(crate) fn run(mut self) -> Result<Summary, String> {
        while self.now_ms < END_MS {
            let at_ms = self.now_ms;
            self.tick().map_err(|what| format!("at {at_ms} ms: {what}"))?;
            if self.now_ms > FAULTS_MS && self.now_ms - self.busy_ms > QUIET_MS {
                break;
            }
            self.now_ms += TICK_MS;
        }
        for agent in &self.agents {
            let phase = agent.runbook.as_ref().map_or(Phase::Watching, |runbook| runbook.phase());
            if phase != Phase::Watching {
                return Err(format!("node {} ends {}", agent.index, phase.in_words()));
            }
        }
        self.promises.check_calm(&self.scenario)?;
        Ok(Summary {
            paged_ms: self.paged_ms,
            changed_ms: self.promises.last_change_ms(),
            live: self.provider.live.state.values.clone(),
            switched: self.promises.switched,
            restored: self.promises.restored,
            handed_over: self.promises.handed_over,
            crashes: self.agents.iter().map(|agent| agent.crashes).sum(),
            lines: self.agents.iter().map(|agent| agent.journal.len() as u64).collect(),
        })
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>8.2} s  {}", self.now_ms as f64 / 1000.0, text());
        }
    }

    fn tick(&mut self) -> Kept {
        self.apply_changes()?;
        self.edit();
        for node in 0..self.agents.len() {
            self.live_or_die(node);
        }
        for region in 0..self.scenario.regions {
            let is_healthy = self.is_healthy(region);
            let is_well = is_healthy && self.scenario.faults.is_online(region, self.now_ms);
            self.promises.observe_region(region, self.now_ms, is_healthy, is_well);
        }
        self.type_commands()?;
        self.answer_pages()?;
        for node in 0..self.agents.len() {
            if self.agents[node].is_up() {
                self.agents[node].seen_ms = self.now_ms;
                self.turn(node)?;
            }
            if self.agents[node].is_up() {
                self.promises.check_woken(node, self.now_ms)?;
            }
            let is_idle = |agent: &Agent| {
                agent.restart_ms.is_none()
                    && agent.runbook.as_ref().is_none_or(|runbook| runbook.phase() == Phase::Watching)
            };
            if !is_idle(&self.agents[node]) {
                self.busy_ms = self.now_ms;
            }
            if self.now_ms.is_multiple_of(PROGRESS_EVERY_MS) {
                self.promises.check_progress(&self.agents[node], self.now_ms)?;
            }
        }
        Ok(())
    }

    fn apply_changes(&mut self) -> Kept {
        for (pending, before) in self.provider.apply(self.now_ms) {
            self.tell(|| {
                format!("record {:?} -> {:?} by node {}", before.values, pending.wanted.values, pending.by)
            });
            self.promises.changed(&self.agents, &pending, &before, &self.scenario)?;
        }
        Ok(())
    }

    fn edit(&mut self) {
        let due = |at_ms: u64| (self.now_ms..self.now_ms + TICK_MS).contains(&at_ms);
        let Some(edit) = self.scenario.edits.iter().find(|edit| due(edit.at_ms)).cloned() else { return };
        let state = match edit.to {
            Some(regions) => record_of(&regions),
            None => RecordState { values: vec!["198.51.100.1".to_owned()], ..record_of(&[0]) },
        };
        self.tell(|| format!("somebody sets the record to {:?}", state.values));
        if self.provider.live.state.values != state.values {
            self.provider.live.state = state;
            self.provider.live.changed_ms = self.now_ms;
            self.promises.edited(self.now_ms);
        }
    }

    fn live_or_die(&mut self, node: usize) {
        let is_dead = self.scenario.faults.is_dead(self.agents[node].region, self.now_ms);
        let agent = &mut self.agents[node];
        if is_dead {
            agent.stop(Some(self.now_ms + START_MS));
        } else if agent.restart_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            agent.start(&self.scenario, self.now_ms);
            let was_full = self.scenario.faults.has_begun(Fault::DiskFull(node), self.now_ms);
            self.promises.began_anew(node, was_full);
            let phase = agent.runbook.as_ref().map(|runbook| runbook.phase());
            self.tell(|| format!("node {node} starts, {phase:?}"));
        }
    }

    /// Whether a region serves: by its own account, whoever reaches it.
    pub(crate) fn is_healthy(&self, region: usize) -> bool {
        let runs = self.agents.iter().any(|agent| agent.region == region && agent.is_up());
        runs && !self.scenario.faults.is(Fault::Sick(region), self.now_ms)
    }

    /// Whether its neighbours count it as live.
    fn is_heard(&self, agent: &Agent) -> bool {
        agent.seen_ms + HEARTBEAT_MS > self.now_ms
    }

    fn turn(&mut self, node: usize) -> Kept {
        let every_ms = self.scenario.probe_every_ms;
        let phase_ms = (node as u64 * 150) % every_ms;
        if self.now_ms % every_ms == phase_ms / TICK_MS * TICK_MS {
            self.probe(node);
            let event = Event::Assessed(self.assess(node));
            self.feed(node, event)?;
        }
        self.disk_again(node)?;
        self.finish_tasks(node)?;
        let Some(runbook) = &self.agents[node].runbook else { return Ok(()) };
        let now = self.agents[node].time(self.now_ms);
        if runbook.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.feed(node, Event::Tick)?;
        }
        Ok(())
    }

    fn probe(&mut self, node: usize) {
        let (faults, now_ms) = (self.scenario.faults.clone(), self.now_ms);
        let own = self.agents[node].region;
        let late_ms = if faults.is(Fault::LateProbes(node), now_ms) { 3_000 } else { 0 };
        for region in 0..self.scenario.regions {
            for place in 0..self.scenario.nodes_each {
                let other = &self.agents[region * self.scenario.nodes_each + place];
                let answers = other.is_up() && faults.reach(own, region, now_ms);
                let glimpse = match (answers, faults.is(Fault::Sick(region), now_ms)) {
                    (true, false) => Glimpse::Good,
                    (true, true) => Glimpse::Sick(vec!["sick".to_owned()]),
                    (false, _) => Glimpse::Bad("no answer".to_owned()),
                };
                self.agents[node].late.push_back((now_ms + late_ms, region, place, glimpse));
            }
            let sees = self.is_healthy(region) && faults.is_online(region, now_ms);
            for witness in 0..self.scenario.witnesses {
                let lies = faults.is(Fault::WitnessLies(witness), now_ms);
                let answers = faults.is_online(own, now_ms) && !faults.is(Fault::Witness(witness), now_ms);
                let vote = answers.then_some(sees && !lies);
                let time = self.agents[node].time(now_ms);
                self.agents[node].outlook.witnessed(time, &name_of(region), witness, vote);
            }
            let lives = self.agents.iter().any(|agent| agent.region == region && agent.is_up());
            let link = lives && !faults.is(Fault::Link, now_ms) && faults.reach(own, region, now_ms);
            self.agents[node].outlook.link(&name_of(region), link);
        }
        let agent = &mut self.agents[node];
        while agent.late.front().is_some_and(|(at_ms, ..)| *at_ms <= now_ms) {
            if let Some((at_ms, region, place, glimpse)) = agent.late.pop_front() {
                let time = agent.time(at_ms);
                agent.outlook.probed(time, &name_of(region), place, glimpse);
            }
        }
    }

    fn assess(&self, node: usize) -> openclaw_rating::agent::runbook::Assessment {
        let agent = &self.agents[node];
        let lower = |other: &&Agent| other.region == agent.region && other.index < node;
        let elected = !self.agents.iter().filter(lower).any(|other| self.is_heard(other));
        agent.outlook.assess(agent.time(self.now_ms), elected, None)
    }

    /// Tells an agent, and does what it says.
    pub(crate) fn feed(&mut self, node: usize, event: Event) -> Kept {
        let time = self.agents[node].time(self.now_ms);
        if !matches!(event, Event::Tick | Event::Assessed(_)) {
            self.tell(|| format!("node {node} hears {event:?}"));
        }
        if let Event::PageAcknowledged { region, .. } = &event {
            self.promises.somebody_is_there(node, region.clone());
        }
        let withdrawn = self.agents[node].withdrawn(time);
        let Some(runbook) = &mut self.agents[node].runbook else { return Ok(()) };
        let actions = runbook.handle(time, event.clone());
        self.act(node, actions)?;
        // What an agent saw and crashed over it has not seen.
        if let (Event::Assessed(assessment), true) = (&event, self.agents[node].is_up()) {
            self.promises.assessed(node, assessment, withdrawn, self.now_ms);
        }
        Ok(())
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) -> Kept {
        if actions.is_empty() {
            return Ok(());
        }
        // The lines come first in the journal, and what they plan is known by then.
        let mut performed = vec![];
        for action in &actions {
            match action {
                Action::Journal { incident, entry } => {
                    if !self.append(node, incident.clone(), entry.clone())? {
                        return Ok(());
                    }
                }
                Action::Perform(task) => {
                    // It goes out before the lines that follow.
                    self.promises.wakes(node, task);
                    performed.push(task.clone());
                }
            }
        }
        self.promises.check_actions(&self.agents[node], &self.scenario, &actions, self.now_ms)?;
        for task in performed {
            let which = usize::from(task.work.informs());
            self.agents[node].hands[which].waiting.push_back(task);
        }
        self.begin_tasks(node)
    }

    /// Writes a line; `false` when the agent is gone. A full disk is told, and the agent goes on.
    pub(crate) fn append(
        &mut self,
        node: usize,
        incident: Option<IncidentId>,
        entry: Entry,
    ) -> Result<bool, String> {
        if self.scenario.faults.is(Fault::DiskFull(node), self.now_ms) {
            if !self.agents[node].journal_fails {
                self.agents[node].journal_fails = true;
                self.feed(node, Event::JournalFailed { why: "no space left".to_owned() })?;
            }
            return Ok(self.agents[node].is_up());
        }
        self.tell(|| format!("node {node} writes {} {entry:?}", incident.as_ref().map_or("", |id| &id.0)));
        let lives = self.agents[node].append(self.now_ms, incident, entry);
        if !lives {
            self.tell(|| format!("node {node} crashes at line {}", self.agents[node].journal.len()));
        }
        Ok(lives)
    }

    fn disk_again(&mut self, node: usize) -> Kept {
        if self.agents[node].journal_fails && !self.scenario.faults.is(Fault::DiskFull(node), self.now_ms) {
            self.agents[node].journal_fails = false;
            self.feed(node, Event::JournalBack)?;
        }
        Ok(())
    }

    pub(crate) fn paged(&mut self, key: &str) {
        let Some((_, region)) = key.split_once(":failover:") else { return };
        self.paged_ms = self.paged_ms.or(Some(self.now_ms));
        let answer_ms = match self.scenario.on_call {
            OnCall::Sleeps => None,
            OnCall::Acknowledges { after_ms } | OnCall::Declines { after_ms } => Some(self.now_ms + after_ms),
        };
        let page = OpenPage { region: region.to_owned(), answer_ms };
        self.pages.entry(key.to_owned()).or_insert(page);
    }

    fn answer_pages(&mut self) -> Kept {
        let now_ms = self.now_ms;
        let due: Vec<String> = self
            .pages
            .values_mut()
            .filter_map(|page| page.answer_ms.take_if(|at_ms| *at_ms <= now_ms).map(|_| page.region.clone()))
            .collect();
        for region in due {
            for node in 0..self.agents.len() {
                let agent = &self.agents[node];
                if !agent.is_up() || !self.scenario.faults.is_online(agent.region, now_ms) {
                    continue;
                }
                if matches!(self.scenario.on_call, OnCall::Acknowledges { .. }) {
                    let region = openclaw_rating::agent::types::Region(region.clone());
                    self.feed(node, Event::PageAcknowledged { region, by: "Ada".to_owned() })?;
                } else {
                    self.order(node, Command::Decline)?;
                }
            }
        }
        Ok(())
    }

    fn type_commands(&mut self) -> Kept {
        let due = |at_ms: u64| (self.now_ms..self.now_ms + TICK_MS).contains(&at_ms);
        let typed: Vec<_> = self.scenario.typed.iter().filter(|typed| due(typed.at_ms)).cloned().collect();
        for typed in typed {
            self.order(typed.node, typed.command)?;
        }
        Ok(())
    }

    fn order(&mut self, node: usize, command: Command) -> Kept {
        let time = self.agents[node].time(self.now_ms);
        let Some(runbook) = &mut self.agents[node].runbook else { return Ok(()) };
        let before = runbook.status(time);
        let incident = before.incident;
        let answer = runbook.command(time, command.clone(), "a person");
        let after = runbook.status(time).region;
        self.tell(|| {
            let what = answer.as_ref().map(|accepted| accepted.what.clone()).map_err(ToString::to_string);
            format!("node {node} is ordered {command:?}: {what:?}")
        });
        let Ok(accepted) = answer else { return Ok(()) };
        for region in before.region.into_iter().chain(after) {
            self.promises.somebody_is_there(node, region);
        }
        if let (Command::Ack | Command::Start { .. }, Some(id)) = (&command, &incident) {
            self.promises.approve(node, id);
        }
        if command == Command::Thaw {
            self.promises.freeze(node, false);
        }
        self.act(node, accepted.actions)?;
        // What was answered and not lost in a crash holds.
        if self.agents[node].is_up() && !self.agents[node].journal_fails {
            match (command, incident) {
                (Command::Freeze { .. }, _) => self.promises.freeze(node, true),
                (Command::Decline, Some(id)) => self.promises.decline(node, id),
                (order @ (Command::Abort | Command::Rollback), Some(id)) => {
                    self.promises.stop(node, id, order);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let run = || World::new(crate::scenario::random(7), false).run().unwrap();
        let (one, other) = (run(), run());
        assert_eq!((one.lines, one.live), (other.lines, other.live));
    }
}
