//! VIPs: in every sandbox on a network, a mark, a local route and a virtual server for each
//! service of that network. Shared by both data planes, but for what balances.

use std::net::IpAddr;

use crate::intent::{DataPlane, Endpoint, Intent, Service, Task, Vip};
use crate::node::{
    BaseRule, Dispatch, Forwarding, RealServer, RealServerKey, Rotation, Route, Sandbox, Sysctl,
    Table, VirtualServer, VirtualServerKey,
};

/// Set wherever IPVS balances. Without the first, a UDP client with a fixed port fails for ever after
/// its real server went; Docker sets the second too. `conn_reuse_mode` stays at the kernel's 1: a client
/// port that comes back while its old connection waits to be forgotten is scheduled anew. Docker's 0
/// is against a dropped SYN that only happens with `vs.conntrack=1`, which nothing here needs, and
/// would send such a connection to the task of the old one.
const IPVS_SYSCTLS: [(Sysctl, u32); 2] =
    [(Sysctl::ExpireNodestConn, 1), (Sysctl::ExpireQuiescentTemplate, 1)];

pub(super) fn lower(intent: &Intent, task: &Task, sandbox: &mut Sandbox) {
    let Some(node) = intent.nodes.get(&task.node) else { return };
    for endpoint in &task.endpoints {
        lower_all(intent, endpoint, |service| service.data_plane.on(node), sandbox);
    }
}

/// Every VIP of an endpoint's network, each balanced by what `plane` says.
pub(super) fn lower_all(
    intent: &Intent,
    endpoint: &Endpoint,
    plane: impl Fn(&Service) -> DataPlane,
    sandbox: &mut Sandbox,
) {
    for service in intent.services.values() {
        if let Some(vip) = service.vips.get(&endpoint.network) {
            lower_one(intent, endpoint, service, vip, plane(service), sandbox);
        }
    }
}

fn lower_one(
    intent: &Intent,
    endpoint: &Endpoint,
    service: &Service,
    vip: &Vip,
    plane: DataPlane,
    sandbox: &mut Sandbox,
) {
    sandbox.routes.insert(Route { address: vip.address, source: endpoint.address });
    let table = sandbox.table.get_or_insert_with(Table::default);
    table.rules.extend([BaseRule::MarkOut, BaseRule::RejectIn]);
    table.guards.insert(vip.address);
    table.marks.insert(vip.address, vip.fwmark);
    let targets = intent
        .tasks_of(&service.name)
        .filter_map(|task| task.endpoint(&endpoint.network))
        .map(|target| target.address);
    match plane {
        DataPlane::Nftables => {
            let mut targets: Vec<_> = targets.collect();
            if !targets.is_empty() {
                let first = endpoint.rank as usize % targets.len();
                targets.rotate_left(first);
            }
            table.rules.insert(BaseRule::BalanceOut);
            table.dispatches.insert(vip.fwmark, Dispatch { targets });
        }
        DataPlane::Ipvs => {
            sandbox.sysctls.extend(IPVS_SYSCTLS);
            let real = RealServer { forwarding: Forwarding::Masquerade, weight: 1 };
            let server = VirtualServer {
                scheduler: service.scheduler.to_string(),
                flags: 0,
                persistence: 0,
                rotation: Rotation(endpoint.rank),
                real_servers: targets
                    .map(|address| (RealServerKey { address: IpAddr::V4(address), port: 0 }, real))
                    .collect(),
            };
            sandbox.virtual_servers.insert(VirtualServerKey::Fwmark(vip.fwmark), server);
        }
    }
}
