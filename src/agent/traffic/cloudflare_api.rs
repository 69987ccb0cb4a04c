//! What all of Cloudflare's API v4 has in common: the token, the envelope, zones by name.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TrafficError;
use crate::agent::https::{BaseUrl, CallError, Client, Method, Repeat, Request, Response, Service};
use crate::agent::secret::SecretSource;
use crate::percent::percent_encode;

pub(super) static CLOUDFLARE: Service = Service {
    name: "Cloudflare",
    credential: "the API token needs DNS Edit on the zone (for a load balancer: Load Balancers Edit on the \
                 zone, Load Balancing: Monitors and Pools Edit on the account). Make one in My Profile, API \
                 Tokens, and put it into the token's file",
    status_page: Some("https://www.cloudflarestatus.com"),
    throttle_marks: &[],
};

/// How Cloudflare is reached.
#[derive(Clone, Debug)]
pub struct CloudflareAccess {
    /// Sends the calls.
    pub client: Client,
    /// `https://api.cloudflare.com/client/v4`.
    pub base: BaseUrl,
    /// An API token; not the global key, which may do everything.
    pub token: SecretSource,
}

/// A zone, by its id or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Its id, as the console shows it.
    Id(String),
    /// Its name; the id is looked up.
    Name(String),
}

#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    #[serde(default)]
    errors: Vec<Complaint>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct Complaint {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct FoundZone {
    id: String,
    name: String,
}

impl CloudflareAccess {
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TrafficError> {
        self.send(self.get_request(path))
    }

    /// Sends a change right after the read it rests on. Cloudflare does not compare, so it is sent once: after a
    /// pause somebody else's change would be overwritten.
    pub(super) fn send_first_change(&self, request: Request) -> Result<(), TrafficError> {
        self.send_change(request.with_repeat(Repeat::Never))
    }

    pub(super) fn send_change(&self, request: Request) -> Result<(), TrafficError> {
        self.send::<Value>(request).map(drop)
    }

    pub(super) fn get_request(&self, path: &str) -> Request {
        Request::get(self.base.join(path))
    }

    pub(super) fn patch_request(&self, path: &str, body: &Value) -> Request {
        Request::new(Method::Patch, self.base.join(path), Repeat::OnlyIfWithoutEffect).json(body)
    }

    fn send<T: DeserializeOwned>(&self, request: Request) -> Result<T, TrafficError> {
        let token = self.token.read()?;
        Ok(open(&self.client.call(&CLOUDFLARE, &request.bearer(&token))?)?)
    }

    /// The id of `zone`.
    pub(super) fn zone_id(&self, zone: &Zone) -> Result<String, TrafficError> {
        let name = match zone {
            Zone::Id(id) => return Ok(id.clone()),
            Zone::Name(name) => name,
        };
        let found: Vec<FoundZone> = self.get(&zone_path(name))?;
        let mut ours: Vec<String> = found
            .into_iter()
            .filter(|zone| zone.name.eq_ignore_ascii_case(name))
            .map(|zone| zone.id)
            .collect();
        match (ours.pop(), ours.len()) {
            (Some(id), 0) => Ok(id),
            (None, _) => Err(TrafficError::unfit(
                format!("Cloudflare shows no zone {name} to this token"),
                "Check the zone's name and that the token may read it (Zone Read)",
            )),
            // One of another account, or one that has moved away, is not where clients ask.
            (Some(_), more) => Err(TrafficError::unfit(
                format!("Cloudflare shows {} zones {name} to this token", more + 1),
                "Name the one that is delegated to by zone_id, as its overview page shows it",
            )),
        }
    }

    /// The lines of a plan that find the zone, and the path of what is in it.
    pub(super) fn plan_zone(&self, zone: &Zone, lines: &mut Vec<String>) -> String {
        match zone {
            Zone::Id(id) => format!("/zones/{id}"),
            Zone::Name(name) => {
                lines.push(self.get_request(&zone_path(name)).shown());
                "/zones/{zone id}".to_owned()
            }
        }
    }
}

fn zone_path(name: &str) -> String {
    format!("/zones?name={}", percent_encode(name))
}

/// What is in the envelope. Cloudflare may refuse with a 2xx and `success: false`.
fn open<T: DeserializeOwned>(response: &Response) -> Result<T, CallError> {
    let envelope: Envelope<T> = response.json()?;
    if !envelope.success {
        let complaints = envelope.errors.iter().map(|c| format!("{} (code {})", c.message, c.code));
        return Err(response.refused(400, None, complaints.collect::<Vec<_>>().join("; ")));
    }
    envelope.result.ok_or_else(|| response.not_understood("it has no `result`"))
}
