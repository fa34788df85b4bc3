//! What an agent reports of its node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::intent::{Absences, Fwmark, Id, NodeName, Task, TaskName};
use crate::keeper::protocol::Exit;
use crate::orchestrate::health::Condition;

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
    /// Tasks to whom nobody is sent from here, as it was not heard yet that they run or are healthy.
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
    /// Whether it ended and is not started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    /// What its checks say; none when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
}

/// What the checks of a task say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    pub condition: Condition,
    /// Since when: milliseconds since 1970.
    pub since: u64,
    /// Whether its process last ended for want of health.
    pub ended_it: bool,
}

/// What a task's node reports of it; none where it says nothing, or still speaks of one that had the name before.
pub fn of_task<'a>(
    statuses: &'a BTreeMap<NodeName, NodeStatus>,
    task: &Task,
) -> Option<&'a TaskStatus> {
    let status = statuses.get(&task.node)?.tasks.get(&task.name)?;
    (status.task == task.id).then_some(status)
}

impl NodeStatus {
    /// The tasks of this node that are not there, or do not serve.
    pub fn absences(&self) -> Absences {
        let mut absences = Absences::default();
        self.tasks.values().for_each(|task| task.lay_over(&mut absences));
        absences
    }
}

impl TaskStatus {
    /// Whether it ended, or could not be started, and is not there again yet. One that never was
    /// there has whoever made it wait for it.
    pub fn rests(&self) -> bool {
        match self.state {
            TaskState::Complete | TaskState::Failed | TaskState::Rejected => true,
            TaskState::Pending | TaskState::Preparing | TaskState::Starting => self.failures > 0,
            TaskState::Running | TaskState::Draining | TaskState::Unhealthy => false,
        }
    }

    /// Whether it was not healthy yet since its process began.
    pub fn is_unproven(&self) -> bool {
        self.state == TaskState::Starting && self.health.is_some()
    }

    /// Adds it to those that are not there or do not serve, if it is one of them, as its own node knows it.
    pub fn lay_over(&self, absences: &mut Absences) {
        let id = || self.task.clone();
        if self.rests() {
            absences.resting.insert(id());
        } else if self.state == TaskState::Unhealthy {
            absences.unhealthy.insert(id());
        } else if self.is_unproven() || (self.state == TaskState::Pending && self.health.is_some())
        {
            absences.awaited.insert(id());
        }
        if self.is_unproven() && self.pid.is_some() {
            absences.unproven.insert(id());
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
    /// Its process is not there yet, or not healthy yet.
    Starting,
    Running,
    /// Its process is there, and its checks say that it does not serve.
    Unhealthy,
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
            TaskState::Unhealthy => "Unhealthy",
            TaskState::Draining => "Draining",
            TaskState::Complete => "Complete",
            TaskState::Failed => "Failed",
            TaskState::Rejected => "Rejected",
        })
    }
}
