//! A report's file: whether it can be written is known before anything is measured, and it appears
//! whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::diag::{ReportFile, ReportKind};
use crate::failure::{Exit, Failure};
use crate::render::report;
use crate::trace::balance::{Comparison, Run};

/// A report that can be written, as far as that can be known before.
pub struct Draft {
    kind: ReportKind,
    target: PathBuf,
}

impl Draft {
    /// Sees for each file asked for whether it can be written.
    ///
    /// # Errors
    /// When one cannot be written there, with its name.
    pub fn all(files: &[ReportFile]) -> Result<Vec<Self>, Failure> {
        files.iter().map(Self::new).collect()
    }

    fn new(report: &ReportFile) -> Result<Self, Failure> {
        let what = what(&report.path);
        let target = target(&report.path).map_err(|error| refused(&what, &error))?;
        if target.is_dir() {
            return Err(Failure::new(Exit::Usage, what, "it is a directory"));
        }
        // What a killed command leaves shall not be a file: it is made anew in the end.
        Unfinished::beside(&target).map_err(|error| refused(&what, &error))?;
        Ok(Self { kind: report.kind, target })
    }

    /// Writes the report, whole or not at all; returns its name.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn finish(self, comparison: &Comparison, runs: &[Run]) -> Result<PathBuf, Failure> {
        let text = match self.kind {
            ReportKind::Html => report::html(comparison),
            ReportKind::Svg => report::svg(comparison),
            ReportKind::Csv => report::csv(runs),
            ReportKind::Json => crate::commands::Report::json(comparison)?.text,
        };
        Unfinished::beside(&self.target)
            .and_then(|file| file.become_whole(&text, &self.target))
            .map_err(|error| refused(&what(&self.target), &error))?;
        Ok(self.target)
    }
}

/// A file beside the one that it will become. Dropped, it goes.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}", crate::random::id(8)));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }

    fn become_whole(mut self, text: &str, target: &Path) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once whole, nothing has this name any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn what(path: &Path) -> String {
    format!("write report {}", path.display().to_string().escape_debug())
}

/// Where a link leads, so that a file is replaced and not the link to it.
fn target(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            std::path::absolute(path)
        }
        found => found,
    }
}

fn refused(what: &str, error: &io::Error) -> Failure {
    let failure = Failure::io(what, error);
    match error.kind() {
        io::ErrorKind::NotFound => failure.hint("its directory must be there"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::balance::compare;
    use crate::trace::conditions::Conditions;

    fn file(path: &Path) -> ReportFile {
        path.to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn a_report_replaces_what_was_there_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        let link = directory.path().join("link.json");
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let drafts = Draft::all(&[file(&link)]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let comparison = compare(Conditions::default(), &[], &[]);
        for draft in drafts {
            draft.finish(&comparison, &[]).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let back: Comparison = serde_json::from_str(&text).unwrap();
        assert_eq!(back, comparison);
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_report_that_is_never_finished_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.html");
        std::fs::write(&path, "old").unwrap();
        drop(Draft::all(&[file(&path)]).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_nothing_can_be_written_is_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let is_directory = directory.path().join("d.csv");
        std::fs::create_dir(&is_directory).unwrap();
        let refused = |path: &Path| Draft::all(&[file(path)]).err().unwrap().to_string();
        assert!(refused(&is_directory).contains("it is a directory"));
        let missing = refused(&directory.path().join("no/such/a.csv"));
        assert!(missing.contains("(ENOENT)\nhint: its directory must be there"), "{missing}");
        assert!(refused(Path::new("/proc/a.csv")).starts_with("error: cannot write report "));
    }
}
