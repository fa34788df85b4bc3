//! The routing mesh: a network of its own, on which each node has an ingress sandbox that takes what
//! comes to published ports of the node to the tasks, wherever they run.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{
    Endpoint, Id, Intent, IntentError, Machine, NetworkName, NetworkSpec, NodeName, Service, Vip,
};

/// The name of the mesh's network, as in Docker.
pub const INGRESS: &str = "ingress";

/// What joins a node's ingress sandbox to the mesh and to its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// On the mesh's network; what comes to published ports comes to tasks from this address.
    pub endpoint: Endpoint,
    /// On the node's gateway bridge, where the node sends what comes to published ports; none while
    /// the node has no such bridge.
    pub gateway: Option<Ipv4Addr>,
}

impl Intent {
    /// The mesh's network.
    pub fn mesh(&self) -> Option<&super::Network> {
        self.networks.values().find(|network| network.ingress)
    }

    /// Whether it is the mesh's network.
    pub fn is_mesh(&self, name: &NetworkName) -> bool {
        self.networks.get(name).is_some_and(|network| network.ingress)
    }

    /// Whether a service is in the mesh.
    pub fn has_meshed_services(&self) -> bool {
        self.services.values().any(|service| service.ingress.is_some())
    }

    /// The endpoints of the nodes' ingress sandboxes on a network: none unless it is the mesh's.
    pub fn ingress_on<'a>(
        &'a self,
        network: &'a NetworkName,
    ) -> impl Iterator<Item = (&'a NodeName, &'a Endpoint)> {
        let held = self.nodes.values();
        held.filter_map(|node| Some((&node.name, &node.ingress.as_ref()?.endpoint)))
            .filter(move |(_, endpoint)| endpoint.network == *network)
    }

    /// Makes the mesh's network, with an endpoint for each node.
    ///
    /// # Errors
    /// When its name is taken by a network of others, or there is no room for it.
    pub fn create_ingress(&mut self, id: Id, machine: &Machine) -> Result<(), IntentError> {
        let name: NetworkName = NetworkName::ingress();
        let mut edited = self.clone();
        if edited.networks.contains_key(&name) {
            return Err(IntentError::IngressTaken { name });
        }
        // Nobody reaches the outside by it, and who is on other networks does by these.
        let spec = NetworkSpec { internal: true, ..NetworkSpec::new(name.clone()) };
        edited.add_network(spec, id, machine)?;
        if let Some(network) = edited.networks.get_mut(&name) {
            network.ingress = true;
        }
        let nodes: Vec<NodeName> = edited.nodes.keys().cloned().collect();
        nodes.iter().try_for_each(|node| edited.join_mesh(node))?;
        *self = edited;
        Ok(())
    }

    /// Gives a node its place in the mesh, where there is one, as far as it lacks it.
    pub(super) fn join_mesh(&mut self, name: &NodeName) -> Result<(), IntentError> {
        let Some(mesh) = self.mesh().map(|network| network.name.clone()) else { return Ok(()) };
        let Some(node) = self.nodes.get(name) else { return Ok(()) };
        if node.ingress.is_none() {
            let endpoint = Endpoint {
                address: self.next_addresses(&mesh, 1)?[0],
                rank: self.next_rank(&mesh),
                network: mesh,
            };
            if let Some(node) = self.nodes.get_mut(name) {
                node.ingress = Some(Ingress { endpoint, gateway: None });
            }
        }
        self.join_gateway(name)
    }

    /// Gives a node's ingress sandbox an address on the gateway bridge that the node has.
    fn join_gateway(&mut self, name: &NodeName) -> Result<(), IntentError> {
        let Some(node) = self.nodes.get(name) else { return Ok(()) };
        let subnet = node.gateway().map(|pool| pool.subnet);
        let held = node.ingress.as_ref().and_then(|ingress| ingress.gateway);
        let fits = |address| subnet.is_some_and(|subnet| subnet.contains(address));
        if held.is_some_and(fits) {
            return Ok(());
        }
        self.set_ingress_gateway(name, None);
        let address = self.next_egress(name);
        self.set_ingress_gateway(name, address);
        Ok(())
    }

    fn set_ingress_gateway(&mut self, name: &NodeName, address: Option<Ipv4Addr>) {
        if let Some(ingress) = self.nodes.get_mut(name).and_then(|node| node.ingress.as_mut()) {
            ingress.gateway = address;
        }
    }

    /// Takes the nodes' places in the mesh away, with its network.
    pub(super) fn leave_mesh(&mut self, name: &NetworkName) {
        if self.is_mesh(name) {
            self.nodes.values_mut().for_each(|node| node.ingress = None);
        }
    }

    /// The VIP that a service has in the mesh.
    pub(super) fn choose_mesh_vip(&mut self) -> Result<Vip, IntentError> {
        let name =
            self.mesh().map(|network| network.name.clone()).unwrap_or_else(NetworkName::ingress);
        let address = self.next_addresses(&name, 1)?[0];
        Ok(Vip { address, fwmark: self.next_fwmark()?, retired: Vec::new() })
    }
}

