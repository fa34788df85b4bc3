//! What is known of a task's health, in its directory: for `task inspect`, and for the next agent, which
//! would otherwise have to take every task out of rotation until it was checked anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Outcome, text};
use crate::intent::Id;
use crate::orchestrate::health::Condition;

/// How many checks are kept; as in Docker.
const KEPT: usize = 5;
/// How often a chart is read that is being written.
const TRIES: usize = 5;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When it began: milliseconds since 1970.
    pub at: u64,
    /// How long it took, in milliseconds.
    pub took: u64,
    pub passed: bool,
    pub output: String,
}

/// All that is known of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart {
    pub task: Id,
    pub pid: i32,
    /// When the process started: seconds since 1970.
    pub started: u64,
    pub condition: Condition,
    /// Since when it is in this condition: milliseconds since 1970.
    pub since: u64,
    /// What the check said that made it so, or the first since that failed; the beginning of it, on one line.
    #[serde(default)]
    pub why: String,
    /// How many checks failed in a row.
    pub failed: u32,
    /// How many there were.
    pub checks: u64,
    /// The last ones, the oldest first.
    pub log: Vec<Checked>,
}

/// Most of an output that is told in short, in characters.
const SHORT: usize = 200;

fn in_short(output: &str) -> String {
    let line = output.lines().map(str::trim).filter(|line| !line.is_empty());
    line.collect::<Vec<_>>().join("; ").chars().take(SHORT).collect()
}

/// Where it stands in a task's directory.
pub fn path(directory: &Path) -> PathBuf {
    directory.join("health.json")
}

impl Chart {
    pub fn new(task: Id, pid: i32, started: u64, now: u64) -> Self {
        let condition = Condition::Starting;
        let (why, log) = (String::new(), Vec::new());
        Self { task, pid, started, condition, since: now, why, failed: 0, checks: 0, log }
    }

    /// Whether it is about this process.
    pub fn is_of(&self, task: &str, pid: i32, started: u64) -> bool {
        (self.task.as_str(), self.pid, self.started) == (task, pid, started)
    }

    /// Notes a check that began at `at` and took so long, in milliseconds.
    pub fn note(&mut self, at: u64, took: u64, outcome: &Outcome) {
        let (passed, output) = match outcome {
            Ok(output) => (true, output),
            Err(output) => (false, output),
        };
        self.checks += 1;
        if self.log.len() == KEPT {
            self.log.remove(0);
        }
        self.log.push(Checked { at, took, passed, output: text(output.as_bytes()) });
        if !passed && self.why.is_empty() {
            self.why = in_short(output);
        }
    }

    /// Notes that the last check changed the condition, at a date in milliseconds since 1970.
    pub fn turn(&mut self, condition: Condition, now: u64) {
        (self.condition, self.since) = (condition, now);
        let last = self.log.last().filter(|checked| !checked.passed);
        self.why = last.map(|checked| in_short(&checked.output)).unwrap_or_default();
    }

    /// Reads it; none when there is none.
    pub fn read(directory: &Path) -> Option<Self> {
        // It is written in place: a reader may meet the middle of that.
        (0..TRIES).find_map(|_| {
            let text = std::fs::read_to_string(path(directory)).ok()?;
            serde_json::from_str(text.lines().next()?).ok()
        })
    }

    /// Writes it over the one that is there. In place, as it is written with each check.
    ///
    /// # Errors
    /// `NotFound` when there is none, or what the file system answered.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        self.write_to(&File::options().write(true).open(path(directory))?)
    }

    /// Makes the file.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn create(&self, directory: &Path) -> io::Result<()> {
        let mut options = File::options();
        self.write_to(&options.write(true).create(true).truncate(false).open(path(directory))?)
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_read_as_it_was_written_and_keeps_the_last_checks() {
        let directory = tempfile::tempdir().unwrap();
        let mut chart = Chart::new("t1".into(), 7, 1000, 1_000_000);
        assert!(chart.write(directory.path()).is_err(), "nothing is made in a directory that goes");
        chart.create(directory.path()).unwrap();
        for number in 0..7 {
            let long = "x".repeat(9000 - number * 1000);
            let outcome = if number == 5 { Err("refused".to_owned()) } else { Ok(long) };
            chart.note(number as u64, 3, &outcome);
            chart.write(directory.path()).unwrap();
            assert_eq!(Chart::read(directory.path()).as_ref(), Some(&chart), "{number}");
        }
        assert_eq!((chart.checks, chart.log.len(), chart.log[0].at), (7, 5, 2));
        assert_eq!(chart.log[0].output.len(), super::super::MOST_OUTPUT);
        assert_eq!(chart.why, "refused");
        chart.turn(Condition::Healthy, 9);
        assert_eq!((chart.why.as_str(), chart.since), ("", 9));
        chart.note(10, 1, &Err("  one\n\n two\n".to_owned()));
        chart.turn(Condition::Unhealthy, 10);
        assert_eq!(chart.why, "one; two");
        assert!(chart.is_of("t1", 7, 1000) && !chart.is_of("t1", 7, 1001));
    }
}
