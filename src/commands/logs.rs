//! `swarmlb service logs` and `swarmlb task logs`

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::time::{Duration, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Report;
use super::elsewhere::{Other, is_errand};
use super::output::{Line, Output, Range};
use super::remote_logs::Remote;
use super::session::{Session, must_be_root};
use super::task::{found, short};
use crate::cli::Global;
use crate::cli::logs::{Options, Tail};
use crate::failure::Failure;
use crate::intent::{Intent, NodeName, ServiceName, Task, TaskName};
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
    let range = Range {
        since: options.since.map(|when| when.moment(now())),
        until: options.until.map(|when| when.moment(now())),
        tail: match options.tail {
            Tail::All => None,
            Tail::Last(lines) => Some(lines),
        },
    };
    let remotes = remotes(session, intent, wanted, options, range, what);
    let mut show = Show { session, wanted, options, sources: Vec::new(), remotes };
    match show.add(intent, range).and_then(|()| show.print()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(what, &error)),
        _ if show.remotes.iter().any(Remote::has_failed) => Ok(Report::bad("")),
        _ => Ok(Report::good("")),
    }
}

/// The other nodes that have something of it, or may get it while it is followed.
fn remotes(
    session: &Session,
    intent: &Intent,
    wanted: &Wanted,
    options: &Options,
    range: Range,
    what: &str,
) -> Vec<Remote> {
    if is_errand() {
        return Vec::new();
    }
    let fitting = intent.tasks.values().filter(|task| wanted.fits(&task.name));
    let mut nodes: BTreeSet<&NodeName> = fitting.map(|task| &task.node).collect();
    if options.follow && matches!(wanted, Wanted::Service(_)) {
        nodes.extend(intent.nodes.keys());
    }
    nodes.remove(&session.node);
    let name = match wanted {
        Wanted::Service(service) => service.to_string(),
        Wanted::Task(task) => task.to_string(),
    };
    let ask = |node: &NodeName| match Other::find(session, intent, node, what) {
        Ok(other) => {
            Remote::ask(node.clone(), other, words(&name, options, range), what.to_owned())
        }
        Err(failure) => Remote::out_of_reach(node, &failure.problem),
    };
    nodes.into_iter().map(ask).collect()
}

/// What another node is asked.
fn words(name: &str, options: &Options, range: Range) -> Vec<String> {
    let flag = |is_set: bool, flag: &str| is_set.then(|| flag.to_owned());
    let mut words = vec!["service".to_owned(), "logs".into(), "--timestamps".into()];
    words.extend(flag(options.follow, "--follow"));
    words.extend(flag(options.no_task_ids, "--no-task-ids"));
    words.extend(flag(options.no_trunc, "--no-trunc"));
    words.extend(flag(options.raw, "--raw"));
    words.extend(range.tail.map(|lines| format!("--tail={lines}")));
    words.extend(range.since.map(|since| format!("--since={since}")));
    words.extend(range.until.map(|until| format!("--until={until}")));
    words.push(name.to_owned());
    words
}

pub(super) fn now() -> Moment {
    Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64))
}

struct Show<'a> {
    session: &'a Session,
    wanted: &'a Wanted,
    options: &'a Options,
    sources: Vec<Source>,
    remotes: Vec<Remote>,
}

impl Show<'_> {
    /// Adds the outputs that are not shown yet.
    fn add(&mut self, intent: &Intent, range: Range) -> io::Result<()> {
        let here = |task: &&Task| self.wanted.fits(&task.name) && task.node == self.session.node;
        let all = intent.tasks.values().filter(|task| self.wanted.fits(&task.name));
        let width = all.map(|task| self.prefix(task).len()).max().unwrap_or_default();
        for task in intent.tasks.values().filter(here) {
            let name = self.prefix(task);
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
        let first_remote = self.sources.len();
        for (number, remote) in self.remotes.iter_mut().enumerate() {
            if let Some(line) = remote.line(follow) {
                waiting.push(Reverse((line.time, first_remote + number, line.text)));
            }
        }
        for (number, source) in self.sources.iter_mut().enumerate() {
            if let Some(line) = next(source)? {
                waiting.push(Reverse((line.time, number, line.text)));
            }
        }
        while let Some(Reverse((time, number, text))) = waiting.pop() {
            let Some(source) = self.sources.get_mut(number) else {
                write_line(out, self.options, "", time, &text)?;
                let remote = self.remotes.get_mut(number - first_remote);
                if let Some(line) = remote.and_then(|remote| remote.line(follow)) {
                    waiting.push(Reverse((line.time, number, line.text)));
                }
                continue;
            };
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
        let some = !self.sources.is_empty() || self.remotes.iter().any(|remote| !remote.is_done());
        Ok(some || self.wanted.stands(&intent))
    }
}

/// Waits so long, or until nobody reads standard output any more, which is then true.
pub(super) fn closed_within(pause: Duration) -> bool {
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
