//! What the resolver of each sandbox knows: from the same intent as marks and virtual servers, so
//! that names and IPVS cannot disagree.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::intent::{Attachment, Endpoint, Intent, NetworkName, NodeName, Service, Task};
use crate::node::{SandboxName, Zone};

/// How long a client may keep an answer, in seconds. Docker says 600, and its users' clients keep
/// dead tasks that long.
pub const TTL: u32 = 2;

/// The zones of all sandboxes with tasks on one node.
pub fn zones(intent: &Intent, node: &NodeName) -> BTreeMap<SandboxName, Zone> {
    let tasks = intent.tasks.values().filter(|task| task.node == *node);
    let mut zones: BTreeMap<SandboxName, Zone> =
        tasks.map(|task| (SandboxName::from(&task.name), zone(intent, task))).collect();
    let mut attached: BTreeMap<SandboxName, Vec<&Endpoint>> = BTreeMap::new();
    for held in intent.attachments.values().filter(|held| held.node == *node && !held.leaving) {
        let name = SandboxName::of_attached(&intent.cluster.id, &held.namespace);
        attached.entry(name).or_default().push(&held.endpoint);
    }
    zones.extend(attached.into_iter().map(|(name, on)| (name, zone_of(intent, &on))));
    zones
}

/// What a task's resolver answers: everything on the networks that the task is on.
pub fn zone(intent: &Intent, task: &Task) -> Zone {
    zone_of(intent, &task.endpoints.iter().collect::<Vec<_>>())
}

/// What is known on the networks of these endpoints, which are one sandbox's.
fn zone_of(intent: &Intent, endpoints: &[&Endpoint]) -> Zone {
    let mut zone = Zone::new(TTL);
    let internal = |endpoint: &&Endpoint| {
        intent.networks.get(&endpoint.network).is_some_and(|network| network.internal)
    };
    zone.secluded = !endpoints.is_empty() && endpoints.iter().all(internal);
    for endpoint in endpoints {
        let mut here = Zone::new(TTL);
        for service in intent.services.values() {
            if service.networks.contains(&endpoint.network) {
                add_service(intent, service, &endpoint.network, &mut here);
            }
        }
        for held in intent.attached_to(&endpoint.network) {
            add_attachment(held, &mut here);
        }
        // As in Docker: the first network that knows a name tells what it is.
        for (name, addresses) in here.names {
            zone.names.entry(name).or_insert(addresses);
        }
        zone.pointers.extend(here.pointers);
    }
    zone
}

/// What `name` shall resolve to for a task; None when it is not the cluster's to answer.
pub fn expected(intent: &Intent, task: &Task, name: &str) -> Option<Vec<Ipv4Addr>> {
    let zone = zone(intent, task);
    let addresses = zone.addresses(name)?.iter();
    Some(
        addresses
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .collect(),
    )
}

/// Adds what a name stands for, beside what it stands for already.
fn add_name(zone: &mut Zone, network: &NetworkName, name: String, addresses: &[IpAddr]) {
    for name in [format!("{name}.{network}"), name] {
        let held = zone.names.entry(name.to_ascii_lowercase()).or_default();
        held.extend(addresses.iter().filter(|address| !held.contains(address)).collect::<Vec<_>>());
    }
}

fn add_attachment(held: &Attachment, zone: &mut Zone) {
    let (network, address) = (&held.endpoint.network, IpAddr::V4(held.endpoint.address));
    for name in held.names() {
        add_name(zone, network, name.to_string(), &[address]);
        let pointer = format!("{name}.{network}").to_ascii_lowercase();
        zone.pointers.entry(address).or_default().push(pointer);
    }
}

fn add_service(intent: &Intent, service: &Service, network: &NetworkName, zone: &mut Zone) {
    let mut add = |name: String, addresses: &[IpAddr]| add_name(zone, network, name, addresses);
    let aliases: Vec<String> =
        service.aliases.get(network).into_iter().flatten().map(ToString::to_string).collect();
    let mut tasks = Vec::new();
    for task in intent.tasks_of(&service.name) {
        if let Some(endpoint) = task.endpoint(network) {
            let address = IpAddr::V4(endpoint.address);
            add(task.name.to_string(), &[address]);
            tasks.push((address, format!("{}.{network}", task.name)));
        }
    }
    let vip = service.vips.get(network).map(|vip| IpAddr::V4(vip.address));
    let addresses: Vec<IpAddr> = tasks.iter().map(|(address, _)| *address).collect();
    add(format!("tasks.{}", service.name), &addresses);
    for alias in &aliases {
        add(format!("tasks.{alias}"), &addresses);
        add(alias.clone(), &vip.as_ref().map_or_else(|| addresses.clone(), |vip| vec![*vip]));
    }
    match vip {
        Some(address) => {
            add(service.name.to_string(), &[address]);
            tasks.push((address, format!("{}.{network}", service.name)));
        }
        None => add(service.name.to_string(), &addresses),
    }
    for (address, name) in tasks {
        zone.pointers.entry(address).or_default().push(name.to_ascii_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::EndpointMode;
    use crate::intent::tests::{network, service, spec, story};

    fn ask(intent: &Intent, name: &str) -> Option<Vec<String>> {
        let task = &intent.tasks[&"collab-box.1".parse().unwrap()];
        Some(expected(intent, task, name)?.iter().map(Ipv4Addr::to_string).collect())
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
        let spec = crate::intent::ServiceSpec {
            endpoint_mode: EndpointMode::Dnsrr,
            ..spec("rr", "collabnet", 2)
        };
        intent.create_service(spec, "id".into(), 0).unwrap();
        assert_eq!(ask(&intent, "rr").unwrap(), ask(&intent, "tasks.rr").unwrap());
        assert_eq!(ask(&intent, "rr").unwrap().len(), 2);
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
        let task = &intent.tasks[&"elsewhere.1".parse().unwrap()];
        assert_eq!(expected(&intent, task, "db"), None);
        assert_eq!(expected(&intent, task, "db-1").unwrap().len(), 1);
    }

    #[test]
    fn of_several_networks_the_first_that_knows_a_name_tells_it() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        let mut both = spec("both", "other", 1);
        both.networks.push("collabnet".parse().unwrap());
        intent.create_service(both, "id-both".into(), 0).unwrap();
        let task = &intent.tasks[&"both.1".parse().unwrap()];
        let asked = |name: &str| {
            let addresses = expected(&intent, task, name).unwrap();
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
        let secluded = |task: &str| zone(&intent, &intent.tasks[&task.parse().unwrap()]).secluded;
        assert!(secluded("inner.1"));
        assert!(!secluded("both.1") && !secluded("collabweb.1"));
    }

    #[test]
    fn a_sandbox_knows_nothing_of_other_networks() {
        let mut intent = story();
        network(&mut intent, "other", "10.0.4.0/24");
        service(&mut intent, "hidden", "other", 1);
        assert_eq!(ask(&intent, "hidden"), None);
    }
}
