//! Agent and store: swarmlb's own processes, which the keeper restarts with backoff.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::kernel::program;
use crate::killpoint;
use crate::state_dir::StateDir;

/// The first pause before a restart; it doubles with each one that follows soon, and stays far below
/// what a DNS client waits (glibc: 5 s), for its queries wait for the agent.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A process that lived this long starts over with the first pause.
const STEADY: Duration = Duration::from_secs(10);
/// A log above this size, in bytes, is begun anew at a restart; the one before is kept.
const LARGEST_LOG: u64 = 8 << 20;

/// What becomes of a process when its keeper is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// It ends at once: an old store would stand in the way of the new keeper's.
    Ends,
    /// It goes on, and starts a new keeper.
    Outlives,
}

/// One process that shall always run.
pub struct Supervised {
    name: &'static str,
    bond: Bond,
    arguments: Vec<String>,
    child: Option<Child>,
    started: Instant,
    pause: Duration,
    due: Instant,
    pub restarts: u32,
}

impl Supervised {
    pub fn new(name: &'static str, bond: Bond, arguments: Vec<String>) -> Self {
        let now = Instant::now();
        let pause = FIRST_PAUSE;
        Self { name, bond, arguments, child: None, started: now, pause, due: now, restarts: 0 }
    }

    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.id() as i32)
    }

    /// When it shall be started; none while it runs.
    pub fn due(&self) -> Option<Instant> {
        self.child.is_none().then_some(self.due)
    }

    /// Starts it when it is due.
    ///
    /// # Errors
    /// What starting met; it is tried again after the next pause.
    pub fn tend(&mut self, state: &StateDir) -> io::Result<()> {
        if self.child.is_some() || Instant::now() < self.due {
            return Ok(());
        }
        self.started = Instant::now();
        self.due = self.started + self.pause;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        killpoint::pass(|| format!("before the {} is started", self.name));
        let child = self.spawn(state)?;
        killpoint::pass(|| format!("the {} is started", self.name));
        self.pause = pause;
        self.child = Some(child);
        Ok(())
    }

    fn spawn(&self, state: &StateDir) -> io::Result<Child> {
        let mut command = program::command("/proc/self/exe");
        command.arg0("swarmlb").args(&self.arguments);
        let log = open_log(state, self.name)?;
        command.stdout(log.try_clone()?).stderr(log).current_dir("/");
        let ends = self.bond == Bond::Ends;
        let keeper = nix::unistd::getpid();
        // SAFETY: a few system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // The keeper takes signals from a descriptor; what it starts, as any process.
                nix::sys::signal::SigSet::empty().thread_set_mask()?;
                if ends {
                    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
                    // A keeper that was killed before that is not heard of any more.
                    if nix::unistd::getppid() != keeper {
                        return Err(nix::errno::Errno::ESRCH.into());
                    }
                }
                Ok(())
            });
        }
        command.spawn()
    }

    /// Takes note that a process ended; true when it was this one.
    pub fn ended(&mut self, pid: i32) -> bool {
        if self.pid() != Some(pid) {
            return false;
        }
        self.child = None;
        self.restarts += 1;
        if self.started.elapsed() > STEADY {
            self.pause = FIRST_PAUSE;
        }
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Ends it and waits for that.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Opens the log of a process for appending.
///
/// # Errors
/// What the file system answered.
pub fn open_log(state: &StateDir, name: &str) -> io::Result<File> {
    let path = state.log(name);
    if path.metadata().is_ok_and(|meta| meta.len() > LARGEST_LOG) {
        std::fs::rename(&path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}
