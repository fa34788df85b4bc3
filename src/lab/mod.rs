//! A cluster on one machine: each node is a machine of its own as far as the kernel goes (network, mount and process
//! namespaces), all are joined by a switch in a namespace of its own, and this machine has a link to that.

pub mod node;
mod record;
pub mod underlay;

pub use record::{Init, Lab, MOST_NODES, Member};
