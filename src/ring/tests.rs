//! What the ring promises to safe code, shown with sockets of this process.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;

const HERE: DirectFile = DirectFile(0);

/// A ring that has one end of a connection in its first place, and the other end.
fn ring_and_peer() -> (Ring, UnixStream) {
    let ring = Ring::new(RingConfig { submissions: 8, completions: 16, files: 1 }).unwrap();
    let (ours, peer) = UnixStream::pair().unwrap();
    ring.adopt(HERE, &ours).unwrap();
    (ring, peer)
}

#[test]
fn queues_are_as_long_as_the_locked_memory_of_many_rings_allows() {
    let whole = RingConfig { submissions: 4096, completions: 16_384, files: 64 };
    let queues = |bytes| {
        let RingConfig { submissions, completions, files } = whole.within(bytes);
        assert_eq!(files, 64);
        (submissions, completions)
    };
    assert_eq!(queues(None), (4096, 16_384));
    assert_eq!(queues(Some(1 << 20)), (4096, 16_384));
    // Half of the usual eight megabytes, for 16 and for 64 threads.
    assert_eq!(queues(Some((4 << 20) / 16)), (1024, 4096));
    assert_eq!(queues(Some((4 << 20) / 64)), (256, 1024));
    assert_eq!(queues(Some(0)), (256, 1024), "the kernel refuses it, and says why");
}

fn next(ring: &mut Ring) -> Completion {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(completion) = ring.completion() {
            return completion;
        }
        assert!(Instant::now() < until, "nothing completed");
        ring.wait(Duration::from_millis(50)).unwrap();
    }
}

fn written(sends: &mut SendBuffers, bytes: &[u8]) -> SendBuffer {
    let mut buffer = sends.take().unwrap();
    sends.unwritten(&mut buffer)[..bytes.len()].copy_from_slice(bytes);
    sends.wrote(&mut buffer, bytes.len());
    buffer
}

#[test]
fn what_is_written_leaves_and_what_arrives_is_read_until_it_is_given_back() {
    let (mut ring, mut peer) = ring_and_peer();
    let mut receives = ring.receive_buffers(2, 64).unwrap();
    let mut sends = ring.send_buffers(1, 64).unwrap();
    let mut buffer = written(&mut sends, b"hello");
    ring.send(HERE, &sends, &mut buffer, 7);
    assert!(sends.unwritten(&mut buffer).is_empty() && sends.take().is_none());
    let completion = next(&mut ring);
    assert_eq!((completion.operation(), completion.index()), (Operation::Send, 7));
    assert_eq!((sends.sent(&mut buffer, completion), buffer.len()), (5, 0));
    sends.give_back(buffer);
    assert!(sends.take().is_some());
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");

    ring.receive_multishot(HERE, &receives, 9);
    peer.write_all(b"answer").unwrap();
    let completion = next(&mut ring);
    assert_eq!(
        (completion.operation(), completion.index(), completion.errno()),
        (Operation::Receive, 9, None)
    );
    let received = receives.take(completion).unwrap();
    assert_eq!((receives.bytes(&received), receives.free()), (b"answer".as_slice(), 1));
    receives.give_back(received);
    assert_eq!(receives.free(), 2);
}

#[test]
fn memory_that_the_kernel_may_use_outlives_those_who_took_it() {
    let (mut ring, mut peer) = ring_and_peer();
    let receives = ring.receive_buffers(2, 64).unwrap();
    let mut sends = ring.send_buffers(1, 64).unwrap();
    let mut buffer = written(&mut sends, b"still there");
    ring.receive_multishot(HERE, &receives, 1);
    ring.send(HERE, &sends, &mut buffer, 2);
    drop((receives, sends, buffer));
    peer.write_all(b"answer").unwrap();
    let mut results = [next(&mut ring), next(&mut ring)].map(|completion| completion.result());
    results.sort_unstable();
    assert_eq!(results, [6, 11]);
    let mut bytes = [0; 11];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still there");
}

