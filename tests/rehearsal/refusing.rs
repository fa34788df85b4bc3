//! A kernel that refuses what it is told to refuse.

use std::collections::BTreeSet;

use nix::errno::Errno;
use swarmlb::kernel::rehearsal::Rehearsal;
use swarmlb::kernel::{Kernel, Outcome, Refusal, Scope};
use swarmlb::node::Node;
use swarmlb::plan::Op;

/// A rehearsal that refuses the operations with these numbers, counted from 1 over all calls.
pub struct Refusing {
    pub inner: Rehearsal,
    numbers: BTreeSet<usize>,
    tried: usize,
}

impl Refusing {
    pub fn new(node: &Node, numbers: impl IntoIterator<Item = usize>) -> Self {
        let numbers = numbers.into_iter().collect();
        Self { inner: Rehearsal::new(node.clone()), numbers, tried: 0 }
    }

    /// How many operations were tried.
    pub fn tried(&self) -> usize {
        self.tried
    }
}

impl Kernel for Refusing {
    fn observe(&mut self, scope: &Scope) -> Result<Node, Refusal> {
        self.inner.observe(scope)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for op in ops {
            self.tried += 1;
            let outcome = match self.numbers.contains(&self.tried) {
                true => Err(Refusal::new(Errno::ENOMEM)),
                false => self.inner.try_op(op),
            };
            let refused = outcome.is_err();
            outcomes.push(outcome);
            if refused {
                break;
            }
        }
        outcomes
    }
}
