//! What a run is to do: settings as they are given, and the plan, which is settings that can be run.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::keys::{Distribution, MAX_DECIMALS};
use crate::bind::MAX_SOCKET_PATH_BYTES;

/// Most connections of a run.
pub const MAX_CONNECTIONS: u32 = 65_536;
/// Most requests under way on one connection.
pub const MAX_PIPELINE: u32 = 1024;
/// Most threads.
pub const MAX_THREADS: u32 = 256;
/// Most requests a second that can be asked for.
pub const MAX_RATE: u64 = 100_000_000;
/// Most keys: each is told apart by the generator's floating-point numbers.
pub const MAX_KEYS: u64 = 1 << 40;
/// The longest run.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 86_400);
/// The longest time-out.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest host name, and a port.
const MAX_HOST_BYTES: usize = 260;
/// The longest key that the server takes.
const MAX_KEY_BYTES: usize = 512;
/// The longest name of a policy that is put in a request.
const MAX_POLICY_BYTES: usize = 256;

/// The server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host and a port, over TCP.
    Tcp {
        /// A name or an address, the latter without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix stream socket at a path.
    Unix(PathBuf),
}

/// Why a text names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No scheme that is known.
    #[error("begin with `http://` for TCP or `unix:` for a socket path")]
    Scheme,
    /// TLS.
    #[error("TLS is not spoken: name the plain HTTP address of the server")]
    Tls,
    /// A path or a query.
    #[error("only a host and a port are taken; the path is made from policy and key")]
    Path,
    /// No host, or one that cannot be.
    #[error("the host is missing or malformed")]
    Host,
    /// No port number.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// An empty socket path.
    #[error("the socket path is missing")]
    SocketPath,
    /// A socket path that no socket can have.
    #[error("the socket path has {0} bytes; the most is {MAX_SOCKET_PATH_BYTES}")]
    SocketPathLength(usize),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err(TargetError::SocketPath),
                1..=MAX_SOCKET_PATH_BYTES => Ok(Self::Unix(path.into())),
                bytes => Err(TargetError::SocketPathLength(bytes)),
            };
        }
        if text.starts_with("https://") {
            return Err(TargetError::Tls);
        }
        let rest = text.strip_prefix("http://").ok_or(TargetError::Scheme)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(TargetError::Path);
        }
        let (host, port) = split_authority(authority)?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(TargetError::Host);
        }
        let port = port.map_or(Ok(80), str::parse).map_err(|_| TargetError::Port)?;
        if port == 0 { Err(TargetError::Port) } else { Ok(Self::Tcp { host: host.to_owned(), port }) }
    }
}

/// Host, without brackets, and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_authority(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    let Some(rest) = authority.strip_prefix('[') else {
        return match authority.split_once(':') {
            Some((host, port)) => Ok((host, Some(port))),
            None => Ok((authority, None)),
        };
    };
    let (host, after) = rest.split_once(']').ok_or(TargetError::Host)?;
    match after.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if after.is_empty() => Ok((host, None)),
        None => Err(TargetError::Host),
    }
}

