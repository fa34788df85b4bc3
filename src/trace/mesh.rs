//! Following a packet to a published port: from the node's own address into its ingress sandbox, by mark
//! and virtual server to a task, and to the port that the task listens on.

use std::net::Ipv4Addr;

use super::expected::Member;
use super::vip::{Rung, Step, rung};
use crate::intent::{DataPlane, Fwmark, PublishedPort};
use crate::node::{BaseRule, Mac, Node, PortAt, PortTo, Publication, Sandbox, SandboxName, Sysctl};

/// A node's end of the mesh, as it should be for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// The node's own namespace.
    pub home: SandboxName,
    /// The ingress sandbox.
    pub sandbox: SandboxName,
    /// Its address on the mesh's network.
    pub own: Ipv4Addr,
    /// Its address on the node's gateway bridge; none where the node has no such bridge.
    pub gateway: Option<Ipv4Addr>,
    pub ports: Vec<PublishedPort>,
    /// What leaves clients their addresses, on this node.
    pub kept: Vec<BaseRule>,
    /// The addresses of all nodes' ends, where a port keeps its clients' addresses.
    pub nodes: Vec<Ipv4Addr>,
}

const NO_TABLE: &str = "its nftables table is missing";

impl Mesh {
    /// Whether the node sends what comes to the ports on to the ingress sandbox.
    pub(super) fn port(&self, node: &Node) -> Rung {
        let broken = |evidence: &str| rung(Step::Port, false, evidence);
        let Some(gateway) = self.gateway else {
            return broken("the node has no gateway bridge: nothing answers at its addresses");
        };
        let Some(home) = node.sandboxes.get(&self.home) else {
            return broken("the node holds nothing of this cluster");
        };
        if home.sysctls.get(&Sysctl::RouteLocalnet) != Some(&1) {
            let name = Sysctl::RouteLocalnet.name_in(&self.home);
            return broken(&format!("{name} should be 1: 127.0.0.1 does not answer"));
        }
        let Some(table) = &home.table else { return broken(NO_TABLE) };
        for port in &self.ports {
            let at =
                PortAt { address: port.address, transport: port.transport, port: port.published };
            let to = PortTo::Address { address: gateway, port: port.published };
            let held = Publication { at, to };
            if !table.rules.contains(&held.map().rule()) {
                return broken(&missing(held.map().rule()));
            }
            if !table.publications.contains(&held) {
                let (map, port) = (held.map().name(), words(port));
                return broken(&format!("port {port} is not sent to {gateway} by map `{map}`"));
            }
        }
        rung(Step::Port, true, format!("{} to {gateway}", self.all_ports()))
    }

    /// Without these an answer does not find its way back.
    pub(super) fn settings(&self, sandbox: &Sandbox, plane: DataPlane) -> Rung {
        let needed: &[Sysctl] = match plane {
            DataPlane::Ipvs => &[Sysctl::IpForward, Sysctl::VsConntrack],
            DataPlane::Nftables => &[Sysctl::IpForward],
        };
        let off = needed.iter().find(|sysctl| sandbox.sysctls.get(sysctl) != Some(&1));
        if let Some(sysctl) = off {
            return rung(Step::Settings, false, format!("{sysctl} should be 1"));
        }
        let source = BaseRule::SourceOut(self.own);
        if !sandbox.table.as_ref().is_some_and(|table| table.rules.contains(&source)) {
            return rung(Step::Settings, false, missing(source));
        }
        if let Some(rule) = self.kept.iter().find(|rule| !has_rule(sandbox, **rule)) {
            return rung(Step::Settings, false, missing(*rule));
        }
        let evidence = match self.kept.is_empty() {
            true => format!("tasks answer to {}", self.own),
            false => format!("tasks answer to {} or, by its way, to the client", self.own),
        };
        rung(Step::Settings, true, evidence)
    }

    /// What a task lacks to answer clients whose addresses it sees.
    fn lacks(&self, sandbox: &Sandbox, task: &Member) -> Option<String> {
        if self.nodes.is_empty() {
            return None;
        }
        let off = Sysctl::OF_MARKS.into_iter().find(|s| sandbox.sysctls.get(s) != Some(&1));
        let entry = BaseRule::MarkEntry(task.address);
        let setting = off.map(|sysctl| format!("{sysctl} should be 1"));
        let unmarked = (!has_rule(sandbox, entry)).then(|| missing(entry));
        setting.or(unmarked).or_else(|| {
            self.nodes.iter().find_map(|node| {
                let mark = Mac::of(*node).mark();
                let routed = sandbox
                    .paths
                    .iter()
                    .any(|path| path.mark == Some(mark) && path.via == Some(*node));
                let whole = routed && sandbox.turns.contains(&mark);
                (!whole).then(|| format!("no answer goes back by {node} (mark {mark})"))
            })
        })
    }

