//! Following a VIP as a packet would, from every sandbox that may use it: a ladder of rungs, each
//! read from what the node holds. Pure: resolvers are asked and counters read elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::expected::{Client, Expected, Member};
use super::mesh::Mesh;
use crate::intent::{DataPlane, Fwmark};
use crate::lower::overlay;
use crate::node::{
    BaseRule, Node, Owner, RealServer, Sandbox, SandboxName, Sysctl, VirtualServer,
    VirtualServerKey,
};

/// How a task is that can be reached.
pub const UP: &str = "up";

/// A step of a packet to a VIP, in the order in which it takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Sandbox,
    Name,
    Settings,
    Route,
    Mark,
    FailClosed,
    VirtualServer,
    RealServers,
    /// The way to tasks of other nodes.
    Overlay,
    Tasks,
    /// Of a published port: the node sends it on.
    Port,
    /// Of a published port: the task takes it to the port that it listens on.
    Redirect,
}

impl Step {
    pub fn words(self) -> &'static str {
        match self {
            Step::Sandbox => "sandbox",
            Step::Name => "name",
            Step::Settings => "settings",
            Step::Route => "route",
            Step::Mark => "mark",
            Step::FailClosed => "fail closed",
            Step::VirtualServer => "virtual server",
            Step::RealServers => "real servers",
            Step::Overlay => "overlay",
            Step::Tasks => "tasks",
            Step::Port => "port",
            Step::Redirect => "redirect",
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
    /// What an operator calls it.
    pub sandbox: String,
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

/// What each sandbox's resolver answered to each name, or why it did not.
pub type Answers = BTreeMap<SandboxName, BTreeMap<String, Result<Vec<IpAddr>, String>>>;

/// A task behind a VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    pub task: String,
    pub node: String,
    pub address: Ipv4Addr,
    /// `up`, or what is wrong with it; None where it cannot be looked at.
    pub state: Option<String>,
    /// Where the sandboxes hold it at all.
    pub weight: Option<u32>,
    /// Whether it gets no new connections any more.
    pub leaving: bool,
    #[serde(flatten)]
    pub tally: Tally,
}

/// A VIP and its ladders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Walk {
    pub service: String,
    pub network: String,
    pub address: Ipv4Addr,
    pub fwmark: Fwmark,
    pub data_plane: DataPlane,
    pub scheduler: String,
    /// The published ports that lead to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    pub targets: Vec<Target>,
    pub ladders: Vec<Ladder>,
}

impl Walk {
    pub fn is_whole(&self) -> bool {
        self.ladders.iter().all(|ladder| ladder.broken().is_none())
    }
}

/// Follows VIPs on one node, each as it should be.
pub fn walks(
    expected: &[Expected],
    node: &Node,
    answers: &Answers,
    traffic: &Traffic,
) -> Vec<Walk> {
    let mut counted = BTreeMap::<(Fwmark, Ipv4Addr), Tally>::new();
    for ((sandbox, mark, target), tally) in traffic {
        if node.sandboxes.contains_key(sandbox) {
            counted.entry((*mark, *target)).or_default().add(tally);
        }
    }
    // A node that was read without its keeper has no processes at all.
    let knows_processes = node.sandboxes.values().any(|sandbox| sandbox.process.is_some());
    let walk = |vip| Look { node, vip, knows_processes }.walk(answers, &counted);
    expected.iter().map(walk).collect()
}

struct Look<'a> {
    node: &'a Node,
    vip: &'a Expected,
    knows_processes: bool,
}

pub(super) fn rung(step: Step, holds: bool, evidence: impl Into<String>) -> Rung {
    Rung { step, holds, evidence: evidence.into() }
}

