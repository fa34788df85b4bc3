//! Following a VIP as a packet would, from every sandbox that may use it: a ladder of rungs, each
//! read from what the node holds. Pure: resolvers are asked and counters read elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::intent::{
    DataPlane, Fwmark, Intent, NetworkName, NodeName, Service, ServiceName, TaskName, Vip,
};
use crate::lower::dns;
use crate::node::{BaseRule, Node, Owner, RealServer, Sandbox, SandboxName, VirtualServerKey};

/// A step of a packet to a VIP, in the order in which it takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Sandbox,
    Name,
    Route,
    Mark,
    FailClosed,
    VirtualServer,
    RealServers,
    Tasks,
}

impl Step {
    pub fn words(self) -> &'static str {
        match self {
            Step::Sandbox => "sandbox",
            Step::Name => "name",
            Step::Route => "route",
            Step::Mark => "mark",
            Step::FailClosed => "fail closed",
            Step::VirtualServer => "virtual server",
            Step::RealServers => "real servers",
            Step::Tasks => "tasks",
        }
    }
}

/// One step and what was found there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    pub step: Step,
    pub holds: bool,
    /// What is there; for a broken one, what should be and what is.
    pub evidence: String,
}

/// The ladder in one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ladder {
    pub sandbox: SandboxName,
    pub rungs: Vec<Rung>,
}

impl Ladder {
    /// The first rung that is broken: what is behind it does not matter until it is mended.
    pub fn broken(&self) -> Option<&Rung> {
        self.rungs.iter().find(|rung| !rung.holds)
    }
}

/// What the kernel counted of one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub active: u64,
    pub inactive: u64,
    pub connections: u64,
    /// None where the data plane does not count packets per target.
    pub packets: Option<u64>,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.active += other.active;
        self.inactive += other.inactive;
        self.connections += other.connections;
        if let Some(packets) = other.packets {
            self.packets = Some(self.packets.unwrap_or_default() + packets);
        }
    }
}

/// Counters by sandbox, mark and target.
pub type Traffic = BTreeMap<(SandboxName, Fwmark, Ipv4Addr), Tally>;

/// What each sandbox's resolver answered for the service's name, or why it did not.
pub type Answers = BTreeMap<SandboxName, Result<Vec<IpAddr>, String>>;

/// A task behind a VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    pub task: TaskName,
    pub node: NodeName,
    pub address: Ipv4Addr,
    /// Where the sandboxes hold it at all.
    pub weight: Option<u32>,
    #[serde(flatten)]
    pub tally: Tally,
}

/// A VIP and its ladders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Walk {
    pub service: ServiceName,
    pub network: NetworkName,
    pub address: Ipv4Addr,
    pub fwmark: Fwmark,
    pub data_plane: DataPlane,
    pub scheduler: String,
    pub targets: Vec<Target>,
    pub ladders: Vec<Ladder>,
}

impl Walk {
    pub fn is_whole(&self) -> bool {
        self.ladders.iter().all(|ladder| ladder.broken().is_none())
    }
}

/// Follows every VIP of the services that `wanted` picks, on one node.
pub fn walks(
    intent: &Intent,
    name: &NodeName,
    node: &Node,
    answers: &Answers,
    traffic: &Traffic,
    wanted: impl Fn(&Service, &Vip) -> bool,
) -> Vec<Walk> {
    let mut walks = Vec::new();
    for service in intent.services.values() {
        for (network, vip) in service.vips.iter().filter(|(_, vip)| wanted(service, vip)) {
            walks.push(walk(intent, name, node, answers, traffic, service, network, vip));
        }
    }
    walks
}

#[expect(clippy::too_many_arguments, reason = "each is one of the things that a walk reads")]
fn walk(
    intent: &Intent,
    name: &NodeName,
    node: &Node,
    answers: &Answers,
    traffic: &Traffic,
    service: &Service,
    network: &NetworkName,
    vip: &Vip,
) -> Walk {
    let plane =
        intent.nodes.get(name).map_or(DataPlane::Nftables, |record| service.data_plane.on(record));
    let look = Look { intent, node, service, network, vip, plane };
    let clients = intent.tasks_on(network).filter(|(task, _)| task.node == *name);
    let ladders = clients
        .map(|(task, endpoint)| {
            let sandbox = SandboxName::from(&task.name);
            let rungs = look.climb(&sandbox, endpoint.address, answers.get(&sandbox));
            Ladder { sandbox, rungs }
        })
        .collect();
    Walk {
        service: service.name.clone(),
        network: network.clone(),
        address: vip.address,
        fwmark: vip.fwmark,
        data_plane: plane,
        scheduler: match plane {
            DataPlane::Ipvs => service.scheduler.to_string(),
            DataPlane::Nftables => "numgen inc".into(),
        },
        targets: look.targets(traffic),
        ladders,
    }
}

