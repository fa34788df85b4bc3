//! Linux: operations become messages to the kernel, in batches where it takes batches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::connections::Connections;
use super::connections::wire::Entry;
use super::ipvs::Ipvs;
use super::nft::Nft;
use super::route::rows::{Row, RowChange, RowVerb};
use super::route::{RouteChange, RouteSocket, Seen};
use super::xfrm::Xfrm;
use super::{Kernel, Outcome, Refusal, Scope, netns, sysctl, traffic, underlay};
use crate::intent::{ClusterId, Fwmark};
use crate::killpoint;
use crate::node::encryption::Reqid;
use crate::node::object::{BRIDGE, ENDPOINT};
use crate::node::{
    Address, LinkKind, LinkName, Node, Object, Owner, PeerName, Place, Process, Route, Sandbox,
    SandboxName, SecurityPolicy, SecurityState, Sysctl, Table,
};
use crate::plan::Op;
use crate::plan::op::Change;
use crate::plan::runbook::{guest_alias, owner_alias, owner_of, table_of};
use crate::trace::vip::{Tally, Traffic};

/// Fewer sandboxes than this are not worth a thread of their own.
const SHARE: usize = 4;

/// Starts and stops the processes of tasks: the keeper, as the kernel sees it.
pub trait Processes {
    /// What runs, by sandbox.
    ///
    /// # Errors
    /// When the keeper cannot be asked.
    fn running(&mut self) -> Result<BTreeMap<SandboxName, Process>, Refusal>;

    /// Starts processes together and tells what came of each, once each is ready.
    fn start(&mut self, processes: &[(&SandboxName, &Process)]) -> Vec<Outcome>;

    /// Stops processes together and tells what came of each, once each is gone.
    fn stop(&mut self, processes: &[(&SandboxName, &Process)]) -> Vec<Outcome>;
}

/// For looking only: it runs nothing.
pub struct NoProcesses;

impl Processes for NoProcesses {
    fn running(&mut self) -> Result<BTreeMap<SandboxName, Process>, Refusal> {
        Ok(BTreeMap::new())
    }

    fn start(&mut self, processes: &[(&SandboxName, &Process)]) -> Vec<Outcome> {
        processes.iter().map(|_| Err(Errno::ENOTSUP.into())).collect()
    }

    fn stop(&mut self, processes: &[(&SandboxName, &Process)]) -> Vec<Outcome> {
        processes.iter().map(|_| Err(Errno::ENOTSUP.into())).collect()
    }
}

/// What is open in one namespace.
struct Open {
    namespace: File,
    inode: u64,
    route: RouteSocket,
    nft: Option<Nft>,
    ipvs: Option<Ipvs>,
    xfrm: Option<Xfrm>,
    connections: Option<Connections>,
}

/// The kernel of this machine, seen from the namespace that the process is in: the node's.
pub struct Linux<P> {
    open: BTreeMap<SandboxName, Open>,
    processes: P,
}

impl<P: Processes> Linux<P> {
    pub fn new(processes: P) -> Self {
        Self { open: BTreeMap::new(), processes }
    }

    pub fn processes(&mut self) -> &mut P {
        &mut self.processes
    }

    /// Which of these marks connections of a sandbox still hold.
    ///
    /// # Errors
    /// When the sandbox is missing or IPVS cannot be asked.
    pub fn busy_marks(
        &mut self,
        sandbox: &SandboxName,
        marks: &BTreeSet<Fwmark>,
    ) -> Result<BTreeSet<Fwmark>, Refusal> {
        let mut busy = BTreeSet::new();
        let Some(ipvs) = self.open(sandbox)?.ipvs()? else { return Ok(busy) };
        for mark in marks {
            if ipvs.has_connections(*mark)? {
                busy.insert(*mark);
            }
        }
        Ok(busy)
    }