fn list(addresses: &BTreeSet<Ipv4Addr>) -> String {
    if addresses.is_empty() {
        return "none".into();
    }
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// Whether a virtual server picks as it should. Bounds of connections stand at real servers: one that has
/// none tells none.
fn agrees(server: &VirtualServer, want: &str) -> bool {
    let is = server.picking();
    is == want || (server.real_servers.is_empty() && want.starts_with(&is))
}

impl Look<'_> {
    fn walk(&self, answers: &Answers, counted: &BTreeMap<(Fwmark, Ipv4Addr), Tally>) -> Walk {
        let vip = self.vip;
        let wanted = vip.tasks.iter().filter(|task| !task.leaving).map(|task| task.address);
        let wanted: BTreeSet<Ipv4Addr> = wanted.collect();
        let states: Vec<Option<String>> = vip.tasks.iter().map(|task| self.state(task)).collect();
        let (overlay, tasks) = (self.overlay(), self.tasks(&states));
        let ladders = vip.clients.iter().map(|client| Ladder {
            sandbox: client.sandbox.called().to_owned(),
            rungs: match &vip.mesh {
                None => self.climb(client, answers, &wanted, overlay.as_ref(), &tasks),
                Some(mesh) => self.climb_mesh(mesh, client, &wanted, overlay.as_ref(), &tasks),
            },
        });
        let ladders: Vec<Ladder> = ladders.collect();
        let ports = vip.mesh.iter().flat_map(|mesh| &mesh.ports).map(ToString::to_string);
        let scheduler = match (vip.plane, &vip.scheduler) {
            (DataPlane::Ipvs, Some(scheduler)) => scheduler.clone(),
            (DataPlane::Ipvs, None) => "-".into(),
            (DataPlane::Nftables, _) => "numgen inc".into(),
        };
        Walk {
            service: vip.service.clone(),
            network: vip.network.clone(),
            address: vip.address,
            fwmark: vip.fwmark,
            data_plane: vip.plane,
            scheduler,
            ports: ports.collect(),
            targets: self.targets(states, counted),
            ladders,
        }
    }

    fn climb(
        &self,
        client: &Client,
        answers: &Answers,
        wanted: &BTreeSet<Ipv4Addr>,
        overlay: Option<&Rung>,
        tasks: &Rung,
    ) -> Vec<Rung> {
        let (name, own) = (client.sandbox.called(), client.own);
        let Some(sandbox) = self.node.sandboxes.get(&client.sandbox) else {
            let what = match client.sandbox.guest() {
                None => "is missing",
                Some(_) => "is gone, or holds nothing of this cluster any more",
            };
            return vec![rung(Step::Sandbox, false, format!("namespace `{name}` {what}"))];
        };
        let mine = sandbox.owner != Owner::Foreign;
        let evidence = if mine {
            format!("namespace `{name}`, {own}")
        } else {
            format!("namespace `{name}` was made by somebody else")
        };
        let mut rungs = vec![rung(Step::Sandbox, mine, evidence)];
        let answer = answers.get(&client.sandbox).and_then(|names| names.get(&self.vip.service));
        rungs.extend(answer.map(|answer| self.name(client, answer)));
        // Those of a namespace of others are its own affair.
        if !matches!(sandbox.owner, Owner::Guest(_)) {
            rungs.push(self.settings(sandbox));
        }
        rungs.push(self.route(sandbox, own));
        rungs.push(self.mark(client, sandbox));
        rungs.push(self.fail_closed(client, sandbox));
        rungs.push(self.virtual_server(client, sandbox));
        rungs.push(self.real_servers(client, sandbox, wanted));
        rungs.extend(overlay.cloned());
        rungs.push(tasks.clone());
        rungs
    }

    fn climb_mesh(
        &self,
        mesh: &Mesh,
        client: &Client,
        wanted: &BTreeSet<Ipv4Addr>,
        overlay: Option<&Rung>,
        tasks: &Rung,
    ) -> Vec<Rung> {
        let name = &mesh.sandbox;
        let port = mesh.port(self.node);
        let Some(sandbox) = self.node.sandboxes.get(name) else {
            let missing = rung(Step::Sandbox, false, format!("namespace `{name}` is missing"));
            return if mesh.gateway.is_none() { vec![port] } else { vec![port, missing] };
        };
        let mut rungs = vec![
            port,
            rung(Step::Sandbox, true, format!("namespace `{name}`, {}", mesh.own)),
            mesh.settings(sandbox, client.plane),
            mesh.mark(sandbox, client.fwmark),
            self.virtual_server(client, sandbox),
            self.real_servers(client, sandbox, wanted),
        ];
        rungs.extend(overlay.cloned());
        rungs.push(mesh.redirect(self.node, &self.vip.tasks));
        rungs.push(tasks.clone());
        rungs
    }

    fn name(&self, client: &Client, answer: &Result<Vec<IpAddr>, String>) -> Rung {
        let name = &self.vip.service;
        let words = |addresses: &BTreeSet<IpAddr>| {
            let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            if words.is_empty() { "nothing".into() } else { words.join(" ") }
        };
        match answer {
            Ok(addresses) => {
                let got: BTreeSet<IpAddr> = addresses.iter().copied().collect();
                let (want, is) = (words(&client.resolved), words(&got));
                match got == client.resolved {
                    true if got.contains(&IpAddr::V4(self.vip.address)) => {
                        rung(Step::Name, true, format!("`{name}` is {is}"))
                    }
                    true => rung(Step::Name, true, format!("`{name}` is {is} of another network")),
                    // Docker's containers have a resolver of Docker's at the same address.
                    false if client.sandbox.guest().is_some() => {
                        let evidence = format!("`{name}` is {is}, as its own resolver says");
                        rung(Step::Name, true, evidence)
                    }
                    false => {
                        rung(Step::Name, false, format!("`{name}` should be {want} and is {is}"))
                    }
                }
            }
            Err(reason) => rung(Step::Name, false, format!("`{name}` does not resolve: {reason}")),
        }
    }

    /// Those without which a VIP misleads others, or clients of a task that went.
    fn settings(&self, sandbox: &Sandbox) -> Rung {
        let needed: &[(Sysctl, u32)] = match self.vip.plane {
            DataPlane::Ipvs => &[(Sysctl::ArpIgnore, 1), (Sysctl::ExpireNodestConn, 1)],
            DataPlane::Nftables => &[(Sysctl::ArpIgnore, 1)],
        };
        for (sysctl, want) in needed {
            let is = sandbox.sysctls.get(sysctl).copied().unwrap_or(sysctl.default_value());
            if is != *want {
                let evidence = format!("{sysctl} should be {want} and is {is}");
                return rung(Step::Settings, false, evidence);
            }
        }
        rung(Step::Settings, true, "nobody answers ARP for a VIP")
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

    fn mark(&self, client: &Client, sandbox: &Sandbox) -> Rung {
        let (vip, want) = (self.vip.address, client.fwmark);
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

    fn fail_closed(&self, client: &Client, sandbox: &Sandbox) -> Rung {
        let vip = self.vip.address;
        let step = Step::FailClosed;
        let Some(table) = &sandbox.table else {
            return rung(step, false, "nftables table `swarmlb` is missing");
        };
        if !table.rules.contains(&BaseRule::RejectIn) {
            let evidence = "the reject rule is missing from chain `filter-in`: this sandbox may answer for others";
            return rung(step, false, evidence);
        }
        if client.plane == DataPlane::Ipvs && !table.rules.contains(&BaseRule::ResetIn) {
            let evidence = "the reset rule is missing from chain `filter-in-tcp`: who is connected to a task that ends may hang";
            return rung(step, false, evidence);
        }
        if !table.guards.contains(&vip) {
            let evidence =
                format!("{vip} is not in set `vips`: this sandbox may answer for others");
            return rung(step, false, evidence);
        }
        rung(step, true, "what is not balanced is refused")
    }

    fn virtual_server(&self, client: &Client, sandbox: &Sandbox) -> Rung {
        let mark = client.fwmark;
        let step = Step::VirtualServer;
        match client.plane {
            DataPlane::Ipvs => match sandbox.virtual_servers.get(&VirtualServerKey::Fwmark(mark)) {
                Some(server) => {
                    let is = server.picking();
                    match self.vip.scheduler.as_ref().filter(|want| !agrees(server, want)) {
                        None => rung(step, true, format!("FWM {mark} {is}")),
                        Some(want) => {
                            rung(step, false, format!("scheduler should be {want} and is {is}"))
                        }
                    }
                }
                None => rung(step, false, format!("IPVS has no virtual server FWM {mark}")),
            },
            DataPlane::Nftables => {
                let Some(table) = &sandbox.table else {
                    return rung(step, false, "nftables table `swarmlb` is missing");
                };
                let rule = match self.vip.mesh {
                    None => BaseRule::BalanceOut,
                    Some(_) => BaseRule::BalanceIn,
                };
                if !table.rules.contains(&rule) {
                    let evidence = format!("the balancing rule is missing from chain `{rule}`");
                    return rung(step, false, evidence);
                }
                let holds = table.dispatches.contains_key(&mark);
                let what = if holds { "balances" } else { "is missing for" };
                rung(step, holds, format!("chain `vs-{mark}` {what} mark {mark}"))
            }
        }
    }

    /// The targets that a sandbox holds, with their weights.
    fn held(&self, client: &Client, sandbox: &Sandbox) -> BTreeMap<Ipv4Addr, u32> {
        let mark = client.fwmark;
        match client.plane {
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
                let mut turns = BTreeMap::new();
                for target in dispatch.into_iter().flat_map(|dispatch| &dispatch.targets) {
                    *turns.entry(*target).or_default() += 1;
                }
                turns
            }
        }
    }

    fn real_servers(
        &self,
        client: &Client,
        sandbox: &Sandbox,
        wanted: &BTreeSet<Ipv4Addr>,
    ) -> Rung {
        let mut held = self.held(client, sandbox);
        // What is leaving may stand in the table, with weight 0.
        let leaving = |address| self.vip.tasks.iter().any(|t| t.leaving && t.address == address);
        held.retain(|address, weight| *weight > 0 || !leaving(*address));
        let have: BTreeSet<Ipv4Addr> = held.keys().copied().collect();
        let missing: BTreeSet<Ipv4Addr> = wanted.difference(&have).copied().collect();
        let stale: BTreeSet<Ipv4Addr> = have.difference(wanted).copied().collect();
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
        let holds = faults.is_empty();
        if holds && wanted.is_empty() {
            // Scaled to 0 it is as it should be: who connects is refused.
            return rung(Step::RealServers, true, "none, for the service has no tasks");
        }
        let evidence = if holds { list(wanted) } else { faults.join("; ") };
        rung(Step::RealServers, holds, evidence)
    }

    /// Whether the network's own sandbox leads to each target on another node; none where none is.
    fn overlay(&self) -> Option<Rung> {
        let remote = self.vip.tasks.iter().filter_map(|task| Some((task, task.vtep?)));
        let remote: Vec<(&Member, Ipv4Addr)> = remote.collect();
        let network = &self.vip.network;
        if remote.is_empty() {
            return None;
        }
        let Some(sandbox) = self.node.sandboxes.get(&SandboxName(network.as_str().into())) else {
            let evidence = format!("namespace `{network}` of the network is missing");
            return Some(rung(Step::Overlay, false, evidence));
        };
        let faults: Vec<String> =
            remote.iter().filter_map(|(task, vtep)| no_way(sandbox, task, *vtep)).collect();
        if !faults.is_empty() {
            return Some(rung(Step::Overlay, false, faults.join("; ")));
        }
        let ways = remote.iter().map(|(task, vtep)| format!("{} by {vtep}", task.address));
        Some(rung(Step::Overlay, true, ways.collect::<Vec<_>>().join(", ")))
    }

    /// Whether each target's own sandbox holds its address on a link that is up at both ends.
    fn tasks(&self, states: &[Option<String>]) -> Rung {
        let seen = || self.vip.tasks.iter().zip(states).filter(|(task, _)| !task.leaving);
        let faults: Vec<String> = seen()
            .filter_map(|(task, state)| {
                let fault = state.as_ref().filter(|state| *state != UP)?;
                Some(format!("{}: {fault}", task.task))
            })
            .collect();
        if !faults.is_empty() {
            return rung(Step::Tasks, false, faults.join("; "));
        }
        let there = seen().filter(|(_, state)| state.is_some()).count();
        let are = if there == 1 { "endpoint is" } else { "endpoints are" };
        let mut evidence = format!("{there} {are} up on the bridge of `{}`", self.vip.network);
        let elsewhere: BTreeSet<Ipv4Addr> =
            seen().filter(|(_, state)| state.is_none()).map(|(task, _)| task.address).collect();
        if !elsewhere.is_empty() {
            evidence.push_str(&format!("; not looked at: {}", list(&elsewhere)));
        }
        rung(Step::Tasks, true, evidence)
    }

    fn state(&self, task: &Member) -> Option<String> {
        let Some(sandbox) = &task.sandbox else { return task.told.clone() };
        let fault = self.fault(sandbox, task.address).or_else(|| task.told.clone());
        Some(fault.unwrap_or_else(|| UP.into()))
    }

    fn fault(&self, name: &SandboxName, address: Ipv4Addr) -> Option<String> {
        use crate::node::LinkKind;
        let Some(sandbox) = self.node.sandboxes.get(name) else {
            return Some("its namespace is missing".into());
        };
        if sandbox.process.is_none() && self.knows_processes {
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

    /// What was counted of a target under each of the VIP's marks.
    fn tally(&self, target: Ipv4Addr, counted: &BTreeMap<(Fwmark, Ipv4Addr), Tally>) -> Tally {
        let mut tally = Tally::default();
        let clients = self.vip.clients.iter().map(|client| client.fwmark);
        let marks = self.vip.retired.iter().copied().chain([self.vip.fwmark]).chain(clients);
        for mark in marks.collect::<BTreeSet<Fwmark>>() {
            if let Some(more) = counted.get(&(mark, target)) {
                tally.add(more);
            }
        }
        tally
    }

    fn targets(
        &self,
        states: Vec<Option<String>>,
        counted: &BTreeMap<(Fwmark, Ipv4Addr), Tally>,
    ) -> Vec<Target> {
        let clients = self.vip.clients.iter();
        let held: Vec<BTreeMap<Ipv4Addr, u32>> = clients
            .filter_map(|client| Some(self.held(client, self.node.sandboxes.get(&client.sandbox)?)))
            .collect();
        let target = |(task, state): (&Member, Option<String>)| Target {
            task: task.task.clone(),
            node: task.node.clone(),
            address: task.address,
            state,
            weight: match task.leaving {
                true => Some(0),
                false => held.iter().find_map(|held| held.get(&task.address)).copied(),
            },
            leaving: task.leaving,
            tally: self.tally(task.address, counted),
        };
        self.vip.tasks.iter().zip(states).map(target).collect()
    }
}

/// Why a network's sandbox does not lead to a task on another node.
fn no_way(sandbox: &Sandbox, task: &Member, vtep: Ipv4Addr) -> Option<String> {
    let (entry, neighbour) = overlay::way(task.address, vtep);
    let who = format!("{} on {}", task.task, task.node);
    let device = sandbox.links.get(&entry.link);
    if device.is_none_or(|link| !link.up) {
        return Some(format!("{} is missing or down: no way to {who}", entry.link));
    }
    let found = sandbox.neighbours.iter().find(|held| held.address == task.address);
    match found {
        Some(held) if *held == neighbour => {}
        Some(held) => {
            let (want, is) = (neighbour.mac, held.mac);
            return Some(format!("{who}: neighbour {} should be {want} and is {is}", task.address));
        }
        None => {
            return Some(format!("{who}: no neighbour {}, nobody answers its ARP", task.address));
        }
    }
    let found = sandbox.forwarding.iter().find(|held| held.mac == entry.mac);
    match found {
        Some(held) if *held == entry => None,
        Some(held) if held.vtep != vtep => {
            Some(format!("{who}: {} should go to {vtep} and goes to {}", entry.mac, held.vtep))
        }
        Some(_) => Some(format!("{who}: the forwarding entry of {} is not permanent", entry.mac)),
        None => Some(format!("{who}: no forwarding entry of {} to {vtep}", entry.mac)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;
    use crate::lower::lower;
    use crate::trace::expected::of_intent;

    fn node_1() -> crate::intent::NodeName {
        "node-1".parse().unwrap()
    }

    fn first_broken(node: &Node) -> Option<(String, Step, String)> {
        let expected = of_intent(&story(), &node_1(), |_, _| true);
        let walks = walks(&expected, node, &Answers::new(), &Traffic::new());
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
        assert_eq!(broken(|s| s.sysctls.clear()).0, Step::Settings);
        assert_eq!(broken(|s| s.routes.clear()).0, Step::Route);
        assert_eq!(broken(|s| s.table = None).0, Step::Mark);
        let unmark = |s: &mut Sandbox| s.table.as_mut().unwrap().marks.clear();
        assert_eq!(broken(unmark).0, Step::Mark);
        let open = |s: &mut Sandbox| {
            s.table.as_mut().unwrap().rules.remove(&BaseRule::RejectIn);
        };
        assert_eq!(broken(open).0, Step::FailClosed);
        let hang = |s: &mut Sandbox| {
            s.table.as_mut().unwrap().rules.remove(&BaseRule::ResetIn);
        };
        assert_eq!(broken(hang).0, Step::FailClosed);
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

    /// The story with its second task on another node.
    fn apart() -> crate::intent::Intent {
        let mut intent = story();
        let peer: crate::intent::NodeName = "node-2".parse().unwrap();
        intent.nodes.insert(peer.clone(), crate::intent::NodeRecord::new(peer.clone(), true));
        for (record, last) in intent.nodes.values_mut().zip(1..) {
            record.address = Some(Ipv4Addr::new(192, 0, 2, last));
        }
        intent.tasks.get_mut(&"collabweb.2".parse().unwrap()).unwrap().node = peer;
        intent
    }

    #[test]
    fn a_way_to_another_node_that_is_missing_or_wrong_is_named() {
        let intent = apart();
        let looked = |change: &dyn Fn(&mut Sandbox)| {
            let mut node = lower(&intent, &node_1());
            change(node.sandboxes.get_mut(&SandboxName("collabnet".into())).unwrap());
            let expected = of_intent(&intent, &node_1(), |_, _| true);
            let walks = walks(&expected, &node, &Answers::new(), &Traffic::new());
            let web = walks.into_iter().find(|walk| walk.service == "collabweb").unwrap();
            web.ladders[0].rungs.iter().find(|rung| rung.step == Step::Overlay).cloned().unwrap()
        };
        let whole = looked(&|_| {});
        assert_eq!((whole.holds, whole.evidence.as_str()), (true, "10.0.3.4 by 192.0.2.2"));
        let who = "collabweb.2 on node-2: ";
        let broken = |change: &dyn Fn(&mut Sandbox)| {
            let rung = looked(change);
            assert!(!rung.holds);
            rung.evidence.replace(who, "")
        };
        assert_eq!(
            broken(&|s| s.neighbours.clear()),
            "no neighbour 10.0.3.4, nobody answers its ARP"
        );
        assert_eq!(
            broken(&|s| s.forwarding.clear()),
            "no forwarding entry of 02:42:0a:00:03:04 to 192.0.2.2"
        );
        let elsewhere = |s: &mut Sandbox| {
            let mut entry = s.forwarding.pop_first().unwrap();
            entry.vtep = Ipv4Addr::new(192, 0, 2, 9);
            s.forwarding.insert(entry);
        };
        assert_eq!(
            broken(&elsewhere),
            "02:42:0a:00:03:04 should go to 192.0.2.2 and goes to 192.0.2.9"
        );
        let down = |s: &mut Sandbox| s.links.get_mut(&"vxlan0".into()).unwrap().up = false;
        assert_eq!(broken(&down), "vxlan0 is missing or down: no way to collabweb.2 on node-2");
    }

    #[test]
    fn a_missing_namespace_is_the_first_rung() {
        let mut node = lower(&story(), &node_1());
        node.sandboxes.remove(&SandboxName("collab-box.1".into()));
        let (sandbox, step, _) = first_broken(&node).unwrap();
        assert_eq!((sandbox.as_str(), step), ("collab-box.1", Step::Sandbox));
    }
}
