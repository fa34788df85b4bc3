//! The API between nodes: one TLS port a node, on which every node shows a certificate of the cluster's own authority. A node
//! that joins gets its certificate there, for the secret in a token; one that has one reaches the store there, and has
//! commands run that look at this node.

mod admission;
mod client;
mod errand;
mod identity;
mod membership;
mod message;
mod pipe;
mod server;
mod tls;
mod token;

pub use client::{ApiError, Streams, join, run_errand};
pub use errand::{Sink, is_allowed};
pub use identity::{Authority, fingerprint};
pub use membership::{Founder, Membership};
pub use pipe::serve as serve_pipe;
pub use server::{address_towards, is_own, runtime, serve};
pub use token::{Token, TokenError};

/// The port that nodes listen on when nothing else is said. IANA has it for nobody.
pub const API_PORT: u16 = 7733;
