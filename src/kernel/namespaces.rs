//! Finds every network namespace of the machine: those that are bound to a file, and those that
//! only processes hold.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, fstatfs, statfs};
use nix::unistd::{Uid, User};

use super::{docker, netns};
use crate::dump::choice::Machine;
use crate::dump::docker::DIRECTORIES;
use crate::dump::namespace::{Inhabitant, Namespace, container_of};

nix::ioctl_none!(
    /// Which kind of namespace a file is (`NS_GET_NSTYPE` in linux/nsfs.h).
    ns_get_nstype,
    0xb7,
    0x3
);

/// Every namespace that can be seen from here, with Docker's words on it.
pub fn machine() -> Machine {
    let mut found: BTreeMap<u64, Namespace> = BTreeMap::new();
    for (inode, path) in bound() {
        let namespace = found.entry(inode).or_default();
        if !namespace.paths.contains(&path) {
            namespace.paths.push(path);
        }
    }
    let hidden = inhabit(&mut found);
    let host = std::fs::read_link("/proc/1/ns/net").ok().and_then(|link| inode_in(&link));
    let namespaces = found
        .into_iter()
        .map(|(inode, namespace)| Namespace { inode, host: host == Some(inode), ..namespace })
        .collect();
    Machine { namespaces, containers: docker::containers(), hidden }
}

/// Opens a namespace by the first way that still leads to it.
///
/// # Errors
/// What the last way met; `NotFound` when the namespace is gone.
pub fn open(namespace: &Namespace) -> io::Result<File> {
    let paths = namespace.paths.iter().map(PathBuf::from);
    let pids = namespace.processes.iter().map(|process| process_path(process.pid));
    let host = namespace.host.then(|| process_path(1));
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for path in paths.chain(pids).chain(host) {
        match File::open(&path).and_then(|file| Ok((netns::inode(&file)?, file))) {
            Ok((inode, file)) if inode == namespace.inode => return Ok(file),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where the namespace of a process can be opened.
pub fn process_path(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Whether an open file is a network namespace.
pub fn is_one(file: &File) -> bool {
    let is_namespace = fstatfs(file).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC);
    // SAFETY: the call has no argument, and the file is open.
    let kind = is_namespace.then(|| unsafe { ns_get_nstype(file.as_fd().as_raw_fd()) });
    matches!(kind, Some(Ok(kind)) if kind == nix::libc::CLONE_NEWNET)
}

/// What is bound: in the directories where names are, and anywhere else.
fn bound() -> Vec<(u64, String)> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for directory in [netns::DIRECTORY].iter().chain(&DIRECTORIES) {
        // /var/run is /run nearly everywhere.
        let Ok(directory) = Path::new(directory).canonicalize() else { continue };
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        paths.extend(entries.map(|entry| entry.path()));
    }
    paths.sort();
    paths.dedup();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    paths.extend(mounts.lines().filter_map(mount_point));
    let mut bound = Vec::new();
    for path in paths {
        let Some(text) = path.to_str().map(str::to_owned) else { continue };
        if let Some(inode) = network_at(&path)
            && !bound.contains(&(inode, text.clone()))
        {
            bound.push((inode, text));
        }
    }
    bound
}

/// The mount point of a network namespace in a line of mountinfo.
fn mount_point(line: &str) -> Option<PathBuf> {
    let mut words = line.split(' ');
    let root = words.nth(3)?;
    let at = words.next()?;
    root.starts_with("net:[").then(|| PathBuf::from(unescaped(at)))
}

/// mountinfo writes space, tab, newline and backslash as octal numbers.
fn unescaped(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (code, meant)| text.replace(code, meant))
}

/// The inode of the network namespace that a path leads to.
fn network_at(path: &Path) -> Option<u64> {
    // A plain file, as a killed run leaves it, and a namespace of another kind are none.
    if statfs(path).ok()?.filesystem_type() != NSFS_MAGIC {
        return None;
    }
    let file = File::open(path).ok()?;
    is_one(&file).then(|| netns::inode(&file).ok())?
}

/// Puts each process where it lives; tells how many may not be looked at.
fn inhabit(found: &mut BTreeMap<u64, Namespace>) -> usize {
    let mut pids: Vec<i32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let mut hidden = 0;
    for pid in pids {
        match std::fs::read_link(process_path(pid)) {
            Ok(link) => {
                if let (Some(inode), Some(process)) = (inode_in(&link), inhabitant(pid)) {
                    found.entry(inode).or_default().processes.push(process);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
            // It ended meanwhile.
            Err(_) => {}
        }
    }
    hidden
}

/// A process with its command; the kernel's own threads have none.
fn inhabitant(pid: i32) -> Option<Inhabitant> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let command = std::fs::read(directory.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command);
    let command = command.trim_end_matches('\0').replace('\0', " ");
    if command.is_empty() {
        return None;
    }
    let groups = std::fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
    let user = user(std::fs::metadata(&directory).ok()?.uid());
    Some(Inhabitant { pid, command, user, container: container_of(&groups).map(str::to_owned) })
}

fn user(uid: u32) -> String {
    match uid {
        0 => "root".to_owned(),
        uid => match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => user.name,
            _ => uid.to_string(),
        },
    }
}

/// `net:[4026531840]`
fn inode_in(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_network_namespaces_are_found_whatever_they_are_called() {
        let line =
            |root: &str, at: &str| format!("68 67 0:4 {root} {at} rw shared:3 - nsfs nsfs rw");
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(mount_point(&line("net:[4026532248]", "/run/netns/f")), path("/run/netns/f"));
        assert_eq!(mount_point(&line("net:[1]", "/tmp/a\\040b")), path("/tmp/a b"));
        assert_eq!(mount_point(&line("mnt:[4026532248]", "/run/x")), None);
        assert_eq!(mount_point(""), None);
    }

    #[test]
    fn the_own_namespace_is_one_and_other_files_are_none() {
        assert!(is_one(&File::open("/proc/self/ns/net").unwrap()));
        assert!(!is_one(&File::open("/proc/self/ns/mnt").unwrap()));
        assert!(!is_one(&File::open("/proc/self/status").unwrap()));
        assert_eq!(inode_in(Path::new("net:[4026531840]")), Some(4_026_531_840));
        assert_eq!(inode_in(Path::new("mnt:[1]")), None);
    }
}
