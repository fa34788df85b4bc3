//! Containers: started by an OCI runtime that ends once the container runs, so that what runs in it is
//! the keeper's own child.
//!
//! In a task's directory, `container/` is what is the container's alone and goes with it:
//!
//! | file | is |
//! | --- | --- |
//! | `config.json` | what the runtime is told |
//! | `rootfs` | where the root file system is mounted, for the runtime to see only |
//! | `upper`, `work` | what the task changes of it |
//! | `state` | the runtime's own |
//! | `pid` | which process is the container's first, once it runs |
//! | `runtime.log` | what the runtime said |
//!
//! The root file system is mounted in a mount namespace that the runtime begins in. It ends with the
//! container, whoever is killed when, and nothing has to be unmounted.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

use super::descriptors;
use super::protocol::{Bundle, Exit};
use super::record::{Record, mounts_of, start_time};
use crate::kernel::cgroup::Group;
use crate::kernel::program;

/// What is the container's alone, in a task's directory.
pub fn home(directory: &Path) -> PathBuf {
    directory.join("container")
}

/// The runtime as it is called for any container of a task: with the place of its state.
pub fn runtime(path: &Path, directory: &Path) -> Command {
    let mut command = program::command(path);
    command.arg("--root").arg(home(directory).join("state"));
    // Who is not told takes systemd's where that is at work.
    if path.file_name().is_some_and(|name| name == "crun") {
        command.arg("--cgroup-manager=cgroupfs");
    }
    command
}

/// Lays a container out, in the place of a former one, and tells what starts it.
///
/// # Errors
/// What the file system answered.
pub fn command(bundle: &Bundle, name: &str, directory: &Path) -> io::Result<Command> {
    let home = home(directory);
    remove(directory)?;
    for part in ["rootfs", "upper", "work", "state"] {
        std::fs::create_dir_all(home.join(part))?;
    }
    // It is the root directory of the task, who may be anybody.
    std::fs::set_permissions(home.join("upper"), std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(home.join("config.json"), &bundle.config)?;
    for (file, text) in [("hostname", &bundle.hostname), ("hosts", &bundle.hosts)] {
        std::fs::write(directory.join(file), text)?;
    }
    let mut command = runtime(&bundle.runtime, directory);
    command.arg("--log").arg(home.join("runtime.log")).args(["--log-format", "json"]);
    command.args(["run", "--detach", "--pid-file"]).arg(home.join("pid"));
    command.arg("--bundle").arg(&home).arg(name);
    let overlay = Overlay::new(bundle, &home)?;
    // SAFETY: the keeper has one thread, so the child may do as any process.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            descriptors::restore();
            overlay.mount()
        });
    }
    Ok(command)
}

/// The mount of a root file system.
struct Overlay {
    /// The lower directories are names in it.
    layers: PathBuf,
    target: PathBuf,
    /// Each is tried.
    options: [CString; 2],
}

impl Overlay {
    fn new(bundle: &Bundle, home: &Path) -> io::Result<Self> {
        let mut options = lower_options(&bundle.lower, &bundle.layers)?.into_bytes();
        for (option, part) in [(",upperdir=", "upper"), (",workdir=", "work")] {
            options.extend(option.as_bytes());
            options.extend(escaped(&home.join(part)));
        }
        let options_of = |more: &[u8]| {
            let options = [options.as_slice(), more].concat();
            CString::new(options).map_err(io::Error::other)
        };
        Ok(Self {
            layers: bundle.layers.clone(),
            target: home.join("rootfs"),
            // What the task wrote goes with it, so nobody needs it to outlast a power cut. Kernels
            // before 5.10 do not know that.
            options: [options_of(b",volatile")?, options_of(b"")?],
        })
    }

    /// Mounts it in a mount namespace of the calling process's own.
    fn mount(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)?;
        std::env::set_current_dir(&self.layers)?;
        let mounted = self.options.iter().map(|options| {
            let (kind, none) = (Some("overlay"), MsFlags::empty());
            mount(kind, &self.target, kind, none, Some(options.as_c_str()))
        });
        mounted.reduce(Result::or).unwrap_or(Err(Errno::EINVAL))?;
        std::env::set_current_dir("/")
    }
}

