//! Network namespaces: making, finding, and working inside them.
//!
//! A network namespace belongs to a thread, and a socket belongs for life to the namespace of the
//! thread that opened it. So everything here happens on a short-lived thread of its own: it enters
//! the namespace, does its work, and ends. No thread of a runtime is ever moved. This is the only
//! module that calls `setns` for a network namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::killpoint;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::linkat;

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
        Place::Attached { identity: wanted, path, .. } => {
            let file = File::open(path)?;
            match identity(&file)? == wanted {
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
            // Who is there already needs no privilege to look around.
            if inode(namespace)? != current().and_then(inode)? {
                enter(namespace)?;
            }
            Ok(work())
        });
        match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Moves the calling thread into `namespace` for good. For a thread that was started for this and
/// ends soon: it may go on to other namespaces, and never comes back.
///
/// # Errors
/// As [`within`].
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the home of entering namespaces")]
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

/// Makes a namespace, lets `prepare` work inside it, and binds it to `name` only when that
/// succeeded: a namespace that has a name is always a prepared one. The file below the mount holds
/// `mark`, so that a name without a namespace, as a killed run leaves it, is known again.
///
/// # Errors
/// `AlreadyExists` when the name is taken; otherwise what the kernel or `prepare` answered.
pub fn create(
    name: &str,
    mark: &str,
    prepare: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<File> {
    ensure_directory()?;
    let target = path(name);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            prepare()?;
            make_file(&target, mark)?;
            killpoint::pass(|| format!("the namespace {name} is not bound to its name yet"));
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

/// Makes the file that a namespace is bound to. One on which nothing is mounted is replaced if it is
/// empty or bears our mark: a killed run left it.
fn make_file(target: &Path, mark: &str) -> io::Result<()> {
    match marked_file(target, mark) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !unbound(target)?.is_some_and(|held| held.is_empty() || held == mark) {
                return Err(error);
            }
            std::fs::remove_file(target)?;
            marked_file(target, mark)
        }
        made => made,
    }
}

/// Makes a file that has its text from the moment it has its name.
fn marked_file(target: &Path, mark: &str) -> io::Result<()> {
    let nameless = File::options()
        .write(true)
        .custom_flags(nix::libc::O_TMPFILE)
        .mode(0o600)
        .open(target.parent().unwrap_or(Path::new(DIRECTORY)))?;
    io::Write::write_all(&mut &nameless, mark.as_bytes())?;
    let source = format!("/proc/self/fd/{}", nameless.as_raw_fd());
    Ok(linkat(AT_FDCWD, source.as_str(), AT_FDCWD, target, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// What a file holds on which no namespace is mounted; none where one is.
fn unbound(target: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(target)?;
    let mounted = nix::sys::statfs::fstatfs(&file)?.filesystem_type();
    if mounted == nix::sys::statfs::NSFS_MAGIC {
        return Ok(None);
    }
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(&mut file, 4096), &mut text)?;
    Ok(Some(text))
}

/// Takes names away that have no namespace and whose mark begins with `prefix`: a run that made or
/// removed them was killed. Tells which.
///
/// # Errors
/// When the directory cannot be read.
pub fn remove_unbound(prefix: &str) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in names()? {
        let target = path(&name);
        let ours = unbound(&target).is_ok_and(|held| held.is_some_and(|m| m.starts_with(prefix)));
        if ours && std::fs::remove_file(&target).is_ok() {
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Takes a name away. The namespace itself goes when nothing uses it any more.
///
/// # Errors
/// `NotFound` when no such name is bound.
pub fn remove(name: &str) -> io::Result<()> {
    let target = path(name);
    match umount2(&target, MntFlags::MNT_DETACH) {
        // A file without a mount on it is what a crash between the two steps of `create` leaves.
        Ok(()) | Err(nix::errno::Errno::EINVAL) => {
            killpoint::pass(|| format!("the namespace {name} has lost its mount, not its name"));
            std::fs::remove_file(&target)
        }
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

/// A number that no other namespace of this machine had since it started: the kernel's cookie
/// (Linux 5.14). An older one has only the inode, which is given again once it is free.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn identity(namespace: &File) -> io::Result<u64> {
    match within(namespace.as_fd(), cookie)? {
        Ok(cookie) => Ok(cookie),
        Err(_) => inode(namespace),
    }
}

/// The cookie of the namespace that the calling thread is in.
fn cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as nix::libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which `cookie` has.
    let answer = unsafe {
        nix::libc::getsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            nix::libc::SOL_SOCKET,
            nix::libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
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
