//! What a task's process goes through between fork and exec: its own session, its sandbox's
//! network, a mount namespace in which /etc/resolv.conf is its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::protocol::Start;
use super::record::{Record, mounts_of, start_time};
use super::seat::Seat;
use super::times;
use super::{container, descriptors};
use crate::kernel::{Refusal, netns, program};
use crate::killpoint;
use crate::node::process::Program;

/// The variable that names the descriptor on which a process tells that it is ready.
pub const READY_FD: &str = "SWARMLB_READY_FD";

/// A started process.
pub struct Started {
    pub child: Child,
    /// Readable, or at its end, when the process is ready.
    pub ready: Option<OwnedFd>,
}

/// Starts a process. When this returns, its program has taken over and its record is written.
///
/// # Errors
/// `NotFound` when the program is missing, or what any step on the way met.
pub fn start(start: &Start, directory: &Path, now: u64) -> io::Result<Started> {
    std::fs::create_dir_all(directory)?;
    let resolv_conf = directory.join("resolv.conf");
    std::fs::write(&resolv_conf, &start.resolv_conf)?;
    killpoint::pass(|| format!("the directory of {} is made", start.sandbox));
    let log = File::options().create(true).append(true).open(times::log(directory))?;
    let mut command = match &start.bundle {
        Some(bundle) => container::command(bundle, start.sandbox.as_str(), directory)?,
        None => {
            let mut command = words(&start.process.program)?;
            command.envs(start.process.environment.iter().map(|(name, value)| (name, value)));
            command
        }
    };
    command.stdout(log.try_clone()?).stderr(log);
    let (ready, told) = match start.tells_readiness {
        true => {
            let (reader, writer) = nix::unistd::pipe()?;
            command.env(READY_FD, writer.as_raw_fd().to_string());
            (Some(reader), Some(writer))
        }
        false => (None, None),
    };
    if let Some(reader) = &ready {
        set_close_on_exec(reader)?;
    }
    let seat = match &start.bundle {
        Some(_) => None,
        None => {
            let hostname = start.process.hostname.clone();
            let seat = Seat::of(start, &mut command)?;
            enter(&mut command, netns::open(start.sandbox.as_str())?, resolv_conf, hostname);
            Some(seat)
        }
    };
    let record = Record {
        sandbox: start.sandbox.clone(),
        process: start.process.clone(),
        pid: 0,
        start_time: 0,
        started: now,
        mounts: 0,
        starts: Record::read(directory)
            .filter(|before| before.process.task == start.process.task)
            .map_or(1, |before| before.starts.saturating_add(1)),
        runtime: start.bundle.as_ref().map(|bundle| bundle.runtime.clone()),
        is_starting: start.bundle.is_some(),
        group: start.group.clone(),
        stop_signal: start.stop_signal,
    };
    let directory = directory.to_owned();
    // SAFETY: the keeper has one thread, so the child may allocate and write files as any process.
    unsafe {
        command.pre_exec(move || {
            // The keeper takes signals from a descriptor; what it starts takes them as any process.
            nix::sys::signal::SigSet::empty().thread_set_mask()?;
            let pid = std::process::id() as i32;
            let start_time = start_time(pid).ok_or_else(|| io::Error::other("no /proc"))?;
            let mounts = mounts_of(pid).unwrap_or_default();
            Record { pid, start_time, mounts, ..record.clone() }.write(&directory)?;
            seat.as_ref().map_or(Ok(()), Seat::take)
        });
    }
    let child = command.spawn().map_err(|error| named(&start.process.program, &error))?;
    drop(told);
    Ok(Started { child, ready })
}

/// Makes a command run inside a sandbox: network, mounts, resolv.conf, a session of its own.
pub fn enter(
    command: &mut Command,
    namespace: File,
    resolv_conf: PathBuf,
    hostname: Option<String>,
) {
    // SAFETY: between fork and exec only system calls are made on what was prepared before.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            descriptors::restore();
            if let Some(hostname) = &hostname {
                unshare(CloneFlags::CLONE_NEWUTS)?;
                nix::unistd::sethostname(hostname)?;
            }
            enter_now(&namespace, Some(&resolv_conf))?;
            // A copy of every sandbox's name in every task's mounts would be a million at a
            // thousand tasks, and none of a task's business.
            let _ = umount2(netns::DIRECTORY, MntFlags::MNT_DETACH);
            Ok(())
        });
    }
}

