//! Becoming the keeper: started by the first command that needs it, out of that command's session,
//! control group and namespaces, and one per state directory.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use thiserror::Error;

use super::client::Client;
use super::journal::{say, words};
use super::protocol::Request;
use super::readiness::Readiness;
use super::server::Keeper;
use super::supervised::open_log;
use crate::environment::variable;
use crate::kernel::program;
use crate::killpoint;
use crate::state_dir::StateDir;
use crate::store::Location;

/// How long a keeper may take to be there, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a keeper is waited for that takes connections and says nothing.
const ANSWER: Duration = Duration::from_secs(2);

/// Starts a keeper when none answers, and waits until it does. `arguments` are the global options
/// that it hands to agent and store. True when it was started.
///
/// # Errors
/// When it does not answer; its log says why.
pub fn ensure(state: &StateDir, arguments: &[String], store: &Location) -> io::Result<bool> {
    if answers(state, store) {
        return Ok(false);
    }
    state.create()?;
    state.try_writing()?;
    let mut child = spawn(state, arguments)?;
    let deadline = Instant::now() + PATIENCE;
    while !answers(state, store) {
        let hopeless = store_is_hopeless(state);
        if hopeless || Instant::now() > deadline {
            let why = why_not(state);
            if hopeless && child.try_wait()?.is_none() {
                // It would go on trying for ever.
                end_other(state);
                child.wait()?;
            }
            return Err(io::Error::other(why));
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
    Ok(true)
}

/// How long a keeper that is not known to be well may take to answer: what a killed one was about to
/// start can hold its socket, and never answers.
const SHORTLY: Duration = Duration::from_millis(500);

/// A store that ended this often, and never answered, will not.
const ENOUGH: u32 = 3;

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

/// This program as a keeper, with nothing of its caller's environment.
fn command(arguments: &[String]) -> Command {
    let mut command = program::command("/proc/self/exe");
    command.arg0("swarmlb").arg("keeper").args(arguments).current_dir("/");
    command.env_clear().envs(ENVIRONMENT);
    if let Some(directory) = variable(killpoint::VARIABLE) {
        command.env(killpoint::VARIABLE, directory);
    }
    command
}

/// Becomes the keeper, in the caller's session and control group, with its stderr: what a service
/// manager starts. `notify` is the manager's socket (sd_notify(3)).
///
/// # Errors
/// What becoming it met; there is no return otherwise.
pub fn become_foreground(
    state: &StateDir,
    arguments: &[String],
    notify: Option<OsString>,
) -> io::Error {
    if let Err(error) = state.create().and_then(|()| state.try_writing()) {
        return error;
    }
    let mut command = command(arguments);
    command.arg("--foreground");
    if let Some(socket) = notify {
        command.arg("--notify").arg(socket);
    }
    // SAFETY: only system calls before the program is replaced.
    unsafe {
        command.pre_exec(|| {
            forget_caller();
            Ok(())
        });
    }
    command.exec()
}

/// Starts a keeper and does not wait for it.
///
/// # Errors
/// What starting met.
pub fn spawn(state: &StateDir, arguments: &[String]) -> io::Result<Child> {
    state.create()?;
    let log = open_log(state, "keeper")?;
    let mut command = command(arguments);
    command.stdout(log.try_clone()?).stderr(log);
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

/// A keeper, or its store, that does not come up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct NotStarted {
    pub problem: String,
    /// What it said one could do.
    pub hint: Option<String>,
}

/// Whether the store ended so often that it will not come up.
fn store_is_hopeless(state: &StateDir) -> bool {
    let keeper = Client::connect_within(&state.keeper_socket(), SHORTLY).ok();
    let status = keeper.and_then(|keeper| keeper.status().ok());
    status.is_some_and(|status| status.store.is_none() && status.store_restarts >= ENOUGH)
}

/// What the keeper said last, or else the store.
fn why_not(state: &StateDir) -> NotStarted {
    for name in ["keeper", "store"] {
        let log = state.log(name);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let hint = text.lines().rev().map(words).find(|line| !line.is_empty());
        let hint = hint.and_then(|line| line.strip_prefix("hint: ")).map(str::to_owned);
        let is_hint = |line: &str| words(line).starts_with("hint:");
        let said = text.lines().rfind(|line| !line.is_empty() && !is_hint(line));
        if let Some(line) = said {
            let line = words(line).trim_start_matches("error: ");
            let problem = format!("the {name} did not start: {line} (see {})", log.display());
            return NotStarted { problem, hint };
        }
    }
    let problem = format!("the keeper did not start (see {})", state.log("keeper").display());
    NotStarted { problem, hint: None }
}

/// Whether a keeper answers, and its store accepts connections if it has one.
fn answers(state: &StateDir, store: &Location) -> bool {
    lives(state) && (!store.is_embedded() || has_store(state))
}

fn has_store(state: &StateDir) -> bool {
    UnixStream::connect(state.store_socket()).is_ok()
}

/// Whether a keeper runs. The socket of one that was killed takes connections as long as the
/// kernel needs to close it, but nobody answers there.
pub fn lives(state: &StateDir) -> bool {
    let keeper = Client::connect(&state.keeper_socket());
    keeper.is_ok_and(|keeper| keeper.is_alive(ANSWER))
}

/// How a keeper stands to whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// Apart from it; another keeper that runs already will do as well.
    Background,
    /// In its session and control group, instead of any other; with the socket to tell readiness to.
    Foreground(Option<OsString>),
}

/// Runs as the keeper until told to end. In the background it returns at once when another one holds
/// the directory; in the foreground that other one is ended, and its tasks are adopted.
///
/// # Errors
/// What the system answered.
pub fn run(
    state: &StateDir,
    arguments: &[String],
    store: &Location,
    manner: Manner,
) -> io::Result<()> {
    state.create()?;
    let lock =
        File::options().create(true).write(true).truncate(false).open(state.keeper_lock())?;
    if !is_held_by_us(&lock, state, &manner)? {
        return Ok(());
    }
    let notify = match manner {
        Manner::Background => {
            leave_groups();
            None
        }
        Manner::Foreground(notify) => notify,
    };
    leave_namespaces();
    super::descriptors::raise();

    Keeper::new(state.clone(), lock, arguments, store, Readiness::new(notify))?.run()
}

/// Takes the lock; false when another keeper has it that will do as well. One that was killed may have
/// it yet for a moment: its connections are closed first, and the rest of its files takes the kernel a
/// while.
fn is_held_by_us(lock: &File, state: &StateDir, manner: &Manner) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if *manner != Manner::Background => {
                if Instant::now() > deadline {
                    return Err(io::Error::other("another keeper does not end"));
                }
                end_other(state);
            }
            Err(TryLockError::WouldBlock) => {
                // The socket of a dying one may still take connections, but nobody answers there.
                let lives = Client::connect(&state.keeper_socket())
                    .is_ok_and(|keeper| keeper.is_alive(ANSWER));
                if lives || Instant::now() > deadline {
                    return Ok(false);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tells the keeper that runs to end. One that is just starting or ending does not answer.
fn end_other(state: &StateDir) {
    if let Ok(other) = Client::connect_within(&state.keeper_socket(), SHORTLY) {
        let _ = other.ask(&Request::Shutdown);
    }
    std::thread::sleep(Duration::from_millis(5));
}

/// Out of the caller's control group, so that a session's end does not take the tasks along. What
/// cannot be left (in a container without the right to) stays as it is.
fn leave_groups() {
    let pid = std::process::id().to_string();
    for group in own_groups() {
        let _ = std::fs::write(group.join("cgroup.procs"), &pid);
    }
}

/// Into the machine's own namespaces, should the caller be in others.
fn leave_namespaces() {
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