    /// Forgets the tracked connections of a sandbox that `which` names, and tells how many there were.
    ///
    /// # Errors
    /// When the sandbox is missing or the kernel cannot be asked.
    pub fn forget_connections(
        &mut self,
        sandbox: &SandboxName,
        which: impl Fn(&Entry) -> bool,
    ) -> Result<usize, Refusal> {
        self.open(sandbox)?.connections()?.forget(which)
    }

    /// The open namespace of that name. One that was replaced under us is opened anew.
    fn open(&mut self, name: &SandboxName) -> Result<&mut Open, Refusal> {
        let namespace = netns::of(name)?;
        let inode = netns::inode(&namespace)?;
        let fresh = self.open.get(name).is_some_and(|open| open.inode == inode);
        if !fresh {
            let route = RouteSocket::open(namespace.as_fd())?;
            let open = Open::new(namespace, inode, route);
            self.open.insert(name.clone(), open);
        }
        self.open.get_mut(name).ok_or_else(|| Errno::ENOENT.into())
    }

    /// The sandboxes of a cluster, and those of `wanted` that exist.
    fn names_of(
        &mut self,
        cluster: &ClusterId,
        wanted: &[SandboxName],
    ) -> Result<Vec<SandboxName>, Refusal> {
        let mut names = Vec::new();
        let there = named()?;
        // What is open keeps a namespace alive that has lost its name, and its links with it.
        self.open.retain(|name, _| match name.guest() {
            None => there.contains(name),
            Some(_) => netns::of(name).is_ok(),
        });
        for name in there {
            if wanted.contains(&name) || self.must_own(&name, cluster).is_ok() {
                names.push(name);
            } else {
                self.open.remove(&name);
            }
        }
        let node = SandboxName::of_node(cluster);
        let guests = wanted.iter().filter(|name| name.guest().is_some() && **name != node);
        names.extend(guests.cloned());
        names.push(node);
        Ok(names)
    }

    /// The node's namespace, once for each cluster that has a gateway bridge in it.
    fn guests(&mut self) -> Result<Vec<SandboxName>, Refusal> {
        let mut route = RouteSocket::open(netns::node()?.as_fd())?;
        let bridges = route.links()?.into_iter().filter(|link| link.link.kind == LinkKind::Bridge);
        let clusters = bridges.filter_map(|link| link.name.gateway_of());
        Ok(clusters.map(|cluster| SandboxName::of_node(&cluster)).collect())
    }

