//! `swarmlb builtin check`: runs one command in a task's world, and sees to it that nothing of it is left,
//! however it ends.
//!
//! Whatever the command starts, in whatever sessions, comes to this process when its own parent ends: it
//! is the subreaper, and goes only when it has no child any more. When the agent dies, it is told by a
//! signal and does the same.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::contained::Contained;
use super::exchange::words;
use super::{MOST_OUTPUT, Outcome, text};
use crate::keeper::child::World;
use crate::keeper::record::start_time;
use crate::kernel::program;

/// How long what was killed may take to be gone.
const AFTER_KILL: Duration = Duration::from_secs(2);
/// How often those that are left are looked for meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What is to be run, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The task's process, in whose world it runs, and when that started.
    pub pid: i32,
    pub start_time: u64,
    /// The task's own, with its record.
    pub directory: PathBuf,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub timeout: Duration,
}

/// Carries out the order that stands on standard input, and prints its outcome.
///
/// # Errors
/// When the order cannot be read or the outcome not be written. What the command meets is an outcome.
pub fn run() -> io::Result<()> {
    let mut order = String::new();
    io::stdin().read_to_string(&mut order)?;
    let order: Order = serde_json::from_str(&order)?;
    let outcome = carry_out(&order).unwrap_or_else(|error| Err(words(&error)));
    serde_json::to_writer(io::stdout(), &outcome)?;
    io::stdout().flush()
}

fn carry_out(order: &Order) -> io::Result<Outcome> {
    // /proc may be another one in the task's world, and so may /dev.
    let children = File::open("/proc/thread-self/children")?;
    let nothing = File::open("/dev/null")?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut mask = SigSet::empty();
    [Signal::SIGCHLD, Signal::SIGTERM].into_iter().for_each(|signal| mask.add(signal));
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let world = World::of(order.pid)?;
    // Its number may have been given to another process before it was opened.
    if start_time(order.pid) != Some(order.start_time) {
        return Ok(Err("the task's process is gone".to_owned()));
    }
    let (contained, command) = match Contained::of(&order.directory, &order.command)? {
        Some((contained, command)) => (Some(contained), Ok(command)),
        None => {
            world.enter()?;
            std::env::set_current_dir("/")?;
            (None, command(order))
        }
    };
    let (output, writer) = pipe()?;
    let spawned = command.and_then(|command| spawn(command, order, nothing, writer));
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ok(Err(words(&error))),
    };
    let mut watched = Watched { children, signals, output, heard: Vec::new(), contained };
    let ended = watched.until_ended(&mut child, Instant::now() + order.timeout)?;
    watched.purge(&child);
    let refusal = watched.contained.as_ref().and_then(Contained::refusal);
    match (&ended, refusal) {
        (Ended::With(status), Some(refusal)) if !status.success() => Ok(Err(refusal)),
        _ => Ok(told(ended, &text(&watched.heard))),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

fn missing(order: &Order) -> io::Error {
    let first = order.command.first().map_or("", String::as_str);
    io::Error::new(ErrorKind::NotFound, format!("there is no program `{first}`"))
}

/// The command as it is run in the world of the calling process.
fn command(order: &Order) -> io::Result<Command> {
    let empty = || io::Error::new(ErrorKind::InvalidInput, "the command is empty");
    let (first, rest) = order.command.split_first().ok_or_else(empty)?;
    let path = order.environment.iter().rfind(|(name, _)| name == "PATH");
    let path = path.map_or("", |(_, path)| path.as_str());
    let found = match first.contains('/') {
        true => first.into(),
        false => program::find_on(path, first).ok_or_else(|| missing(order))?,
    };
    let mut command = program::command(found);
    command.args(rest).env_clear().envs(order.environment.iter().map(|(n, v)| (n, v)));
    Ok(command)
}

fn spawn(mut command: Command, order: &Order, nothing: File, output: OwnedFd) -> io::Result<Child> {
    command.stdin(nothing).stdout(Stdio::from(output.try_clone()?)).stderr(output);
    // SAFETY: two system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            SigSet::empty().thread_set_mask()?;
            Ok(())
        });
    }
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing(order),
        _ => error,
    })
}

/// How the command ended.
enum Ended {
    With(ExitStatus),
    /// It had no more time.
    Late,
    /// Nobody waits for it any more.
    Called,
}

fn told(ended: Ended, output: &str) -> Outcome {
    let output = output.trim_end();
    let because = |what: String| match output {
        "" => Err(what),
        output => Err(format!("{what}: {output}")),
    };
    match ended {
        Ended::With(status) if status.success() => Ok(output.to_owned()),
        Ended::With(status) => match (status.code(), status.signal()) {
            (Some(code), _) => because(format!("exited with code {code}")),
            (None, signal) => {
                because(format!("killed by {}", crate::render::task::signal(signal.unwrap_or(0))))
            }
        },
        Ended::Late => because("not done in time".to_owned()),
        Ended::Called => Err("the check was called off".to_owned()),
    }
}

/// A command that runs.
struct Watched {
    /// The list of this process's children.
    children: File,
    signals: SignalFd,
    output: OwnedFd,
    heard: Vec<u8>,
    /// What knows who in a container belongs to the check.
    contained: Option<Contained>,
}

impl Watched {
    /// Waits for its end, and reads what it says meanwhile: all of it, for a full pipe would stop it.
    fn until_ended(&mut self, child: &mut Child, deadline: Instant) -> io::Result<Ended> {
        let mut is_open = true;
        loop {
            if let Some(status) = child.try_wait()? {
                self.hear();
                return Ok(Ended::With(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Ended::Late);
            }
            let mut sources = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if is_open {
                sources.push(PollFd::new(self.output.as_fd(), PollFlags::POLLIN));
            }
            // Rounded up, or the loop would spin through the last millisecond.
            let patience = PollTimeout::try_from(left + Duration::from_millis(1));
            match poll(&mut sources, patience.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            while let Ok(Some(signal)) = self.signals.read_signal() {
                if signal.ssi_signo == Signal::SIGTERM as u32 {
                    return Ok(Ended::Called);
                }
            }
            is_open &= self.hear();
        }
    }

    /// Reads what there is, and keeps the first of it; false at the end.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 1 << 16];
        // Whoever floods is not read for ever: its time is looked at too.
        for _ in 0..16 {
            match nix::unistd::read(&self.output, &mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    let room = MOST_OUTPUT.saturating_sub(self.heard.len());
                    self.heard.extend(buffer.iter().take(count.min(room)));
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Kills whatever the command left, until there is nobody.
    fn purge(&mut self, child: &Child) {
        let deadline = Instant::now() + AFTER_KILL;
        while (self.purge_container() | reap()) && Instant::now() < deadline {
            // All of its session at once, before one of them can start another.
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            for pid in self.left() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn purge_container(&self) -> bool {
        self.contained.as_ref().is_some_and(Contained::purge)
    }

    fn left(&mut self) -> Vec<i32> {
        let mut list = String::new();
        let read = self.children.rewind().and_then(|()| self.children.read_to_string(&mut list));
        match read {
            Ok(_) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// Takes leave of children that ended; false when there is none any more.
fn reap() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
