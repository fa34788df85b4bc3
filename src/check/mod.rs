//! What is broken on a node, by name: each finding has a stable code, what was expected and found, why it
//! matters, and the command that mends it. Pure: who looks is another's.

mod cluster;
mod codes;
mod drift;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::agent::status::NodeStatus;
use crate::intent::{Intent, Machine, NodeName};
use crate::plan::Op;
use crate::trace::vip::Walk;

pub use codes::{CODES, Code, Group, Severity, code};
pub use drift::{code_of, drift};

/// One look at a node and its cluster.
pub struct Look<'a> {
    pub node: &'a NodeName,
    pub intent: &'a Intent,
    pub statuses: &'a BTreeMap<NodeName, NodeStatus>,
    /// What would make the node's kernel what it should be.
    pub ops: &'a [Op],
    /// Every VIP, as the node's sandboxes hold it.
    pub walks: &'a [Walk],
    /// The ranges that the machine has routes to.
    pub machine: &'a Machine,
    /// Whether the kernel has IPVS.
    pub ipvs: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub group: Group,
    pub code: &'static str,
    pub severity: Severity,
    /// Where: a sandbox, a service, a task or a node.
    pub place: String,
    /// What was expected and what is there.
    pub evidence: String,
    /// Why it matters, in a sentence.
    pub cause: &'static str,
    /// The command that mends it; none where only what it says can be done.
    pub mend: Option<String>,
}

impl Finding {
    fn new(code: &Code, place: impl ToString, evidence: impl ToString) -> Self {
        Self {
            group: code.group,
            code: code.name,
            severity: code.severity,
            place: place.to_string(),
            evidence: evidence.to_string(),
            cause: code.cause,
            mend: None,
        }
    }

    fn mended_by(mut self, command: impl ToString) -> Self {
        self.mend = Some(command.to_string());
        self
    }
}

/// All that is found, group by group.
pub fn findings(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = drift(look.ops, look.intent);
    findings.extend(cluster::of_walks(look));
    findings.extend(cluster::of_nodes(look));
    findings.extend(cluster::of_services(look));
    findings.extend(cluster::of_networks(look));
    findings.extend(cluster::of_machine(look));
    findings.sort();
    findings.dedup();
    findings
}
