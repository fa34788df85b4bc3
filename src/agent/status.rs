//! What an agent reports of its node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::intent::{Fwmark, Id, TaskName};
use crate::keeper::protocol::Exit;

/// The report of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The revision of the intent that this is about.
    pub revision: u64,
    /// Whether observed equalled desired when it was written, processes left aside.
    pub settled: bool,
    /// The plan that the kernel would not carry out, when not settled.
    pub refusal: Option<RefusalReport>,
    /// Why the kernel could not be read, when not settled.
    #[serde(default)]
    pub unreadable: Option<String>,
    pub tasks: BTreeMap<TaskName, TaskStatus>,
    /// Old marks that no connection of this node holds.
    #[serde(default)]
    pub idle_marks: BTreeSet<Fwmark>,
    /// Tasks to whom nobody is sent from here, as it was not heard yet that they run.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub awaited: BTreeSet<Id>,
    /// Tasks that leave and get connections from here until others are there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub standing: BTreeSet<Id>,
    pub agent: i32,
    /// When the agent started: seconds since 1970.
    pub since: u64,
}

/// A refused plan, for whoever waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalReport {
    pub number: usize,
    pub of: usize,
    /// The refused operation as a runbook line.
    pub op: String,
    pub sentence: String,
    pub undone: usize,
    /// What could not be taken back, as runbook lines.
    pub left: Vec<String>,
    pub rehearsed: bool,
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The task's id: one under the same name may have been removed and made anew.
    pub task: String,
    pub state: TaskState,
    pub pid: Option<i32>,
    /// Since when it is in this state: seconds since 1970.
    pub since: u64,
    /// How often it ended or could not be started.
    pub failures: u32,
    /// Why it last ended or was not started.
    pub error: Option<String>,
    /// How many are connected to it, while it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// How its process last ended; none when it could not be started.
    #[serde(default)]
    pub exit: Option<Exit>,
}

impl NodeStatus {
    /// The tasks of this node that ended and are not there again yet.
    pub fn resting(&self) -> impl Iterator<Item = &Id> {
        self.tasks.values().filter(|task| task.rests()).map(|task| &task.task)
    }
}

impl TaskStatus {
    /// Whether it ended, or could not be started, and is not there again yet. One that never was
    /// there has whoever made it wait for it.
    pub fn rests(&self) -> bool {
        match self.state {
            TaskState::Complete | TaskState::Failed | TaskState::Rejected => true,
            TaskState::Pending | TaskState::Preparing | TaskState::Starting => self.failures > 0,
            TaskState::Running | TaskState::Draining => false,
        }
    }
}

/// Where a task is in its life, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    Pending,
    /// Its image is brought to its node.
    Preparing,
    Starting,
    Running,
    /// It is out of rotation and serves those who are still connected.
    Draining,
    /// It ended well; it is started anew after a pause.
    Complete,
    /// It ended badly; it is started anew after a pause.
    Failed,
    /// Its process could not be started; it is tried anew after a pause.
    Rejected,
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            TaskState::Pending => "Pending",
            TaskState::Preparing => "Preparing",
            TaskState::Starting => "Starting",
            TaskState::Running => "Running",
            TaskState::Draining => "Draining",
            TaskState::Complete => "Complete",
            TaskState::Failed => "Failed",
            TaskState::Rejected => "Rejected",
        })
    }
}
