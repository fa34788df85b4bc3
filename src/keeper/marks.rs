//! Watches the logs of tasks grow, and marks the time beside them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::journal::say;
use super::kept;
use super::times::{self, Mark, Times};
use crate::intent::LogLimits;
use crate::node::SandboxName;

/// While logs grow they are marked this often, all at the same beat. The first write after a rest is
/// marked at once.
const BEAT: Duration = Duration::from_millis(100);
/// How often a log is looked at that cannot be watched, for want of watches.
const UNWATCHED: Duration = Duration::from_secs(1);

struct Log {
    directory: PathBuf,
    limits: LogLimits,
    /// From where on it is kept.
    floor: u64,
    /// How far the last mark went.
    marked: u64,
    /// Waits for the next write; none while it grows.
    watch: Option<WatchDescriptor>,
    /// When it is looked at though nothing was told.
    due: Option<Instant>,
}

/// The logs of all tasks.
pub struct Marks {
    /// None where there are too many of others: then logs are looked at.
    inotify: Option<Inotify>,
    /// When the first beat was.
    begun: Instant,
    logs: BTreeMap<SandboxName, Log>,
}

impl Default for Marks {
    fn default() -> Self {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).ok();
        Self { inotify, begun: Instant::now(), logs: BTreeMap::new() }
    }
}

impl Marks {
    /// Readable when a log is written to.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// When [`Self::tend`] is due.
    pub fn due(&self) -> Option<Instant> {
        self.logs.values().filter_map(|log| log.due).min()
    }

    /// Follows the log of a task that was started or adopted.
    pub fn follow(&mut self, sandbox: &SandboxName, directory: &Path, limits: LogLimits) {
        if let Some(log) = self.logs.get_mut(sandbox) {
            log.due = Some(Instant::now());
            log.limits = limits;
            return;
        }
        let marked = Times::open(directory).last().map_or(0, |mark| mark.end);
        let due = Some(Instant::now());
        let directory = directory.to_owned();
        let log = Log { directory, limits, floor: 0, marked, watch: None, due };
        self.logs.insert(sandbox.clone(), log);
    }

    pub fn forget(&mut self, sandbox: &SandboxName) {
        let watch = self.logs.remove(sandbox).and_then(|log| log.watch);
        if let Some((inotify, watch)) = self.inotify.as_ref().zip(watch) {
            // It is gone already when the file is.
            let _ = inotify.rm_watch(watch);
        }
    }

    fn next_beat(&self) -> Instant {
        let beats = self.begun.elapsed().as_millis() / BEAT.as_millis() + 1;
        self.begun + BEAT * u32::try_from(beats).unwrap_or(u32::MAX)
    }

    /// Marks the logs that were written to.
    pub fn attend(&mut self) {
        let events = self.inotify.as_ref().and_then(|inotify| inotify.read_events().ok());
        let next = self.next_beat();
        for event in events.unwrap_or_default() {
            if !event.mask.contains(AddWatchFlags::IN_MODIFY) {
                continue;
            }
            let written = self.logs.values_mut().find(|log| log.watch == Some(event.wd));
            if let Some(log) = written {
                // A watch tells once.
                log.watch = None;
                log.mark();
                log.due = Some(next);
            }
        }
    }

    /// Looks at the logs that are due.
    pub fn tend(&mut self) {
        let (now, next) = (Instant::now(), self.next_beat());
        for log in self.logs.values_mut().filter(|log| log.due.is_some_and(|due| due <= now)) {
            if log.mark() {
                log.due = Some(next);
                continue;
            }
            log.watch = watch(self.inotify.as_ref(), &log.directory);
            log.due = log.watch.is_none().then(|| now + UNWATCHED);
            // What was written before the watch was there.
            log.mark();
        }
    }
}

fn watch(inotify: Option<&Inotify>, directory: &Path) -> Option<WatchDescriptor> {
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ONESHOT;
    inotify?.add_watch(&times::log(directory), flags).ok()
}

impl Log {
    /// Writes a mark when the log has grown; whether it has.
    fn mark(&mut self) -> bool {
        // What cannot be marked now is with the next write, or its lines have their file's time.
        self.mark_or_fail().unwrap_or_default()
    }

    fn mark_or_fail(&mut self) -> io::Result<bool> {
        let mark = Mark::of(&std::fs::metadata(times::log(&self.directory))?);
        if mark.end < self.marked {
            times::clear(&self.directory)?;
            (self.marked, self.floor) = (0, 0);
        }
        self.keep(mark.end);
        if mark.end == self.marked {
            return Ok(false);
        }
        times::append(&self.directory, mark)?;
        self.marked = mark.end;
        Ok(true)
    }

