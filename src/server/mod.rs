//! A server that runs: the planes wired to the buckets and to each other, signals followed, reload, stop.
//!
//! [`foundation`] is what all planes stand on; [`agent`] makes the incident agent of its settings; [`supervision`]
//! speaks with the service manager; [`last_resort`] ends a stop that hangs.

pub(crate) mod agent;
mod foundation;
pub(crate) mod greeting;
mod kept_tables;
mod last_resort;
mod reload;
mod replication;
mod signals;
mod supervision;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, bounded, never, select, tick};
use tracing::{error, info, warn};

use self::foundation::{Foundation, FoundationError};
use self::signals::Signals;
pub(crate) use self::signals::survive_full_files;
use self::supervision::{LAST_SNAPSHOT, Supervision};
use crate::admin::{AdminServer, Desk, DeskParts, ReloadRequest};
use crate::agent::engine::Agent;
use crate::api::{CoreService, ServiceParts};
use crate::bucket::policy::{PolicySet, PolicySpec};
use crate::bucket::table::BucketTable;
use crate::config::{Config, ServerConfig, Sources, StateConfig, written};
use crate::control_plane::{ControlParts, ControlPlane, ControlPlaneError, CoreHandles, MAX_QUESTIONS};
use crate::counted::counted;
use crate::data_plane::{DataPlane, DataPlaneConfig, DataPlaneError, ListenAddr};
use crate::durability::Keeper;
use crate::health::{Health, Reason};
use crate::http::HttpLimits;
use crate::limits::{raise_limits, remedy};
use crate::metrics::core::CoreMetrics;
use crate::metrics::latency::histogram_exchange;
use crate::metrics::{Published, Reloads};
use crate::service_manager::{Handed, ServiceManager};
use crate::time::SystemClock;

/// Connections that the kernel keeps until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// What the agent has under way when the server stops has so long to end.
const AGENT_PATIENCE: Duration = Duration::from_secs(3);
/// Reloads that wait; one reads all that was written before it.
const RELOADS_QUEUED: usize = 1;

/// Why the server does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Foundation(#[from] FoundationError),
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    #[error(transparent)]
    Agent(#[from] agent::StartError),
    #[error("cannot start the thread that writes snapshots: {0}{hint}", hint = remedy(.0))]
    Keeper(std::io::Error),
    #[error("cannot listen for signals: {0}{hint}", hint = remedy(.0))]
    Signals(#[from] std::io::Error),
    #[error("a data thread ended by itself; see above, then restart")]
    ThreadEnded,
}

impl ServeError {
    /// Whether another configuration is needed: to try again with the same does not help.
    pub(crate) const fn is_of_configuration(&self) -> bool {
        matches!(self, Self::Foundation(FoundationError::Policy(_)))
    }
}

/// Serves as `config` says until a signal ends it; `sources` are read again at each reload.
///
/// # Errors
/// When a part cannot be started, or ends by itself.
pub(crate) fn run(config: Config, sources: &Sources, handed: Handed) -> Result<(), ServeError> {
    Server::start(config, sources, handed).and_then(Server::follow_signals)
}

/// A server that runs.
struct Server<'s> {
    sources: &'s Sources,
    config: Config,
    clock: SystemClock,
    table: Arc<BucketTable>,
    policies: Arc<ArcSwap<PolicySet>>,
    /// Kept until no data thread can be the last to have them, and so the one that frees them in the middle of a turn.
    former_policies: Option<Arc<PolicySet>>,
    reloads: Arc<Reloads>,
    health: Arc<Health>,
    data_plane: DataPlane,
    /// End when dropped.
    _admin: Vec<AdminServer>,
    reloads_ordered: Receiver<ReloadRequest>,
    /// Ends before the rest: what it began is in its journal.
    agent: Option<Agent>,
    /// Ends after the data plane, whose last requests it answers.
    control_plane: ControlPlane,
    /// Writes the last snapshot when all else has ended.
    keeper: Option<Keeper>,
    /// What the service manager is told.
    supervision: Supervision,
    signals: Signals,
    /// Set when nothing graceful is left to interrupt: the next signal ends the process.
    impatient: Arc<AtomicBool>,
}

