//! Ending unhealthy tasks, so that the restart policy has them started anew. Nobody waits for it: such a
//! process may not react to anything but SIGKILL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::node::SandboxName;

/// How long a process may take to end after SIGTERM; Docker's default for `--stop-grace-period`.
const GRACE: Duration = Duration::from_secs(10);

/// One process on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Replacing {
    pid: i32,
    why: String,
    kill: Instant,
    is_killed: bool,
}

/// Those that are being ended.
#[derive(Debug, Default)]
pub struct Replacements(BTreeMap<SandboxName, Replacing>);

impl Replacements {
    /// Notes that a process shall end; true when that is new.
    pub fn begin(&mut self, name: &SandboxName, pid: i32, why: &str) -> bool {
        if self.0.get(name).is_some_and(|held| held.pid == pid) {
            return false;
        }
        let kill = Instant::now() + GRACE;
        let replacing = Replacing { pid, why: why.to_owned(), kill, is_killed: false };
        self.0.insert(name.clone(), replacing);
        true
    }

    /// Those that had their time, each once.
    pub fn overdue(&mut self) -> Vec<SandboxName> {
        let now = Instant::now();
        let late = self.0.iter_mut().filter(|(_, held)| held.kill <= now && !held.is_killed);
        late.map(|(name, held)| {
            held.is_killed = true;
            name.clone()
        })
        .collect()
    }

    /// When the next one has had its time.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().filter(|held| !held.is_killed).map(|held| held.kill).min()
    }

    /// Why this process was ended, if it was; it has.
    pub fn ended(&mut self, name: &SandboxName, pid: i32) -> Option<String> {
        let is_it = self.0.get(name).is_some_and(|held| held.pid == pid);
        if is_it { self.0.remove(name).map(|held| held.why) } else { None }
    }
}
