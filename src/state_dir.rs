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

/// Longest path of a unix socket, in bytes (sun_path of unix(7), less its NUL).
const SOCKET_PATH: usize = 107;

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

    /// Locked by the one keeper of this directory.
    pub fn keeper_lock(&self) -> PathBuf {
        self.root.join("keeper.lock")
    }

    /// What `process` (keeper, agent, store) says.
    pub fn log(&self, process: &str) -> PathBuf {
        self.root.join(format!("{process}.log"))
    }

    pub fn tasks(&self) -> PathBuf {
        self.root.join("tasks")
    }

    /// What belongs to one task's process: its record, its output, its resolv.conf.
    pub fn task(&self, sandbox: &SandboxName) -> PathBuf {
        self.tasks().join(sandbox.as_str())
    }
}
