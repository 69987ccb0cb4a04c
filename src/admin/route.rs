//! What a question is about, and who may ask it. Pure.

use super::answer::Refusal;
use super::audit::{MAX_LINES, USUAL_LINES};
use crate::agent::pager::webhook::MAX_BODY_BYTES as MAX_WEBHOOK_BYTES;
use crate::bucket::policy::{MAX_KEY_BYTES, MAX_POLICY_NAME_BYTES};
use crate::http::{Head, Method, percent_decode};

/// Names of regions are as long as those of policies.
const MAX_REGION_BYTES: usize = MAX_POLICY_NAME_BYTES;
/// Orders are short.
const MAX_ORDER_BYTES: usize = 8 << 10;
/// The largest body of any route.
pub(super) const MAX_BODY_BYTES: usize = MAX_WEBHOOK_BYTES;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The status page.
    Page,
    /// The same as JSON.
    Status,
    /// One bucket.
    Bucket { policy: Vec<u8>, key: Vec<u8> },
    /// Fills one bucket.
    Reset { policy: Vec<u8>, key: Vec<u8> },
    /// `/health` says 503 from now on, or no longer.
    Drain { on: bool },
    /// Reads the configuration again.
    Reload,
    /// The last lines of the agent's journal.
    Audit { last: usize },
    /// Where the agent stands.
    Failover,
    /// Tells the agent something.
    Order(OrderName),
    /// Something happened to an incident of PagerDuty.
    PagerDuty,
    /// Alerts fire or are resolved.
    Alertmanager,
    /// Does this node see that region?
    Witness { region: String },
}

/// An order as its path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderName {
    Plan,
    Start,
    Ack,
    Decline,
    Abort,
    Rollback,
    Freeze,
    Thaw,
    Drill,
}

const ORDERS: [(&[u8], OrderName); 9] = [
    (b"plan", OrderName::Plan),
    (b"start", OrderName::Start),
    (b"ack", OrderName::Ack),
    (b"decline", OrderName::Decline),
    (b"abort", OrderName::Abort),
    (b"rollback", OrderName::Rollback),
    (b"freeze", OrderName::Freeze),
    (b"thaw", OrderName::Thaw),
    (b"drill", OrderName::Drill),
];

/// What a caller from another host must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The admin token.
    Admin,
    /// The token of witnesses, or the admin token.
    Witness,
    /// The token of Alertmanager, or the admin token.
    Alertmanager,
    /// Nothing: what it sends is signed.
    Signed,
}

impl Route {
    /// # Errors
    /// When path or method is none of ours.
    pub(super) fn of(head: &Head<'_>) -> Result<Self, Refusal> {
        let (method, path) = (head.method, head.target.path);
        if let Some(names) = path.strip_prefix(b"/v1/buckets/") {
            return bucket(method, names);
        }
        if let Some(name) = path.strip_prefix(b"/v1/failover/") {
            let order = ORDERS.iter().find(|(path, _)| *path == name).ok_or(Refusal::NotFound)?;
            return post(method, Self::Order(order.1));
        }
        if let Some(region) = path.strip_prefix(b"/v1/witness/") {
            return get(method, Self::Witness { region: region_name(region)? });
        }
        match path {
            b"/" => get(method, Self::Page),
            b"/v1/status" => get(method, Self::Status),
            b"/v1/audit" => get(method, Self::Audit { last: last_lines(head.target.query)? }),
            b"/v1/failover" => get(method, Self::Failover),
            b"/v1/drain" => post(method, Self::Drain { on: true }),
            b"/v1/undrain" => post(method, Self::Drain { on: false }),
            b"/v1/reload" => post(method, Self::Reload),
            b"/webhooks/pagerduty" => post(method, Self::PagerDuty),
            b"/webhooks/alertmanager" => post(method, Self::Alertmanager),
            _ => Err(Refusal::NotFound),
        }
    }

    pub(super) const fn access(&self) -> Access {
        match self {
            Self::PagerDuty => Access::Signed,
            Self::Alertmanager => Access::Alertmanager,
            Self::Witness { .. } => Access::Witness,
            _ => Access::Admin,
        }
    }

    /// Whether it only looks: a browser may be given such an answer for a password that it keeps.
    pub(super) const fn only_looks(&self) -> bool {
        matches!(self, Self::Page | Self::Status | Self::Bucket { .. } | Self::Audit { .. } | Self::Failover)
    }

    pub(super) const fn max_body_bytes(&self) -> usize {
        match self {
            Self::PagerDuty | Self::Alertmanager => MAX_WEBHOOK_BYTES,
            _ => MAX_ORDER_BYTES,
        }
    }
}

fn get(method: Method, route: Route) -> Result<Route, Refusal> {
    if method == Method::Get { Ok(route) } else { Err(Refusal::MethodNotAllowed("GET")) }
}

fn post(method: Method, route: Route) -> Result<Route, Refusal> {
    if method == Method::Post { Ok(route) } else { Err(Refusal::MethodNotAllowed("POST")) }
}

