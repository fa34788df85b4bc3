//! An archive's entries become files, in the form that overlayfs wants of a layer: what hides something of
//! the layers below is a character device 0/0, or an attribute of a directory.

use std::ffi::{CString, OsStr};
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::super::error::LayerFault;
use super::entries::{Entries, Entry, Kind};
use super::root::{self, Root, Seen};
use crate::killpoint;

/// What begins the name of a file that hides another of the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// What begins the names of the driver's own, for which this form was made.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Its directory hides all that the layers below have in it.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The same for overlayfs.
const OPAQUE_ATTRIBUTE: &std::ffi::CStr = c"trusted.overlay.opaque";

/// Unpacks all entries into a directory that is there and empty. Returns how many bytes the files have.
///
/// # Errors
/// What is wrong with the archive, or what the file system answered. What was unpacked until then stays.
pub fn unpack<R: BufRead>(
    entries: &mut Entries<R>,
    directory: &Path,
    most_files: u64,
) -> Result<u64, LayerFault> {
    let root = Root::open(directory).map_err(|source| written(Path::new("/"), source))?;
    let mut unpacker = Unpacker { root, directories: Vec::new(), size: 0 };
    let mut files = 0;
    while let Some(entry) = entries.advance().map_err(LayerFault::read)? {
        files += 1;
        if files > most_files {
            return Err(LayerFault::TooMany { limit: most_files });
        }
        unpacker.place(entries, &entry)?;
        killpoint::pass(|| "entry placed".into());
    }
    unpacker.finish();
    Ok(unpacker.size)
}

fn written(name: &Path, source: io::Error) -> LayerFault {
    LayerFault::Write { name: name.display().to_string(), source }
}

fn told(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

struct Unpacker {
    root: Root,
    /// Directories, whose times are set when nothing is put into them any more.
    directories: Vec<(PathBuf, (i64, u32))>,
    size: u64,
}

/// Where something is put.
struct Place<'a> {
    /// The whole of it, for who reads of it.
    path: &'a Path,
    directory: Rc<OwnedFd>,
    name: &'a Path,
}

impl Place<'_> {
    fn fault(&self) -> impl Fn(io::Error) -> LayerFault {
        |source| written(self.path, source)
    }

    fn refused(&self) -> impl Fn(Errno) -> LayerFault {
        |errno| written(self.path, errno.into())
    }

    /// Makes something by `make`; what was there before goes.
    fn instead<T>(&self, mut make: impl FnMut() -> Result<T, Errno>) -> Result<T, LayerFault> {
        match make() {
            Err(Errno::EXIST) => {
                if let Some(seen) = self.look()? {
                    root::remove(self.directory.as_fd(), self.name, seen).map_err(self.fault())?;
                }
                make().map_err(self.refused())
            }
            made => made.map_err(self.refused()),
        }
    }

    fn look(&self) -> Result<Option<Seen>, LayerFault> {
        root::look(self.directory.as_fd(), self.name).map_err(self.fault())
    }
}

