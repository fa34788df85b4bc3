//! `swarmlb service logs` and `swarmlb task logs`

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::time::{Duration, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Report;
use super::output::{Line, Output, Range};
use super::session::{Session, must_be_root};
use super::task::{found, short};
use crate::cli::Global;
use crate::cli::logs::{Options, Tail};
use crate::failure::Failure;
use crate::intent::{Intent, ServiceName, Task, TaskName};
use crate::node::SandboxName;
use crate::render::time::Moment;

/// How often followed logs are looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// After how many looks new tasks are looked for.
const ROUNDS: u32 = 5;

/// Whose output is shown.
enum Wanted {
    Service(ServiceName),
    Task(TaskName),
}

impl Wanted {
    fn fits(&self, task: &TaskName) -> bool {
        match self {
            Self::Service(service) => task.service == *service,
            Self::Task(name) => name == task,
        }
    }

    /// Whether it is still asked for.
    fn stands(&self, intent: &Intent) -> bool {
        match self {
            Self::Service(service) => intent.services.contains_key(service),
            Self::Task(name) => intent.tasks.contains_key(name),
        }
    }
}

/// The output of one task.
struct Source {
    task: TaskName,
    prefix: String,
    output: Output,
}

/// `service logs`: of a service, or of one task.
pub fn of_service(global: &Global, name: &str, options: &Options) -> Result<Report, Failure> {
    let what = format!("show the output of `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    must_be_root(&what)?;
    let service = name.parse::<ServiceName>();
    let wanted = match (&service, intent.task(name)) {
        (Ok(service), _) if intent.services.contains_key(service) => {
            Wanted::Service(service.clone())
        }
        (_, Ok(task)) => Wanted::Task(task.name.clone()),
        (Ok(service), Err(_)) => {
            let missing = intent.service(service).err();
            return Err(match missing {
                Some(error) => Failure::intent(what, &error),
                None => Failure::new(crate::failure::Exit::Usage, what, "there is no such service"),
            });
        }
        (Err(_), Err(error)) => return Err(Failure::intent(what, &error)),
    };
    show(&session, &intent, &wanted, options, &what)
}

/// `task logs`
pub fn of_task(global: &Global, name: &str, options: &Options) -> Result<Report, Failure> {
    let what = format!("show the output of task `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    must_be_root(&what)?;
    let wanted = Wanted::Task(found(&intent, name, &what)?.name.clone());
    show(&session, &intent, &wanted, options, &what)
}

fn show(
    session: &Session,
    intent: &Intent,
    wanted: &Wanted,
    options: &Options,
    what: &str,
) -> Result<Report, Failure> {
    let elsewhere =
        intent.tasks.values().filter(|t| wanted.fits(&t.name) && t.node != session.node);
    for task in elsewhere {
        eprintln!("Task {0} is on node {1}: see `swarmlb task logs {0}`.", task.name, task.node);
    }
    let mut show = Show { session, wanted, options, sources: Vec::new() };
    let range = Range {
        since: options.since.map(|when| when.moment(now())),
        until: options.until.map(|when| when.moment(now())),
        tail: match options.tail {
            Tail::All => None,
            Tail::Last(lines) => Some(lines),
        },
    };
    match show.add(intent, range).and_then(|()| show.print()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(what, &error)),
        _ => Ok(Report::good("")),
    }
}

fn now() -> Moment {
    Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64))
}

struct Show<'a> {
    session: &'a Session,
    wanted: &'a Wanted,
    options: &'a Options,
    sources: Vec<Source>,
}

