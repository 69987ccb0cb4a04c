//! Dynamic updates (RFC 2136) signed by TSIG (RFC 8945): BIND, Knot, PowerDNS.
//!
//! The comparison is done by the server: an update has the expected records as its prerequisite, so
//! between reading and writing nobody can slip in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::{AdditionalBuilder, PushError};
use domain::base::rdata::{RecordData as _, UnknownRecordData};
use domain::base::{Message, MessageBuilder, Name, Rtype, Ttl};
use domain::rdata::tsig::Time48;
use domain::tsig::{Algorithm, ClientTransaction, Key, KeyName};

use super::dns::{
    Data, DnsError, Transport, Trouble, addresses, data_of, exchange, name_of, query, read_answer,
};
use super::{PublicView, TrafficError, TrafficProvider, Visibility};
use crate::agent::secret::SecretSource;
use crate::agent::types::RecordState;

/// A key that the server knows.
#[derive(Clone, Debug)]
pub struct TsigKey {
    /// Its name, on both sides the same.
    pub name: String,
    /// `hmac-sha256`, `hmac-sha384`, `hmac-sha512` or `hmac-sha1`.
    pub algorithm: String,
    /// The secret in base64, as in BIND's `secret "…";`.
    pub secret: SecretSource,
}

/// One name and type on a zone's primary server.
#[derive(Debug)]
pub struct Rfc2136 {
    /// The primary: address or name, with or without a port.
    pub server: String,
    /// The zone.
    pub zone: String,
    /// The record's full name.
    pub name: String,
    /// `A`, `AAAA` or `CNAME`.
    pub kind: String,
    /// What questions and updates are signed with.
    pub key: TsigKey,
    /// For each question and update, at all addresses of the server together.
    pub timeout: Duration,
    /// How the public name is looked at.
    pub view: PublicView,
}

impl Rfc2136 {
    fn key(&self) -> Result<Key, TrafficError> {
        let secret = self.key.secret.read()?;
        let not_valid = |what: String| DnsError::new(self.server.as_str(), Trouble::NotValid(what));
        let bytes = base64::engine::general_purpose::STANDARD.decode(secret.expose());
        let bytes =
            bytes.map_err(|_| not_valid(format!("the secret in {} is not base64", self.key.secret)))?;
        let algorithm: Algorithm = self.key.algorithm.parse().map_err(|_| {
            not_valid(format!("`{}` is not a TSIG algorithm such as hmac-sha256", self.key.algorithm))
        })?;
        let name: KeyName = self
            .key
            .name
            .parse()
            .map_err(|_| not_valid(format!("`{}` is not a key's name", self.key.name)))?;
        Ok(Key::new(algorithm, &bytes, name, None, None)
            .map_err(|_| not_valid("the key does not fit".to_owned()))?)
    }