    /// Whether what comes to the ports gets the service's mark.
    pub(super) fn mark(&self, sandbox: &Sandbox, fwmark: Fwmark) -> Rung {
        let broken = |evidence: String| rung(Step::Mark, false, evidence);
        let Some(table) = &sandbox.table else { return broken(NO_TABLE.into()) };
        if !table.rules.contains(&BaseRule::MarkIn) {
            return broken(missing(BaseRule::MarkIn));
        }
        for port in &self.ports {
            let (address, transport) = (self.gateway, port.transport);
            let at = PortAt { address, transport, port: port.published };
            let to = PortTo::Mark(fwmark);
            if !table.publications.contains(&Publication { at, to }) {
                return broken(format!("port {} does not get mark {fwmark}", words(port)));
            }
        }
        rung(Step::Mark, true, format!("{} get mark {fwmark}", self.all_ports()))
    }

    /// Whether each task that can be looked at takes the ports to the one that it listens on.
    pub(super) fn redirect(&self, node: &Node, tasks: &[Member]) -> Rung {
        let mut seen = 0;
        for task in tasks {
            let Some(name) = &task.sandbox else { continue };
            let held = node.sandboxes.get(name);
            let Some((sandbox, table)) = held.and_then(|held| Some((held, held.table.as_ref()?)))
            else {
                return rung(Step::Redirect, false, format!("{name}: {NO_TABLE}"));
            };
            if let Some(lack) = self.lacks(sandbox, task) {
                return rung(Step::Redirect, false, format!("{name}: {lack}"));
            }
            for port in &self.ports {
                let (address, transport) = (task.address, port.transport);
                let at = PortAt { address: Some(address), transport, port: port.published };
                let held = Publication { at, to: PortTo::Address { address, port: port.target } };
                let whole =
                    table.rules.contains(&held.map().rule()) && table.publications.contains(&held);
                if !whole {
                    let (port, target) = (words(port), port.target);
                    let evidence = format!("{name}: port {port} does not go to port {target}");
                    return rung(Step::Redirect, false, evidence);
                }
            }
            seen += 1;
        }
        let targets: Vec<String> = self
            .ports
            .iter()
            .map(|port| format!("{} to port {}", words(port), port.target))
            .collect();
        let evidence = match seen {
            0 => "no task is on this node".to_owned(),
            _ => targets.join(", "),
        };
        rung(Step::Redirect, true, evidence)
    }

    fn all_ports(&self) -> String {
        self.ports.iter().map(words).collect::<Vec<_>>().join(", ")
    }
}

fn has_rule(sandbox: &Sandbox, rule: BaseRule) -> bool {
    sandbox.table.as_ref().is_some_and(|table| table.rules.contains(&rule))
}

fn words(port: &PublishedPort) -> String {
    format!("{}/{}", port.published, port.transport)
}

fn missing(rule: BaseRule) -> String {
    format!("the rule of chain `{}` is missing", rule.chains()[0])
}

#[cfg(test)]
mod tests {
    use crate::intent::tests::{network, one_node, spec};
    use crate::intent::{Intent, Machine, NodeName, PortSpec, ServiceSpec};
    use crate::lower::lower;
    use crate::node::{BaseRule, Node, SandboxName, Sysctl};
    use crate::trace::expected::of_intent;
    use crate::trace::vip::{Answers, Step, Traffic, walks};

    fn node_1() -> NodeName {
        "node-1".parse().unwrap()
    }

