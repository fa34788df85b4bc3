//! What a machine holds, or shall hold, in the kernel's words.
//!
//! Desired state, observed state, test fixture and `sandbox dump --format json` are this one type.
//! It is able to hold broken states, or they could never be observed and explained.

pub mod connection;
pub mod encryption;
pub mod entry;
pub mod link;
pub mod neighbour;
pub mod object;
pub mod process;
pub mod real_servers;
pub mod sandbox;
pub mod table;
pub mod virtual_server;
pub mod zone;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use connection::Connection;
pub use encryption::{SecurityPolicy, SecurityState};
pub use entry::Entry;
pub use link::{Address, Link, LinkKind, LinkName, Mac, Path, PeerName, Route};
pub use neighbour::{ForwardingEntry, Neighbour};
pub use object::{Key, Object};
pub use process::Process;
pub use real_servers::RealServers;
pub use sandbox::{Owner, Place, Sandbox, SandboxName, Sysctl};
pub use table::{BaseRule, Dispatch, PortAt, PortMap, PortTo, Publication, Table};
pub use virtual_server::{
    Forwarding, Protocol, RealServer, RealServerKey, Rotation, VirtualServer, VirtualServerKey,
};
pub use zone::Zone;

/// A machine, as far as swarmlb looks at it: its sandboxes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub sandboxes: BTreeMap<SandboxName, Sandbox>,
}

impl Node {
    /// Lets virtual servers that are equal in both hold the same memory, which is less, and next to
    /// nothing to compare.
    pub fn share_with(&mut self, other: &Node) {
        for (name, sandbox) in &mut self.sandboxes {
            let Some(other) = other.sandboxes.get(name) else { continue };
            for (key, server) in &mut sandbox.virtual_servers {
                if let Some(same) = other.virtual_servers.get(key).filter(|other| *other == server)
                {
                    *server = same.clone();
                }
            }
        }
    }
}
