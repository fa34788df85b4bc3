//! VIPs: in every sandbox on a network, a mark, a local route and a virtual server for each
//! service of that network. Shared by both data planes, but for what balances.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use super::shared::Shared;
use crate::intent::{
    DataPlane, Endpoint, Fwmark, Intent, Presence, Scheduler, Service, Task, Vip, weight,
};
use crate::node::{
    BaseRule, Dispatch, Forwarding, RealServer, RealServerKey, RealServers, Rotation, Route,
    Sandbox, Sysctl, Table, VirtualServer, VirtualServerKey,
};

/// Set wherever IPVS balances. Without the first, a UDP client with a fixed port fails for ever after
/// its real server went; Docker sets the second too. `conn_reuse_mode` stays at the kernel's 1: a client
/// port that comes back while its old connection waits to be forgotten is scheduled anew. Docker's 0
/// is against a dropped SYN that only happens with `vs.conntrack=1`, which nothing here needs, and
/// would send such a connection to the task of the old one.
const IPVS_SYSCTLS: [(Sysctl, u32); 2] =
    [(Sysctl::ExpireNodestConn, 1), (Sysctl::ExpireQuiescentTemplate, 1)];

pub(super) fn lower(intent: &Intent, task: &Task, shared: &mut Shared, sandbox: &mut Sandbox) {
    let Some(node) = intent.nodes.get(&task.node) else { return };
    for endpoint in &task.endpoints {
        let how = |service: &Service, vip: &Vip| (service.data_plane.on(node), vip.fwmark);
        lower_each(intent, endpoint, how, shared, sandbox);
    }
}

/// Every VIP of an endpoint's network, each balanced by what `how` says and under that mark.
pub(super) fn lower_all(
    intent: &Intent,
    endpoint: &Endpoint,
    how: impl Fn(&Service, &Vip) -> (DataPlane, Fwmark),
    sandbox: &mut Sandbox,
) {
    lower_each(intent, endpoint, how, &mut Shared::default(), sandbox);
}

fn lower_each(
    intent: &Intent,
    endpoint: &Endpoint,
    how: impl Fn(&Service, &Vip) -> (DataPlane, Fwmark),
    shared: &mut Shared,
    sandbox: &mut Sandbox,
) {
    for service in intent.services.values() {
        if let Some(vip) = service.vips.get(&endpoint.network) {
            let (plane, fwmark) = how(service, vip);
            let vip = Vip { fwmark, ..vip.clone() };
            lower_one(intent, endpoint, service, &vip, plane, shared, sandbox);
        }
    }
}

fn lower_one(
    intent: &Intent,
    endpoint: &Endpoint,
    service: &Service,
    vip: &Vip,
    plane: DataPlane,
    shared: &mut Shared,
    sandbox: &mut Sandbox,
) {
    sandbox.routes.insert(Route { address: vip.address, source: endpoint.address });
    let table = sandbox.table.get_or_insert_with(Table::default);
    table.rules.extend([BaseRule::MarkOut, BaseRule::RejectIn]);
    table.guards.insert(vip.address);
    table.marks.insert(vip.address, vip.fwmark);
    table.rules.insert(match plane {
        DataPlane::Nftables => BaseRule::BalanceOut,
        DataPlane::Ipvs => BaseRule::ResetIn,
    });
    balance(intent, endpoint, service, vip, plane, shared, sandbox);
}

/// What balances the marks of a VIP in a sandbox.
pub(super) fn balance(
    intent: &Intent,
    endpoint: &Endpoint,
    service: &Service,
    vip: &Vip,
    plane: DataPlane,
    shared: &mut Shared,
    sandbox: &mut Sandbox,
) {
    match plane {
        DataPlane::Nftables => {
            let mut targets = turns(intent, endpoint, service);
            if !targets.is_empty() {
                let first = endpoint.rank as usize % targets.len();
                targets.rotate_left(first);
            }
            let table = sandbox.table.get_or_insert_default();
            table.dispatches.insert(vip.fwmark, Dispatch { targets });
        }
        DataPlane::Ipvs => {
            sandbox.sysctls.extend(IPVS_SYSCTLS);
            for fwmark in vip.fwmarks() {
                let made = || real_servers(intent, endpoint, service, vip, fwmark);
                let scheduler = scheduler(service, vip, fwmark);
                let affinity = service.balancing.affinity;
                let server = VirtualServer {
                    scheduler: scheduler.name().into(),
                    flags: if scheduler.hashes() { service.balancing.flag_bits() } else { 0 },
                    persistence: affinity.map_or(0, |affinity| affinity.seconds.get()),
                    client_bits: affinity.map_or(0, |affinity| affinity.netmask.bits_if_any()),
                    rotation: Rotation(endpoint.rank),
                    real_servers: shared.real_servers(vip.address, fwmark, made),
                };
                sandbox.virtual_servers.insert(VirtualServerKey::Fwmark(fwmark), server);
            }
        }
    }
}

