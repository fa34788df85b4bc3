//! A directory that nothing leads out of: the kernel resolves every path below it as if it were `/`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

/// How often a path is resolved anew when the kernel says that something moved meanwhile.
const ATTEMPTS: usize = 64;
/// Of directories that an archive leaves out.
const MADE_MODE: u32 = 0o755;

/// The directory, and the one below it that was used last.
#[derive(Debug)]
pub struct Root {
    directory: Rc<OwnedFd>,
    last: Option<(PathBuf, Rc<OwnedFd>)>,
}

/// A path with `.`, `..` and needless slashes taken away; one that begins with a slash begins at the root.
/// None when it leads out.
pub fn clean(name: &[u8]) -> Option<PathBuf> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.iter().map(|part| std::ffi::OsStr::from_bytes(part)).collect())
}

impl Root {
    /// # Errors
    /// What the file system answered.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { directory: Rc::new(directory), last: None })
    }

    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The directory of a clean path, made with all above it where it is missing.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn inside(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        if path.as_os_str().is_empty() {
            return Ok(Rc::clone(&self.directory));
        }
        if let Some((last, opened)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(opened));
        }
        let opened = Rc::new(match self.resolve(path) {
            Err(Errno::NOENT) => self.made(path)?,
            opened => opened?,
        });
        self.last = Some((path.to_owned(), Rc::clone(&opened)));
        Ok(opened)
    }

    /// The directory of a clean path, when it is there.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn existing(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(match path.as_os_str().is_empty() {
            true => self.directory.try_clone()?,
            false => self.resolve(path)?,
        })
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let bounds = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let open = || rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), bounds);
        let mut opened = open();
        for _ in 0..ATTEMPTS {
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
            opened = open();
        }
        opened
    }

    /// Makes a directory and all above it that are missing.
    fn made(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut above = PathBuf::new();
        let mut directory = self.directory.try_clone()?;
        for part in path {
            above.push(part);
            directory = match self.resolve(&above) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&directory, part, Mode::from_raw_mode(MADE_MODE))?;
                    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = rustix::fs::openat(&directory, part, flags, Mode::empty())?;
                    // Whatever the caller's mask.
                    rustix::fs::fchmod(&made, Mode::from_raw_mode(MADE_MODE))?;
                    made
                }
                opened => opened?,
            };
        }
        Ok(directory)
    }
}

/// What something in a directory is, links not followed; none when nothing is there.
///
/// # Errors
/// What the file system answered.
pub fn look(directory: BorrowedFd<'_>, name: &Path) -> io::Result<Option<Seen>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Seen::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Seen::Whiteout,
            _ => Seen::Other,
        })),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Directory,
    Whiteout,
    Other,
}

/// Removes what is there, a directory with all that is in it.
///
/// # Errors
/// What the file system answered.
pub fn remove(directory: BorrowedFd<'_>, name: &Path, seen: Seen) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    match seen {
        Seen::Directory => {
            let held = format!("/proc/self/fd/{}", directory.as_raw_fd());
            super::super::removal::tree(&Path::new(&held).join(name))
        }
        _ => Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?),
    }
}

/// Sets an extended attribute of something in a directory, links not followed.
///
/// # Errors
/// What the file system answered.
pub fn set_xattr(
    directory: BorrowedFd<'_>,
    name: &Path,
    attribute: &CStr,
    value: &[u8],
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let held = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let path = Path::new(&held).join(name);
    Ok(rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_above_the_root() {
        let cleaned = |name: &str| clean(name.as_bytes()).map(|path| path.display().to_string());
        for (name, expected) in [
            ("./", Some("")),
            ("/", Some("")),
            ("/etc/passwd", Some("etc/passwd")),
            ("./a//b/./c/", Some("a/b/c")),
            ("a/../b", Some("b")),
            ("..", None),
            ("/../etc", None),
            ("a/../../b", None),
            ("a/..b", Some("a/..b")),
        ] {
            assert_eq!(cleaned(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn links_are_followed_inside_and_not_out() {
        let above = tempfile::tempdir().unwrap();
        let inside = above.path().join("root");
        std::fs::create_dir_all(inside.join("usr/lib")).unwrap();
        for (link, target) in
            [("lib", "usr/lib"), ("up", "../.."), ("slash", "/"), ("round", "round")]
        {
            std::os::unix::fs::symlink(target, inside.join(link)).unwrap();
        }
        let mut root = Root::open(&inside).unwrap();
        for (path, made) in [("lib/x", "usr/lib/x"), ("up/y", "y"), ("slash/z/z", "z/z")] {
            root.inside(Path::new(path)).unwrap();
            assert!(inside.join(made).is_dir(), "{path}");
        }
        assert!(root.inside(Path::new("round/x")).is_err());
        let names = std::fs::read_dir(above.path()).unwrap().count();
        assert_eq!(names, 1, "something was made above");
    }
}
