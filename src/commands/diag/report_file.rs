//! A report's file: whether it can be written is known before anything is measured, and it appears
//! whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::diag::{ReportFile, ReportKind};
use crate::failure::{Exit, Failure};
use crate::render::report;
use crate::trace::balance::{Comparison, Run};

/// Room for a report, beside the file that it will become. Dropped unfinished, it goes.
pub struct Draft {
    kind: ReportKind,
    target: PathBuf,
    path: PathBuf,
    file: File,
}

impl Draft {
    /// Opens one for each file asked for.
    ///
    /// # Errors
    /// When one cannot be written there, with its name.
    pub fn open_all(files: &[ReportFile]) -> Result<Vec<Self>, Failure> {
        files.iter().map(Self::open).collect()
    }

    fn open(report: &ReportFile) -> Result<Self, Failure> {
        let what = what(&report.path);
        let target = target(&report.path).map_err(|error| refused(&what, &error))?;
        if target.is_dir() {
            return Err(Failure::new(Exit::Usage, what, "it is a directory"));
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}", crate::random::id(8)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| refused(&what, &error))?;
        Ok(Self { kind: report.kind, target, path, file })
    }

    /// Writes the report and gives it its name; returns that.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn finish(mut self, comparison: &Comparison, runs: &[Run]) -> Result<PathBuf, Failure> {
        let what = what(&self.target);
        let text = match self.kind {
            ReportKind::Html => report::html(comparison),
            ReportKind::Svg => report::svg(comparison),
            ReportKind::Csv => report::csv(runs),
            ReportKind::Json => crate::commands::Report::json(comparison)?.text,
        };
        self.write(&text).map_err(|error| Failure::io(what, &error))?;
        Ok(self.target.clone())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once finished, nothing has this name any more.
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
        let drafts = Draft::open_all(&[file(&link)]).unwrap();
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
    fn a_draft_that_is_not_finished_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.html");
        std::fs::write(&path, "old").unwrap();
        drop(Draft::open_all(&[file(&path)]).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_nothing_can_be_written_is_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let is_directory = directory.path().join("d.csv");
        std::fs::create_dir(&is_directory).unwrap();
        let refused = |path: &Path| Draft::open_all(&[file(path)]).err().unwrap().to_string();
        assert!(refused(&is_directory).contains("it is a directory"));
        let missing = refused(&directory.path().join("no/such/a.csv"));
        assert!(missing.contains("(ENOENT)\nhint: its directory must be there"), "{missing}");
        assert!(refused(Path::new("/proc/a.csv")).starts_with("error: cannot write report "));
    }
}
