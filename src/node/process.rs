//! The process of a task.

use serde::{Deserialize, Serialize};

use crate::intent::LogLimits;

/// What runs in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// The task that it belongs to, as the intent knows it: a task removed and made anew under
    /// the same name is another.
    pub task: String,
    pub program: Program,
    /// Added to the environment, as NAME, VALUE.
    pub environment: Vec<(String, String)>,
    /// What `hostname` says; the machine's name when none.
    #[serde(default)]
    pub hostname: Option<String>,
    /// How much of its output is kept.
    #[serde(default)]
    pub log: LogLimits,
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
}

impl Program {
    /// Whether it tells when it is ready, as swarmlb's own do.
    pub fn tells_readiness(&self) -> bool {
        matches!(self, Program::Whoami | Program::Echo { .. })
    }
}
