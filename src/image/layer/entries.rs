//! The entries of a tar archive, one after the other, as they stand.
//!
//! For archives that nobody vouches for: what is kept in memory of an entry is bounded, nothing is
//! believed before its header's checksum is right, and a name is only bytes. Of the forms that there
//! are, these are read: the old one, POSIX's with its extended headers, and GNU's with long names and
//! sparse files.

use std::io::{self, BufRead};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::super::error::Malformed;

/// What everything in an archive is a multiple of, in bytes.
const BLOCK: usize = 512;
/// Longest extended header or long name, in bytes: what Go reads at the most, too.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// Most pieces of a sparse file.
const MOST_PIECES: usize = 1 << 16;
/// Most headers that may stand before one entry.
const MOST_EXTENSIONS: usize = 16;

/// One thing in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Permissions with set-user-id, set-group-id and sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    /// Bytes follow in the archive: as many as this.
    File {
        size: u64,
    },
    /// A file with holes: its pieces as offset and length follow in the archive.
    Sparse {
        pieces: Vec<(u64, u64)>,
        size: u64,
    },
    /// The name of what it is the same as.
    HardLink(Vec<u8>),
    SymbolicLink(Vec<u8>),
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
}

impl Kind {
    /// How many bytes of content stand in the archive.
    fn stored(&self) -> u64 {
        match self {
            Self::File { size } => *size,
            Self::Sparse { pieces, .. } => pieces.iter().map(|(_, length)| length).sum(),
            _ => 0,
        }
    }
}

/// What stands before an entry and changes it.
#[derive(Debug, Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads an archive.
#[derive(Debug)]
pub struct Entries<R> {
    reader: R,
    /// Bytes of the current entry's content that were not read.
    left: u64,
    /// What fills its last block.
    padding: u64,
    /// How many bytes were read of the archive.
    position: u64,
}

