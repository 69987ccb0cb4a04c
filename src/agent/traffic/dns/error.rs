//! What goes wrong with a DNS server, and what to do about it.

use std::fmt;

use domain::base::iana::Rcode;
use domain::tsig::ValidationError;

/// A DNS server that does not do what it should; the text ends with what to do next.
#[derive(Clone, Debug)]
pub struct DnsError {
    server: String,
    trouble: Trouble,
}

/// What is wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Nothing was sent.
    NotReached(String),
    /// Sent, but no answer came in time.
    NoAnswer,
    /// The answer is no DNS message, or not to what was asked.
    NotUnderstood(String),
    /// An answer code other than success.
    Refused(Rcode),
    /// The signature, or the server's opinion of ours.
    Tsig(ValidationError),
    /// It answers, but not for this zone.
    NotAuthoritative,
    /// The configuration names something that DNS cannot hold.
    NotValid(String),
}

impl DnsError {
    pub(in super::super) fn new(server: impl Into<String>, trouble: Trouble) -> Self {
        Self { server: server.into(), trouble }
    }

    /// What is wrong.
    #[must_use]
    pub const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Whether an update may have been done in spite of the error.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        use ValidationError::{ServerBadKey, ServerBadSig, ServerBadTime};
        match &self.trouble {
            Trouble::NoAnswer | Trouble::NotUnderstood(_) => true,
            Trouble::Refused(code) => code.to_int() == Rcode::SERVFAIL.to_int(),
            // An answer that cannot be believed says nothing, unless it only turns our signature down.
            Trouble::Tsig(ServerBadKey | ServerBadSig | ServerBadTime { .. }) => false,
            Trouble::Tsig(_) => true,
            Trouble::NotReached(_) | Trouble::NotAuthoritative | Trouble::NotValid(_) => false,
        }
    }

    fn advice(&self) -> &'static str {
        use ValidationError::{ServerBadKey, ServerBadSig, ServerBadTime, ServerUnsigned};
        match &self.trouble {
            Trouble::NotReached(_) => "Nothing was changed. Check its address, and firewalls for UDP and TCP",
            Trouble::NoAnswer => "An update may have been done: look with `dig` before you repeat it by hand",
            Trouble::NotUnderstood(_) => "Check that the address is that of the zone's DNS server",
            Trouble::NotAuthoritative => "Check that the server has this zone, and the zone's name",
            Trouble::NotValid(_) => "Correct it in the [agent] section",
            Trouble::Tsig(ServerBadKey) => {
                "It does not know the key: check the key's name and algorithm against the server's \
                 configuration"
            }
            Trouble::Tsig(ServerBadSig) => "The key's secret differs from the server's: copy it again",
            Trouble::Tsig(ServerBadTime { .. }) => {
                "The clocks are more than five minutes apart: set them by NTP"
            }
            Trouble::Tsig(ServerUnsigned) => {
                "Its answer is not signed, so it is not believed: check that the server knows the key, and \
                 that nothing answers in its place"
            }
            Trouble::Tsig(_) => {
                "Its answer's signature is wrong, so it is not believed: check who answers there"
            }
            Trouble::Refused(code) => match *code {
                Rcode::REFUSED => {
                    "Let this key change the record there (BIND: `update-policy` or `allow-update`)"
                }
                Rcode::NOTAUTH => {
                    "It is not the primary of this zone, or does not know the key: name the primary"
                }
                Rcode::NOTZONE => "The record is not in the zone: check both names",
                Rcode::SERVFAIL => "The server failed, see its log; the update may have been done",
                Rcode::NOTIMP => "It does not do dynamic updates: name the primary, or enable them",
                _ => "See the server's log for why",
            },
        }
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DNS server {}: ", self.server)?;
        match &self.trouble {
            Trouble::NotReached(why) => write!(f, "not reached ({why})")?,
            Trouble::NoAnswer => write!(f, "no answer in time")?,
            Trouble::NotUnderstood(why) => write!(f, "the answer cannot be understood ({why})")?,
            Trouble::Refused(code) => write!(f, "it answers {code}")?,
            Trouble::Tsig(why) => write!(f, "TSIG: {why}")?,
            Trouble::NotAuthoritative => write!(f, "it is not authoritative for the name")?,
            Trouble::NotValid(what) => write!(f, "{what}")?,
        }
        write!(f, ". {}", self.advice())
    }
}

impl std::error::Error for DnsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::rdata::tsig::Time48;

    #[test]
    fn every_trouble_says_what_to_do_and_whether_it_may_have_happened() {
        let time = Time48::from_u64(0);
        for (trouble, next, may_have_happened) in [
            (Trouble::NotReached("refused".to_owned()), "firewalls", false),
            (Trouble::NoAnswer, "look with `dig`", true),
            (Trouble::NotUnderstood("short".to_owned()), "Check that the address", true),
            (Trouble::NotAuthoritative, "has this zone", false),
            (Trouble::NotValid("`a..b` is no name".to_owned()), "[agent]", false),
            (Trouble::Tsig(ValidationError::ServerBadKey), "key's name", false),
            (Trouble::Tsig(ValidationError::ServerBadSig), "copy it again", false),
            (Trouble::Tsig(ValidationError::ServerBadTime { client: time, server: time }), "NTP", false),
            (Trouble::Tsig(ValidationError::ServerUnsigned), "not signed", true),
            (Trouble::Tsig(ValidationError::BadSig), "who answers", true),
            (Trouble::Refused(Rcode::REFUSED), "update-policy", false),
            (Trouble::Refused(Rcode::NOTAUTH), "primary", false),
            (Trouble::Refused(Rcode::NOTZONE), "both names", false),
            (Trouble::Refused(Rcode::SERVFAIL), "log", true),
            (Trouble::Refused(Rcode::NOTIMP), "dynamic updates", false),
            (Trouble::Refused(Rcode::FORMERR), "log", false),
        ] {
            let error = DnsError::new("192.0.2.53:53", trouble);
            assert!(error.to_string().contains(next), "{error}");
            assert_eq!(error.may_have_happened(), may_have_happened, "{error}");
        }
    }
}
