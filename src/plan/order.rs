//! The order of operations: what must go before what.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::node::{
    LinkKind, Node, Object, RealServerKey, SandboxName, Sysctl, VirtualServer, VirtualServerKey,
};

/// How high above the namespace an object stands: teardown goes from the highest floor down,
/// setup upwards. A VIP's route comes last and goes first, so that a VIP is there only when
/// everything behind it is.
pub fn floor(object: &Object) -> u8 {
    match object {
        Object::Namespace { .. } => 0,
        Object::Link { link, .. } => match link.kind {
            LinkKind::Loopback => 1,
            LinkKind::Vxlan { .. } => 3,
            LinkKind::Veth { .. } => 4,
            _ => 2,
        },
        Object::Veth { .. } => 4,
        Object::Address(_) => 5,
        // It is read only where there are turns.
        Object::Sysctl { sysctl: Sysctl::SourceByMark, .. } => 7,
        Object::Path(_)
        | Object::Turn(_)
        | Object::Sysctl { .. }
        | Object::Forwarding(_)
        | Object::Neighbour(_) => 6,
        Object::Table => 7,
        Object::BaseRule(_) => 8,
        Object::Guard(_) => 9,
        Object::Mark { .. } => 10,
        Object::VirtualServer { .. } => 11,
        Object::RealServer { .. } | Object::Dispatch { .. } => 12,
        Object::Route(_) | Object::Publication(_) => 13,
        Object::Process(_) => 14,
        Object::State(_) => 1,
        Object::Policy(_) => 9,
    }
}

/// When an object goes, beside those of other sandboxes. First everything stops pointing at what
/// goes, then its process ends, then its own sandbox is taken apart; links come last, for a veth
/// pair stands in two sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Rules and servers of sandboxes that stay.
    Elsewhere,
    Process,
    /// Rules and servers of sandboxes that go, and ways to other nodes.
    Inside,
    /// What encrypts, or drops what is not encrypted: there before anything is sent, and after.
    Shield,
    Links,
    /// By itself a state does nothing: it is there before all that needs it, and after.
    States,
}

fn stage(sandbox: &SandboxName, object: &Object, sandbox_goes: bool) -> Stage {
    match object {
        Object::State(_) => Stage::States,
        Object::Policy(_) => Stage::Shield,
        Object::BaseRule(rule) if rule.encrypts() => Stage::Shield,
        Object::Table if sandbox.guest().is_some() => Stage::Shield,
        Object::Process(_) => Stage::Process,
        other if is_link(other) => Stage::Links,
        // The way to a task of another node stands for longer than anybody is sent to it.
        Object::Forwarding(_) | Object::Neighbour(_) => Stage::Inside,
        _ if sandbox_goes => Stage::Inside,
        _ => Stage::Elsewhere,
    }
}

/// Whether it is a namespace or a link, on which all else stands.
pub fn is_link(object: &Object) -> bool {
    matches!(object, Object::Namespace { .. } | Object::Link { .. } | Object::Veth { .. })
}

/// Whether it is a state of what encrypts, which comes before all else and goes after it.
pub fn is_state(object: &Object) -> bool {
    matches!(object, Object::State(_))
}

/// Sorts objects of `node`, which come in the order of their keys sandbox by sandbox, into the order in
/// which they must go.
pub fn teardown<'a>(
    node: &Node,
    objects: impl Iterator<Item = (&'a SandboxName, &'a Object)> + Clone,
) -> Vec<(&'a SandboxName, &'a Object)> {
    let going: BTreeSet<&SandboxName> = objects
        .clone()
        .filter(|(sandbox, object)| match object {
            Object::Namespace { .. } => true,
            // Where we are guests there is no namespace to go: its links are all that stands there.
            Object::Link { .. } | Object::Veth { .. } => sandbox.guest().is_some(),
            _ => false,
        })
        .map(|(sandbox, _)| sandbox)
        .collect();
    let mut turns = Turns::new(node);
    let mut sorted: Vec<(Turn, &SandboxName, &Object)> = objects
        .map(|(sandbox, object)| {
            (turns.of(sandbox, object, going.contains(sandbox)), sandbox, object)
        })
        .collect();
    // Stable, so that equals stay in the order of their keys.
    sorted.sort_by_key(|(turn, _, _)| *turn);
    sorted.into_iter().map(|(_, sandbox, object)| (sandbox, object)).collect()
}

