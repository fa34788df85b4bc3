//! What one task wrote: the lines of its log, each with its time. Never more of the log is read than
//! is asked for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::keeper::kept::Ground;
use crate::keeper::times::{self, Mark, Times};
use crate::render::time::Moment;

/// A line longer than this is shown in parts.
const LONGEST: usize = 1 << 20;
/// How much is read at once on the way back from the end.
const BLOCK: u64 = 64 << 10;

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub time: Moment,
    pub text: Vec<u8>,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    pub since: Option<Moment>,
    pub until: Option<Moment>,
    pub tail: Option<u64>,
}

/// A task's log, being read.
pub struct Output {
    directory: PathBuf,
    reader: BufReader<File>,
    /// What of it is still there.
    ground: Ground,
    times: Times,
    /// How far it was read.
    position: u64,
    /// Where to stop; none for whatever comes.
    end: Option<u64>,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Output {
    /// # Errors
    /// `NotFound` for a task that was never started here.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let file = File::open(times::log(directory))?;
        Ok(Self {
            directory: directory.to_owned(),
            ground: Ground::of(&file)?,
            reader: BufReader::with_capacity(BLOCK as usize, file),
            times: Times::open(directory),
            position: 0,
            end: None,
            begun: Vec::new(),
        })
    }

    /// Goes to the first line that is wanted.
    ///
    /// # Errors
    /// What reading met.
    pub fn seek(&mut self, range: Range) -> io::Result<()> {
        let length = self.reader.get_ref().metadata()?.len();
        if let Some(until) = range.until {
            self.end = Some(self.end_before(Moment(until.0.saturating_add(1)), length)?);
        }
        let end = self.end.unwrap_or(length);
        let floor = self.ground.first_line(0)?.min(length);
        let mut start = match range.since {
            None => floor,
            Some(since) => {
                let start = self.end_before(since, length)?.max(floor);
                line_start(self.reader.get_ref(), start, floor)?
            }
        };
        if let Some(tail) = range.tail {
            start = start.max(lines_back(self.reader.get_ref(), end, tail, floor)?);
        }
        self.position = start.min(end);
        self.reader.seek(SeekFrom::Start(self.position))?;
        Ok(())
    }

    /// The byte behind everything that was written before a moment.
    fn end_before(&mut self, moment: Moment, length: u64) -> io::Result<u64> {
        let marked = self.times.last().map_or(0, |mark| mark.end);
        let end = self.times.end_before(moment);
        let unmarked_is_before = end >= marked && self.written()? < moment;
        Ok(if unmarked_is_before { length } else { end })
    }

    /// When the log was last written to.
    fn written(&self) -> io::Result<Moment> {
        Ok(Mark::of(&self.reader.get_ref().metadata()?).time)
    }

