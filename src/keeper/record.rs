//! The record of a started process: how a new keeper finds what an old one started. A process is
//! known by its pid and its start time together, for pids are used again.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::node::{Process, SandboxName};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub sandbox: SandboxName,
    pub process: Process,
    pub pid: i32,
    /// Clock ticks after boot (field 22 of /proc/PID/stat).
    pub start_time: u64,
    /// Seconds since 1970.
    pub started: u64,
    /// The inode of its mount namespace, which is the task's alone; 0 when it was not written.
    #[serde(default)]
    pub mounts: u64,
    /// How often the task's process was started, this time included.
    #[serde(default)]
    pub starts: u32,
    /// The OCI runtime of a container.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// Whether the process is the runtime's, which is about to start the container.
    #[serde(default)]
    pub is_starting: bool,
    /// Its control group below the roots.
    #[serde(default)]
    pub group: Option<String>,
    /// The number of the signal that asks it to end.
    #[serde(default = "super::protocol::sigterm")]
    pub stop_signal: i32,
}

const FILE: &str = "record.json";

impl Record {
    /// Writes it into a task's directory, whole or not at all.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join("record.new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(&new, directory.join(FILE))
    }

    /// Reads it; none when there is none or it is unreadable.
    pub fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(FILE)).ok()?).ok()
    }

    /// # Errors
    /// What the file system answered; one that is missing is no error.
    pub fn remove(directory: &Path) -> io::Result<()> {
        match std::fs::remove_file(directory.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the very process is still there.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// The mount namespace that a process is in; none when it is gone.
pub fn mounts_of(pid: i32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|meta| meta.ino())
}

/// When a process started, in clock ticks after boot; none when it is gone or a zombie.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time_and_a_missing_one_has_none() {
        assert!(start_time(std::process::id() as i32).is_some());
        assert_eq!(start_time(i32::MAX), None);
    }
}
