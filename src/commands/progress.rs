//! What a wait shows meanwhile, on stderr, when that is a terminal: a line for each task, and above them how
//! far an update is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::agent::status::{TaskState, TaskStatus};
use crate::intent::TaskName;
use crate::render::english::count;

/// Most tasks that have a line each; of more, one bar tells the number.
const LINES: usize = 20;
/// How often a line that nothing happens to shows that it is waited.
const TICK: Duration = Duration::from_millis(100);

/// What there is to show.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The tasks, and what is said of each until its node says more.
    pub tasks: BTreeMap<TaskName, String>,
    /// How many tasks there shall be.
    pub wanted: usize,
    /// Whether tasks are being replaced.
    pub replaces: bool,
}

/// The lines.
pub struct Progress {
    all: MultiProgress,
    tasks: BTreeMap<TaskName, ProgressBar>,
    total: Option<ProgressBar>,
}

impl Progress {
    pub fn new(quiet: bool, shown: &Shown) -> Self {
        let all = MultiProgress::new();
        if quiet {
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
        let mut progress = Self { all, tasks: BTreeMap::new(), total: None };
        let template = match shown.replaces {
            true => "overall progress: {pos} out of {len} tasks",
            false => "tasks running {bar:30} {pos} of {len}",
        };
        if shown.replaces || shown.tasks.len() > LINES {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(shown.wanted as u64).with_style(style);
            progress.total = Some(progress.all.add(bar));
        }
        progress.follow(shown);
        progress
    }

    /// Shows those tasks that there are now.
    pub fn follow(&mut self, shown: &Shown) {
        if let Some(total) = &self.total {
            total.set_length(shown.wanted as u64);
        }
        let names: BTreeSet<&TaskName> = match shown.tasks.len() > LINES {
            true => BTreeSet::new(),
            false => shown.tasks.keys().collect(),
        };
        let gone: Vec<TaskName> =
            self.tasks.keys().filter(|name| !names.contains(name)).cloned().collect();
        for bar in gone.iter().filter_map(|name| self.tasks.remove(name)) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        let width = names.iter().map(|name| name.to_string().len()).max().unwrap_or_default();
        for name in names {
            if !self.tasks.contains_key(name) {
                let bar = self.line(name);
                bar.set_prefix(format!("{name:<width$}", name = name.to_string()));
                bar.set_message(shown.tasks.get(name).cloned().unwrap_or_default());
                bar.enable_steady_tick(TICK);
                self.tasks.insert(name.clone(), bar);
            }
        }
    }

    /// A line for a task, where its name belongs.
    fn line(&self, name: &TaskName) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix} {spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        let before = self.tasks.range(..name).next_back().map(|(_, bar)| bar);
        match before.or(self.total.as_ref()) {
            Some(before) => self.all.insert_after(before, bar),
            None => self.all.insert(0, bar),
        }
    }

    /// Says how a task is.
    pub fn tell(&self, name: &TaskName, status: Option<&TaskStatus>) {
        let Some((bar, status)) = self.tasks.get(name).zip(status) else { return };
        let state = status.state.to_string().to_lowercase();
        let leaves = status.state == TaskState::Draining;
        bar.set_message(match (&status.error, status.connections.filter(|_| leaves)) {
            (_, Some(connections)) => format!("draining: {}", count(connections, "connection")),
            (Some(error), _) if status.state != TaskState::Running => format!("{state}: {error}"),
            _ => state,
        });
    }

    /// Says how many tasks are as they shall be.
    pub fn total(&self, count: usize) {
        if let Some(bar) = &self.total {
            bar.set_position(count as u64);
        }
    }

    pub fn end(&self) {
        for bar in self.tasks.values().chain(&self.total) {
            bar.finish_and_clear();
        }
        let _ = self.all.clear();
    }
}