/// Moves the calling process into a sandbox, with a resolv.conf of its own or the machine's. It must
/// have one thread.
///
/// # Errors
/// What the kernel answered.
pub fn enter_now(namespace: &File, resolv_conf: Option<&Path>) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a process that is about to become another")]
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)?;
    if let Some(own) = resolv_conf {
        mount_resolv_conf(own)?;
    }
    // /sys shows the network of the process that mounted it. Where it cannot be mounted anew (in
    // a container), the old one stays: nothing but /sys/class/net differs.
    if umount2("/sys", MntFlags::MNT_DETACH).is_ok() {
        let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>);
    }
    Ok(())
}

/// Puts a task's own resolv.conf over the machine's, for the calling thread's mount namespace.
///
/// # Errors
/// What the kernel answered.
pub fn mount_resolv_conf(own: &Path) -> io::Result<()> {
    mount(Some(own), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Moves the calling thread into a mount namespace.
///
/// # Errors
/// What the kernel answered.
pub fn enter_mounts(namespace: &File) -> io::Result<()> {
    // Threads share their root and working directory until one says otherwise.
    unshare(CloneFlags::CLONE_FS)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread that ends, or becomes another program"
    )]
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// What a running task sees.
pub struct World {
    network: File,
    names: File,
    mounts: File,
}

impl World {
    /// Opens it. That the process is still the one that was meant is for the caller to see.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: i32) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
        Ok(Self { network: open("net")?, names: open("uts")?, mounts: open("mnt")? })
    }

    /// Moves the calling thread into it, to become another program there.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn enter(&self) -> io::Result<()> {
        for (namespace, kind) in
            [(&self.network, CloneFlags::CLONE_NEWNET), (&self.names, CloneFlags::CLONE_NEWUTS)]
        {
            #[expect(clippy::disallowed_methods, reason = "a thread that becomes another program")]
            nix::sched::setns(namespace, kind)?;
        }
        enter_mounts(&self.mounts)
    }
}

/// A failed start with the name of what was to be started.
fn named(program: &Program, error: &io::Error) -> io::Error {
    let name = match program {
        Program::Whoami => "builtin:whoami",
        Program::Echo { .. } => "builtin:echo",
        Program::Host(words) => words.first().map_or("", String::as_str),
        Program::Container(_) => "",
    };
    let refusal = match error.raw_os_error() {
        Some(number) => Refusal::new(Errno::from_raw(number)),
        None => Refusal::saying(Errno::EIO, error.to_string()),
    };
    if let Program::Container(container) = program {
        let words = container::mount_words(refusal.errno).map(str::to_owned);
        let words = words.unwrap_or_else(|| refusal.to_string());
        return io::Error::new(error.kind(), format!("{}: {words}", container.image));
    }
    io::Error::new(error.kind(), format!("`{name}`: {refusal}"))
}

fn words(program: &Program) -> io::Result<Command> {
    match program {
        Program::Whoami => {
            let mut command = program::command("/proc/self/exe");
            command.arg0("swarmlb").args(["builtin", "whoami"]);
            Ok(command)
        }
        Program::Echo { port, greets } => {
            let mut command = program::command("/proc/self/exe");
            command.arg0("swarmlb").args(["builtin", "echo", "--port", &port.to_string()]);
            command.args(greets.then_some("--greet"));
            Ok(command)
        }
        Program::Container(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a container without a bundle"))
        }
        Program::Host(words) => {
            let empty = || io::Error::new(io::ErrorKind::InvalidInput, "the command is empty");
            let (first, rest) = words.split_first().ok_or_else(empty)?;
            let missing = || {
                io::Error::new(io::ErrorKind::NotFound, format!("there is no program `{first}`"))
            };
            let path = if first.contains('/') {
                PathBuf::from(first)
            } else {
                program::find(first).ok_or_else(missing)?
            };
            let mut command = program::command(path);
            command.args(rest);
            Ok(command)
        }
    }
}

fn set_close_on_exec(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}
