//! Control groups: what a task may have of the machine, and what of that was too little. Of version 2,
//! or of version 1 with a hierarchy for each controller, as the machine has them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::intent::Limits;

const ROOT: &str = "/sys/fs/cgroup";
/// What limits are set through.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Of how many microseconds a quota of processors is.
const PERIOD: u64 = 100_000;
/// How long processes that were killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// A control group by its path below the roots, `swarmlb-CLUSTER/TASK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(PathBuf);

/// How this machine has control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller.
    One,
    /// One for all.
    Two,
}

/// As this machine has them; none where it has not.
pub fn version() -> Option<Version> {
    let there = |path: &str| Path::new(ROOT).join(path).exists();
    match (there("cgroup.controllers"), there("memory/cgroup.procs")) {
        (true, _) => Some(Version::Two),
        (false, true) => Some(Version::One),
        (false, false) => None,
    }
}

/// Why these limits cannot be had here; none when they can.
pub fn lack(limits: &Limits) -> Option<String> {
    let wanted = [limits.cpu.is_some(), limits.memory.is_some(), limits.pids.is_some()];
    let wanted = CONTROLLERS.into_iter().zip(wanted).filter(|(_, is_wanted)| *is_wanted);
    let listed = std::fs::read_to_string(Path::new(ROOT).join("cgroup.controllers"));
    let there = |name: &str| match version() {
        Some(Version::Two) => {
            listed.as_ref().is_ok_and(|listed| listed.split_whitespace().any(|held| held == name))
        }
        Some(Version::One) => Path::new(ROOT).join(name).join("cgroup.procs").exists(),
        None => false,
    };
    let mut lacking = wanted.filter(|(name, _)| !there(name)).map(|(name, _)| name);
    lacking.next().map(|name| {
        format!("this node has no control group of `{name}`, so `--limit-{name}` cannot be kept")
    })
}

impl Group {
    pub fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// Its directories: one of version 2, one for each hierarchy of version 1.
    fn directories(&self) -> Vec<PathBuf> {
        match version() {
            Some(Version::Two) => vec![Path::new(ROOT).join(&self.0)],
            Some(Version::One) => {
                let hierarchies = std::fs::read_dir(ROOT).into_iter().flatten().flatten();
                hierarchies.map(|entry| entry.path().join(&self.0)).collect()
            }
            None => Vec::new(),
        }
    }

    fn of_controller(&self, name: &str) -> PathBuf {
        match version() {
            Some(Version::One) => Path::new(ROOT).join(name).join(&self.0),
            _ => Path::new(ROOT).join(&self.0),
        }
    }

    /// Makes it with limits, and opens what a process enters it by: writing `0` into each.
    ///
    /// # Errors
    /// What the kernel answered; what was made goes with [`Group::remove`].
    pub fn make(&self, limits: &Limits) -> io::Result<Vec<File>> {
        let version = version().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        if version == Version::Two {
            self.delegate()?;
        }
        let set = |controller: &str, file: &str, value: String| {
            std::fs::write(self.of_controller(controller).join(file), value)
        };
        let mut entries = Vec::new();
        for controller in CONTROLLERS {
            let directory = self.of_controller(controller);
            std::fs::create_dir_all(&directory)?;
            if version == Version::One || entries.is_empty() {
                entries.push(File::options().write(true).open(directory.join("cgroup.procs"))?);
            }
        }
        let is_one = version == Version::One;
        if let Some(memory) = limits.memory {
            let file = if is_one { "memory.limit_in_bytes" } else { "memory.max" };
            set("memory", file, memory.0.to_string())?;
        }
        if let Some(pids) = limits.pids {
            set("pids", "pids.max", pids.to_string())?;
        }
        match limits.cpu {
            Some(cpu) if is_one => {
                set("cpu", "cpu.cfs_period_us", PERIOD.to_string())?;
                set("cpu", "cpu.cfs_quota_us", cpu.quota().to_string())?;
            }
            Some(cpu) => set("cpu", "cpu.max", format!("{} {PERIOD}", cpu.quota()))?,
            None => {}
        }
        Ok(entries)
    }

    /// Has the controllers be there in its parent's children.
    fn delegate(&self) -> io::Result<()> {
        let parent = Path::new(ROOT).join(self.0.parent().unwrap_or(Path::new("")));
        std::fs::create_dir_all(&parent)?;
        let words: Vec<String> = CONTROLLERS.iter().map(|name| format!("+{name}")).collect();
        for directory in [Path::new(ROOT), &parent] {
            std::fs::write(directory.join("cgroup.subtree_control"), words.join(" "))?;
        }
        Ok(())
    }

    /// How often something in it was killed because it had no memory left; 0 where nobody counts.
    pub fn memory_kills(&self) -> u64 {
        let (file, word) = match version() {
            Some(Version::Two) => ("memory.events", "oom_kill "),
            _ => ("memory.oom_control", "oom_kill "),
        };
        let text = std::fs::read_to_string(self.of_controller("memory").join(file));
        let text = text.unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        count.unwrap_or_default()
    }

    /// Whether a process is in it.
    pub fn has(&self, pid: i32) -> bool {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        text.lines().any(|line| Path::new(line.rsplit(':').next().unwrap_or("")).ends_with(&self.0))
    }

    /// Who is in it.
    pub fn pids(&self) -> Vec<i32> {
        let lists = self.directories().into_iter();
        let lists =
            lists.filter_map(|held| std::fs::read_to_string(held.join("cgroup.procs")).ok());
        lists
            .flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect()
    }

    /// Kills whatever is in it, removes it, and its parent when that was the last one.
    ///
    /// # Errors
    /// What the kernel answered; one that is missing is no error.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for directory in self.directories() {
            loop {
                match std::fs::remove_dir(&directory) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if error.raw_os_error() != Some(nix::libc::EBUSY) => {
                        return Err(error);
                    }
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => {
                        for pid in self.pids() {
                            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Ok(()) => break,
                }
            }
            // Not as long as others are in it.
            let _ = directory.parent().map(std::fs::remove_dir);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_limited_lacks_nothing() {
        assert_eq!(lack(&Limits::default()), None);
        let group = Group::new("swarmlb-nobody/nothing");
        assert!(!group.has(std::process::id() as i32));
        assert_eq!(group.memory_kills(), 0);
        group.remove().unwrap();
    }
}