struct Look<'a> {
    intent: &'a Intent,
    node: &'a Node,
    service: &'a Service,
    network: &'a NetworkName,
    vip: &'a Vip,
    plane: DataPlane,
}

fn rung(step: Step, holds: bool, evidence: impl Into<String>) -> Rung {
    Rung { step, holds, evidence: evidence.into() }
}

fn list(addresses: &BTreeSet<Ipv4Addr>) -> String {
    if addresses.is_empty() {
        return "none".into();
    }
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

impl Look<'_> {
    fn climb(
        &self,
        name: &SandboxName,
        own: Ipv4Addr,
        answer: Option<&Result<Vec<IpAddr>, String>>,
    ) -> Vec<Rung> {
        let Some(sandbox) = self.node.sandboxes.get(name) else {
            return vec![rung(Step::Sandbox, false, format!("namespace `{name}` is missing"))];
        };
        let mine = sandbox.owner != Owner::Foreign;
        let evidence = if mine {
            format!("namespace `{name}`, {own}")
        } else {
            format!("namespace `{name}` was made by somebody else")
        };
        let mut rungs = vec![rung(Step::Sandbox, mine, evidence)];
        rungs.extend(answer.map(|answer| self.name(name, answer)));
        rungs.push(self.route(sandbox, own));
        rungs.push(self.mark(sandbox));
        rungs.push(self.fail_closed(sandbox));
        rungs.push(self.virtual_server(sandbox));
        rungs.push(self.real_servers(sandbox));
        rungs.push(self.tasks());
        rungs
    }

    fn name(&self, sandbox: &SandboxName, answer: &Result<Vec<IpAddr>, String>) -> Rung {
        let name = &self.service.name;
        let addresses = match answer {
            Ok(addresses) => addresses,
            Err(reason) => {
                return rung(Step::Name, false, format!("`{name}` does not resolve: {reason}"));
            }
        };
        let (got, want): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
            (addresses.iter().copied().collect(), self.name_means(sandbox));
        let words = |addresses: &BTreeSet<IpAddr>| match addresses.len() {
            0 => "nothing".to_owned(),
            _ => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        if got != want {
            let evidence = format!("`{name}` should be {} and is {}", words(&want), words(&got));
            return rung(Step::Name, false, evidence);
        }
        let evidence = match got.contains(&IpAddr::V4(self.vip.address)) {
            true => format!("`{name}` is {}", words(&got)),
            false => format!("`{name}` is {} of another network", words(&got)),
        };
        rung(Step::Name, true, evidence)
    }

    /// What the service's name stands for in a sandbox: this VIP alone, unless the sandbox is on
    /// several networks of the service or others share the name as an alias.
    fn name_means(&self, sandbox: &SandboxName) -> BTreeSet<IpAddr> {
        let task = self.intent.tasks.values().find(|t| SandboxName::from(&t.name) == *sandbox);
        let known =
            task.and_then(|task| dns::expected(self.intent, task, self.service.name.as_str()));
        known.unwrap_or_else(|| vec![self.vip.address]).into_iter().map(IpAddr::V4).collect()
    }

    fn route(&self, sandbox: &Sandbox, own: Ipv4Addr) -> Rung {
        let vip = self.vip.address;
        match sandbox.routes.iter().find(|route| route.address == vip) {
            Some(route) if route.source == own => {
                rung(Step::Route, true, format!("local {vip} dev lo src {own}"))
            }
            Some(route) => {
                let evidence = format!("source should be {own} and is {}", route.source);
                rung(Step::Route, false, evidence)
            }
            None => rung(Step::Route, false, format!("no local route to {vip}")),
        }
    }

    fn mark(&self, sandbox: &Sandbox) -> Rung {
        let (vip, want) = (self.vip.address, self.vip.fwmark);
        let Some(table) = &sandbox.table else {
            return rung(Step::Mark, false, "nftables table `swarmlb` is missing");
        };
        if !table.rules.contains(&BaseRule::MarkOut) {
            let evidence = "the marking rule is missing from chain `mangle-out`";
            return rung(Step::Mark, false, evidence);
        }
        match table.marks.get(&vip) {
            Some(mark) if *mark == want => {
                rung(Step::Mark, true, format!("packets to {vip} get mark {want}"))
            }
            Some(mark) => rung(Step::Mark, false, format!("mark should be {want} and is {mark}")),
            None => rung(Step::Mark, false, format!("packets to {vip} get no mark")),
        }
    }

    fn fail_closed(&self, sandbox: &Sandbox) -> Rung {
        let vip = self.vip.address;
        let step = Step::FailClosed;
        let Some(table) = &sandbox.table else {
            return rung(step, false, "nftables table `swarmlb` is missing");
        };
        if !table.rules.contains(&BaseRule::RejectIn) {
            let evidence = "the reject rule is missing from chain `filter-in`: this sandbox may answer for others";
            return rung(step, false, evidence);
        }
        if !table.guards.contains(&vip) {
            let evidence =
                format!("{vip} is not in set `vips`: this sandbox may answer for others");
            return rung(step, false, evidence);
        }
        rung(step, true, "what is not balanced is refused")
    }

    fn virtual_server(&self, sandbox: &Sandbox) -> Rung {
        let mark = self.vip.fwmark;
        let step = Step::VirtualServer;
        match self.plane {
            DataPlane::Ipvs => {
                let want = self.service.scheduler.to_string();
                match sandbox.virtual_servers.get(&VirtualServerKey::Fwmark(mark)) {
                    Some(server) if server.scheduler == want => {
                        rung(step, true, format!("FWM {} {want}", mark.0))
                    }
                    Some(server) => {
                        let is = &server.scheduler;
                        rung(step, false, format!("scheduler should be {want} and is {is}"))
                    }
                    None => rung(step, false, format!("IPVS has no virtual server FWM {}", mark.0)),
                }
            }
            DataPlane::Nftables => {
                let Some(table) = &sandbox.table else {
                    return rung(step, false, "nftables table `swarmlb` is missing");
                };
                if !table.rules.contains(&BaseRule::BalanceOut) {
                    return rung(step, false, "the balancing rule is missing from chain `nat-out`");
                }
                let holds = table.dispatches.contains_key(&mark);
                let what = if holds { "balances" } else { "is missing for" };
                rung(step, holds, format!("chain `vs-{mark}` {what} mark {mark}"))
            }
        }
    }

    /// The targets that a sandbox holds, with their weights.
    fn held(&self, sandbox: &Sandbox) -> BTreeMap<Ipv4Addr, u32> {
        let mark = self.vip.fwmark;
        match self.plane {
            DataPlane::Ipvs => {
                let server = sandbox.virtual_servers.get(&VirtualServerKey::Fwmark(mark));
                let reals = server.into_iter().flat_map(|server| &server.real_servers);
                let v4 = |address| match address {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                };
                reals
                    .filter_map(|(key, real): (_, &RealServer)| {
                        Some((v4(key.address)?, real.weight))
                    })
                    .collect()
            }
            DataPlane::Nftables => {
                let dispatch = sandbox.table.as_ref().and_then(|table| table.dispatches.get(&mark));
                dispatch.into_iter().flat_map(|d| &d.targets).map(|target| (*target, 1)).collect()
            }
        }
    }

    fn wanted(&self) -> BTreeSet<Ipv4Addr> {
        let tasks = self.intent.tasks_of(&self.service.name);
        tasks.filter_map(|task| Some(task.endpoint(self.network)?.address)).collect()
    }

    fn real_servers(&self, sandbox: &Sandbox) -> Rung {
        let held = self.held(sandbox);
        let wanted = self.wanted();
        let have: BTreeSet<Ipv4Addr> = held.keys().copied().collect();
        let missing: BTreeSet<Ipv4Addr> = wanted.difference(&have).copied().collect();
        let stale: BTreeSet<Ipv4Addr> = have.difference(&wanted).copied().collect();
        let silent = held.iter().filter(|(_, weight)| **weight == 0).map(|(address, _)| *address);
        let silent: BTreeSet<Ipv4Addr> = silent.collect();
        let mut faults = Vec::new();
        if !missing.is_empty() {
            faults.push(format!("missing: {}", list(&missing)));
        }
        if !stale.is_empty() {
            faults.push(format!("stale: {}", list(&stale)));
        }
        if !silent.is_empty() {
            faults.push(format!("weight 0: {}", list(&silent)));
        }
        if wanted.is_empty() {
            faults.push("the service has no tasks".into());
        }
        let holds = faults.is_empty();
        let evidence = if holds { list(&wanted) } else { faults.join("; ") };
        rung(Step::RealServers, holds, evidence)
    }

    /// Whether each target's own sandbox holds its address on a link that is up at both ends.
    fn tasks(&self) -> Rung {
        let mut faults = Vec::new();
        let mut there = 0;
        for task in self.intent.tasks_of(&self.service.name) {
            let Some(endpoint) = task.endpoint(self.network) else { continue };
            match self.fault(&SandboxName::from(&task.name), endpoint.address) {
                None => there += 1,
                Some(fault) => faults.push(format!("{}: {fault}", task.name)),
            }
        }
        let holds = faults.is_empty();
        let evidence = match holds {
            true => format!("{there} endpoints are up on the bridge of `{}`", self.network),
            false => faults.join("; "),
        };
        rung(Step::Tasks, holds, evidence)
    }

    fn fault(&self, name: &SandboxName, address: Ipv4Addr) -> Option<String> {
        use crate::node::LinkKind;
        let Some(sandbox) = self.node.sandboxes.get(name) else {
            return Some("its namespace is missing".into());
        };
        if sandbox.process.is_none() && self.knows_processes() {
            return Some("its process does not run".into());
        }
        let held = sandbox.addresses.iter().find(|held| held.net.addr() == address);
        let Some(held) = held else { return Some(format!("{address} is on none of its links")) };
        let link = sandbox.links.get(&held.link)?;
        if !link.up {
            return Some(format!("{} is down", held.link));
        }
        let LinkKind::Veth { peer: Some(peer) } = &link.kind else {
            return Some(format!("{} has no other end on the overlay", held.link));
        };
        let port = self.node.sandboxes.get(&peer.sandbox)?.links.get(&peer.link)?;
        if !port.up {
            return Some(format!("port {} of the bridge is down", peer.link));
        }
        match &port.master {
            None => Some(format!("port {} is on no bridge", peer.link)),
            Some(_) => None,
        }
    }

    /// A node that was read without its keeper has no processes at all.
    fn knows_processes(&self) -> bool {
        self.node.sandboxes.values().any(|sandbox| sandbox.process.is_some())
    }

    fn targets(&self, traffic: &Traffic) -> Vec<Target> {
        let clients: Vec<(&SandboxName, &Sandbox)> = self.node.sandboxes.iter().collect();
        let tasks = self.intent.tasks_of(&self.service.name);
        tasks
            .filter_map(|task| {
                let address = task.endpoint(self.network)?.address;
                let mut tally = Tally::default();
                let mut weight = None;
                for (name, sandbox) in &clients {
                    let at = ((*name).clone(), self.vip.fwmark, address);
                    if let Some(counted) = traffic.get(&at) {
                        tally.add(counted);
                    }
                    weight = weight.or_else(|| self.held(sandbox).get(&address).copied());
                }
                let (task, node) = (task.name.clone(), task.node.clone());
                Some(Target { task, node, address, weight, tally })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;
    use crate::lower::lower;

    fn node_1() -> NodeName {
        "node-1".parse().unwrap()
    }

    fn first_broken(node: &Node) -> Option<(String, Step, String)> {
        let intent = story();
        let walks = walks(&intent, &node_1(), node, &Answers::new(), &Traffic::new(), |_, _| true);
        walks.iter().flat_map(|walk| &walk.ladders).find_map(|ladder| {
            let rung = ladder.broken()?;
            Some((ladder.sandbox.to_string(), rung.step, rung.evidence.clone()))
        })
    }

    fn broken(change: impl FnOnce(&mut Sandbox)) -> (Step, String) {
        let mut node = lower(&story(), &node_1());
        let name = SandboxName("collabweb.2".into());
        change(node.sandboxes.get_mut(&name).unwrap());
        let (_, step, evidence) = first_broken(&node).expect("it is broken");
        (step, evidence)
    }

    #[test]
    fn a_node_as_lowered_is_whole() {
        assert_eq!(first_broken(&lower(&story(), &node_1())), None);
    }

    #[test]
    fn each_broken_rung_is_named() {
        assert_eq!(broken(|s| s.routes.clear()).0, Step::Route);
        assert_eq!(broken(|s| s.table = None).0, Step::Mark);
        let unmark = |s: &mut Sandbox| s.table.as_mut().unwrap().marks.clear();
        assert_eq!(broken(unmark).0, Step::Mark);
        let open = |s: &mut Sandbox| {
            s.table.as_mut().unwrap().rules.remove(&BaseRule::RejectIn);
        };
        assert_eq!(broken(open).0, Step::FailClosed);
        assert_eq!(broken(|s| s.virtual_servers.clear()).0, Step::VirtualServer);
        let (step, evidence) = broken(|s| {
            for server in s.virtual_servers.values_mut() {
                server.real_servers.pop_first();
            }
        });
        assert_eq!(step, Step::RealServers);
        assert!(evidence.starts_with("missing: 10.0.3."), "{evidence}");
        let (step, evidence) = broken(|s| s.addresses.clear());
        assert_eq!(step, Step::Tasks);
        assert_eq!(evidence, "collabweb.2: 10.0.3.4 is on none of its links");
    }

    #[test]
    fn a_missing_namespace_is_the_first_rung() {
        let mut node = lower(&story(), &node_1());
        node.sandboxes.remove(&SandboxName("collab-box.1".into()));
        let (sandbox, step, _) = first_broken(&node).unwrap();
        assert_eq!((sandbox.as_str(), step), ("collab-box.1", Step::Sandbox));
    }
}
