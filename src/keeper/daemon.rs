//! Becoming the keeper: started by the first command that needs it, out of that command's session,
//! control group and namespaces, and one per state directory.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;

use super::client::Client;
use super::journal::{say, words};
use super::server::Keeper;
use super::supervised::open_log;
use crate::environment::variable;
use crate::kernel::program;
use crate::killpoint;
use crate::state_dir::StateDir;

/// How long a keeper may take to be there, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a keeper is waited for that takes connections and says nothing.
const ANSWER: Duration = Duration::from_secs(2);

/// Starts a keeper when none answers, and waits until it does. `arguments` are the global options
/// that it hands to agent and store.
///
/// # Errors
/// When it does not answer; its log says why.
pub fn ensure(state: &StateDir, arguments: &[String]) -> io::Result<()> {
    if answers(state) {
        return Ok(());
    }
    let mut child = spawn(state, arguments)?;
    let deadline = Instant::now() + PATIENCE;
    while !answers(state) {
        if Instant::now() > deadline {
            return Err(io::Error::other(why_not(state)));
        }
        match child.try_wait()? {
            Some(status) if !status.success() => {
                return Err(io::Error::other(why_not(state)));
            }
            // It found another one at work, which answers soon, unless that one was just killed.
            Some(_) if !lives(state) => child = spawn(state, arguments)?,
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The environment of keeper, agent, store and tasks, whoever started them.
pub const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/"),
    ("LANG", "C.UTF-8"),
];

/// Leaves behind what a process inherits without a word: open files, ignored signals, a umask. A
/// lock or a pipe of the caller's shell would otherwise be held as long as the last task lives.
fn forget_caller() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: a plain system call, marking descriptors that exec then closes.
    unsafe {
        let flag = nix::libc::CLOSE_RANGE_CLOEXEC as i32;
        nix::libc::close_range(3, nix::libc::c_uint::MAX, flag);
    }
    for number in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
}

/// Starts a keeper and does not wait for it.
///
/// # Errors
/// What starting met.
pub fn spawn(state: &StateDir, arguments: &[String]) -> io::Result<Child> {
    state.create()?;
    let log = open_log(state, "keeper")?;
    let mut command = program::command("/proc/self/exe");
    command.arg0("swarmlb").arg("keeper").args(arguments).current_dir("/");
    command.stdout(log.try_clone()?).stderr(log);
    command.env_clear().envs(ENVIRONMENT);
    if let Some(directory) = variable(killpoint::VARIABLE) {
        command.env(killpoint::VARIABLE, directory);
    }
    killpoint::pass(|| "before the keeper is started".into());
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            forget_caller();
            Ok(())
        });
    }
    command.spawn()
}

/// What the keeper said last, or else the store.
fn why_not(state: &StateDir) -> String {
    for name in ["keeper", "store"] {
        let log = state.log(name);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let hint = |line: &&str| words(line).starts_with("hint:");
        let said = text.lines().rfind(|line| !line.is_empty() && !hint(line));
        if let Some(line) = said {
            let line = words(line).trim_start_matches("error: ");
            return format!("the {name} did not start: {line} (see {})", log.display());
        }
    }
    format!("the keeper did not start (see {})", state.log("keeper").display())
}

/// Whether a keeper answers and its store accepts connections.
fn answers(state: &StateDir) -> bool {
    lives(state) && UnixStream::connect(state.store_socket()).is_ok()
}

/// Whether a keeper runs. The socket of one that was killed takes connections as long as the
/// kernel needs to close it, but nobody answers there.
pub fn lives(state: &StateDir) -> bool {
    let keeper = Client::connect(&state.keeper_socket());
    keeper.is_ok_and(|keeper| keeper.is_alive(ANSWER))
}

/// Runs as the keeper until told to end. Returns at once when another one holds the directory.
///
/// # Errors
/// What the system answered.
pub fn run(state: &StateDir, arguments: &[String]) -> io::Result<()> {
    state.create()?;
    let lock =
        File::options().create(true).write(true).truncate(false).open(state.keeper_lock())?;
    if !is_held_by_us(&lock, &state.keeper_socket())? {
        return Ok(());
    }
    leave_caller();
    super::descriptors::raise();

    Keeper::new(state.clone(), lock, arguments)?.run()
}

/// Takes the lock; false when another keeper has it. One that was killed may have it yet for a
/// moment: its connections are closed first, and the rest of its files takes the kernel a while.
fn is_held_by_us(lock: &File, socket: &Path) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                // The socket of a dying one may still take connections, but nobody answers there.
                let lives = Client::connect(socket).is_ok_and(|keeper| keeper.is_alive(ANSWER));
                if lives || Instant::now() > deadline {
                    return Ok(false);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Out of the caller's control group, so that a session's end does not take the tasks along, and
/// into the machine's own namespaces, should the caller be in others. What cannot be left (in a
/// container without the right to) stays as it is.
fn leave_caller() {
    let pid = std::process::id().to_string();
    for group in own_groups() {
        let _ = std::fs::write(group.join("cgroup.procs"), &pid);
    }
    let init = |name: &str| File::open(format!("/proc/1/ns/{name}"));
    for (name, flag) in [("net", CloneFlags::CLONE_NEWNET), ("mnt", CloneFlags::CLONE_NEWNS)] {
        let entered = init(name).and_then(|namespace| {
            #[expect(clippy::disallowed_methods, reason = "the keeper has one thread as yet")]
            nix::sched::setns(namespace, flag).map_err(io::Error::from)
        });
        if let Err(error) = entered {
            say(format!("stays in the caller's {name} namespace: {error}"));
        }
    }
    let _ = std::env::set_current_dir("/");
}

/// The roots of the control group hierarchies that this process is in below their root: version 2,
/// and of version 1 the one that systemd follows sessions by.
fn own_groups() -> Vec<std::path::PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controller), Some(path)) = (fields.next(), fields.next()) else { continue };
        if path == "/" {
            continue;
        }
        match controller {
            "" => groups.extend(["/sys/fs/cgroup".into(), "/sys/fs/cgroup/unified".into()]),
            "name=systemd" => groups.push("/sys/fs/cgroup/systemd".into()),
            _ => {}
        }
    }
    groups
}