    /// Gives back what is too much of a log of this length.
    fn keep(&mut self, length: u64) {
        let floor = self.limits.floor(length);
        if floor <= self.floor {
            return;
        }
        if let Err(error) = self.give_back(floor) {
            say(format!("nothing of {} is given back: {error}", self.directory.display()));
            if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) {
                // It will not learn it.
                self.limits.max_size = None;
            }
        }
        self.floor = floor;
    }

    fn give_back(&self, floor: u64) -> io::Result<()> {
        let log = File::options().append(true).open(times::log(&self.directory))?;
        kept::give_back(&log, floor)?;
        times::give_back(&self.directory, floor)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// The keeper's loop, until the log's last mark is at `end`.
    fn until_marked(marks: &mut Marks, directory: &Path, end: u64) -> Mark {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            marks.tend();
            let last = Times::open(directory).last();
            if let Some(mark) = last.filter(|mark| mark.end == end) {
                return mark;
            }
            assert!(Instant::now() < deadline, "no mark at {end}: {last:?}");
            let fd = marks.descriptor().expect("inotify");
            let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
            poll(&mut polled, PollTimeout::from(50_u8)).expect("polled");
            marks.attend();
        }
    }

    #[test]
    fn each_write_after_a_rest_gets_a_mark_with_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path.join("log"))
            .expect("a log");
        let name = SandboxName("web.1".into());
        let mut marks = Marks::default();
        marks.follow(&name, path, LogLimits::default());
        let mut ends = 0;
        for _ in 0..3 {
            log.write_all(b"0123456789").expect("written");
            ends += 10;
            let mark = until_marked(&mut marks, path, ends);
            assert_eq!(mark, Mark::of(&log.metadata().expect("its time")));
            // At rest again.
            let deadline = Instant::now() + Duration::from_secs(20);
            while marks.due().is_some() {
                assert!(Instant::now() < deadline, "it does not come to rest");
                marks.tend();
            }
        }
        log.set_len(0).expect("cut");
        log.write_all(b"new").expect("written");
        until_marked(&mut marks, path, 3);
        let mut times = Times::open(path);
        assert_eq!((times.of(3).is_some(), times.of(4)), (true, None), "old marks are gone");
        // A new keeper goes on where the old one was.
        drop(marks);
        log.write_all(b"er").expect("written");
        let mut marks = Marks::default();
        marks.follow(&name, path, LogLimits::default());
        until_marked(&mut marks, path, 5);
        assert_eq!(std::fs::read(path.join("log.times")).unwrap().len(), 32);
        marks.forget(&name);
        assert_eq!(marks.due(), None);
    }

    #[test]
    fn a_log_that_is_written_without_end_takes_no_more_than_its_limits() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut log = File::options().create(true).append(true).open(path.join("log")).unwrap();
        let limits = ["max-size=64k", "max-file=2"].map(|option| option.parse().unwrap());
        let limits = limits.into_iter().fold(LogLimits::default(), LogLimits::with);
        let name = SandboxName("web.1".into());
        let (mut marks, mut written) = (Marks::default(), 0);
        marks.follow(&name, path, limits);
        let line = format!("{}\n", "x".repeat(999));
        let taken = |file: &str| std::fs::metadata(path.join(file)).unwrap().blocks() * 512;
        for _ in 0..40 {
            for _ in 0..50 {
                log.write_all(line.as_bytes()).expect("written");
                written += 1000;
            }
            until_marked(&mut marks, path, written);
            log.sync_all().expect("synced");
            assert!(taken("log") <= (128 << 10) + 8192, "{} bytes at {written}", taken("log"));
        }
        assert_eq!(log.metadata().expect("the log").len(), 2_000_000);
        // Enough marks that those of what went could go too.
        for end in written + 1..written + 2000 {
            let mark = Mark { end, time: Mark::of(&log.metadata().expect("the log")).time };
            times::append(path, mark).expect("marked");
        }
        times::give_back(path, written + 1900).expect("given back");
        assert!(taken("log.times") <= 12288, "{} bytes of marks", taken("log.times"));
        let mut times = Times::open(path);
        assert!(times.of(written + 1950).is_some() && times.of(written + 2000).is_none());
    }
}
