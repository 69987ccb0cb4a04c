//! The thread that reads and changes the record, one call at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};

use super::brake::{Brake, Job};
use super::checks::{TargetBars, check_health, check_peers_of, check_replication, check_tokens, sum_up};
use super::looks::look_until_good;
use super::message::Finished;
use super::trial::{Destination, Trial};
use super::watch::PeerPlace;
use crate::agent::runbook::{Ended, Failure, Task, Work};
use crate::agent::signals::Probe;
use crate::agent::traffic::{POOLS, TrafficError, TrafficProvider, Visibility, Written};
use crate::agent::types::{RecordState, Region};
use crate::metrics::Published;
use crate::time::whole_ms;

/// A record, who holds it and how its name is tried.
pub struct Record {
    /// Who holds it.
    pub provider: Box<dyn TrafficProvider + Send>,
    /// How its name is tried.
    pub trial: Trial,
}

/// What the hands work with.
pub struct Hands {
    /// The public record.
    pub live: Record,
    /// The shadow record.
    pub shadow: Option<Record>,
    /// `/health` of each region's nodes.
    pub health: BTreeMap<Region, Vec<Probe>>,
    /// What a target must show.
    pub bars: TargetBars,
    /// This server's own figures.
    pub published: Arc<Published>,
    /// Set to cut short what is being waited for.
    pub cut_short: Arc<AtomicBool>,
}

/// Where the hands are, and what holds them back.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) own_region: Region,
    pub(super) peers: Vec<PeerPlace>,
    pub(super) brake: Arc<Brake>,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("bars", &self.bars).finish_non_exhaustive()
    }
}

impl Hands {
    /// Does the jobs until the channel closes.
    pub(super) fn run<M: From<Finished>>(
        mut self,
        around: &Surroundings,
        jobs: &Receiver<Job>,
        done: &Sender<M>,
    ) {
        for job in jobs {
            self.cut_short.store(false, Ordering::Relaxed);
            let ended = self.perform(&job, around).unwrap_or_else(|ended| ended);
            if done.send(Finished { task: job.task.id, ended }.into()).is_err() {
                return;
            }
        }
    }

    fn perform(&mut self, job: &Job, around: &Surroundings) -> Result<Ended, Ended> {
        job.may_begin(&around.brake).map_err(Ended::not_done)?;
        let task = &job.task;
        match &task.work {
            Work::ReadRecord => {
                let read = self.record(task)?.provider.read();
                read.map(Ended::Found).map_err(of_traffic)
            }
            Work::WriteRecord { expected, wanted } | Work::RestoreRecord { expected, wanted } => {
                self.write(job, &around.brake, (expected, wanted))
            }
            Work::AwaitVisible { wanted } => self.look(task, wanted),
            Work::Preflight { target } => self.preflight(target, around),
            Work::Validate { record, before, .. } => self.validate(task, record, before),
            _ => Err(Ended::not_done("this is not done by the hands")),
        }
    }

    fn record(&mut self, task: &Task) -> Result<&mut Record, Ended> {
        if !task.is_drill {
            return Ok(&mut self.live);
        }
        self.shadow
            .as_mut()
            .ok_or_else(|| Ended::refused("there is no shadow record. Write [agent.drill] for one"))
    }

    fn write(
        &mut self,
        job: &Job,
        brake: &Brake,
        (expected, wanted): (&RecordState, &RecordState),
    ) -> Result<Ended, Ended> {
        let provider = &mut self.record(&job.task)?.provider;
        let may_begin = || job.may_begin(brake);
        let written = provider.write_while(&may_begin, expected, wanted).map_err(of_traffic)?;
        Ok(Ended::done(match written {
            Written::Changed => format!("{} is now {}", wanted.name, wanted.values.join(", ")),
            Written::AlreadyThere => format!("{} was {} already", wanted.name, wanted.values.join(", ")),
        }))
    }

    fn look(&mut self, task: &Task, wanted: &RecordState) -> Result<Ended, Ended> {
        match self.record(task)?.provider.visible(wanted).map_err(of_traffic)? {
            Visibility::Shown => Ok(Ended::done("all servers that answer show it")),
            Visibility::Hidden(why) => Ok(Ended::done(format!("its provider alone can tell: {why}"))),
            Visibility::Pending(why) => Err(Ended::not_done(format!("the change does not show yet: {why}"))),
        }
    }

