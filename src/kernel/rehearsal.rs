//! A kernel made of maps, as strict as Linux or stricter: what exists cannot be made again
//! (EEXIST), what is missing cannot be removed (ENOENT), what others stand on cannot go (EBUSY).
//!
//! Plans are rehearsed on it before Linux is touched. It serves `--dry-run`, the tests, and
//! diagnosis of a recorded node.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use nix::errno::Errno;

use super::{Kernel, Outcome, Refusal, Scope};
use crate::lower::overlay::loopback;
use crate::node::object::Port;
use crate::node::{
    ForwardingEntry, Key, Link, LinkKind, LinkName, Mac, Neighbour, Node, Object, Owner, Path,
    PeerName, Publication, RealServers, Sandbox, SandboxName, SecurityPolicy, SecurityState, Table,
    VirtualServer,
};
use crate::plan::Op;
use crate::plan::op::Change;

/// A node that operations can be tried on.
#[derive(Debug, Clone, Default)]
pub struct Rehearsal {
    node: Node,
}

impl Rehearsal {
    pub fn new(mut node: Node) -> Self {
        node.sandboxes.retain(|_, held| !is_left(held));
        Self { node }
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn into_node(self) -> Node {
        self.node
    }

    /// Does one operation, or refuses it and changes nothing.
    ///
    /// # Errors
    /// As Linux would: EEXIST, ENOENT, ENODEV, EBUSY, EINVAL.
    pub fn try_op(&mut self, op: &Op) -> Outcome {
        let outcome = self.do_op(op);
        self.leave(&op.sandbox);
        if let Object::Veth { port, .. } = op.object() {
            self.leave(&port.peer.sandbox);
        }
        outcome
    }

    fn leave(&mut self, name: &SandboxName) {
        if name.guest().is_some() && self.node.sandboxes.get(name).is_some_and(is_left) {
            self.node.sandboxes.remove(name);
        }
    }

    fn do_op(&mut self, op: &Op) -> Outcome {
        match &op.change {
            Change::Add(Object::Namespace { owner }) => {
                let sandbox = Sandbox {
                    owner: Owner::Cluster(owner.clone()),
                    links: [("lo".into(), Link { up: false, ..loopback() })].into(),
                    ..Sandbox::default()
                };
                insert(&mut self.node.sandboxes, op.sandbox.clone(), sandbox)
            }
            Change::Del(Object::Namespace { owner }) => self.del_namespace(&op.sandbox, owner),
            Change::Add(Object::Veth { name, mac, mtu, up, port }) => {
                self.add_veth(&op.sandbox, name, *mac, *mtu, *up, port)
            }
            Change::Del(Object::Veth { name, port, .. }) => {
                self.del_veth(&op.sandbox, name, &port.peer)
            }
            Change::Set {
                from: Object::Veth { name, .. },
                to: Object::Veth { mac, mtu, up, port, .. },
            } => self.set_veth(&op.sandbox, name, *mac, *mtu, *up, port),
            Change::Add(object) => add(self.sandbox(&op.sandbox)?, object),
            Change::Del(object) => del(self.sandbox(&op.sandbox)?, object),
            Change::Set { from, to } => set(self.sandbox(&op.sandbox)?, from, to),
        }
    }

    fn sandbox(&mut self, name: &SandboxName) -> Result<&mut Sandbox, Refusal> {
        if let Some(cluster) = name.guest() {
            let guest = Sandbox { owner: Owner::Guest(cluster), ..Sandbox::default() };
            return Ok(self.node.sandboxes.entry(name.clone()).or_insert(guest));
        }
        self.node.sandboxes.get_mut(name).ok_or_else(|| Errno::ENOENT.into())
    }

    fn del_namespace(&mut self, name: &SandboxName, owner: &crate::intent::ClusterId) -> Outcome {
        let sandbox = self.sandbox(name)?;
        if sandbox.owner != Owner::Cluster(owner.clone()) {
            return Err(Errno::EPERM.into());
        }
        let sandbox = sandbox.clone();
        // Linux would take all of it along; a plan never relies on that for what is ours.
        let ours = |object: &Object| {
            object.is_of_our_kind() && !matches!(object, Object::Namespace { .. })
        };
        if sandbox.objects(&self.node).iter().any(ours) {
            return Err(Errno::EBUSY.into());
        }
        self.node.sandboxes.remove(name);
        Ok(())
    }

    fn add_veth(
        &mut self,
        sandbox: &SandboxName,
        name: &LinkName,
        mac: Option<Mac>,
        mtu: u32,
        up: bool,
        port: &Port,
    ) -> Outcome {
        let peer_sandbox = self.sandbox(&port.peer.sandbox)?;
        if peer_sandbox.links.contains_key(&port.peer.link) {
            return Err(Errno::EEXIST.into());
        }
        needs_master(peer_sandbox, port.master.as_ref())?;
        if self.sandbox(sandbox)?.links.contains_key(name) {
            return Err(Errno::EEXIST.into());
        }
        let veth = |sandbox: &SandboxName, link: &LinkName| LinkKind::Veth {
            peer: Some(PeerName { sandbox: sandbox.clone(), link: link.clone() }),
        };
        let kind = veth(sandbox, name);
        let (mtu_there, isolated, up_there) = (port.mtu, port.isolated, port.up);
        let master = port.master.clone();
        let end = Link { kind, mac: None, mtu: mtu_there, master, isolated, up: up_there };
        self.sandbox(&port.peer.sandbox)?.links.insert(port.peer.link.clone(), end);
        let kind = veth(&port.peer.sandbox, &port.peer.link);
        let end = Link { kind, mac, mtu, master: None, isolated: false, up };
        self.sandbox(sandbox)?.links.insert(name.clone(), end);
        Ok(())
    }

    fn del_veth(&mut self, sandbox: &SandboxName, name: &LinkName, peer: &PeerName) -> Outcome {
        unused_link(self.sandbox(sandbox)?, name)?;
        self.sandbox(sandbox)?.links.remove(name).ok_or(Errno::ENODEV)?;
        if let Some(other) = self.node.sandboxes.get_mut(&peer.sandbox) {
            other.links.remove(&peer.link);
        }
        Ok(())
    }

    fn set_veth(
        &mut self,
        sandbox: &SandboxName,
        name: &LinkName,
        mac: Option<Mac>,
        mtu: u32,
        up: bool,
        port: &Port,
    ) -> Outcome {
        let peer_sandbox = self.sandbox(&port.peer.sandbox)?;
        needs_master(peer_sandbox, port.master.as_ref())?;
        let other = peer_sandbox.links.get_mut(&port.peer.link).ok_or(Errno::ENODEV)?;
        (other.master, other.mtu, other.up) = (port.master.clone(), port.mtu, port.up);
        other.isolated = port.isolated;
        let sandbox = self.sandbox(sandbox)?;
        if !up {
            free_of_paths(sandbox, name)?;
        }
        let link = sandbox.links.get_mut(name).ok_or(Errno::ENODEV)?;
        (link.mac, link.mtu, link.up) = (mac, mtu, up);
        Ok(())
    }
}

impl Kernel for Rehearsal {
    fn observe(&mut self, scope: &Scope) -> Result<Node, Refusal> {
        let mut node = self.node.clone();
        node.sandboxes.retain(|name, sandbox| match scope {
            Scope::All => true,
            Scope::Only(names) => names.contains(name),
            Scope::Cluster(id, names) => {
                let ours = [Owner::Cluster(id.clone()), Owner::Guest(id.clone())];
                names.contains(name) || ours.contains(&sandbox.owner)
            }
        });
        Ok(node)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(ops.len());
        for op in ops {
            outcomes.push(self.try_op(op));
            if outcomes.last().is_some_and(Result::is_err) {
                break;
            }
        }
        outcomes
    }
}

/// Where we are guests, the namespace is there before us and after us.
fn is_left(sandbox: &Sandbox) -> bool {
    matches!(sandbox.owner, Owner::Guest(_)) && sandbox.is_vacant()
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Outcome {
    match map.entry(key) {
        Entry::Occupied(_) => Err(Errno::EEXIST.into()),
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
    }
}

fn remove<K: Ord, V>(map: &mut BTreeMap<K, V>, key: &K) -> Outcome {
    map.remove(key).map(|_| ()).ok_or_else(|| Errno::ENOENT.into())
}

fn needs_master(sandbox: &Sandbox, master: Option<&LinkName>) -> Outcome {
    match master {
        Some(master) if !sandbox.links.contains_key(master) => Err(Errno::ENODEV.into()),
        _ => Ok(()),
    }
}

/// Linux would take the paths over a link that goes down along.
fn free_of_paths(sandbox: &Sandbox, link: &LinkName) -> Outcome {
    match sandbox.paths.iter().any(|path| path.link == *link) {
        true => Err(Errno::EBUSY.into()),
        false => Ok(()),
    }
}

/// As with paths.
fn free_of_neighbours(sandbox: &Sandbox, link: &LinkName) -> Outcome {
    match sandbox.neighbours.iter().any(|held| held.link == *link) {
        true => Err(Errno::EBUSY.into()),
        false => Ok(()),
    }
}

fn unused_link(sandbox: &Sandbox, name: &LinkName) -> Outcome {
    let has_port = sandbox.links.values().any(|link| link.master.as_ref() == Some(name));
    let has_address = sandbox.addresses.iter().any(|address| address.link == *name);
    let has_row = sandbox.forwarding.iter().any(|entry| entry.link == *name)
        || sandbox.neighbours.iter().any(|held| held.link == *name);
    if has_port || has_address || has_row { Err(Errno::EBUSY.into()) } else { Ok(()) }
}

fn table(sandbox: &mut Sandbox) -> Result<&mut Table, Refusal> {
    sandbox.table.as_mut().ok_or_else(|| Errno::ENOENT.into())
}

fn add(sandbox: &mut Sandbox, object: &Object) -> Outcome {
    match object {
        Object::Link { name, link } if link.kind == LinkKind::Loopback => {
            let lo = sandbox.links.get_mut(name).ok_or(Errno::ENODEV)?;
            if lo.up {
                return Err(Errno::EEXIST.into());
            }
            lo.up = link.up;
            Ok(())
        }
        Object::Link { name, link } => {
            needs_master(sandbox, link.master.as_ref())?;
            insert(&mut sandbox.links, name.clone(), (**link).clone())
        }
        Object::Address(address) => {
            if !sandbox.links.contains_key(&address.link) {
                return Err(Errno::ENODEV.into());
            }
            if sandbox.addresses.insert(address.clone()) {
                Ok(())
            } else {
                Err(Errno::EEXIST.into())
            }
        }
        Object::Forwarding(_) | Object::Neighbour(_) => add_row(sandbox, object),
        Object::Path(path) => add_path(sandbox, path),
        Object::Turn(mark) => match sandbox.turns.insert(*mark) {
            true => Ok(()),
            false => Err(Errno::EEXIST.into()),
        },
        Object::Route(route) => {
            // The kernel wants a preferred source to be an address of its own.
            if !sandbox.addresses.iter().any(|address| address.net.addr() == route.source) {
                return Err(Errno::EINVAL.into());
            }
            if sandbox.routes.iter().any(|other| other.address == route.address) {
                return Err(Errno::EEXIST.into());
            }
            sandbox.routes.insert(route.clone());
            Ok(())
        }
        Object::Sysctl { sysctl, value } => insert(&mut sandbox.sysctls, *sysctl, *value),
        Object::Table if sandbox.table.is_some() => Err(Errno::EEXIST.into()),
        Object::Table => {
            sandbox.table = Some(Table::default());
            Ok(())
        }
        Object::BaseRule(rule) => {
            if table(sandbox)?.rules.insert(*rule) {
                Ok(())
            } else {
                Err(Errno::EEXIST.into())
            }
        }
        Object::Guard(address) => {
            if table(sandbox)?.guards.insert(*address) {
                Ok(())
            } else {
                Err(Errno::EEXIST.into())
            }
        }
        Object::Mark { address, fwmark } => insert(&mut table(sandbox)?.marks, *address, *fwmark),
        Object::Dispatch { fwmark, dispatch } => {
            insert(&mut table(sandbox)?.dispatches, *fwmark, dispatch.clone())
        }
        Object::Publication(held) => publish(table(sandbox)?, *held),
        Object::VirtualServer { key, scheduler, flags, persistence, client_bits, rotation } => {
            let server = VirtualServer {
                scheduler: scheduler.clone(),
                flags: *flags,
                persistence: *persistence,
                client_bits: *client_bits,
                rotation: *rotation,
                real_servers: RealServers::default(),
            };
            insert(&mut sandbox.virtual_servers, *key, server)
        }
        Object::RealServer { server, key, real } => {
            // Without `lo` there is no local routing table, and the kernel's check fails.
            if !sandbox.links.iter().any(|(name, link)| name.as_str() == "lo" && link.up) {
                return Err(Errno::EINVAL.into());
            }
            let server = sandbox.virtual_servers.get_mut(server).ok_or(Errno::ESRCH)?;
            match server.real_servers.get(key) {
                Some(_) => Err(Errno::EEXIST.into()),
                None => {
                    server.real_servers.insert(*key, *real);
                    Ok(())
                }
            }
        }
        Object::State(state) => add_state(sandbox, state),
        Object::Policy(policy) => {
            let same = |held: &SecurityPolicy| held.packets() == policy.packets();
            if sandbox.policies.iter().any(same) {
                return Err(Errno::EEXIST.into());
            }
            has_state(sandbox, policy)?;
            sandbox.policies.insert((**policy).clone());
            Ok(())
        }
        Object::Process(_) if sandbox.process.is_some() => Err(Errno::EEXIST.into()),
        Object::Process(process) => {
            sandbox.process = Some((**process).clone());
            Ok(())
        }
        Object::Namespace { .. } | Object::Veth { .. } => Err(Errno::EINVAL.into()),
    }
}

/// The map stands with its rule.
fn publish(table: &mut Table, held: Publication) -> Outcome {
    if !table.rules.contains(&held.map().rule()) {
        return Err(Errno::ENOENT.into());
    }
    let same = |other: &Publication| other.map() == held.map() && other.at == held.at;
    if table.publications.iter().any(same) {
        return Err(Errno::EEXIST.into());
    }
    table.publications.insert(held);
    Ok(())
}

/// The kernel wants the link to be up, the source to be an address of its own, and a router to be
/// in a subnet of the link.
fn add_path(sandbox: &mut Sandbox, path: &Path) -> Outcome {
    let link = sandbox.links.get(&path.link).ok_or(Errno::ENODEV)?;
    if !link.up {
        return Err(Errno::ENETDOWN.into());
    }
    if !sandbox.addresses.iter().any(|address| address.net.addr() == path.source) {
        return Err(Errno::EINVAL.into());
    }
    let reached = |via| {
        let mut on_link = sandbox.addresses.iter().filter(|address| address.link == path.link);
        on_link.any(|address| address.net.contains(via))
    };
    if path.via.as_ref().is_some_and(|via| !reached(via)) {
        return Err(Errno::ENETUNREACH.into());
    }
    if sandbox.paths.iter().any(|other| (other.mark, other.to) == (path.mark, path.to)) {
        return Err(Errno::EEXIST.into());
    }
    sandbox.paths.insert(path.clone());
    Ok(())
}

fn add_state(sandbox: &mut Sandbox, state: &SecurityState) -> Outcome {
    let (destination, spi) = (state.destination, state.spi);
    if sandbox.states.iter().any(|held| (held.destination, held.spi) == (destination, spi)) {
        return Err(Errno::EEXIST.into());
    }
    sandbox.states.insert(state.clone());
    Ok(())
}

/// Linux takes a policy without its state too, and then drops what it is for.
fn has_state(sandbox: &Sandbox, policy: &SecurityPolicy) -> Outcome {
    match sandbox.states.iter().any(|state| state.serves(policy)) {
        true => Ok(()),
        false => Err(Errno::ESRCH.into()),
    }
}

/// A row stands on a link, and there is one of its key.
fn add_row(sandbox: &mut Sandbox, object: &Object) -> Outcome {
    let (Object::Forwarding(ForwardingEntry { link, .. })
    | Object::Neighbour(Neighbour { link, .. })) = object
    else {
        return Err(Errno::EINVAL.into());
    };
    if !sandbox.links.contains_key(link) {
        return Err(Errno::ENODEV.into());
    }
    if row(sandbox, &object.key()).is_some() {
        return Err(Errno::EEXIST.into());
    }
    match object {
        Object::Forwarding(entry) => sandbox.forwarding.insert(entry.clone()),
        Object::Neighbour(held) => sandbox.neighbours.insert(held.clone()),
        _ => false,
    };
    Ok(())
}

/// The row of that key.
fn row(sandbox: &Sandbox, key: &Key) -> Option<Object> {
    let forwarding = sandbox.forwarding.iter().cloned().map(Object::Forwarding);
    let mut rows = forwarding.chain(sandbox.neighbours.iter().cloned().map(Object::Neighbour));
    rows.find(|row| row.key() == *key)
}

fn del_row(sandbox: &mut Sandbox, object: &Object) -> Outcome {
    let removed = match object {
        Object::Forwarding(entry) => sandbox.forwarding.remove(entry),
        Object::Neighbour(held) => sandbox.neighbours.remove(held),
        _ => false,
    };
    if removed { Ok(()) } else { Err(Errno::ENOENT.into()) }
}

fn set_row(sandbox: &mut Sandbox, from: &Object, to: &Object) -> Outcome {
    if from.key() != to.key() {
        return Err(Errno::EINVAL.into());
    }
    del_row(sandbox, from)?;
    add_row(sandbox, to)
}

fn del(sandbox: &mut Sandbox, object: &Object) -> Outcome {
    match object {
        Object::Link { name, link } if link.kind == LinkKind::Loopback => {
            // What is foreign goes with the sandbox: it is in nobody's plan.
            let ours = sandbox.virtual_servers.keys().any(|key| key.is_of_our_kind());
            let busy = ours || !sandbox.routes.is_empty();
            let lo = sandbox.links.get_mut(name).ok_or(Errno::ENODEV)?;
            if busy {
                return Err(Errno::EBUSY.into());
            }
            lo.up = false;
            Ok(())
        }
        Object::Link { name, .. } => {
            unused_link(sandbox, name)?;
            sandbox.links.remove(name).map(|_| ()).ok_or_else(|| Errno::ENODEV.into())
        }
        Object::Address(address) => {
            let own = address.net.addr();
            let routed = sandbox.routes.iter().any(|route| route.source == own);
            if routed || sandbox.paths.iter().any(|path| path.source == own) {
                return Err(Errno::EBUSY.into());
            }
            if sandbox.addresses.remove(address) {
                Ok(())
            } else {
                Err(Errno::EADDRNOTAVAIL.into())
            }
        }
        Object::Forwarding(_) | Object::Neighbour(_) => del_row(sandbox, object),
        Object::Path(path) => {
            if sandbox.paths.remove(path) {
                Ok(())
            } else {
                Err(Errno::ESRCH.into())
            }
        }
        Object::Turn(mark) => match sandbox.turns.remove(mark) {
            true => Ok(()),
            false => Err(Errno::ENOENT.into()),
        },
        Object::Route(route) => {
            if sandbox.routes.remove(route) {
                Ok(())
            } else {
                Err(Errno::ESRCH.into())
            }
        }
        Object::Sysctl { sysctl, .. } => remove(&mut sandbox.sysctls, sysctl),
        Object::Table => {
            let table = table(sandbox)?;
            if *table != Table::default() {
                return Err(Errno::EBUSY.into());
            }
            sandbox.table = None;
            Ok(())
        }
        Object::BaseRule(rule) => {
            let table = table(sandbox)?;
            // Linux would take the map's elements along.
            if table.publications.iter().any(|held| held.map().rule() == *rule) {
                return Err(Errno::EBUSY.into());
            }
            if table.rules.remove(rule) { Ok(()) } else { Err(Errno::ENOENT.into()) }
        }
        Object::Guard(address) => {
            if table(sandbox)?.guards.remove(address) {
                Ok(())
            } else {
                Err(Errno::ENOENT.into())
            }
        }
        Object::Mark { address, .. } => remove(&mut table(sandbox)?.marks, address),
        Object::Dispatch { fwmark, .. } => remove(&mut table(sandbox)?.dispatches, fwmark),
        Object::Publication(held) => {
            if table(sandbox)?.publications.remove(held) {
                Ok(())
            } else {
                Err(Errno::ENOENT.into())
            }
        }
        Object::VirtualServer { key, .. } => match sandbox.virtual_servers.get(key) {
            None => Err(Errno::ESRCH.into()),
            Some(server) if !server.real_servers.is_empty() => Err(Errno::EBUSY.into()),
            Some(_) => remove(&mut sandbox.virtual_servers, key),
        },
        Object::RealServer { server, key, .. } => {
            let server = sandbox.virtual_servers.get_mut(server).ok_or(Errno::ESRCH)?;
            server.real_servers.remove(key).map(|_| ()).ok_or_else(|| Errno::ENOENT.into())
        }
        Object::State(state) => {
            if sandbox.policies.iter().any(|policy| state.serves(policy)) {
                return Err(Errno::EBUSY.into());
            }
            match sandbox.states.remove(state) {
                true => Ok(()),
                false => Err(Errno::ESRCH.into()),
            }
        }
        Object::Policy(policy) => match sandbox.policies.remove(policy) {
            true => Ok(()),
            false => Err(Errno::ENOENT.into()),
        },
        Object::Process(_) => sandbox.process.take().map(|_| ()).ok_or_else(|| Errno::ESRCH.into()),
        Object::Namespace { .. } | Object::Veth { .. } => Err(Errno::EINVAL.into()),
    }
}

/// Changes a value in place; `from` must be what is there.
fn set(sandbox: &mut Sandbox, from: &Object, to: &Object) -> Outcome {
    fn swap<T: PartialEq + Clone>(place: Option<&mut T>, from: &T, to: &T) -> Outcome {
        match place {
            None => Err(Errno::ENOENT.into()),
            Some(value) if value != from => Err(Errno::ESTALE.into()),
            Some(value) => {
                *value = to.clone();
                Ok(())
            }
        }
    }
    match (from, to) {
        (Object::Link { name, link: from }, Object::Link { link: to, .. }) => {
            needs_master(sandbox, to.master.as_ref())?;
            if !to.up {
                free_of_paths(sandbox, name)?;
                free_of_neighbours(sandbox, name)?;
            }
            swap(sandbox.links.get_mut(name), from, to)
        }
        (Object::Policy(from), Object::Policy(to)) => {
            has_state(sandbox, to)?;
            if !sandbox.policies.remove(from) {
                return Err(Errno::ENOENT.into());
            }
            sandbox.policies.insert((**to).clone());
            Ok(())
        }
        (Object::Forwarding(_), Object::Forwarding(_))
        | (Object::Neighbour(_), Object::Neighbour(_)) => set_row(sandbox, from, to),
        (Object::Sysctl { sysctl, value: from }, Object::Sysctl { value: to, .. }) => {
            swap(sandbox.sysctls.get_mut(sysctl), from, to)
        }
        (Object::Mark { address, fwmark: from }, Object::Mark { fwmark: to, .. }) => {
            swap(table(sandbox)?.marks.get_mut(address), from, to)
        }
        (Object::Dispatch { fwmark, dispatch: from }, Object::Dispatch { dispatch: to, .. }) => {
            swap(table(sandbox)?.dispatches.get_mut(fwmark), from, to)
        }
        (Object::Publication(from), Object::Publication(to)) => {
            let table = table(sandbox)?;
            if !table.publications.remove(from) {
                return Err(Errno::ENOENT.into());
            }
            publish(table, *to)
        }
        (
            Object::VirtualServer { key, .. },
            Object::VirtualServer { scheduler, flags, persistence, client_bits, rotation, .. },
        ) => {
            let server = sandbox.virtual_servers.get_mut(key).ok_or(Errno::ESRCH)?;
            server.scheduler = scheduler.clone();
            (server.flags, server.rotation) = (*flags, *rotation);
            (server.persistence, server.client_bits) = (*persistence, *client_bits);
            Ok(())
        }
        (Object::RealServer { server, key, real: from }, Object::RealServer { real: to, .. }) => {
            let server = sandbox.virtual_servers.get_mut(server).ok_or(Errno::ESRCH)?;
            swap(server.real_servers.get_mut(key), from, to)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
