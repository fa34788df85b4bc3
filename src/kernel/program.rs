//! Programs of others, run inside a namespace: the one place that starts any.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::netns;

/// Where system programs are when PATH does not name it, as in a user's shell or a cron job.
const SYSTEM_PATH: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Looks a program up on PATH and where system programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let on_path = crate::environment::variable("PATH").unwrap_or_default();
    std::env::split_paths(&on_path)
        .chain(SYSTEM_PATH.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

/// Looks a program up on `path` alone: the first file that may be run, or else the first file.
pub fn find_on(path: &str, name: &str) -> Option<PathBuf> {
    let files = || std::env::split_paths(path).map(|directory| directory.join(name));
    files().find(|path| is_executable(path)).or_else(|| files().find(|path| path.is_file()))
}

/// Whether a file may be run.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A command that has no standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "this is the one home of started programs")]
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs a program inside a namespace, with `input` on its standard input, until it ends.
///
/// # Errors
/// `NotFound` when there is no such program, or what starting it met.
pub fn run(
    namespace: BorrowedFd<'_>,
    name: &str,
    arguments: &[&str],
    input: &str,
) -> io::Result<Output> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("`{name}` is not installed"));
    let program = find(name).ok_or_else(missing)?;
    netns::within(namespace, || {
        let mut child = command(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends before it read everything says why on its standard error.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    })?
}