    /// Looks at the target's health, tokens and replication. For a target in another region this node's own tokens say
    /// nothing, so only the link is looked at.
    fn preflight(&self, target: &Region, around: &Surroundings) -> Result<Ended, Ended> {
        let probes = self.health.get(target).map(Vec::as_slice).unwrap_or_default();
        let sights = look_until_good(probes);
        let (vitals, heard) = (self.published.vitals.load(), self.published.peers.load());
        let mut checks = vec![check_health(&sights)];
        if *target == around.own_region {
            checks.extend([check_tokens(&vitals, &self.bars), check_replication(&heard, &self.bars)]);
        } else {
            let nodes = around.peers.iter().filter(|peer| peer.region == *target).map(|peer| peer.node);
            checks.extend(nodes.map(|node| check_peers_of(node, &heard, &self.bars)));
        }
        sum_up(&checks).map(Ended::done).map_err(Ended::refused)
    }

    fn validate(&mut self, task: &Task, wanted: &RecordState, before: &RecordState) -> Result<Ended, Ended> {
        let (bars, cut_short) = (self.bars, Arc::clone(&self.cut_short));
        let trial = &self.record(task)?.trial;
        // Pool ids are not what a name resolves to, and a proxy hides the addresses.
        let is_hidden = wanted.kind == POOLS || wanted.proxied == Some(true);
        let to = Destination {
            wanted: if is_hidden { Vec::new() } else { serving(wanted) },
            before: serving(before),
            ttl: Duration::from_secs(before.ttl_s.into()),
        };
        let checks = trial.run(&to, &bars, &cut_short);
        sum_up(&checks).map(Ended::done).map_err(Ended::refused)
    }
}

fn of_traffic(error: TrafficError) -> Ended {
    let why = error.to_string();
    let failure = match error {
        TrafficError::Conflict { found, .. } => Failure::Conflict(*found),
        error if error.may_have_happened() => Failure::Unknown,
        TrafficError::Unfit { .. } => Failure::Refused,
        error => match error.retry_after() {
            Some(wait) => Failure::Throttled { wait_ms: whole_ms(wait) },
            None => Failure::NotDone,
        },
    };
    Ended::Failed { failure, why }
}

