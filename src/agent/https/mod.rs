//! The one way out: blocking HTTPS with a limit on everything.
//!
//! A [`Client`] sends a [`Request`] and gives a [`Response`] or a [`CallError`] whose text says what to
//! do next. Connections are not kept: calls are minutes apart, and a connection that died in between
//! must not cost the one call that matters. What may be sent again, and when, is decided by [`Repeat`]
//! and [`RetryPolicy`], which know neither clock nor socket.

mod client;
mod error;
mod request;
mod retry;
mod url;

pub use client::{Client, ClientOptions, SetupError};
pub use error::{CallError, Effect, Failure, Service};
pub use request::{Method, Request, Response};
pub use retry::{Pace, Repeat, RetryPolicy};
pub use url::{BaseUrl, BaseUrlError};