impl Target {
    /// The value of the `Host` field.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Settings of a run, as they are given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub target: Target,
    /// The value of the `Host` field, where it is not that of the target.
    pub host: Option<String>,
    /// The policy to ask for.
    pub policy: String,
    /// Connections, of all threads together: 1 to [`MAX_CONNECTIONS`].
    pub connections: u32,
    /// Requests under way on a connection at one time: 1 to [`MAX_PIPELINE`].
    pub pipeline: u32,
    /// Requests a second, sent at their times whatever the server does (open loop). Without it each
    /// connection asks again when it is answered (closed loop).
    pub rate: Option<u64>,
    /// How long requests are sent.
    pub duration: Option<Duration>,
    /// How many requests are sent, at most.
    pub requests: Option<u64>,
    /// Different keys: 1 to [`MAX_KEYS`].
    pub keys: u64,
    /// How often each key is asked for.
    pub distribution: Distribution,
    /// What all keys begin with.
    pub key_prefix: String,
    /// Tokens of a request.
    pub cost: u64,
    /// Threads: 1 to [`MAX_THREADS`], and no more than connections.
    pub threads: u32,
    /// Whether each thread keeps to a core of its own, the last core first.
    pub pin: bool,
    /// Where the pseudo-random keys start.
    pub seed: u64,
    /// How long an answer, or a connection, may take: a millisecond to [`MAX_TIMEOUT`].
    pub timeout: Duration,
    /// Failures in a row after which a connection is given up; each is waited after for longer, from
    /// 10 ms to a second.
    pub attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target: Target::Tcp { host: "127.0.0.1".to_owned(), port: 8080 },
            host: None,
            policy: "default".to_owned(),
            connections: 64,
            pipeline: 1,
            rate: None,
            duration: Some(Duration::from_secs(10)),
            requests: None,
            keys: 10_000,
            distribution: Distribution::Uniform,
            key_prefix: "load-".to_owned(),
            cost: 1,
            threads: 1,
            pin: false,
            seed: 1,
            timeout: Duration::from_secs(5),
            attempts: 10,
        }
    }
}

/// Why settings cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number outside its range.
    #[error("{name} is {value}, which is not between {least} and {most}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The least it can be.
        least: u64,
        /// The most it can be.
        most: u64,
    },
    /// A time outside its range.
    #[error("{name} is {value:?}, which is not between {least:?} and {most:?}")]
    TimeOutOfRange {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: Duration,
        /// The least it can be.
        least: Duration,
        /// The most it can be.
        most: Duration,
    },
    /// A thread without a connection.
    #[error("there are {threads} threads and {connections} connections: give each thread one")]
    IdleThreads {
        /// Threads.
        threads: u32,
        /// Connections.
        connections: u32,
    },
    /// Neither a duration nor a number of requests.
    #[error("the run would not end: give a duration or a number of requests")]
    Endless,
    /// An empty or overlong text.
    #[error("{name} has {bytes} bytes, which is not between {least} and {most}")]
    Length {
        /// The setting.
        name: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The least it can have.
        least: usize,
        /// The most it can have.
        most: usize,
    },
}

/// Settings that can be run.
#[derive(Clone, Debug)]
pub struct Plan(Settings);

impl Plan {
    /// Checks settings.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn new(settings: Settings) -> Result<Self, PlanError> {
        let s = &settings;
        let mut numbers = vec![
            ("connections", u64::from(s.connections), 1, u64::from(MAX_CONNECTIONS)),
            ("pipeline", u64::from(s.pipeline), 1, u64::from(MAX_PIPELINE)),
            ("threads", u64::from(s.threads), 1, u64::from(MAX_THREADS)),
            ("keys", s.keys, 1, MAX_KEYS),
            ("cost", s.cost, 0, 1 << 31),
            ("attempts", u64::from(s.attempts), 1, 1000),
        ];
        numbers.extend(s.rate.map(|rate| ("rate", rate, 1, MAX_RATE)));
        numbers.extend(s.requests.map(|requests| ("requests", requests, 1, u64::MAX)));
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return Err(PlanError::OutOfRange { name, value, least, most });
            }
        }
        s.check_times()?;
        s.check_texts()?;
        if s.threads > s.connections {
            return Err(PlanError::IdleThreads { threads: s.threads, connections: s.connections });
        }
        Ok(Self(settings))
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.0
    }

    /// Connections of thread `number`.
    pub(super) const fn connections_of(&self, number: u32) -> u32 {
        let Settings { connections, threads, .. } = self.0;
        connections / threads + (number < connections % threads) as u32
    }

    /// The most requests that thread `number` sends.
    pub(super) fn requests_of(&self, number: u32) -> u64 {
        let (number, threads) = (u64::from(number), u64::from(self.0.threads));
        self.0.requests.map_or(u64::MAX, |all| all / threads + u64::from(number < all % threads))
    }
}