impl Show<'_> {
    /// Adds the outputs that are not shown yet.
    fn add(&mut self, intent: &Intent, range: Range) -> io::Result<()> {
        let here = |task: &&Task| self.wanted.fits(&task.name) && task.node == self.session.node;
        let tasks: Vec<&Task> = intent.tasks.values().filter(here).collect();
        let names: Vec<String> = tasks.iter().map(|task| self.prefix(task)).collect();
        let width = names.iter().map(String::len).max().unwrap_or_default();
        for (task, name) in tasks.into_iter().zip(names) {
            if self.sources.iter().any(|source| source.task == task.name) {
                continue;
            }
            let directory = self.session.state.task(&SandboxName::from(&task.name));
            let mut output = match Output::open(&directory) {
                // One that was never started has none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                output => output?,
            };
            output.seek(range)?;
            let prefix = match self.options.raw {
                true => String::new(),
                false => format!("{name:<width$}    | "),
            };
            self.sources.push(Source { task: task.name.clone(), prefix, output });
        }
        Ok(())
    }

    /// Docker's: `web.1.m1a3zkfy6b0t@node-1`.
    fn prefix(&self, task: &Task) -> String {
        match self.options.no_task_ids {
            true => format!("{}@{}", task.name, task.node),
            false => {
                format!("{}.{}@{}", task.name, short(&task.id, self.options.no_trunc), task.node)
            }
        }
    }

    fn print(&mut self) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        self.print_written(&mut out)?;
        out.flush()?;
        let mut round = 0;
        while self.options.follow {
            if closed_within(PAUSE) {
                break;
            }
            self.print_new(&mut out)?;
            out.flush()?;
            round = (round + 1) % ROUNDS;
            if round == 0 && !self.look_around()? {
                break;
            }
        }
        Ok(())
    }

    /// What is there, of all tasks in the order of time.
    fn print_written(&mut self, out: &mut impl Write) -> io::Result<()> {
        let follow = self.options.follow;
        let next = |source: &mut Source| -> io::Result<Option<Line>> {
            match source.output.line()? {
                None if !follow => source.output.rest(),
                line => Ok(line),
            }
        };
        let mut waiting = BinaryHeap::new();
        for (number, source) in self.sources.iter_mut().enumerate() {
            if let Some(line) = next(source)? {
                waiting.push(Reverse((line.time, number, line.text)));
            }
        }
        while let Some(Reverse((time, number, text))) = waiting.pop() {
            let Some(source) = self.sources.get_mut(number) else { continue };
            write_line(out, self.options, &source.prefix, time, &text)?;
            if let Some(line) = next(source)? {
                waiting.push(Reverse((line.time, number, line.text)));
            }
        }
        Ok(())
    }

    fn print_new(&mut self, out: &mut impl Write) -> io::Result<()> {
        for source in &mut self.sources {
            source.output.rewind_if_cut()?;
        }
        self.print_written(out)
    }

    /// Looks for tasks that came and went; false when none can come any more.
    fn look_around(&mut self) -> io::Result<bool> {
        self.sources.retain(|source| !source.output.is_gone());
        let there = std::fs::read_dir(self.session.state.tasks());
        let names = there.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.to_str()?.parse::<TaskName>().ok());
        let new = names
            .filter(|name| self.wanted.fits(name))
            .any(|name| self.sources.iter().all(|source| source.task != name));
        if !new && !self.sources.is_empty() {
            return Ok(true);
        }
        let Ok(intent) = self.session.intent() else { return Ok(true) };
        self.add(&intent, Range::default())?;
        Ok(!self.sources.is_empty() || self.wanted.stands(&intent))
    }
}

/// Waits so long, or until nobody reads standard output any more, which is then true.
fn closed_within(pause: Duration) -> bool {
    let out = io::stdout();
    // Errors and the other end's going are told unasked.
    let mut waiting = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let pause = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
    let told = poll(&mut waiting, pause).is_ok_and(|ready| ready > 0);
    told && waiting.iter().any(|one| one.any() == Some(true))
}

fn write_line(
    out: &mut impl Write,
    options: &Options,
    prefix: &str,
    time: Moment,
    line: &[u8],
) -> io::Result<()> {
    if options.timestamps {
        write!(out, "{time} ")?;
    }
    out.write_all(prefix.as_bytes())?;
    out.write_all(line)?;
    out.write_all(b"\n")
}
