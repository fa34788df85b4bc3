//! Network namespaces: making, finding, and working inside them.
//!
//! A network namespace belongs to a thread, and a socket belongs for life to the namespace of the
//! thread that opened it. So everything here happens on a short-lived thread of its own: it enters
//! the namespace, does its work, and ends. No thread of a runtime is ever moved. This is the only
//! module that calls `setns` for a network namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::node::{Place, SandboxName};

/// Where named namespaces are bound, as `ip netns` expects them.
pub const DIRECTORY: &str = "/run/netns";

/// The path under which a named namespace is bound.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Opens a named namespace.
///
/// # Errors
/// `NotFound` when no such name is bound.
pub fn open(name: &str) -> io::Result<File> {
    File::open(path(name))
}

/// Opens the namespace that a sandbox is.
///
/// # Errors
/// `NotFound` when there is none.
pub fn of(sandbox: &SandboxName) -> io::Result<File> {
    match sandbox.place() {
        Place::Named(name) => open(name),
        Place::Node { .. } => node(),
        Place::Attached { inode: wanted, path, .. } => {
            let file = File::open(path)?;
            match inode(&file)? == wanted {
                true => Ok(file),
                // Another one has taken the place of the one that was meant.
                false => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }
}

/// Opens the node's own namespace. The keeper lives in that of the machine's first process,
/// whatever its caller is in, unless it may not.
///
/// # Errors
/// When /proc is not there.
pub fn node() -> io::Result<File> {
    File::open("/proc/1/ns/net").or_else(|_| current())
}

/// Runs `work` in a namespace of its own that ends with it.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn throwaway<T: Send>(work: impl FnOnce(BorrowedFd<'_>) -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(work(current()?.as_fd()))
        });
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Opens the namespace of the calling thread.
pub fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Runs `work` on a thread that has entered `namespace`, and waits for it.
///
/// # Errors
/// What `setns` answered: `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` when the file is no namespace.
pub fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            #[expect(clippy::disallowed_methods, reason = "the home of entering namespaces")]
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Makes a namespace, lets `prepare` work inside it, and binds it to `name` only when that
/// succeeded: a namespace that has a name is always a prepared one.
///
/// # Errors
/// `AlreadyExists` when the name is taken; otherwise what the kernel or `prepare` answered.
pub fn create(name: &str, prepare: impl FnOnce() -> io::Result<()> + Send) -> io::Result<File> {
    ensure_directory()?;
    let target = path(name);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            prepare()?;
            make_file(&target)?;
            let bound = mount(
                Some("/proc/thread-self/ns/net"),
                &target,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            );
            if let Err(errno) = bound {
                let _ = std::fs::remove_file(&target);
                return Err(io::Error::from(errno));
            }
            current()
        });
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Makes the file that a namespace is bound to. One on which nothing is mounted, as a killed run
/// leaves it, is taken.
fn make_file(target: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode_0600().open(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let left = File::open(target)?;
            let mounted = nix::sys::statfs::fstatfs(&left)?.filesystem_type();
            let empty = left.metadata()?.len() == 0;
            if mounted == nix::sys::statfs::NSFS_MAGIC || !empty { Err(error) } else { Ok(()) }
        }
        made => made.map(drop),
    }
}

/// Takes a name away. The namespace itself goes when nothing uses it any more.
///
/// # Errors
/// `NotFound` when no such name is bound.
pub fn remove(name: &str) -> io::Result<()> {
    let target = path(name);
    match umount2(&target, MntFlags::MNT_DETACH) {
        // A file without a mount on it is what a crash between the two steps of `create` leaves.
        Ok(()) | Err(nix::errno::Errno::EINVAL) => std::fs::remove_file(&target),
        Err(errno) => Err(io::Error::from(errno)),
    }
}

/// The names bound in [`DIRECTORY`], sorted; none when the directory is missing.
///
/// # Errors
/// When the directory cannot be read.
pub fn names() -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The inode of a namespace: the same for every file that names the same namespace.
pub fn inode(namespace: impl AsFd) -> io::Result<u64> {
    let stat = nix::sys::stat::fstat(namespace)?;
    Ok(stat.st_ino)
}

/// Makes [`DIRECTORY`] a shared mount point, as `ip netns add` does, so that names bound here are
/// seen by processes that have mount namespaces of their own.
fn ensure_directory() -> io::Result<()> {
    std::fs::create_dir_all(DIRECTORY)?;
    let share = || {
        mount(
            None::<&str>,
            DIRECTORY,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EINVAL) => {
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            Ok(share()?)
        }
        Err(errno) => Err(io::Error::from(errno)),
    }
}

/// `OpenOptions::mode` under a name that says what it is for.
trait Mode {
    fn mode_0600(&mut self) -> &mut Self;
}

impl Mode for std::fs::OpenOptions {
    fn mode_0600(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.mode(0o600)
    }
}
