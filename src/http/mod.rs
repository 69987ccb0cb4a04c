//! HTTP/1.1 without IO: where a request begins and ends, and whether it may be believed.
//!
//! [`ConnectionState::next_request`] takes the bytes at hand and gives the next [`Request`] or a
//! [`Reject`]. What could be read in two ways is refused and the connection closed (RFC 9112, 11.2).
//! Answers go to an [`OutputBuffer`], whose room is checked before a request is taken.

mod chunked;
mod connection;
mod head;
mod output;
mod reject;
mod target;

pub use connection::{Body, ConnectionState, Frame, Request};
pub use head::{Framing, Head, Method, only_field};
pub use output::{OutputBuffer, decimal_digits};
pub use reject::{Reject, Status};
pub use target::{BadPercent, Target, percent_decode};

/// Bytes of an empty line, which may stand before a request.
const BLANK_LINE_BYTES: usize = 2;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Request line and header section together.
    pub max_header_bytes: usize,
    /// Request target.
    pub max_target_bytes: usize,
    /// Body as sent, the framing of chunks and trailers included.
    pub max_body_bytes: usize,
    /// Requests after which a connection is closed; 0 is no limit.
    pub max_requests_per_connection: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_header_bytes: 8192,
            max_target_bytes: 4096,
            max_body_bytes: 65_536,
            max_requests_per_connection: 0,
        }
    }
}

impl HttpLimits {
    /// The most bytes of one unfinished request that a caller has to keep.
    #[must_use]
    pub const fn max_request_bytes(&self) -> usize {
        BLANK_LINE_BYTES + self.max_header_bytes + self.max_body_bytes
    }
}
