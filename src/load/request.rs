//! Requests: all alike but for the number of the key.

use super::keys::{MAX_DECIMALS, write_decimal};
use super::plan::Settings;
use crate::percent::percent_encode;

/// A request with a hole for the key's number.
#[derive(Clone, Debug)]
pub(super) struct RequestTemplate {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl RequestTemplate {
    pub(super) fn new(settings: &Settings) -> Self {
        let before = format!(
            "GET /v1/check/{}/{}",
            percent_encode(&settings.policy),
            percent_encode(&settings.key_prefix)
        );
        let host = settings.host.clone().unwrap_or_else(|| settings.target.authority());
        let cost = settings.cost;
        let after = format!("?cost={cost} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        Self { before: before.into_bytes(), after: after.into_bytes() }
    }

    /// Room that any request fits.
    pub(super) const fn max_bytes(&self) -> usize {
        self.before.len() + MAX_DECIMALS + self.after.len()
    }

    /// Writes the request for a key at the start of `out`, which has room for it; its bytes.
    #[inline]
    pub(super) fn render(&self, key: u64, out: &mut [u8]) -> usize {
        let digits_start = self.before.len();
        out[..digits_start].copy_from_slice(&self.before);
        let digits_end = digits_start + write_decimal(key, &mut out[digits_start..]);
        let end = digits_end + self.after.len();
        out[digits_end..end].copy_from_slice(&self.after);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Target;

    #[test]
    fn a_request_asks_for_policy_key_and_cost() {
        let target = Target::Tcp { host: "::1".to_owned(), port: 8080 };
        let settings = Settings { target, cost: 3, ..Settings::default() };
        let template = RequestTemplate::new(&settings);
        let mut out = vec![0; template.max_bytes()];
        let len = template.render(42, &mut out);
        let expected = "GET /v1/check/default/load-42?cost=3 HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n";
        assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), expected);
        assert_eq!(template.render(u64::MAX, &mut out), template.max_bytes());
    }

    #[test]
    fn no_name_can_add_to_the_request() {
        let settings = Settings {
            policy: "a b/c?d\r\n".to_owned(),
            key_prefix: "ü%".to_owned(),
            target: Target::Unix("/x".into()),
            ..Settings::default()
        };
        let template = RequestTemplate::new(&settings);
        assert_eq!(template.before, b"GET /v1/check/a%20b%2Fc%3Fd%0D%0A/%C3%BC%25");
        assert_eq!(template.after, b"?cost=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
}
