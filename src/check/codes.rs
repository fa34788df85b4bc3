//! Every code, and what it means.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something may not work, or will not soon.
    Warning,
    /// Something to know.
    Note,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Nodes,
    Sandboxes,
    Overlay,
    Vips,
    Mesh,
    Encryption,
    Tasks,
}

impl Group {
    pub const ALL: [Self; 7] = [
        Self::Nodes,
        Self::Sandboxes,
        Self::Overlay,
        Self::Vips,
        Self::Mesh,
        Self::Encryption,
        Self::Tasks,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Sandboxes => "sandboxes and the way out",
            Self::Overlay => "networks and overlays",
            Self::Vips => "VIPs and names",
            Self::Mesh => "published ports",
            Self::Encryption => "encryption",
            Self::Tasks => "services and tasks",
        }
    }
}

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Code {
    pub name: &'static str,
    pub group: Group,
    pub severity: Severity,
    pub cause: &'static str,
}

/// The code of that name.
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

const fn of(name: &'static str, group: Group, severity: Severity, cause: &'static str) -> Code {
    Code { name, group, severity, cause }
}

/// All of them.
pub const CODES: &[Code] = &[
    of(
        "sandbox-missing",
        Group::Sandboxes,
        Severity::Error,
        "a network namespace is missing: what should be in it is nowhere",
    ),
    of(
        "sandbox-left-over",
        Group::Sandboxes,
        Severity::Warning,
        "a network namespace is there that should not be",
    ),
    of(
        "link-missing",
        Group::Sandboxes,
        Severity::Error,
        "a bridge, VXLAN device or loopback is missing: packets of its network go nowhere",
    ),
    of(
        "link-left-over",
        Group::Sandboxes,
        Severity::Warning,
        "a bridge, VXLAN device or loopback is there that should not be",
    ),
    of(
        "link-wrong",
        Group::Sandboxes,
        Severity::Error,
        "a bridge, VXLAN device or loopback is not as it should be: packets of its network go nowhere",
    ),
    of(
        "endpoint-missing",
        Group::Sandboxes,
        Severity::Error,
        "a task's link to its network is missing: nobody reaches the task",
    ),
    of(
        "endpoint-left-over",
        Group::Sandboxes,
        Severity::Warning,
        "a task's link to its network is there that should not be",
    ),
    of(
        "endpoint-wrong",
        Group::Sandboxes,
        Severity::Error,
        "a task's link to its network is not as it should be: nobody reaches the task",
    ),
    of(
        "address-missing",
        Group::Sandboxes,
        Severity::Error,
        "an address is missing: nobody is reached by it",
    ),
    of(
        "address-left-over",
        Group::Sandboxes,
        Severity::Warning,
        "an address is there that should not be",
    ),
    of(
        "path-missing",
        Group::Sandboxes,
        Severity::Error,
        "a route to the outside or back is missing: packets leave by another way or by none",
    ),
    of(
        "path-left-over",
        Group::Sandboxes,
        Severity::Warning,
        "a route to the outside or back is there that should not be",
    ),
    of(
        "turn-missing",
        Group::Mesh,
        Severity::Error,
        "a routing rule by mark is missing: answers to clients who keep their address take the wrong way",
    ),
    of(
        "turn-left-over",
        Group::Mesh,
        Severity::Warning,
        "a routing rule by mark is there that should not be",
    ),
    of(
        "sysctl-wrong",
        Group::Sandboxes,
        Severity::Error,
        "a kernel setting is not as it should be: the namespace answers or forwards as it should not",
    ),
    of(
        "fdb-missing",
        Group::Overlay,
        Severity::Error,
        "a forwarding entry of an overlay is missing: packets to that task go to no node or the wrong one",
    ),
    of(
        "fdb-left-over",
        Group::Overlay,
        Severity::Warning,
        "a forwarding entry of an overlay is there that should not be",
    ),
    of(
        "fdb-wrong",
        Group::Overlay,
        Severity::Error,
        "a forwarding entry of an overlay is not as it should be: packets to that task go to no node or the wrong one",
    ),
    of(
        "neighbour-missing",
        Group::Overlay,
        Severity::Error,
        "a neighbour entry of an overlay is missing: nobody learns that task's MAC address",
    ),
    of(
        "neighbour-left-over",
        Group::Overlay,
        Severity::Warning,
        "a neighbour entry of an overlay is there that should not be",
    ),
    of(
        "neighbour-wrong",
        Group::Overlay,
        Severity::Error,
        "a neighbour entry of an overlay is not as it should be: nobody learns that task's MAC address",
    ),
    of(
        "vip-route-missing",
        Group::Vips,
        Severity::Error,
        "the local route to a VIP is missing: packets to the VIP leave by the default route",
    ),
    of(
        "vip-route-left-over",
        Group::Vips,
        Severity::Warning,
        "the local route to a VIP is there that should not be",
    ),
    of(
        "vip-route-wrong",
        Group::Vips,
        Severity::Error,
        "the local route to a VIP is not as it should be: packets to the VIP leave by the default route",
    ),
    of(
        "table-missing",
        Group::Vips,
        Severity::Error,
        "swarmlb's nftables table is missing: nothing is marked and nothing refused",
    ),
    of(
        "table-left-over",
        Group::Vips,
        Severity::Warning,
        "swarmlb's nftables table is there that should not be",
    ),
    of(
        "mark-rule-missing",
        Group::Vips,
        Severity::Error,
        "the rule that marks packets to VIPs is missing: nothing is balanced",
    ),
    of(
        "reject-rule-missing",
        Group::Vips,
        Severity::Error,
        "the rule that refuses what is not balanced is missing: a sandbox may answer for others",
    ),
    of(
        "reset-rule-missing",
        Group::Vips,
        Severity::Error,
        "the rule that resets what IPVS forgot is missing: who is connected to a task that ends may hang",
    ),
    of(
        "balance-rule-missing",
        Group::Vips,
        Severity::Error,
        "the rule that sends marked packets to their targets is missing: nothing is balanced",
    ),
    of(
        "masquerade-missing",
        Group::Sandboxes,
        Severity::Error,
        "a masquerading rule is missing: answers from outside do not come back",
    ),
    of(
        "outside-guard-missing",
        Group::Sandboxes,
        Severity::Error,
        "the rule that keeps strangers from tasks is missing: anybody who routes here reaches them",
    ),
    of(
        "publish-rule-missing",
        Group::Mesh,
        Severity::Error,
        "the rule that sends published ports into the mesh is missing: no port answers",
    ),
    of(
        "localhost-guard-missing",
        Group::Mesh,
        Severity::Error,
        "the rule that keeps strangers from 127.0.0.0/8 is missing: services of this machine's localhost may be reached from outside",
    ),
    of(
        "mesh-mark-rule-missing",
        Group::Mesh,
        Severity::Error,
        "the mesh's rule that marks packets is missing: no port of the mesh answers",
    ),
    of(
        "mesh-source-rule-missing",
        Group::Mesh,
        Severity::Error,
        "the mesh's rule that rewrites or keeps a source is missing: answers take the wrong way",
    ),
    of(
        "mesh-guard-missing",
        Group::Mesh,
        Severity::Error,
        "the rule that lets nobody begin connections from the mesh's network is missing",
    ),
    of(
        "entry-rule-missing",
        Group::Mesh,
        Severity::Error,
        "a task's rule that marks by whom packets came is missing: clients who keep their address get no answers",
    ),
    of(
        "esp-mark-rule-missing",
        Group::Encryption,
        Severity::Error,
        "the rule that marks what is to be encrypted is missing: it is dropped instead of sent",
    ),
    of(
        "clear-text-guard-missing",
        Group::Encryption,
        Severity::Error,
        "a rule that drops clear text of an encrypted network is missing",
    ),
    of(
        "rule-left-over",
        Group::Vips,
        Severity::Warning,
        "a rule of swarmlb's table is there that should not be",
    ),
    of(
        "guard-missing",
        Group::Vips,
        Severity::Error,
        "a VIP's place in the set of what is refused when not balanced is missing: the sandbox may answer for others",
    ),
    of(
        "guard-left-over",
        Group::Vips,
        Severity::Warning,
        "a VIP's place in the set of what is refused when not balanced is there that should not be",
    ),
    of(
        "mark-missing",
        Group::Vips,
        Severity::Error,
        "a VIP's firewall mark is missing: packets to it are balanced to others, or not at all",
    ),
    of(
        "mark-left-over",
        Group::Vips,
        Severity::Warning,
        "a VIP's firewall mark is there that should not be",
    ),
    of(
        "mark-wrong",
        Group::Vips,
        Severity::Error,
        "a VIP's firewall mark is not as it should be: packets to it are balanced to others, or not at all",
    ),
    of(
        "targets-missing",
        Group::Vips,
        Severity::Error,
        "the targets of a mark in nftables is missing: new connections go to tasks that are gone, or nowhere",
    ),
    of(
        "targets-left-over",
        Group::Vips,
        Severity::Warning,
        "the targets of a mark in nftables is there that should not be",
    ),
    of(
        "targets-wrong",
        Group::Vips,
        Severity::Error,
        "the targets of a mark in nftables is not as it should be: new connections go to tasks that are gone, or nowhere",
    ),
    of(
        "port-missing",
        Group::Mesh,
        Severity::Error,
        "a published port's entry is missing: the port does not answer, or goes elsewhere",
    ),
    of(
        "port-left-over",
        Group::Mesh,
        Severity::Warning,
        "a published port's entry is there that should not be",
    ),
    of(
        "port-wrong",
        Group::Mesh,
        Severity::Error,
        "a published port's entry is not as it should be: the port does not answer, or goes elsewhere",
    ),
    of(
        "virtual-server-missing",
        Group::Vips,
        Severity::Error,
        "a virtual server of IPVS is missing: what is marked for it is refused",
    ),
    of(
        "virtual-server-left-over",
        Group::Vips,
        Severity::Warning,
        "a virtual server of IPVS is there that should not be",
    ),
    of(
        "virtual-server-wrong",
        Group::Vips,
        Severity::Error,
        "a virtual server of IPVS is not as it should be: what is marked for it is refused",
    ),
    of(
        "real-server-missing",
        Group::Vips,
        Severity::Error,
        "a real server of IPVS is missing: a task gets nothing, or one that is gone gets connections",
    ),
    of(
        "real-server-left-over",
        Group::Vips,
        Severity::Warning,
        "a real server of IPVS is there that should not be",
    ),
    of(
        "real-server-wrong",
        Group::Vips,
        Severity::Error,
        "a real server of IPVS is not as it should be: a task gets nothing, or one that is gone gets connections",
    ),
    of(
        "esp-state-missing",
        Group::Encryption,
        Severity::Error,
        "a security association is missing: what it is for is dropped",
    ),
    of(
        "esp-state-left-over",
        Group::Encryption,
        Severity::Warning,
        "a security association is there that should not be",
    ),
    of(
        "esp-state-wrong",
        Group::Encryption,
        Severity::Error,
        "a security association is not as it should be: what it is for is dropped",
    ),
    of(
        "esp-policy-missing",
        Group::Encryption,
        Severity::Error,
        "an encryption policy is missing: what it is for is dropped",
    ),
    of(
        "esp-policy-left-over",
        Group::Encryption,
        Severity::Warning,
        "an encryption policy is there that should not be",
    ),
    of(
        "esp-policy-wrong",
        Group::Encryption,
        Severity::Error,
        "an encryption policy is not as it should be: what it is for is dropped",
    ),
    of(
        "name-wrong",
        Group::Vips,
        Severity::Error,
        "a service's name does not resolve as it should in a sandbox",
    ),
    of(
        "resolvers-silent",
        Group::Vips,
        Severity::Error,
        "no resolver of this node answers: its agent is held up or away",
    ),
    of(
        "task-unreachable",
        Group::Tasks,
        Severity::Warning,
        "a task behind a VIP does not serve, though it is asked for",
    ),
    of("vip-broken", Group::Vips, Severity::Error, "the way to a VIP is broken in a sandbox"),
    of(
        "vip-without-tasks",
        Group::Vips,
        Severity::Error,
        "nobody is behind a VIP that takes new connections: who connects is refused",
    ),
    of(
        "node-down",
        Group::Nodes,
        Severity::Error,
        "a node's lease ran out: its agent, machine or network is away; its tasks are placed anew where they can be",
    ),
    of(
        "node-refuses",
        Group::Nodes,
        Severity::Error,
        "a node's kernel did not take what it should hold",
    ),
    of(
        "node-unsettled",
        Group::Nodes,
        Severity::Note,
        "a node is being changed, or its agent is behind",
    ),
    of("node-silent", Group::Nodes, Severity::Error, "a node is up and its agent reports nothing"),
    of("node-drained", Group::Nodes, Severity::Note, "a node takes no tasks because it is drained"),
    of("service-waits", Group::Tasks, Severity::Warning, "a task waits for a place"),
    of("service-short", Group::Tasks, Severity::Warning, "fewer tasks run than are wanted"),
    of(
        "update-paused",
        Group::Tasks,
        Severity::Warning,
        "an update stopped half way, because tasks failed",
    ),
    of(
        "task-fails",
        Group::Tasks,
        Severity::Error,
        "a task ends again and again, or does not start",
    ),
    of(
        "task-unhealthy",
        Group::Tasks,
        Severity::Warning,
        "a task's checks fail: it gets no new connections",
    ),
    of(
        "weight-0",
        Group::Tasks,
        Severity::Note,
        "a task gets nothing new because its weight was set to 0",
    ),
    of(
        "address-twice",
        Group::Overlay,
        Severity::Error,
        "two tasks have one address: packets reach either",
    ),
    of(
        "subnet-overlaps",
        Group::Overlay,
        Severity::Warning,
        "a network's range is routed elsewhere by this machine: its tasks do not reach that",
    ),
    of(
        "no-ipvs",
        Group::Nodes,
        Severity::Note,
        "this kernel has no IPVS: nftables balances, by rr and wrr only",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_code_is_there_twice_and_there_are_many() {
        let names: BTreeSet<&str> = CODES.iter().map(|code| code.name).collect();
        assert_eq!(names.len(), CODES.len());
        assert!(CODES.len() >= 60, "{}", CODES.len());
        assert!(code("mark-missing").is_some() && code("nothing").is_none());
    }
}
