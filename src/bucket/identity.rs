//! What other nodes and snapshots call limits.
//!
//! Of a policy's default limits that is the hash of its name. That of an override begins with the same bits, so
//! that who does not have the override (any more) still knows the policy.

use super::spec::Matcher;

/// The bits that an override has of its policy: what is left tells 60,000 overrides of one policy apart.
pub(super) const POLICY_BITS: u64 = u64::MAX << 40;

/// The identity of the limits that `policy` has for the keys of `matcher`; no name of a policy has a zero in it.
pub(super) fn identity_of_override(policy: u64, name: &str, matcher: &Matcher) -> u64 {
    let (kind, key) = match matcher {
        Matcher::Exact(key) => (b"\0=", key),
        Matcher::Prefix(key) => (b"\0^", key),
    };
    let hash = fnv1a(&[name.as_bytes(), kind, key].concat());
    (policy & POLICY_BITS) | (hash & !POLICY_BITS)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): names come from the configuration, not from clients.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
