//! The kernel's IPVS protocol over generic netlink: requests to bytes, bytes to replies.
//!
//! It opens no socket, holds no state and knows no policy; bytes go in and out. The protocol is
//! `linux/ip_vs.h` as of Linux 6.1, family `IPVS` version 1. The decoders are total: any bytes give a
//! value or a [`DecodeError`], never a panic, for what they read came from outside.
//!
//! ```text
//! Query::Family ──▶ Reply::Family            which number the family has here
//! Query ─────────▶ Reply… Done               what the kernel holds
//! Change… ───────▶ Ack                        what was done and what was refused
//! ```

mod attribute;
mod family;
mod frame;
mod name;
mod real_server;
mod reply;
mod request;
mod statistics;
mod virtual_server;

pub use attribute::DecodeError;
pub use family::{FamilyId, FamilyInfo};
pub use frame::{Ack, Completeness};
pub use name::{Name, NameError};
pub use real_server::{Forwarding, RealServer, Tunnel, TunnelKind};
pub use reply::{Incoming, Info, Replies, Reply, Timeouts, replies};
pub use request::{Change, Query};
pub use statistics::Statistics;
pub use virtual_server::{Family, Flags, Key, Netmask, Protocol, VirtualServer};
