//! The state machine.

use super::action::Action;
use super::config::RunbookConfig;
use super::event::{Command, Event};
use super::status::{RunbookPlan, RunbookStatus};
use crate::agent::orders::OrderRefused;
use crate::agent::types::{Entry, IncidentId, Phase, Region, UnixMs};

/// An order that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What happens now, for the person who asked.
    pub what: String,
    /// What is to be done.
    pub actions: Vec<Action>,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Runbook {
    _config: RunbookConfig,
}

impl Runbook {
    /// A runbook that has no past: its journal is empty.
    #[must_use]
    pub fn new(config: RunbookConfig, _now: UnixMs) -> Self {
        Self { _config: config }
    }

    /// The runbook as the lines of its journal left it. Nothing is done until the first [`Self::handle`].
    #[must_use]
    pub fn resume(
        config: RunbookConfig,
        now: UnixMs,
        _lines: impl IntoIterator<Item = (UnixMs, Option<IncidentId>, Entry)>,
    ) -> Self {
        Self::new(config, now)
    }

    /// Takes an event; what is to be done because of it. Time that goes back counts as standing still.
    pub fn handle(&mut self, _now: UnixMs, _event: Event) -> Vec<Action> {
        Vec::new()
    }

    /// Takes an order of `who`.
    ///
    /// # Errors
    /// When it is not taken; the text says what to do.
    pub fn command(&mut self, _now: UnixMs, _command: Command, _who: &str) -> Result<Accepted, OrderRefused> {
        Ok(Accepted { what: String::new(), actions: Vec::new() })
    }

    /// When [`Self::handle`] is to be called with [`Event::Tick`] though nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixMs> {
        None
    }

    /// Where the incident stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::Watching
    }

    /// Where the runbook stands, in words.
    #[must_use]
    pub fn status(&self, _now: UnixMs) -> RunbookStatus {
        RunbookStatus {
            frozen: None,
            elected: false,
            phase: self.phase(),
            incident: None,
            region: None,
            target: None,
            drill: false,
            since: UnixMs(0),
            deadline: None,
            next: String::new(),
            objections: Vec::new(),
            commands: Vec::new(),
            record: None,
            record_read: None,
            in_service: None,
            switches_left: 0,
            cooldown_until: None,
            journal_fails: None,
            last_error: None,
        }
    }

    /// What a failover would do now.
    ///
    /// # Errors
    /// When a region is unknown, or there is nothing to withdraw.
    pub fn plan(
        &self,
        _now: UnixMs,
        from: Option<Region>,
        _to: Option<Region>,
    ) -> Result<RunbookPlan, OrderRefused> {
        let order = "plan".to_owned();
        let from = from.ok_or(OrderRefused::NoIncident { order })?;
        let to = from.clone();
        Ok(RunbookPlan {
            from,
            to,
            in_service: [].into(),
            objections: Vec::new(),
            record: None,
            wanted: None,
        })
    }
}