    fn published(ports: &[&str]) -> Intent {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Ok(&Machine::default()));
        network(&mut intent, "n", "10.0.3.0/24");
        intent.create_ingress("id".into(), &Machine::default()).unwrap();
        let ports: Vec<PortSpec> = ports.iter().map(|port| port.parse().unwrap()).collect();
        let ports = intent.choose_ports(&ports, &[]).unwrap();
        let spec = ServiceSpec { ports, ..spec("web", "n", 2) };
        intent.create_service(spec, "id".into(), 0).unwrap();
        intent
    }

    fn first_broken(intent: &Intent, node: &Node) -> Option<(Step, String)> {
        let expected = of_intent(intent, &node_1(), |_, _| true);
        let walks = walks(&expected, node, &Answers::new(), &Traffic::new());
        assert_eq!(walks.len(), 2, "one of its network and one of the mesh");
        walks.iter().flat_map(|walk| &walk.ladders).find_map(|ladder| {
            let rung = ladder.broken()?;
            Some((rung.step, rung.evidence.clone()))
        })
    }

    fn broken(change: impl FnOnce(&mut Node)) -> (Step, String) {
        let intent = published(&["8080:80", "192.0.2.1:8081:80"]);
        let mut node = lower(&intent, &node_1());
        assert_eq!(first_broken(&intent, &node), None);
        change(&mut node);
        first_broken(&intent, &node).expect("it is broken")
    }

    fn home(node: &mut Node) -> &mut crate::node::Sandbox {
        let name = node.sandboxes.keys().find(|name| name.guest().is_some()).unwrap().clone();
        node.sandboxes.get_mut(&name).unwrap()
    }

    #[test]
    fn the_way_back_to_a_client_whose_address_is_kept_is_followed() {
        let intent = published(&["published=8080,target=80,source=client"]);
        let node = lower(&intent, &node_1());
        assert_eq!(first_broken(&intent, &node), None);
        let broken = |sandbox: &str, change: fn(&mut crate::node::Sandbox)| {
            let mut node = node.clone();
            change(node.sandboxes.get_mut(&SandboxName(sandbox.into())).unwrap());
            first_broken(&intent, &node).unwrap()
        };
        let unkeep = |sandbox: &mut crate::node::Sandbox| {
            let rules = &mut sandbox.table.as_mut().unwrap().rules;
            rules.retain(|rule| !matches!(rule, BaseRule::KeepSource { .. }));
        };
        let said = "the rule of chain `nat-keep-8080` is missing";
        assert_eq!(broken("ingress.sandbox", unkeep), (Step::Settings, said.to_owned()));
        let (step, evidence) = broken("web.2", |sandbox| sandbox.turns.clear());
        let mark = crate::node::Mac::of(
            intent.nodes[&node_1()].ingress.as_ref().unwrap().endpoint.address,
        )
        .mark();
        assert_eq!(step, Step::Redirect);
        assert_eq!(evidence, format!("web.2: no answer goes back by 10.0.0.2 (mark {mark})"));
        let (_, evidence) =
            broken("web.1", |sandbox| sandbox.paths.retain(|path| path.mark.is_none()));
        assert!(evidence.starts_with("web.1: no answer goes back"), "{evidence}");
        let (_, evidence) =
            broken("web.1", |sandbox| sandbox.sysctls.retain(|s, _| *s != Sysctl::FwmarkAccept));
        assert_eq!(evidence, "web.1: net.ipv4.tcp_fwmark_accept should be 1");
    }

    #[test]
    fn each_broken_rung_of_the_mesh_is_named() {
        let (step, evidence) =
            broken(|node| home(node).table.as_mut().unwrap().publications.clear());
        assert_eq!(step, Step::Port);
        assert!(evidence.starts_with("port 8080/tcp is not sent to 172.16."), "{evidence}");
        let (step, evidence) = broken(|node| {
            home(node).table.as_mut().unwrap().rules.remove(&BaseRule::PublishAt);
        });
        let said = "the rule of chain `publish-at-in` is missing";
        assert_eq!((step, evidence.as_str()), (Step::Port, said));
        let (step, _) = broken(|node| {
            home(node).sysctls.remove(&Sysctl::RouteLocalnet);
        });
        assert_eq!(step, Step::Port);
        let ingress = |change: fn(&mut crate::node::Sandbox)| {
            broken(|node| change(node.sandboxes.get_mut(&SandboxName::ingress()).unwrap())).0
        };
        let unsourced = |sandbox: &mut crate::node::Sandbox| {
            let rules = &mut sandbox.table.as_mut().unwrap().rules;
            rules.retain(|rule| !matches!(rule, BaseRule::SourceOut(_)));
        };
        assert_eq!(ingress(|sandbox| sandbox.sysctls.clear()), Step::Settings);
        assert_eq!(ingress(unsourced), Step::Settings);
        let unmark = |sandbox: &mut crate::node::Sandbox| {
            sandbox.table.as_mut().unwrap().publications.clear();
        };
        assert_eq!(ingress(unmark), Step::Mark);
        assert_eq!(ingress(|sandbox| sandbox.virtual_servers.clear()), Step::VirtualServer);
        let (step, evidence) = broken(|node| {
            let task = node.sandboxes.get_mut(&SandboxName("web.2".into())).unwrap();
            task.table.as_mut().unwrap().publications.pop_first();
        });
        assert_eq!(step, Step::Redirect);
        assert_eq!(evidence, "web.2: port 8080/tcp does not go to port 80");
        let (step, _) = broken(|node| drop(node.sandboxes.remove(&SandboxName::ingress())));
        assert_eq!(step, Step::Sandbox);
    }
}
