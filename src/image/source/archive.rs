//! A tar archive whose files are read in any order.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::decompress::decompressed;
use super::super::error::{ImageError, LayerFault};
use super::super::layer::{Entries, Kind};
use super::LARGEST_DOCUMENT;

/// Most files of an archive, and how many links may lead to one.
const MOST_FILES: usize = 100_000;
const MOST_LINKS: usize = 8;

/// The archive, and where in it each file is.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    /// Its first byte, and how many there are.
    File(u64, u64),
    /// What docker wrote for a layer that it had written already.
    Link(String),
}

impl Archive {
    /// Reads which files there are. An archive that is compressed is decompressed into `scratch`, to at
    /// most so many bytes; nothing stays there.
    ///
    /// # Errors
    /// When it cannot be read, or is no archive.
    pub fn open(path: &Path, scratch: &Path, limit: u64) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(ImageError::file("opened", path))?;
        let mut magic = [0; 4];
        let length = file.read_at(&mut magic, 0).map_err(ImageError::file("read", path))?;
        let file = match magic.get(..length) {
            Some([0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) => decompressed(file)
                .and_then(|plain| nameless(plain, scratch, limit))
                .map_err(|error| wrong(path, error))?,
            _ => file,
        };
        let members = members(&file).map_err(|error| wrong(path, error))?;
        Ok(Self { path: path.to_owned(), file, members })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file is, links followed.
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = normal(name);
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::File(at, length) => return Some((*at, *length)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    fn missing(&self, name: &str) -> ImageError {
        ImageError::NoImage {
            place: self.path.display().to_string(),
            reason: format!("has no file `{}`", name.escape_debug()),
        }
    }

    /// A file's bytes, and how many there are.
    ///
    /// # Errors
    /// When there is none.
    pub fn member(&self, name: &str) -> Result<(Slice<'_>, u64), ImageError> {
        let (at, length) = self.find(name).ok_or_else(|| self.missing(name))?;
        Ok((Slice { file: &self.file, at, left: length }, length))
    }

    /// A file as a whole.
    ///
    /// # Errors
    /// When there is none, or it is too large for a document.
    pub fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (mut slice, length) = self.member(name)?;
        if length > LARGEST_DOCUMENT {
            return Err(ImageError::NoImage {
                place: self.path.display().to_string(),
                reason: format!("has a file `{}` that is too large", name.escape_debug()),
            });
        }
        let mut bytes = Vec::new();
        slice.read_to_end(&mut bytes).map_err(ImageError::file("read", &self.path))?;
        Ok(bytes)
    }
}

fn wrong(path: &Path, error: io::Error) -> ImageError {
    match LayerFault::read(error) {
        LayerFault::Read(error) => ImageError::file("read", path)(error),
        fault => {
            let reason = fault.to_string();
            let reason = reason.strip_prefix("is damaged: ").unwrap_or(&reason).to_owned();
            ImageError::Damaged { what: path.display().to_string(), reason }
        }
    }
}

/// Some bytes of a file; several may be read at once.
#[derive(Debug)]
pub struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..most) else { return Ok(0) };
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// A file without a name, with all that a reader gives.
fn nameless(plain: impl Read, scratch: &Path, limit: u64) -> io::Result<File> {
    // Named for a moment only: what begins so is cleared when this process is killed in it.
    let name = scratch.join(format!("part-{}", crate::random::id(12)));
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
    std::fs::remove_file(&name)?;
    let mut plain = plain.take(limit);
    let length = io::copy(&mut plain, &mut file)?;
    file.flush()?;
    file.rewind()?;
    match length == limit {
        true => Err(io::Error::other(LayerFault::TooLarge { limit })),
        false => Ok(file),
    }
}

/// A name as it is looked up.
fn normal(name: &str) -> String {
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

fn members(file: &File) -> io::Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let mut entries = Entries::new(Seeking { inner: BufReader::with_capacity(8192, file) });
    while let Some(entry) = entries.advance()? {
        let Ok(name) = String::from_utf8(entry.name) else { continue };
        let name = normal(&name);
        let member = match entry.kind {
            Kind::File { size } => {
                let at = entries.position();
                entries.seek_over(size)?;
                Member::File(at, size)
            }
            Kind::HardLink(target) => Member::Link(normal(&String::from_utf8_lossy(&target))),
            Kind::SymbolicLink(target) => Member::Link(beside(&name, &target)),
            _ => continue,
        };
        members.insert(name, member);
        if members.len() > MOST_FILES {
            return Err(io::Error::other(LayerFault::TooMany { limit: MOST_FILES as u64 }));
        }
    }
    // Nothing is behind the last file's end.
    let length = file.metadata()?.len();
    let is_cut_off = |member: &Member| matches!(member, Member::File(at, size) if at.saturating_add(*size) > length);
    match members.values().any(is_cut_off) {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(members),
    }
}

/// What a symbolic link beside a file means.
fn beside(name: &str, target: &[u8]) -> String {
    let target = String::from_utf8_lossy(target);
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A reader that leaves out what is not read.
pub struct Seeking<'a> {
    inner: BufReader<&'a File>,
}

impl Read for Seeking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl BufRead for Seeking<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.inner.consume(length);
    }
}

impl Seek for Seeking<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // Within what is buffered already, where that is enough.
            SeekFrom::Current(offset) => {
                self.inner.seek_relative(offset)?;
                Ok(0)
            }
            to => self.inner.seek(to),
        }
    }
}
