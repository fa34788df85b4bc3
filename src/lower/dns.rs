//! What the resolver of each sandbox knows: from the same intent as marks and virtual servers, so
//! that names and IPVS cannot disagree.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::intent::service::DNS_TTL;
use crate::intent::{Attachment, Endpoint, Intent, NetworkName, NodeName, Service};
use crate::node::{SandboxName, Zone};

/// What one sandbox's resolver answers from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge {
    /// One for all sandboxes that are on the same networks.
    pub zone: Arc<Zone>,
    /// Where its rotation begins: sandboxes that all began with the same address would all make
    /// their first connection to one task.
    pub first_turn: u32,
}

/// What all sandboxes with tasks on one node know, and the namespaces of others that are on a network.
/// A zone is made once for each set of networks.
pub fn zones(intent: &Intent, node: &NodeName) -> BTreeMap<SandboxName, Knowledge> {
    let mut made: BTreeMap<Vec<&NetworkName>, Arc<Zone>> = BTreeMap::new();
    let mut sandboxes: BTreeMap<SandboxName, Vec<&Endpoint>> = BTreeMap::new();
    for task in intent.tasks.values().filter(|task| task.node == *node) {
        // The mesh's network is nobody's to ask about.
        let asked = task.endpoints.iter().filter(|endpoint| !intent.is_mesh(&endpoint.network));
        sandboxes.insert(SandboxName::from(&task.name), asked.collect());
    }
    for held in intent.attachments.values().filter(|held| held.node == *node && !held.leaving) {
        let name = SandboxName::of_attached(&intent.cluster.id, &held.namespace);
        sandboxes.entry(name).or_default().push(&held.endpoint);
    }
    sandboxes
        .into_iter()
        .map(|(name, endpoints)| {
            let networks: Vec<&NetworkName> = endpoints.iter().map(|on| &on.network).collect();
            let zone = match made.get(&networks) {
                Some(zone) => Arc::clone(zone),
                None => {
                    let zone = Arc::new(zone(intent, &networks));
                    made.insert(networks, Arc::clone(&zone));
                    zone
                }
            };
            let first_turn = endpoints.first().map_or(0, |endpoint| endpoint.rank);
            (name, Knowledge { zone, first_turn })
        })
        .collect()
}

/// What is known to whoever is on these networks: everything on them. Of the other networks only
/// that they are the cluster's, so that nobody else is asked about their addresses.
fn zone(intent: &Intent, networks: &[&NetworkName]) -> Zone {
    let internal = |name: &&&NetworkName| intent.networks.get(**name).is_some_and(|n| n.internal);
    let secluded = networks.iter().all(|name| internal(&name));
    let mut zone = Zone::default();
    zone.secluded = secluded;
    for pool in intent.networks.values().flat_map(|network| &network.pools) {
        zone.claim(pool.subnet.net().into());
    }
    for network in networks {
        let mut here = Zone::default();
        for service in intent.services.values() {
            if service.networks.contains(network) {
                add_service(intent, service, network, &mut here);
            }
        }
        for held in intent.attached_to(network) {
            add_attachment(held, &mut here);
        }
        // As in Docker: the first network that knows a name tells what it is.
        zone.take_in(here);
    }
    zone
}

/// What `name` shall resolve to for a sandbox; None when it is not the cluster's to answer.
pub fn expected(known: &Knowledge, name: &str) -> Option<Vec<Ipv4Addr>> {
    known.zone.named(name).map(|named| named.v4.clone())
}

fn add_attachment(held: &Attachment, zone: &mut Zone) {
    let (network, address) = (&held.endpoint.network, IpAddr::V4(held.endpoint.address));
    for name in held.names() {
        let qualified = format!("{name}.{network}");
        zone.add(name.as_str(), DNS_TTL, &[address]);
        zone.add(&qualified, DNS_TTL, &[address]);
        zone.point(address, DNS_TTL, Some(&qualified));
    }
}

