//! The keeper: one per node, tiny, changing rarely. It holds what must outlive the agent: it is
//! the parent of the tasks and records their ends, it holds the DNS sockets and hands them to each
//! new agent, and it restarts agent and store. It decides nothing.

pub mod child;
pub mod client;
pub mod daemon;
pub mod descriptors;
pub mod frame;
pub mod protocol;
pub mod readiness;
pub mod record;
pub mod server;
pub mod sockets;
pub mod supervised;

/// Says it on stderr, which is the keeper's log, or its service manager's. Where nobody listens any
/// more, the keeper goes on.
fn log(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
