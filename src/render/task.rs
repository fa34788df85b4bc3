//! A task as it is shown: on one line, whole as JSON, in words.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::english::{count, duration};
use super::table::printable;
use super::time::Moment;
use crate::agent::status::{HealthStatus, TaskState};
use crate::health::chart::Chart;
use crate::intent::{NetworkName, NodeName, Pending, Service, ServiceName, Task, TaskName};
use crate::keeper::protocol::Exit;
use crate::orchestrate::health::Condition;

/// Where a task is in its life, or that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its node is silent.
    Unknown,
    Pending,
    /// Its image is brought to its node.
    Preparing,
    Starting,
    Running,
    /// Its process is there, and its checks say that it does not serve.
    Unhealthy,
    /// It is out of rotation and serves those who are still connected.
    Draining,
    Complete,
    Failed,
    Rejected,
    /// What a task that leaves is wanted to be.
    Shutdown,
}

impl State {
    /// What a task is wanted to be.
    pub fn desired(task: &Task) -> Self {
        if task.in_rotation() { Self::Running } else { Self::Shutdown }
    }
}

impl From<TaskState> for State {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Pending => Self::Pending,
            TaskState::Preparing => Self::Preparing,
            TaskState::Starting => Self::Starting,
            TaskState::Running => Self::Running,
            TaskState::Unhealthy => Self::Unhealthy,
            TaskState::Draining => Self::Draining,
            TaskState::Complete => Self::Complete,
            TaskState::Failed => Self::Failed,
            TaskState::Rejected => Self::Rejected,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A task on one line, or a slot that has none yet.
#[derive(Serialize)]
pub struct Row<'a> {
    /// None while it waits for a place.
    pub id: Option<&'a str>,
    pub name: TaskName,
    pub service: &'a ServiceName,
    pub slot: u32,
    pub image: String,
    /// None while there is none for it.
    pub node: Option<&'a NodeName>,
    pub addresses: Vec<String>,
    pub ports: Vec<String>,
    pub desired_state: State,
    pub state: State,
    /// Seconds in this state; none when nobody knows.
    pub seconds: Option<u64>,
    pub pid: Option<i32>,
    pub failures: u32,
    pub error: Option<Cow<'a, str>>,
    /// Its share of new connections beside the others'; none while it waits for a place.
    pub weight: Option<u32>,
}

impl<'a> Row<'a> {
    /// A slot that waits for a place.
    pub fn waiting(service: &'a Service, slot: u32, pending: &'a Pending) -> Self {
        Self {
            id: None,
            name: TaskName { service: service.name.clone(), slot },
            service: &service.name,
            slot,
            image: service.definition.image.short(),
            node: pending.node.as_ref(),
            addresses: Vec::new(),
            ports: Vec::new(),
            desired_state: State::Running,
            state: State::Pending,
            seconds: None,
            pid: None,
            failures: 0,
            error: Some(pending.reason.to_string().into()),
            weight: None,
        }
    }
}

/// Everything that is known of a task.
#[derive(Serialize)]
pub struct Inspected<'a> {
    pub id: &'a str,
    pub name: &'a TaskName,
    pub service: &'a ServiceName,
    pub service_id: &'a str,
    pub slot: u32,
    pub node: &'a NodeName,
    pub image: String,
    pub command: &'a [String],
    /// What is added to the environment of its process.
    pub environment: BTreeMap<String, String>,
    pub hostname: Option<&'a str>,
    pub labels: &'a BTreeMap<String, String>,
    pub endpoints: Vec<Endpoint<'a>>,
    pub desired_state: State,
    pub state: State,
    /// Since when it is in this state.
    pub since: Option<String>,
    #[serde(skip)]
    pub seconds: Option<u64>,
    /// None while it does not run, or on another node.
    pub process: Option<Process>,
    /// How often its process was started again.
    pub restarts: u32,
    /// How often it failed without a steady while between.
    pub failures: u32,
    pub error: Option<&'a str>,
    pub last_exit: Option<LastExit>,
    /// Whether it ended and is not started again.
    pub over: bool,
    /// What its checks say; none when it has none.
    pub health: Option<Health>,
    pub sandbox: String,
    pub log: Option<String>,
}

