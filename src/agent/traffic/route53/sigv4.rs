//! AWS Signature Version 4, as the AWS General Reference describes it.

use jiff::Timestamp;
use ring::{digest, hmac};

use crate::agent::https::Request;
use crate::agent::secret::Secret;
use crate::hex::encode as hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a request is signed with.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// The id of an access key.
    pub(super) access_key_id: String,
    /// The secret of it.
    pub(super) secret_access_key: Secret,
    /// The session token of a temporary key.
    pub(super) session_token: Option<Secret>,
}

/// Where and when a signature holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// An AWS region.
    pub(super) region: &'a str,
    /// The service's name in signatures.
    pub(super) service: &'a str,
    /// Now; AWS accepts five minutes of error.
    pub(super) at: Timestamp,
}

/// The parts of a request that are signed. Path and query must be encoded already and hold nothing that
/// a second encoding would change; the query's parameters must be sorted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signable<'a> {
    /// `GET`, `POST`.
    pub(super) method: &'a str,
    /// From the first slash.
    pub(super) path: &'a str,
    /// Without the question mark.
    pub(super) query: &'a str,
    /// Names in lower case, sorted, `host` and `x-amz-date` among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// What is sent after the headers.
    pub(super) body: &'a [u8],
}

/// Adds date, session token and `Authorization` to `request`, which goes to `host`.
pub(super) fn sign_request(
    request: Request,
    host: &str,
    credentials: &Credentials,
    scope: &Scope<'_>,
) -> Request {
    let date = long_date(scope.at);
    let token = credentials.session_token.as_ref().map(|token| ("x-amz-security-token", token.expose()));
    let headers: Vec<_> = [("host", host), ("x-amz-date", date.as_str())].into_iter().chain(token).collect();
    let (path, query) = request.path_and_query();
    let (method, body) = (request.method_name(), request.body_bytes());
    let signable = Signable { method, path, query, headers: &headers, body };
    let authorization = authorization(&signable, credentials, scope);
    let signed = request.header("x-amz-date", date).header("Authorization", authorization);
    let signed = signed.hide(&credentials.secret_access_key);
    match &credentials.session_token {
        Some(token) => signed.secret_header("x-amz-security-token", "", token),
        None => signed,
    }
}

/// The value of the `Authorization` header.
pub(super) fn authorization(request: &Signable<'_>, credentials: &Credentials, scope: &Scope<'_>) -> String {
    let names: Vec<_> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let (date, day) = (long_date(scope.at), short_date(scope.at));
    let credential_scope = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hashed = hex(digest::digest(&digest::SHA256, canonical(request, &names).as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{date}\n{credential_scope}\n{hashed}");
    let signature = hex(mac(&signing_key(&credentials.secret_access_key, &day, scope), &to_sign).as_ref());
    let id = &credentials.access_key_id;
    format!("{ALGORITHM} Credential={id}/{credential_scope}, SignedHeaders={names}, Signature={signature}")
}

fn canonical(request: &Signable<'_>, names: &str) -> String {
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let body = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    format!("{}\n{}\n{}\n{headers}\n{names}\n{body}", request.method, request.path, request.query)
}

fn signing_key(secret: &Secret, day: &str, scope: &Scope<'_>) -> hmac::Key {
    let start = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", secret.expose()).as_bytes());
    [day, scope.region, scope.service, "aws4_request"]
        .iter()
        .fold(start, |key, part| hmac::Key::new(hmac::HMAC_SHA256, mac(&key, part).as_ref()))
}

fn mac(key: &hmac::Key, text: &str) -> hmac::Tag {
    hmac::sign(key, text.as_bytes())
}

fn long_date(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn short_date(at: Timestamp) -> String {
    at.strftime("%Y%m%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");

    /// The signature with the keys and the moment of AWS's published test suite.
    fn signature(method: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let scope = Scope { region: "us-east-1", service: "service", at };
        let text = authorization(&Signable { method, path: "/", query, headers, body }, &credentials, &scope);
        assert!(text.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        ));
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        let plain = [HOST, DATE];
        for (name, method, query, expected) in [
            ("get-vanilla", "GET", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("post-vanilla", "POST", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "Param1=value1&Param2=value2",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-query-order-encoded",
                "GET",
                "%E1%88%B4=Value1&Param=Value2&Param-3=Value3",
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
        ] {
            assert_eq!(signature(method, query, &plain, b""), expected, "{name}");
        }
        let with_token = [HOST, DATE, ("x-amz-security-token", TOKEN)];
        let expected = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8";
        assert_eq!(signature("GET", "", &with_token, b""), expected, "get-vanilla-with-session-token");
        let form = [
            ("content-length", "13"),
            ("content-type", "application/x-www-form-urlencoded"),
            HOST,
            ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
            DATE,
        ];
        let expected = "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b";
        assert_eq!(signature("POST", "", &form, b"Param1=value1"), expected, "post-x-www-form-urlencoded");
    }

    #[test]
    fn a_signed_request_shows_no_secret() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("hunter2"),
            session_token: Some(Secret::new("hunter3")),
        };
        let scope = Scope { region: "us-east-1", service: "route53", at: Timestamp::UNIX_EPOCH };
        let request = sign_request(Request::get("https://a/b?c=d"), "a", &credentials, &scope);
        let shown = format!("{request:?} {credentials:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
