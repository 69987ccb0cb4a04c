//! One message out, one message back, within a time limit.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use domain::base::Message;

use super::error::{DnsError, Trouble};

/// The largest answer that UDP carries without extensions, and more than enough for an address.
const MAX_DATAGRAM: usize = 4096;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Transport {
    Udp,
    Tcp,
}

/// Asks over UDP, and over TCP when the answer does not fit.
pub(in super::super) fn query_udp_then_tcp(
    server: SocketAddr,
    request: &[u8],
    timeout: Duration,
) -> Result<Message<Vec<u8>>, DnsError> {
    let answer = exchange(server, request, timeout, Transport::Udp)?;
    if answer.header().tc() { exchange(server, request, timeout, Transport::Tcp) } else { Ok(answer) }
}

/// Sends `request` and waits for the answer with its id.
pub(in super::super) fn exchange(
    server: SocketAddr,
    request: &[u8],
    timeout: Duration,
    transport: Transport,
) -> Result<Message<Vec<u8>>, DnsError> {
    let deadline = Instant::now() + timeout;
    match transport {
        Transport::Udp => over_udp(server, request, deadline),
        Transport::Tcp => over_tcp(server, request, deadline),
    }
}

fn over_udp(server: SocketAddr, request: &[u8], deadline: Instant) -> Result<Message<Vec<u8>>, DnsError> {
    let not_reached =
        |error: io::Error| DnsError::new(server.to_string(), Trouble::NotReached(error.to_string()));
    let any =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket: UdpSocket = UdpSocket::bind::<SocketAddr>(any).map_err(not_reached)?;
    socket.connect(server).map_err(not_reached)?;
    socket.send(request).map_err(not_reached)?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let left = time_left(server, deadline)?;
        socket.set_read_timeout(Some(left)).map_err(|_| no_answer(server))?;
        let length = socket.recv(&mut buffer).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => not_reached(error),
            _ => no_answer(server),
        })?;
        // Anybody may send to a UDP port: what is not the answer is passed over.
        if let Some(answer) = answer_to(request, buffer[..length].to_vec()) {
            return Ok(answer);
        }
    }
}

fn over_tcp(server: SocketAddr, request: &[u8], deadline: Instant) -> Result<Message<Vec<u8>>, DnsError> {
    let not_reached =
        |error: io::Error| DnsError::new(server.to_string(), Trouble::NotReached(error.to_string()));
    let bad = |why: &str| DnsError::new(server.to_string(), Trouble::NotUnderstood(why.to_owned()));
    let mut stream =
        TcpStream::connect_timeout(&server, time_left(server, deadline)?).map_err(not_reached)?;
    let length = u16::try_from(request.len()).map_err(|_| bad("the request is too long"))?;
    let framed = [&length.to_be_bytes(), request].concat();
    stream.set_write_timeout(Some(time_left(server, deadline)?)).map_err(|_| no_answer(server))?;
    stream.write_all(&framed).map_err(|_| no_answer(server))?;
    let mut prefix = [0; 2];
    read_by(&mut stream, server, &mut prefix, deadline)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(prefix))];
    read_by(&mut stream, server, &mut answer, deadline)?;
    answer_to(request, answer).ok_or_else(|| bad("it is not the answer to what was asked"))
}

/// Fills `buffer`, which a slow server must not stretch beyond `deadline` byte by byte.
fn read_by(
    stream: &mut TcpStream,
    server: SocketAddr,
    buffer: &mut [u8],
    deadline: Instant,
) -> Result<(), DnsError> {
    let mut filled = 0;
    while filled < buffer.len() {
        stream.set_read_timeout(Some(time_left(server, deadline)?)).map_err(|_| no_answer(server))?;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(no_answer(server)),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(no_answer(server)),
        }
    }
    Ok(())
}

/// `bytes` as a message, when it answers `request`: its id, and its question where it repeats one.
fn answer_to(request: &[u8], bytes: Vec<u8>) -> Option<Message<Vec<u8>>> {
    let request = Message::from_octets(request).ok()?;
    let answer = Message::from_octets(bytes).ok()?;
    let same_id = answer.header().qr() && answer.header().id() == request.header().id();
    let repeats_none = answer.header_counts().qdcount() == 0;
    (same_id && (repeats_none || answer.question() == request.question())).then_some(answer)
}

fn time_left(server: SocketAddr, deadline: Instant) -> Result<Duration, DnsError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(no_answer(server)) } else { Ok(left) }
}

fn no_answer(server: SocketAddr) -> DnsError {
    DnsError::new(server.to_string(), Trouble::NoAnswer)
}
