//! A lab's node as processes: one that makes the namespaces, one that lives in them as their first, and commands that come in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;

use super::Init;
use crate::intent::NodeName;
use crate::keeper::daemon;
use crate::keeper::record::start_time;
use crate::keeper::supervised::open_log;
use crate::kernel::{netns, program};
use crate::state_dir::StateDir;

/// A node whose namespaces stand, and which waits to be told that its link does.
pub struct Waiting {
    pub init: Init,
    go: std::process::ChildStdin,
}

impl Waiting {
    /// Lets it start its keeper, where it is of a cluster already.
    ///
    /// # Errors
    /// When it is gone.
    pub fn go(mut self) -> io::Result<()> {
        self.go.write_all(b"go\n")
    }
}

/// Makes the namespaces of a node.
///
/// # Errors
/// `EPERM` without root, and what starting met.
pub fn make(state: &StateDir, name: &NodeName) -> io::Result<Waiting> {
    let mut command = program::command("/proc/self/exe");
    command.arg0("swarmlb").args(words("lab-node", state.root(), name));
    let log = open_log(state, "keeper")?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).current_dir("/");
    command.env_clear().envs(daemon::ENVIRONMENT);
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            let whole = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
            unshare(whole | CloneFlags::CLONE_NEWPID)?;
            Ok(())
        });
    }
    let mut maker = command.spawn()?;
    let taken = (maker.stdin.take(), maker.stdout.take());
    let (Some(go), Some(said)) = taken else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    maker.wait()?;
    let pid = line.trim().parse().map_err(|_| io::Error::other("it did not start"))?;
    let started = start_time(pid).ok_or_else(|| io::Error::other("it ended at once"))?;
    Ok(Waiting { init: Init { pid, started }, go })
}

fn words(command: &str, state_dir: &Path, name: &NodeName) -> [String; 5] {
    let state_dir = state_dir.display().to_string();
    ["--state-dir".into(), state_dir, "--node".into(), name.to_string(), command.into()]
}

/// In the new mount namespace: a /run of its own, then the first process of the new processes.
///
/// # Errors
/// What mounting or starting met.
pub fn prepare(state: &StateDir, name: &NodeName) -> io::Result<()> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    forget_namespaces()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), netns::DIRECTORY, Some("tmpfs"), flags, Some("mode=755"))?;
    let mut command = program::command("/proc/self/exe");
    command.arg0("swarmlb").args(words("lab-init", state.root(), name));
    // What lets it go on comes by the standard input of this process.
    command.stdin(Stdio::inherit()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    writeln!(io::stdout(), "{}", child.id())?;
    Ok(())
}

/// Lets go of the machine's named namespaces: what is mounted here would keep them from ending.
fn forget_namespaces() -> io::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    for line in mounts.lines().filter(|line| line.contains(" - nsfs ")) {
        if let Some(path) = line.split(' ').nth(4) {
            // One below another mount cannot be reached.
            let _hidden = umount2(path, MntFlags::MNT_DETACH);
        }
    }
    Ok(())
}

/// As the first process: its /proc, the keeper, and the ends of whatever is left to it.
///
/// # Errors
/// What mounting or starting met.
pub fn run_init(state: &StateDir, arguments: &[String]) -> io::Result<()> {
    nix::unistd::setsid().ok();
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if state.membership().exists() {
        daemon::spawn(state, arguments)?;
    }
    loop {
        if waitpid(None, None).is_err() {
            // Nobody is there to end. A command that comes in has children.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

/// What a terminal sends to all that run in it.
const KEYS: [Signal; 2] = [Signal::SIGINT, Signal::SIGQUIT];

/// Leaves the terminal's keys to what runs in a node: this process only waits for it.
pub fn ignore_keys() {
    for number in KEYS {
        // SAFETY: ignoring a signal runs no code of ours.
        let _kept = unsafe { signal(number, SigHandler::SigIgn) };
    }
}

/// What is to be run inside a node.
pub struct Entry {
    command: Command,
    processes: File,
}

/// This program inside a node, with `arguments`.
///
/// # Errors
/// When the node is gone.
pub fn entry<S: AsRef<std::ffi::OsStr>>(
    init: Init,
    arguments: impl IntoIterator<Item = S>,
) -> io::Result<Entry> {
    let open = |kind: &str| File::open(format!("/proc/{}/ns/{kind}", init.pid));
    let (network, mounts, processes) = (open("net")?, open("mnt")?, open("pid")?);
    if !init.is_alive() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Entering a mount namespace leads to its root.
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut command = program::command("/proc/self/exe");
    command.arg0("swarmlb").args(arguments).stdin(Stdio::inherit());
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            enter(&network, CloneFlags::CLONE_NEWNET)?;
            enter(&mounts, CloneFlags::CLONE_NEWNS)?;
            nix::unistd::chdir(&directory).or_else(|_| nix::unistd::chdir("/"))?;
            // It shall not outlive who waits for it.
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
            for number in KEYS {
                signal(number, SigHandler::SigDfl)?;
            }
            Ok(())
        });
    }
    Ok(Entry { command, processes })
}

fn enter(namespace: &File, kind: CloneFlags) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a process of its own that enters a whole node")]
    nix::sched::setns(namespace, kind).map_err(io::Error::from)
}

impl Entry {
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it. What this process starts from now on is in the node too, for that is how Linux has it.
    ///
    /// # Errors
    /// What starting met.
    pub fn spawn(mut self) -> io::Result<Child> {
        let home = File::open("/proc/self/ns/pid")?;
        enter(&self.processes, CloneFlags::CLONE_NEWPID)?;
        let child = self.command.spawn();
        enter(&home, CloneFlags::CLONE_NEWPID)?;
        child
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// What starting met.
    pub fn run(self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }
}
