//! Where the public name points, at each kind of provider.
//!
//! A [`TrafficProvider`] reads the record, writes it, and says whether resolvers see it. The order of a
//! change is the same for all and stands in [`TrafficProvider::write`]: read, compare with what is
//! expected, write, read back. A provider only knows its own calls.

mod cloudflare;
mod cloudflare_api;
mod cloudflare_lb;
mod compare;
mod dns;
mod error;
mod exec;
mod resolver;
mod rfc2136;
mod route53;

pub use cloudflare::CloudflareRecord;
pub use cloudflare_api::{CloudflareAccess, Zone};
pub use cloudflare_lb::CloudflareLoadBalancer;
pub use compare::differences;
pub(crate) use compare::{canonical_name, canonical_value};
pub use dns::{DnsError, Trouble};
pub use error::TrafficError;
pub use exec::ExecProvider;
pub use resolver::{PublicView, resolve};
pub use rfc2136::{Rfc2136, TsigKey};
pub use route53::{AwsKeys, Route53};

use std::net::IpAddr;

use crate::agent::types::RecordState;

/// `kind` of the pools of a load balancer, the one kind of values whose order counts.
pub const POOLS: &str = "POOLS";

/// Whether `text` is a domain name.
#[must_use]
pub fn is_domain_name(text: &str) -> bool {
    !text.is_empty() && dns::name_of(text).is_ok()
}

/// Whether a record of this type (`A`, `AAAA`, `CNAME`) can have this value.
#[must_use]
pub fn is_value_of(kind: &str, value: &str) -> bool {
    // An address can be read as a name of four labels, which leads nowhere.
    let is_address = value.trim_end_matches('.').parse::<IpAddr>().is_ok();
    !value.is_empty() && dns::data_of(kind, value).is_ok() && (kind != "CNAME" || !is_address)
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The record was as expected and is now as wanted.
    Changed,
    /// It was as wanted before: an earlier run did it.
    AlreadyThere,
}

/// Whether the world sees a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Every place that was asked gives it.
    Shown,
    /// Not everywhere yet; the text says where not.
    Pending(String),
    /// The provider answers by itself for the name, so that its API is the only witness.
    Hidden(String),
}

/// A place where the public name is kept.
pub trait TrafficProvider {
    /// The record as it is now.
    fn read(&mut self) -> Result<RecordState, TrafficError>;

    /// Makes the record `wanted`. It was `expected` a moment ago; a provider that can have its server
    /// compare does so.
    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError>;

    /// Whether resolvers see `wanted`: one look, to be repeated until it shows or patience ends.
    fn visible(&mut self, wanted: &RecordState) -> Result<Visibility, TrafficError>;

    /// Exactly the calls that a write would make, one a line, without secrets.
    fn plan(&self, expected: &RecordState, wanted: &RecordState) -> Vec<String>;

    /// What to know of this provider before relying on it: how long old answers live, what is refused. `ttl_s` is
    /// what the configuration says of it; a provider whose records have a TTL of their own keeps that.
    fn limits(&self, ttl_s: u32) -> Vec<String>;

    /// Changes the record from `expected` to `wanted`, and makes sure of it.
    ///
    /// Nothing is written when the record is neither. A write that ended without an answer is settled
    /// by reading: it is repeated never, believed never.
    fn write(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<Written, TrafficError> {
        self.write_while(&|| Ok(()), expected, wanted)
    }

    /// As [`Self::write`], unless `may_begin` says no right before the change: the read before it may take long.
    fn write_while(
        &mut self,
        may_begin: &dyn Fn() -> Result<(), String>,
        expected: &RecordState,
        wanted: &RecordState,
    ) -> Result<Written, TrafficError> {
        let before = self.read()?;
        if differences(wanted, &before).is_empty() {
            return Ok(Written::AlreadyThere);
        }
        refuse_difference(expected, before)?;
        may_begin().map_err(TrafficError::NotBegun)?;
        let put = self.put(expected, wanted);
        if let Err(error) = put.as_ref()
            && !error.may_have_happened()
        {
            return put.map(|()| Written::Changed);
        }
        let after = self.read().map_err(|error| TrafficError::Unknown(Box::new(error)))?;
        let differences_left = differences(wanted, &after);
        let is_old = differences(expected, &after).is_empty();
        match put {
            _ if differences_left.is_empty() => Ok(Written::Changed),
            Err(error) if is_old => Err(TrafficError::NotDone(Box::new(error))),
            Err(error) => Err(TrafficError::InPart {
                name: wanted.name.clone(),
                differences: differences_left,
                cause: Box::new(error),
            }),
            Ok(()) if is_old => Err(TrafficError::NotApplied { name: wanted.name.clone() }),
            Ok(()) => refuse_difference(wanted, after).map(|()| Written::Changed),
        }
    }
}

fn refuse_difference(expected: &RecordState, found: RecordState) -> Result<(), TrafficError> {
    let differences = differences(expected, &found);
    if differences.is_empty() {
        return Ok(());
    }
    Err(TrafficError::Conflict { name: found.name.clone(), differences, found: Box::new(found) })
}

#[cfg(test)]
mod tests;
