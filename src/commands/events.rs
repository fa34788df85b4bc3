//! `swarmlb events`: what happens from now on, until nobody wants to know any more.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::Report;
use super::interrupt;
use super::logs::{closed_within, now};
use super::session::Session;
use super::typing;
use crate::agent::follow;
use crate::cli::events::{Events, Filter};
use crate::cli::logs::When;
use crate::cli::{Format, Global, manual};
use crate::events::{Event, Kind, View, between};
use crate::failure::{Exit, Failure};
use crate::keeper::journal;
use crate::render::template::{Template, Words};
use crate::render::time::Moment;
use crate::store::Handle;
use crate::store::records::{self, INTENT, RecordError, STATUS};

const WHAT: &str = "follow what happens";
/// How often it is looked whether anybody listens still, and into the agent's log.
const PAUSE: Duration = Duration::from_millis(100);

pub fn run(global: &Global, options: &Events) -> Result<Report, Failure> {
    let session = Session::new(global, WHAT)?;
    let store = session.store()?;
    interrupt::listen();
    let end = options.until.map(moment);
    let told = Told { global, filters: &options.filters, line: Line::of(global) };
    let failed = |error: RecordError| session.failed(&error);
    let changes = watched(&store).map_err(|error| Failure::io(WHAT, &error))?;
    let mut before = look(&store).map_err(failed)?;
    let mut log = Log::open(&session.state.log("agent"), session.node.as_str());
    while !interrupt::was_pressed() && end.is_none_or(|end| now() < end) {
        let changed = match changes.recv_timeout(PAUSE) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut events = log.as_mut().map(Log::events).unwrap_or_default();
        if changed {
            // What came together is one look.
            changes.try_iter().for_each(drop);
            // A store that is away comes back, and with it what happened meanwhile.
            if let Ok(after) = look(&store) {
                events.extend(between(&before, &after, now()));
                before = after;
            }
        }
        match print(&told.lines(&events)?) {
            Ok(()) if !closed_within(Duration::ZERO) => {}
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Failure::io(WHAT, &error));
            }
            _ => break,
        }
    }
    // What a template has to fill was filled line by line.
    Ok(Report::good(if global.typed.template.is_some() { "[]" } else { "" }))
}

/// A span is one from now on.
fn moment(until: When) -> Moment {
    match until {
        When::At(moment) => moment,
        When::Ago(span) => {
            Moment(now().0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
        }
    }
}

/// Who tells of every change under the intent and the reports. Nothing is missed between this and the
/// first look: that comes later.
fn watched(store: &Handle) -> io::Result<Receiver<()>> {
    let (sender, receiver) = sync_channel(1);
    for prefix in [INTENT, STATUS] {
        let sender = sender.clone();
        // One that waits to be looked at is enough. None is asked for: all is looked at once, too.
        follow(store.clone(), prefix, None, move |_| {
            !matches!(sender.try_send(()), Err(std::sync::mpsc::TrySendError::Disconnected(())))
        })?;
    }
    Ok(receiver)
}

fn look(store: &Handle) -> Result<View, RecordError> {
    let intent = records::load_intent(store)?.map(|loaded| loaded.intent);
    let (_, statuses) = records::load_status(store)?;
    let leader = records::load_reports(store)?.leadership.map(|leadership| leadership.node);
    let intent = intent
        .unwrap_or_else(|| crate::intent::Intent::new(crate::intent::ClusterId(String::new())));
    Ok(View { intent, statuses, leader })
}

/// How an event is written.
enum Line {
    Words,
    Json,
    Template(Template, Words),
}

impl Line {
    fn of(global: &Global) -> Self {
        let words = manual::page(&global.typed.command).map_or(&[][..], |page| page.words);
        match (&global.typed.template, global.format) {
            (Some(template), _) => Self::Template(template.clone(), words),
            (None, Format::Json) => Self::Json,
            (None, Format::Table) => Self::Words,
        }
    }
}

/// Which events are told, and how.
struct Told<'a> {
    global: &'a Global,
    filters: &'a [Filter],
    line: Line,
}

impl Told<'_> {
    /// The lines of those that are wanted.
    fn lines(&self, events: &[Event]) -> Result<String, Failure> {
        let wanted = events.iter().filter(|event| self.is_wanted(event));
        let lines: Result<Vec<String>, Failure> = wanted.map(|event| self.line(event)).collect();
        Ok(lines?.iter().map(|line| format!("{}\n", harmless(line))).collect())
    }

    fn line(&self, event: &Event) -> Result<String, Failure> {
        let unwritten = |error| Failure::new(Exit::Cannot, "print as JSON", error);
        match &self.line {
            _ if self.global.quiet => Ok(event.name.clone()),
            Line::Words => Ok(event.to_string()),
            Line::Json => serde_json::to_string(event).map_err(unwritten),
            Line::Template(template, words) => {
                let row = serde_json::json!([event]);
                let filled = template.render(&row, words);
                let line = filled.map_err(|error| typing::misfit(template, &error))?;
                Ok(line.trim_end_matches('\n').to_owned())
            }
        }
    }

    fn is_wanted(&self, event: &Event) -> bool {
        let fits = |filter: &Filter| event.value(&filter.key) == Some(filter.value.as_str());
        self.filters.iter().all(|filter| {
            let mut alike = self.filters.iter().filter(|other| other.key == filter.key);
            alike.any(fits)
        })
    }
}

/// Reasons are others' words: none of their control characters reaches a terminal.
fn harmless(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

fn print(lines: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()
}

/// What this node's agent says from now on.
struct Log {
    lines: BufReader<File>,
    node: String,
    rest: String,
}

impl Log {
    fn open(path: &std::path::Path, node: &str) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { lines: BufReader::new(file), node: node.to_owned(), rest: String::new() })
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while self.lines.read_line(&mut self.rest).is_ok_and(|length| length > 0) {
            if !self.rest.ends_with('\n') {
                break;
            }
            let line = std::mem::take(&mut self.rest);
            let words = journal::words(line.trim_end());
            events.push(Event::new(now(), Kind::Agent, "log", &self.node).with("message", words));
        }
        events
    }
}
