//! One look at a URL: how far it got, how long each part took, what it answered. No redirects, one
//! deadline over all of it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};

use super::resolve::{ResolveError, Resolver};
use super::url::ProbeUrl;
use crate::agent::secret::{SecretError, SecretSource};

/// `/health` says little; what says more is cut here.
const MAX_ANSWER_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// A name with many addresses is tried at so many of them, within the one deadline.
const MAX_ADDRESSES: usize = 4;
const MAX_BODY_CHARS: usize = 1024;

/// What is asked, and how.
#[derive(Clone)]
pub struct Probe {
    /// What is asked.
    pub url: ProbeUrl,
    /// Who resolves its name.
    pub resolver: Resolver,
    /// Which authorities are trusted.
    pub tls: Arc<ClientConfig>,
    /// A bearer token that goes with it.
    pub token: Option<SecretSource>,
    /// From the look-up to the end of the answer.
    pub timeout: Duration,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.url)
    }
}

/// How long each part took, as far as it got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Looking up the name.
    pub resolve: Duration,
    /// Until TCP stood.
    pub connect: Duration,
    /// The TLS handshake; zero without TLS.
    pub tls: Duration,
    /// From the start to the end of the answer, or of patience.
    pub total: Duration,
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Who was asked, when it got so far.
    pub address: Option<SocketAddr>,
    /// How long it took.
    pub timings: Timings,
    /// What came of it.
    pub seen: Result<Answer, Blind>,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The beginning of its body, as printable text.
    pub body: String,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    /// No address.
    #[error("{0}")]
    Unresolved(#[from] ResolveError),
    /// No connection.
    #[error("no connection: {0}")]
    Unconnected(String),
    /// No TLS.
    #[error("no TLS: {0}")]
    Untrusted(String),
    /// No answer, or none that is HTTP.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// The token that goes with it cannot be read.
    #[error("{0}")]
    Secret(String),
}

impl From<SecretError> for Blind {
    fn from(error: SecretError) -> Self {
        Self::Secret(error.to_string())
    }
}

impl Sight {
    /// Whether it was answered with 200.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(&self.seen, Ok(answer) if answer.status == 200)
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.timings.total.as_millis();
        match &self.seen {
            Ok(Answer { status, .. }) => write!(f, "{status} in {ms} ms"),
            Err(why) => write!(f, "{why} (after {ms} ms)"),
        }
    }
}

impl Probe {
    /// Looks once.
    #[must_use]
    pub fn look(&self) -> Sight {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let mut sight =
            Sight { address: None, timings: Timings::default(), seen: Err(Blind::Unanswered(String::new())) };
        sight.seen = self.ask(start, deadline, &mut sight.address, &mut sight.timings);
        sight.timings.total = start.elapsed();
        sight
    }

    fn ask(
        &self,
        start: Instant,
        deadline: Instant,
        address: &mut Option<SocketAddr>,
        timings: &mut Timings,
    ) -> Result<Answer, Blind> {
        let token = self.token.as_ref().map(SecretSource::read).transpose()?;
        let addresses = self.resolver.addresses(self.url.host(), self.url.port(), deadline)?;
        timings.resolve = start.elapsed();
        let (stream, connected_to) = connect(&addresses, deadline)?;
        *address = Some(connected_to);
        timings.connect = start.elapsed().saturating_sub(timings.resolve);
        let authorization = token.map(|token| format!("Authorization: Bearer {}\r\n", token.expose()));
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: openclaw-rating\r\nConnection: close\r\n{}\r\n",
            self.url.target(),
            self.url.authority(),
            authorization.unwrap_or_default(),
        );
        let stream = Timed { stream, deadline };
        if !self.url.is_tls() {
            return converse(stream, &request);
        }
        let begun = Instant::now();
        let stream = self.secure(stream);
        timings.tls = begun.elapsed();
        converse(stream?, &request)
    }

    fn secure(&self, mut stream: Timed) -> Result<StreamOwned<ClientConnection, Timed>, Blind> {
        let name = ServerName::try_from(self.url.host().to_owned())
            .map_err(|error| Blind::Untrusted(error.to_string()))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.tls), name)
            .map_err(|error| Blind::Untrusted(error.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| Blind::Untrusted(why_untrusted(&error)))?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

/// What went wrong in a handshake, and where to look.
fn why_untrusted(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => format!(
            "{error}. If it is an authority of your own, name its certificate by `ca_file` in [agent.http]"
        ),
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS at this port".to_owned(),
        _ => why(error),
    }
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "not in time".to_owned(),
        _ => error.to_string(),
    }
}

