//! What stands before a region's server and speaks TLS for it, as edge hosts have it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(5);

/// Listens until the test process ends.
pub(crate) struct Front {
    passed: Arc<AtomicUsize>,
}

impl Front {
    /// At `port` of `address`; what comes goes to port `to` of the same address.
    pub(crate) fn start(address: &'static str, port: u16, to: u16, tls: &Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind((address, port)).unwrap();
        let (tls, passed) = (Arc::clone(tls), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&passed);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (tls, count) = (Arc::clone(&tls), Arc::clone(&count));
                std::thread::spawn(move || {
                    if pass(client, tls, (address, to)).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { passed }
    }

    /// Requests that were answered through it.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

/// One request without a body, and its answer; then both connections are over.
fn pass(client: TcpStream, tls: Arc<ServerConfig>, to: (&str, u16)) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut client = StreamOwned::new(ServerConnection::new(tls).map_err(io::Error::other)?, client);
    let mut request = Vec::new();
    let mut buffer = [0; 2048];
    while !request.ends_with(b"\r\n\r\n") {
        match client.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let mut server = TcpStream::connect(to)?;
    server.write_all(&request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}
