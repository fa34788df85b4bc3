//! Networks, and the edits that make and remove them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Id, Intent, IntentError, NetworkName, Subnet, Vni};

/// What an MTU may be, in bytes: what every host must take, and what a jumbo frame carries.
const MTUS: std::ops::RangeInclusive<u32> = 576..=8950;

/// An overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: Id,
    pub name: NetworkName,
    pub vni: Vni,
    /// Bytes, 576 to 8950, as it was asked for; none where the nodes' links decide.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Its subnets, in the order in which they are filled.
    #[serde(alias = "pool", deserialize_with = "one_or_many")]
    pub pools: Vec<Pool>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it has no way to the outside.
    #[serde(default)]
    pub internal: bool,
    /// Whether namespaces of others may be joined to it.
    #[serde(default)]
    pub attachable: bool,
    /// Whether it is the routing mesh's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ingress: bool,
    /// Whether what is between nodes is encrypted.
    #[serde(default)]
    pub encrypted: bool,
}

/// Version 0.1 wrote one `pool`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Many(Vec<Pool>),
        One(Pool),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Many(pools) => pools,
        Written::One(pool) => vec![pool],
    })
}

impl Network {
    /// How many addresses VIPs, tasks and namespaces of others can have.
    pub fn capacity(&self) -> u32 {
        self.pools.iter().map(|pool| pool.subnet.capacity()).sum()
    }

    pub fn subnets(&self) -> Vec<Subnet> {
        self.pools.iter().map(|pool| pool.subnet).collect()
    }

    /// The subnet that an address is from.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<Subnet> {
        self.pools.iter().map(|pool| pool.subnet).find(|subnet| subnet.contains(address))
    }
}

/// A subnet and how far its addresses have been handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub subnet: Subnet,
    pub gateway: Ipv4Addr,
    /// The address handed out last: the next one comes after it, so that a freed one rests.
    pub last: Ipv4Addr,
}

impl Pool {
    /// All of a subnet but its gateway: the one that was asked for, else the first address.
    pub(super) fn new(subnet: Subnet, gateway: Option<Ipv4Addr>) -> Self {
        let last = subnet.net().network();
        Self { subnet, gateway: gateway.unwrap_or_else(|| subnet.gateway()), last }
    }

    /// How many addresses can be handed out beside those in `used`.
    pub fn left(&self, used: &BTreeSet<Ipv4Addr>) -> u32 {
        let held = used.iter().filter(|address| self.subnet.contains(**address)).count();
        self.subnet.capacity().saturating_sub(held as u32)
    }

    /// The next `count` addresses that are not in `used`, where they are noted. There must be as
    /// many.
    pub(super) fn take(&mut self, count: u32, used: &mut BTreeSet<Ipv4Addr>) -> Vec<Ipv4Addr> {
        let mut taken = Vec::with_capacity(count as usize);
        while taken.len() < count as usize {
            self.last = self.subnet.after(self.last);
            if self.last != self.gateway && used.insert(self.last) {
                taken.push(self.last);
            }
        }
        taken
    }
}

/// What was asked for, with what was left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    pub name: NetworkName,
    pub subnets: Vec<Subnet>,
    /// Each is of one of the subnets; a subnet without one has its first address.
    pub gateways: Vec<Ipv4Addr>,
    pub vni: Option<Vni>,
    pub mtu: Option<u32>,
    pub labels: BTreeMap<String, String>,
    /// Whether it shall have no way to the outside.
    pub internal: bool,
    /// Whether namespaces of others may be joined to it.
    pub attachable: bool,
    /// Whether what is between nodes shall be encrypted.
    pub encrypted: bool,
}

impl NetworkSpec {
    /// Nothing but a name: all else is chosen.
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            subnets: Vec::new(),
            gateways: Vec::new(),
            vni: None,
            mtu: None,
            labels: BTreeMap::new(),
            internal: false,
            attachable: false,
            encrypted: false,
        }
    }
}

/// What a machine holds that a choice must not collide with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Ranges that this machine has routes to, the default route left out.
    pub routes: Vec<Ipv4Net>,
}

impl Intent {
    /// Adds a network; a VNI or subnet that was left open is chosen.
    ///
    /// # Errors
    /// When the name, VNI or subnet is taken, or nothing is left to choose from.
    pub fn create_network(
        &mut self,
        spec: NetworkSpec,
        id: Id,
        machine: &Machine,
    ) -> Result<(), IntentError> {
        if spec.name.as_str().eq_ignore_ascii_case(super::ingress::INGRESS) {
            return Err(IntentError::MeshOnly { name: spec.name });
        }
        self.add_network(spec, id, machine)
    }

