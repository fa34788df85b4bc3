//! The keeper: one per node, tiny, changing rarely. It holds what must outlive the agent: it is
//! the parent of the tasks and records their ends, it holds the DNS sockets and hands them to each
//! new agent, it notes when tasks wrote, and it restarts agent and store. It decides nothing.

pub mod child;
pub mod client;
pub mod container;
pub mod daemon;
pub mod descriptors;
pub mod frame;
pub mod journal;
pub mod kept;
pub mod marks;
pub mod protocol;
pub mod readiness;
pub mod record;
pub mod seat;
pub mod server;
pub mod sockets;
pub mod supervised;
pub mod times;
