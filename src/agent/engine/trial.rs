//! Tries the public name as a client would: resolves it, asks for `/health`, then sends some load.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::checks::{Check, LoadSeen, TargetBars, check_load};
use crate::agent::signals::{Probe, Resolver, Sight};
use crate::load::{self, Plan, Settings, Target};

/// How often a name that still gives the old addresses is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How much longer than its TTL an old answer may live, since clocks and caches differ.
const BEYOND_TTL: Duration = Duration::from_secs(5);
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
    /// The longest wait for resolvers that still give the old addresses.
    pub patience: Duration,
}

/// Where the public name must lead, and where it led before.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// Values that are in service now; none where their provider hides them.
    pub(super) wanted: Vec<String>,
    /// Values that were in service before the switch.
    pub(super) before: Vec<String>,
    /// How long resolvers may keep those: the record's own, as it was found.
    pub(super) ttl: Duration,
}

/// How the name was reached, or was not.
struct Arrival {
    probe: Probe,
    sight: Sight,
    check: Check,
}

impl Trial {
    /// Tries it. `stop` ends it early.
    #[must_use]
    pub(super) fn run(&self, to: &Destination, bars: &TargetBars, stop: &AtomicBool) -> Vec<Check> {
        let Arrival { probe, sight, check } = self.arrive(to, stop);
        let mut checks = vec![check];
        let (true, Some(address)) = (checks[0].is_good, sight.address) else { return checks };
        match self.load(&probe, address, stop) {
            Ok(seen) => checks.extend(check_load(&seen, bars)),
            Err(why) => checks.push(Check { name: "load", is_good: false, detail: why }),
        }
        checks
    }