impl Settings {
    fn check_times(&self) -> Result<(), PlanError> {
        let mut times = vec![("timeout", self.timeout, Duration::from_millis(1), MAX_TIMEOUT)];
        times.extend(self.duration.map(|d| ("duration", d, Duration::from_millis(1), MAX_DURATION)));
        for (name, value, least, most) in times {
            if !(least..=most).contains(&value) {
                return Err(PlanError::TimeOutOfRange { name, value, least, most });
            }
        }
        if self.duration.is_none() && self.requests.is_none() {
            return Err(PlanError::Endless);
        }
        Ok(())
    }

    fn check_texts(&self) -> Result<(), PlanError> {
        let host = self.host.as_deref().unwrap_or("-");
        let texts = [
            ("host", host.len(), 1, MAX_HOST_BYTES),
            ("policy", self.policy.len(), 1, MAX_POLICY_BYTES),
            ("key prefix", self.key_prefix.len(), 0, MAX_KEY_BYTES - MAX_DECIMALS),
        ];
        for (name, bytes, least, most) in texts {
            if !(least..=most).contains(&bytes) {
                return Err(PlanError::Length { name, bytes, least, most });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_a_port_or_a_socket_path() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://rates.example/", "http://rates.example:80"),
            ("http://[::1]:81", "http://[::1]:81"),
            ("http://[::1]", "http://[::1]:80"),
            ("unix:/run/check.sock", "unix:/run/check.sock"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        assert_eq!("http://[::1]".parse(), Ok(Target::Tcp { host: "::1".to_owned(), port: 80 }));
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_reason() {
        for (text, reason) in [
            ("127.0.0.1:8080", TargetError::Scheme),
            ("https://a", TargetError::Tls),
            ("http://a/v1/check", TargetError::Path),
            ("http://", TargetError::Host),
            ("http://:80", TargetError::Host),
            ("http://a b", TargetError::Host),
            ("http://a\r\nX: y", TargetError::Host),
            ("http://user@a", TargetError::Host),
            ("http://[::1", TargetError::Host),
            ("http://[::1]81", TargetError::Host),
            ("http://a:0", TargetError::Port),
            ("http://a:65536", TargetError::Port),
            ("http://::1", TargetError::Host),
            ("unix:", TargetError::SocketPath),
        ] {
            assert_eq!(text.parse::<Target>(), Err(reason), "{text}");
        }
    }

    fn refusal(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        Plan::new(settings).unwrap_err().to_string()
    }

    #[test]
    fn settings_outside_their_range_are_refused_by_name() {
        assert!(Plan::new(Settings::default()).is_ok());
        assert!(refusal(|s| s.connections = 0).contains("connections is 0"));
        assert!(refusal(|s| s.pipeline = 1025).contains("between 1 and 1024"));
        assert!(refusal(|s| s.rate = Some(0)).contains("rate is 0"));
        assert!(refusal(|s| s.keys = 0).contains("keys is 0"));
        assert!(refusal(|s| s.timeout = Duration::ZERO).contains("timeout is 0ns"));
        assert!(refusal(|s| s.duration = None).contains("would not end"));
        assert!(refusal(|s| s.threads = 65).contains("65 threads and 64 connections"));
        assert!(refusal(|s| s.policy.clear()).contains("policy has 0 bytes"));
        assert!(refusal(|s| s.key_prefix = "x".repeat(493)).contains("key prefix has 493 bytes"));
    }

    #[test]
    fn threads_share_connections_and_requests_without_loss() {
        let settings = Settings { connections: 11, threads: 4, requests: Some(10), ..Settings::default() };
        let plan = Plan::new(settings).unwrap();
        let connections: Vec<u32> = (0..4).map(|thread| plan.connections_of(thread)).collect();
        let requests: Vec<u64> = (0..4).map(|thread| plan.requests_of(thread)).collect();
        assert_eq!((connections, requests), (vec![3, 3, 3, 2], vec![3, 3, 2, 2]));
    }
}
