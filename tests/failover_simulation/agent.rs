//! One agent: a real runbook and outlook, a journal in memory, hands that do one thing at a time.

use std::collections::{BTreeMap, VecDeque};

use openclaw_rating::agent::orders::AgentMode;
use openclaw_rating::agent::runbook::{
    Ended, Failback, Glimpse, Hysteresis, Outlook, RegionRecord, Runbook, RunbookConfig, Task, Timing,
};
use openclaw_rating::agent::types::{Cause, Entry, IncidentId, Region, UnixMs};

use crate::person::name_of;
use crate::provider::values_of;
use crate::scenario::{CrashAt, Scenario};

pub(crate) type Line = (UnixMs, Option<IncidentId>, Entry);

/// Something that is being done.
#[derive(Clone, Debug)]
pub(crate) struct Doing {
    pub(crate) task: Task,
    pub(crate) end_ms: u64,
    pub(crate) ended: Ended,
}

/// A pair of hands: one task after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hands {
    pub(crate) waiting: VecDeque<Task>,
    pub(crate) doing: Option<Doing>,
}

/// What a journal says an incident is.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) region: Region,
    pub(crate) cause: Cause,
    pub(crate) is_by_hand: bool,
}

pub(crate) struct Agent {
    pub(crate) index: usize,
    pub(crate) region: usize,
    pub(crate) config: RunbookConfig,
    pub(crate) offset_ms: u64,
    /// `None` while it does not run.
    pub(crate) runbook: Option<Runbook>,
    pub(crate) outlook: Outlook,
    pub(crate) journal: Vec<Line>,
    pub(crate) crash_at: Vec<(CrashAt, u64)>,
    pub(crate) restart_ms: Option<u64>,
    pub(crate) up_since_ms: u64,
    pub(crate) seen_ms: u64,
    /// For what traffic waits for, and for what only informs.
    pub(crate) hands: [Hands; 2],
    pub(crate) journal_fails: bool,
    pub(crate) late: VecDeque<(u64, usize, usize, Glimpse)>,
    pub(crate) plans: BTreeMap<IncidentId, Planned>,
    pub(crate) crashes: u64,
}

pub(crate) fn timing() -> Timing {
    Timing {
        ack_timeout_ms: 40_000,
        cooldown_ms: 60_000,
        preflight_fresh_ms: 8_000,
        read_timeout_ms: 5_000,
        write_timeout_ms: 5_000,
        look_timeout_ms: 2_000,
        visible_ms: 12_000,
        validate_timeout_ms: 5_000,
        validating_ms: 20_000,
        run_ms: 30_000,
        rollback_ms: 25_000,
        errand_timeout_ms: 3_000,
        report_ms: 10_000,
        refresh_ms: 10_000,
        max_backoff_ms: 5_000,
        ..Timing::default()
    }
}

pub(crate) fn hysteresis() -> Hysteresis {
    Hysteresis { stale_after_ms: 3_500, ..Hysteresis::default() }
}

impl Agent {
    pub(crate) fn new(index: usize, scenario: &Scenario) -> Self {
        let region = index / scenario.nodes_each;
        let regions = (0..scenario.regions).map(|region| RegionRecord {
            region: name_of(region),
            values: values_of(region),
            drill_values: values_of(region),
            weight: 1,
        });
        let mode = if scenario.observer == Some(index) { AgentMode::Observe } else { scenario.mode };
        let failback = if scenario.observer == Some(index) { Failback::Manual } else { scenario.failback };
        let config = RunbookConfig {
            cluster: "test".to_owned(),
            node: format!("node-{index}"),
            own_region: name_of(region),
            regions: regions.collect(),
            mode,
            dry_run: scenario.dry_run,
            max_switches_per_day: scenario.cap,
            failback,
            can_scale: true,
            commits_region: true,
            can_drill: true,
            timing: timing(),
        };
        let of = scenario.crashes.iter().filter(|crash| crash.node == index);
        Self {
            index,
            region,
            config,
            offset_ms: 1_700_000_000_000 + scenario.clock_offset_ms[index],
            runbook: None,
            outlook: Self::outlook(scenario),
            journal: vec![],
            crash_at: of.map(|crash| (crash.at, crash.down_ms)).collect(),
            restart_ms: Some(0),
            up_since_ms: 0,
            seen_ms: 0,
            hands: Default::default(),
            journal_fails: false,
            late: VecDeque::new(),
            plans: BTreeMap::new(),
            crashes: 0,
        }
    }

    fn outlook(scenario: &Scenario) -> Outlook {
        let regions: Vec<_> =
            (0..scenario.regions).map(|region| (name_of(region), scenario.nodes_each)).collect();
        Outlook::new(hysteresis(), &regions, scenario.witnesses)
    }

    pub(crate) fn time(&self, now_ms: u64) -> UnixMs {
        UnixMs(self.offset_ms + now_ms)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.runbook.is_some()
    }

    /// The region that is being withdrawn here; a plan that could not be written is one as well.
    pub(crate) fn withdrawn(&self, now: UnixMs) -> Option<Region> {
        let status = self.runbook.as_ref()?.status(now);
        let plan = self.plans.get(status.incident.as_ref()?);
        let is_withdrawn = plan.is_none_or(|plan| matches!(plan.cause, Cause::Signal | Cause::Person));
        status.region.filter(|_| is_withdrawn && !status.drill)
    }

    pub(crate) fn start(&mut self, scenario: &Scenario, now_ms: u64) {
        self.outlook = Self::outlook(scenario);
        self.runbook =
            Some(Runbook::resume(self.config.clone(), self.time(now_ms), self.journal.iter().cloned()));
        (self.restart_ms, self.up_since_ms, self.journal_fails) = (None, now_ms, false);
    }

    /// What it was doing at the provider goes on there; nobody waits for the answer.
    pub(crate) fn stop(&mut self, restart_ms: Option<u64>) {
        (self.runbook, self.restart_ms) = (None, restart_ms);
        self.hands = Default::default();
        self.late.clear();
    }

    /// Appends a line; `false` when the agent crashed over it.
    pub(crate) fn append(&mut self, now_ms: u64, incident: Option<IncidentId>, entry: Entry) -> bool {
        let number = self.journal.len() as u64 + 1;
        let crash = self.crash_at.iter().position(
            |(at, _)| matches!(at, CrashAt::Before(line) | CrashAt::After(line) if *line == number),
        );
        let crash = crash.map(|position| self.crash_at.remove(position));
        if !matches!(crash, Some((CrashAt::Before(_), _))) {
            if let (Some(id), Entry::Planned { region, cause, approved_by, .. }) = (&incident, &entry) {
                let is_by_hand = approved_by.starts_with("started by");
                self.plans.insert(id.clone(), Planned { region: region.clone(), cause: *cause, is_by_hand });
            }
            self.journal.push((self.time(now_ms), incident, entry));
        }
        if let Some((_, down_ms)) = crash {
            self.crashes += 1;
            self.stop(Some(now_ms + down_ms));
        }
        self.runbook.is_some()
    }
}