    /// The next whole line; none when it is not there yet.
    ///
    /// # Errors
    /// What reading met.
    pub fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.skip_what_went()?;
            let room = LONGEST - self.begun.len();
            let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.position));
            let room = room.min(usize::try_from(left).unwrap_or(usize::MAX));
            let ahead = self.reader.buffer();
            let ahead = ahead.get(..room.min(ahead.len())).unwrap_or_default();
            let end = ahead.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(ahead.len(), |end| end + 1);
            self.begun.extend_from_slice(ahead.get(..end.unwrap_or(taken)).unwrap_or_default());
            self.reader.consume(taken);
            self.position += taken as u64;
            if end.is_some() || self.begun.len() >= LONGEST {
                return self.timed().map(Some);
            }
            if taken == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads ahead, and goes on behind what is not there any more, where more was written meanwhile than
    /// is kept. That is asked for after reading: what was read is then whole.
    fn skip_what_went(&mut self) -> io::Result<()> {
        if !self.reader.buffer().is_empty() || self.reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        if self.ground.from(self.position)? > self.position {
            self.position = self.ground.first_line(self.position)?;
            self.begun.clear();
            self.reader.seek(SeekFrom::Start(self.position))?;
            self.reader.fill_buf()?;
        }
        Ok(())
    }

    /// The last line of a task that did not end it.
    ///
    /// # Errors
    /// What reading met.
    pub fn rest(&mut self) -> io::Result<Option<Line>> {
        if self.begun.is_empty() { Ok(None) } else { self.timed().map(Some) }
    }

    fn timed(&mut self) -> io::Result<Line> {
        let time = match self.times.of(self.position) {
            Some(time) => time,
            None => self.written()?,
        };
        Ok(Line { time, text: std::mem::take(&mut self.begun) })
    }

    /// Whether the log was removed: its task is no more.
    pub fn is_gone(&self) -> bool {
        self.reader.get_ref().metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Begins anew with a log that somebody cut.
    ///
    /// # Errors
    /// What reading met.
    pub fn rewind_if_cut(&mut self) -> io::Result<()> {
        if self.reader.get_ref().metadata()?.len() < self.position {
            self.position = 0;
            self.begun.clear();
            self.times = Times::open(&self.directory);
            self.reader.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

/// The last line of a log that says anything.
pub fn last_words(directory: &Path) -> Option<String> {
    let mut output = Output::open(directory).ok()?;
    output.seek(Range { tail: Some(20), ..Range::default() }).ok()?;
    let mut last = None;
    while let Some(line) = output.line().ok()?.or(output.rest().ok()?) {
        let text = String::from_utf8_lossy(&line.text).into_owned();
        last = Some(text).filter(|text| !text.trim().is_empty()).or(last);
    }
    last
}

/// Where the line begins that `at` is in.
fn line_start(file: &File, at: u64, floor: u64) -> io::Result<u64> {
    let mut before = [0];
    if at <= floor || (file.read_exact_at(&mut before, at - 1).is_ok() && before == *b"\n") {
        return Ok(at);
    }
    lines_back(file, at, 1, floor)
}

/// Where the last `count` lines before `end` begin; none begins before `floor`.
fn lines_back(file: &File, end: u64, count: u64, floor: u64) -> io::Result<u64> {
    if count == 0 {
        return Ok(end);
    }
    let mut block = vec![0; BLOCK as usize];
    let (mut at, mut found) = (end, 0);
    while at > floor {
        let size = (at - floor).min(BLOCK);
        at -= size;
        let bytes = block.get_mut(..size as usize).unwrap_or_default();
        file.read_exact_at(bytes, at)?;
        for (place, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let behind = at + place as u64 + 1;
            // The last line's own end is not between two lines.
            if behind != end {
                found += 1;
                if found == count {
                    return Ok(behind);
                }
            }
        }
    }
    Ok(floor.min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Log(tempfile::TempDir);

    impl Log {
        /// Texts, each written at its time.
        fn of(writes: &[(&str, u64)]) -> Self {
            let log = Self(tempfile::tempdir().unwrap());
            writes.iter().for_each(|(text, time)| log.write(text, *time));
            log
        }

        fn write(&self, text: &str, time: u64) {
            use std::io::Write;
            let path = times::log(self.0.path());
            let mut file = File::options().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let end = file.metadata().unwrap().len();
            times::append(self.0.path(), Mark { end, time: Moment(time) }).unwrap();
        }

        fn open(&self) -> Output {
            Output::open(self.0.path()).unwrap()
        }

        fn read(&self, range: Range) -> Vec<(String, u64)> {
            let mut output = self.open();
            output.seek(range).unwrap();
            let mut lines = Vec::new();
            while let Some(line) = output.line().unwrap().or(output.rest().unwrap()) {
                lines.push((String::from_utf8(line.text).unwrap(), line.time.0));
            }
            lines
        }

        fn texts(&self, range: Range) -> String {
            self.read(range).into_iter().map(|(text, _)| text).collect::<Vec<_>>().join(" ")
        }
    }

    fn story() -> Log {
        Log::of(&[("a\nb\n", 100), ("c", 200), ("c\nd\n", 300), ("e\nf", 400)])
    }

    #[test]
    fn each_line_has_the_time_at_which_it_ended() {
        let said = story().read(Range::default());
        let said: Vec<(&str, u64)> =
            said.iter().map(|(text, time)| (text.as_str(), *time)).collect();
        assert_eq!(said, [("a", 100), ("b", 100), ("cc", 300), ("d", 300), ("e", 400), ("f", 400)]);
    }

    #[test]
    fn what_is_shown_begins_with_the_tail_or_the_moment_whichever_is_later() {
        let log = story();
        let range = |since: u64, tail: u64| Range {
            since: Some(Moment(since)),
            until: None,
            tail: Some(tail),
        };
        assert_eq!(log.texts(range(0, 99)), "a b cc d e f");
        assert_eq!(log.texts(range(101, 99)), "cc d e f");
        assert_eq!(log.texts(range(201, 99)), "cc d e f");
        assert_eq!(log.texts(range(301, 99)), "e f");
        assert_eq!(log.texts(range(0, 3)), "d e f");
        assert_eq!(log.texts(range(301, 1)), "f");
        assert_eq!(log.texts(range(0, 0)), "");
        let whole = Log::of(&[("one\ntwo\n", 1)]);
        assert_eq!(whole.texts(range(0, 1)), "two");
        assert_eq!(whole.texts(range(0, 2)), "one two");
    }

    #[test]
    fn what_is_shown_ends_with_the_moment_and_the_tail_is_counted_from_there() {
        let log = story();
        let until =
            |until: u64, tail: Option<u64>| Range { since: None, until: Some(Moment(until)), tail };
        assert_eq!(log.texts(until(300, None)), "a b cc d");
        assert_eq!(log.texts(until(300, Some(1))), "d");
        assert_eq!(log.texts(until(99, None)), "");
        assert_eq!(log.texts(until(100, Some(5))), "a b");
    }

    /// Gives back what is before a byte; what is left begins at a block.
    fn give_back(log: &Log, floor: u64) {
        let file = File::options().append(true).open(times::log(log.0.path())).unwrap();
        crate::keeper::kept::give_back(&file, floor).unwrap();
        times::give_back(log.0.path(), floor).unwrap();
    }

    #[test]
    fn what_went_is_not_shown_and_what_is_left_has_its_times() {
        let log = Log(tempfile::tempdir().unwrap());
        // 4,000 lines of 10 bytes, ten at a time.
        for ten in 0..400_u64 {
            let lines: String = (0..10).map(|n| format!("{:09}\n", ten * 10 + n)).collect();
            log.write(&lines, 1000 + ten);
        }
        give_back(&log, 20_490);
        let all = log.read(Range::default());
        // The block begins at byte 20,480, which is the beginning of a line: that one is not known to be
        // whole.
        assert_eq!(all.first(), Some(&("000002049".to_owned(), 1204)));
        assert_eq!(all.last(), Some(&("000003999".to_owned(), 1399)));
        assert_eq!(all.len(), 1951);
        let count = |range: Range| log.read(range).len();
        assert_eq!(count(Range { tail: Some(5), ..Range::default() }), 5);
        assert_eq!(count(Range { tail: Some(3000), ..Range::default() }), 1951);
        assert_eq!(count(Range { since: Some(Moment(1000)), ..Range::default() }), 1951);
        assert_eq!(count(Range { since: Some(Moment(1399)), ..Range::default() }), 10);
        let until = Range { until: Some(Moment(1205)), ..Range::default() };
        assert_eq!(count(until), 11);
        assert_eq!(count(Range { until: Some(Moment(1100)), ..Range::default() }), 0);
        assert_eq!(last_words(log.0.path()).as_deref(), Some("000003999"));
    }

    #[test]
    fn a_reader_that_is_overtaken_goes_on_with_what_is_left() {
        let log = Log(tempfile::tempdir().unwrap());
        let line = |number: u64| format!("{number:099}\n");
        for number in 0..2000 {
            log.write(&line(number), number);
        }
        let mut output = log.open();
        output.seek(Range::default()).unwrap();
        let first = output.line().unwrap().unwrap();
        assert_eq!(first.text, line(0).trim_end().as_bytes());
        // Far beyond what was read ahead.
        give_back(&log, 190_000);
        let mut numbers = Vec::new();
        while let Some(line) = output.line().unwrap() {
            let text = String::from_utf8(line.text).unwrap();
            numbers.push(text.parse::<u64>().unwrap_or_else(|_| panic!("torn: {:.200?}", text)));
        }
        assert!(numbers.is_sorted() && numbers.last() == Some(&1999), "{numbers:?}");
        assert!(numbers.len() < 1000, "{} lines", numbers.len());
    }

    #[test]
    fn a_log_without_marks_has_the_time_of_its_file() {
        let log = Log(tempfile::tempdir().unwrap());
        std::fs::write(times::log(log.0.path()), "a\nb\n").unwrap();
        let written = Mark::of(&std::fs::metadata(times::log(log.0.path())).unwrap()).time;
        assert!(log.read(Range::default()).iter().all(|(_, time)| *time == written.0));
        let since = |since: u64| Range { since: Some(Moment(since)), ..Range::default() };
        assert_eq!(log.texts(since(written.0)), "a b");
        assert_eq!(log.texts(since(written.0 + 1)), "");
        assert_eq!(last_words(log.0.path()).as_deref(), Some("b"));
    }

    #[test]
    fn lines_far_from_the_end_are_found_across_blocks() {
        let long = "x".repeat(40_000);
        let text: String = (0..20).map(|n| format!("{n}{long}\n")).collect();
        let log = Log::of(&[(&text, 1)]);
        let last = log.read(Range { tail: Some(7), ..Range::default() });
        assert_eq!(last.len(), 7);
        assert!(last.first().unwrap().0.starts_with("13x"));
    }

    #[test]
    fn a_followed_log_goes_on_and_begins_anew_when_it_is_cut() {
        let log = story();
        let mut output = log.open();
        output.seek(Range { tail: Some(1), ..Range::default() }).unwrap();
        assert_eq!(output.line().unwrap(), None);
        log.write("g\n", 500);
        let line = output.line().unwrap().unwrap();
        assert_eq!((line.text.as_slice(), line.time), (&b"fg"[..], Moment(500)));
        std::fs::write(times::log(log.0.path()), "new\n").unwrap();
        output.rewind_if_cut().unwrap();
        assert_eq!(output.line().unwrap().unwrap().text, b"new");
        assert!(!output.is_gone());
        std::fs::remove_file(times::log(log.0.path())).unwrap();
        assert!(output.is_gone());
    }

    #[test]
    fn a_line_without_an_end_is_shown_in_parts() {
        let text = "x".repeat(LONGEST + 10);
        let lines = Log::of(&[(&text, 1)]).read(Range::default());
        assert_eq!(lines.iter().map(|(text, _)| text.len()).collect::<Vec<_>>(), [LONGEST, 10]);
    }
}
