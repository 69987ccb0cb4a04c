//! What went wrong with a call, whether it had an effect, and what the person on call does next.

use std::fmt;
use std::time::Duration;

/// Who is called, as errors speak of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, as people say it.
    pub name: &'static str,
    /// What is renewed, and where, when the credential is refused.
    pub credential: &'static str,
    /// Where it reports its own troubles.
    pub status_page: Option<&'static str>,
    /// What the body of a 400 holds when it means "too many calls".
    pub throttle_marks: &'static [&'static str],
}

/// What a failed call did at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was not sent, or was refused.
    None,
    /// Nobody knows until it is looked at.
    Unknown,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, so nothing was sent.
    NotSent(String),
    /// The other end is not who it should be, so nothing was sent.
    Untrusted(String),
    /// No answer in time.
    TimedOut,
    /// The connection ended before the answer did.
    Broken(String),
    /// Answered, but not with success.
    Status {
        /// The HTTP status.
        code: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// What it says, shortened.
        excerpt: String,
    },
    /// The answer is longer than this many bytes.
    TooLarge(u64),
    /// The answer does not have the form it should have.
    NotUnderstood(String),
}

impl Failure {
    /// Whether the call may have changed something.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NotSent(_) | Self::Untrusted(_) => Effect::None,
            // A gateway's 5xx or time-out says nothing of what is behind it.
            Self::Status { code: 408 | 500..=599, .. } => Effect::Unknown,
            Self::Status { .. } => Effect::None,
            Self::TimedOut | Self::Broken(_) | Self::TooLarge(_) | Self::NotUnderstood(_) => Effect::Unknown,
        }
    }

    /// How long whoever answered asks to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "no connection ({why})"),
            Self::Untrusted(why) => write!(f, "its certificate is not trusted ({why})"),
            Self::TimedOut => write!(f, "no answer in time"),
            Self::Broken(why) => write!(f, "the connection broke before the answer came ({why})"),
            Self::Status { code, excerpt, .. } if excerpt.is_empty() => write!(f, "HTTP {code}"),
            Self::Status { code, excerpt, .. } => write!(f, "HTTP {code}, {excerpt}"),
            Self::TooLarge(limit) => write!(f, "the answer is longer than {limit} bytes"),
            Self::NotUnderstood(why) => write!(f, "the answer cannot be understood ({why})"),
        }
    }
}

/// A call that failed; its text ends with what to do next.
#[derive(Clone, PartialEq, Eq)]
pub struct CallError {
    service: &'static Service,
    call: String,
    failure: Failure,
}

impl CallError {
    /// A failure of `call`, which is a method and a URL without secrets.
    #[must_use]
    pub fn new(service: &'static Service, call: impl Into<String>, failure: Failure) -> Self {
        Self { service, call: call.into(), failure }
    }

    /// How it failed.
    #[must_use]
    pub const fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Whether the call may have changed something.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.failure.effect()
    }

    /// The HTTP status, when one came.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self.failure {
            Failure::Status { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, call, failure } = self;
        let advice = advice(service, failure, call.starts_with("GET "));
        write!(f, "{} does not do {call}: {failure}. {advice}", service.name)
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallError({self})")
    }
}

impl std::error::Error for CallError {}

