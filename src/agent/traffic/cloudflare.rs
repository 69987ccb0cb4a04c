//! One DNS record at Cloudflare.

use serde::Deserialize;
use serde_json::json;

use super::cloudflare_api::{CloudflareAccess, Zone};
use super::compare::canonical_name;
use super::{PublicView, TrafficError, TrafficProvider, Visibility, refuse_difference};
use crate::agent::types::RecordState;
use crate::percent::percent_encode;

/// What Cloudflare calls "automatic": the only TTL of a proxied record.
const AUTOMATIC_TTL: u32 = 1;
/// What "automatic" means for a record that is not proxied.
const AUTOMATIC_TTL_S: u32 = 300;
/// The least TTL of a record that is not proxied, outside Enterprise plans.
const MIN_TTL_S: u32 = 60;

/// A record that has one value, found by name and type.
#[derive(Debug)]
pub struct CloudflareRecord {
    /// How Cloudflare is reached.
    pub access: CloudflareAccess,
    /// The zone that the record is in.
    pub zone: Zone,
    /// The record's full name.
    pub name: String,
    /// `A`, `AAAA` or `CNAME`.
    pub kind: String,
    /// How the public name is looked at.
    pub view: PublicView,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    content: String,
    ttl: u32,
    #[serde(default)]
    proxied: bool,
}

impl Found {
    fn into_state(self) -> RecordState {
        RecordState {
            name: self.name,
            kind: self.kind,
            ttl_s: if self.ttl == AUTOMATIC_TTL { AUTOMATIC_TTL_S } else { self.ttl },
            values: vec![self.content],
            proxied: Some(self.proxied),
            weights: Vec::new(),
        }
    }
}

impl CloudflareRecord {
    /// The path of the record, and the record.
    fn find(&self) -> Result<(String, Found), TrafficError> {
        let zone_path = format!("/zones/{}", self.access.zone_id(&self.zone)?);
        let found: Vec<Found> = self.access.get(&self.search_path(&zone_path))?;
        let is_ours = |found: &Found| {
            found.kind.eq_ignore_ascii_case(&self.kind)
                && canonical_name(&found.name) == canonical_name(&self.name)
        };
        let mut ours: Vec<Found> = found.into_iter().filter(is_ours).collect();
        match (ours.pop(), ours.len()) {
            (Some(found), 0) => Ok((format!("{zone_path}/dns_records/{}", found.id), found)),
            (None, _) => Err(TrafficError::unfit(
                format!("Cloudflare has no {} record {}", self.kind, self.name),
                "Create it once by hand, pointing to the region that serves now; the agent only changes it",
            )),
            (Some(_), more) => Err(TrafficError::unfit(
                format!(
                    "Cloudflare has {} {} records {}, and one is moved at a time",
                    more + 1,
                    self.kind,
                    self.name
                ),
                "Leave one of them, or use a load balancer (provider `cloudflare_lb`)",
            )),
        }
    }

    fn search_path(&self, zone_path: &str) -> String {
        format!(
            "{zone_path}/dns_records?type={}&name={}",
            percent_encode(&self.kind),
            percent_encode(&self.name)
        )
    }

    fn body(&self, wanted: &RecordState) -> Result<serde_json::Value, TrafficError> {
        let [value] = wanted.values.as_slice() else {
            return Err(TrafficError::unfit(
                format!("a Cloudflare record has one value, not {}", wanted.values.len()),
                "Give each region one address, or use a load balancer (provider `cloudflare_lb`)",
            ));
        };
        // TTL and `proxied` are left out, so that they stay as they are.
        Ok(json!({ "type": self.kind, "name": self.name, "content": value }))
    }
}

impl TrafficProvider for CloudflareRecord {
    fn read(&mut self) -> Result<RecordState, TrafficError> {
        Ok(self.find()?.1.into_state())
    }

    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        let body = self.body(wanted)?;
        let (path, found) = self.find()?;
        refuse_difference(expected, found.into_state())?;
        self.access.send_first_change(self.access.patch_request(&path, &body))
    }

    fn visible(&mut self, wanted: &RecordState) -> Result<Visibility, TrafficError> {
        let is_proxied = match wanted.proxied {
            Some(proxied) => proxied,
            None => self.find()?.1.proxied,
        };
        if is_proxied {
            let why = "the record is proxied, so that its name always resolves to Cloudflare's own addresses";
            return Ok(Visibility::Hidden(why.to_owned()));
        }
        self.view.look(wanted)
    }

    fn plan(&self, _expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let mut lookup = Vec::new();
        let zone_path = self.access.plan_zone(&self.zone, &mut lookup);
        lookup.push(self.access.get_request(&self.search_path(&zone_path)).shown());
        let change = match self.body(wanted) {
            Ok(body) => {
                self.access.patch_request(&format!("{zone_path}/dns_records/{{record id}}"), &body).shown()
            }
            Err(error) => format!("nothing: {error}"),
        };
        // Read, find the record to change, change it, read it back.
        [lookup.clone(), lookup.clone(), vec![change], lookup].concat()
    }

    fn limits(&self, _ttl_s: u32) -> Vec<String> {
        vec![
            "a proxied record: clients keep Cloudflare's addresses, and a change of the origin behind them \
             takes seconds; its TTL is always automatic"
                .to_owned(),
            format!(
                "a record that is not proxied: clients keep the old address for up to its TTL, at least \
                 {MIN_TTL_S} s (30 s on Enterprise); `automatic` is {AUTOMATIC_TTL_S} s"
            ),
            "TTL and `proxied` are left as they are in the zone".to_owned(),
        ]
    }
}