/// What joins a task to a network.
#[derive(Serialize)]
pub struct Endpoint<'a> {
    pub network: &'a NetworkName,
    pub address: Ipv4Addr,
    pub prefix: Option<u8>,
    pub mac: String,
    pub rank: u32,
}

/// A running process. Number and start time together tell it from any other.
#[derive(Serialize)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks after boot.
    pub start_time: u64,
    pub started: String,
}

/// How a process ended: with a code, by a signal, or unseen.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct LastExit {
    pub code: Option<i32>,
    pub signal: Option<String>,
}

impl From<&Exit> for LastExit {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Code(code) => Self { code: Some(*code), signal: None },
            Exit::Signal(number) => Self { code: None, signal: Some(signal(*number)) },
            Exit::Unseen | Exit::OutOfMemory | Exit::NotStarted(_) => {
                Self { code: None, signal: None }
            }
        }
    }
}

/// What the checks of a task say.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub condition: Condition,
    /// Since when; none while its process is not there.
    pub since: Option<String>,
    #[serde(skip)]
    pub seconds: Option<u64>,
    /// How many failed in a row.
    pub failed: u32,
    /// How many were made of its process.
    pub checks: u64,
    /// The last ones, the oldest first; none of a task on another node that does not answer.
    pub log: Vec<Check>,
}

/// One check.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub started: String,
    /// Milliseconds.
    pub took: u64,
    pub passed: bool,
    pub output: String,
}

impl Health {
    /// As it is kept, by a clock in milliseconds since 1970.
    pub fn of(chart: &Chart, now: u64) -> Self {
        let date = |millis: u64| Moment(millis.saturating_mul(1_000_000)).with_digits(3);
        let log = chart.log.iter().map(|checked| Check {
            started: date(checked.at),
            took: checked.took,
            passed: checked.passed,
            output: checked.output.clone(),
        });
        Self {
            condition: chart.condition,
            since: Some(date(chart.since)),
            seconds: Some(now.saturating_sub(chart.since) / 1000),
            failed: chart.failed,
            checks: chart.checks,
            log: log.collect(),
        }
    }

    /// As its node reports it.
    pub fn reported(status: &HealthStatus, now: u64) -> Self {
        let since = (status.since > 0).then_some(status.since);
        Self {
            condition: status.condition,
            since: since.map(|since| Moment(since.saturating_mul(1_000_000)).with_digits(3)),
            seconds: since.map(|since| now.saturating_sub(since) / 1000),
            failed: 0,
            checks: 0,
            log: Vec::new(),
        }
    }

    fn told(&self) -> String {
        let since = self.seconds.map(|seconds| format!(", for {}", duration(seconds)));
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {} failed in a row", count(failed as usize, "check")),
        };
        format!("{}{}{failed}", self.condition, since.unwrap_or_default())
    }
}

impl Check {
    fn told(&self) -> String {
        let said = if self.passed { "passed" } else { "failed" };
        let output: Vec<&str> = self.output.lines().map(str::trim).collect();
        let output = match output.join(" ").trim().to_owned() {
            output if output.is_empty() => output,
            output => format!(": {output}"),
        };
        format!("{}, {said} after {} ms{output}", self.started, self.took)
    }
}

