//! A command in a container: the runtime that started it lets it in.

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use super::Report;
use super::exec::Exec;
use crate::environment::variable;
use crate::failure::{Exit, Failure};
use crate::keeper::container;
use crate::keeper::record::Record;

/// Runs the command in a task's container, with this process's terminal and standard input, until it ends.
///
/// # Errors
/// When the runtime cannot be started.
pub fn run(
    exec: &Exec<'_>,
    record: &Record,
    runtime: &Path,
    directory: &Path,
    what: &str,
) -> Result<Report, Failure> {
    let log = container::home(directory).join(format!("exec-{}.log", std::process::id()));
    let mut command = container::runtime(runtime, directory);
    command.arg("--log").arg(&log).args(["--log-format", "json", "exec"]);
    if std::io::stdin().is_terminal() {
        command.arg("--tty");
        command.args(variable("TERM").map(|terminal| format!("--env=TERM={terminal}")));
    }
    if let Some(workdir) = exec.workdir {
        command.arg("--cwd").arg(Path::new("/").join(workdir));
    }
    for asked in exec.environment {
        command.arg(format!("--env={}={}", asked.name, asked.value));
    }
    command.arg(record.sandbox.as_str()).args(exec.command);
    command.stdin(Stdio::inherit());
    let ended = command.status();
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    let ended = ended.map_err(|error| Failure::io(what, &error))?;
    Ok(Report { text: String::new(), exit: code(ended, &said) })
}

/// The command's code; where the runtime did not start it, that of a shell. The runtime itself has said
/// why, on standard error.
fn code(ended: ExitStatus, said: &str) -> u8 {
    let is_refusal = said.lines().any(|line| line.contains(r#""level":"error""#));
    let is_missing = ["not found", "no such file"].iter().any(|words| said.contains(words));
    match (ended.code(), is_refusal && !ended.success()) {
        (_, true) if is_missing => Exit::NoCommand as u8,
        (_, true) => Exit::NotRunnable as u8,
        (Some(code), false) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, false) => 128_u8.saturating_add(ended.signal().unwrap_or_default() as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_not_started_ends_as_in_a_shell() {
        let ended = |code: i32| ExitStatus::from_raw(code << 8);
        let error = |words: &str| format!(r#"{{"level":"error","msg":"{words}"}}"#);
        assert_eq!(code(ended(7), ""), 7);
        assert_eq!(code(ended(255), &error("exec: x: executable file not found in $PATH")), 127);
        assert_eq!(code(ended(255), &error("stat /x: no such file or directory")), 127);
        assert_eq!(code(ended(255), &error("exec: /etc: permission denied")), 126);
        assert_eq!(code(ended(255), r#"{"level":"warning","msg":"not found"}"#), 255);
        assert_eq!(code(ExitStatus::from_raw(9), ""), 137);
    }
}