    pub(super) fn add_network(
        &mut self,
        spec: NetworkSpec,
        id: Id,
        machine: &Machine,
    ) -> Result<(), IntentError> {
        let taken = |name: &&NetworkName| name.as_str().eq_ignore_ascii_case(spec.name.as_str());
        if let Some(name) = self.networks.keys().find(taken) {
            return Err(IntentError::NetworkExists { name: name.clone() });
        }
        if spec.name.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IntentError::NumericNetwork { name: spec.name });
        }
        if !spec.internal {
            self.check_egress()?;
        }
        if spec.encrypted {
            self.check_encryption()?;
        }
        if let Some(mtu) = spec.mtu.filter(|mtu| !MTUS.contains(mtu)) {
            return Err(IntentError::Mtu { mtu });
        }
        let vni = match spec.vni {
            Some(vni) => self.free_vni(vni)?,
            None => self.next_vni()?,
        };
        let pools = self.choose_pools(&spec, machine)?;
        let NetworkSpec { name, mtu, labels, internal, attachable, encrypted, .. } = spec;
        let network = Network {
            id,
            name: name.clone(),
            vni,
            mtu,
            pools,
            labels,
            internal,
            attachable,
            ingress: false,
            encrypted,
        };
        self.networks.insert(name, network);
        Ok(())
    }

    fn choose_pools(
        &self,
        spec: &NetworkSpec,
        machine: &Machine,
    ) -> Result<Vec<Pool>, IntentError> {
        let gateways = gateways(spec)?;
        if spec.subnets.is_empty() {
            return Ok(vec![Pool::new(self.next_subnet(machine)?, None)]);
        }
        for (number, subnet) in spec.subnets.iter().enumerate() {
            let before = spec.subnets[..number].iter();
            if let Some(other) = before.copied().find(|other| subnet.overlaps(&other.net())) {
                return Err(IntentError::SubnetTwice { subnet: *subnet, other });
            }
            self.free_subnet(*subnet, machine)?;
        }
        let pool = |subnet: &Subnet| Pool::new(*subnet, gateways.get(subnet).copied());
        Ok(spec.subnets.iter().map(pool).collect())
    }

    /// The networks that nothing is on.
    pub fn idle_networks(&self) -> impl Iterator<Item = &Network> {
        let idle = |network: &&Network| {
            let attached = self.attached_to(&network.name).next().is_some();
            !attached && self.on_network(&network.name).is_empty()
        };
        self.networks.values().filter(idle)
    }

    /// The services on a network.
    fn on_network(&self, name: &NetworkName) -> Vec<super::ServiceName> {
        let meshed = self.is_mesh(name);
        let on_it = self.services.values().filter(|service| {
            let mut tasks = self.tasks_of(&service.name);
            service.networks.contains(name)
                || (meshed && service.ingress.is_some())
                || tasks.any(|task| task.endpoint(name).is_some())
        });
        on_it.map(|service| service.name.clone()).collect()
    }

    /// Takes a network away.
    ///
    /// # Errors
    /// When there is none, or something is on it.
    pub fn remove_network(&mut self, name: &NetworkName) -> Result<(), IntentError> {
        self.network(name)?;
        let by = self.on_network(name);
        let attached = self.attached_to(name).map(|held| held.namespace.target.clone());
        let namespaces: Vec<String> = attached.collect();
        if !by.is_empty() || !namespaces.is_empty() {
            return Err(IntentError::NetworkInUse { name: name.clone(), by, namespaces });
        }
        self.leave_mesh(name);
        self.networks.remove(name);
        Ok(())
    }
}

