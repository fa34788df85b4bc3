//! What can be asked of the keeper. It changes rarely: a new agent talks to an old keeper.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::node::{Process, SandboxName};

/// A request; each is answered by one [`Reply`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// What runs, and what ended since it was last forgotten.
    List,
    /// Starts a process. It returns at once; readiness and end are told to watchers.
    Start(Box<Start>),
    /// Sends a signal, by its number: to the process, or to its whole session.
    Signal { sandbox: SandboxName, signal: i32, session: bool },
    /// Drops what is remembered of a process that ended.
    Forget(SandboxName),
    /// The DNS sockets of a sandbox, opened when they are not yet: UDP and TCP at 127.0.0.11:53.
    Sockets(SandboxName),
    /// Closes them.
    CloseSockets(SandboxName),
    /// Memory of at least so many bytes that outlives whoever asks: zeros at first, and the same
    /// when it is asked for again.
    Memory(usize),
    /// Who runs here.
    Status,
    /// From now on this connection is told of every [`Running`] that changes.
    Watch,
    /// Ends agent, store and keeper. Tasks go on.
    Shutdown,
}

impl Request {
    /// What it changes, in words; none when it only asks.
    pub fn change(&self) -> Option<String> {
        Some(match self {
            Request::Start(start) => format!("start {}", start.sandbox),
            Request::Signal { sandbox, signal, .. } => format!("signal {signal} to {sandbox}"),
            Request::Forget(sandbox) => format!("forget {sandbox}"),
            Request::Sockets(sandbox) => format!("open the DNS sockets of {sandbox}"),
            Request::CloseSockets(sandbox) => format!("close the DNS sockets of {sandbox}"),
            Request::Shutdown => "end".to_owned(),
            Request::Memory(_) => "keep memory for the resolvers".to_owned(),
            Request::List | Request::Status | Request::Watch => return None,
        })
    }
}

/// How to start a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    pub sandbox: SandboxName,
    pub process: Process,
    /// What its /etc/resolv.conf shall say.
    pub resolv_conf: String,
    /// Whether it tells when it is ready, on the descriptor that `SWARMLB_READY_FD` names.
    pub tells_readiness: bool,
    /// What a container is made of; none for what is none.
    #[serde(default)]
    pub bundle: Option<Bundle>,
    /// Its control group below the roots, `swarmlb-CLUSTER/TASK`; none where it needs none.
    #[serde(default)]
    pub group: Option<String>,
    /// The number of the signal that asks it to end.
    #[serde(default = "sigterm")]
    pub stop_signal: i32,
}

/// What asks a process to end where nothing else is said.
pub(super) fn sigterm() -> i32 {
    nix::libc::SIGTERM
}

/// What a container is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// The OCI runtime that starts it.
    pub runtime: PathBuf,
    /// Its config.json, in which the root file system is `rootfs`.
    pub config: String,
    /// What its /etc/hostname and /etc/hosts say.
    pub hostname: String,
    pub hosts: String,
    /// Where the layers of images are.
    pub layers: PathBuf,
    /// The lower directories of its root file system, the topmost first.
    pub lower: Vec<PathBuf>,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Processes(Vec<Running>),
    Started(Box<Running>),
    Status(Status),
    /// An errno and its sentence.
    Refused {
        errno: i32,
        sentence: String,
    },
}

/// A process of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub sandbox: SandboxName,
    pub process: Process,
    pub pid: i32,
    /// When it started: seconds since 1970.
    pub started: u64,
    pub state: State,
    /// The number of the signal that asks it to end.
    #[serde(default = "sigterm")]
    pub stop_signal: i32,
}

impl Running {
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Exited(_))
    }
}

/// Where a process is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Started, and not yet ready.
    Starting,
    Ready,
    Exited(Exit),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It ended while no keeper was there to see how.
    Unseen,
    /// It took more memory than its limit, and was killed for it or ended soon after something in it was.
    OutOfMemory,
    /// Its container was not started, for this reason.
    NotStarted(String),
}

/// Who runs on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub keeper: i32,
    pub agent: Option<i32>,
    pub store: Option<i32>,
    /// None too on a node that is in no cluster of several.
    #[serde(default)]
    pub api: Option<i32>,
    pub agent_restarts: u32,
    pub store_restarts: u32,
    /// When the keeper started: seconds since 1970.
    pub since: u64,
    pub version: String,
    pub executable: PathBuf,
}
