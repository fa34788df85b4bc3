//! Tasks that are gone from the cluster: what is tracked of connections to them is forgotten, or clients
//! would go on sending to addresses that nobody has. Those that leave keep theirs until they are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::intent::{Intent, NetworkName, NodeName, Subnet};
use crate::kernel::connections::wire::Entry;
use crate::node::SandboxName;

/// Which addresses tasks had when connections were forgotten last.
#[derive(Debug, Default)]
pub struct Former {
    /// None before the first time: whoever went before this agent began is not known.
    held: Option<BTreeMap<NetworkName, BTreeSet<Ipv4Addr>>>,
}

/// What is nobody's on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nobodys {
    subnets: Vec<Subnet>,
    used: BTreeSet<Ipv4Addr>,
}

/// Where connections are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub sandbox: SandboxName,
    pub network: NetworkName,
    /// Somebody else's namespace: only what was sent to the network itself is the cluster's there.
    is_guest: bool,
}

impl Former {
    /// The networks that tasks are gone from since the last time, with what is nobody's there.
    pub fn lost(&mut self, intent: &Intent) -> BTreeMap<NetworkName, Nobodys> {
        let mut now: BTreeMap<NetworkName, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for endpoint in intent.tasks.values().flat_map(|task| &task.endpoints) {
            now.entry(endpoint.network.clone()).or_default().insert(endpoint.address);
        }
        let nobody = BTreeSet::new();
        let lost = |name: &NetworkName| match &self.held {
            None => true,
            Some(held) => {
                held.get(name).is_some_and(|held| !held.is_subset(now.get(name).unwrap_or(&nobody)))
            }
        };
        let lost: BTreeMap<_, _> = intent
            .networks
            .values()
            .filter(|network| lost(&network.name))
            .map(|network| {
                let (subnets, used) = (network.subnets(), intent.addresses_used(&network.name));
                (network.name.clone(), Nobodys { subnets, used })
            })
            .collect();
        self.held = Some(now);
        lost
    }
}

/// The sandboxes of a node that send to a network.
pub fn places(intent: &Intent, node: &NodeName, network: &NetworkName) -> Vec<Place> {
    let place = |sandbox, is_guest| Place { sandbox, network: network.clone(), is_guest };
    let tasks = intent.tasks_on(network).filter(|(task, _)| task.node == *node);
    let tasks = tasks.map(|(task, _)| place(SandboxName::from(&task.name), false));
    let ingress = intent.ingress_on(network).filter(|(name, _)| *name == node);
    let ingress = ingress
        .filter(|_| intent.has_meshed_services())
        .map(|_| place(SandboxName::ingress(), false));
    let guests = intent.attached_to(network).filter(|held| held.node == *node);
    let guests = guests
        .map(|held| place(SandboxName::of_attached(&intent.cluster.id, &held.namespace), true));
    tasks.chain(ingress).chain(guests).collect()
}

impl Nobodys {
    /// Whether a connection was sent on to an address that nobody has.
    pub fn has(&self, place: &Place, entry: &Entry) -> bool {
        let on_network = |address| self.subnets.iter().any(|subnet| subnet.contains(address));
        entry.is_rewritten()
            && on_network(entry.answers)
            && !self.used.contains(&entry.answers)
            && (!place.is_guest || on_network(entry.asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, service, story};

    fn entry(asked: [u8; 4], answers: [u8; 4]) -> Entry {
        Entry::between(asked.into(), answers.into())
    }

    fn net() -> NetworkName {
        "collabnet".parse().unwrap()
    }

    #[test]
    fn only_networks_that_a_task_is_gone_from_are_looked_at() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        service(&mut intent, "web", "other", 1);
        let mut former = Former::default();
        let first: Vec<NetworkName> = former.lost(&intent).into_keys().collect();
        assert_eq!(first.len(), 2, "who went before this agent is not known");
        assert!(former.lost(&intent).is_empty());
        let web = "collabweb".parse().unwrap();
        intent.drain_service(&web, 2, 0).unwrap();
        assert!(former.lost(&intent).is_empty(), "one that leaves is there");
        let left: Vec<_> =
            intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone())).collect();
        assert!(intent.finish_leaving(&left));
        let lost: Vec<NetworkName> = former.lost(&intent).into_keys().collect();
        assert_eq!(lost, [net()]);
        intent.scale_service(&web, 5).unwrap();
        assert!(former.lost(&intent).is_empty(), "nobody went");
    }

    #[test]
    fn only_what_was_sent_on_to_nobody_is_forgotten() {
        let intent = story();
        let lost = Former::default().lost(&intent);
        let nobodys = &lost[&net()];
        let places = places(&intent, &"node-1".parse().unwrap(), &net());
        assert_eq!(places.len(), 4, "{places:?}");
        assert!(super::places(&intent, &"node-2".parse().unwrap(), &net()).is_empty());
        let (vip, live, gone, outside) =
            ([10, 0, 3, 2], [10, 0, 3, 4], [10, 0, 3, 99], [192, 0, 2, 9]);
        let own = &places[0];
        assert!(nobodys.has(own, &entry(vip, gone)));
        assert!(nobodys.has(own, &entry([172, 16, 0, 2], gone)), "as in an ingress sandbox");
        assert!(!nobodys.has(own, &entry(vip, live)), "it lives");
        assert!(!nobodys.has(own, &entry(gone, gone)), "it was asked for itself");
        assert!(!nobodys.has(own, &entry(vip, outside)), "that is not the network's");
        let guest = Place { is_guest: true, ..own.clone() };
        assert!(nobodys.has(&guest, &entry(vip, gone)));
        assert!(!nobodys.has(&guest, &entry(outside, gone)), "rewritten by somebody else");
    }
}
