//! An HTTP/1.1 server that answers by a function, and misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use openclaw_rating::agent::https::BaseUrl;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// What the server was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

pub(crate) fn json(status: u16, body: &Value) -> Answer {
    Answer { status, headers: vec![("Content-Type", "application/json".to_owned())], body: body.to_string() }
}

pub(crate) fn text(status: u16, body: &str) -> Answer {
    Answer { status, headers: vec![], body: body.to_owned() }
}

/// How the next request is ill-treated.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Handled as always: places a fault later in a sequence.
    Pass,
    /// Answered so, without being handled.
    Answer(Answer),
    /// Handled, but the answer never comes.
    SilentAfterwards,
    /// Neither handled nor answered.
    Silent,
    /// Handled, and the connection is closed instead of an answer.
    CloseAfterwards,
    /// Handled, and answered with this instead of JSON.
    Garble(&'static str),
    /// Handled, and the connection ends within the answer.
    CutShort,
}

pub(crate) fn status(status: u16) -> Fault {
    Fault::Answer(text(status, "injected"))
}

pub(crate) fn too_many(retry_after_s: u32) -> Fault {
    let mut answer = text(429, "slow down");
    answer.headers.push(("Retry-After", retry_after_s.to_string()));
    Fault::Answer(answer)
}

type Handler = Box<dyn FnMut(&Asked) -> Answer + Send>;

struct Shared {
    handler: Mutex<Handler>,
    faults: Mutex<VecDeque<Fault>>,
    asked: Mutex<Vec<Asked>>,
    is_over: AtomicBool,
}

/// The server; it ends when dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start(handler: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        Self::serve_on("127.0.0.1", handler, None)
    }

    /// Speaks TLS, by a certificate of its own authority for its address; the authority as PEM. It is dropped
    /// in the network of that address.
    pub(crate) fn start_tls(
        address: &str,
        handler: impl FnMut(&Asked) -> Answer + Send + 'static,
    ) -> (Self, String) {
        let (config, pem) = tls_config(&[address]);
        (Self::serve_on(address, handler, Some(config)), pem)
    }

    /// The same by a certificate that has expired.
    pub(crate) fn start_tls_expired(address: &str) -> (Self, String) {
        let mut params = rcgen::CertificateParams::new([address.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        let (config, pem) = tls_config_by(&rcgen::CertifiedKey { cert, signing_key });
        (Self::serve_on(address, |_| text(200, ""), Some(config)), pem)
    }

    fn serve_on(
        address: &str,
        handler: impl FnMut(&Asked) -> Answer + Send + 'static,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Mutex::new(Box::new(handler)),
            faults: Mutex::default(),
            asked: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (theirs, tls, stream) = (Arc::clone(&theirs), tls.clone(), stream.unwrap());
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                std::thread::spawn(move || match tls {
                    None => theirs.serve(stream),
                    Some(tls) => {
                        let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                        theirs.serve(&mut stream);
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn base(&self) -> BaseUrl {
        BaseUrl::new(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.base().join(path)
    }

    /// The next requests meet these faults, in this order.
    pub(crate) fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.lock().unwrap().extend(faults);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Method and target of every request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().unwrap().join();
    }
}

impl Shared {
    fn serve(&self, mut stream: impl Read + Write) {
        let Some(asked) = read_request(&mut stream) else { return };
        self.asked.lock().unwrap().push(asked.clone());
        let fault = self.faults.lock().unwrap().pop_front();
        let handle = || (self.handler.lock().unwrap())(&asked);
        match fault {
            None | Some(Fault::Pass) => write_answer(&mut stream, &handle()),
            Some(Fault::Answer(answer)) => write_answer(&mut stream, &answer),
            Some(Fault::Silent) => wait_for_end(&mut stream),
            Some(Fault::SilentAfterwards) => {
                handle();
                wait_for_end(&mut stream);
            }
            Some(Fault::CloseAfterwards) => {
                handle();
            }
            Some(Fault::Garble(instead)) => {
                handle();
                write_answer(&mut stream, &text(200, instead));
            }
            Some(Fault::CutShort) => {
                handle();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ok\":");
            }
        }
    }
}

/// A certificate for these names and addresses, of its own authority; the authority as PEM.
pub(crate) fn tls_config(names: &[&str]) -> (Arc<ServerConfig>, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    tls_config_by(&rcgen::generate_simple_self_signed(names).unwrap())
}

fn tls_config_by(key: &rcgen::CertifiedKey<rcgen::KeyPair>) -> (Arc<ServerConfig>, String) {
    let chain = vec![key.cert.der().clone()];
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, private.into()).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD.encode(key.cert.der());
    (Arc::new(config), format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"))
}

/// The client gives up: until then the connection stays open, as one does whose other end is gone.
fn wait_for_end(stream: &mut impl Read) {
    let _ = stream.read(&mut [0]);
}

fn read_request(stream: &mut impl Read) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    assert_eq!(words.next(), Some("HTTP/1.1"));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let earlier = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        assert_eq!(earlier, None, "{name} is sent twice");
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, target, headers, body: String::from_utf8(body).unwrap() })
}

fn write_answer(stream: &mut impl Write, answer: &Answer) {
    let mut text = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{text}\r\n{}", answer.body).as_bytes());
}
