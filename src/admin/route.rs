//! What a question is about.

use super::answer::Refusal;
use crate::bucket::policy::{MAX_KEY_BYTES, MAX_POLICY_NAME_BYTES};
use crate::http::{Head, Method, percent_decode};

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// One bucket.
    Bucket { policy: Vec<u8>, key: Vec<u8> },
}

impl Route {
    /// # Errors
    /// When path or method is none of ours.
    pub(super) fn of(head: &Head<'_>) -> Result<Self, Refusal> {
        let names = head.target.path.strip_prefix(b"/v1/buckets/").ok_or(Refusal::NotFound)?;
        if head.method != Method::Get {
            return Err(Refusal::MethodNotAllowed("GET"));
        }
        let slash = memchr::memchr(b'/', names).ok_or(Refusal::NotFound)?;
        let (mut policy, mut key) = ([0; MAX_POLICY_NAME_BYTES], [0; MAX_KEY_BYTES]);
        let policy = percent_decode(&names[..slash], &mut policy).map_err(|_| Refusal::UnknownPolicy)?;
        let key = percent_decode(&names[slash + 1..], &mut key).map_err(|_| Refusal::BadKey)?;
        if key.is_empty() {
            return Err(Refusal::BadKey);
        }
        Ok(Self::Bucket { policy: policy.to_vec(), key: key.to_vec() })
    }
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
    }

    #[test]
    fn what_is_no_question_is_refused_with_what_would_be_one() {
        assert_eq!(route("GET /"), Err(Refusal::NotFound));
        assert_eq!(route("GET /v1/buckets/api"), Err(Refusal::NotFound));
        assert_eq!(route("GET /v1/buckets/api/"), Err(Refusal::BadKey));
        assert_eq!(route("GET /v1/buckets/api/%zz"), Err(Refusal::BadKey));
        assert_eq!(route("POST /v1/buckets/api/a"), Err(Refusal::MethodNotAllowed("GET")));
        let long = format!("GET /v1/buckets/{}/a", "p".repeat(65));
        assert_eq!(route(&long), Err(Refusal::UnknownPolicy));
    }
}
