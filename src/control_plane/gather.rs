//! Looks at the other planes: gathers what the metrics page shows, and keeps `/health` true.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use crossbeam::channel::Receiver;
use tracing::{error, info};

use super::watchdog::{Change, STALLED_AFTER, Watchdog};
use crate::bucket::policy::PolicySet;
use crate::bucket::table::BucketTable;
use crate::config::WatchedKey;
use crate::data_plane::{MetricsReplies, RenderReply, RenderRequest};
use crate::durability::Kept;
use crate::health::{Health, Reason};
use crate::metrics::core::CoreMetrics;
use crate::metrics::latency::{HistogramCollector, Latencies};
use crate::metrics::{
    Family, FillScan, Page, ProcessStats, Published, Reloads, Vitals, VitalsMeter, WatchedLevel, WatchedVital,
};
use crate::time::MonotonicNs;

/// Lines looked at in one tick: 256 KiB, so that the walk takes little of the memory's bandwidth.
const LINES_A_TICK: usize = 4096;
/// How long a metrics page waits for a data thread that does not hand over its latencies.
const LATENCIES_WITHIN: Duration = Duration::from_secs(1);

/// What the control plane has of a data thread.
#[derive(Debug)]
pub struct CoreHandles {
    /// Its counters.
    pub metrics: Arc<CoreMetrics>,
    /// Its histograms.
    pub histograms: HistogramCollector,
}

/// What is looked at, and what was seen of it so far.
#[derive(Debug)]
pub struct Observed {
    cores: Vec<Arc<CoreMetrics>>,
    histograms: Vec<HistogramCollector>,
    latencies: Latencies,
    /// Of the last second.
    interval: Latencies,
    /// Those just handed over; empty between calls.
    arrived: Latencies,
    /// By data thread, whether the next page waits for its latencies.
    awaited: Vec<bool>,
    /// Until when it waits, once somebody has asked for it.
    page_due: Option<MonotonicNs>,
    meter: VitalsMeter,
    published: Arc<Published>,
    watchdog: Watchdog,
    scan: FillScan,
    table: Arc<BucketTable>,
    policies: Arc<ArcSwap<PolicySet>>,
    watched: Vec<WatchedKey>,
    reloads: Arc<Reloads>,
    health: Arc<Health>,
    region: String,
    kept: Option<Arc<Kept>>,
    started: SystemTime,
}

/// What [`Observed`] is made of, beside the data threads.
#[derive(Debug)]
pub struct ObservedParts {
    /// The buckets.
    pub table: Arc<BucketTable>,
    /// The policies in force.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Keys with metrics of their own.
    pub watched: Vec<WatchedKey>,
    /// How reloads went.
    pub reloads: Arc<Reloads>,
    /// What `/health` tells.
    pub health: Arc<Health>,
    /// This node's region.
    pub region: String,
    /// What was kept in the state directory, where there is one.
    pub kept: Option<Arc<Kept>>,
    /// What the agent is told, and tells.
    pub published: Arc<Published>,
}

impl Observed {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(cores: Vec<CoreHandles>, parts: ObservedParts, now: MonotonicNs) -> Self {
        let (cores, histograms): (Vec<_>, Vec<_>) =
            cores.into_iter().map(|core| (core.metrics, core.histograms)).unzip();
        let ObservedParts { table, policies, watched, reloads, health, region, kept, published } = parts;
        Self {
            watchdog: Watchdog::new(cores.len(), now),
            awaited: vec![false; cores.len()],
            cores,
            histograms,
            latencies: Latencies::default(),
            interval: Latencies::default(),
            arrived: Latencies::default(),
            page_due: None,
            meter: VitalsMeter::new(now),
            published,
            scan: FillScan::default(),
            table,
            policies,
            watched,
            reloads,
            health,
            region,
            kept,
            started: SystemTime::now(),
        }
    }

    /// Gathers histograms and heartbeats; to be called about once a second.
    pub(super) fn collect(&mut self, now: MonotonicNs) {
        self.take_latencies();
        for (core, metrics) in self.cores.iter().enumerate() {
            match self.watchdog.observe(core, metrics.turns(), now) {
                Some(Change::Stalled { core }) => {
                    error!("data thread {core} has not turned for {STALLED_AFTER:?}; /health says so");
                }
                Some(Change::Recovered { core }) => info!("data thread {core} turns again"),
                None => {}
            }
        }
        self.health.set(Reason::StalledCore, self.watchdog.any_stalled());
        self.publish(now);
        self.interval.clear();
    }

