//! The public name tried as a client would: resolved, asked for `/health`, then loaded a little.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::checks::{Check, LoadSeen, TargetBars, check_load};
use crate::agent::signals::{Probe, ProbeUrl, Sight};
use crate::load::{self, Plan, Settings, Target};

/// Between two looks at a name that still shows the past.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long one request of the synthetic load may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECTIONS: u32 = 4;
/// Keys of the synthetic load: few, so that they take little of the table.
const KEYS: u64 = 16;
/// Requests over TLS, each on a connection of its own, are no more than this.
const MAX_TLS_REQUESTS: u32 = 200;

/// How the public name is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// `/health` under the public name.
    pub probe: Probe,
    /// Whose buckets the load asks for.
    pub policy: String,
    /// What its keys begin with.
    pub key_prefix: String,
    /// Requests a second.
    pub rate_per_s: u32,
    /// For this long.
    pub duration: Duration,
    /// How long resolvers may show the past.
    pub patience: Duration,
}

impl Trial {
    /// Tries it; `values` are the addresses that the name must lead to, none where its provider hides them.
    /// `stop` ends it early.
    #[must_use]
    pub(super) fn run(&self, values: &[String], bars: &TargetBars, stop: &AtomicBool) -> Vec<Check> {
        let (sight, check) = self.arrive(values, stop);
        let mut checks = vec![check];
        let (true, Some(address)) = (checks[0].is_good, sight.address) else { return checks };
        match self.load(address, stop) {
            Ok(seen) => checks.extend(check_load(&seen, bars)),
            Err(why) => checks.push(Check { name: "load", is_good: false, detail: why }),
        }
        checks
    }

    /// Looks until the name leads to one of `values` and answers 200, or patience ends.
    fn arrive(&self, values: &[String], stop: &AtomicBool) -> (Sight, Check) {
        let wanted: Vec<IpAddr> = values.iter().filter_map(|value| value.parse().ok()).collect();
        let deadline = Instant::now() + self.patience;
        loop {
            let sight = self.probe.look();
            let leads_there =
                sight.address.is_none_or(|address| wanted.is_empty() || wanted.contains(&address.ip()));
            let is_good = sight.is_good() && leads_there;
            if is_good || Instant::now() >= deadline || stop.load(std::sync::atomic::Ordering::Relaxed) {
                let at = sight.address.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
                let astray = if leads_there { "" } else { ", which is not where it should lead yet" };
                let detail = format!("{} leads to {at}{astray}: {sight}", self.probe.url);
                return (sight, Check { name: "public name", is_good, detail });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn load(&self, address: SocketAddr, stop: &AtomicBool) -> Result<LoadSeen, String> {
        if self.probe.url.is_tls() { Ok(self.load_tls(stop)) } else { self.load_plain(address, stop) }
    }

    /// By the load generator, at the address that the public name gave a moment ago, under that name.
    fn load_plain(&self, address: SocketAddr, stop: &AtomicBool) -> Result<LoadSeen, String> {
        let settings = Settings {
            target: Target::Tcp { host: address.ip().to_string(), port: address.port() },
            host: Some(self.probe.url.authority()),
            policy: self.policy.clone(),
            connections: CONNECTIONS,
            rate: Some(u64::from(self.rate_per_s)),
            duration: Some(self.duration),
            keys: KEYS,
            key_prefix: self.key_prefix.clone(),
            timeout: REQUEST_TIMEOUT,
            attempts: 3,
            ..Settings::default()
        };
        let plan = Plan::new(settings).map_err(|error| error.to_string())?;
        let summary = load::run(&plan, stop, |_| {}).map_err(|error| error.to_string())?;
        let good = summary.record.allowed() + summary.record.denied();
        Ok(LoadSeen { good, bad: summary.record.errors() + summary.unsent, p99: summary.latency(0.99) })
    }

    /// Over TLS: one request after the other, each resolved and connected anew as a client would be.
    fn load_tls(&self, stop: &AtomicBool) -> LoadSeen {
        let end = Instant::now() + self.duration;
        let pause = Duration::from_secs(1) / self.rate_per_s.max(1);
        let (mut good, mut bad, mut latencies) = (0, 0, Vec::new());
        for number in 0..MAX_TLS_REQUESTS {
            let begun = Instant::now();
            if begun >= end || stop.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            let target = format!("/v1/check/{}/{}{}", self.policy, self.key_prefix, u64::from(number) % KEYS);
            let sight =
                Probe { url: self.url(&target), timeout: REQUEST_TIMEOUT, ..self.probe.clone() }.look();
            match &sight.seen {
                Ok(answer) if matches!(answer.status, 200 | 429) => good += 1,
                _ => bad += 1,
            }
            let timings = sight.timings;
            latencies.push(timings.total.saturating_sub(timings.resolve + timings.connect + timings.tls));
            std::thread::sleep(pause.saturating_sub(begun.elapsed()));
        }
        latencies.sort_unstable();
        let at = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
        LoadSeen { good, bad, p99: latencies.get(at).copied().unwrap_or_default() }
    }

    fn url(&self, target: &str) -> ProbeUrl {
        self.probe.url.with_target(target)
    }
}
