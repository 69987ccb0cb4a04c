//! `serve`: wires configuration, buckets and planes together, then follows signals.

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, bounded, never, select, tick};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use super::foundation::{Foundation, FoundationError, own_parts};
use super::supervision::{self, Supervision};
use super::{agent, describe, log, output};
use crate::admin::{AdminServer, Desk, DeskParts, ReloadRequest, Reloaded};
use crate::agent::engine::Agent;
use crate::api::{CoreService, Health, Reason, ServiceParts};
use crate::bucket::policy::{PolicyError, PolicySet, PolicySpec};
use crate::bucket::table::BucketTable;
use crate::config::{self, Config, Problems, ServerConfig, Sources, StateConfig};
use crate::control_plane::{ControlParts, ControlPlane, ControlPlaneError, CoreHandles, MAX_QUESTIONS};
use crate::counted::counted;
use crate::data_plane::{DataPlane, DataPlaneConfig, DataPlaneError, ListenAddr};
use crate::durability::Keeper;
use crate::http::HttpLimits;
use crate::limits::remedy;
use crate::metrics::core::{CoreMetrics, histogram_exchange};
use crate::metrics::{Published, Reloads};
use crate::service_manager::{Handed, ServiceManager};
use crate::time::{Clock as _, SystemClock};

/// Connections that the kernel keeps until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// The exit code for settings that cannot be served, after `sysexits.h`: to try again does not help.
const WRONG_CONFIGURATION: u8 = 78;
/// What the agent has under way when the server stops has so long to end.
const AGENT_PATIENCE: Duration = Duration::from_secs(3);
/// Signals that wait to be acted on; more of the same say nothing new.
const SIGNALS_QUEUED: usize = 16;
/// Reloads that wait; one reads all that was written before it.
const RELOADS_QUEUED: usize = 1;

