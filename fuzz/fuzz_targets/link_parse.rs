//! Bytes as if they had opened: they are read or refused, and what was read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw_rating::link::fuzzing::{MAX_BODY_BYTES, read};

fuzz_target!(|body: &[u8]| {
    if body.len() <= MAX_BODY_BYTES {
        read(body);
    }
});
