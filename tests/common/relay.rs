//! A relay of datagrams that loses, doubles and delays them by seeded chance, or cuts the line.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// How often, in percent of the datagrams.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lost_percent: u32,
    pub(crate) doubled_percent: u32,
    pub(crate) delayed_percent: u32,
}

/// Passes on to one port what arrives at its own.
pub(crate) struct Relay {
    port: u16,
    stop: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(to: u16, faults: Faults) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (stop, cut, lost) = <(Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let shared = (Arc::clone(&stop), Arc::clone(&cut), Arc::clone(&lost));
        let thread = std::thread::spawn(move || relay(&socket, to, faults, &shared.0, &shared.1, &shared.2));
        Self { port, stop, cut, lost, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.cut.store(is_cut, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn relay(socket: &UdpSocket, to: u16, faults: Faults, stop: &AtomicBool, cut: &AtomicBool, lost: &AtomicU64) {
    let mut random = SmallRng::seed_from_u64(u64::from(to));
    let mut delayed: Vec<(Instant, Vec<u8>)> = Vec::new();
    let mut buffer = [0; 2048];
    let send = |bytes: &[u8]| drop(socket.send_to(bytes, ("127.0.0.1", to)));
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        delayed.retain(|(due, bytes)| {
            if *due <= now {
                send(bytes);
            }
            *due > now
        });
        let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
        let mut hits = |percent: u32| random.random_range(0..100) < percent;
        if cut.load(Ordering::Relaxed) || hits(faults.lost_percent) {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let copies = 1 + usize::from(hits(faults.doubled_percent));
        for _ in 0..copies {
            if hits(faults.delayed_percent) && delayed.len() < 1000 {
                delayed.push((now + Duration::from_millis(40), buffer[..length].to_vec()));
            } else {
                send(&buffer[..length]);
            }
        }
    }
}
