//! Sends requests by `ureq` and `rustls`, within limits.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, Proxy, Timeout, http};

use super::error::{CallError, Failure, Service};
use super::request::{Request, Response};
use super::retry::{self, Pace, RetryPolicy};
use crate::agent::secret::{Secret, SecretSource};

const MAX_CA_BYTES: u64 = 4 << 20;
/// How the standard library begins an error of `getaddrinfo`.
const LOOKUP_FAILED: &str = "failed to lookup address information";
/// Enough for what a provider says of an error, short enough for a log line.
const MAX_EXCERPT_CHARS: usize = 300;

/// How calls go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The whole of one attempt, from resolving the name to the last byte of the answer.
    pub timeout: Duration,
    /// Resolving, connecting and the TLS handshake.
    pub connect_timeout: Duration,
    /// Bytes of an answer.
    pub max_response_bytes: u64,
    /// `http://[user:password@]host:port`; secret since it may hold a password.
    pub proxy: Option<Secret>,
    /// Or where that URL is kept: read for each call, as every secret is, so that one that cannot be read
    /// hinders that call only.
    pub proxy_source: Option<SecretSource>,
    /// PEM certificates trusted instead of the built-in roots (Mozilla's).
    pub ca_file: Option<PathBuf>,
    /// When and how often a call is repeated.
    pub retry: RetryPolicy,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            max_response_bytes: 1 << 20,
            proxy: None,
            proxy_source: None,
            ca_file: None,
            retry: RetryPolicy::default(),
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The CA file cannot be read.
    #[error("cannot read the CA file {path}: {cause}. Check the path and who may read it")]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The CA file is no PEM.
    #[error(
        "the CA file {path} has no certificate that can be used. It must hold `BEGIN CERTIFICATE` blocks \
         (PEM)"
    )]
    CaNotPem {
        /// The file.
        path: PathBuf,
    },
    /// The proxy's URL is none.
    #[error("the proxy is not a URL like `http://proxy.example.com:3128`")]
    Proxy,
}

/// Calls services and repeats what may be repeated.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    proxy_source: Option<SecretSource>,
    max_response_bytes: u64,
    retry: RetryPolicy,
}

impl Client {
    /// Reads the CA file and fixes the limits.
    pub fn new(options: &ClientOptions) -> Result<Self, SetupError> {
        let proxy = options.proxy.as_ref().map(|url| Proxy::new(url.expose())).transpose();
        let roots = options.ca_file.as_deref().map(read_certificates).transpose()?;
        let tls = TlsConfig::builder().root_certs(roots.unwrap_or(RootCerts::WebPki)).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy.map_err(|_| SetupError::Proxy)?)
            .timeout_global(Some(options.timeout))
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .user_agent(concat!("openclaw-rating/", env!("CARGO_PKG_VERSION")))
            .build();
        let max_response_bytes = options.max_response_bytes;
        let proxy_source = options.proxy_source.clone();
        Ok(Self { agent: config.new_agent(), proxy_source, max_response_bytes, retry: options.retry })
    }

    /// The proxy that its secret names now.
    fn named_proxy(&self) -> Result<Option<Proxy>, Failure> {
        let Some(source) = &self.proxy_source else { return Ok(None) };
        let url =
            source.read().map_err(|error| Failure::NotSent(format!("its proxy is not known: {error}")))?;
        let no_url = |_| Failure::NotSent(format!("{source} does not hold its proxy: {}", SetupError::Proxy));
        Proxy::new(url.expose()).map(Some).map_err(no_url)
    }

    fn run<B: AsSendBody>(
        &self,
        request: http::Request<B>,
        proxy: Option<Proxy>,
    ) -> Result<http::Response<Body>, ureq::Error> {
        match proxy {
            None => self.agent.run(request),
            proxy => self.agent.run(self.agent.configure_request(request).proxy(proxy).build()),
        }
    }

    /// Sends `request` until it is answered with success (2xx), within the retry policy.
    pub fn call(&self, service: &'static Service, request: &Request) -> Result<Response, CallError> {
        let mut pace = RealPace { start: Instant::now() };
        retry::run(&self.retry, request.repeat, &mut pace, || self.attempt(service, request))
    }

    fn attempt(&self, service: &'static Service, request: &Request) -> Result<Response, CallError> {
        let fail = |failure| CallError::new(service, request.call(), failure);
        let mut builder = http::Request::builder().method(request.method.name()).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let not_sent =
            |_| fail(Failure::NotSent("the URL or a header holds characters that it cannot".to_owned()));
        let proxy = self.named_proxy().map_err(fail)?;
        let sent = match &request.body {
            Some(body) => self.run(builder.body(body.as_bytes()).map_err(not_sent)?, proxy),
            None => self.run(builder.body(()).map_err(not_sent)?, proxy),
        };
        let mut answer = sent.map_err(|error| fail(failure_of(error, self.max_response_bytes)))?;
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| parse_retry_after(text, SystemTime::now()));
        let date = answer.headers().get("date").and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| httpdate::parse_http_date(text).ok());
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(self.max_response_bytes).read_to_vec();
        if !(200..300).contains(&status) {
            // The status says enough when the rest does not arrive.
            // What is cut first may end in the middle of a secret, which is not found then.
            let body = request.cover(&String::from_utf8_lossy(&body.unwrap_or_default()));
            let excerpt = excerpt(body.as_bytes());
            let is_throttled =
                status == 400 && service.throttle_marks.iter().any(|mark| excerpt.contains(mark));
            let code = if is_throttled { 429 } else { status };
            return Err(fail(Failure::Status { code, retry_after, excerpt }));
        }
        let body = body.map_err(|error| fail(failure_of(error, self.max_response_bytes)))?;
        Ok(Response { service, call: request.call(), status, date, body })
    }
}