impl Unpacker {
    fn place<R: BufRead>(
        &mut self,
        entries: &mut Entries<R>,
        entry: &Entry,
    ) -> Result<(), LayerFault> {
        let path = clean(&entry.name)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.top(entry);
        };
        let name = name.as_bytes();
        if name == OPAQUE {
            return self.opaque(parent);
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&path, parent, hidden);
        }
        let place = self.at(&path, parent, OsStr::from_bytes(name))?;
        match &entry.kind {
            Kind::Directory => self.directory(&place, entry),
            Kind::File { size } => {
                self.size += size;
                file(entries, &place, entry, None)
            }
            Kind::Sparse { pieces, size } => {
                self.size += pieces.iter().map(|(_, length)| length).sum::<u64>();
                file(entries, &place, entry, Some((pieces, *size)))
            }
            Kind::HardLink(target) => self.hard_link(&place, target),
            Kind::SymbolicLink(target) => self.symbolic_link(&place, target, entry),
            Kind::Character { major, minor } => {
                self.node(&place, FileType::CharacterDevice, (*major, *minor), entry)
            }
            Kind::Block { major, minor } => {
                self.node(&place, FileType::BlockDevice, (*major, *minor), entry)
            }
            Kind::Fifo => self.node(&place, FileType::Fifo, (0, 0), entry),
        }
    }

    fn at<'a>(
        &mut self,
        path: &'a Path,
        parent: &Path,
        name: &'a OsStr,
    ) -> Result<Place<'a>, LayerFault> {
        let fault = |source| written(path, source);
        let directory = self.root.inside(parent).map_err(fault)?;
        Ok(Place { path, directory, name: Path::new(name) })
    }

    /// The root itself.
    fn top(&mut self, entry: &Entry) -> Result<(), LayerFault> {
        if entry.kind != Kind::Directory {
            let reason = "which would be the root and is no directory".into();
            return Err(LayerFault::Entry { name: told(&entry.name), reason });
        }
        let path = Path::new("/");
        attribute(self.root.directory(), entry).map_err(|source| written(path, source))?;
        self.directories.push((PathBuf::new(), entry.mtime));
        Ok(())
    }

    fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerFault> {
        let seen = match rustix::fs::mkdirat(&place.directory, place.name, Mode::RWXU) {
            Err(Errno::EXIST) => place.look()?,
            made => made.map(|()| None).map_err(place.refused())?,
        };
        if let Some(seen @ (Seen::Whiteout | Seen::Other)) = seen {
            root::remove(place.directory.as_fd(), place.name, seen).map_err(place.fault())?;
            let made = rustix::fs::mkdirat(&place.directory, place.name, Mode::RWXU);
            made.map_err(place.refused())?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&place.directory, place.name, flags, Mode::empty());
        let opened = opened.map_err(place.refused())?;
        if seen == Some(Seen::Whiteout) {
            // What the layers below have there stays hidden.
            hide_below(opened.as_fd()).map_err(place.fault())?;
        }
        attribute(opened.as_fd(), entry).map_err(place.fault())?;
        self.directories.push((place.path.to_owned(), entry.mtime));
        Ok(())
    }

    fn hard_link(&mut self, place: &Place<'_>, target: &[u8]) -> Result<(), LayerFault> {
        let target = clean(target)?;
        let missing = || LayerFault::Entry {
            name: place.path.display().to_string(),
            reason: format!("a link to `{}`, which is not there", target.display()),
        };
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(missing());
        };
        if target == place.path {
            return Ok(());
        }
        let directory = match self.root.existing(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            opened => opened.map_err(place.fault())?,
        };
        let link = || {
            let (to, flags) = (&place.directory, AtFlags::empty());
            rustix::fs::linkat(&directory, name, to, place.name, flags)
        };
        match link() {
            Err(Errno::NOENT) => Err(missing()),
            Err(Errno::EXIST) => place.instead(link),
            linked => linked.map_err(place.refused()),
        }
    }

    fn symbolic_link(
        &mut self,
        place: &Place<'_>,
        target: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerFault> {
        let target = OsStr::from_bytes(target);
        place.instead(|| rustix::fs::symlinkat(target, &place.directory, place.name))?;
        attribute_by_name(place, entry)
    }

    fn node(
        &mut self,
        place: &Place<'_>,
        kind: FileType,
        (major, minor): (u32, u32),
        entry: &Entry,
    ) -> Result<(), LayerFault> {
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(entry.mode);
        let directory = &place.directory;
        place.instead(|| rustix::fs::mknodat(directory, place.name, kind, mode, device))?;
        attribute_by_name(place, entry)?;
        rustix::fs::chmodat(directory, place.name, mode, AtFlags::empty()).map_err(place.refused())
    }

    /// Hides what the layers below have of that name. What this layer itself has stays, whichever comes first.
    fn whiteout(&mut self, path: &Path, parent: &Path, hidden: &[u8]) -> Result<(), LayerFault> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerFault::Outside { name: path.display().to_string() });
        }
        let hidden = parent.join(OsStr::from_bytes(hidden));
        let name = hidden.file_name().unwrap_or_default();
        let place = self.at(&hidden, parent, name)?;
        match place.look()? {
            None => {
                let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
                rustix::fs::mknodat(&place.directory, place.name, kind, mode, 0)
                    .map_err(place.refused())
            }
            Some(Seen::Directory) => self.opaque(&hidden),
            Some(_) => Ok(()),
        }
    }

    fn opaque(&mut self, path: &Path) -> Result<(), LayerFault> {
        let fault = |source| written(path, source);
        let directory = self.root.inside(path).map_err(fault)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        // One that was opened only as a path takes no attributes.
        let opened = rustix::fs::openat(directory, c".", flags, Mode::empty());
        hide_below(opened.map_err(|errno| fault(errno.into()))?.as_fd()).map_err(fault)
    }

    /// Sets the times of directories, the last first. One that is not there any more needs none.
    fn finish(&mut self) {
        for (path, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let (parent, name) = match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => (parent, Path::new(name)),
                _ => (Path::new(""), Path::new(".")),
            };
            if let Ok(directory) = self.root.inside(parent) {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let _ = rustix::fs::utimensat(directory, name, &times(mtime), flags);
            }
        }
    }
}

