//! Operations: one thing that the kernel does or refuses.

use serde::{Deserialize, Serialize};

use crate::node::{Object, SandboxName};

/// What happens to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Add(Object),
    Del(Object),
    /// Changed in place, so that connections live.
    Set {
        from: Object,
        to: Object,
    },
}

/// One operation in one sandbox. It displays as the command that an operator would type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    pub sandbox: SandboxName,
    pub change: Change,
}

impl Op {
    /// What takes it back.
    pub fn inverse(&self) -> Op {
        self.clone().into_inverse()
    }

    /// The same, of an operation that is not needed any more.
    pub fn into_inverse(self) -> Op {
        let change = match self.change {
            Change::Add(object) => Change::Del(object),
            Change::Del(object) => Change::Add(object),
            Change::Set { from, to } => Change::Set { from: to, to: from },
        };
        Op { sandbox: self.sandbox, change }
    }

    /// The object as it is afterwards, or was before it went.
    pub fn object(&self) -> &Object {
        match &self.change {
            Change::Add(object) | Change::Del(object) | Change::Set { to: object, .. } => object,
        }
    }

    /// Whether it starts or stops a process, which is no kernel object.
    pub fn is_process(&self) -> bool {
        matches!(self.object(), Object::Process(_))
    }
}