/// The targets in turn, each as often as its weight says.
fn turns(intent: &Intent, endpoint: &Endpoint, service: &Service) -> Vec<Ipv4Addr> {
    let taking = intent.weights(&service.name).filter(|(_, weight)| *weight > 0);
    let targets: Vec<(Ipv4Addr, u32)> = taking
        .filter_map(|(task, weight)| Some((task.endpoint(&endpoint.network)?.address, weight)))
        .collect();
    let weights: Vec<u32> = targets.iter().map(|(_, weight)| *weight).collect();
    weight::turns(&weights).into_iter().map(|index| targets[index].0).collect()
}

/// How IPVS picks under one of a VIP's marks.
fn scheduler(service: &Service, vip: &Vip, fwmark: Fwmark) -> Scheduler {
    let retired = vip.retired.iter().find(|retired| retired.fwmark == fwmark);
    retired.map_or(service.scheduler, |retired| retired.scheduler)
}

/// The real servers of one of a VIP's marks: under the mark that packets get, the tasks in rotation,
/// and those that are leaving unless an old mark has them; under an old mark, whoever is left of its
/// targets. What is leaving has weight 0, and so has a task whose process is not there: it keeps its
/// place for when it is. One that stood in while it left keeps its place too, for those who came then.
fn real_servers(
    intent: &Intent,
    endpoint: &Endpoint,
    service: &Service,
    vip: &Vip,
    fwmark: Fwmark,
) -> RealServers {
    let retired = vip.retired.iter().find(|retired| retired.fwmark == fwmark);
    let has = |task: &Task, address: &Ipv4Addr| match retired {
        Some(retired) => retired.targets.contains(address),
        None => {
            let stood = matches!(task.presence, Presence::Standing | Presence::Stood);
            let is_old = || vip.retired.iter().any(|r| r.targets.contains(address));
            let lingers = vip.lingering.contains(address);
            task.leaving.is_none() || stood || lingers || !is_old()
        }
    };
    let real_server = |(task, weight): (&Task, u32)| {
        let address = task.endpoint(&endpoint.network)?.address;
        let key = RealServerKey { address: IpAddr::V4(address), port: 0 };
        let bounds = service.balancing.thresholds;
        let real = RealServer {
            most: bounds.map_or(0, |bounds| bounds.most.get()),
            least: bounds.and_then(|bounds| bounds.least).map_or(0, NonZeroU32::get),
            ..RealServer::new(Forwarding::Masquerade, weight)
        };
        has(task, &address).then_some((key, real))
    };
    intent.weights(&service.name).filter_map(real_server).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::intent::tests::story;
    use crate::intent::{Absences, Id, NodeName, NodeRecord, ServiceName, Stands};
    use crate::lower::lower;
    use crate::node::SandboxName;

    /// Of one sandbox: the weight of each real server's address, by mark.
    fn weights(intent: &Intent) -> BTreeMap<u32, Vec<(String, u32)>> {
        let node = lower(intent, &"node-1".parse().unwrap());
        let sandbox = &node.sandboxes[&SandboxName("collab-box.1".into())];
        let servers = sandbox.virtual_servers.iter();
        servers
            .map(|(key, server)| {
                let VirtualServerKey::Fwmark(mark) = key else { unreachable!() };
                let reals = server.real_servers.iter();
                (mark.0, reals.map(|(key, real)| (key.address.to_string(), real.weight)).collect())
            })
            .collect()
    }

    fn at(weights: &[(&str, u32)]) -> Vec<(String, u32)> {
        weights.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect()
    }

    #[test]
    fn what_leaves_has_weight_0_under_the_old_mark_and_is_not_under_the_new_one() {
        let mut intent = story();
        let web: ServiceName = "collabweb".parse().unwrap();
        intent.drain_service(&web, 2, 0).unwrap();
        let weights = weights(&intent);
        assert_eq!(weights[&256], at(&[("10.0.3.3", 1), ("10.0.3.4", 1), ("10.0.3.5", 0)]));
        assert_eq!(weights[&258], at(&[("10.0.3.3", 1), ("10.0.3.4", 1)]));
    }

    #[test]
    fn when_all_leave_they_keep_their_mark_with_weight_0() {
        let mut intent = story();
        intent.drain_service(&"collabweb".parse().unwrap(), 0, 0).unwrap();
        let weights = weights(&intent);
        assert_eq!(weights[&256], at(&[("10.0.3.3", 0), ("10.0.3.4", 0), ("10.0.3.5", 0)]));
        assert_eq!(weights.len(), 2, "{weights:?}");
    }

    fn rest(intent: &mut Intent, tasks: &[Id]) {
        let resting = tasks.iter().cloned().collect();
        intent.note_presence(&Absences { resting, ..Absences::default() }, &Stands::default());
    }

    #[test]
    fn a_task_that_stands_in_while_it_leaves_is_sent_to_and_then_keeps_those_who_came() {
        let mut intent = story();
        let name: NodeName = "node-2".parse().unwrap();
        intent.nodes.insert(name.clone(), NodeRecord::new(name.clone(), true));
        let box_1 = intent.tasks[&"collab-box.1".parse().unwrap()].clone();
        let address = box_1.endpoints[0].address.to_string();
        // Its service is one task, and goes to the other node.
        intent.label_node(&name, [("disk".into(), "ssd".into())].into(), &[].into(), 0).unwrap();
        let held = intent.services.get_mut(&box_1.name.service).unwrap();
        held.placement.constraints.push("node.label.disk==ssd".parse().unwrap());
        intent.evacuate(0);
        let new = intent.tasks[&"collab-box.2".parse().unwrap()].clone();
        let new_address = new.endpoints[0].address.to_string();
        let vip = intent.services[&box_1.name.service].vips.values().next().unwrap().clone();
        let on = |intent: &Intent| {
            let node = lower(intent, &"node-1".parse().unwrap());
            let sandbox = &node.sandboxes[&SandboxName("collabweb.1".into())];
            let server = &sandbox.virtual_servers[&VirtualServerKey::Fwmark(vip.fwmark)];
            let reals = server.real_servers.iter();
            let told = reals.map(|(key, real)| (key.address.to_string(), real.weight));
            told.collect::<BTreeMap<_, _>>()
        };
        let mut stands = Stands::default();
        let awaited = Absences { awaited: [new.id.clone()].into(), ..Absences::default() };
        let standing = intent.note_presence(&awaited, &stands);
        stands.note(standing, &intent);
        let (old, new) = (address.as_str(), new_address.as_str());
        assert_eq!(on(&intent), BTreeMap::from([(old.into(), 1), (new.into(), 0)]));
        intent.note_presence(&Absences::default(), &stands);
        assert_eq!(on(&intent), BTreeMap::from([(old.into(), 0), (new.into(), 1)]));
    }

    #[test]
    fn a_task_whose_process_ended_keeps_its_place_and_gets_nothing() {
        let mut intent = story();
        let task = intent.tasks[&"collabweb.2".parse().unwrap()].id.clone();
        rest(&mut intent, &[task]);
        let weights_now = weights(&intent);
        assert_eq!(weights_now[&256], at(&[("10.0.3.3", 1), ("10.0.3.4", 0), ("10.0.3.5", 1)]));
        intent.drain_service(&"collabweb".parse().unwrap(), 4, 0).unwrap();
        let weights_now = weights(&intent);
        assert_eq!(weights_now[&258][1], ("10.0.3.4".to_owned(), 0), "under the new mark as well");
        rest(&mut intent, &[]);
        assert!(weights(&intent)[&258].iter().all(|(_, weight)| *weight == 1));
    }

    #[test]
    fn by_nftables_too_nobody_is_sent_to_a_task_whose_process_ended() {
        let mut intent = story();
        for node in intent.nodes.values_mut() {
            node.ipvs = false;
        }
        let task = intent.tasks[&"collabweb.2".parse().unwrap()].id.clone();
        rest(&mut intent, &[task]);
        let node = lower(&intent, &"node-1".parse().unwrap());
        let table = node.sandboxes[&SandboxName("collab-box.1".into())].table.clone().unwrap();
        let mut targets = table.dispatches[&Fwmark(256)].targets.clone();
        targets.sort_unstable();
        assert_eq!(targets, [Ipv4Addr::new(10, 0, 3, 3), Ipv4Addr::new(10, 0, 3, 5)]);
        assert_eq!(intent.nodes.len(), 1);
    }

    #[test]
    fn a_new_task_is_under_the_new_mark_alone() {
        let mut intent = story();
        intent.drain_service(&"collabweb".parse().unwrap(), 4, 0).unwrap();
        let weights = weights(&intent);
        assert_eq!(weights[&256].len(), 3);
        assert_eq!(weights[&258].len(), 4);
    }
}
