//! Record sets at Amazon Route 53: simple ones, and weighted ones of several regions under one name.

mod sigv4;
mod xml;

use jiff::Timestamp;

use super::{PublicView, TrafficError, TrafficProvider, Visibility, refuse_difference};
use crate::agent::https::{BaseUrl, Client, Failure, Method, Repeat, Request, Response, Service};
use crate::agent::secret::SecretSource;
use crate::agent::types::RecordState;
use crate::percent::percent_encode;
use sigv4::{Credentials, Scope};

static ROUTE53: Service = Service {
    name: "Route 53",
    credential: "check the access key, its secret and its session token (a temporary one expires), the \
        clock of this host, and that the policy allows route53:ListResourceRecordSets and \
        route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/ID, and route53:GetChange on \
        arn:aws:route53:::change/*",
    status_page: Some("https://health.aws.amazon.com/health/status"),
    throttle_marks: &["<Code>Throttling</Code>", "<Code>PriorRequestNotComplete</Code>"],
};

/// Route 53 is one service for the world, and signs in this region.
const REGION: &str = "us-east-1";
const VERSION_PATH: &str = "/2013-04-01";
/// Names that sort after ours come back too; more sets than this under one name are not handled.
const MAX_SETS: usize = 100;

/// Said where it matters: a set is replaced whole, by what it was but for its value and weight.
const KEPT: &str = "each set keeps the TTL and the health check that it has in the zone";

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

    fn find(&self) -> Result<Vec<xml::RecordSet>, TrafficError> {
        let response = self.send(self.list_request())?;
        let listing = xml::read_sets(response.body()).map_err(|why| response.not_understood(why))?;
        xml::choose(listing, &self.name, &self.kind, &self.set_identifiers)
    }

    /// Makes `found` lead where `wanted` says; all else of each set stays.
    fn change_request(
        &self,
        found: &[xml::RecordSet],
        wanted: &RecordState,
    ) -> Result<Request, TrafficError> {
        let found = found.iter().map(|set| set.named(&self.name));
        let pairs: Vec<(xml::RecordSet, xml::RecordSet)> = if self.set_identifiers.is_empty() {
            found.map(|set| (set.clone(), set.with_values(&wanted.values))).collect()
        } else {
            let wanted = self.weighted(wanted)?;
            let pairs = found.zip(wanted).map(|(set, (value, weight))| {
                let after = set.clone().with_values(std::slice::from_ref(value)).with_weight(weight);
                (set, after)
            });
            pairs.filter(|(before, after)| before != after).collect()
        };
        let url = self.base.join(&format!("{}/rrset/", self.zone_path()));
        Ok(Request::new(Method::Post, url, Repeat::OnlyIfWithoutEffect)
            .body("text/xml", xml::replace(&pairs)))
    }

    /// A value and a weight for each set.
    fn weighted<'a>(&self, state: &'a RecordState) -> Result<Vec<(&'a String, u32)>, TrafficError> {
        let counts = [self.set_identifiers.len(), state.values.len(), state.weights.len()];
        if counts.iter().any(|count| *count != counts[0]) {
            let [sets, values, weights] = counts;
            return Err(TrafficError::unfit(
                format!("{sets} set identifiers, {values} values and {weights} weights do not go together"),
                "Name one set identifier for each region in [agent.traffic]",
            ));
        }
        Ok(state.values.iter().zip(state.weights.iter().copied()).collect())
    }

    /// The sets that `state` was read from, as far as it says what is in them.
    fn sets_of(&self, state: &RecordState) -> Result<Vec<xml::RecordSet>, TrafficError> {
        let set = |values: &[String]| xml::RecordSet::simple(&self.name, &self.kind, state.ttl_s, values);
        if self.set_identifiers.is_empty() {
            return Ok(vec![set(&state.values)]);
        }
        let targets = self.set_identifiers.iter().zip(self.weighted(state)?);
        Ok(targets
            .map(|(id, (value, weight))| set(std::slice::from_ref(value)).weighted(id, weight))
            .collect())
    }

    fn change_status_request(&self, change_id: &str) -> Request {
        Request::get(self.base.join(&format!("{VERSION_PATH}/change/{}", percent_encode(change_id))))
    }

    fn is_in_sync(&self, change_id: &str) -> Result<bool, TrafficError> {
        let response = self.send(self.change_status_request(change_id))?;
        let change = xml::read_change(response.body()).map_err(|why| response.not_understood(why))?;
        Ok(change.is_in_sync)
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
        Ok(xml::state_of(&self.find()?, &self.name, &self.kind))
    }

    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        // As late as can be, since what is found is what Route 53 compares with.
        let found = self.find()?;
        refuse_difference(expected, xml::state_of(&found, &self.name, &self.kind))?;
        let response = self.send(self.change_request(&found, wanted)?)?;
        let change = xml::read_change(response.body()).map_err(|why| response.not_understood(why))?;
        self.pending_change = Some(change.id);
        Ok(())
    }

    fn visible(&mut self, wanted: &RecordState) -> Result<Visibility, TrafficError> {
        if let Some(change_id) = self.pending_change.clone() {
            match self.is_in_sync(&change_id) {
                Ok(false) => {
                    let why = format!("Route 53 is still distributing change {change_id}");
                    return Ok(Visibility::Pending(why));
                }
                Ok(true) => self.pending_change = None,
                // Who may not ask is told by the zone's servers alone.
                Err(TrafficError::Call(error))
                    if matches!(error.failure(), Failure::Status { code: 403 | 404, .. }) =>
                {
                    self.pending_change = None;
                }
                Err(error) => return Err(error),
            }
        }
        self.view.look(wanted)
    }

    fn plan(&self, expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let list = self.list_request().shown();
        let change = match self.sets_of(expected).and_then(|sets| self.change_request(&sets, wanted)) {
            Ok(request) => request.shown(),
            Err(error) => format!("nothing: {error}"),
        };
        let mut status = self.change_status_request("").shown();
        status.push_str("{change id} until it is INSYNC");
        // Read, find the sets to change, change them, read them back.
        vec![list.clone(), list.clone(), change, list, status, format!("in all of it: {KEPT}")]
    }

    fn limits(&self, _ttl_s: u32) -> Vec<String> {
        vec![
            "a change reaches all of Route 53's servers within about 60 s; the agent waits until it is \
             INSYNC"
                .to_owned(),
            "clients keep the old answer for up to its TTL after that".to_owned(),
            KEPT.to_owned(),
            "refused are aliases, sets that are chosen by anything else than weight, and weighted sets of \
             the name that set_identifiers does not name"
                .to_owned(),
            "Route 53 compares: a change is refused when a set is not as it was found".to_owned(),
            "all changes of one switch go into one batch, which is done as a whole or not at all".to_owned(),
        ]
    }
}
