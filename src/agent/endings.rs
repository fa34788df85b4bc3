//! Ending processes: of unhealthy tasks, so that the restart policy has them started anew, and of tasks
//! that nobody is connected to any more. Nobody waits for it: a process has its service's grace, and may not
//! react to anything but SIGKILL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::keeper::protocol::Running;
use crate::node::SandboxName;

/// How long the kernel may take to end a killed one.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Why a process is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its checks say so, last with these words.
    Unhealthy(String),
    /// Its task leaves.
    Leaving,
}

/// One process on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    pid: i32,
    cause: Cause,
    kill: Instant,
    is_killed: bool,
}

/// Those that are being ended.
#[derive(Debug, Default)]
pub struct Endings(BTreeMap<SandboxName, Ending>);

impl Endings {
    /// Notes that a process shall end; true when that is new.
    pub fn begin(&mut self, running: &Running, cause: Cause) -> bool {
        if self.0.get(&running.sandbox).is_some_and(|held| held.pid == running.pid) {
            return false;
        }
        let kill = Instant::now() + running.process.setup.grace();
        let ending = Ending { pid: running.pid, cause, kill, is_killed: false };
        self.0.insert(running.sandbox.clone(), ending);
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

    /// Whether a process was killed and is there all the same.
    pub fn is_stuck(&self, name: &SandboxName, pid: i32) -> bool {
        let held = self.0.get(name).filter(|held| held.pid == pid && held.is_killed);
        held.is_some_and(|held| held.kill + AFTER_KILL <= Instant::now())
    }

    /// Why this process was ended, if it was; it has.
    pub fn ended(&mut self, name: &SandboxName, pid: i32) -> Option<Cause> {
        let is_it = self.0.get(name).is_some_and(|held| held.pid == pid);
        if is_it { self.0.remove(name).map(|held| held.cause) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{LogLimits, Setup};
    use crate::keeper::protocol::State;
    use crate::node::Process;
    use crate::node::process::Program;

    fn running(pid: i32, grace: &str) -> Running {
        let setup: Setup =
            serde_json::from_value(serde_json::json!({ "stop_grace_period": grace })).unwrap();
        let process = Process {
            task: "t1".into(),
            program: Program::Whoami,
            environment: Vec::new(),
            hostname: None,
            log: LogLimits::default(),
            setup,
        };
        let sandbox = SandboxName("web.1".into());
        let (started, state) = (0, State::Ready);
        Running { sandbox, process, pid, started, state, stop_signal: nix::libc::SIGUSR1 }
    }

    #[test]
    fn each_has_the_time_of_its_own_service_and_is_killed_once() {
        let mut endings = Endings::default();
        let name = SandboxName("web.1".into());
        assert!(endings.begin(&running(7, "1h"), Cause::Leaving));
        assert!(
            !endings.begin(&running(7, "1h"), Cause::Unhealthy("late".into())),
            "it is on its way"
        );
        assert!(endings.due().unwrap() > Instant::now() + Duration::from_secs(3000));
        assert_eq!(endings.overdue(), []);
        assert_eq!(endings.ended(&name, 8), None, "another process");
        assert_eq!(endings.ended(&name, 7), Some(Cause::Leaving));
        assert!(endings.begin(&running(9, "0s"), Cause::Unhealthy("late".into())));
        assert_eq!(endings.overdue(), std::slice::from_ref(&name));
        assert_eq!((endings.overdue(), endings.due()), (Vec::new(), None));
        assert!(!endings.is_stuck(&name, 9), "the kernel has a moment");
        assert_eq!(endings.ended(&name, 9), Some(Cause::Unhealthy("late".into())));
    }
}
