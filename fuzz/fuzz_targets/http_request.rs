//! Bytes of a client, whole and in pieces: the answers are the same, as far as they go.
#![no_main]

use std::sync::Arc;

use ground::{specs, table};
use libfuzzer_sys::fuzz_target;
use openclaw_rating::api::{CoreService, ServiceParts};
use openclaw_rating::bucket::hash::KeyHasher;
use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::data_plane::{Next, Service as _};
use openclaw_rating::health::Health;
use openclaw_rating::http::{ConnectionState, HttpLimits};
use openclaw_rating::metrics::core::CoreMetrics;
use openclaw_rating::metrics::latency::histogram_exchange;
use openclaw_rating::time::MonotonicNs;

const NOW: MonotonicNs = MonotonicNs(1_000_000_000);
const ROOM: usize = 64 * 1024;

fn service() -> CoreService {
    let policies =
        Arc::new(PolicySet::new(&specs(5), &KeyHasher::new([1; 16]), NOW).expect("the policies are valid"));
    let mut service = CoreService::new(ServiceParts {
        table: Arc::new(table(&policies)),
        log: None,
        policies,
        limits: HttpLimits { max_header_bytes: 1024, max_target_bytes: 300, ..HttpLimits::default() },
        metrics: Arc::new(CoreMetrics::new()),
        histograms: histogram_exchange().0,
        health: Arc::new(Health::default()),
        region: "eu".to_owned(),
        version: "1",
    });
    service.set_wall_clock(784_111_777);
    service
}

/// What a client gets who sends `input` in those pieces.
fn answers<'i>(pieces: impl Iterator<Item = &'i [u8]>) -> Vec<u8> {
    let (mut service, mut connection) = (service(), ConnectionState::default());
    let (mut kept, mut written) = (vec![], vec![]);
    let mut output = vec![0; ROOM];
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let step = service.step(&mut connection, &kept, &mut output, NOW);
            assert!(step.consumed <= kept.len() && step.written <= output.len());
            kept.drain(..step.consumed);
            written.extend_from_slice(&output[..step.written]);
            match step.next {
                Next::NeedInput => break,
                Next::NeedOutputSpace => assert!(step.written > 0, "a step that does nothing"),
                Next::Close => return written,
                Next::AwaitMetrics => {
                    let (head, last) = service.finish_metrics(&mut connection, 0, &mut output);
                    written.extend_from_slice(&output[..head]);
                    if last {
                        return written;
                    }
                }
            }
        }
        assert!(kept.len() <= service.max_request_bytes() + piece.len(), "more is kept than a request");
    }
    written
}

/// The status of each answer. Of what ends a connection only that it does: a request that is refused for one
/// of its faults before it is complete may, when it is seen whole, be refused for another. Interim answers do not
/// count: who sends a body with its head is not told to go on.
fn statuses(answers: &[u8]) -> Vec<&[u8]> {
    const LINE: &[u8] = b"HTTP/1.1 ";
    let starts = answers.windows(LINE.len()).enumerate().filter(|(_, part)| *part == LINE);
    let status = starts.filter_map(|(at, _)| answers[at + LINE.len()..].get(..3));
    let is_final = |status: &&[u8]| status.iter().all(u8::is_ascii_digit) && status[0] != b'1';
    let mut statuses: Vec<_> = status.filter(is_final).collect();
    if let Some(last) = statuses.last_mut()
        && last[0] >= b'4'
    {
        *last = b"refused";
    }
    statuses
}

fuzz_target!(|data: &[u8]| {
    let Some((stride, input)) = data.split_first() else { return };
    let whole = answers(std::iter::once(input));
    assert!(whole.is_empty() || whole.starts_with(b"HTTP/1.1 "));
    let pieces = answers(input.chunks(usize::from(*stride).max(1)));
    let (one, other) = (statuses(&whole), statuses(&pieces));
    let alike = one.starts_with(&other) || other.starts_with(&one);
    assert!(alike, "{}\n---\n{}", whole.escape_ascii(), pieces.escape_ascii());
});
