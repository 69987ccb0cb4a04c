//! Promises of the admin listeners, kept by a real server on sockets of its own.
//!
//! The agent is the other end of its channel: a thread that answers as a test says.
