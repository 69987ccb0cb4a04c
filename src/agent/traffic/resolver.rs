//! What the world sees: the public name, asked of the zone's own servers.
//!
//! A resolver's cache would show the past. The zone's servers show what every resolver will get next.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use domain::base::iana::Rtype;

use super::dns::{
    Answer, DnsError, Trouble, addresses, data_of, name_of, query, query_udp_then_tcp, read_addresses,
    read_answer,
};
use super::{TrafficError, Visibility, differences};
use crate::agent::types::RecordState;
use domain::base::rdata::RecordData as _;

/// No zone needs more; a broken delegation may name any number.
const MAX_SERVERS: usize = 16;
/// Labels of a name that is looked for up to the root.
const MAX_LABELS: usize = 32;
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// How the public name is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicView {
    /// Servers to ask, as `address`, `name` or either with `:port`. When empty, those of the zone's NS
    /// records, found by the resolvers of this host.
    pub servers: Vec<String>,
    /// For each question.
    pub timeout: Duration,
}

impl PublicView {
    /// Asks every server for `wanted`. Those that cannot be reached do not count, as long as one can:
    /// a server in the region that is down must not keep traffic there.
    pub fn look(&self, wanted: &RecordState) -> Result<Visibility, TrafficError> {
        let kind = data_of(&wanted.kind, wanted.values.first().map_or("", String::as_str))?.rtype();
        let servers = self.authorities(&wanted.name)?;
        let answers = all_at_once(&servers, |server| self.ask(*server, &wanted.name, kind, false));
        let (mut shown, mut behind, mut unreached) = (0, Vec::new(), None);
        for (server, answer) in servers.iter().zip(answers) {
            match answer {
                Ok(answer) => match lacks(wanted, &answer) {
                    None => shown += 1,
                    Some(why) => behind.push(format!("{server}: {why}")),
                },
                Err(error) => unreached = Some(error),
            }
        }
        match unreached {
            _ if !behind.is_empty() => Ok(Visibility::Pending(behind.join("; "))),
            Some(error) if shown == 0 => Err(error.into()),
            _ => Ok(Visibility::Shown),
        }
    }

    fn authorities(&self, name: &str) -> Result<Vec<SocketAddr>, DnsError> {
        let names = if self.servers.is_empty() { self.find_authorities(name)? } else { self.servers.clone() };
        let mut list = Vec::new();
        let mut last = DnsError::new(name, Trouble::NotReached("its zone names no servers".to_owned()));
        let names = &names[..names.len().min(MAX_SERVERS)];
        for found in all_at_once(names, |name| addresses(name)) {
            match found {
                Ok(found) => list.extend(found),
                Err(error) => last = error,
            }
        }
        list.truncate(MAX_SERVERS);
        if list.is_empty() { Err(last) } else { Ok(list) }
    }

    /// The NS records of the closest zone above `name`.
    fn find_authorities(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let text = fs::read_to_string(RESOLVER_FILE).unwrap_or_default();
        let mut last = DnsError::new(RESOLVER_FILE, Trouble::NotReached("it names no server".to_owned()));
        for resolver in resolvers(&text) {
            let mut zone = name.trim_end_matches('.');
            for _ in 0..MAX_LABELS {
                match self.ask(resolver, zone, Rtype::NS, true) {
                    Ok(answer) if !answer.values.is_empty() => return Ok(answer.values),
                    Ok(_) => {}
                    Err(error) => {
                        last = error;
                        break;
                    }
                }
                match zone.split_once('.') {
                    Some((_, parent)) => zone = parent,
                    None => break,
                }
            }
        }
        Err(last)
    }

    fn ask(&self, server: SocketAddr, name: &str, kind: Rtype, recursive: bool) -> Result<Answer, DnsError> {
        let name = name_of(name)?;
        let too_long =
            |_| DnsError::new(server.to_string(), Trouble::NotValid("the name is too long".to_owned()));
        let request = query(&name, kind, recursive).map_err(too_long)?.finish();
        let message = query_udp_then_tcp(server, &request, self.timeout)?;
        read_answer(&server.to_string(), &message, &name, kind)
    }
}

/// `ask` of each, in order, all at the same time: one that is silent delays no other, and all of them take no longer
/// than one.
fn all_at_once<T: Sync, R: Send>(those: &[T], ask: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let ask = &ask;
    thread::scope(|scope| {
        let begin = |one| {
            let asked =
                thread::Builder::new().name("agent-dns".to_owned()).spawn_scoped(scope, move || ask(one));
            // Without a thread it is asked from here.
            asked.map_err(|_| ask(one))
        };
        let begun: Vec<_> = those.iter().map(begin).collect();
        let end = |asked: Result<thread::ScopedJoinHandle<'_, R>, R>| match asked {
            Ok(asked) => asked.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(answer) => answer,
        };
        begun.into_iter().map(end).collect()
    })
}