/// A signal's name, or its number where it has none.
pub fn signal(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// All of it, a fact a line.
pub fn pretty(task: &Inspected<'_>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("{:<15}{}\n", format!("{label}:"), printable(&value)));
    };
    line("ID", task.id.to_owned());
    line("Name", task.name.to_string());
    line("Service", format!("{}, slot {}", task.service, task.slot));
    line("Node", task.node.to_string());
    let ago = task.seconds.map(|seconds| format!(", for {}", duration(seconds)));
    line("State", format!("{}{}", task.state, ago.unwrap_or_default()));
    line("Desired state", task.desired_state.to_string());
    if let Some(process) = &task.process {
        line("Process", format!("pid {}, started {}", process.pid, process.started));
    }
    line("Restarts", task.restarts.to_string());
    if let Some(error) = task.error {
        let failures = match task.failures {
            0 | 1 => String::new(),
            n => format!(" ({} in a row)", count(n as usize, "time")),
        };
        line("Last end", format!("{error}{failures}"));
    }
    if let Some(health) = &task.health {
        line("Health", health.told());
        if let Some(last) = health.log.last() {
            line("Last check", last.told());
        }
    }
    line("Image", task.image.clone());
    if !task.command.is_empty() {
        line("Command", task.command.join(" "));
    }
    for (name, value) in &task.environment {
        line("Environment", format!("{name}={value}"));
    }
    if let Some(hostname) = task.hostname {
        line("Hostname", hostname.to_owned());
    }
    for (key, value) in task.labels {
        line("Label", format!("{key}={value}"));
    }
    for endpoint in &task.endpoints {
        let prefix = endpoint.prefix.map(|prefix| format!("/{prefix}")).unwrap_or_default();
        let (address, mac, rank) = (endpoint.address, &endpoint.mac, endpoint.rank);
        line("Network", format!("{}, {address}{prefix}, {mac}, rank {rank}", endpoint.network));
    }
    line("Sandbox", task.sandbox.clone());
    if let Some(log) = &task.log {
        line("Log", log.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_a_fact_a_line() {
        let (name, service) = ("web.2".parse().unwrap(), "web".parse().unwrap());
        let (node, network) = ("node-1".parse().unwrap(), "blue".parse().unwrap());
        let command = ["sleep".to_owned(), "9".to_owned()];
        let labels = [("tier".to_owned(), "front\u{1b}[2J".to_owned())].into();
        let task = Inspected {
            id: "3k2j1h",
            name: &name,
            service: &service,
            service_id: "x",
            slot: 2,
            node: &node,
            image: "host".into(),
            command: &command,
            environment: [("A".to_owned(), "1".to_owned())].into(),
            hostname: Some("h1"),
            labels: &labels,
            endpoints: vec![Endpoint {
                network: &network,
                address: [10, 0, 3, 4].into(),
                prefix: Some(24),
                mac: "02:42:0a:00:03:04".into(),
                rank: 1,
            }],
            desired_state: State::Running,
            state: State::Running,
            since: None,
            seconds: Some(90),
            process: Some(Process {
                pid: 7,
                start_time: 1,
                started: "2026-11-24T02:40:52Z".into(),
            }),
            restarts: 3,
            failures: 2,
            error: Some("killed by SIGKILL"),
            last_exit: Some(LastExit::from(&Exit::Signal(9))),
            over: false,
            health: Some(Health {
                condition: Condition::Unhealthy,
                since: None,
                seconds: Some(5),
                failed: 3,
                checks: 40,
                log: vec![Check {
                    started: "2026-11-24T02:40:52.120Z".into(),
                    took: 1000,
                    passed: false,
                    output: "not done in time: one\n two\n".into(),
                }],
            }),
            sandbox: "web.2".into(),
            log: Some("/var/lib/swarmlb/tasks/web.2/log".into()),
        };
        insta::assert_snapshot!(pretty(&task), @r"
        ID:            3k2j1h
        Name:          web.2
        Service:       web, slot 2
        Node:          node-1
        State:         Running, for 90 seconds
        Desired state: Running
        Process:       pid 7, started 2026-11-24T02:40:52Z
        Restarts:      3
        Last end:      killed by SIGKILL (2 times in a row)
        Health:        unhealthy, for 5 seconds, 3 checks failed in a row
        Last check:    2026-11-24T02:40:52.120Z, failed after 1000 ms: not done in time: one two
        Image:         host
        Command:       sleep 9
        Environment:   A=1
        Hostname:      h1
        Label:         tier=front�[2J
        Network:       blue, 10.0.3.4/24, 02:42:0a:00:03:04, rank 1
        Sandbox:       web.2
        Log:           /var/lib/swarmlb/tasks/web.2/log
        ");
        assert_eq!(task.last_exit.unwrap().signal.as_deref(), Some("SIGKILL"));
        assert_eq!(LastExit::from(&Exit::Unseen), LastExit { code: None, signal: None });
    }
}