/// From now on the calling thread is told `EAGAIN` when it submits to a ring, as when the kernel has no memory.
fn starve_submissions() {
    const SYSCALL: u32 = 0;
    const TO_SUBMIT: u32 = 24;
    let load = |k| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
    let jump_if = |k: u32, jt, jf| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    let answer = |k| filter(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let mut program = [
        load(SYSCALL),
        jump_if(libc::SYS_io_uring_enter as u32, 0, 3),
        load(TO_SUBMIT),
        jump_if(0, 1, 0),
        answer(libc::SECCOMP_RET_ERRNO | libc::EAGAIN as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is whole and lives through the calls.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(done, "{}", io::Error::last_os_error());
}

fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

#[test]
fn a_kernel_without_memory_for_a_submission_is_waited_for_and_what_is_under_way_completes() {
    let (mut ring, mut peer) = ring_and_peer();
    let mut receives = ring.receive_buffers(2, 64).unwrap();
    ring.receive_multishot(HERE, &receives, 1);
    ring.wait(Duration::ZERO).unwrap();
    starve_submissions();
    peer.write_all(b"answer").unwrap();
    ring.shutdown_write(HERE, 2);
    let received = receives.take(next(&mut ring)).unwrap();
    assert_eq!(receives.bytes(&received), b"answer");
}

#[test]
fn a_ring_has_one_set_of_buffers_of_each_kind() {
    let (mut ring, _peer) = ring_and_peer();
    assert!(ring.receive_buffers(2, 64).is_ok() && ring.receive_buffers(2, 64).is_err());
    assert!(ring.send_buffers(2, 64).is_ok() && ring.send_buffers(2, 64).is_err());
}

#[test]
#[should_panic(expected = "the kernel has this buffer already")]
fn a_buffer_is_not_sent_twice_at_a_time() {
    let (mut ring, _peer) = ring_and_peer();
    let mut sends = ring.send_buffers(1, 64).unwrap();
    let mut buffer = written(&mut sends, b"once");
    ring.send(HERE, &sends, &mut buffer, 1);
    ring.send(HERE, &sends, &mut buffer, 1);
}

#[test]
#[should_panic(expected = "the kernel may still read this buffer")]
fn a_buffer_that_is_being_sent_is_not_given_back() {
    let (mut ring, _peer) = ring_and_peer();
    let mut sends = ring.send_buffers(1, 64).unwrap();
    let mut buffer = written(&mut sends, b"not yet");
    ring.send(HERE, &sends, &mut buffer, 1);
    sends.give_back(buffer);
}

#[test]
#[should_panic(expected = "until its own send has completed")]
fn a_buffer_is_not_had_back_for_the_completion_of_another_of_the_same_connection() {
    let (mut ring, _peer) = ring_and_peer();
    let mut sends = ring.send_buffers(2, 64).unwrap();
    let (mut first, mut second) = (written(&mut sends, b"first"), written(&mut sends, b"second"));
    ring.send(HERE, &sends, &mut first, 1);
    let completion = next(&mut ring);
    ring.send(HERE, &sends, &mut second, 1);
    sends.sent(&mut second, completion);
}

#[test]
#[should_panic(expected = "keeps their memory")]
fn a_buffer_of_one_ring_is_not_sent_by_another() {
    let ((mut ring, _peer), (mut other, _others)) = (ring_and_peer(), ring_and_peer());
    let mut sends = ring.send_buffers(1, 64).unwrap();
    let mut buffer = written(&mut sends, b"hello");
    other.send(HERE, &sends, &mut buffer, 1);
}

#[test]
#[should_panic(expected = "belongs to one ring")]
fn what_one_ring_received_is_not_read_from_the_buffers_of_another() {
    let ((mut ring, mut peer), (mut other, _others)) = (ring_and_peer(), ring_and_peer());
    let receives = ring.receive_buffers(2, 64).unwrap();
    let mut others = other.receive_buffers(2, 64).unwrap();
    ring.receive_multishot(HERE, &receives, 1);
    peer.write_all(b"answer").unwrap();
    others.take(next(&mut ring));
}