fn advice(service: &Service, failure: &Failure, is_read: bool) -> String {
    let Service { name, credential, .. } = service;
    match failure {
        Failure::NotSent(_) => "Nothing was changed. Check network, DNS, proxy and firewall of this host \
             towards it"
            .to_owned(),
        Failure::Untrusted(_) => "Nothing was changed. Check the clock of this host, the base URL and \
             `ca_file`; a proxy that opens TLS needs its CA there"
            .to_owned(),
        Failure::TimedOut | Failure::Broken(_) => in_trouble(service, is_read),
        Failure::TooLarge(_) | Failure::NotUnderstood(_) => {
            format!("Check that the base URL is that of {name} and that no proxy answers in its place")
        }
        Failure::Status { code, retry_after, .. } => match (code, retry_after) {
            (300..=399, _) => "The base URL redirects: set it to where it leads".to_owned(),
            (401 | 403, _) => format!("The credential was refused: {credential}"),
            (404 | 410, _) => "What the configuration names is not there, or the credential may not see it: \
                 check names and ids in the [agent] section"
                .to_owned(),
            (409 | 412, _) => "Somebody else changed it at the same time: look at it and decide".to_owned(),
            (429, Some(wait)) => format!("Too many calls: it may be tried again in {} s", wait.as_secs()),
            (429, None) => "Too many calls: wait a minute, and see who else uses this credential".to_owned(),
            (408 | 500..=599, _) => in_trouble(service, is_read),
            _ => "It was refused as it is, so repeating it is useless: check the [agent] section against \
                 what it says"
                .to_owned(),
        },
    }
}

fn in_trouble(service: &Service, is_read: bool) -> String {
    let Service { name, status_page, .. } = service;
    let effect = if is_read { "" } else { "It may have taken effect: look before you repeat it by hand. " };
    match status_page {
        Some(page) => format!("{effect}If it lasts, {name} may be in trouble: {page}"),
        None => format!("{effect}If it lasts, look at {name} itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service = Service {
        name: "Zone Keeper",
        credential: "renew the token in token_file",
        status_page: Some("https://status"),
        throttle_marks: &[],
    };

    fn text(failure: Failure) -> String {
        CallError::new(&SERVICE, "PUT https://a/b", failure).to_string()
    }

    #[test]
    fn a_read_is_not_said_to_have_taken_effect() {
        for failure in [Failure::TimedOut, Failure::Broken("reset".to_owned())] {
            let text = CallError::new(&SERVICE, "GET https://a/b", failure).to_string();
            assert!(!text.contains("taken effect") && text.contains("https://status"), "{text}");
        }
    }

    #[test]
    fn every_failure_says_what_to_do_next() {
        let status = |code, retry_after| Failure::Status { code, retry_after, excerpt: "why".to_owned() };
        for (failure, next) in [
            (Failure::NotSent("refused".to_owned()), "Nothing was changed. Check network"),
            (Failure::Untrusted("expired".to_owned()), "`ca_file`"),
            (Failure::TimedOut, "look before you repeat"),
            (Failure::Broken("reset".to_owned()), "https://status"),
            (Failure::TooLarge(5), "base URL"),
            (Failure::NotUnderstood("no JSON".to_owned()), "base URL"),
            (status(302, None), "redirects"),
            (status(400, None), "[agent] section"),
            (status(401, None), "renew the token in token_file"),
            (status(403, None), "renew the token in token_file"),
            (status(404, None), "names and ids"),
            (status(409, None), "Somebody else"),
            (status(429, None), "wait a minute"),
            (status(429, Some(Duration::from_secs(7))), "in 7 s"),
            (status(500, None), "https://status"),
        ] {
            let text = text(failure);
            assert!(text.starts_with("Zone Keeper does not do PUT https://a/b: "), "{text}");
            assert!(text.contains(next), "{text} lacks {next}");
        }
    }

    #[test]
    fn only_what_was_not_sent_or_was_refused_had_no_effect() {
        let status = |code| Failure::Status { code, retry_after: None, excerpt: String::new() };
        for (failure, effect) in [
            (Failure::NotSent(String::new()), Effect::None),
            (Failure::Untrusted(String::new()), Effect::None),
            (status(400), Effect::None),
            (status(429), Effect::None),
            (status(408), Effect::Unknown),
            (status(502), Effect::Unknown),
            (Failure::TimedOut, Effect::Unknown),
            (Failure::Broken(String::new()), Effect::Unknown),
            (Failure::NotUnderstood(String::new()), Effect::Unknown),
        ] {
            assert_eq!(failure.effect(), effect, "{failure:?}");
        }
    }
}