impl<'s> Server<'s> {
    fn start(config: Config, sources: &'s Sources, handed: Handed) -> Result<Self, ServeError> {
        raise_limits();
        let manager = ServiceManager::of_environment(|name| std::env::var(name).ok());
        let impatient = Arc::new(AtomicBool::new(false));
        let signals = Signals::receive(&impatient)?;
        let health = Arc::new(Health::default());
        let mut supervision = Supervision::new(manager, Arc::clone(&health));
        let Handed { listeners, tables, refused } = handed;
        refused.iter().for_each(|refused| warn!("{refused}"));
        config.warnings().iter().for_each(|warning| warn!("{warning}"));
        let mut foundation = Foundation::lay(&config, &health, supervision.manager(), &tables)?;
        drop(tables);
        let (clock, table) = (foundation.clock, Arc::clone(&foundation.table));
        let policies = Arc::clone(&foundation.policies);
        let sockets = supervision.sockets(listeners, &config.server.listen);
        let (data_plane, cores) = start_data_plane(&config, sockets, &mut foundation, &mut supervision)?;
        let (reloads, published) = (Arc::<Reloads>::default(), Arc::<Published>::default());
        let (question, questions) = bounded(MAX_QUESTIONS);
        let control_plane = ControlPlane::start(ControlParts {
            observed: foundation.observed(&config, cores, &reloads, &published),
            renders: data_plane.render_requests(),
            replies: data_plane.metrics_replies(),
            replication: foundation.replication.take(),
            questions,
            clock,
        })?;
        let (agent, order) = agent::start(&config, &published, &health)?.unzip();
        let (reload, reloads_ordered) = bounded(RELOADS_QUEUED);
        let admin = start_admin(DeskParts {
            inspector: foundation.inspector(&config, question),
            health: Arc::clone(&health),
            node: config.node.name.clone(),
            reloads: reload,
            journal: order.as_ref().and(config.state.as_ref()).map(StateConfig::journal),
            agent: order,
            config: config.admin.clone(),
        });
        // Nobody can order one: a channel without senders would be ready all the time.
        let reloads_ordered = if admin.is_empty() { never() } else { reloads_ordered };
        let keeper = foundation.keep(config.state.as_ref()).map_err(ServeError::Keeper)?;
        Ok(Self {
            sources,
            config,
            clock,
            table,
            policies,
            former_policies: None,
            reloads,
            health,
            data_plane,
            _admin: admin,
            reloads_ordered,
            agent,
            control_plane,
            keeper,
            supervision,
            signals,
            impatient,
        })
    }

    /// Serves until told to stop.
    fn follow_signals(mut self) -> Result<(), ServeError> {
        info!("{}", self.greeting());
        self.supervision.ready(self.serving(&self.config.policies));
        let watch = tick(self.supervision.look_interval());
        loop {
            select! {
                recv(self.signals.stops) -> _ => break,
                recv(self.signals.reloads) -> signal => if signal.is_ok() {
                    drop(self.reload());
                },
                recv(self.reloads_ordered) -> request => if let Ok(ReloadRequest { reply }) = request {
                    // Who asked may have stopped waiting.
                    let _ = reply.try_send(self.reload());
                },
                recv(watch) -> _ => {
                    if self.data_plane.has_failed() {
                        self.supervision.thread_ended(self.config.shutdown);
                        self.stop();
                        return Err(ServeError::ThreadEnded);
                    }
                    self.supervision.look(self.control_plane.looks());
                }
            }
        }
        self.be_lame_duck();
        self.stop();
        Ok(())
    }

    /// One line: what is served, where, and a request to try.
    fn greeting(&self) -> String {
        let listen: Vec<ListenAddr> = self.data_plane.addresses().cloned().collect();
        let policies: Vec<String> = self.config.policies.iter().take(3).map(greeting::named_limit).collect();
        let more = self.config.policies.len() - policies.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let origin = greeting::origin(self.config.file.as_deref());
        let request = greeting::curl(&listen[0], &self.config.policies[0].name);
        let (policies, listen) = (policies.join(", "), greeting::addresses(&listen));
        format!("serving {policies}{more} from {origin} on {listen}; try: {request}")
    }

