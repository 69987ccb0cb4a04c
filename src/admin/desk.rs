//! Has each question answered by the plane that knows the answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Sender, bounded};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::answer::{Answer, Refusal};
use super::audit;
use super::caller::Caller;
use super::exchange::Question;
use super::gate::{Gate, Tokens};
use super::inspector::{Inspector, InspectorParts};
use super::order::{self, AgentLine};
use super::page;
use super::route::Route;
use super::status::{self, AgentReport, StatusReport};
use super::webhooks::Webhooks;
use crate::agent::orders::{Order, OrderAnswer, OrderRequest};
use crate::agent::types::Region;
use crate::config::AdminConfig;
use crate::health::{Health, Reason};
use crate::http::Status;

/// Reading a configuration may ask a metadata service for the region, for two seconds.
const RELOAD_PATIENCE: Duration = Duration::from_secs(8);

/// Asks the main thread to read the configuration again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes one answer: the new state, or every problem in words. Nobody may listen any more.
    pub reply: Sender<Result<Reloaded, Vec<String>>>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Policies in force.
    pub policies: usize,
    /// Sections that have changed and wait for a restart.
    pub waiting_for_restart: Vec<String>,
}

/// What a [`Desk`] is made of.
#[derive(Debug)]
pub struct DeskParts {
    /// Reads the table, and asks the control plane about the peers.
    pub inspector: InspectorParts,
    /// What `/health` says.
    pub health: Arc<Health>,
    /// This node's name.
    pub node: String,
    /// The main thread.
    pub reloads: Sender<ReloadRequest>,
    /// The agent, where there is one.
    pub agent: Option<Sender<OrderRequest>>,
    /// The directory of its journal, where there is an agent.
    pub journal: Option<PathBuf>,
    /// Where the tokens are.
    pub config: AdminConfig,
}

/// Has each question answered by the plane that knows the answer.
#[derive(Debug)]
pub struct Desk {
    inspector: Inspector,
    health: Arc<Health>,
    node: String,
    reloads: Sender<ReloadRequest>,
    agent: AgentLine,
    journal: Option<PathBuf>,
    gate: Gate,
    webhooks: Webhooks,
}

/// What becomes of an order to drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Whether it drains by order now.
    pub draining: bool,
    /// What that means, in words.
    pub what: String,
}

impl Desk {
    /// A desk of `parts`.
    #[must_use]
    pub fn new(parts: DeskParts) -> Self {
        let DeskParts { inspector, health, node, reloads, agent, journal, config } = parts;
        let clock = inspector.clock;
        let tokens = Tokens {
            admin: config.token,
            witness: config.witness_token,
            alertmanager: config.alertmanager_token,
        };
        Self {
            inspector: Inspector::new(inspector),
            health,
            node,
            reloads,
            agent: AgentLine::new(agent),
            journal,
            gate: Gate::new(tokens, clock),
            webhooks: Webhooks::new(config.pagerduty_secrets, clock),
        }
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn answer(&self, question: &Question) -> Result<Answer, Refusal> {
        let Question { route, caller, body, signature } = question;
        match route {
            Route::Page => Ok(Answer::page(page::render(&self.status(caller)))),
            Route::Status => Ok(Answer::ok(&self.status(caller))),
            Route::Bucket { policy, key } => {
                self.inspector.bucket(policy, key).map(|report| Answer::ok(&report))
            }
            Route::Reset { policy, key } => {
                let report = self.inspector.reset(policy, key)?;
                info!("bucket {:?} of {} is filled by {}", report.key, report.policy, caller.who(None));
                Ok(Answer::ok(&report))
            }
            Route::Drain { on } => Ok(self.drain(*on, caller)),
            Route::Reload => self.reload(caller),
            Route::Audit { last } => {
                let journal = self.journal.as_ref().ok_or(Refusal::NoAgent)?;
                audit::last_lines(journal, *last).map(|report| Answer::ok(&report))
            }
            Route::Failover => self.agent.ask(Order::Status, caller, None).map(|answer| Answer::ok(&answer)),
            Route::Order(name) => {
                let (order, says) = order::read_order(*name, body)?;
                self.agent.ask(order, caller, says.as_deref()).map(|answer| Answer::ok(&answer))
            }
            Route::PagerDuty => {
                let now_ms = unix_ms();
                let taken =
                    self.webhooks.pagerduty(body, signature.as_deref(), now_ms, &self.gate, &self.agent);
                taken.map(|answer| Answer::ok(&answer))
            }
            Route::Alertmanager => {
                let who = format!("Alertmanager, {}", caller.who(None));
                self.webhooks.alertmanager(body, who, &self.agent).map(|answer| Answer::ok(&answer))
            }
            Route::Witness { region } => self.witness(region, caller),
        }
    }

    fn drain(&self, on: bool, caller: &Caller) -> Answer {
        self.health.set(Reason::DrainOrdered, on);
        if on {
            warn!("draining by order of {}", caller.who(None));
        } else {
            info!("no longer draining, by order of {}", caller.who(None));
        }
        let what = match (on, self.health.is_good()) {
            (true, _) => "/health says 503 until `undrain` or a restart; checks are answered as before",
            (false, true) => "/health says 200 again",
            (false, false) => "no longer draining by order; /health still says 503 for other reasons",
        };
        Answer::ok(&Drained { draining: on, what: what.to_owned() })
    }

    fn reload(&self, caller: &Caller) -> Result<Answer, Refusal> {
        info!("reload ordered by {}", caller.who(None));
        let (reply, answer) = bounded(1);
        // One that waits is enough: it reads all that was written before.
        self.reloads.try_send(ReloadRequest { reply }).map_err(|_| Refusal::NoReload)?;
        let outcome = answer.recv_timeout(RELOAD_PATIENCE).map_err(|_| Refusal::NoReload)?;
        outcome.map(|reloaded| Answer::ok(&reloaded)).map_err(Refusal::ReloadRefused)
    }

    fn witness(&self, region: &str, caller: &Caller) -> Result<Answer, Refusal> {
        let asked = Region(region.to_owned());
        match self.agent.ask(Order::Witness(asked), caller, None)? {
            OrderAnswer::Seen { region, healthy } => {
                let status = if healthy { Status::Ok } else { Status::ServiceUnavailable };
                Ok(Answer::json(status, &OrderAnswer::Seen { region, healthy }))
            }
            _ => Err(order::silent()),
        }
    }

    fn status(&self, caller: &Caller) -> StatusReport {
        let agent = match self.agent.is_there() {
            false => AgentReport::None,
            true => match self.agent.ask(Order::Status, caller, None) {
                Ok(OrderAnswer::Status(status)) => AgentReport::Running(status),
                Ok(_) => AgentReport::Silent("it answers something else".to_owned()),
                Err(refusal) => AgentReport::Silent(refusal.to_string()),
            },
        };
        status::gather(&self.inspector, &self.health, &self.node, agent)
    }
}

/// The wall clock; what comes from other hosts has no other time.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