/// Why the server does not start, or ended.
#[derive(Debug, thiserror::Error)]
enum ServeError {
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

/// Why a reload is refused.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{0}")]
    Config(#[from] Problems),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Policies that were put in force, and the sections whose changes were not.
struct Loaded {
    policies: Vec<PolicySpec>,
    waiting_for_restart: Vec<String>,
}

pub(super) fn run(sources: &Sources) -> ExitCode {
    // First of all: descriptors that were handed over are nobody's until then.
    let handed = Handed::to_process(|name| std::env::var(name).ok());
    if let Err(error) = survive_full_files() {
        return output::fail(&ServeError::Signals(error));
    }
    let config = match config::load(sources) {
        Ok(config) => config,
        Err(problems) => {
            output::complain(&problems);
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    log::start(config.log_level);
    let served = Server::start(config, sources, handed).and_then(Server::follow_signals);
    let Err(error) = served else { return ExitCode::SUCCESS };
    error!("{error}");
    match error {
        ServeError::Foundation(FoundationError::Policy(_)) => ExitCode::from(WRONG_CONFIGURATION),
        _ => ExitCode::FAILURE,
    }
}

/// A server that runs.
struct Server<'s> {
    sources: &'s Sources,
    config: Config,
    clock: SystemClock,
    table: Arc<BucketTable>,
    policies: Arc<ArcSwap<PolicySet>>,
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
    signals: Receiver<i32>,
    /// Set when nothing graceful is left to interrupt: the next signal ends the process.
    impatient: Arc<AtomicBool>,
}

impl<'s> Server<'s> {
    fn start(config: Config, sources: &'s Sources, handed: Handed) -> Result<Self, ServeError> {
        raise_file_limit();
        let manager = ServiceManager::of_environment(|name| std::env::var(name).ok());
        let impatient = Arc::new(AtomicBool::new(false));
        let signals = receive_signals(&impatient)?;
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
        let (data_plane, cores) = start_data_plane(&config, sockets, &foundation, &mut supervision)?;
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
                recv(self.signals) -> signal => match signal {
                    Ok(SIGHUP) => drop(self.reload()),
                    _ => break,
                },
                recv(self.reloads_ordered) -> request => if let Ok(ReloadRequest { reply }) = request {
                    // Who asked may have stopped waiting.
                    let _ = reply.try_send(self.reload());
                },
                recv(watch) -> _ => {
                    if self.data_plane.has_failed() {
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
        let policies: Vec<String> = self.config.policies.iter().take(3).map(describe::named_limit).collect();
        let more = self.config.policies.len() - policies.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let origin = describe::origin(self.config.file.as_deref());
        let request = describe::curl(&listen[0], &self.config.policies[0].name);
        let (policies, listen) = (policies.join(", "), describe::addresses(&listen));
        format!("serving {policies}{more} from {origin} on {listen}; try: {request}")
    }

    /// What is served and where, as the service manager shows it.
    fn serving(&self, policies: &[PolicySpec]) -> String {
        let listen: Vec<ListenAddr> = self.data_plane.addresses().cloned().collect();
        let policies = match policies {
            [only] => format!("policy {}", only.name),
            several => counted(several.len(), "policy", "policies"),
        };
        format!("{policies} on {}", describe::addresses(&listen))
    }

    /// Puts the policies of the sources as they are now in force, or keeps the old ones and says why.
    fn reload(&mut self) -> Result<Reloaded, Vec<String>> {
        self.supervision.reloading();
        let loaded = self.load_again();
        self.reloads.count(loaded.is_ok());
        self.supervision.reloaded(loaded.as_ref().ok().map(|loaded| self.serving(&loaded.policies)));
        let problems = match loaded {
            Ok(Loaded { policies, waiting_for_restart }) => {
                info!("reloaded: {} in force", counted(policies.len(), "policy", "policies"));
                return Ok(Reloaded { policies: policies.len(), waiting_for_restart });
            }
            Err(ReloadError::Config(problems)) => problems.iter().map(ToString::to_string).collect(),
            Err(refusal) => vec![refusal.to_string()],
        };
        problems.iter().for_each(|problem| error!("{problem}"));
        let count = counted(problems.len(), "problem", "problems");
        error!("reload refused, the old policies stay in force: {count}");
        Err(problems)
    }

    fn load_again(&mut self) -> Result<Loaded, ReloadError> {
        let new = config::load_again(self.sources, &self.config.node.region)?;
        let policies = Arc::new(
            self.policies
                .load()
                .reload(&own_parts(&new.policies, self.config.cluster.as_ref())?, self.clock.now())?,
        );
        let fixed = self.config.needs_restart(&new);
        if !fixed.is_empty() {
            warn!("changes in [{}] take effect at the next restart", fixed.join("], ["));
        }
        // The table must know a limit before a data thread charges by it, and so must who tells the peers of it.
        self.table.publish_limits(&policies);
        self.policies.store(Arc::clone(&policies));
        self.data_plane.publish_policies(&policies);
        let waiting_for_restart = fixed.into_iter().map(str::to_owned).collect();
        Ok(Loaded { policies: new.policies, waiting_for_restart })
    }

    /// Answers checks while load balancers learn from `/health` to send no more.
    fn be_lame_duck(&self) {
        self.health.set(Reason::Draining, true);
        let shutdown = self.config.shutdown;
        self.supervision.stopping(shutdown);
        info!("stopping: lame duck for {:?}, then at most {:?}", shutdown.lame_duck, shutdown.deadline);
        let until = std::time::Instant::now() + shutdown.lame_duck;
        // A second signal to stop cuts the wait short; there is no point in a reload now.
        while let Ok(SIGHUP) = self.signals.recv_deadline(until) {}
    }

    fn stop(&mut self) {
        self.impatient.store(true, Ordering::Relaxed);
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
    foundation: &Foundation,
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
            policies: foundation.policies.load_full(),
            hasher: foundation.hasher.clone(),
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

/// Allows as many open files as the administrator does: the usual soft limit of 1,024 is for `select`.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        // The ring says so when what there is does not do.
        warn!("cannot raise the limit of open files: {error}");
    }
}

/// Has a write beyond RLIMIT_FSIZE fail, as on a full disk; without a handler its signal ends the process.
fn survive_full_files() -> Result<(), std::io::Error> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Signals as messages, from a thread of their own.
fn receive_signals(impatient: &Arc<AtomicBool>) -> Result<Receiver<i32>, std::io::Error> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(impatient))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(SIGNALS_QUEUED);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let _ = sender.try_send(signal);
        }
    })?;
    Ok(receiver)
}

fn data_plane_config(server: &ServerConfig) -> DataPlaneConfig {
    DataPlaneConfig {
        listen: server.listen.clone(),
        threads: server.threads,
        pin: server.pin,
        max_connections: server.max_connections,
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
