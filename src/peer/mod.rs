//! One Diameter peer: RFC 6733 §5.6 machine, watchdog on top, capabilities, pending requests,
//! and which peer gets a request.
//!
//! Pure: knows octets and time that are handed in, never a socket. What the requests mean is not
//! its business; a request is a token here.

pub mod jitter;
pub mod watchdog;