struct RealPace {
    start: Instant,
}

impl Pace for RealPace {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&mut self, delay: Duration) {
        std::thread::sleep(delay);
    }

    fn jitter(&mut self) -> f64 {
        rand::random()
    }
}

fn read_certificates(path: &Path) -> Result<RootCerts, SetupError> {
    let unreadable = |cause| SetupError::CaUnreadable { path: path.to_owned(), cause };
    let mut pem = Vec::new();
    File::open(path).map_err(unreadable)?.take(MAX_CA_BYTES).read_to_end(&mut pem).map_err(unreadable)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(SetupError::CaNotPem { path: path.to_owned() }),
        }
    }
    if certificates.is_empty() {
        return Err(SetupError::CaNotPem { path: path.to_owned() });
    }
    Ok(RootCerts::from(certificates))
}

/// The library's own texts are not passed on where they could hold a URL.
fn failure_of(error: ureq::Error, max_response_bytes: u64) -> Failure {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, InvalidData, NetworkDown, NetworkUnreachable,
    };
    let not_sent = |why: &str| Failure::NotSent(why.to_owned());
    match error {
        ureq::Error::Timeout(Timeout::Resolve) => not_sent("its name was not resolved in time"),
        ureq::Error::Timeout(Timeout::Connect) => not_sent("not connected in time"),
        ureq::Error::Timeout(_) => Failure::TimedOut,
        ureq::Error::HostNotFound => not_sent("its name is not found"),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => not_sent("the URL is not valid"),
        ureq::Error::ConnectionFailed => not_sent("no address of it answers"),
        ureq::Error::ConnectProxyFailed(_) => not_sent("the proxy refuses"),
        ureq::Error::InvalidProxyUrl => not_sent("the proxy's URL is not valid"),
        ureq::Error::BodyExceedsLimit(_) => Failure::TooLarge(max_response_bytes),
        ureq::Error::LargeResponseHeader(..) => Failure::NotUnderstood("too many headers".to_owned()),
        ureq::Error::Protocol(_) => Failure::NotUnderstood("it is not HTTP/1.1".to_owned()),
        ureq::Error::Rustls(error) => Failure::Untrusted(error.to_string()),
        ureq::Error::Tls(why) => Failure::Untrusted(why.to_owned()),
        ureq::Error::Io(error) => match error.kind() {
            ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable => {
                Failure::NotSent(error.to_string())
            }
            InvalidData if error.to_string().contains("certificate") => Failure::Untrusted(error.to_string()),
            // What the resolver says has no kind of its own.
            _ if error.to_string().starts_with(LOOKUP_FAILED) => Failure::NotSent(error.to_string()),
            _ => Failure::Broken(error.to_string()),
        },
        _ => Failure::Broken("the client gave up".to_owned()),
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3).
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text.trim()).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// The beginning of a body, as one printable line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_EXCERPT_CHARS)]);
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MAX_EXCERPT_CHARS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(parse_retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_one_short_printable_line() {
        assert_eq!(excerpt(b"\x1b[31mno\r\nway\n"), "[31mno  way");
        assert_eq!(excerpt(&[b'x'; 10_000]).len(), MAX_EXCERPT_CHARS);
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn a_client_that_cannot_be_made_says_why() {
        let text = |options| Client::new(&options).unwrap_err().to_string();
        let missing = ClientOptions { ca_file: Some("/nonexistent.pem".into()), ..ClientOptions::default() };
        assert!(text(missing).contains("/nonexistent.pem"));
        let empty = ClientOptions { ca_file: Some("/dev/null".into()), ..ClientOptions::default() };
        assert!(text(empty).contains("BEGIN CERTIFICATE"));
        let proxy = ClientOptions { proxy: Some(Secret::new("me:hunter2@")), ..ClientOptions::default() };
        let text = text(proxy);
        assert!(text.contains("http://proxy") && !text.contains("hunter2"), "{text}");
    }
}
