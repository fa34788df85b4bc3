//! A cluster of several nodes in a test's world.

use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};

use swarmlb::kernel::netns;

use super::Swarmlb;

/// A lab; commands go to its first node, or with `--node` to another. Dropped, it is taken down.
pub struct Lab {
    swarmlb: Swarmlb,
}

impl Lab {
    /// Brings up `nodes` nodes: node-1 and so on.
    pub fn up(nodes: u8) -> Self {
        let lab = Self { swarmlb: Swarmlb::new() };
        lab.good(&format!("lab up --nodes {nodes}"));
        lab
    }

    /// The nodes that a service's tasks were placed on, by slot.
    pub fn nodes_of(&self, service: &str) -> Vec<String> {
        let rows = self.json(&format!("service ps {service}"));
        let node = |row: &serde_json::Value| row["node"].as_str().expect("a node").to_owned();
        rows.as_array().expect("rows").iter().map(node).collect()
    }

    /// Does something inside a sandbox of a node.
    pub fn inside<T: Send>(&self, node: &str, sandbox: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace(node, sandbox);
        netns::within(namespace.as_fd(), work).expect("the sandbox can be entered")
    }

    /// The namespace of a sandbox of a node.
    pub fn namespace(&self, node: &str, sandbox: &str) -> OwnedFd {
        let nodes = self.json("lab status");
        let mut nodes = nodes.as_array().expect("nodes").iter();
        let pid = &nodes.find(|row| row["node"] == node).expect("the node")["pid"];
        let path = format!("/proc/{pid}/root/run/netns/{sandbox}");
        let namespace = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        namespace.into()
    }

    /// Takes it down and sees that its directory is gone too.
    pub fn down(self) {
        self.good("lab down");
        assert!(!self.state().exists(), "the lab's directory is left");
    }
}

impl Deref for Lab {
    type Target = Swarmlb;

    fn deref(&self) -> &Swarmlb {
        &self.swarmlb
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.state().exists() {
            return;
        }
        if std::thread::panicking() {
            for node in
                std::fs::read_dir(self.state().join("nodes")).into_iter().flatten().flatten()
            {
                for log in ["agent.log", "keeper.log", "store.log", "api.log"] {
                    let path = node.path().join(log);
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    let last: Vec<&str> = text.lines().rev().take(40).collect();
                    eprintln!("--- {}, newest first\n{}", path.display(), last.join("\n"));
                }
            }
        }
        self.run("lab down");
        let _ = std::fs::remove_dir_all(self.state());
    }
}
