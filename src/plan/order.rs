//! The order of operations: what must go before what.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::node::{LinkKind, Object, RealServerKey, SandboxName, VirtualServerKey};

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
        Object::Path(_) | Object::Sysctl { .. } => 6,
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

/// Sorts what goes into the order in which it must go. `picks` tells the place of a real server in
/// the order in which round robin shall pick.
pub fn teardown(
    objects: &mut [(&SandboxName, &Object)],
    picks: impl Fn(&SandboxName, &VirtualServerKey, &RealServerKey) -> usize,
) {
    let going: BTreeSet<SandboxName> = objects
        .iter()
        .filter(|(sandbox, object)| match object {
            Object::Namespace { .. } => true,
            // Where we are guests there is no namespace to go: its links are all that stands there.
            Object::Link { .. } | Object::Veth { .. } => sandbox.guest().is_some(),
            _ => false,
        })
        .map(|(sandbox, _)| (*sandbox).clone())
        .collect();
    objects.sort_by_cached_key(|(sandbox, object)| {
        let stage = stage(object, going.contains(sandbox));
        let floor = Reverse(floor(object));
        // Links go by floor over all sandboxes, all else sandbox by sandbox, so that what goes to
        // one sandbox goes in one batch.
        let (before, after) =
            if stage == Stage::Links { (floor, Reverse(0)) } else { (Reverse(0), floor) };
        let (server, pick) = match object {
            Object::RealServer { server, key, .. } => (Some(*server), picks(sandbox, server, key)),
            _ => (None, 0),
        };
        (stage, before, (*sandbox).clone(), after, server, pick, object.key())
    });
}

/// The place of a real server in the order in which round robin shall pick: the `rotation`-th of
/// the sorted list is the first.
pub fn position(all: &[RealServerKey], key: &RealServerKey, rotation: u32) -> usize {
    let index = all.iter().position(|other| other == key).unwrap_or_default();
    let count = all.len().max(1);
    (index + count - rotation as usize % count) % count
}
