//! The seam to the kernel: observe a node, apply operations to it.
//!
//! [`Linux`](linux::Linux) does it. [`Rehearsal`](rehearsal::Rehearsal), a kernel made of maps and
//! at least as strict, rehearses every plan before Linux is touched.

pub mod cgroup;
pub mod connections;
pub mod contents;
pub mod datagrams;
pub mod docker;
pub mod egress;
pub mod ipvs;
pub mod linux;
pub mod listeners;
pub mod module;
pub mod namespaces;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod oci_runtime;
pub mod program;
pub mod rehearsal;
pub mod route;
pub mod sockets;
pub mod sysctl;
pub mod traffic;
pub mod underlay;
pub mod xfrm;

use std::fmt;

use nix::errno::Errno;

use crate::intent::ClusterId;
use crate::node::{Node, SandboxName};
use crate::plan::{Op, Plan};

/// Which part of a machine to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every named sandbox, foreign ones too.
    All,
    /// These, where they exist.
    Only(Vec<SandboxName>),
    /// All of one cluster's, and these.
    Cluster(ClusterId, Vec<SandboxName>),
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub errno: Errno,
    /// The kernel's own words, where it had any, else the errno's.
    pub sentence: String,
}

impl Refusal {
    pub fn new(errno: Errno) -> Self {
        Self { errno, sentence: errno.desc().to_lowercase() }
    }

    pub fn saying(errno: Errno, sentence: impl Into<String>) -> Self {
        Self { errno, sentence: sentence.into() }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::new(Errno::from_raw(number)),
            None => Self::saying(Errno::EIO, error.to_string()),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::new(errno)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.sentence, self.errno)
    }
}

impl std::error::Error for Refusal {}

/// What came of one operation.
pub type Outcome = Result<(), Refusal>;

/// A kernel.
pub trait Kernel {
    /// What it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    fn observe(&mut self, scope: &Scope) -> Result<Node, Refusal>;

    /// Does operations in order, in batches where it can. It stops at the first refusal: the
    /// answer has one outcome for each operation that was tried, so that every one is accounted
    /// for; all but refused ones were done.
    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome>;
}

/// A plan that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The number of the operation, from 1, and how many there were.
    pub number: usize,
    pub of: usize,
    pub op: Op,
    pub refusal: Refusal,
    /// How many operations were taken back.
    pub undone: usize,
    /// What could not be taken back.
    pub left: Vec<Op>,
    /// Whether it was the rehearsal that refused, so that Linux was never touched.
    pub rehearsed: bool,
}

/// Rehearses a plan on what was observed, then applies it; a refusal is undone. Returns what the node
/// then holds.
///
/// # Errors
/// The refusal, with what was undone and what was left.
pub fn carry_out(
    kernel: &mut dyn Kernel,
    observed: Node,
    plan: &Plan,
) -> Result<Node, Box<Refused>> {
    let mut rehearsal = rehearsal::Rehearsal::new(observed);
    if let Some((index, refusal)) = first_refusal(&rehearsal.apply(&plan.ops)) {
        return Err(refused(plan, index, refusal, 0, Vec::new(), true));
    }
    let outcomes = kernel.apply(&plan.ops);
    let Some((index, refusal)) = first_refusal(&outcomes) else { return Ok(rehearsal.into_node()) };
    let done = plan.ops.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let (undone, left) = undo(kernel, done.map(|(op, _)| op).rev());
    Err(refused(plan, index, refusal, undone, left, false))
}

/// Takes operations back, in batches; what comes after one that cannot be is taken back all the same.
/// Returns how many were, and those that were not.
fn undo<'a>(kernel: &mut dyn Kernel, done: impl Iterator<Item = &'a Op>) -> (usize, Vec<Op>) {
    let (mut undone, mut left) = (0, Vec::new());
    let inverses: Vec<Op> = done.map(Op::inverse).collect();
    let mut rest = inverses.as_slice();
    while !rest.is_empty() {
        let outcomes = kernel.apply(rest);
        // A kernel that says nothing has done nothing.
        let (tried, after) = rest.split_at(outcomes.len().clamp(1, rest.len()));
        for (number, op) in tried.iter().enumerate() {
            match outcomes.get(number) {
                Some(Ok(())) => undone += 1,
                _ => left.push(op.inverse()),
            }
        }
        rest = after;
    }
    (undone, left)
}

fn first_refusal(outcomes: &[Outcome]) -> Option<(usize, Refusal)> {
    let refused = |(index, outcome): (usize, &Outcome)| Some((index, outcome.clone().err()?));
    outcomes.iter().enumerate().find_map(refused)
}

fn refused(
    plan: &Plan,
    index: usize,
    refusal: Refusal,
    undone: usize,
    left: Vec<Op>,
    rehearsed: bool,
) -> Box<Refused> {
    let (number, of, op) = (index + 1, plan.ops.len(), plan.ops[index].clone());
    Box::new(Refused { number, of, op, refusal, undone, left, rehearsed })
}
