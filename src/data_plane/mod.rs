//! The data plane: one pinned thread a core, each with a ring, connections and buffers of its own.
//!
//! [`DataPlane::start`] opens the listeners and starts the threads; a [`Service`] a thread answers.
//! Threads share nothing but what their services share. Others reach them by mailboxes: policies,
//! metrics pages, shutdown.

mod connection;
mod core;
mod input;
mod life;
mod listener;
mod mailbox;
mod output;
mod pages;
mod places;
mod relief;
mod service;
mod storage;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use self::core::{Core, CoreParts};
use self::listener::Listeners;
use self::mailbox::{Mailbox, Phase};
use crate::bucket::policy::PolicySet;
use crate::ring::RingError;
use crate::time::Clock;

pub use listener::{ListenAddr, ListenError};
pub use mailbox::{RenderReply, RenderRequest};
pub(crate) use places::{connections_of_core, connections_within, places_for};
pub use service::{Event, Next, Refusal, Service, Step, Turn};

/// Requests for the metrics page under way: one a data thread, and those it waits for no more.
const RENDERS_QUEUED: usize = 1024;

/// How the data plane is made.
#[derive(Clone, Debug)]
pub struct DataPlaneConfig {
    /// Where to listen.
    pub listen: Vec<ListenAddr>,
    /// Data threads.
    pub threads: usize,
    /// Whether each thread keeps to a core of its own.
    pub pin: bool,
    /// Most connections, of all threads together; one thread takes one and a half times its equal part at most.
    pub max_connections: u32,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: i32,
    /// How long a connection may wait for a request.
    pub idle_timeout: Duration,
    /// How long a request's head may take, from its first byte.
    pub header_timeout: Duration,
    /// How long its body may take.
    pub body_timeout: Duration,
    /// How long a client may take no bytes of its answers.
    pub write_timeout: Duration,
}

/// The limits of one data thread.
#[derive(Clone, Copy, Debug)]
struct CoreLimits {
    /// Threads that the process has of this kind.
    threads: usize,
    /// Most connections of this thread.
    connections: u32,
    /// Most of all threads together.
    all_connections: u32,
    idle_timeout: Duration,
    header_timeout: Duration,
    body_timeout: Duration,
    write_timeout: Duration,
}

/// Why the data plane does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    /// No ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// No address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No memory for buffers.
    #[error(
        "no memory for connections ({bytes} bytes for one of the data threads): {source}; lower [server] \
         max_connections"
    )]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No thread, or no descriptor.
    #[error("cannot start a data thread: {0}{hint}", hint = crate::limits::remedy(.0))]
    Thread(io::Error),
    /// A thread is gone.
    #[error("data thread {0} ended: {1}")]
    Ended(usize, String),
}

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    listeners: Vec<Listeners>,
    renders: Receiver<RenderRequest>,
}

/// Hands metrics pages to the data threads that asked.
#[derive(Clone, Debug)]
pub struct MetricsReplies {
    mailboxes: Vec<Arc<Mailbox>>,
}

impl MetricsReplies {
    /// Answers a request.
    pub fn send(&self, core: usize, reply: RenderReply) {
        if let Some(mailbox) = self.mailboxes.get(core) {
            mailbox.send_reply(reply);
        }
    }

    /// Has every data thread take a turn soon, at whose end it does what was asked of it.
    pub fn wake(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.wake());
    }
}

impl DataPlane {
    /// Opens the listeners and starts the threads, each with the service that `service_of` makes for
    /// its number. Returns when all serve.
    ///
    /// # Errors
    /// When an address, a ring, memory or a thread cannot be had; nothing runs then.
    pub fn start<S: Service + Send + 'static, C: Clock + Clone + Send + 'static>(
        config: &DataPlaneConfig,
        clock: C,
        service_of: impl FnMut(usize) -> S,
    ) -> Result<Self, DataPlaneError> {
        Self::start_on(Vec::new(), config, clock, service_of)
    }