impl Service {
    /// The VIPs of a service with the networks that they are on, that of the mesh too.
    pub fn all_vips<'a>(
        &'a self,
        mesh: Option<&'a NetworkName>,
    ) -> impl Iterator<Item = (&'a NetworkName, &'a Vip)> {
        self.vips.iter().chain(mesh.zip(self.ingress.as_ref()))
    }

    /// The VIPs of a service, that of the mesh too.
    pub fn held_vips(&self) -> impl Iterator<Item = &Vip> {
        self.vips.values().chain(&self.ingress)
    }

    pub(super) fn held_vips_mut(&mut self) -> impl Iterator<Item = &mut Vip> {
        self.vips.values_mut().chain(&mut self.ingress)
    }

    pub(super) fn vip_mut(&mut self, network: &NetworkName) -> Option<&mut Vip> {
        match self.vips.get_mut(network) {
            None if network.as_str() == INGRESS => self.ingress.as_mut(),
            vip => vip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, one_node, spec};
    use crate::intent::{NodeRecord, PublishMode, PublishedPort, ServiceSpec, Transport};

    fn port(published: u16, mode: PublishMode) -> PublishedPort {
        let (address, source) = Default::default();
        PublishedPort { published, target: 80, transport: Transport::Tcp, mode, address, source }
    }

    fn two_nodes() -> Intent {
        let mut intent = one_node();
        let name: NodeName = "node-2".parse().unwrap();
        intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        for node in ["node-1", "node-2"] {
            intent.settle_egress(&node.parse().unwrap(), Ok(&Machine::default()));
        }
        network(&mut intent, "n", "10.0.3.0/24");
        intent
    }

    fn web(replicas: u32, port: PublishedPort) -> ServiceSpec {
        ServiceSpec { ports: vec![port], ..spec("web", "n", replicas) }
    }

    #[test]
    fn each_node_and_each_task_of_a_publishing_service_has_its_place_in_the_mesh() {
        let mut intent = two_nodes();
        intent.create_ingress("id".into(), &Machine::default()).unwrap();
        intent.create_service(web(2, port(8080, PublishMode::Ingress)), "id".into(), 0).unwrap();
        let mesh = NetworkName::ingress();
        let nodes: Vec<String> =
            intent.ingress_on(&mesh).map(|(node, e)| format!("{node} {}", e.address)).collect();
        assert_eq!(nodes, ["node-1 10.0.0.2", "node-2 10.0.0.3"]);
        let web = intent.services.values().next().unwrap();
        assert_eq!(web.ingress.as_ref().unwrap().address.to_string(), "10.0.0.4");
        let tasks: Vec<String> = intent
            .tasks_on(&mesh)
            .map(|(task, e)| format!("{} {} {}", task.name, e.address, e.rank))
            .collect();
        assert_eq!(tasks, ["web.1 10.0.0.5 2", "web.2 10.0.0.6 3"]);
        assert!(intent.nodes.values().all(|n| n.ingress.as_ref().unwrap().gateway.is_some()));
    }

    #[test]
    fn a_node_that_comes_later_gets_its_place_when_it_settles() {
        let mut intent = two_nodes();
        intent.create_ingress("id".into(), &Machine::default()).unwrap();
        let name: NodeName = "node-3".parse().unwrap();
        intent.nodes.insert(name.clone(), NodeRecord::new(name.clone(), true));
        intent.settle_egress(&name, Ok(&Machine::default()));
        let ingress = intent.nodes[&name].ingress.clone().unwrap();
        assert!(ingress.gateway.is_some());
        assert_eq!(ingress.endpoint.address.to_string(), "10.0.0.4");
        intent.settle_egress(&name, Ok(&Machine::default()));
        assert_eq!(intent.nodes[&name].ingress, Some(ingress), "once and for all");
    }

    #[test]
    fn the_mesh_goes_with_its_network_and_not_while_a_service_is_in_it() {
        let mut intent = two_nodes();
        intent.create_ingress("id".into(), &Machine::default()).unwrap();
        intent.create_service(web(1, port(8080, PublishMode::Ingress)), "id".into(), 0).unwrap();
        let refused = intent.remove_network(&NetworkName::ingress()).unwrap_err();
        assert_eq!(refused.to_string(), "network `ingress` is in use by service web");
        assert!(intent.idle_networks().next().is_none());
        intent.remove_service(&"web".parse().unwrap()).unwrap();
        intent.remove_network(&NetworkName::ingress()).unwrap();
        assert!(intent.nodes.values().all(|node| node.ingress.is_none()));
    }

    #[test]
    fn its_name_is_nobody_elses() {
        let mut intent = one_node();
        let spec = NetworkSpec::new(NetworkName::ingress());
        let refused = intent.create_network(spec, "id".into(), &Machine::default()).unwrap_err();
        assert_eq!(refused.to_string(), "network `ingress` is the routing mesh's");
    }

    #[test]
    fn nothing_joins_the_meshs_network_by_name() {
        let mut intent = two_nodes();
        intent.create_ingress("id".into(), &Machine::default()).unwrap();
        let refused = intent.create_service(spec("a", INGRESS, 1), "id".into(), 0).unwrap_err();
        assert_eq!(refused.to_string(), "network `ingress` is the routing mesh's");
    }

    #[test]
    fn a_host_port_is_one_tasks_on_each_node() {
        let mut intent = two_nodes();
        let host = port(8080, PublishMode::Host);
        intent.create_service(web(3, host), "id".into(), 0).unwrap();
        let nodes: Vec<&str> = intent.tasks.values().map(|task| task.node.as_str()).collect();
        assert_eq!(nodes, ["node-1", "node-2"]);
        let web = intent.services.values().next().unwrap();
        assert!(web.ingress.is_none());
        assert_eq!(
            web.pending[&3].reason.to_string(),
            "no suitable node: 2 nodes have a task of service web at port 8080/tcp"
        );
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_its_reason() {
        let mut intent = two_nodes();
        let hidden = NetworkSpec { internal: true, ..NetworkSpec::new("hidden".parse().unwrap()) };
        intent.create_network(hidden, "id".into(), &Machine::default()).unwrap();
        intent.create_ingress("id".into(), &Machine::default()).unwrap();
        let mut refused = |spec: ServiceSpec| {
            intent.create_service(spec, "id".into(), 0).unwrap_err().to_string()
        };
        let mode = crate::intent::EndpointMode::Dnsrr;
        let spec = ServiceSpec { endpoint_mode: mode, ..web(1, port(80, PublishMode::Ingress)) };
        assert_eq!(
            refused(spec),
            "port 80/tcp cannot be in the routing mesh: a service in endpoint mode dnsrr is not \
             balanced"
        );
        let networks = vec!["hidden".parse().unwrap()];
        let spec = ServiceSpec { networks, ..web(1, port(80, PublishMode::Host)) };
        assert_eq!(
            refused(spec),
            "port 80/tcp cannot be published by the tasks' own nodes: all networks of the service \
             are internal"
        );
    }
}
