//! The kernel's nf_tables protocol over netfilter netlink: changes to bytes, bytes to what the kernel
//! holds. It knows the expressions that a table of load balancing is made of, and says of any other
//! that it is another.
//!
//! It opens no socket, holds no state and knows no policy; bytes go in and out. The protocol is
//! `linux/netfilter/nf_tables.h` as of Linux 6.1. The decoders are total: any bytes give a value or a
//! [`DecodeError`], never a panic, for what they read came from outside.
//!
//! ```text
//! Transaction of Change ▶ one acknowledgement, or an error for each message refused; all or nothing
//! Query ────────────────▶ a payload for each object, read by its type's decode
//! ```

mod attribute;
mod chain;
mod data;
mod element;
mod expression;
mod frame;
mod request;
mod rule;
mod set;
mod transaction;

pub use attribute::DecodeError;
pub use chain::{Chain, Hook, Place};
pub use data::{Data, Verdict};
pub use element::{Element, Elements};
pub use expression::{
    Base, Comparison, ConnectionKey, DESTINATION_REWRITTEN, Expression, MetaKey, Nat, NatKind,
    NumberKind, Register, RouteKey, state,
};
pub use frame::{Family, generation};
pub use request::{Change, Existing, Query};
pub use rule::Rule;
pub use set::{DataType, Set, SetFlags};
pub use transaction::Transaction;