/// The option that names the lower directories, the topmost first, for a mount that is made from within
/// `layers`: those that are there are names instead of paths.
///
/// # Errors
/// When one has a NUL in it.
pub fn lower_options(lower: &[PathBuf], layers: &Path) -> io::Result<CString> {
    let names = lower.iter().map(|path| escaped(path.strip_prefix(layers).unwrap_or(path)));
    let names: Vec<Vec<u8>> = names.collect();
    CString::new([b"lowerdir=".as_slice(), &names.join(&b':')].concat()).map_err(io::Error::other)
}

/// A path as overlayfs reads it in its options.
fn escaped(path: &Path) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b':' | b',' | b'\\' => vec![b'\\', *byte],
        _ => vec![*byte],
    };
    path.as_os_str().as_bytes().iter().flat_map(escape).collect()
}

/// Removes what is a container's alone; one that is missing is no error.
///
/// # Errors
/// What the file system answered.
pub fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(home(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The container's first process, once the runtime has said which it is.
pub fn pid(directory: &Path) -> Option<i32> {
    std::fs::read_to_string(home(directory).join("pid")).ok()?.trim().parse().ok()
}

/// A line of a runtime's log.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    msg: String,
}

/// What runtimes say before they come to the point.
const PREAMBLE: [&str; 5] = [
    "runc run failed: ",
    "exec failed: ",
    "unable to start container process: ",
    "error during container init: ",
    "error executing setns process: ",
];

/// Why a runtime that ended did not start the container: its last word, or how it ended.
pub fn why_not(directory: &Path, exit: &Exit) -> String {
    let log = home(directory).join("runtime.log");
    let said = complaint(&log).or_else(|| lines(&log).last().map(|line| to_the_point(&line.msg)));
    said.unwrap_or_else(|| match exit {
        Exit::Code(code) => format!("the runtime ended with code {code} and said nothing"),
        Exit::Signal(number) => format!("the runtime was killed by signal {number}"),
        _ => "the runtime ended".to_owned(),
    })
}

fn lines(log: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The last error in a runtime's log; none where there is none.
pub fn complaint(log: &Path) -> Option<String> {
    lines(log).iter().rfind(|line| line.level == "error").map(|line| to_the_point(&line.msg))
}

fn to_the_point(message: &str) -> String {
    let cut = |rest: &str, preamble: &&str| rest.strip_prefix(*preamble).unwrap_or(rest).to_owned();
    PREAMBLE.iter().fold(message.trim().to_owned(), |rest, preamble| cut(&rest, preamble))
}

/// The record of a task whose runtime was at work when its keeper was killed. What it finished is the
/// task; what it was in the middle of is ended.
pub fn settled(record: Record, directory: &Path) -> Record {
    let group = record.group.as_deref().map(Group::new);
    if record.is_alive() {
        let runtime = Pid::from_raw(record.pid);
        let _ = killpg(runtime, Signal::SIGKILL);
        let _ = kill(runtime, Signal::SIGKILL);
    } else if let Some(pid) = pid(directory)
        && group.as_ref().is_some_and(|group| group.has(pid))
    {
        return Record { is_starting: false, ..begun(record, pid) };
    }
    Record { is_starting: false, ..record }
}

/// The record of a container that runs, by its first process.
pub fn begun(record: Record, pid: i32) -> Record {
    Record {
        pid,
        start_time: start_time(pid).unwrap_or_default(),
        mounts: mounts_of(pid).unwrap_or_default(),
        is_starting: false,
        ..record
    }
}

/// What is wrong with the mount of a root file system, where the kernel says little.
pub fn mount_words(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ENODEV => Some("this kernel has no overlayfs"),
        Errno::EINVAL => Some(
            "overlayfs does not take these directories: the state directory may itself be on an overlayfs",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_overlayfs_is_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d")), b"/a\\:b\\,c\\\\d");
    }

    #[test]
    fn a_runtimes_last_error_is_told_without_its_preamble() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(why_not(path, &Exit::Code(1)), "the runtime ended with code 1 and said nothing");
        std::fs::create_dir(home(path)).unwrap();
        let log = concat!(
            r#"{"level":"warning","msg":"cgroup","time":"x"}"#,
            "\n",
            r#"{"level":"error","msg":"runc run failed: unable to start container process: exec: \"x\": executable file not found in $PATH","time":"x"}"#,
            "\nno json\n"
        );
        std::fs::write(home(path).join("runtime.log"), log).unwrap();
        assert_eq!(
            why_not(path, &Exit::Code(1)),
            "exec: \"x\": executable file not found in $PATH"
        );
    }
}