/// The addresses of `name` as `server` gives them, IPv4 first, within `timeout`. A CNAME is followed as far
/// as the server's answer follows it.
///
/// # Errors
/// When the server says nothing that can be used.
pub fn resolve(server: &str, name: &str, timeout: Duration) -> Result<Vec<IpAddr>, DnsError> {
    let owner = name_of(name)?;
    let not_reached = || DnsError::new(server, Trouble::NotReached("it has no address".to_owned()));
    let address = addresses(server)?.into_iter().next().ok_or_else(not_reached)?;
    let ask = |kind| {
        let too_long =
            |_| DnsError::new(address.to_string(), Trouble::NotValid("the name is too long".to_owned()));
        let request = query(&owner, kind, true).map_err(too_long)?.finish();
        let message = query_udp_then_tcp(address, &request, timeout / 2)?;
        read_addresses(&address.to_string(), &message)
    };
    let (v4, v6) = (ask(Rtype::A), ask(Rtype::AAAA));
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok([v4, v6].concat()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// In what `answer` falls short of `wanted`.
fn lacks(wanted: &RecordState, answer: &Answer) -> Option<String> {
    if !answer.is_authoritative {
        return Some("it is not authoritative".to_owned());
    }
    let found =
        RecordState { values: answer.values.clone(), weights: Vec::new(), proxied: None, ..wanted.clone() };
    let serving = |at: usize| wanted.weights.get(at).is_none_or(|weight| *weight > 0);
    let values =
        wanted.values.iter().enumerate().filter(|(at, _)| serving(*at)).map(|(_, value)| value.clone());
    let expected =
        RecordState { values: values.collect(), weights: Vec::new(), proxied: None, ..wanted.clone() };
    // Weighted sets answer with one of those that take traffic.
    let one_of = |value: &String| {
        let alone = RecordState { values: vec![value.clone()], ..expected.clone() };
        differences(&alone, &found).is_empty()
    };
    if !wanted.weights.is_empty() && expected.values.iter().any(one_of) {
        return None;
    }
    let list = differences(&expected, &found);
    (!list.is_empty()).then(|| list.join("; "))
}

/// The `nameserver` lines of a resolv.conf(5).
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|address| addresses(address.trim()).ok()).flatten().take(3).collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn wanted(values: &[&str], weights: &[u32]) -> RecordState {
        RecordState {
            name: "www.example.com".to_owned(),
            kind: "A".to_owned(),
            ttl_s: 30,
            values: values.iter().map(ToString::to_string).collect(),
            proxied: None,
            weights: weights.to_vec(),
        }
    }

    fn answer(values: &[&str]) -> Answer {
        let values = values.iter().map(ToString::to_string).collect();
        Answer { is_authoritative: true, values, ttl_s: 30 }
    }

    #[test]
    fn an_answer_shows_a_record_when_it_has_exactly_its_values() {
        let both = wanted(&["192.0.2.1", "192.0.2.2"], &[]);
        assert_eq!(lacks(&both, &answer(&["192.0.2.2", "192.0.2.1"])), None);
        assert!(lacks(&both, &answer(&["192.0.2.1"])).is_some());
        assert!(lacks(&both, &answer(&[])).unwrap().contains("nothing"));
        let cached = Answer { is_authoritative: false, ..answer(&["192.0.2.1", "192.0.2.2"]) };
        assert!(lacks(&both, &cached).is_some());
    }

    #[test]
    fn a_weighted_answer_is_one_of_those_that_take_traffic() {
        let weighted = wanted(&["192.0.2.1", "192.0.2.2"], &[0, 255]);
        assert_eq!(lacks(&weighted, &answer(&["192.0.2.2"])), None);
        assert!(lacks(&weighted, &answer(&["192.0.2.1"])).is_some());
    }

    /// `request` with one address in its answer section, as an authority sends it.
    fn authoritative(request: &[u8]) -> Vec<u8> {
        const RESPONSE_AND_AUTHORITATIVE: u8 = 0x84;
        // The name of the question, A, IN, 30 s, four bytes.
        const ANSWER: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1];
        let mut message = [request, &ANSWER].concat();
        (message[2], message[7]) = (RESPONSE_AND_AUTHORITATIVE, 1);
        message
    }

    #[test]
    fn a_server_that_is_slow_delays_no_other() {
        let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let servers = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect();
        // None answers before all were asked.
        let answering = thread::spawn(move || {
            let asked = sockets.map(|socket| {
                let mut request = [0; 512];
                let (length, from) = socket.recv_from(&mut request).unwrap();
                (socket, request[..length].to_vec(), from)
            });
            for (socket, request, from) in asked {
                socket.send_to(&authoritative(&request), from).unwrap();
            }
        });
        let view = PublicView { servers, timeout: Duration::from_secs(5) };
        assert_eq!(view.look(&wanted(&["192.0.2.1"], &[])).unwrap(), Visibility::Shown);
        answering.join().unwrap();
    }

    #[test]
    fn resolvers_are_read_from_their_lines() {
        let text =
            "# local\nsearch a.example\nnameserver 192.0.2.53\n nameserver ::1\nnameserver not an address\n";
        let expected: Vec<SocketAddr> = vec!["192.0.2.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(resolvers(text), expected);
    }
}
