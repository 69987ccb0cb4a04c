//! What a request asks for.

use super::problem::{CheckProblem, Problem};
use crate::bucket::policy::{MAX_KEY_BYTES, MAX_POLICY_NAME_BYTES};
use crate::http::{Head, Method, Status, percent_decode};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// One check.
    Check(CheckRequest<'a>),
    /// Several checks, in the body; the status of a denial.
    Batch(Status),
    Health,
    Metrics,
}

/// One check, with names decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckRequest<'a> {
    pub(super) policy: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) cost: u64,
    /// The status of a denial.
    pub(super) deny: Status,
}

/// Room for names that need decoding.
#[derive(Debug)]
pub(super) struct NameBuffers {
    pub(super) policy: [u8; MAX_POLICY_NAME_BYTES],
    pub(super) key: [u8; MAX_KEY_BYTES],
}

impl Default for NameBuffers {
    fn default() -> Self {
        Self { policy: [0; MAX_POLICY_NAME_BYTES], key: [0; MAX_KEY_BYTES] }
    }
}

const CHECK: &[u8] = b"/v1/check";
const CHECK_METHODS: &str = "GET, HEAD, POST";
const BATCH_METHODS: &str = "POST";
const READ_METHODS: &str = "GET, HEAD";

impl<'a> Route<'a> {
    /// # Errors
    /// When the path, the method or a parameter is none of ours.
    #[inline]
    pub(super) fn of(head: &Head<'a>, names: &'a mut NameBuffers) -> Result<Self, Problem> {
        let path = head.target.path;
        if let Some(rest) = path.strip_prefix(CHECK) {
            match rest {
                [b'/', names_in_path @ ..] => return check(head, names_in_path, names).map(Self::Check),
                [] => return batch(head).map(Self::Batch),
                _ => return Err(Problem::NotFound),
            }
        }
        let read = &[Method::Get, Method::Head];
        match path {
            b"/health" => allow(head.method, read, READ_METHODS).map(|()| Self::Health),
            b"/metrics" => allow(head.method, read, READ_METHODS).map(|()| Self::Metrics),
            _ => Err(Problem::NotFound),
        }
    }
}

fn allow(method: Method, methods: &[Method], names: &'static str) -> Result<(), Problem> {
    if methods.contains(&method) { Ok(()) } else { Err(Problem::MethodNotAllowed(names)) }
}

/// The costs of a batch stand in its body, so that only the status of a denial is left to choose.
fn batch(head: &Head<'_>) -> Result<Status, Problem> {
    allow(head.method, &[Method::Post], BATCH_METHODS)?;
    match parameters(head.target.query)? {
        (None, deny) => Ok(deny),
        (Some(_), _) => Err(Problem::UnknownParameter),
    }
}

/// `{policy}/{key}`; what follows the policy is the key, slashes too.
#[inline]
fn check<'a>(
    head: &Head<'a>,
    path: &'a [u8],
    names: &'a mut NameBuffers,
) -> Result<CheckRequest<'a>, Problem> {
    if matches!(head.method, Method::Delete | Method::Other) {
        return Err(Problem::MethodNotAllowed(CHECK_METHODS));
    }
    let slash = memchr::memchr(b'/', path).ok_or(Problem::NotFound)?;
    let policy =
        percent_decode(&path[..slash], &mut names.policy).map_err(|_| CheckProblem::UnknownPolicy)?;
    let key = percent_decode(&path[slash + 1..], &mut names.key).map_err(|_| CheckProblem::BadKey)?;
    if key.is_empty() {
        return Err(CheckProblem::BadKey.into());
    }
    let (cost, deny) = parameters(head.target.query)?;
    Ok(CheckRequest { policy, key, cost: cost.unwrap_or(1), deny })
}

/// The cost, if it is given, and the status of a denial.
#[inline]
fn parameters(query: Option<&[u8]>) -> Result<(Option<u64>, Status), Problem> {
    let (mut cost, mut deny) = (None, None);
    let Some(query) = query else { return Ok((cost, Status::TooManyRequests)) };
    for parameter in query.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
        if let Some(value) = parameter.strip_prefix(b"cost=") {
            let value = whole_number(value).ok_or(Problem::BadCost)?;
            if cost.replace(value).is_some() {
                return Err(Problem::BadCost);
            }
        } else if let Some(value) = parameter.strip_prefix(b"deny_status=") {
            let status = match value {
                b"401" => Status::Unauthorized,
                b"403" => Status::Forbidden,
                b"429" => Status::TooManyRequests,
                _ => return Err(Problem::BadDenyStatus),
            };
            if deny.replace(status).is_some() {
                return Err(Problem::BadDenyStatus);
            }
        } else {
            return Err(Problem::UnknownParameter);
        }
    }
    Ok((cost, deny.unwrap_or(Status::TooManyRequests)))
}

fn whole_number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if plain { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}
