//! The order of operations: what must go before what.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::node::{
    LinkKind, Node, Object, RealServerKey, SandboxName, VirtualServer, VirtualServerKey,
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
        Object::Sysctl { .. } => 6,
        Object::Table => 7,
        Object::BaseRule(_) => 8,
        Object::Guard(_) => 9,
        Object::Mark { .. } => 10,
        Object::VirtualServer { .. } => 11,
        Object::RealServer { .. } | Object::Dispatch { .. } => 12,
        Object::Route(_) => 13,
        Object::Process(_) => 14,
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
    /// Rules and servers of sandboxes that go.
    Inside,
    Links,
}

fn stage(object: &Object, sandbox_goes: bool) -> Stage {
    match object {
        Object::Process(_) => Stage::Process,
        other if is_link(other) => Stage::Links,
        _ if sandbox_goes => Stage::Inside,
        _ => Stage::Elsewhere,
    }
}

/// Whether it is a namespace or a link, on which all else stands.
pub fn is_link(object: &Object) -> bool {
    matches!(object, Object::Namespace { .. } | Object::Link { .. } | Object::Veth { .. })
}

/// Objects of `node`, in the order of their keys sandbox by sandbox, in the order in which they must
/// go.
pub fn teardown<'a>(
    node: &Node,
    objects: Vec<(&'a SandboxName, &'a Object)>,
) -> Vec<(&'a SandboxName, &'a Object)> {
    let going: BTreeSet<&SandboxName> = objects
        .iter()
        .filter(|(_, object)| matches!(object, Object::Namespace { .. }))
        .map(|(sandbox, _)| *sandbox)
        .collect();
    let mut picks = Picks::new(node);
    let mut turns: Vec<_> = objects
        .into_iter()
        .map(|(sandbox, object)| {
            let turn = Turn::of(sandbox, object, going.contains(sandbox), &mut picks);
            (turn, object)
        })
        .collect();
    // Stable, so that equals stay in the order of their keys.
    turns.sort_by(|(one, _), (other, _)| one.cmp(other));
    turns.into_iter().map(|(turn, object)| (turn.sandbox, object)).collect()
}

/// When an object goes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn<'a> {
    stage: Stage,
    /// Links go by floor over all sandboxes, all else sandbox by sandbox, so that what goes to one
    /// sandbox goes in one batch.
    link: Reverse<u8>,
    sandbox: &'a SandboxName,
    floor: Reverse<u8>,
    server: Option<VirtualServerKey>,
    pick: usize,
}

impl<'a> Turn<'a> {
    fn of(
        sandbox: &'a SandboxName,
        object: &Object,
        sandbox_goes: bool,
        picks: &mut Picks<'_>,
    ) -> Self {
        let stage = stage(object, sandbox_goes);
        let floor = floor(object);
        let (link, floor) = if stage == Stage::Links { (floor, 0) } else { (0, floor) };
        let (server, pick) = match object {
            Object::RealServer { server, key, .. } => {
                (Some(*server), picks.pick(sandbox, server, key))
            }
            _ => (None, 0),
        };
        Self { stage, link: Reverse(link), sandbox, floor: Reverse(floor), server, pick }
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
    ) -> usize {
        self.find(sandbox, server).map_or(0, |server| position(server, real))
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
    let index = server.real_servers.keys().position(|key| key == real).unwrap_or_default();
    let count = server.real_servers.len().max(1);
    (index + count - server.rotation.0 as usize % count) % count
}