impl<R: BufRead> Entries<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, position: 0 }
    }

    /// Where in the archive the current entry's content goes on, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next one, whatever was not read of the one before. None at the end; what is behind the end was
    /// not read.
    ///
    /// # Errors
    /// When it is no archive, ends in the middle, or has what is not understood.
    pub fn advance(&mut self) -> io::Result<Option<Entry>> {
        self.finish()?;
        let mut extension = Extension::default();
        for _ in 0..MOST_EXTENSIONS {
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => pax(&self.extension(&header)?, &mut extension)?,
                EntryType::GNULongName => extension.name = Some(text(self.extension(&header)?)),
                EntryType::GNULongLink => extension.link = Some(text(self.extension(&header)?)),
                // Of the whole archive, or a volume's name: nothing that an image uses.
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                kind if kind.as_byte() == b'V' => self.content(header.entry_size()?),
                _ => return self.entry(&header, extension).map(Some),
            }
            self.finish()?;
        }
        Err(malformed("an entry has too many headers"))
    }

    /// Puts the next bytes of the current entry's content where they belong; false when there are none.
    ///
    /// # Errors
    /// What `put` answered, or that the archive ends in the middle.
    pub fn read(&mut self, put: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        self.read_up_to(u64::MAX, put)
    }

    /// The same, of at most so many bytes.
    pub fn read_up_to(
        &mut self,
        most: u64,
        put: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let wanted = self.left.min(most);
        if wanted == 0 {
            return Ok(false);
        }
        let bytes = self.reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(cut_off());
        }
        let length = bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        put(bytes.get(..length).unwrap_or_default())?;
        self.reader.consume(length);
        self.left -= length as u64;
        self.position += length as u64;
        Ok(true)
    }

    /// Leaves out as much of the current entry's content, without reading it.
    ///
    /// # Errors
    /// What the reader answered.
    pub fn seek_over(&mut self, bytes: u64) -> io::Result<()>
    where
        R: io::Seek,
    {
        let bytes = bytes.min(self.left);
        let offset = i64::try_from(bytes).map_err(|_| malformed("an entry is too large"))?;
        self.reader.seek(io::SeekFrom::Current(offset))?;
        self.left -= bytes;
        self.position += bytes;
        Ok(())
    }

    /// Reads all that is left, behind the archive's end too.
    ///
    /// # Errors
    /// What the reader answered.
    pub fn drain(mut self) -> io::Result<()> {
        loop {
            let length = self.reader.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.reader.consume(length);
        }
    }

    fn content(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Leaves the current entry behind.
    fn finish(&mut self) -> io::Result<()> {
        while self.read(|_| Ok(()))? {}
        self.left = std::mem::take(&mut self.padding);
        // Some archives end without filling their last block.
        while self.left > 0 {
            match self.read(|_| Ok(())) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.left = 0,
                read => drop(read?),
            }
        }
        Ok(())
    }

    /// A block; none where there is nothing more.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.reader.fill_buf()?;
            let length = bytes.len().min(BLOCK - filled);
            match (length, filled) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(cut_off()),
                _ => block[filled..filled + length].copy_from_slice(&bytes[..length]),
            }
            self.reader.consume(length);
            filled += length;
            self.position += length as u64;
        }
        Ok(Some(block))
    }

    /// The next header; none at the archive's end, which is a block of zeros, or nothing at all.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum's own field counts as blanks.
        let before = block.iter().take(148).chain(block.iter().skip(156));
        let sum = before.map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        match header.cksum() {
            Ok(told) if told == sum => Ok(Some(header)),
            _ if self.position == BLOCK as u64 => Err(malformed("it is no tar archive")),
            _ => Err(malformed("a header's checksum is wrong")),
        }
    }

    /// The content of a header that belongs to the next one.
    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > LONGEST_EXTENSION {
            return Err(malformed("an extended header is too long"));
        }
        self.content(size);
        let mut bytes = Vec::new();
        while self.read(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })? {}
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, extension: Extension) -> io::Result<Entry> {
        let name = extension.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extension.link.or_else(|| Some(header.link_name_bytes()?.into_owned()));
        let link = || link.ok_or_else(|| malformed("a link leads nowhere"));
        let device = || -> io::Result<(u32, u32)> {
            let number = |number: Option<u32>| number.unwrap_or_default();
            Ok((number(header.device_major()?), number(header.device_minor()?)))
        };
        let size = match extension.size {
            Some(size) => size,
            None => header.entry_size()?,
        };
        let kind = match header.entry_type() {
            EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File { size },
            EntryType::Directory => Kind::Directory,
            EntryType::Link => Kind::HardLink(link()?),
            EntryType::Symlink => Kind::SymbolicLink(link()?),
            EntryType::Char => device().map(|(major, minor)| Kind::Character { major, minor })?,
            EntryType::Block => device().map(|(major, minor)| Kind::Block { major, minor })?,
            EntryType::Fifo => Kind::Fifo,
            EntryType::GNUSparse => self.sparse(header, size)?,
            other => {
                let letter = char::from(other.as_byte()).escape_debug().to_string();
                return Err(malformed(format!(
                    "an entry is of kind `{letter}`, which is not known"
                )));
            }
        };
        // Some writers give links and directories a size; content they have none, but for what has one.
        match kind {
            Kind::File { .. } | Kind::Sparse { .. } => self.content(kind.stored()),
            Kind::Directory => self.content(size),
            _ => self.content(0),
        }
        let id = |given: Option<u32>, stored: io::Result<u64>| match given {
            Some(id) => Ok(id),
            None => u32::try_from(stored?).map_err(|_| malformed("an owner's number is too large")),
        };
        Ok(Entry {
            name,
            kind,
            mode: header.mode()? & 0o7777,
            uid: id(extension.uid, header.uid())?,
            gid: id(extension.gid, header.gid())?,
            mtime: match extension.mtime {
                Some(mtime) => mtime,
                None => (header.mtime()?.cast_signed(), 0),
            },
            xattrs: extension.xattrs,
        })
    }

    /// The pieces of a sparse file in GNU's old form: four in the header, the rest in blocks behind it.
    fn sparse(&mut self, header: &Header, stored: u64) -> io::Result<Kind> {
        let wrong = || malformed("the pieces of a sparse file are wrong");
        let gnu = header.as_gnu().ok_or_else(wrong)?;
        let mut pieces = Vec::new();
        let mut add = |piece: &tar::GnuSparseHeader| -> io::Result<()> {
            if !piece.is_empty() {
                pieces.push((piece.offset()?, piece.length()?));
            }
            if pieces.len() > MOST_PIECES { Err(wrong()) } else { Ok(()) }
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut goes_on = gnu.is_extended();
        while goes_on {
            let block = self.block()?.ok_or_else(cut_off)?;
            let mut more = GnuExtSparseHeader::new();
            more.as_mut_bytes().copy_from_slice(&block);
            more.sparse().iter().try_for_each(&mut add)?;
            goes_on = more.is_extended();
        }
        let size = gnu.real_size()?;
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for (offset, length) in &pieces {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
            end = next.ok_or_else(wrong)?;
            sum += length;
        }
        match sum == stored {
            true => Ok(Kind::Sparse { pieces, size }),
            false => Err(wrong()),
        }
    }
}

/// A text of GNU's ends with a NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// Reads POSIX's extended header: `LENGTH KEY=VALUE\n`, where the length is that of all of it, and the
/// value may be any bytes.
fn pax(mut bytes: &[u8], extension: &mut Extension) -> io::Result<()> {
    let wrong = || malformed("an extended header is wrong");
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let (digits, _) = bytes.split_at_checked(blank).ok_or_else(wrong)?;
        let length: usize = number(digits).ok_or_else(wrong)?;
        let (record, rest) = bytes.split_at_checked(length).ok_or_else(wrong)?;
        let record = record.get(blank + 1..).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, value) = record.split_at_checked(equals).ok_or_else(wrong)?;
        note(key, value.get(1..).unwrap_or_default(), extension).ok_or_else(wrong)?;
        bytes = rest;
    }
    Ok(())
}

/// Notes what a key of an extended header says; none when it says nothing that can be.
fn note(key: &[u8], value: &[u8], extension: &mut Extension) -> Option<()> {
    match key {
        b"path" => extension.name = Some(value.to_vec()),
        b"linkpath" => extension.link = Some(value.to_vec()),
        b"size" => extension.size = Some(number(value)?),
        b"uid" => extension.uid = Some(number(value)?),
        b"gid" => extension.gid = Some(number(value)?),
        b"mtime" => extension.mtime = Some(moment(value)?),
        // The newer forms of sparse files: no writer of images has them.
        _ if key.starts_with(b"GNU.sparse.") => return None,
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                extension.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Some(())
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `1700000000.25`, and before 1970 with a minus.
fn moment(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    match text.starts_with('-') && nanoseconds > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        false => Some((seconds, nanoseconds)),
    }
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed(what.into()))
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, Malformed("it ends in the middle".into()))
}