/// The values that take traffic.
fn serving(state: &RecordState) -> Vec<String> {
    let serves = |at: usize| state.weights.get(at).is_none_or(|weight| *weight > 0);
    state.values.iter().enumerate().filter(|(at, _)| serves(*at)).map(|(_, value)| value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::bounded;

    use super::*;
    use crate::agent::https::{self, CallError, Service};
    use crate::agent::runbook::TaskId;
    use crate::agent::signals::{ProbeUrl, Resolver, trust};
    use crate::metrics::{PeerVital, Vitals, WatchedVital};

    /// A record in memory, which its zone shows or not.
    struct Paper {
        state: RecordState,
        shown: bool,
    }

    impl TrafficProvider for Paper {
        fn read(&mut self) -> Result<RecordState, TrafficError> {
            Ok(self.state.clone())
        }

        fn put(&mut self, _expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
            self.state = wanted.clone();
            Ok(())
        }

        fn visible(&mut self, _wanted: &RecordState) -> Result<Visibility, TrafficError> {
            Ok(if self.shown { Visibility::Shown } else { Visibility::Pending("ns1 lags".to_owned()) })
        }

        fn plan(&self, _expected: &RecordState, _wanted: &RecordState) -> Vec<String> {
            vec!["PUT".to_owned()]
        }

        fn limits(&self, _ttl_s: u32) -> Vec<String> {
            Vec::new()
        }
    }

    fn state(values: &[&str]) -> RecordState {
        RecordState {
            name: "www.example.com".to_owned(),
            kind: "A".to_owned(),
            ttl_s: 1,
            values: values.iter().map(ToString::to_string).collect(),
            proxied: None,
            weights: Vec::new(),
        }
    }

    /// Nothing listens there.
    fn probe() -> Probe {
        Probe {
            url: ProbeUrl::new("http://127.0.0.1:1/health").unwrap(),
            resolver: Resolver::Host,
            tls: trust(None).unwrap(),
            token: None,
            timeout: Duration::from_millis(200),
        }
    }

    fn hands(values: &[&str], shown: bool) -> Hands {
        let trial = Trial {
            probe: probe(),
            policy: "api".to_owned(),
            key_prefix: "x-".to_owned(),
            rate_per_s: 1,
            duration: Duration::from_millis(200),
            patience: Duration::ZERO,
        };
        Hands {
            live: Record { provider: Box::new(Paper { state: state(values), shown }), trial },
            shadow: None,
            health: BTreeMap::from([(Region("eu".to_owned()), vec![probe()])]),
            bars: TargetBars {
                min_tokens_percent: 80.0,
                max_lag: Duration::from_secs(2),
                max_error_percent: 1.0,
                max_p99: Duration::from_millis(250),
            },
            published: Arc::default(),
            cut_short: Arc::default(),
        }
    }

    /// How a task ends.
    fn ended(hands: Hands, is_drill: bool, work: Work) -> Ended {
        ended_among(hands, &around(), Task { is_drill, ..task(work) })
    }

    fn task(work: Work) -> Task {
        Task { id: TaskId(7), incident: None, attempt: 1, timeout_ms: 1000, is_drill: false, work }
    }

    /// A node of `eu`, whose peer 2 is of `us`.
    fn around() -> Surroundings {
        let peers = vec![PeerPlace { node: 2, region: Region("us".to_owned()), health: None }];
        Surroundings { own_region: Region("eu".to_owned()), peers, brake: Arc::default() }
    }

    fn ended_among(hands: Hands, around: &Surroundings, task: Task) -> Ended {
        let (job, jobs) = bounded(1);
        let (done, finished) = bounded::<Finished>(1);
        job.send(Job::of(task)).unwrap();
        drop(job);
        hands.run(around, &jobs, &done);
        let Finished { task, ended } = finished.recv().unwrap();
        assert_eq!(task, TaskId(7));
        ended
    }

    fn failure(ended: &Ended) -> &Failure {
        let Ended::Failed { failure, .. } = ended else { panic!("{ended:?}") };
        failure
    }

    #[test]
    fn a_record_moves_when_it_is_as_expected_and_is_left_alone_when_it_is_not() {
        let write = |expected: &[&str]| Work::WriteRecord {
            expected: state(expected),
            wanted: state(&["192.0.2.2"]),
        };
        assert!(matches!(
            ended(hands(&["192.0.2.1"], true), false, write(&["192.0.2.1"])),
            Ended::Done { .. }
        ));
        let there = ended(hands(&["192.0.2.2"], true), false, write(&["192.0.2.1"]));
        assert!(matches!(there, Ended::Done { detail } if detail.contains("already")));
        let foreign = ended(hands(&["203.0.113.9"], true), false, write(&["192.0.2.1"]));
        assert_eq!(failure(&foreign), &Failure::Conflict(state(&["203.0.113.9"])));
        assert_eq!(
            ended(hands(&["192.0.2.1"], true), false, Work::ReadRecord),
            Ended::Found(state(&["192.0.2.1"]))
        );
    }

    #[test]
    fn what_a_provider_asks_for_when_it_throttles_is_passed_on() {
        const SERVICE: Service =
            Service { name: "Test", credential: "the token", status_page: None, throttle_marks: &[] };
        for (wait, is_passed_on) in [(Some(Duration::from_secs(20)), true), (None, false)] {
            let throttled = https::Failure::Status { code: 429, retry_after: wait, excerpt: String::new() };
            let error = TrafficError::from(CallError::new(&SERVICE, "PATCH https://a", throttled));
            let ended = of_traffic(TrafficError::NotDone(Box::new(error)));
            assert_eq!(*failure(&ended) == Failure::Throttled { wait_ms: 20_000 }, is_passed_on);
        }
    }

    #[test]
    fn a_change_that_does_not_show_yet_is_looked_at_again() {
        let look = || Work::AwaitVisible { wanted: state(&["192.0.2.1"]) };
        assert!(matches!(ended(hands(&["192.0.2.1"], true), false, look()), Ended::Done { .. }));
        assert_eq!(failure(&ended(hands(&["192.0.2.1"], false), false, look())), &Failure::NotDone);
    }

    #[test]
    fn a_write_does_not_begin_once_its_time_is_over_or_it_was_stopped() {
        let write = || Work::WriteRecord { expected: state(&["192.0.2.1"]), wanted: state(&["192.0.2.2"]) };
        let stopped = around();
        stopped.brake.stop_up_to(TaskId(7));
        let late = Task { timeout_ms: 0, ..task(write()) };
        for (around, task) in [(stopped.clone(), task(write())), (around(), late)] {
            let ended = ended_among(hands(&["192.0.2.1"], true), &around, task);
            assert_eq!(failure(&ended), &Failure::NotDone);
        }
        let next = Task { id: TaskId(8), ..task(write()) };
        let (job, jobs) = bounded(1);
        let (done, finished) = bounded::<Finished>(1);
        job.send(Job::of(next)).unwrap();
        drop(job);
        hands(&["192.0.2.1"], true).run(&stopped, &jobs, &done);
        assert!(
            matches!(finished.recv().unwrap().ended, Ended::Done { .. }),
            "what is ordered later is done"
        );
    }

    #[test]
    fn a_target_of_another_region_is_judged_by_its_own_nodes_and_not_by_this_one() {
        let peer = |is_present, is_synced, lag_ms| {
            let lag = Duration::from_millis(lag_ms);
            PeerVital { node: 2, is_present, is_synced, phi: 0.0, lag }
        };
        let why = |peer: PeerVital| {
            let hands = hands(&["192.0.2.1"], true);
            let watched = vec![WatchedVital { key: "api/a".to_owned(), share: 0.1 }];
            hands.published.vitals.store(Arc::new(Vitals { watched, ..Vitals::default() }));
            hands.published.peers.store(Arc::new(vec![peer]));
            let ended = ended(hands, false, Work::Preflight { target: Region("us".to_owned()) });
            let Ended::Failed { why, .. } = ended else { panic!("{ended:?}") };
            assert!(!why.contains("tokens"), "{why}");
            why
        };
        assert!(why(peer(false, true, 0)).contains("not heard"));
        assert!(why(peer(true, false, 0)).contains("not told all"));
        assert!(why(peer(true, true, 9_000)).contains("behind"));
        assert!(!why(peer(true, true, 0)).contains("replication"));
    }

    #[test]
    fn a_drill_never_touches_the_live_record() {
        let write = Work::WriteRecord { expected: state(&["192.0.2.1"]), wanted: state(&["192.0.2.2"]) };
        assert_eq!(failure(&ended(hands(&["192.0.2.1"], true), true, write)), &Failure::Refused);
    }

    #[test]
    fn a_target_that_does_not_answer_or_is_short_of_tokens_fails_preflight_with_the_reason() {
        let hands = hands(&["192.0.2.1"], true);
        let watched = vec![WatchedVital { key: "api/a".to_owned(), share: 0.1 }];
        hands.published.vitals.store(Arc::new(Vitals { watched, ..Vitals::default() }));
        let ended = ended(hands, false, Work::Preflight { target: Region("eu".to_owned()) });
        let Ended::Failed { failure: Failure::Refused, why } = ended else { panic!("{ended:?}") };
        assert!(
            why.contains("health: http://127.0.0.1:1/health no connection") && why.contains("10 %"),
            "{why}"
        );
    }

    #[test]
    fn a_public_name_that_does_not_answer_fails_validation() {
        let work = Work::Validate {
            target: Region("eu".to_owned()),
            record: state(&["127.0.0.1"]),
            before: state(&["192.0.2.2"]),
        };
        assert_eq!(failure(&ended(hands(&["127.0.0.1"], true), false, work)), &Failure::Refused);
    }

    #[test]
    fn values_of_no_weight_take_no_traffic() {
        let weighted = RecordState { weights: vec![0, 1], ..state(&["192.0.2.1", "192.0.2.2"]) };
        assert_eq!(serving(&weighted), ["192.0.2.2"]);
        assert_eq!(serving(&state(&["192.0.2.1"])), ["192.0.2.1"]);
    }
}
