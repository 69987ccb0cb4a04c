//! Loads two servers in turn, a quarter of a second each, and tells the processor time that a check takes of each
//! under full load: the machine's slow phases last longer than that, so both meet the same ones.
//!
//! `cargo run --release --example alternate -- DEPTH KEYS SECONDS NAME=PORT=PID NAME=PORT=PID`
//!
//! A line for each: name, microseconds a check of all its threads, and of its data threads; checks a second while it
//! was loaded; and how much of a core it takes when it has nothing to do, in percent. What changed in a turn and has
//! not been told a flush later is waited for and not counted: under a load that lasts it would wait for its share of
//! the bandwidth too, and be charged again meanwhile.

use std::error::Error;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use openclaw_rating::load::{Plan, Settings, Target, run};

type Fallible<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: alternate DEPTH KEYS SECONDS NAME=PORT=PID NAME=PORT=PID";
const SLICE: Duration = Duration::from_millis(250);
/// How long servers are watched without load.
const IDLE: Duration = Duration::from_secs(2);
/// What changes is told so much later.
const FLUSH: Duration = Duration::from_millis(20);
/// After this all that changed in a slice has been told, also what waited for its share of the bandwidth.
const UNTIL_TOLD: Duration = Duration::from_millis(350);

/// A server that is loaded.
#[derive(Default)]
struct Contender {
    name: String,
    port: u16,
    process: u32,
    /// What it takes without load, of each second.
    idle: ProcessorTime,
    /// What it took while it was loaded.
    taken: ProcessorTime,
    checks: u64,
    loaded: Duration,
}

impl Contender {
    /// Reads `name=port=pid`.
    fn parse(text: &str) -> Fallible<Self> {
        let [name, port, process] = text.split('=').collect::<Vec<_>>()[..] else { return Err(USAGE.into()) };
        let (name, port, process) = (name.to_owned(), port.parse()?, process.parse()?);
        Ok(Self { name, port, process, ..Self::default() })
    }

    /// Loads it for a slice.
    fn load(&mut self, depth: u32, keys: u64, seed: u64) -> Fallible<()> {
        let plan = Plan::new(Settings {
            target: Target::Tcp { host: "127.0.0.1".to_owned(), port: self.port },
            policy: "open".to_owned(),
            pipeline: depth,
            keys,
            key_prefix: "user".to_owned(),
            seed,
            duration: Some(SLICE),
            ..Settings::default()
        })?;
        let (begin, before) = (Instant::now(), ProcessorTime::of(self.process)?);
        let summary = run(&plan, &AtomicBool::new(false), |_| {})?;
        self.loaded += begin.elapsed();
        sleep(FLUSH);
        self.taken = self.taken.plus(ProcessorTime::of(self.process)?.minus(before));
        self.checks += summary.record.allowed();
        if !summary.is_clean() || summary.record.denied() > 0 {
            return Err(format!("{}: not every check was allowed", self.name).into());
        }
        Ok(())
    }

    fn line(&self) -> String {
        let cost = self.taken.times(1e6 / self.checks as f64);
        let rate = self.checks as f64 / self.loaded.as_secs_f64();
        let idle_percent = self.idle.all_s * 100.0;
        format!("{} {:.4} {:.4} {rate:.0} {idle_percent:.2}", self.name, cost.all_s, cost.data_s)
    }
}

/// Seconds that threads of a process have run for.
#[derive(Clone, Copy, Debug, Default)]
struct ProcessorTime {
    all_s: f64,
    data_s: f64,
}

impl ProcessorTime {
    fn of(process: u32) -> Fallible<Self> {
        let mut sum = Self::default();
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?.path();
            let text = fs::read_to_string(thread.join("schedstat"))?;
            let ns: f64 = text.split(' ').next().ok_or("an empty schedstat")?.parse()?;
            sum.all_s += ns / 1e9;
            if fs::read_to_string(thread.join("comm"))?.starts_with("data-") {
                sum.data_s += ns / 1e9;
            }
        }
        Ok(sum)
    }

    fn plus(self, other: Self) -> Self {
        Self { all_s: self.all_s + other.all_s, data_s: self.data_s + other.data_s }
    }

    fn minus(self, other: Self) -> Self {
        Self { all_s: self.all_s - other.all_s, data_s: self.data_s - other.data_s }
    }

    fn times(self, factor: f64) -> Self {
        Self { all_s: self.all_s * factor, data_s: self.data_s * factor }
    }
}

/// Notes what each takes while it has nothing to do.
fn watch_idle(contenders: &mut [Contender]) -> Fallible<()> {
    let times = |contenders: &[Contender]| -> Fallible<Vec<ProcessorTime>> {
        contenders.iter().map(|contender| ProcessorTime::of(contender.process)).collect()
    };
    let (begin, before) = (Instant::now(), times(contenders)?);
    sleep(IDLE);
    let (seconds, after) = (begin.elapsed().as_secs_f64(), times(contenders)?);
    for (contender, (before, after)) in contenders.iter_mut().zip(before.into_iter().zip(after)) {
        contender.idle = after.minus(before).times(1.0 / seconds);
    }
    Ok(())
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [depth, keys, seconds, contenders @ ..] = &arguments[..] else { return Err(USAGE.into()) };
    let (depth, keys) = (depth.parse()?, keys.parse()?);
    let length = Duration::from_secs(seconds.parse()?);
    let mut contenders = contenders.iter().map(|c| Contender::parse(c)).collect::<Fallible<Vec<_>>>()?;
    watch_idle(&mut contenders)?;
    let begin = Instant::now();
    for round in 0.. {
        if begin.elapsed() >= length {
            break;
        }
        // The same keys for all of a round; none has always the same neighbour.
        for contender in &mut contenders {
            contender.load(depth, keys, round)?;
            sleep(UNTIL_TOLD);
        }
        contenders.reverse();
    }
    contenders.iter().for_each(|contender| println!("{}", contender.line()));
    Ok(())
}
