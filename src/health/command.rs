//! A check by a command, seen from the agent: a supervisor that is waited for without waiting.

use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::Outcome;
use super::supervisor::Order;
use crate::kernel::program;

/// One command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    told: ChildStdout,
    heard: Vec<u8>,
}

impl Running {
    /// Starts it. The calling thread must outlive it: when that ends, so does the command.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn start(order: &Order) -> io::Result<Self> {
        let mut typed = std::fs::File::from(memfd_create("check", MFdFlags::MFD_CLOEXEC)?);
        typed.write_all(&serde_json::to_vec(order)?)?;
        typed.rewind()?;
        let mut command = program::command("/proc/self/exe");
        command.arg0("swarmlb").args(["builtin", "check"]).stdin(typed).stdout(Stdio::piped());
        let agent = nix::unistd::getpid();
        // SAFETY: a few system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                SigSet::empty().thread_set_mask()?;
                nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
                // An agent that was killed before that is not heard of any more.
                match nix::unistd::getppid() == agent {
                    true => Ok(()),
                    false => Err(Errno::ESRCH.into()),
                }
            });
        }
        let mut child = command.spawn()?;
        let told = child.stdout.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        fcntl(&told, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { child, told, heard: Vec::new() })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// Hears what there is; tells the outcome once there is one.
    pub fn go_on(&mut self) -> Option<Outcome> {
        let mut buffer = [0; 1 << 14];
        loop {
            match self.told.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.heard.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => break,
            }
        }
        let ended = || Err("the check ended without an outcome".to_owned());
        Some(serde_json::from_slice(&self.heard).unwrap_or_else(|_| ended()))
    }

    /// Calls it off: it takes what it started with it. Whoever gets the process waits for its end.
    pub fn leave(self) -> Child {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        self.child
    }
}