fn add_service(intent: &Intent, service: &Service, network: &NetworkName, zone: &mut Zone) {
    let ttl = service.dns_ttl;
    // As NAME and as NAME.NETWORK; who serves under it is told in the same form.
    let mut add = |name: &str, addresses: &[IpAddr], targets: &[String]| {
        zone.add(name, ttl, addresses).targets.extend_from_slice(targets);
        let named = zone.add(&format!("{name}.{network}"), ttl, addresses);
        named.targets.extend(targets.iter().map(|target| format!("{target}.{network}")));
    };
    let mut pointers = Vec::new();
    // Of those in rotation.
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let aliases: Vec<String> =
        service.aliases.get(network).into_iter().flatten().map(ToString::to_string).collect();
    for task in intent.tasks_of(&service.name) {
        if let Some(endpoint) = task.endpoint(network) {
            let name = task.name.to_string().to_ascii_lowercase();
            let address = IpAddr::V4(endpoint.address);
            add(&name, &[address], &[]);
            pointers.push((address, name.clone()));
            if task.takes_new() {
                names.push(name);
                addresses.push(address);
            }
        }
    }
    let name = service.name.as_str();
    let vip = service.vips.get(network).map(|vip| IpAddr::V4(vip.address));
    add(&format!("tasks.{name}"), &addresses, &names);
    for alias in &aliases {
        add(&format!("tasks.{alias}"), &addresses, &names);
        match vip {
            Some(vip) => add(alias, &[vip], &[]),
            None => add(alias, &addresses, &names),
        }
    }
    match vip {
        Some(vip) => {
            add(name, &[vip], &[]);
            pointers.push((vip, name.to_owned()));
        }
        None => add(name, &addresses, &names),
    }
    for (address, name) in pointers {
        zone.point(address, ttl, Some(&format!("{name}.{network}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, service, spec, story};
    use crate::intent::{EndpointMode, ServiceSpec};

    fn ask(intent: &Intent, name: &str) -> Option<Vec<String>> {
        let known = &all(intent)[&sandbox("collab-box.1")];
        Some(expected(known, name)?.iter().map(Ipv4Addr::to_string).collect())
    }

    fn all(intent: &Intent) -> BTreeMap<SandboxName, Knowledge> {
        zones(intent, &"node-1".parse().unwrap())
    }

    fn sandbox(name: &str) -> SandboxName {
        let task: crate::intent::TaskName = name.parse().unwrap();
        SandboxName::from(&task)
    }

    fn known(intent: &Intent) -> Arc<Zone> {
        Arc::clone(&all(intent)[&sandbox("collab-box.1")].zone)
    }

    fn rr(dns_ttl: u32) -> ServiceSpec {
        let spec = spec("rr", "collabnet", 2);
        ServiceSpec { endpoint_mode: EndpointMode::Dnsrr, dns_ttl, ..spec }
    }

    #[test]
    fn a_service_is_its_vip_and_tasks_are_its_tasks() {
        let intent = story();
        assert_eq!(ask(&intent, "collabweb").unwrap(), ["10.0.3.2"]);
        assert_eq!(ask(&intent, "CollabWeb.collabnet.").unwrap(), ["10.0.3.2"]);
        let tasks = ["10.0.3.3", "10.0.3.4", "10.0.3.5"];
        assert_eq!(ask(&intent, "tasks.collabweb").unwrap(), tasks);
        assert_eq!(ask(&intent, "tasks.collabweb.collabnet").unwrap(), tasks);
        assert_eq!(ask(&intent, "collabweb.2").unwrap(), ["10.0.3.4"]);
        assert_eq!(ask(&intent, "example.org"), None);
    }

    #[test]
    fn a_dnsrr_service_is_all_its_tasks() {
        let mut intent = story();
        intent.create_service(rr(2), "id".into(), 0).unwrap();
        assert_eq!(ask(&intent, "rr").unwrap(), ask(&intent, "tasks.rr").unwrap());
        assert_eq!(ask(&intent, "rr").unwrap().len(), 2);
    }

    #[test]
    fn a_task_that_leaves_keeps_only_its_own_name() {
        let mut intent = story();
        intent.drain_service(&"collabweb".parse().unwrap(), 2, 0).unwrap();
        assert_eq!(ask(&intent, "tasks.collabweb").unwrap(), ["10.0.3.3", "10.0.3.4"]);
        assert_eq!(ask(&intent, "collabweb.3").unwrap(), ["10.0.3.5"]);
    }

    #[test]
    fn an_alias_is_known_on_its_network_only_and_services_share_it() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        for (name, alias, mode) in [
            ("db-1", "db", EndpointMode::Vip),
            ("db-2", "db", EndpointMode::Vip),
            ("rr", "turns", EndpointMode::Dnsrr),
            ("twin", "collabweb", EndpointMode::Vip),
        ] {
            let mut spec =
                crate::intent::ServiceSpec { endpoint_mode: mode, ..spec(name, "collabnet", 2) };
            spec.networks.push("other".parse().unwrap());
            let on = "collabnet".parse().unwrap();
            spec.aliases.insert(on, [alias.parse().unwrap()].into());
            intent.create_service(spec, format!("id-{name}"), 0).unwrap();
        }
        let both = [ask(&intent, "db-1").unwrap(), ask(&intent, "db-2").unwrap()].concat();
        assert_eq!(ask(&intent, "db").unwrap(), both);
        assert_eq!(ask(&intent, "DB.collabnet").unwrap(), both);
        assert_eq!(ask(&intent, "tasks.db").unwrap().len(), 4);
        assert_eq!(ask(&intent, "turns").unwrap(), ask(&intent, "tasks.rr").unwrap());
        let own = ask(&intent, "collabweb").unwrap();
        assert_eq!(own, ["10.0.3.2".to_owned(), ask(&intent, "twin").unwrap().remove(0)]);
        service(&mut intent, "elsewhere", "other", 1);
        let known = &all(&intent)[&sandbox("elsewhere.1")];
        assert_eq!(expected(known, "db"), None);
        assert_eq!(expected(known, "db-1").unwrap().len(), 1);
    }

    #[test]
    fn of_several_networks_the_first_that_knows_a_name_tells_it() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        let mut both = spec("both", "other", 1);
        both.networks.push("collabnet".parse().unwrap());
        intent.create_service(both, "id-both".into(), 0).unwrap();
        let known = &all(&intent)[&sandbox("both.1")];
        let asked = |name: &str| {
            let addresses = expected(known, name).unwrap();
            addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked("both"), ["10.0.4.2"]);
        assert_eq!(asked("both.other"), ["10.0.4.2"]);
        assert_eq!(asked("both.collabnet"), ask(&intent, "both").unwrap());
        assert_eq!(asked("collabweb"), ["10.0.3.2"]);
    }

    #[test]
    fn who_is_only_on_internal_networks_asks_nobody_outside() {
        let mut intent = story();
        let hidden = crate::intent::NetworkSpec {
            internal: true,
            ..crate::intent::NetworkSpec::new("hidden".parse().unwrap())
        };
        intent.create_network(hidden, "id".into(), &Default::default()).unwrap();
        service(&mut intent, "inner", "hidden", 1);
        let mut both = spec("both", "hidden", 1);
        both.networks.push("collabnet".parse().unwrap());
        intent.create_service(both, "id".into(), 0).unwrap();
        let secluded = |task: &str| all(&intent)[&sandbox(task)].zone.secluded;
        assert!(secluded("inner.1"));
        assert!(!secluded("both.1") && !secluded("collabweb.1"));
    }

    #[test]
    fn a_sandbox_knows_nothing_of_other_networks() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        service(&mut intent, "hidden", "other", 1);
        assert_eq!(ask(&intent, "hidden"), None);
        let zone = known(&intent);
        assert_eq!(zone.pointed("10.0.4.3".parse().unwrap()), None);
        assert!(zone.claims("10.0.4.3/32".parse().unwrap()), "nobody else is asked about it");
    }

    #[test]
    fn who_serves_is_told_in_the_form_that_was_asked_in() {
        let mut intent = story();
        intent.create_service(rr(2), "id".into(), 0).unwrap();
        let zone = known(&intent);
        let targets = |name: &str| zone.named(name).unwrap().targets.join(" ");
        assert_eq!(targets("tasks.collabweb"), "collabweb.1 collabweb.2 collabweb.3");
        assert_eq!(targets("rr.collabnet"), "rr.1.collabnet rr.2.collabnet");
        for itself in ["collabweb", "collabweb.collabnet", "collabweb.1"] {
            assert_eq!(targets(itself), "", "{itself}");
        }
    }

    #[test]
    fn every_address_that_is_held_has_a_name() {
        let zone = known(&story());
        let name = |address: &str| zone.pointed(address.parse().unwrap()).unwrap().names.join(" ");
        assert_eq!(name("10.0.3.2"), "collabweb.collabnet");
        assert_eq!(name("10.0.3.4"), "collabweb.2.collabnet");
        assert_eq!(zone.pointed("10.0.3.1".parse().unwrap()), None);
    }

    #[test]
    fn answers_live_as_long_as_the_service_says() {
        let mut intent = story();
        intent.create_service(rr(0), "id".into(), 0).unwrap();
        let zone = known(&intent);
        for (name, ttl) in [("collabweb", 2), ("tasks.rr", 0), ("rr.1.collabnet", 0)] {
            assert_eq!(zone.named(name).unwrap().ttl, ttl, "{name}");
        }
        let task = zone.named("rr.1").unwrap().v4[0];
        assert_eq!(zone.pointed(task.into()).unwrap().ttl, 0);
    }

    #[test]
    fn sandboxes_on_the_same_networks_share_a_zone_and_begin_in_turn() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        service(&mut intent, "apart", "other", 2);
        let all = all(&intent);
        let zone = |name: &str| &all[&sandbox(name)].zone;
        assert!(Arc::ptr_eq(zone("collab-box.1"), zone("collabweb.3")));
        assert!(Arc::ptr_eq(zone("apart.1"), zone("apart.2")));
        assert_ne!(zone("apart.1"), zone("collabweb.1"));
        let collab = all.iter().filter(|(name, _)| name.as_str().starts_with("collab"));
        let mut turns: Vec<u32> = collab.map(|(_, knowledge)| knowledge.first_turn).collect();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2, 3]);
    }
}
