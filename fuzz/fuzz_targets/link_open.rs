//! Sealed bytes: any that arrive, and real datagrams with any bytes changed. Only those that are whole are
//! heard, and each of them once.
#![no_main]

use ground::{Replicating, address};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use openclaw_rating::link::Handled;
use openclaw_rating::time::MonotonicNs;

#[derive(Arbitrary, Debug)]
enum Event {
    /// Any bytes.
    Bytes(Vec<u8>),
    /// A datagram of node 1, perhaps cut, lengthened and changed.
    Datagram {
        which: u8,
        changes: Vec<(u16, u8)>,
        length: Option<u16>,
    },
    Pass {
        milliseconds: u8,
    },
}

fn change(datagram: &[u8], changes: &[(u16, u8)], length: Option<u16>) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    bytes.resize(length.map_or(bytes.len(), |length| usize::from(length % 1500)), 0);
    for (at, change) in changes {
        if let Some(byte) = bytes.get_mut(usize::from(*at)) {
            *byte ^= change;
        }
    }
    bytes
}

fuzz_target!(|events: Vec<Event>| {
    let mut now = MonotonicNs(1_000_000_000);
    let [mut sender, mut receiver] = [1, 2].map(|own| Replicating::new(own, now));
    let mut sent: Vec<(Vec<u8>, bool)> = vec![];
    for event in events.iter().take(64) {
        let bytes = match event {
            Event::Bytes(bytes) => bytes.clone(),
            Event::Datagram { which, changes, length } if !sent.is_empty() => {
                let which = usize::from(*which) % sent.len();
                change(&sent[which].0, changes, *length)
            }
            Event::Datagram { .. } => continue,
            Event::Pass { milliseconds } => {
                now = MonotonicNs(now.0 + u64::from(*milliseconds) * 1_000_000);
                sent.extend(sender.transmit(now).into_iter().map(|bytes| (bytes, false)));
                for mut bytes in receiver.transmit(now) {
                    sender.link.handle_datagram(now, address(2), &mut bytes, &mut sender.replica);
                }
                continue;
            }
        };
        let known = sent.iter_mut().find(|(datagram, _)| *datagram == bytes);
        let handled =
            receiver.link.handle_datagram(now, address(1), &mut bytes.clone(), &mut receiver.replica);
        if let Handled::Accepted { .. } = handled {
            let (_, heard) = known.expect("a datagram that nobody sent was heard");
            assert!(!std::mem::replace(heard, true), "a datagram was heard twice");
        }
    }
});
