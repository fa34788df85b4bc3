//! The state directory: which file is what.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::node::SandboxName;

/// Where swarmlb keeps what outlives a process. One directory is one node of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// Names the state directory of the node that a process is to work on, whatever was typed: whoever
/// typed it is on another node.
pub const HERE: &str = "SWARMLB_HERE";
/// Set for a command that another node asked for: it looks no further.
pub const ERRAND: &str = "SWARMLB_ERRAND";

/// Longest path of a unix socket, in bytes (sun_path of unix(7), less its NUL).
const SOCKET_PATH: usize = 107;

/// What a store needs at the least, in bytes: its first pages and its log.
const ROOM: usize = 64 << 10;

/// Whether a file of that name is one that swarmlb makes.
fn is_ours(name: &str) -> bool {
    let of = |process: &str| {
        let rest = name.strip_prefix(process).unwrap_or_default();
        matches!(rest, ".log" | ".log.1" | ".sock" | ".lock")
    };
    let kept = [
        "node",
        "node.key",
        "node.states",
        "node.part",
        "membership.json",
        "membership.new",
        "intent.json",
        "intent.part",
        "store.json",
        "store.json.new",
    ];
    kept.contains(&name)
        || name.starts_with("store.db")
        || ["keeper", "agent", "store", "api"].into_iter().any(of)
}

impl StateDir {
    /// # Errors
    /// When the path is so long that no socket fits below it.
    pub fn new(root: &Path) -> io::Result<Self> {
        let state = Self { root: std::path::absolute(root)? };
        let length = state.keeper_socket().as_os_str().len();
        if length > SOCKET_PATH {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                format!(
                    "its path is {} bytes too long for a socket below it",
                    length - SOCKET_PATH
                ),
            ));
        }
        Ok(state)
    }

    /// Makes the directory, for root only.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn create(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.tasks())
    }

    /// Sees whether something can be written here, before anything relies on it.
    ///
    /// # Errors
    /// What the file system answered: that it is full, or for reading only.
    pub fn try_writing(&self) -> io::Result<()> {
        let probe = self.root.join("store.db-probe");
        let written = std::fs::write(&probe, [0; ROOM]);
        let removed = std::fs::remove_file(&probe);
        written.and(removed)
    }

    /// Removes what swarmlb made here, and the directory when nothing else is in it.
    ///
    /// # Errors
    /// What the file system answered; what is missing is no error.
    pub fn remove(&self) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str() {
                Some("tasks" | "images") => std::fs::remove_dir_all(entry.path())?,
                Some(name) if is_ours(name) => std::fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        match std::fs::remove_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("store.db")
    }

    pub fn store_socket(&self) -> PathBuf {
        self.root.join("store.sock")
    }

    pub fn keeper_socket(&self) -> PathBuf {
        self.root.join("keeper.sock")
    }

    /// The name that this node has had since its first start.
    pub fn node_name(&self) -> PathBuf {
        self.root.join("node")
    }

    /// Its private key, for root only.
    pub fn private_key(&self) -> PathBuf {
        self.root.join("node.key")
    }

    /// The numbers of the states of encryption that were ever made here.
    pub fn states_made(&self) -> PathBuf {
        self.root.join("node.states")
    }

    /// What this node keeps of a cluster of several.
    pub fn membership(&self) -> PathBuf {
        self.root.join("membership.json")
    }

    /// What was asked for, as it was last known here.
    pub fn intent_copy(&self) -> PathBuf {
        self.root.join("intent.json")
    }

    /// Where the store is, once it is known to be elsewhere.
    pub fn store_location(&self) -> PathBuf {
        self.root.join("store.json")
    }

    /// Locked by the one keeper of this directory.
    pub fn keeper_lock(&self) -> PathBuf {
        self.root.join("keeper.lock")
    }

    /// Locked by the one agent of this directory.
    pub fn agent_lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    /// What `process` (keeper, agent, store) says.
    pub fn log(&self, process: &str) -> PathBuf {
        self.root.join(format!("{process}.log"))
    }

    /// What is kept of container images.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub fn tasks(&self) -> PathBuf {
        self.root.join("tasks")
    }

    /// What belongs to one task's process: its record, its output, its resolv.conf.
    pub fn task(&self, sandbox: &SandboxName) -> PathBuf {
        self.tasks().join(sandbox.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_leaves_what_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path()).unwrap();
        state.create().unwrap();
        for name in [
            "store.db",
            "store.db-wal",
            "keeper.lock",
            "agent.log.1",
            "node",
            "node.key",
            "store.json",
            "mine.txt",
        ] {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        state.remove().unwrap();
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].file_name(), "mine.txt");
        std::fs::remove_file(left[0].path()).unwrap();
        state.remove().unwrap();
        assert!(!directory.path().exists());
        state.remove().unwrap();
        std::fs::create_dir(directory.path()).unwrap();
    }
}
