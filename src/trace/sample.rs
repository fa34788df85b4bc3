//! One measured request to a service: which way it took, how long each part lasted, who answered.
//!
//! Plain data between the client that measures and the statistics that judge; nothing is measured
//! and nothing is judged here.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a request finds its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The name answers with the tasks' own addresses, and the client takes the first.
    Dns,
    /// The name answers with one virtual address, and the kernel picks the task.
    Vip,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "DNS",
            Self::Vip => "VIP",
        })
    }
}

/// Where a client has an address from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// It asked the resolver, for this request.
    Asked,
    /// It had kept an earlier answer.
    Kept,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked",
            Self::Kept => "kept",
        })
    }
}

/// One request, from the question for the name to the last byte of the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The way it took.
    pub way: Way,
    /// Its place in the run, from 0, in the order in which requests were begun.
    pub sequence: u32,
    /// The worker that made it, from 0.
    pub worker: u32,
    /// When it began, counted from the start of the run.
    pub started: Duration,
    /// How long the name took.
    pub resolve: Duration,
    /// Where the address came from.
    pub source: Source,
    /// How long the TCP handshake took; zero when it was not reached.
    pub connect: Duration,
    /// From the question for the name to the last byte of the reply, or to the failure.
    pub total: Duration,
    /// The address that was connected to, when the name had one.
    pub address: Option<IpAddr>,
    /// The task that answered, or what went wrong.
    pub outcome: Result<String, Failure>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The name had no address.
    #[error("the name did not resolve: {0}")]
    Resolve(String),
    /// Nothing listened, or a rule refused (`ECONNREFUSED`).
    #[error("the connection was refused")]
    Refused,
    /// No route, or a rule rejected (`EHOSTUNREACH`, `ENETUNREACH`).
    #[error("the address is unreachable")]
    Unreachable,
    /// No whole reply before the deadline.
    #[error("no reply in time")]
    TimedOut,
    /// The peer reset the connection.
    #[error("the connection was reset")]
    Reset,
    /// What came was not a whole reply of a task.
    #[error("the reply is not one of a task")]
    Malformed,
    /// Anything else the kernel said.
    #[error("{0}")]
    Io(String),
}

impl Failure {
    /// What it counts as.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Resolve(_) => FailureKind::Resolve,
            Self::Refused => FailureKind::Refused,
            Self::Unreachable => FailureKind::Unreachable,
            Self::TimedOut => FailureKind::TimedOut,
            Self::Reset => FailureKind::Reset,
            Self::Malformed => FailureKind::Malformed,
            Self::Io(_) => FailureKind::Io,
        }
    }
}

/// A failure without its particulars, to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    Resolve,
    Refused,
    Unreachable,
    TimedOut,
    Reset,
    Malformed,
    Io,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "unresolved",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Reset => "reset",
            Self::Malformed => "malformed",
            Self::Io => "other",
        })
    }
}