/// The first of `addresses` that takes a connection.
fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<(TcpStream, SocketAddr), Blind> {
    let mut last = Blind::Unconnected("the name has no address".to_owned());
    let count = addresses.len().min(MAX_ADDRESSES);
    for (at, address) in addresses.iter().take(count).enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        // One that swallows packets leaves time for those after it.
        let share = left / u32::try_from(count - at).unwrap_or(1);
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = Blind::Unconnected(format!("{address}: {error}")),
        }
    }
    Err(last)
}

/// A stream that a slow peer cannot stretch beyond the deadline, byte by byte.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn converse(mut stream: impl Read + Write, request: &str) -> Result<Answer, Blind> {
    let unanswered = |error: io::Error| Blind::Unanswered(why(&error));
    stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(unanswered)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            // Many end a TLS connection without a word.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unanswered(error)),
        }
        if bytes.len() > MAX_ANSWER_BYTES || is_settled(&bytes) {
            break;
        }
    }
    read_answer(&bytes)
}

/// Whether `bytes` has all of the body that its `Content-Length` promises, or is not HTTP at all.
fn is_settled(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return false,
        Err(_) => return true,
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    length.is_some_and(|length| bytes.len() - head >= length)
}

fn read_answer(bytes: &[u8]) -> Result<Answer, Blind> {
    let not_http = || Blind::Unanswered("it is not HTTP".to_owned());
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => {
            let body = String::from_utf8_lossy(&bytes[head..]);
            let body = body.chars().filter(|c| !c.is_control()).take(MAX_BODY_CHARS).collect();
            Ok(Answer { status: response.code.ok_or_else(not_http)?, body })
        }
        Ok(httparse::Status::Partial) if bytes.is_empty() => {
            Err(Blind::Unanswered("the connection was closed".to_owned()))
        }
        Ok(httparse::Status::Partial) => Err(Blind::Unanswered("it broke off".to_owned())),
        Err(_) => Err(not_http()),
    }
}

/// Addresses by the host's own means, which may take longer than asked for.
pub(super) fn host_addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::agent::signals::trust;

    fn probe(address: SocketAddr, timeout_ms: u64) -> Probe {
        Probe {
            url: ProbeUrl::new(&format!("http://{address}")).unwrap(),
            resolver: Resolver::Host,
            tls: trust(None).unwrap(),
            token: None,
            timeout: Duration::from_millis(timeout_ms),
        }
    }

    /// A server that answers one connection by `answer`, then keeps it open.
    fn served(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut [0; 1]);
        });
        address
    }

    #[test]
    fn an_answer_is_whole_when_its_length_says_so() {
        let sight =
            probe(served(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 5\r\n\r\nsick\n"), 5000).look();
        assert_eq!(sight.seen, Ok(Answer { status: 503, body: "sick".to_owned() }));
        assert!(sight.timings.total < Duration::from_secs(4) && !sight.is_good(), "{sight}");
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let sight = probe(served(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), 200).look();
        assert_eq!(sight.seen, Err(Blind::Unanswered("not in time".to_owned())));
        assert!(sight.timings.total < Duration::from_secs(2), "{sight}");
    }

    #[test]
    fn what_is_no_answer_says_what_it_is() {
        let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = |address| probe(address, 5000).look().to_string();
        assert!(text(refused).contains("no connection"), "{}", text(refused));
        assert!(text(served(b"SSH-2.0-x\r\n\r\n")).contains("not HTTP"));
        let redirect =
            probe(served(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n"), 5000).look();
        assert!(!redirect.is_good() && redirect.to_string().starts_with("302"));
    }

    #[test]
    fn an_endless_answer_is_cut() {
        let long: &'static [u8] =
            Box::leak([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 60_000]].concat().into_boxed_slice());
        let sight = probe(served(long), 5000).look();
        assert!(sight.is_good() && sight.timings.total < Duration::from_secs(4), "{sight}");
    }
}
