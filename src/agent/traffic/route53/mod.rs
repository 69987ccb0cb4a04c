//! Record sets at Amazon Route 53: simple ones, and weighted ones of several regions under one name.

mod sigv4;
mod xml;

use jiff::Timestamp;

use super::{PublicView, TrafficError, TrafficProvider, Visibility};
use crate::agent::https::{BaseUrl, Client, Method, Repeat, Request, Response, Service};
use crate::agent::secret::SecretSource;
use crate::agent::types::RecordState;
use crate::percent::percent_encode;
use sigv4::{Credentials, Scope};

static ROUTE53: Service = Service {
    name: "Route 53",
    credential: "check the access key, its secret and its session token (a temporary one expires), the clock \
        of this host, and that the policy allows route53:ListResourceRecordSets, \
        route53:ChangeResourceRecordSets and route53:GetChange on the zone",
    status_page: Some("https://health.aws.amazon.com/health/status"),
    throttle_marks: &["<Code>Throttling</Code>", "<Code>PriorRequestNotComplete</Code>"],
};

/// Route 53 is one service for the world, and signs in this region.
const REGION: &str = "us-east-1";
const VERSION_PATH: &str = "/2013-04-01";
/// Names that sort after ours come back too; more sets than this under one name are not handled.
const MAX_SETS: usize = 100;

/// Where credentials are.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// The id of an access key; not a secret.
    pub access_key_id: String,
    /// The secret of it.
    pub secret_access_key: SecretSource,
    /// The session token, where the key is a temporary one.
    pub session_token: Option<SecretSource>,
}

/// The sets of one name and type.
#[derive(Debug)]
pub struct Route53 {
    /// Sends the calls.
    pub client: Client,
    /// `https://route53.amazonaws.com`.
    pub base: BaseUrl,
    /// What the calls are signed with.
    pub keys: AwsKeys,
    /// The hosted zone's id, as `Z…`.
    pub zone_id: String,
    /// The record's full name.
    pub name: String,
    /// `A`, `AAAA` or `CNAME`.
    pub kind: String,
    /// The set identifiers of weighted sets, one for each value in its order; empty for a simple set.
    pub set_identifiers: Vec<String>,
    /// How the public name is looked at.
    pub view: PublicView,
    /// The change that was made last, until it is in sync.
    pub pending_change: Option<String>,
}

impl Route53 {
    fn zone_path(&self) -> String {
        format!("{VERSION_PATH}/hostedzone/{}", percent_encode(&self.zone_id))
    }

    fn list_request(&self) -> Request {
        // In the order in which a signature has them.
        let query = format!(
            "maxitems={MAX_SETS}&name={}&type={}",
            percent_encode(&self.name),
            percent_encode(&self.kind)
        );
        Request::get(self.base.join(&format!("{}/rrset?{query}", self.zone_path())))
    }

    fn change_request(&self, expected: &RecordState, wanted: &RecordState) -> Result<Request, TrafficError> {
        let sets = if self.set_identifiers.is_empty() {
            vec![xml::RecordSet::simple(&self.name, &self.kind, wanted.ttl_s, &wanted.values)]
        } else {
            self.weighted_sets(expected, wanted)?
        };
        let url = self.base.join(&format!("{}/rrset/", self.zone_path()));
        Ok(Request::new(Method::Post, url, Repeat::OnlyIfWithoutEffect).body("text/xml", xml::upsert(&sets)))
    }

    fn weighted_sets(
        &self,
        expected: &RecordState,
        wanted: &RecordState,
    ) -> Result<Vec<xml::RecordSet>, TrafficError> {
        if self.set_identifiers.len() != wanted.values.len() || wanted.values.len() != wanted.weights.len() {
            return Err(TrafficError::unfit(
                format!(
                    "{} set identifiers, {} values and {} weights do not go together",
                    self.set_identifiers.len(),
                    wanted.values.len(),
                    wanted.weights.len()
                ),
                "Name one set identifier for each region in [agent.traffic]",
            ));
        }
        let sets = self.set_identifiers.iter().enumerate();
        let changed = sets.filter(|(at, _)| {
            expected.values.get(*at) != wanted.values.get(*at)
                || expected.weights.get(*at) != wanted.weights.get(*at)
        });
        Ok(changed
            .map(|(at, id)| {
                let values = std::slice::from_ref(&wanted.values[at]);
                xml::RecordSet::simple(&self.name, &self.kind, wanted.ttl_s, values)
                    .weighted(id, wanted.weights[at])
            })
            .collect())
    }

    fn change_status_request(&self, change_id: &str) -> Request {
        Request::get(self.base.join(&format!("{VERSION_PATH}/change/{}", percent_encode(change_id))))
    }

    fn send(&self, request: Request) -> Result<Response, TrafficError> {
        let credentials = Credentials {
            access_key_id: self.keys.access_key_id.clone(),
            secret_access_key: self.keys.secret_access_key.read()?,
            session_token: self.keys.session_token.as_ref().map(SecretSource::read).transpose()?,
        };
        let scope = Scope { region: REGION, service: "route53", at: Timestamp::now() };
        let signed = sigv4::sign_request(request, self.base.authority(), &credentials, &scope);
        Ok(self.client.call(&ROUTE53, &signed)?)
    }
}

impl TrafficProvider for Route53 {
    fn read(&mut self) -> Result<RecordState, TrafficError> {
        let response = self.send(self.list_request())?;
        let sets = xml::read_sets(response.body()).map_err(|why| response.not_understood(why))?;
        xml::state_of(sets, &self.name, &self.kind, &self.set_identifiers)
    }

    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        let request = self.change_request(expected, wanted)?;
        let response = self.send(request)?;
        let change = xml::read_change(response.body()).map_err(|why| response.not_understood(why))?;
        self.pending_change = Some(change.id);
        Ok(())
    }

    fn visible(&mut self, wanted: &RecordState) -> Result<Visibility, TrafficError> {
        if let Some(change_id) = self.pending_change.clone() {
            let response = self.send(self.change_status_request(&change_id))?;
            let change = xml::read_change(response.body()).map_err(|why| response.not_understood(why))?;
            if !change.is_in_sync {
                return Ok(Visibility::Pending(format!("Route 53 is still distributing change {change_id}")));
            }
            self.pending_change = None;
        }
        self.view.look(wanted)
    }

    fn plan(&self, expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let list = self.list_request().shown();
        let change = match self.change_request(expected, wanted) {
            Ok(request) => request.shown(),
            Err(error) => format!("nothing: {error}"),
        };
        let mut status = self.change_status_request("").shown();
        status.push_str("{change id} until it is INSYNC");
        vec![list.clone(), change, list, status]
    }

    fn limits(&self, ttl_s: u32) -> Vec<String> {
        vec![
            "a change reaches all of Route 53's servers within about 60 s; the agent waits until it is \
             INSYNC"
                .to_owned(),
            format!(
                "clients keep the old answer for up to its TTL ({ttl_s} s by [agent.traffic] or \
                [agent.drill]) after that"
            ),
            "alias records are refused: they have no values and no TTL of their own".to_owned(),
            "all changes of one switch go into one batch, which is done as a whole or not at all".to_owned(),
        ]
    }
}
