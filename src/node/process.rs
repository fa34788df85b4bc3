//! The process of a task.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::intent::{LogLimits, Reference, Setup};

/// What runs in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// The task that it belongs to, as the intent knows it: a task removed and made anew under
    /// the same name is another.
    pub task: String,
    pub program: Program,
    /// Added to the environment, as NAME, VALUE.
    pub environment: Vec<(String, String)>,
    /// What `hostname` says; when none, the machine's name, and in a container the task's id.
    #[serde(default)]
    pub hostname: Option<String>,
    /// How much of its output is kept.
    #[serde(default)]
    pub log: LogLimits,
    /// As whom, where, and with which rights and limits.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub setup: Setup,
}

fn is_usual(setup: &Setup) -> bool {
    *setup == Setup::default()
}

/// Which program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// swarmlb's own `builtin:whoami`.
    Whoami,
    /// swarmlb's own `builtin:echo`.
    Echo { port: u16, greets: bool },
    /// A command, looked up on PATH.
    Host(Vec<String>),
    /// A container.
    Container(Container),
}

/// What a container is made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Container {
    pub image: Reference,
    /// What follows the entrypoint; as the image says when empty.
    pub command: Vec<String>,
    /// What its own name leads to, as Docker has it: its address on its first network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

impl Program {
    /// Whether it tells when it is ready, as swarmlb's own do.
    pub fn tells_readiness(&self) -> bool {
        matches!(self, Program::Whoami | Program::Echo { .. })
    }
}
