//! Questions and answers, made and read by the `domain` crate.

use std::net::IpAddr;
use std::str::FromStr as _;

use domain::base::iana::Rtype;
use domain::base::message_builder::{AdditionalBuilder, PushError};
use domain::base::{Message, MessageBuilder, Name, ParsedName};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Ns, ZoneRecordData};

use super::error::{DnsError, Trouble};
use crate::agent::traffic::compare::canonical_name;

/// The data of a record that the agent writes.
pub(in super::super) type Data = ZoneRecordData<Vec<u8>, Name<Vec<u8>>>;

/// What a server says of a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Answer {
    pub(in super::super) is_authoritative: bool,
    /// Empty when there are none.
    pub(in super::super) values: Vec<String>,
    /// The smallest one among the records, in seconds.
    pub(in super::super) ttl_s: u32,
}

/// `text` as a name.
pub(in super::super) fn name_of(text: &str) -> Result<Name<Vec<u8>>, DnsError> {
    let not_valid =
        |_| DnsError::new("(none asked)", Trouble::NotValid(format!("`{text}` is not a domain name")));
    Name::from_str(text).map_err(not_valid)
}

/// `kind` and `value` as the data of a record.
pub(in super::super) fn data_of(kind: &str, value: &str) -> Result<Data, DnsError> {
    let not_valid = || {
        let what =
            format!("`{value}` is not the value of a record of type {kind} (A, AAAA and CNAME are moved)");
        DnsError::new("(none asked)", Trouble::NotValid(what))
    };
    match kind.to_ascii_uppercase().as_str() {
        "A" => value.parse().map(|address| Data::A(A::new(address))).map_err(|_| not_valid()),
        "AAAA" => value.parse().map(|address| Data::Aaaa(Aaaa::new(address))).map_err(|_| not_valid()),
        "CNAME" => name_of(value).map(|name| Data::Cname(Cname::new(name))).map_err(|_| not_valid()),
        _ => Err(not_valid()),
    }
}

/// A question with a fresh id. `recursive` asks a resolver, otherwise an authority.
pub(in super::super) fn query(
    name: &Name<Vec<u8>>,
    kind: Rtype,
    recursive: bool,
) -> Result<AdditionalBuilder<Vec<u8>>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(rand::random());
    builder.header_mut().set_rd(recursive);
    let mut question = builder.question();
    question.push((name, kind))?;
    Ok(question.additional())
}

/// Reads the records of `kind` at `name` itself: a CNAME is not followed, since it is what may be wrong.
pub(in super::super) fn read_answer(
    server: &str,
    message: &Message<Vec<u8>>,
    name: &Name<Vec<u8>>,
    kind: Rtype,
) -> Result<Answer, DnsError> {
    use domain::base::iana::Rcode;
    let code = message.header().rcode();
    if code != Rcode::NOERROR && code != Rcode::NXDOMAIN {
        return Err(DnsError::new(server, Trouble::Refused(code)));
    }
    let bad = |why: &str| DnsError::new(server, Trouble::NotUnderstood(why.to_owned()));
    let mut answer = Answer { is_authoritative: message.header().aa(), values: Vec::new(), ttl_s: u32::MAX };
    for record in message.answer().map_err(|_| bad("no answer section"))? {
        let record = record.map_err(|_| bad("a broken record"))?;
        if record.rtype() != kind || record.owner() != *name {
            continue;
        }
        let record =
            record.to_any_record::<AllRecordData<_, ParsedName<_>>>().map_err(|_| bad("broken data"))?;
        let value = match record.data() {
            AllRecordData::A(data) => data.addr().to_string(),
            AllRecordData::Aaaa(data) => data.addr().to_string(),
            AllRecordData::Cname(data) => canonical_name(&data.cname().to_string()),
            AllRecordData::Ns(data) => canonical_name(&Ns::nsdname(data).to_string()),
            _ => continue,
        };
        answer.ttl_s = answer.ttl_s.min(record.ttl().as_secs());
        answer.values.push(value);
    }
    answer.values.sort();
    Ok(answer)
}

/// All addresses in the answer, at whatever name a chain of CNAMEs leads to.
pub(in super::super) fn read_addresses(
    server: &str,
    message: &Message<Vec<u8>>,
) -> Result<Vec<IpAddr>, DnsError> {
    use domain::base::iana::Rcode;
    let code = message.header().rcode();
    if code != Rcode::NOERROR && code != Rcode::NXDOMAIN {
        return Err(DnsError::new(server, Trouble::Refused(code)));
    }
    let bad = |why: &str| DnsError::new(server, Trouble::NotUnderstood(why.to_owned()));
    let mut found = Vec::new();
    for record in message.answer().map_err(|_| bad("no answer section"))? {
        let record = record.map_err(|_| bad("a broken record"))?;
        if ![Rtype::A, Rtype::AAAA].contains(&record.rtype()) {
            continue;
        }
        let record =
            record.to_any_record::<AllRecordData<_, ParsedName<_>>>().map_err(|_| bad("broken data"))?;
        match record.data() {
            AllRecordData::A(data) => found.push(IpAddr::V4(data.addr())),
            AllRecordData::Aaaa(data) => found.push(IpAddr::V6(data.addr())),
            _ => {}
        }
    }
    Ok(found)
}
