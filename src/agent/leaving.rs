//! Looking after what leaves: tasks until nobody is connected to them, and old marks until no
//! connection holds them. What is decided here becomes an edit of the intent.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::intent::{EndpointMode, Fwmark, Id, Intent, Leaving, NodeName, Task, TaskName};
use crate::kernel::datagrams::Datagrams;
use crate::kernel::sockets::{self, Activity};
use crate::kernel::{Refusal, netns};
use crate::node::SandboxName;
use crate::orchestrate::draining::{Seen, has_left};
use crate::store::Revision;

/// The first pause between two looks, and the longest: it doubles from one to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// The same for old marks, which are in nobody's way.
const FIRST_MARK_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_MARK_PAUSE: Duration = Duration::from_secs(15);

/// What was seen of one task so far.
struct Look {
    task: Id,
    /// What every node must have done for the task to be out of rotation.
    revision: Revision,
    /// When it was first seen to leave. No date counts: clocks jump, and it is of another machine's.
    begun: Instant,
    out_since: Option<Instant>,
    quiet_since: Option<Instant>,
    activity: Activity,
    /// What its clients send by UDP is listened to from the first look on.
    datagrams: Option<Datagrams>,
}

/// A task that leaves, of this node.
pub struct Candidate {
    pub name: TaskName,
    pub task: Id,
    leaving: Leaving,
    kept: Duration,
}

/// What leaves, and when it is looked at next.
#[derive(Default)]
pub struct Departures {
    looks: BTreeMap<TaskName, Look>,
    due: Option<Instant>,
    pause: Duration,
    marks: BTreeSet<Fwmark>,
    marks_due: Option<Instant>,
    marks_pause: Duration,
}

impl Departures {
    /// When something is to be looked at; none when nothing leaves.
    pub fn due(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.marks_due).min()
    }

    /// Takes note of an intent: what leaves is looked at soon.
    pub fn take_note(&mut self, intent: &Intent, revision: Revision, node: &NodeName) {
        let leaving = candidates(intent, node);
        self.looks.retain(|name, look| {
            leaving.iter().any(|leaves| leaves.name == *name && leaves.task == look.task)
        });
        let mut news = false;
        for candidate in leaving {
            self.looks.entry(candidate.name).or_insert_with(|| {
                news = true;
                Look {
                    task: candidate.task,
                    revision,
                    begun: Instant::now(),
                    out_since: None,
                    quiet_since: None,
                    activity: Activity::default(),
                    datagrams: None,
                }
            });
        }
        if self.looks.is_empty() {
            self.due = None;
        } else if news {
            self.pause = FIRST_PAUSE;
            self.due = Some(Instant::now());
        }
        let marks = intent.retired_marks();
        if marks.is_empty() {
            self.marks_due = None;
        } else if marks != self.marks {
            self.marks_pause = FIRST_MARK_PAUSE;
            self.marks_due = Some(Instant::now() + FIRST_MARK_PAUSE);
        }
        self.marks = marks;
    }

    /// Whether tasks are to be looked at now.
    pub fn tasks_are_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Has tasks be looked at now, for one of them ended.
    pub fn hurry(&mut self) {
        if !self.looks.is_empty() {
            self.pause = FIRST_PAUSE;
            self.due = Some(Instant::now());
        }
    }

    /// Whether old marks are to be looked at now.
    pub fn marks_are_due(&self) -> bool {
        self.marks_due.is_some_and(|due| due <= Instant::now())
    }

    /// Notes when marks are to be looked at again.
    pub fn marks_were_seen(&mut self) {
        self.marks_due = Some(Instant::now() + self.marks_pause);
        self.marks_pause = (self.marks_pause * 2).min(LONGEST_MARK_PAUSE);
    }

    /// Whether the tables of other nodes must be asked after.
    pub fn lacks_word(&self) -> bool {
        self.looks.values().any(|look| look.out_since.is_none())
    }

    /// Takes note of the revision that every node has done, and of who stands in for others somewhere.
    pub fn acknowledge(&mut self, done: Revision, standing: &BTreeSet<&Id>) {
        let out = |look: &&mut Look| look.revision <= done && !standing.contains(&look.task);
        for look in self.looks.values_mut().filter(out) {
            look.out_since.get_or_insert_with(Instant::now);
        }
    }

    /// Looks at the sockets of each task, and tells which may go.
    pub fn left(
        &mut self,
        intent: &Intent,
        node: &NodeName,
        ended: impl Fn(&TaskName) -> bool,
    ) -> Vec<(TaskName, Id)> {
        let mut left = Vec::new();
        for candidate in candidates(intent, node) {
            let Some(look) = self.looks.get_mut(&candidate.name) else { continue };
            look.note(&candidate.name);
            let seen = Seen {
                timeout: candidate.leaving.timeout(),
                leaving: look.begun.elapsed(),
                out: look.out_since.map(|since| since.elapsed()),
                quiet: look.quiet_since.map(|since| since.elapsed()),
                datagrams: !look.activity.datagrams.is_empty(),
                ended: ended(&candidate.name),
                kept: candidate.kept,
            };
            if has_left(&seen) {
                left.push((candidate.name, candidate.task));
            }
        }
        self.due = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        left
    }

    /// How many are connected to a task that leaves.
    pub fn connections(&self, task: &TaskName) -> Option<usize> {
        self.looks.get(task).map(|look| look.activity.connections)
    }
}

impl Look {
    /// A sandbox that cannot be looked into is gone: nobody is connected there.
    fn note(&mut self, task: &TaskName) {
        self.activity = activity(task).unwrap_or_default();
        let is_silent = self.is_silent(task);
        let quiet = self.activity.connections == 0 && is_silent;
        self.quiet_since =
            if quiet { self.quiet_since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Whether nobody sent it a datagram since the last look. Who cannot be listened to may be busy:
    /// it has until its drain timeout.
    fn is_silent(&mut self, task: &TaskName) -> bool {
        let ports = &self.activity.datagrams;
        if ports.is_empty() {
            return true;
        }
        if self.datagrams.is_none() {
            self.datagrams = listen(task).ok();
        }
        self.datagrams.as_ref().is_some_and(|datagrams| matches!(datagrams.came_to(ports), Ok(0)))
    }
}

fn listen(task: &TaskName) -> Result<Datagrams, Refusal> {
    let namespace = netns::open(SandboxName::from(task).as_str())?;
    Ok(Datagrams::of(namespace.as_fd())?)
}

fn activity(task: &TaskName) -> Result<Activity, Refusal> {
    let namespace = netns::open(SandboxName::from(task).as_str())?;
    Ok(sockets::activity(namespace.as_fd())?)
}

/// The tasks of a node that are leaving.
fn candidates(intent: &Intent, node: &NodeName) -> Vec<Candidate> {
    let here = intent.leaving().filter(|(task, _)| task.node == *node);
    here.map(|(task, leaving)| Candidate {
        name: task.name.clone(),
        task: task.id.clone(),
        leaving: *leaving,
        kept: kept(intent, task),
    })
    .collect()
}

/// How long a client may connect to an address that it was told: those of `dnsrr` services are meant
/// to be kept, while who asks for a VIP's tasks by name knows that they come and go.
fn kept(intent: &Intent, task: &Task) -> Duration {
    let service = intent.services.get(&task.name.service);
    let dnsrr = service.filter(|service| service.endpoint_mode == EndpointMode::Dnsrr);
    dnsrr.map_or(Duration::ZERO, |service| Duration::from_secs(u64::from(service.dns_ttl)))
}