fn clean(name: &[u8]) -> Result<PathBuf, LayerFault> {
    if name.contains(&0) {
        let reason = "which is no name".into();
        return Err(LayerFault::Entry { name: told(name), reason });
    }
    root::clean(name).ok_or_else(|| LayerFault::Outside { name: told(name) })
}

fn hide_below(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(directory, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())?)
}

/// A file, whole or with holes.
fn file<R: BufRead>(
    entries: &mut Entries<R>,
    place: &Place<'_>,
    entry: &Entry,
    sparse: Option<(&Vec<(u64, u64)>, u64)>,
) -> Result<(), LayerFault> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let opened = place.instead(|| rustix::fs::openat(&place.directory, place.name, flags, mode))?;
    let mut file = std::fs::File::from(opened);
    // A reader's error keeps what it is; a writer's says what could not be written.
    let fault = |source| io::Error::other(written(place.path, source));
    match sparse {
        None => {
            while entries
                .read(|bytes| file.write_all(bytes).map_err(fault))
                .map_err(LayerFault::read)?
            {}
        }
        Some((pieces, size)) => {
            for (offset, length) in pieces {
                file.seek(SeekFrom::Start(*offset)).map_err(place.fault())?;
                let mut left = *length;
                while entries
                    .read_up_to(left, |bytes| {
                        left -= bytes.len() as u64;
                        file.write_all(bytes).map_err(fault)
                    })
                    .map_err(LayerFault::read)?
                {}
            }
            file.set_len(size).map_err(place.fault())?;
        }
    }
    attribute(file.as_fd(), entry).map_err(place.fault())?;
    rustix::fs::futimens(&file, &times(entry.mtime)).map_err(place.refused())
}

/// Owner, permissions and attributes of something that is open; in this order, for a new owner takes the
/// others away.
fn attribute(opened: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::fchown(opened, Some(uid), Some(gid))?;
    rustix::fs::fchmod(opened, Mode::from_raw_mode(entry.mode))?;
    xattrs(entry, |name, value| {
        Ok(rustix::fs::fsetxattr(opened, name, value, XattrFlags::empty())?)
    })
}

/// The same of what cannot be opened.
fn attribute_by_name(place: &Place<'_>, entry: &Entry) -> Result<(), LayerFault> {
    let (directory, name, flags) = (&place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW);
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags).map_err(place.refused())?;
    xattrs(entry, |attribute, value| root::set_xattr(directory.as_fd(), name, attribute, value))
        .map_err(place.fault())?;
    rustix::fs::utimensat(directory, name, &times(entry.mtime), flags).map_err(place.refused())
}

/// Sets the attributes that mean something in another machine's files. Those of overlayfs itself would
/// lead elsewhere, and those of security modules are of the machine that they were made on. Without
/// its capabilities a program does not work; without the others it does, where the file system has none.
fn xattrs(entry: &Entry, set: impl Fn(&std::ffi::CStr, &[u8]) -> io::Result<()>) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        let is_capability = name == b"security.capability";
        let of_overlayfs = [b"trusted.overlay.".as_slice(), b"user.overlay."];
        let is_meant = is_capability
            || [b"user.".as_slice(), b"trusted.", b"system.posix_acl_"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
        let leads_elsewhere = of_overlayfs.iter().any(|prefix| name.starts_with(prefix));
        let Ok(attribute) = CString::new(name.as_slice()) else { continue };
        if !is_meant || leads_elsewhere {
            continue;
        }
        match set(&attribute, value) {
            Err(error) if !is_capability && is_unsupported(&error) => {}
            set => set?,
        }
    }
    Ok(())
}

fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOTSUP | Errno::PERM | Errno::INVAL))
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
