//! Hands each task to the thread that does it, with all that it needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::Sender;
use serde_json::{Map, Value};

use super::brake::{Brake, Job};
use super::caller::Call;
use super::informer::Tell;
use super::ledger::Ledger;
use super::pilot::hand_over;
use super::report::{ReportJob, write_report};
use super::scribe::Writing;
use super::standby::Standby;
use crate::agent::gitops::Checkout;
use crate::agent::history::{History, Prometheus, Series};
use crate::agent::journal::{Line, words_of};
use crate::agent::notify::{Facts, Update};
use crate::agent::pager::{Event, EventAction, Link};
use crate::agent::runbook::{Ended, Page, Task, Work};
use crate::agent::traffic::TrafficProvider;
use crate::agent::types::{IncidentId, RecordState, Region, UnixMs};

/// The name under which messages outside of an incident are sent.
const NO_INCIDENT: &str = "agent";

/// Says which calls a task would make, without making them.
pub struct Planners {
    /// The public record's provider.
    pub live: Box<dyn TrafficProvider + Send>,
    /// The shadow record's.
    pub shadow: Option<Box<dyn TrafficProvider + Send>>,
    /// More of the standby.
    pub standby: Option<Standby>,
}

impl std::fmt::Debug for Planners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planners").finish_non_exhaustive()
    }
}

/// What tasks need besides their own data.
#[derive(Debug)]
pub struct DeedParts {
    /// Who can say what a task would call.
    pub planners: Planners,
    /// Where this node is, for the page: its name and region.
    pub source: String,
    /// Graphs and the runbook.
    pub links: Vec<Link>,
    /// The region in a values file.
    pub checkout: Option<Checkout>,
    /// All regions: one that the values file may name.
    pub regions: Vec<Region>,
    /// Where reports go.
    pub reports: PathBuf,
    /// Of so many incidents.
    pub keep_reports: usize,
    /// Where reports find what is older than the built-in two hours.
    pub prometheus: Option<Arc<Prometheus>>,
}

pub(super) struct Deeds {
    pub(super) parts: DeedParts,
    pub(super) hands: Sender<Job>,
    /// `None` where nothing is scaled.
    pub(super) standby: Option<Sender<Job>>,
    pub(super) brake: Arc<Brake>,
    pub(super) caller: Sender<Call>,
    /// `None` where the pager is not asked.
    pub(super) asker: Option<Sender<Option<String>>>,
    pub(super) informer: Sender<Tell>,
    pub(super) scribe: Sender<Writing>,
    pub(super) cut_short: Arc<AtomicBool>,
}

/// What is known of an incident when a task about it starts.
pub(super) struct Context {
    lines: Vec<Line>,
    series: Vec<Series>,
}

impl Deeds {
    pub(super) fn cut_short(&self) {
        self.cut_short.store(true, Ordering::Relaxed);
    }

    /// Has the asker follow the page with this key, and no other.
    pub(super) fn follow(&self, key: Option<String>) {
        // If its channel is full, the next change of phase tells it again.
        self.asker.iter().for_each(|asker| drop(asker.try_send(key.clone())));
    }