    /// As [`DataPlane::start`], with sockets that listen already at some of the addresses. Others than
    /// those of the configuration are closed.
    ///
    /// # Errors
    /// As [`DataPlane::start`].
    pub fn start_on<S: Service + Send + 'static, C: Clock + Clone + Send + 'static>(
        mut handed: Vec<(ListenAddr, OwnedFd)>,
        config: &DataPlaneConfig,
        clock: C,
        mut service_of: impl FnMut(usize) -> S,
    ) -> Result<Self, DataPlaneError> {
        let mut open = |address: &ListenAddr| {
            let own = handed.extract_if(.., |(handed, _)| handed == address);
            let own: Vec<OwnedFd> = own.map(|(_, socket)| socket).collect();
            if own.is_empty() {
                return Listeners::open(address, config.threads, config.backlog);
            }
            Listeners::adopt(address, own, config.threads, config.backlog)
        };
        let listeners = config.listen.iter().map(&mut open).collect::<Result<Vec<_>, _>>()?;
        drop(handed);
        let (render, renders) = bounded(RENDERS_QUEUED);
        let mut plane = Self { mailboxes: Vec::new(), threads: Vec::new(), listeners, renders };
        let cores = core_affinity::get_core_ids().filter(|_| config.pin).unwrap_or_default();
        let (ready, started) = bounded(config.threads);
        let open = Arc::default();
        for number in 0..config.threads {
            let shared = (clock.clone(), render.clone(), Arc::clone(&open));
            let parts = plane.parts(number, config.threads, service_of(number), shared)?;
            let (limits, ready) = (config.limits_of_core(), ready.clone());
            let core_id = (!cores.is_empty()).then(|| cores[number % cores.len()]);
            let thread = std::thread::Builder::new().name(format!("data-{number}"));
            let run = move || run_thread(core_id, limits, parts, &ready);
            plane.threads.push(thread.spawn(run).map_err(DataPlaneError::Thread)?);
        }
        drop(ready);
        for result in started.iter().take(config.threads) {
            if let Err(error) = result {
                plane.shutdown(Duration::ZERO);
                return Err(error);
            }
        }
        Ok(plane)
    }

    fn parts<S: Service, C>(
        &mut self,
        number: usize,
        threads: usize,
        service: S,
        (clock, render, open_everywhere): (C, Sender<RenderRequest>, Arc<AtomicU32>),
    ) -> Result<CoreParts<S, C>, DataPlaneError> {
        let mailbox = Arc::new(Mailbox::new().map_err(DataPlaneError::Thread)?);
        self.mailboxes.push(Arc::clone(&mailbox));
        let listeners = self.listeners.iter().map(|l| l.of_core(number, threads));
        let listeners = listeners.collect::<io::Result<Vec<_>>>().map_err(DataPlaneError::Thread)?;
        let listeners = listeners.into_iter().flatten().collect();
        Ok(CoreParts { number, service, clock, listeners, mailbox, render, open_everywhere })
    }

    /// The addresses, with the ports that the kernel chose.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddr> {
        self.listeners.iter().map(|l| &l.address)
    }

    /// The listening sockets, each with its address.
    pub fn sockets(&self) -> impl Iterator<Item = (&ListenAddr, BorrowedFd<'_>)> {
        self.listeners.iter().flat_map(|l| l.sockets().map(|socket| (&l.address, socket)))
    }

    /// Leaves the paths of Unix sockets when this ends: somebody else keeps the sockets open.
    pub fn outlive(&mut self) {
        self.listeners.iter_mut().for_each(Listeners::outlive);
    }

    /// What the data threads ask the control plane.
    #[must_use]
    pub fn render_requests(&self) -> Receiver<RenderRequest> {
        self.renders.clone()
    }

    /// The way back to the data threads.
    #[must_use]
    pub fn metrics_replies(&self) -> MetricsReplies {
        MetricsReplies { mailboxes: self.mailboxes.clone() }
    }

    /// Puts policies in force on all threads.
    pub fn publish_policies(&self, policies: &Arc<PolicySet>) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send_policies(Arc::clone(policies)));
    }

    /// Whether a thread has ended by itself.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Closes the listeners, lets open requests be answered, and ends the threads after `deadline` at
    /// the latest. Returns how the threads ended, where not well.
    pub fn shutdown(&mut self, deadline: Duration) -> Vec<DataPlaneError> {
        let until = Instant::now() + deadline;
        self.listeners.clear();
        self.mailboxes.iter().for_each(|mailbox| mailbox.enter(Phase::Draining));
        while Instant::now() < until && !self.threads.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.mailboxes.iter().for_each(|mailbox| mailbox.enter(Phase::Stopping));
        let ended = self.threads.drain(..).enumerate().filter_map(|(number, thread)| match thread.join() {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(DataPlaneError::Ended(number, error.to_string())),
            Err(_) => Some(DataPlaneError::Ended(number, "it panicked".to_owned())),
        });
        ended.collect()
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shutdown(Duration::ZERO);
    }
}

impl DataPlaneConfig {
    fn limits_of_core(&self) -> CoreLimits {
        CoreLimits {
            threads: self.threads,
            connections: connections_of_core(self.max_connections, self.threads),
            all_connections: self.max_connections,
            idle_timeout: self.idle_timeout,
            header_timeout: self.header_timeout,
            body_timeout: self.body_timeout,
            write_timeout: self.write_timeout,
        }
    }
}

fn run_thread<S: Service, C: Clock>(
    core_id: Option<core_affinity::CoreId>,
    limits: CoreLimits,
    parts: CoreParts<S, C>,
    ready: &Sender<Result<(), DataPlaneError>>,
) -> io::Result<()> {
    if let Some(core_id) = core_id {
        // Refused where the process may not use that core; then the scheduler places the thread.
        core_affinity::set_for_current(core_id);
    }
    // The receiver is gone only when another thread failed to start.
    match Core::new(limits, parts) {
        Ok(core) => {
            let _ = ready.send(Ok(()));
            core.run()
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            Ok(())
        }
    }
}
