//! The kernel's protocol for IPsec (`NETLINK_XFRM`), as far as ESP with authenticated encryption over
//! IPv4 needs it: requests to bytes, bytes to states and policies.
//!
//! It opens no socket, holds no state and knows no policy; bytes go in and out. The protocol is
//! `linux/xfrm.h` as of Linux 6.1. The decoders are total: any bytes give a value or a [`DecodeError`],
//! never a panic, for what they read came from outside.

mod bytes;
mod policy;
mod request;
mod state;

pub use bytes::DecodeError;
pub use policy::{Direction, Policy, PolicyAction, Selector, Template};
pub use request::{Change, Query};
pub use state::{Aead, Identity, Mark, Mode, Numbering, Replay, State, StateFlags};
