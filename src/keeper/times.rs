//! When a task wrote what. A task writes into its log by itself, so that nobody's end hurts it; beside
//! the log stands `log.times`, a list of marks: up to this byte the log went at that time. A line
//! was written at the time of the first mark behind it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::render::time::Moment;

/// Bytes of a mark in the file: two little-endian numbers.
const SIZE: u64 = 16;

/// How far a log went, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub end: u64,
    pub time: Moment,
}

/// A task's log.
pub fn log(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn times(directory: &Path) -> PathBuf {
    directory.join("log.times")
}

impl Mark {
    /// Where the log is now: its last write was at its file's time.
    ///
    /// # Errors
    /// When there is no log.
    pub fn of(log: &std::fs::Metadata) -> Self {
        let seconds = u64::try_from(log.mtime()).unwrap_or_default();
        let nanos = u64::try_from(log.mtime_nsec()).unwrap_or_default();
        Self { end: log.len(), time: Moment(Moment::of_seconds(seconds).0.saturating_add(nanos)) }
    }

    fn bytes(self) -> [u8; SIZE as usize] {
        (u128::from(self.time.0) << 64 | u128::from(self.end)).to_le_bytes()
    }

    fn read(bytes: [u8; SIZE as usize]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { end: both as u64, time: Moment((both >> 64) as u64) }
    }
}

/// Writes a mark behind the others.
///
/// # Errors
/// What the file system answered.
pub fn append(directory: &Path, mark: Mark) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(times(directory))?;
    let odd = file.metadata()?.len() % SIZE;
    if odd != 0 {
        // Half a mark: the disk was full.
        file.set_len(file.metadata()?.len() - odd)?;
    }
    file.write_all(&mark.bytes())
}

/// Gives back the space of the marks of what is before `begin`: they are read as marks of nothing.
///
/// # Errors
/// What the file system answered.
pub fn give_back(directory: &Path, begin: u64) -> io::Result<()> {
    let needed = Times::open(directory).first(|mark| mark.end > begin);
    // The one before tells where a time begins.
    let floor = needed.saturating_sub(1) * SIZE;
    match File::options().append(true).open(times(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        file => super::kept::give_back(&file?, floor),
    }
}

/// Begins anew, for a log that was cut.
///
/// # Errors
/// What the file system answered; what is missing is no error.
pub fn clear(directory: &Path) -> io::Result<()> {
    match std::fs::remove_file(times(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The marks of a log, for reading. Nothing of it is held but the mark that was needed last.
pub struct Times {
    /// None while there are none.
    file: Option<File>,
    directory: PathBuf,
    /// The number and value of the mark that covered the last byte asked for.
    held: Option<(u64, Mark)>,
}

impl Times {
    pub fn open(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { file: File::open(times(&directory)).ok(), directory, held: None }
    }

    fn count(&mut self) -> u64 {
        if self.file.is_none() {
            self.file = File::open(times(&self.directory)).ok();
        }
        let length = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|m| m.len());
        length.unwrap_or_default() / SIZE
    }

    fn mark(&self, number: u64) -> Option<Mark> {
        let mut bytes = [0; SIZE as usize];
        self.file.as_ref()?.read_exact_at(&mut bytes, number * SIZE).ok()?;
        Some(Mark::read(bytes))
    }

    /// The last mark.
    pub fn last(&mut self) -> Option<Mark> {
        let count = self.count();
        self.mark(count.checked_sub(1)?)
    }

    /// The number of the first mark that does; the count of marks when none does. Marks that do
    /// not must all come before those that do.
    fn first(&mut self, does: impl Fn(&Mark) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.mark(middle) {
                Some(mark) if !does(&mark) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// When the byte before `end` was written; none when no mark has come so far.
    pub fn of(&mut self, end: u64) -> Option<Moment> {
        // Lines are read in order, so the mark is mostly the same as before, or the next.
        if let Some((number, held)) = self.held {
            if self.covers(number, held, end) {
                return Some(held.time);
            }
            if let Some(next) = self.mark(number + 1)
                && self.covers(number + 1, next, end)
            {
                self.held = Some((number + 1, next));
                return Some(next.time);
            }
        }
        let number = self.first(|mark| mark.end >= end);
        let mark = self.mark(number)?;
        self.held = Some((number, mark));
        Some(mark.time)
    }

    fn covers(&self, number: u64, mark: Mark, end: u64) -> bool {
        let before = number.checked_sub(1).and_then(|number| self.mark(number));
        end <= mark.end && before.is_none_or(|before| before.end < end)
    }

    /// The byte behind everything written before `moment`.
    pub fn end_before(&mut self, moment: Moment) -> u64 {
        let number = self.first(|mark| mark.time >= moment);
        number.checked_sub(1).and_then(|number| self.mark(number)).map_or(0, |mark| mark.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(directory: &Path) {
        for (end, time) in [(10, 100), (25, 200), (40, 300)] {
            append(directory, Mark { end, time: Moment(time) }).unwrap();
        }
    }

    #[test]
    fn a_byte_has_the_time_of_the_first_mark_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut times = Times::open(directory.path());
        assert_eq!((times.of(1), times.last()), (None, None));
        marks(directory.path());
        for (end, time) in
            [(1, 100), (10, 100), (11, 200), (25, 200), (26, 300), (40, 300), (5, 100)]
        {
            assert_eq!(times.of(end), Some(Moment(time)), "{end}");
        }
        assert_eq!(times.of(41), None);
        append(directory.path(), Mark { end: 50, time: Moment(400) }).unwrap();
        assert_eq!(times.of(41), Some(Moment(400)));
    }

    #[test]
    fn what_was_written_since_a_moment_begins_behind_the_mark_before_it() {
        let directory = tempfile::tempdir().unwrap();
        marks(directory.path());
        let mut times = Times::open(directory.path());
        for (since, end) in [(1, 0), (100, 0), (101, 10), (200, 10), (300, 25), (301, 40)] {
            assert_eq!(times.end_before(Moment(since)), end, "{since}");
        }
    }

    #[test]
    fn half_a_mark_is_no_mark_and_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        marks(directory.path());
        let path = directory.path().join("log.times");
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend([1, 2, 3]);
        std::fs::write(&path, torn).unwrap();
        append(directory.path(), Mark { end: 50, time: Moment(400) }).unwrap();
        assert_eq!(Times::open(directory.path()).last().map(|mark| mark.end), Some(50));
        assert_eq!(std::fs::read(&path).unwrap().len(), 64);
        clear(directory.path()).unwrap();
        clear(directory.path()).unwrap();
        assert_eq!(Times::open(directory.path()).last(), None);
    }
}