    /// Takes what the data threads have handed over, and asks again.
    fn take_latencies(&mut self) {
        for (histograms, awaited) in self.histograms.iter_mut().zip(&mut self.awaited) {
            *awaited &= !histograms.collect(&mut self.arrived);
        }
        self.latencies.add(&self.arrived);
        self.interval.add(&self.arrived);
        self.arrived.clear();
    }

    /// Tells the agent what the last second was like.
    fn publish(&mut self, now: MonotonicNs) {
        let policies = self.policies.load();
        let cores = self.cores.iter().map(Arc::as_ref);
        let vitals = self.meter.measure(cores, &self.interval, now);
        let levels = self.watched.iter().filter_map(|key| self.watched_level(key, &policies, now));
        let watched = levels.map(|level| WatchedVital::from(&level)).collect();
        let is_stalled = self.watchdog.any_stalled();
        self.published.vitals.store(Arc::new(Vitals { is_stalled, watched, ..vitals }));
    }

    /// Where the agent is told, and tells.
    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Goes on with the walk over the table.
    pub(super) fn walk(&mut self, now: MonotonicNs) {
        self.scan.advance(&self.table, &self.policies.load(), LINES_A_TICK, now);
    }

    /// Answers the data threads that wait for a metrics page, all with the same one, once it would show all that was
    /// answered before they asked.
    pub(super) fn answer(
        &mut self,
        renders: &Receiver<RenderRequest>,
        replies: &MetricsReplies,
        now: MonotonicNs,
        more: impl FnOnce() -> Vec<Family>,
    ) {
        if renders.is_empty() || !self.has_latencies(replies, now) {
            return;
        }
        let body = self.page(now, more());
        for RenderRequest { core, token } in renders.try_iter().take(renders.len()) {
            replies.send(core, RenderReply { token, body: body.clone() });
        }
    }

    /// Whether all data threads have handed over their latencies since the page was asked for, or have had the time;
    /// has them do so. One that has nothing to do is woken for it.
    fn has_latencies(&mut self, replies: &MetricsReplies, now: MonotonicNs) -> bool {
        self.take_latencies();
        let Some(until) = self.page_due else {
            self.page_due = Some(now.after(LATENCIES_WITHIN));
            self.awaited.fill(true);
            replies.wake();
            return false;
        };
        let is_due = now >= until || !self.awaited.contains(&true);
        if is_due {
            self.page_due = None;
        }
        is_due
    }

    fn page(&self, now: MonotonicNs, mut more: Vec<Family>) -> Bytes {
        let policies = self.policies.load();
        let watched: Vec<WatchedLevel> =
            self.watched.iter().filter_map(|key| self.watched_level(key, &policies, now)).collect();
        let page = Page {
            cores: &self.cores,
            latencies: &self.latencies,
            table: self.table.stats(),
            policies: &policies,
            watched: &watched,
            fill: self.scan.found(),
            reloads: &self.reloads,
            healthy: self.health.is_good(),
            region: &self.region,
            version: env!("CARGO_PKG_VERSION"),
            process: ProcessStats::read(self.started),
        };
        more.extend(self.health.families());
        more.extend(self.published.agent.load().iter().cloned());
        more.extend(self.kept.as_deref().map(Kept::families).unwrap_or_default());
        Bytes::from(page.render(more))
    }

    /// None when a reload has removed the policy.
    fn watched_level(
        &self,
        key: &WatchedKey,
        policies: &PolicySet,
        now: MonotonicNs,
    ) -> Option<WatchedLevel> {
        let policy = policies.find(key.policy.as_bytes())?;
        let limits = policy.limits_for(key.key.as_bytes());
        let id = policies.bucket_id(policy, key.key.as_bytes());
        let level = self.table.level(id, limits, now).unwrap_or(0);
        Some(WatchedLevel::new(&key.policy, &key.key, limits, level))
    }
}