/// When an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    stage: Stage,
    /// Links go by floor over all sandboxes, all else sandbox by sandbox, so that what goes to one
    /// sandbox goes in one batch.
    link: Reverse<u8>,
    /// Sandboxes and virtual servers are numbered as they come.
    sandbox: u32,
    floor: Reverse<u8>,
    server: u32,
    pick: u32,
}

/// Gives objects their turns as they come.
struct Turns<'a> {
    picks: Picks<'a>,
    sandbox: Option<&'a SandboxName>,
    sandboxes: u32,
    server: Option<VirtualServerKey>,
    servers: u32,
}

impl<'a> Turns<'a> {
    fn new(node: &'a Node) -> Self {
        let picks = Picks::new(node);
        Self { picks, sandbox: None, sandboxes: 0, server: None, servers: 0 }
    }

    fn of(&mut self, sandbox: &'a SandboxName, object: &Object, sandbox_goes: bool) -> Turn {
        if self.sandbox != Some(sandbox) {
            (self.sandbox, self.server) = (Some(sandbox), None);
            self.sandboxes += 1;
        }
        let stage = stage(sandbox, object, sandbox_goes);
        let floor = floor(object);
        let (link, floor) = if stage == Stage::Links { (floor, 0) } else { (0, floor) };
        let (server, pick) = match object {
            Object::RealServer { server, key, .. } => self.of_real(sandbox, *server, key),
            _ => (0, 0),
        };
        let (link, floor, sandbox) = (Reverse(link), Reverse(floor), self.sandboxes);
        Turn { stage, link, sandbox, floor, server, pick }
    }

    fn of_real(
        &mut self,
        sandbox: &SandboxName,
        server: VirtualServerKey,
        real: &RealServerKey,
    ) -> (u32, u32) {
        if self.server != Some(server) {
            self.server = Some(server);
            self.servers += 1;
        }
        (self.servers, self.picks.pick(sandbox, &server, real))
    }
}

/// The order in which round robin shall pick, in a node's virtual servers.
struct Picks<'a> {
    node: &'a Node,
    /// The virtual server that was asked for last: its real servers are asked for together.
    last: Option<(&'a SandboxName, VirtualServerKey, &'a VirtualServer)>,
}

impl<'a> Picks<'a> {
    fn new(node: &'a Node) -> Self {
        Self { node, last: None }
    }

    fn pick(
        &mut self,
        sandbox: &SandboxName,
        server: &VirtualServerKey,
        real: &RealServerKey,
    ) -> u32 {
        let place = self.find(sandbox, server).map_or(0, |server| position(server, real));
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn find(
        &mut self,
        sandbox: &SandboxName,
        server: &VirtualServerKey,
    ) -> Option<&'a VirtualServer> {
        if let Some((name, key, found)) = self.last
            && key == *server
            && name == sandbox
        {
            return Some(found);
        }
        let (name, sandbox) = self.node.sandboxes.get_key_value(sandbox)?;
        let found = sandbox.virtual_servers.get(server)?;
        self.last = Some((name, *server, found));
        Some(found)
    }
}

/// The place of a real server in the order in which round robin shall pick: the `rotation`-th of
/// the sorted list is the first.
fn position(server: &VirtualServer, real: &RealServerKey) -> usize {
    let index = server.real_servers.position(real).unwrap_or_default();
    let count = server.real_servers.len().max(1);
    (index + count - server.rotation.0 as usize % count) % count
}
