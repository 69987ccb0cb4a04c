//! Looks at all nodes of a region at the same time, so that a silent node does not delay one that answers.

use std::thread::Builder;

use crossbeam::channel::unbounded;

use crate::agent::signals::{Probe, Sight};

/// Runs all `probes` at once until one gets a 200 or all have ended. The others end by their own time limits;
/// nobody waits for them.
pub(super) fn look_until_good(probes: &[Probe]) -> Vec<(String, Sight)> {
    let (tell, told) = unbounded();
    for probe in probes {
        let (own, tell_own) = (probe.clone(), tell.clone());
        let look = move || {
            let sight = own.look();
            // Nobody may be waiting any more.
            let _ = tell_own.send((own.url.to_string(), sight));
        };
        if Builder::new().name("agent-look".to_owned()).spawn(look).is_err() {
            // Without a thread it is looked at from here.
            let _ = tell.send((probe.url.to_string(), probe.look()));
        }
    }
    drop(tell);
    let mut sights = Vec::with_capacity(probes.len());
    for (url, sight) in told {
        let is_good = sight.is_good();
        sights.push((url, sight));
        if is_good {
            break;
        }
    }
    sights
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::agent::signals::{ProbeUrl, Resolver, trust};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn probe(listener: &TcpListener) -> Probe {
        let url = ProbeUrl::new(&format!("http://{}/health", listener.local_addr().unwrap())).unwrap();
        Probe { url, resolver: Resolver::Host, tls: trust(None).unwrap(), token: None, timeout: PATIENCE }
    }

    #[test]
    fn nodes_that_are_silent_keep_none_that_answers_from_being_seen() {
        // They are connected to and never answer.
        let silent: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let probes: Vec<Probe> = silent.iter().chain([&good]).map(probe).collect();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = good.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        });
        let begun = Instant::now();
        let sights = look_until_good(&probes);
        assert!(begun.elapsed() < PATIENCE, "it waited for the silent ones");
        assert!(sights.len() == 1 && sights[0].1.is_good(), "{sights:?}");
        server.join().unwrap();
    }
}