/// The gateways that were asked for, each by the subnet that it is of.
fn gateways(spec: &NetworkSpec) -> Result<BTreeMap<Subnet, Ipv4Addr>, IntentError> {
    let mut gateways = BTreeMap::new();
    for gateway in spec.gateways.iter().copied() {
        let subnet = spec.subnets.iter().copied().find(|subnet| subnet.contains(gateway));
        let Some(subnet) = subnet else {
            let subnets = spec.subnets.clone();
            return Err(IntentError::GatewayOutside { gateway, subnets });
        };
        if let Some(what) = subnet.reserves(gateway) {
            return Err(IntentError::GatewayReserved { gateway, subnet, what });
        }
        if let Some(first) = gateways.insert(subnet, gateway) {
            return Err(IntentError::GatewayTwice { subnet, first, second: gateway });
        }
    }
    Ok(gateways)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, one_node, service, spec};

    fn net(name: &str) -> NetworkName {
        name.parse().unwrap()
    }

    fn asked(subnets: &[&str], gateways: &[&str]) -> NetworkSpec {
        NetworkSpec {
            subnets: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
            gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
            ..NetworkSpec::new(net("blue"))
        }
    }

    fn refused(subnets: &[&str], gateways: &[&str]) -> String {
        let mut intent = one_node();
        let spec = asked(subnets, gateways);
        let error = intent.create_network(spec, "id".into(), &Machine::default()).unwrap_err();
        assert!(intent.networks.is_empty());
        error.to_string()
    }

    #[test]
    fn addresses_come_from_the_first_subnet_with_room() {
        let mut intent = one_node();
        let spec_of_two = asked(&["10.0.3.0/29", "10.0.5.0/29"], &["10.0.5.6"]);
        intent.create_network(spec_of_two, "id".into(), &Machine::default()).unwrap();
        service(&mut intent, "web", "blue", 7);
        let blue = net("blue");
        let addresses: Vec<String> =
            intent.tasks_on(&blue).map(|(_, endpoint)| endpoint.address.to_string()).collect();
        assert_eq!(
            addresses,
            ["10.0.3.3", "10.0.3.4", "10.0.3.5", "10.0.3.6", "10.0.5.1", "10.0.5.2", "10.0.5.3"]
        );
        let refused = intent.create_service(spec("api", "blue", 10), "id".into(), 0).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "subnets 10.0.3.0/29, 10.0.5.0/29 of network `blue` have too few addresses: \
             11 needed, 2 free of 10"
        );
        service(&mut intent, "api", "blue", 1);
    }

    #[test]
    fn a_freed_address_of_the_first_subnet_comes_before_the_second_subnet() {
        let mut intent = one_node();
        let spec_of_two = asked(&["10.0.3.0/29", "10.0.5.0/24"], &[]);
        intent.create_network(spec_of_two, "id".into(), &Machine::default()).unwrap();
        service(&mut intent, "web", "blue", 6);
        intent.scale_service(&"web".parse().unwrap(), 3).unwrap();
        intent.scale_service(&"web".parse().unwrap(), 4).unwrap();
        let task = &intent.tasks[&"web.4".parse().unwrap()];
        assert_eq!(task.endpoints[0].address.to_string(), "10.0.3.6");
    }

    #[test]
    fn a_gateway_that_cannot_be_one_is_refused_with_its_reason() {
        for (subnets, gateways, said) in [
            (&["10.0.3.0/24"][..], &["10.0.4.1"][..], "outside subnet 10.0.3.0/24"),
            (&["10.0.3.0/24", "10.0.5.0/24"], &["10.0.4.1"], "none of subnets 10.0.3.0/24, 10.0"),
            (&[], &["10.0.4.1"], "in no subnet, for none was given"),
            (&["10.0.3.0/24"], &["10.0.3.0"], "the network address of subnet 10.0.3.0/24"),
            (&["10.0.3.0/24"], &["10.0.3.255"], "the broadcast address"),
            (&["10.0.3.0/24"], &["10.0.3.1", "10.0.3.2"], "two gateways, 10.0.3.1 and 10.0.3.2"),
            (&["10.0.3.0/24", "10.0.3.128/25"], &[], "overlaps 10.0.3.0/24, which was given too"),
        ] {
            let error = refused(subnets, gateways);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_gateway_is_never_handed_out() {
        let mut intent = one_node();
        let spec = asked(&["10.0.3.0/29"], &["10.0.3.3"]);
        intent.create_network(spec, "id".into(), &Machine::default()).unwrap();
        service(&mut intent, "web", "blue", 4);
        let held = intent.addresses_used(&net("blue"));
        let held: Vec<String> = held.iter().map(Ipv4Addr::to_string).collect();
        assert_eq!(held, ["10.0.3.1", "10.0.3.2", "10.0.3.4", "10.0.3.5", "10.0.3.6"]);
    }

    #[test]
    fn what_version_0_1_wrote_is_read() {
        let written = r#"{"id":"x","name":"blue","vni":4097,"mtu":1450,
            "pool":{"subnet":"10.0.3.0/24","gateway":"10.0.3.1","last":"10.0.3.9"}}"#;
        let network: Network = serde_json::from_str(written).unwrap();
        assert_eq!(network.pools.len(), 1);
        assert_eq!(network.pools[0].last.to_string(), "10.0.3.9");
        let again = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&again).unwrap(), network);
    }

    #[test]
    fn only_networks_that_nothing_is_on_are_idle() {
        let mut intent = one_node();
        network(&mut intent, "blue", "10.0.3.0/24");
        network(&mut intent, "green", "10.0.4.0/24");
        service(&mut intent, "web", "blue", 0);
        let idle: Vec<&str> = intent.idle_networks().map(|network| network.name.as_str()).collect();
        assert_eq!(idle, ["green"]);
    }
}