    /// Signs and sends `message`, and believes the answer only when it is signed too. Where the server
    /// has several addresses, the next one is tried only when nothing was sent to the one before.
    fn ask(
        &self,
        mut message: AdditionalBuilder<Vec<u8>>,
    ) -> Result<(SocketAddr, Message<Vec<u8>>), TrafficError> {
        let mut last = None;
        let key = self.key()?;
        let signed =
            ClientTransaction::request(key, &mut message, Time48::now()).map_err(|_| self.too_long())?;
        let request = message.finish();
        let (servers, deadline) = (addresses(&self.server)?, Instant::now() + self.timeout);
        for (at, server) in servers.iter().copied().enumerate() {
            // One that swallows packets leaves time for those after it.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(servers.len() - at).unwrap_or(1);
            match exchange(server, &request, share, Transport::Tcp) {
                Ok(mut answer) => {
                    let check = signed.answer(&mut answer, Time48::now());
                    check.map_err(|why| DnsError::new(server.to_string(), Trouble::Tsig(why)))?;
                    return Ok((server, answer));
                }
                Err(error) if matches!(error.trouble(), Trouble::NotReached(_)) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let none =
            || DnsError::new(self.server.as_str(), Trouble::NotReached("it has no address".to_owned()));
        Err(last.unwrap_or_else(none).into())
    }

    fn too_long(&self) -> DnsError {
        DnsError::new(self.server.as_str(), Trouble::NotValid("the message does not fit".to_owned()))
    }

    fn data(&self, state: &RecordState) -> Result<Vec<Data>, DnsError> {
        state.values.iter().map(|value| data_of(&self.kind, value)).collect()
    }
}

/// An update that replaces all records of one type at `name`, provided that they are exactly `expected`.
fn update(
    zone: &Name<Vec<u8>>,
    name: &Name<Vec<u8>>,
    kind: Rtype,
    expected: Vec<Data>,
    wanted: Vec<Data>,
    ttl: Ttl,
) -> Result<AdditionalBuilder<Vec<u8>>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(rand::random());
    builder.header_mut().set_opcode(Opcode::UPDATE);
    let mut zone_section = builder.question();
    zone_section.push((zone, Rtype::SOA))?;
    let mut prerequisites = zone_section.answer();
    for data in expected {
        prerequisites.push((name, Class::IN, Ttl::ZERO, data))?;
    }
    let mut changes = prerequisites.authority();
    // Class ANY without data deletes all records of the type (RFC 2136, 2.5.2).
    let nothing: UnknownRecordData<Vec<u8>> = match UnknownRecordData::from_octets(kind, Vec::new()) {
        Ok(nothing) => nothing,
        Err(_) => return Err(PushError::ShortBuf),
    };
    changes.push((name, Class::ANY, Ttl::ZERO, nothing))?;
    for data in wanted {
        changes.push((name, Class::IN, ttl, data))?;
    }
    Ok(changes.additional())
}

impl TrafficProvider for Rfc2136 {
    fn read(&mut self) -> Result<RecordState, TrafficError> {
        let name = name_of(&self.name)?;
        let kind = rtype_of(&self.kind)?;
        let question = query(&name, kind, false).map_err(|_| self.too_long())?;
        let (server, message) = self.ask(question)?;
        let server = server.to_string();
        let answer = read_answer(&server, &message, &name, kind)?;
        if !answer.is_authoritative {
            return Err(DnsError::new(server, Trouble::NotAuthoritative).into());
        }
        if answer.values.is_empty() {
            return Err(TrafficError::unfit(
                format!("{server} has no {} record {}", self.kind, self.name),
                "Create it once by hand, pointing to the region that serves now; the agent only changes it",
            ));
        }
        Ok(RecordState {
            name: self.name.clone(),
            kind: self.kind.clone(),
            ttl_s: answer.ttl_s,
            values: answer.values,
            proxied: None,
            weights: Vec::new(),
        })
    }

    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        let (zone, name, kind) = (name_of(&self.zone)?, name_of(&self.name)?, rtype_of(&self.kind)?);
        let (before, after) = (self.data(expected)?, self.data(wanted)?);
        let ttl = Ttl::from_secs(wanted.ttl_s);
        let message = update(&zone, &name, kind, before, after, ttl).map_err(|_| self.too_long())?;
        let (server, answer) = self.ask(message)?;
        match answer.header().rcode() {
            Rcode::NOERROR => Ok(()),
            Rcode::NXRRSET | Rcode::NXDOMAIN | Rcode::YXRRSET | Rcode::YXDOMAIN => {
                let found = Box::new(self.read()?);
                let mut differences = super::differences(expected, &found);
                if differences.is_empty() {
                    differences
                        .push("it was something else for a moment, when the server compared".to_owned());
                }
                Err(TrafficError::Conflict { name: self.name.clone(), differences, found })
            }
            code => Err(DnsError::new(server.to_string(), Trouble::Refused(code)).into()),
        }
    }

    fn visible(&mut self, wanted: &RecordState) -> Result<Visibility, TrafficError> {
        self.view.look(wanted)
    }

    fn plan(&self, expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let Self { server, zone, name, kind, .. } = self;
        let signed = format!("TCP, signed with key {}", self.key.name);
        let read = format!("QUERY {name} {kind} at {server} ({signed})");
        let (before, after) = (expected.values.join(", "), wanted.values.join(", "));
        let update = format!(
            "UPDATE zone {zone} at {server} ({signed}): if {name} {kind} is exactly {before}, \
             replace it by {after} with TTL {}",
            wanted.ttl_s
        );
        vec![read.clone(), update, read]
    }

    fn limits(&self, _ttl_s: u32) -> Vec<String> {
        vec![
            "clients keep the old address for up to its TTL, which stays as it is in the zone".to_owned(),
            "secondaries follow the primary by NOTIFY; the change counts as visible when all servers that \
             answer have it"
                .to_owned(),
            "the server compares: an update is refused when the record is not as expected".to_owned(),
        ]
    }
}

/// The type, from a value that is valid for it.
fn rtype_of(kind: &str) -> Result<Rtype, DnsError> {
    let sample = match kind.to_ascii_uppercase().as_str() {
        "AAAA" => "::",
        "CNAME" => "a",
        _ => "0.0.0.0",
    };
    Ok(data_of(kind, sample)?.rtype())
}
