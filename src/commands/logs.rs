//! `swarmlb service logs`

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use super::Report;
use super::session::{Session, must_be_root};
use crate::cli::Global;
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, TaskName};
use crate::node::SandboxName;

/// How often a followed file is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// The output of one task.
struct Output {
    prefix: String,
    reader: BufReader<File>,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

pub fn run(
    global: &Global,
    name: &str,
    follow: bool,
    tail: Option<usize>,
) -> Result<Report, Failure> {
    let what = format!("show the output of `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    must_be_root(&what)?;
    let tasks = tasks(&intent, name, &what)?;
    let width = tasks.iter().map(|task| task.to_string().len()).max().unwrap_or_default();
    let mut outputs = Vec::new();
    for task in &tasks {
        let path = session.state.task(&SandboxName::from(task)).join("log");
        // A task that was never started, or is another node's, has none here.
        let Ok(file) = File::open(path) else { continue };
        let prefix = format!("{task:<width$} | ");
        outputs.push(Output { prefix, reader: BufReader::new(file), begun: Vec::new() });
    }
    match print(&mut outputs, follow, tail) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(what, &error)),
        _ => Ok(Report::good("")),
    }
}

fn tasks(intent: &Intent, name: &str, what: &str) -> Result<Vec<TaskName>, Failure> {
    if let Ok(task) = name.parse::<TaskName>() {
        if intent.tasks.contains_key(&task) {
            return Ok(vec![task]);
        }
        return Err(Failure::new(Exit::Usage, what, format!("there is no task `{task}`"))
            .hint(format!("see `swarmlb service ps {}`", task.service)));
    }
    let service = name.parse().map_err(|error| Failure::new(Exit::Usage, what, error))?;
    intent.service(&service).map_err(|error| Failure::intent(what, &error))?;
    Ok(intent.tasks_of(&service).map(|task| task.name.clone()).collect())
}

/// Prints as it reads: what is followed has no end to wait for.
fn print(outputs: &mut [Output], follow: bool, tail: Option<usize>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for output in outputs.iter_mut() {
        let lines = output.lines()?;
        let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        for line in lines.iter().skip(skipped) {
            write_line(&mut stdout, &output.prefix, line)?;
        }
    }
    if !follow {
        // The last line of a task that did not end it.
        for output in outputs.iter().filter(|output| !output.begun.is_empty()) {
            write_line(&mut stdout, &output.prefix, &output.begun)?;
        }
    }
    stdout.flush()?;
    while follow && !outputs.is_empty() {
        std::thread::sleep(PAUSE);
        for output in outputs.iter_mut() {
            for line in output.lines()? {
                write_line(&mut stdout, &output.prefix, &line)?;
            }
        }
        stdout.flush()?;
    }
    Ok(())
}

fn write_line(stdout: &mut impl Write, prefix: &str, line: &[u8]) -> io::Result<()> {
    stdout.write_all(prefix.as_bytes())?;
    stdout.write_all(line)?;
    stdout.write_all(b"\n")
}

impl Output {
    /// The whole lines that were written since the last time.
    fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        while self.reader.read_until(b'\n', &mut self.begun)? > 0 {
            if self.begun.last() == Some(&b'\n') {
                self.begun.pop();
                lines.push(std::mem::take(&mut self.begun));
            }
        }
        Ok(lines)
    }
}
