//! A configuration file: it is valid, or every problem is said in words and with a place.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use openclaw_rating::config::{Sources, load};

/// A file of this process, in memory.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/openclaw-rating-fuzz-{}.toml", std::process::id())));

/// Names of what would be asked or read elsewhere.
const ELSEWHERE: [&[u8]; 2] = [b"region_url", b"/dev/"];

fuzz_target!(|text: &[u8]| {
    if ELSEWHERE.iter().any(|name| text.windows(name.len()).any(|part| part == *name)) {
        return;
    }
    std::fs::write(&*FILE, text).expect("there is room in memory");
    let sources = Sources { file: Some(FILE.clone()), environment: vec![], sets: vec![] };
    match load(&sources) {
        Ok(config) => assert!(!config.policies.is_empty() && !format!("{config:?}").is_empty()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