    /// What is served and where, as the service manager shows it.
    fn serving(&self, policies: &[PolicySpec]) -> String {
        let listen: Vec<ListenAddr> = self.data_plane.addresses().cloned().collect();
        let policies = match policies {
            [only] => format!("policy {}", only.name),
            several => counted(several.len(), "policy", "policies"),
        };
        format!("{policies} on {}", greeting::addresses(&listen))
    }

    /// Answers checks while load balancers learn from `/health` to send no more.
    fn be_lame_duck(&self) {
        self.health.set(Reason::Draining, true);
        let shutdown = self.config.shutdown;
        self.supervision.stopping(shutdown);
        let (lame_duck, deadline) = (written(shutdown.lame_duck), written(shutdown.deadline));
        info!("stopping: lame duck for {lame_duck}, then at most {deadline}");
        let until = std::time::Instant::now() + shutdown.lame_duck;
        // A second signal to stop cuts the wait short.
        let _ = self.signals.stops.recv_deadline(until);
    }

    fn stop(&mut self) {
        self.impatient.store(true, Ordering::Relaxed);
        // What the service manager was told, which need not be there.
        last_resort::end_the_process_after(self.config.shutdown.deadline + LAST_SNAPSHOT);
        if let Some(agent) = &mut self.agent {
            agent.shutdown(std::time::Instant::now() + self.config.shutdown.deadline.min(AGENT_PATIENCE));
        }
        for error in self.data_plane.shutdown(self.config.shutdown.deadline) {
            error!("{error}");
        }
        self.control_plane.shutdown();
        if let Some(keeper) = &mut self.keeper {
            keeper.shutdown();
        }
        info!("stopped");
    }
}

/// Starts the data threads; what the control plane reads of each comes with them.
fn start_data_plane(
    config: &Config,
    sockets: Vec<(ListenAddr, OwnedFd)>,
    foundation: &mut Foundation,
    supervision: &mut Supervision,
) -> Result<(DataPlane, Vec<CoreHandles>), DataPlaneError> {
    let mut cores = Vec::with_capacity(config.server.threads);
    let kept_already = supervision::count(&sockets);
    let plane_config = data_plane_config(&config.server);
    let mut data_plane = DataPlane::start_on(sockets, &plane_config, foundation.clock, |_core| {
        let (histograms, collector) = histogram_exchange();
        let metrics = Arc::new(CoreMetrics::new());
        cores.push(CoreHandles { metrics: Arc::clone(&metrics), histograms: collector });
        CoreService::new(ServiceParts {
            table: Arc::clone(&foundation.table),
            log: foundation.logs.pop(),
            policies: foundation.policies.load_full(),
            limits: http_limits(&config.server),
            metrics,
            histograms,
            health: Arc::clone(&foundation.health),
            region: config.node.region.clone(),
            version: env!("CARGO_PKG_VERSION"),
        })
    })?;
    supervision.keep_sockets(&mut data_plane, kept_already);
    supervision.count_by(cores.iter().map(|core| Arc::clone(&core.metrics)).collect());
    Ok((data_plane, cores))
}

/// Where people and other programs ask, as far as the configuration says. Checks are answered without it
/// too.
fn start_admin(parts: DeskParts) -> Vec<AdminServer> {
    let config = &parts.config;
    let unix = config.socket.clone().map(ListenAddr::Unix);
    let addresses: Vec<ListenAddr> = unix.into_iter().chain(config.listen.map(ListenAddr::Tcp)).collect();
    let desk = Arc::new(Desk::new(parts));
    let start = |address| {
        let started = AdminServer::start(address, Arc::clone(&desk));
        started.map_err(|error| error!("{error}. Checks are answered without it")).ok()
    };
    addresses.iter().filter_map(start).collect()
}

fn data_plane_config(server: &ServerConfig) -> DataPlaneConfig {
    DataPlaneConfig {
        listen: server.listen.clone(),
        threads: server.threads,
        pin: server.pin,
        max_connections: server.connections(),
        backlog: BACKLOG,
        idle_timeout: server.idle_timeout,
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        write_timeout: server.write_timeout,
    }
}

const fn http_limits(server: &ServerConfig) -> HttpLimits {
    HttpLimits {
        max_header_bytes: server.max_header_bytes,
        max_target_bytes: server.max_target_bytes,
        max_body_bytes: server.max_body_bytes,
        max_requests_per_connection: server.max_requests_per_connection,
    }
}