    /// The calls that a task would make, one a line.
    pub(super) fn calls(&self, task: &Task) -> Vec<String> {
        match &task.work {
            Work::WriteRecord { expected, wanted } | Work::RestoreRecord { expected, wanted } => {
                self.plan(task.is_drill, expected, wanted)
            }
            Work::Scale => {
                let standby = self.parts.planners.standby.as_ref();
                standby.map(|standby| standby.scaler.plan(standby.replicas)).unwrap_or_default()
            }
            Work::CommitRegion { region } => match &self.parts.checkout {
                Some(checkout) => checkout.plan("(the region it names)", &region.0, &commit_message(region)),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    pub(super) fn plan(&self, is_drill: bool, expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let planners = &self.parts.planners;
        let planner = if is_drill { planners.shadow.as_ref() } else { Some(&planners.live) };
        planner.map(|planner| planner.plan(expected, wanted)).unwrap_or_default()
    }

    /// The incident's journal lines and measurements, for tasks that need them.
    pub(super) fn context(&self, task: &Task, ledger: &Ledger, history: &History) -> Option<Context> {
        let incident = task.incident.as_ref()?;
        let tells = matches!(&task.work, Work::WriteReport | Work::Notify { is_last: true, .. });
        tells.then(|| {
            let lines = ledger.lines_of(incident);
            let series = super::report::window_of(incident, &lines).map(|(from, to)| history.range(from, to));
            Context { lines, series: series.unwrap_or_default() }
        })
    }

    /// Hands the task on; `Err` is its outcome when that is not possible.
    pub(super) fn begin(&self, task: &Task, context: Option<Context>, now: UnixMs) -> Result<(), Ended> {
        match &task.work {
            Work::Page(page) => {
                let event = self.page_event(task, page, now);
                hand_over(&self.caller, Call::Send(task.id, Box::new(event)))
            }
            Work::ResolvePage { dedup_key, .. } => {
                let event = Event {
                    dedup_key: dedup_key.clone(),
                    action: EventAction::Resolve,
                    at_ms: milliseconds(now),
                };
                hand_over(&self.caller, Call::Send(task.id, Box::new(event)))
            }
            Work::Notify { headline, lines, is_last, would_change } => {
                let mut steps = lines.clone();
                if let Some((expected, wanted)) = would_change {
                    steps.push("the calls that would have been made:".to_owned());
                    steps.extend(self.plan(task.is_drill, expected, wanted));
                }
                let incident = task.incident.clone().unwrap_or_else(|| IncidentId(NO_INCIDENT.to_owned()));
                let facts = context.map(|context| facts_of(headline, &context.lines));
                let update = Update { incident, headline: headline.clone(), steps, is_last: *is_last };
                hand_over(&self.informer, Tell { task: task.id, update, facts })
            }
            Work::CommitRegion { region } => self.commit(task, region),
            Work::WriteReport => self.report(task, context),
            Work::Scale => match &self.standby {
                Some(standby) => hand_over(standby, Job::of(task.clone())),
                None => Err(Ended::refused("nothing is scaled: there is no [agent.scale]")),
            },
            _ => hand_over(&self.hands, Job::of(task.clone())),
        }
    }

    fn page_event(&self, task: &Task, page: &Page, now: UnixMs) -> Event {
        let mut details: Map<String, Value> =
            page.details.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        if let Some(incident) = &task.incident {
            details.insert("incident".to_owned(), Value::from(incident.0.as_str()));
        }
        Event {
            dedup_key: page.dedup_key.clone(),
            action: EventAction::Trigger {
                summary: page.summary.clone(),
                source: self.parts.source.clone(),
                severity: page.severity,
                details,
                links: self.parts.links.clone(),
            },
            at_ms: milliseconds(now),
        }
    }

    /// Changes the file only when it names one of our regions: any other text is somebody else's work.
    fn commit(&self, task: &Task, region: &Region) -> Result<(), Ended> {
        let checkout = self.parts.checkout.clone();
        let checkout =
            checkout.ok_or_else(|| Ended::refused("nothing is committed: there is no [agent.gitops]"))?;
        let (regions, region) = (self.parts.regions.clone(), region.clone());
        let (job, brake) = (Job::of(task.clone()), Arc::clone(&self.brake));
        let errand = move || {
            let may_go_on = || job.may_begin(&brake);
            may_go_on()?;
            let found = checkout.found().map_err(|error| error.to_string())?;
            let expected = regions.iter().find(|known| known.0 == found).unwrap_or(&region);
            let committed =
                checkout.commit_while(&may_go_on, &expected.0, &region.0, &commit_message(&region));
            committed.map(|_| format!("the file says {region}")).map_err(|error| error.to_string())
        };
        hand_over(&self.scribe, Writing { task: task.id, write: Box::new(errand) })
    }

    fn report(&self, task: &Task, context: Option<Context>) -> Result<(), Ended> {
        let incident =
            task.incident.clone().ok_or_else(|| Ended::refused("there is no incident to report"))?;
        let Context { lines, series } =
            context.ok_or_else(|| Ended::not_done("the journal cannot be read"))?;
        let (directory, prometheus) = (self.parts.reports.clone(), self.parts.prometheus.clone());
        let keep = self.parts.keep_reports;
        let job = ReportJob { directory, keep, incident, lines, series, prometheus };
        let errand = move || write_report(job);
        hand_over(&self.scribe, Writing { task: task.id, write: Box::new(errand) })
    }
}

fn commit_message(region: &Region) -> String {
    format!("Serve from {region} after a failover")
}

fn facts_of(headline: &str, lines: &[Line]) -> Facts {
    Facts {
        headline: headline.to_owned(),
        timeline: lines.iter().map(|line| words_of(&line.logged)).collect(),
    }
}

fn milliseconds(at: UnixMs) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}