/// `{policy}/{key}`; what follows the policy is the key, slashes too.
fn bucket(method: Method, names: &[u8]) -> Result<Route, Refusal> {
    if !matches!(method, Method::Get | Method::Delete) {
        return Err(Refusal::MethodNotAllowed("GET, DELETE"));
    }
    let slash = memchr::memchr(b'/', names).ok_or(Refusal::NotFound)?;
    let (mut policy, mut key) = ([0; MAX_POLICY_NAME_BYTES], [0; MAX_KEY_BYTES]);
    let policy = percent_decode(&names[..slash], &mut policy).map_err(|_| Refusal::UnknownPolicy)?;
    let key = percent_decode(&names[slash + 1..], &mut key).map_err(|_| Refusal::BadKey)?;
    if key.is_empty() {
        return Err(Refusal::BadKey);
    }
    let (policy, key) = (policy.to_vec(), key.to_vec());
    Ok(if method == Method::Delete { Route::Reset { policy, key } } else { Route::Bucket { policy, key } })
}

/// `last=N`.
fn last_lines(query: Option<&[u8]>) -> Result<usize, Refusal> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(USUAL_LINES) };
    let digits = query.strip_prefix(b"last=").filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let last = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    last.filter(|last| (1..=MAX_LINES).contains(last)).ok_or(Refusal::BadLast(MAX_LINES))
}

fn region_name(encoded: &[u8]) -> Result<String, Refusal> {
    let mut name = [0; MAX_REGION_BYTES];
    let name = percent_decode(encoded, &mut name).map_err(|_| Refusal::NotFound)?;
    let name = std::str::from_utf8(name).map_err(|_| Refusal::NotFound)?;
    if name.is_empty() || name.contains(char::is_control) {
        return Err(Refusal::NotFound);
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpLimits;

    fn route(line: &str) -> Result<Route, Refusal> {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        Route::of(&Head::parse(request.as_bytes(), &HttpLimits::default()).unwrap())
    }

    #[test]
    fn a_bucket_is_named_by_policy_and_key_slashes_included() {
        let bucket = |policy: &[u8], key: &[u8]| Route::Bucket { policy: policy.to_vec(), key: key.to_vec() };
        assert_eq!(route("GET /v1/buckets/api/alice"), Ok(bucket(b"api", b"alice")));
        assert_eq!(route("GET /v1/buckets/api/a%20b/c"), Ok(bucket(b"api", b"a b/c")));
        let reset = Route::Reset { policy: b"api".to_vec(), key: b"a/b".to_vec() };
        assert_eq!(route("DELETE /v1/buckets/api/a/b"), Ok(reset));
    }

    #[test]
    fn each_path_takes_one_method_and_asks_for_one_kind_of_token() {
        let witness = Route::Witness { region: "eu 1".to_owned() };
        for (line, expected, access) in [
            ("GET /", Route::Page, Access::Admin),
            ("GET /v1/status", Route::Status, Access::Admin),
            ("GET /v1/failover", Route::Failover, Access::Admin),
            ("GET /v1/failover?x=1", Route::Failover, Access::Admin),
            ("GET /v1/audit", Route::Audit { last: USUAL_LINES }, Access::Admin),
            ("GET /v1/audit?last=7", Route::Audit { last: 7 }, Access::Admin),
            ("POST /v1/drain", Route::Drain { on: true }, Access::Admin),
            ("POST /v1/undrain", Route::Drain { on: false }, Access::Admin),
            ("POST /v1/reload", Route::Reload, Access::Admin),
            ("POST /v1/failover/start", Route::Order(OrderName::Start), Access::Admin),
            ("POST /v1/failover/drill", Route::Order(OrderName::Drill), Access::Admin),
            ("POST /webhooks/pagerduty", Route::PagerDuty, Access::Signed),
            ("POST /webhooks/alertmanager", Route::Alertmanager, Access::Alertmanager),
            ("GET /v1/witness/eu%201", witness, Access::Witness),
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            let found = route(line);
            assert_eq!(found, Ok(expected), "{line}");
            assert_eq!(found.unwrap().access(), access, "{line}");
            let other = if method == "GET" { "POST" } else { "GET" };
            let allowed = if method == "GET" { "GET" } else { "POST" };
            assert_eq!(route(&format!("{other} {path}")), Err(Refusal::MethodNotAllowed(allowed)), "{line}");
        }
        assert!(ORDERS.iter().all(|(_, order)| !Route::Order(*order).only_looks()));
    }

    #[test]
    fn what_is_no_question_is_refused_with_what_would_be_one() {
        for line in [
            "GET /v1/buckets/api",
            "GET /v1",
            "POST /v1/failover/",
            "POST /v1/failover/status",
            "POST /v1/failover/ack/2",
            "GET /v1/witness/",
            "GET /v1/witness/%zz",
            "GET /v1/witness/a%0ab",
            "GET /v1/witness/%ff",
            "GET //",
        ] {
            assert_eq!(route(line), Err(Refusal::NotFound), "{line}");
        }
        assert_eq!(route(&format!("GET /v1/witness/{}", "r".repeat(65))), Err(Refusal::NotFound));
        for query in [
            "last=",
            "last=0",
            "last=1001",
            "last=+7",
            "last=7&last=8",
            "first=7",
            "last=99999999999999999999",
        ] {
            assert_eq!(route(&format!("GET /v1/audit?{query}")), Err(Refusal::BadLast(MAX_LINES)), "{query}");
        }
        assert_eq!(route("GET /v1/buckets/api/"), Err(Refusal::BadKey));
        assert_eq!(route("GET /v1/buckets/api/%zz"), Err(Refusal::BadKey));
        assert_eq!(route("POST /v1/buckets/api/a"), Err(Refusal::MethodNotAllowed("GET, DELETE")));
        let long = format!("GET /v1/buckets/{}/a", "p".repeat(65));
        assert_eq!(route(&long), Err(Refusal::UnknownPolicy));
    }
}
