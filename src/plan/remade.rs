//! What must be taken down and made anew though it is wanted: what cannot be changed in place, and
//! what stands on such a thing, for Linux takes that along.

use std::collections::BTreeSet;

use super::{Index, Place};
use crate::node::{
    Address, ForwardingEntry, Key, LinkName, Neighbour, Object, Path, Route, SandboxName, Sysctl,
};

/// Where the objects are that are made anew; each is both there and wanted.
pub type Remade<'a> = BTreeSet<&'a Place<'a>>;

/// What of `have` has another value in `want` that it cannot become, and all that stands on it.
pub fn remade<'a>(have: &'a Index<'a>, want: &Index<'_>) -> Remade<'a> {
    let cannot_become = |(at, object): &(&Place<'_>, &Object)| {
        want.get(at).is_some_and(|other| other != *object && !object.can_become(other))
    };
    let mut remade: Remade<'a> = have.iter().filter(cannot_become).map(|(at, _)| at).collect();
    if remade.is_empty() && have.iter().all(|(at, _)| want.contains(at)) {
        return remade;
    }
    // Nothing stands higher than three floors above a link: port, address, route.
    loop {
        let goes = |at: &Place<'_>| remade.contains(at) || !want.contains(at);
        let falls = |(at, object): &(&Place<'_>, &Object)| {
            want.contains(at) && !remade.contains(*at) && loses_ground(have, want, at, object, goes)
        };
        let more: Vec<_> = have.iter().filter(falls).map(|(at, _)| at).collect();
        if more.is_empty() {
            return remade;
        }
        remade.extend(more);
    }
}

/// Whether something that an object stands on goes.
fn loses_ground(
    have: &Index<'_>,
    want: &Index<'_>,
    at: &Place<'_>,
    object: &Object,
    goes: impl Fn(&Place<'_>) -> bool,
) -> bool {
    let goes = |sandbox: &SandboxName, key: Key| {
        let at = (sandbox, key);
        have.contains(&at) && goes(&at)
    };
    let sandbox = at.0;
    match object {
        Object::Link { link, .. } => {
            link.master.as_ref().is_some_and(|master| goes(sandbox, Key::Link(master.clone())))
        }
        Object::Veth { port, .. } => port
            .master
            .as_ref()
            .is_some_and(|master| goes(&port.peer.sandbox, Key::Link(master.clone()))),
        // What shall be sent under another state is changed in place, before the old one goes.
        Object::Policy(policy) => {
            let state = (sandbox, Key::State(policy.destination, policy.spi));
            let changes = want.get(at).is_some_and(|wanted| wanted != object);
            (!changes || want.contains(&state)) && goes(state.0, state.1)
        }
        Object::Address(address) => goes(sandbox, Key::Link(address.link.clone())),
        Object::Sysctl { sysctl: Sysctl::RouteLocalnet, .. } => sandbox
            .guest()
            .is_some_and(|cluster| goes(sandbox, Key::Link(LinkName::gateway_bridge(&cluster)))),
        Object::Forwarding(ForwardingEntry { link, .. })
        | Object::Neighbour(Neighbour { link, .. }) => goes(sandbox, Key::Link(link.clone())),
        Object::Route(Route { source, .. }) | Object::Path(Path { source, .. }) => {
            addresses(have, sandbox)
                .filter(|address| address.net.addr() == *source)
                .any(|address| goes(sandbox, Key::Address(address.clone())))
        }
        _ => false,
    }
}

/// The addresses of one sandbox.
fn addresses<'a>(
    have: &'a Index<'_>,
    sandbox: &'a SandboxName,
) -> impl Iterator<Item = &'a Address> {
    have.of(sandbox).filter_map(|object| match object {
        Object::Address(address) => Some(address),
        _ => None,
    })
}