    /// Looks until the name leads where it should and answers 200, or patience ends. Where patience ends before the
    /// TTL, a resolver that still gives the past proves nothing: then the name is tried past it.
    fn arrive(&self, to: &Destination, stop: &AtomicBool) -> Arrival {
        let (patience, outlasts_ttl) = self.patience_for(to.ttl);
        let wanted = addresses_in(&to.wanted);
        let deadline = Instant::now() + patience;
        loop {
            let sight = self.probe.look();
            let leads_there =
                sight.address.is_none_or(|address| wanted.is_empty() || wanted.contains(&address.ip()));
            let is_good = sight.is_good() && leads_there;
            let is_stopped = stop.load(std::sync::atomic::Ordering::Relaxed);
            if is_good || is_stopped || Instant::now() >= deadline {
                let direct = if is_good || is_stopped || outlasts_ttl { None } else { self.past_caches(to) };
                return direct.unwrap_or_else(|| {
                    let at = place(sight.address);
                    let astray = if leads_there { "" } else { ", which is not where it should lead yet" };
                    let detail = format!("{} leads to {at}{astray}: {sight}", self.probe.url);
                    let check = Check { name: "public name", is_good, detail };
                    Arrival { probe: self.probe.clone(), sight, check }
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How long to wait for resolvers, and whether none of them may show the past after that.
    fn patience_for(&self, ttl: Duration) -> (Duration, bool) {
        let until_over = ttl.saturating_add(BEYOND_TTL);
        (until_over.min(self.patience), until_over <= self.patience)
    }

    /// The name tried at the wanted addresses, to which its zone's servers lead; `None` where the resolvers here do
    /// not give the past but something else.
    fn past_caches(&self, to: &Destination) -> Option<Arrival> {
        let url = &self.probe.url;
        let resolve = |name: &str| {
            let found = self.probe.resolver.addresses(name, url.port(), Instant::now() + self.probe.timeout);
            found.unwrap_or_default().into_iter().map(|address| address.ip()).collect::<Vec<IpAddr>>()
        };
        let shown = resolve(url.host());
        // The values of a CNAME are names of their own.
        let wanted: Vec<IpAddr> = to.wanted.iter().flat_map(|value| resolve(value)).collect();
        let known = [addresses_in(&to.before), addresses_in(&to.wanted)].concat();
        let is_past = known.is_empty() || shown.iter().all(|address| known.contains(address));
        if shown.is_empty() || wanted.is_empty() || !is_past {
            return None;
        }
        let probe = Probe { resolver: Resolver::Fixed(wanted.clone()), ..self.probe.clone() };
        let sight = probe.look();
        let is_there = sight.address.is_some_and(|address| wanted.contains(&address.ip()));
        let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
        let detail = format!(
            "{url} is {} to the resolvers here, which may keep that for {} s; at {}, where the servers of \
             its zone lead: {sight}",
            shown.join(", "),
            to.ttl.as_secs(),
            place(sight.address)
        );
        let check = Check { name: "public name", is_good: is_there && sight.is_good(), detail };
        Some(Arrival { probe, sight, check })
    }

    fn load(&self, probe: &Probe, address: SocketAddr, stop: &AtomicBool) -> Result<LoadSeen, String> {
        if probe.url.is_tls() { Ok(self.load_tls(probe, stop)) } else { self.load_plain(address, stop) }
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
    fn load_tls(&self, probe: &Probe, stop: &AtomicBool) -> LoadSeen {
        let end = Instant::now() + self.duration;
        let pause = Duration::from_secs(1) / self.rate_per_s.max(1);
        let (mut good, mut bad, mut latencies) = (0, 0, Vec::new());
        for number in 0..MAX_TLS_REQUESTS {
            let begun = Instant::now();
            if begun >= end || stop.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            let target = format!("/v1/check/{}/{}{}", self.policy, self.key_prefix, u64::from(number) % KEYS);
            let url = probe.url.with_target(&target);
            let sight = Probe { url, timeout: REQUEST_TIMEOUT, ..probe.clone() }.look();
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
}

fn addresses_in(values: &[String]) -> Vec<IpAddr> {
    values.iter().filter_map(|value| value.parse().ok()).collect()
}

fn place(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "nowhere".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::agent::signals::{ProbeUrl, trust};

    const TTL: Duration = Duration::from_secs(300);

    /// Answers 200 to whoever connects, until the test ends.
    fn serve(address: &str, port: u16) -> u16 {
        let listener = TcpListener::bind((address, port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        port
    }

    /// By a resolver that gives `shown`, as one does that keeps it.
    fn trial(port: u16, shown: &str) -> Trial {
        let probe = Probe {
            url: ProbeUrl::new(&format!("http://rates.example.com:{port}/health")).unwrap(),
            resolver: Resolver::Fixed(vec![shown.parse().unwrap()]),
            tls: trust(None).unwrap(),
            token: None,
            timeout: Duration::from_secs(5),
        };
        Trial {
            probe,
            policy: "api".to_owned(),
            key_prefix: "x-".to_owned(),
            rate_per_s: 1,
            duration: Duration::from_millis(200),
            patience: Duration::from_millis(1),
        }
    }

    fn arrival(trial: &Trial, before: &str, wanted: &str) -> Arrival {
        let to = Destination { wanted: vec![wanted.to_owned()], before: vec![before.to_owned()], ttl: TTL };
        trial.arrive(&to, &AtomicBool::new(false))
    }

    #[test]
    fn a_name_that_resolvers_keep_for_five_minutes_is_tried_where_its_zone_leads() {
        // The old region is dead, and then alive, as it is in maintenance.
        let port = serve("127.0.0.2", 0);
        for is_alive in [false, true] {
            if is_alive {
                serve("127.0.0.1", port);
            }
            let there = arrival(&trial(port, "127.0.0.1"), "127.0.0.1", "127.0.0.2");
            assert!(there.check.is_good, "{}", there.check.detail);
            assert!(there.check.detail.contains("keep that for 300 s"), "{}", there.check.detail);
            assert_eq!(there.sight.address.unwrap().to_string(), format!("127.0.0.2:{port}"));
            // The load goes there too.
            assert_eq!(there.probe.look().address, there.sight.address);
        }
    }

    #[test]
    fn a_name_that_leads_to_neither_or_to_nobody_who_answers_is_judged_failed() {
        let port = serve("127.0.0.2", 0);
        serve("127.0.0.3", port);
        let stranger = arrival(&trial(port, "127.0.0.3"), "127.0.0.1", "127.0.0.2");
        assert!(!stranger.check.is_good && stranger.check.detail.contains("not where it should lead"));
        let dead = arrival(&trial(port, "127.0.0.1"), "127.0.0.1", "127.0.0.4");
        assert!(!dead.check.is_good, "{}", dead.check.detail);
    }

    #[test]
    fn resolvers_are_waited_for_as_long_as_the_ttl_where_that_is_short() {
        let trial = Trial { patience: Duration::from_secs(35), ..trial(80, "127.0.0.1") };
        let waits = |ttl| trial.patience_for(Duration::from_secs(ttl));
        assert_eq!(waits(5), (Duration::from_secs(10), true));
        assert_eq!(waits(30), (Duration::from_secs(35), true));
        assert_eq!(waits(31), (Duration::from_secs(35), false));
    }
}