    /// Looks into sandboxes, on as many threads as can work at once; each goes from one namespace to
    /// the next. Those that are missing, or go while they are looked into, are not there.
    fn look(&mut self, names: &[SandboxName]) -> Result<Vec<Look>, Refusal> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let share = names.len().div_ceil(workers).max(SHARE);
        let shares: Vec<Vec<(SandboxName, Option<Open>)>> = names
            .chunks(share)
            .map(|part| part.iter().map(|name| (name.clone(), self.open.remove(name))).collect())
            .collect();
        let looked: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                shares.into_iter().map(|share| scope.spawn(|| look_into(share))).collect();
            workers.into_iter().map(|worker| worker.join()).collect()
        });
        let mut looks = Vec::with_capacity(names.len());
        for share in looked {
            for (name, result) in share.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                match result {
                    Ok((open, look)) => {
                        self.open.insert(name, open);
                        looks.push(look);
                    }
                    Err(_) if netns::of(&name).is_err() => {}
                    Err(refusal) if refusal.errno == Errno::EINVAL && !is_bound(&name) => {}
                    Err(refusal) => {
                        let sentence = format!("sandbox `{name}`: {}", refusal.sentence);
                        return Err(Refusal::saying(refusal.errno, sentence));
                    }
                }
            }
        }
        Ok(looks)
    }

    /// What the machine holds, and what was counted in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn observe_counted(&mut self, scope: &Scope) -> Result<(Node, Traffic), Refusal> {
        let names: Vec<SandboxName> = match scope {
            Scope::All => {
                let there = named()?.into_iter();
                there.chain(self.guests()?).collect()
            }
            Scope::Only(names) => names.clone(),
            Scope::Cluster(id, wanted) => self.names_of(id, wanted)?,
        };
        let (mut node, mut traffic) = (Node::default(), Traffic::new());
        let mut seen = BTreeMap::new();
        for look in self.look(&names)? {
            for (mark, target, tally) in look.tallies {
                traffic.insert((look.name.clone(), mark, target), tally);
            }
            if look.name.guest().is_some() && look.sandbox.is_vacant() {
                continue;
            }
            seen.insert(look.name.clone(), look.links);
            node.sandboxes.insert(look.name, look.sandbox);
        }
        self.pair(&mut node, &seen)?;
        for (name, process) in self.processes.running()? {
            if let Some(sandbox) = node.sandboxes.get_mut(&name) {
                sandbox.process = Some(process);
            }
        }
        Ok((node, traffic))
    }

    /// Ties the ends of veth pairs together: their indexes name each other, and the namespace's
    /// number confirms it.
    fn pair(&mut self, node: &mut Node, seen: &BTreeMap<SandboxName, Vec<Seen>>) -> Outcome {
        let mut pairs = Vec::new();
        for (name, links) in seen {
            for link in links.iter().filter(|link| is_endpoint(link)) {
                for (other, candidates) in seen.iter().filter(|(other, _)| *other != name) {
                    let peer = candidates.iter().find(|peer| {
                        Some(peer.index) == link.peer_index && peer.peer_index == Some(link.index)
                    });
                    if let Some(peer) = peer
                        && self.namespace_number(name, other)? == link.peer_namespace
                    {
                        let at = |sandbox: &SandboxName, link: &LinkName| PeerName {
                            sandbox: sandbox.clone(),
                            link: link.clone(),
                        };
                        pairs.push((at(name, &link.name), at(other, &peer.name)));
                    }
                }
            }
        }
        for (one, other) in pairs {
            set_peer(node, &one, &other);
            set_peer(node, &other, &one);
        }
        Ok(())
    }

    fn namespace_number(
        &mut self,
        from: &SandboxName,
        of: &SandboxName,
    ) -> Result<Option<i32>, Refusal> {
        let other = self.open(of)?.namespace.try_clone()?;
        self.open(from)?.route.namespace_number(other.as_fd())
    }

    /// How many of `ops` from the first on go in one batch.
    fn batch_length(ops: &[Op]) -> usize {
        let Some(first) = ops.first() else { return 0 };
        let transport = Transport::of(first);
        let same = |op: &&Op| {
            Transport::of(op) == transport
                && (op.sandbox == first.sandbox || transport == Transport::Process)
                && (transport != Transport::Process || is_removal(op) == is_removal(first))
        };
        match transport {
            _ if killpoint::is_armed() => 1,
            Transport::Link | Transport::Namespace => 1,
            _ => ops.iter().take_while(same).count(),
        }
    }

    fn apply_batch(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Refusal> {
        let Some(first) = ops.first() else { return Ok(Vec::new()) };
        match Transport::of(first) {
            Transport::Namespace => Ok(vec![self.change_namespace(first)]),
            Transport::Link => Ok(vec![self.change_link(first)]),
            Transport::Route => {
                let changes: Vec<RouteChange> = ops.iter().filter_map(route_change).collect();
                Ok(self.open(&first.sandbox)?.route.change_routes(&changes))
            }
            Transport::Row => {
                let changes: Vec<RowChange> = ops.iter().filter_map(row_change).collect();
                Ok(self.open(&first.sandbox)?.route.change_rows(&changes))
            }
            Transport::Sysctl => {
                let settings: Vec<_> = ops.iter().filter_map(setting).collect();
                let namespace = self.open(&first.sandbox)?.namespace.as_fd();
                Ok(sysctl::write(namespace, &first.sandbox, &settings)?)
            }
            Transport::Nft => self.open(&first.sandbox)?.nft()?.change(ops),
            Transport::Ipvs => {
                let open = self.open(&first.sandbox)?;
                match open.ipvs()? {
                    Some(ipvs) => Ok(ipvs.change(ops)),
                    None => Err(no_ipvs()),
                }
            }
            Transport::Xfrm => Ok(self.open(&first.sandbox)?.xfrm()?.change(ops)),
            Transport::Process => Ok(self.change_processes(ops)),
        }
    }

    fn change_namespace(&mut self, op: &Op) -> Outcome {
        match &op.change {
            Change::Add(Object::Namespace { owner }) => {
                let alias = owner_alias(owner, &op.sandbox);
                // What is opened by the thread that makes the namespace needs none of its own later.
                let mut opened = None;
                let namespace = netns::create(op.sandbox.as_str(), &alias, || {
                    let errno = |refusal: Refusal| std::io::Error::from(refusal.errno);
                    let mut route = RouteSocket::open_here()?;
                    route.set_alias(&"lo".into(), &alias).map_err(errno)?;
                    opened = Some((route, traffic::present(Nft::open_here()).map_err(errno)?));
                    Ok(())
                })?;
                if let (Some((route, nft)), Ok(inode)) = (opened, netns::inode(&namespace)) {
                    let open = Open { nft, ..Open::new(namespace, inode, route) };
                    self.open.insert(op.sandbox.clone(), open);
                }
                Ok(())
            }
            Change::Del(Object::Namespace { owner }) => {
                self.must_own(&op.sandbox, owner)?;
                if let Some(open) = self.open.remove(&op.sandbox) {
                    kill_inhabitants(open.inode);
                }
                Ok(netns::remove(op.sandbox.as_str())?)
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// A namespace that somebody else made under the same name is never taken away.
    fn must_own(&mut self, name: &SandboxName, owner: &ClusterId) -> Outcome {
        let links = self.open(name)?.route.links()?;
        let alias = owner_alias(owner, name);
        if links.iter().any(|link| link.alias.as_deref() == Some(&alias)) {
            return Ok(());
        }
        Err(Refusal::saying(Errno::EPERM, "somebody else made the namespace of this name"))
    }

    fn change_link(&mut self, op: &Op) -> Outcome {
        match &op.change {
            Change::Add(Object::Link { name, link }) => self.add_link(&op.sandbox, name, link),
            Change::Del(Object::Link { name, link }) if link.kind == LinkKind::Loopback => {
                self.open(&op.sandbox)?.route.set_up(name, false)
            }
            Change::Del(Object::Link { name, .. } | Object::Veth { name, .. }) => {
                self.open(&op.sandbox)?.route.del_link(name)
            }
            Change::Set { to: Object::Link { name, link }, .. } => {
                let route = &mut self.open(&op.sandbox)?.route;
                route.change_link(name, link.mac, link.mtu, link.master.as_ref(), link.up)
            }
            Change::Add(Object::Veth { name, mac, mtu, up, port }) => {
                let end = self.open(&op.sandbox)?.namespace.try_clone()?;
                let overlay = &mut self.open(&port.peer.sandbox)?.route;
                overlay.add_veth_from(end.as_fd(), name, *mac, *mtu, port)?;
                killpoint::pass(|| format!("within: {op}"));
                let route = &mut self.open(&op.sandbox)?.route;
                let marked = match op.sandbox.guest() {
                    Some(cluster) => route.set_alias(name, &guest_alias(&cluster)),
                    None => Ok(()),
                };
                let is_up = |route: &mut RouteSocket| match up {
                    true => route.set_up(name, true),
                    false => Ok(()),
                };
                marked.and_then(|()| is_up(route)).inspect_err(|_| {
                    let _ = route.del_link(name);
                })
            }
            Change::Set { to: Object::Veth { name, mac, mtu, up, port }, .. } => {
                let overlay = &mut self.open(&port.peer.sandbox)?.route;
                let master = port.master.as_ref();
                overlay.change_link(&port.peer.link, None, port.mtu, master, port.up)?;
                if master.is_some() {
                    overlay.isolate(&port.peer.link, port.isolated)?;
                }
                self.open(&op.sandbox)?.route.change_link(name, *mac, *mtu, None, *up)
            }
            Change::Add(Object::Address(address)) => {
                self.open(&op.sandbox)?.route.add_address(address)
            }
            Change::Del(Object::Address(address)) => {
                self.open(&op.sandbox)?.route.del_address(address)
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn add_link(
        &mut self,
        sandbox: &SandboxName,
        name: &LinkName,
        link: &crate::node::Link,
    ) -> Outcome {
        match link.kind {
            LinkKind::Loopback => self.open(sandbox)?.route.set_up(name, true),
            LinkKind::Bridge => {
                let open = self.open(sandbox)?;
                if name.as_str() == BRIDGE {
                    sysctl::spare_bridges(open.namespace.as_fd(), sandbox)?;
                }
                open.route.add_bridge(name, link)
            }
            LinkKind::Vxlan { port, .. } => {
                let target = self.open(sandbox)?.namespace.try_clone()?;
                RouteSocket::open_here()?.add_vxlan_into(target.as_fd(), name, link)?;
                let route = &mut self.open(sandbox)?.route;
                let master = link.master.as_ref();
                // Its socket is opened when it goes up.
                route.change_link(name, None, link.mtu, master, link.up).map_err(|refusal| {
                    let _ = route.del_link(name);
                    named_holder(refusal, port)
                })
            }
            LinkKind::Veth { .. } | LinkKind::Other { .. } => Err(Errno::ENOTSUP.into()),
        }
    }

    fn change_processes(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let processes: Vec<(&SandboxName, &Process)> = ops
            .iter()
            .filter_map(|op| match op.object() {
                Object::Process(process) => Some((&op.sandbox, process.as_ref())),
                _ => None,
            })
            .collect();
        match ops.first().map(is_removal) {
            Some(true) => self.processes.stop(&processes),
            _ => self.processes.start(&processes),
        }
    }
}

/// What was seen in one sandbox.
struct Look {
    name: SandboxName,
    sandbox: Sandbox,
    links: Vec<Seen>,
    tallies: Vec<(Fwmark, Ipv4Addr, Tally)>,
}

type Looked = (SandboxName, Result<(Open, Look), Refusal>);

/// All that have a name below /run/netns.
fn named() -> Result<Vec<SandboxName>, Refusal> {
    Ok(netns::names()?.into_iter().map(|name| SandboxName(name.into())).collect())
}

/// One sandbox after the other; the calling thread stays in the last one's namespace.
fn look_into(share: Vec<(SandboxName, Option<Open>)>) -> Vec<Looked> {
    let look = |(name, open): (SandboxName, Option<Open>)| {
        let looked = Open::entered(&name, open).and_then(|mut open| {
            let look = open.look(&name)?;
            Ok((open, look))
        });
        (name, looked)
    };
    share.into_iter().map(look).collect()
}

impl Open {
    fn new(namespace: File, inode: u64, route: RouteSocket) -> Self {
        Self { namespace, inode, route, nft: None, ipvs: None, xfrm: None, connections: None }
    }

    /// Enters the namespace of that name for good, and opens what is not open in it.
    fn entered(name: &SandboxName, held: Option<Open>) -> Result<Self, Refusal> {
        let namespace = netns::of(name)?;
        let inode = netns::inode(&namespace)?;
        netns::enter(namespace.as_fd())?;
        match held {
            Some(held) if held.inode == inode => Ok(held),
            _ => {
                let route = RouteSocket::open_here()?;
                Ok(Open::new(namespace, inode, route))
            }
        }
    }

    /// What a cluster has in the node's own namespace. By its marks: a bridge that bears its name with
    /// the bridge's ports, what stands on these, and a table that bears its name.
    fn look_at_home(&mut self, name: &SandboxName, cluster: ClusterId) -> Result<Look, Refusal> {
        let bridge = LinkName::gateway_bridge(&cluster);
        let mut links = self.route.links()?;
        links.retain(|link| match link.link.kind {
            LinkKind::Bridge => link.name == bridge,
            LinkKind::Veth { .. } => {
                link.name.is_port() && link.link.master.as_ref() == Some(&bridge)
            }
            _ => false,
        });
        let (table, _) = self.table_here(name)?;
        let (states, policies) = self.encryption(&cluster)?;
        let sandbox = Sandbox {
            owner: Owner::Guest(cluster),
            links: links.iter().map(|link| (link.name.clone(), link.link.clone())).collect(),
            addresses: self.route.addresses(&links)?.into_iter().collect(),
            paths: self.route.paths(&links)?.into_iter().collect(),
            sysctls: sysctl::read_here(name, &Sysctl::OF_NODE),
            table,
            states,
            policies,
            ..Sandbox::default()
        };
        Ok(Look { name: name.clone(), sandbox, links, tallies: Vec::new() })
    }

    /// A cluster's states and policies.
    fn encryption(
        &mut self,
        cluster: &ClusterId,
    ) -> Result<(BTreeSet<SecurityState>, BTreeSet<SecurityPolicy>), Refusal> {
        if self.xfrm.is_none() {
            self.xfrm = Xfrm::present_here()?;
        }
        match &mut self.xfrm {
            Some(xfrm) => xfrm.read(Reqid::of(cluster)),
            None => Ok(Default::default()),
        }
    }

    /// What a cluster has in a namespace that is somebody else's. By its marks: links with its alias,
    /// what stands on these, and a table that bears its name.
    fn look_as_guest(&mut self, name: &SandboxName, cluster: ClusterId) -> Result<Look, Refusal> {
        let alias = guest_alias(&cluster);
        let mut links = self.route.links()?;
        links.retain(|link| {
            let veth = matches!(link.link.kind, LinkKind::Veth { .. });
            veth && link.alias.as_deref() == Some(&alias)
        });
        let addresses: BTreeSet<Address> = self.route.addresses(&links)?.into_iter().collect();
        let mut routes: BTreeSet<Route> = self.route.local_routes()?.into_iter().collect();
        routes.retain(|route| addresses.iter().any(|held| held.net.addr() == route.source));
        let (table, tallies) = self.table_here(name)?;
        let sandbox = Sandbox {
            owner: Owner::Guest(cluster),
            links: links.iter().map(|link| (link.name.clone(), link.link.clone())).collect(),
            addresses,
            routes,
            paths: self.route.paths(&links)?.into_iter().collect(),
            table,
            ..Sandbox::default()
        };
        Ok(Look { name: name.clone(), sandbox, links, tallies })
    }

    /// Everything in this namespace, which the calling thread is in.
    fn look(&mut self, name: &SandboxName) -> Result<Look, Refusal> {
        if let Some(cluster) = name.guest() {
            return match name.place() {
                Place::Attached { .. } => self.look_as_guest(name, cluster),
                _ => self.look_at_home(name, cluster),
            };
        }
        let links = self.route.links()?;
        let owner = links
            .iter()
            .filter(|link| link.link.kind == LinkKind::Loopback)
            .find_map(|link| owner_of(link.alias.as_deref()?, name));
        if self.ipvs.is_none() {
            self.ipvs = Ipvs::present_here()?;
        }
        let (table, mut tallies) = self.table_here(name)?;
        let mut sysctls = sysctl::read_here(name, &Sysctl::ALL);
        // Elsewhere nothing is forwarded, and what a new namespace has depends on the node.
        if *name == SandboxName::ingress() {
            sysctls.extend(sysctl::read_here(name, &[Sysctl::IpForward]));
        }
        if links.iter().any(|link| link.name.as_str() == BRIDGE) {
            sysctls.extend(sysctl::read_here(name, &[Sysctl::BridgeCallIptables]));
        }
        let turns = self.route.turns()?;
        if !turns.is_empty() {
            sysctls.extend(sysctl::read_here(name, &[Sysctl::SourceByMark]));
        }
        let (virtual_servers, balanced) = traffic::virtual_servers(self.ipvs.as_mut())?;
        tallies.extend(balanced);
        let (forwarding, neighbours) = self.route.rows(&links)?;
        let sandbox = Sandbox {
            owner: owner.map_or(Owner::Foreign, Owner::Cluster),
            links: links.iter().map(|link| (link.name.clone(), link.link.clone())).collect(),
            addresses: self.route.addresses(&links)?.into_iter().collect(),
            routes: self.route.local_routes()?.into_iter().collect(),
            paths: self.route.paths(&links)?.into_iter().collect(),
            turns,
            forwarding,
            neighbours,
            sysctls,
            table,
            states: BTreeSet::new(),
            policies: BTreeSet::new(),
            virtual_servers,
            process: None,
        };
        Ok(Look { name: name.clone(), sandbox, links, tallies })
    }

    /// swarmlb's table in this namespace, which the calling thread is in.
    fn table_here(
        &mut self,
        name: &SandboxName,
    ) -> Result<(Option<Table>, traffic::Tallies), Refusal> {
        if self.nft.is_none() {
            self.nft = traffic::present(Nft::open_here())?;
        }
        traffic::table(self.nft.as_mut(), &table_of(name))
    }

    /// nf_tables in this namespace.
    fn nft(&mut self) -> Result<&mut Nft, Refusal> {
        if self.nft.is_none() {
            self.nft = Some(Nft::open(self.namespace.as_fd())?);
        }
        self.nft.as_mut().ok_or_else(|| Errno::ENOENT.into())
    }

    /// IPsec in this namespace.
    fn xfrm(&mut self) -> Result<&mut Xfrm, Refusal> {
        if self.xfrm.is_none() {
            self.xfrm = Some(Xfrm::open(self.namespace.as_fd())?);
        }
        self.xfrm.as_mut().ok_or_else(|| Errno::ENOENT.into())
    }

    /// Connection tracking in this namespace.
    fn connections(&mut self) -> Result<&mut Connections, Refusal> {
        if self.connections.is_none() {
            self.connections = Some(Connections::open(self.namespace.as_fd())?);
        }
        self.connections.as_mut().ok_or_else(|| Errno::ENOENT.into())
    }

    /// IPVS in this namespace; none where the kernel lacks it.
    fn ipvs(&mut self) -> Result<Option<&mut Ipvs>, Refusal> {
        if self.ipvs.is_none() {
            self.ipvs = Ipvs::open(self.namespace.as_fd())?;
        }
        Ok(self.ipvs.as_mut())
    }
}

impl<P: Processes> Kernel for Linux<P> {
    fn observe(&mut self, scope: &Scope) -> Result<Node, Refusal> {
        self.observe_counted(scope).map(|(node, _)| node)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut rest = ops;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(Self::batch_length(rest).max(1));
            killpoint::pass(|| format!("before: {}", batch[0]));
            let done = self.apply_batch(batch).unwrap_or_else(|refusal| vec![Err(refusal)]);
            let refused = done.iter().any(Result::is_err);
            outcomes.extend(done);
            if refused {
                break;
            }
            rest = after;
        }
        killpoint::pass(|| "the plan is done".into());
        outcomes
    }
}

/// Ends what a task left behind, which would keep a namespace without a name alive for ever.
fn kill_inhabitants(inode: u64) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for entry in processes.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid > 1) else { continue };
        let lives_there = File::open(entry.path().join("ns/net")).and_then(netns::inode);
        if lives_there.is_ok_and(|home| home == inode) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// The way to the kernel that an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Namespace,
    Link,
    Route,
    /// Rows of VXLAN devices.
    Row,
    Sysctl,
    Nft,
    Ipvs,
    Xfrm,
    Process,
}

impl Transport {
    fn of(op: &Op) -> Self {
        match op.object() {
            Object::Namespace { .. } => Transport::Namespace,
            Object::Link { .. } | Object::Veth { .. } | Object::Address(_) => Transport::Link,
            Object::Route(_) | Object::Path(_) | Object::Turn(_) => Transport::Route,
            Object::Forwarding(_) | Object::Neighbour(_) => Transport::Row,
            Object::Sysctl { .. } => Transport::Sysctl,
            Object::Table
            | Object::BaseRule(_)
            | Object::Guard(_)
            | Object::Mark { .. }
            | Object::Dispatch { .. }
            | Object::Publication(_) => Transport::Nft,
            Object::VirtualServer { .. } | Object::RealServer { .. } => Transport::Ipvs,
            Object::State(_) | Object::Policy(_) => Transport::Xfrm,
            Object::Process(_) => Transport::Process,
        }
    }
}

fn is_removal(op: &Op) -> bool {
    matches!(op.change, Change::Del(_))
}

fn is_endpoint(link: &Seen) -> bool {
    matches!(link.link.kind, LinkKind::Veth { .. }) && link.name.as_str().starts_with(ENDPOINT)
}

/// A file in the directory on which nothing is mounted (yet, or any more) is no namespace.
fn is_bound(name: &SandboxName) -> bool {
    let file = netns::of(name);
    file.is_ok_and(|file| {
        nix::sys::statfs::fstatfs(&file)
            .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
    })
}

fn set_peer(node: &mut Node, at: &PeerName, to: &PeerName) {
    let sandbox = node.sandboxes.get_mut(&at.sandbox);
    if let Some(link) = sandbox.and_then(|sandbox| sandbox.links.get_mut(&at.link)) {
        link.kind = LinkKind::Veth { peer: Some(to.clone()) };
        // The bridge's end has a MAC that nobody chose.
        if !at.link.as_str().starts_with(ENDPOINT) {
            link.mac = None;
        }
    }
}

fn route_change(op: &Op) -> Option<RouteChange> {
    match &op.change {
        Change::Add(Object::Path(path)) => Some(RouteChange::AddPath(path.clone())),
        Change::Del(Object::Path(path)) => Some(RouteChange::DelPath(path.clone())),
        Change::Add(Object::Turn(mark)) => Some(RouteChange::AddTurn(*mark)),
        Change::Del(Object::Turn(mark)) => Some(RouteChange::DelTurn(*mark)),
        Change::Add(Object::Route(route)) => Some(RouteChange::Add(route.clone())),
        Change::Del(Object::Route(route)) => Some(RouteChange::Del(route.clone())),
        _ => None,
    }
}

fn row_change(op: &Op) -> Option<RowChange> {
    let (verb, object) = match &op.change {
        Change::Add(object) => (RowVerb::Add, object),
        Change::Del(object) => (RowVerb::Del, object),
        Change::Set { to, .. } => (RowVerb::Replace, to),
    };
    let row = match object {
        Object::Forwarding(entry) => Row::Forwarding(entry.clone()),
        Object::Neighbour(held) => Row::Neighbour(held.clone()),
        _ => return None,
    };
    Some(RowChange { verb, row })
}

fn setting(op: &Op) -> Option<(Sysctl, Option<u32>)> {
    match &op.change {
        Change::Add(Object::Sysctl { sysctl, value })
        | Change::Set { to: Object::Sysctl { sysctl, value }, .. } => Some((*sysctl, Some(*value))),
        Change::Del(Object::Sysctl { sysctl, .. }) => {
            let stays = sysctl.stays() && op.sandbox.guest().is_some();
            Some((*sysctl, (!stays).then(|| sysctl.default_value())))
        }
        _ => None,
    }
}

/// Says who has the port, where that is what stands in the way.
fn named_holder(refusal: Refusal, port: u16) -> Refusal {
    match refusal.errno {
        Errno::EADDRINUSE => match underlay::holder_of(port) {
            Some(sentence) => Refusal::saying(refusal.errno, sentence),
            None => refusal,
        },
        _ => refusal,
    }
}

fn no_ipvs() -> Refusal {
    Refusal::saying(Errno::EPROTONOSUPPORT, "this kernel has no IPVS (module ip_vs)")
}
