//! What of a log is kept. A task appends to its log by itself, so the log is never moved or cut under
//! it: from its beginning, space is given back to the file system. The bytes that are left stay
//! where they were, and with them all that is counted from the beginning.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek64};

/// Gives back what is before `floor`, in whole blocks; it may be more than asked for by none.
///
/// # Errors
/// What the file system answered; `EOPNOTSUPP` where it has no holes.
pub fn give_back(file: &File, floor: u64) -> io::Result<()> {
    let block = file.metadata()?.blksize().max(4096);
    let whole = i64::try_from(floor - floor % block).unwrap_or(i64::MAX);
    if whole > 0 {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(file, flags, 0, whole)?;
    }
    Ok(())
}

/// A file of which the beginning may have been given back, opened for asking only.
#[derive(Debug)]
pub struct Ground(File);

impl Ground {
    /// Of a file that is open, whatever became of its name.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn of(file: &File) -> io::Result<Self> {
        // A position of its own: that of a duplicate would be the other's too.
        Ok(Self(File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?))
    }

    /// The first byte from `at` on that is still there; `at` where nothing comes any more, or where
    /// the file system cannot tell.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn from(&self, at: u64) -> io::Result<u64> {
        let from = i64::try_from(at).unwrap_or(i64::MAX);
        match lseek64(self.0.as_fd(), from, Whence::SeekData) {
            Ok(found) => Ok(u64::try_from(found).unwrap_or(at)),
            // Behind the end, or all that is left of the file is a hole.
            Err(Errno::ENXIO) => Ok(self.0.metadata()?.len().max(at)),
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(at),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Where the first line begins that is still there, whole, from `at` on, where one begins.
    ///
    /// # Errors
    /// What reading met.
    pub fn first_line(&self, at: u64) -> io::Result<u64> {
        let mut begin = self.from(at)?;
        if begin == at {
            return Ok(at);
        }
        let mut block = [0; 4096];
        loop {
            let read = self.0.read_at(&mut block, begin)?;
            let bytes = block.get(..read).unwrap_or_default();
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(place) => return Ok(begin + place as u64 + 1),
                None if read == 0 => return Ok(begin),
                None => begin += read as u64,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_left_stays_where_it_was_and_takes_no_more_than_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = File::options().create(true).append(true).read(true).open(&path).unwrap();
        let lines: String = (0..40_000).map(|number| format!("line {number:06}\n")).collect();
        log.write_all(lines.as_bytes()).unwrap();
        log.sync_all().unwrap();
        let ground = Ground::of(&log).unwrap();
        assert_eq!((ground.from(0).unwrap(), ground.first_line(0).unwrap()), (0, 0));
        give_back(&log, 400_001).unwrap();
        let begin = ground.from(0).unwrap();
        assert!((390_000..=400_001).contains(&begin), "{begin}");
        let line = ground.first_line(0).unwrap();
        assert!(line >= begin && line.is_multiple_of(12), "{line} is no line's beginning");
        let mut text = [0; 12];
        log.read_exact_at(&mut text, line).unwrap();
        assert_eq!(text, lines.as_bytes()[line as usize..][..12]);
        let held = log.metadata().unwrap();
        assert_eq!(held.len(), 480_000);
        assert!(held.blocks() * 512 < 110_000, "{} bytes are taken", held.blocks() * 512);
        // It goes on as if nothing had been.
        log.write_all(b"last\n").unwrap();
        assert_eq!(ground.from(480_000).unwrap(), 480_000);
        assert_eq!(ground.from(480_005).unwrap(), 480_005, "the end");
        give_back(&log, 100).unwrap();
        assert_eq!(ground.from(0).unwrap(), begin);
    }
}
