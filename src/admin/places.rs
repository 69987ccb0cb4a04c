//! The places of a listener: so many questions at a time, and who gives way when all are taken.
//!
//! Anybody can open connections, so one of which nothing is known yet has its place only while there are others: the
//! one that has waited longest gives way to who comes. Who was let in, or is being answered, keeps it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::Refusal;
use super::listener::Stream;

/// A thread that is to give way wakes and ends within this, or who comes is turned away.
const HANDOVER: Duration = Duration::from_millis(100);

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    /// Whether anybody can connect, so that who waits may have to give way.
    has_strangers: bool,
    taken: Mutex<Taken>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    arrivals: u64,
    /// Those that may have to give way, by arrival.
    waiting: BTreeMap<u64, Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    gives_way: AtomicBool,
}

/// A connection that has a place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    arrival: u64,
    connection: Arc<Connection>,
}

impl Places {
    pub(super) fn new(most: usize, has_strangers: bool) -> Arc<Self> {
        Arc::new(Self { most, has_strangers, taken: Mutex::default(), freed: Condvar::new() })
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// A place for `stream`, of somebody who is not known yet.
    ///
    /// # Errors
    /// Gives `stream` back when all are taken and none was given up in time.
    pub(super) fn take(self: &Arc<Self>, stream: Stream) -> Result<Place, Stream> {
        let mut taken = self.lock();
        if taken.count >= self.most && taken.send_one_away() {
            let is_full = |taken: &mut Taken| taken.count >= self.most;
            let waited = self.freed.wait_timeout_while(taken, HANDOVER, is_full);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if taken.count >= self.most {
            return Err(stream);
        }
        taken.count += 1;
        taken.arrivals += 1;
        let connection = Arc::new(Connection { stream, gives_way: AtomicBool::new(false) });
        let place = Place { places: Arc::clone(self), arrival: taken.arrivals, connection };
        place.offer_in(&mut taken);
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Wakes the one that has waited longest, to end; whether there is one.
    fn send_one_away(&mut self) -> bool {
        let Some((_, connection)) = self.waiting.pop_first() else { return false };
        // Relaxed: the end of reading wakes its thread, and whoever misses the flag by then finds nothing to read.
        connection.gives_way.store(true, Ordering::Relaxed);
        connection.stream.end_reading();
        true
    }
}

impl Place {
    pub(super) fn stream(&self) -> &Stream {
        &self.connection.stream
    }

    /// Whether it has to be given up now.
    pub(super) fn gives_way(&self) -> bool {
        self.connection.gives_way.load(Ordering::Relaxed)
    }

    /// It only waits for a stranger's bytes from here on.
    pub(super) fn offer(&self) {
        self.offer_in(&mut self.places.lock());
    }

    fn offer_in(&self, taken: &mut Taken) {
        if self.places.has_strangers && !self.gives_way() {
            taken.waiting.insert(self.arrival, Arc::clone(&self.connection));
        }
    }

    /// It does not give way from here on.
    ///
    /// # Errors
    /// When it has to already.
    pub(super) fn keep(&self) -> Result<(), Refusal> {
        self.places.lock().waiting.remove(&self.arrival);
        if self.gives_way() { Err(self.busy()) } else { Ok(()) }
    }

    /// What is said to who has to give way.
    pub(super) fn busy(&self) -> Refusal {
        Refusal::Busy(self.places.most)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.waiting.remove(&self.arrival);
        taken.count -= 1;
        drop(taken);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The other end reads nothing once the connection is gone.
    fn pair() -> (Stream, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Stream::Unix(one), other)
    }

    /// Holds `place` as a thread does that reads from it, until it has to give way.
    fn read_until_sent_away(place: Place) {
        std::thread::spawn(move || {
            let _ = place.stream().read_within(&mut [0], Duration::from_secs(10));
            assert!(place.gives_way());
        });
    }

    #[test]
    fn who_has_waited_longest_gives_way_and_who_is_kept_does_not() {
        let places = Places::new(3, true);
        let (streams, mut ends): (Vec<_>, Vec<_>) = (0..3).map(|_| pair()).unzip();
        let mut taken: Vec<Place> = streams.into_iter().map(|stream| places.take(stream).unwrap()).collect();
        taken[0].keep().unwrap();
        let third = taken.pop().unwrap();
        read_until_sent_away(taken.pop().unwrap());
        let (stream, _end) = pair();
        let fourth = places.take(stream).unwrap();
        assert_eq!(ends[1].read(&mut [0]).unwrap(), 0, "the second is still there");
        assert!(!taken[0].gives_way() && !third.gives_way());
        for place in [&third, &fourth] {
            place.keep().unwrap();
        }
        assert!(places.take(pair().0).is_err(), "a fourth place");
        drop(taken);
        assert!(places.take(pair().0).is_ok(), "a place that is free is not given");
    }

    #[test]
    fn who_does_not_end_in_time_is_not_counted_out() {
        let places = Places::new(1, true);
        let held = places.take(pair().0).unwrap();
        assert!(places.take(pair().0).is_err());
        assert!(matches!(held.keep(), Err(Refusal::Busy(1))), "it was told to go");
    }

    #[test]
    fn where_there_are_no_strangers_nobody_gives_way() {
        let places = Places::new(1, false);
        let held = places.take(pair().0).unwrap();
        assert!(places.take(pair().0).is_err());
        assert!(held.keep().is_ok());
    }
}
