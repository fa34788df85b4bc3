//! The choices: VNI, subnet, address, fwmark and rank. Pure, deterministic, each made once.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Fwmark, Intent, IntentError, Machine, NetworkName, Subnet, Vip, Vni};

impl Intent {
    /// The lowest VNI from [`Vni::FIRST`] on that no network uses.
    pub(super) fn next_vni(&self) -> Result<Vni, IntentError> {
        let used: BTreeSet<Vni> = self.networks.values().map(|network| network.vni).collect();
        (Vni::FIRST.0..=Vni::LAST.0)
            .map(Vni)
            .find(|vni| !used.contains(vni))
            .ok_or(IntentError::NoFreeVni)
    }

    pub(super) fn free_vni(&self, vni: Vni) -> Result<Vni, IntentError> {
        match self.networks.values().find(|network| network.vni == vni) {
            None => Ok(vni),
            Some(network) => {
                let free = self.next_vni().ok();
                Err(IntentError::VniUsed { vni, by: network.name.clone(), free })
            }
        }
    }

    /// The first /24 of 10.0.0.0/8 that overlaps no network and no route of the machine.
    pub(super) fn next_subnet(&self, machine: &Machine) -> Result<Subnet, IntentError> {
        (0..=u16::MAX)
            .filter_map(|n| {
                let [high, low] = n.to_be_bytes();
                let net = Ipv4Net::new(Ipv4Addr::new(10, high, low, 0), 24).ok()?;
                Subnet::new(net).ok()
            })
            .find(|subnet| self.free_subnet(*subnet, machine).is_ok())
            .ok_or(IntentError::NoFreeSubnet)
    }

    pub(super) fn free_subnet(
        &self,
        subnet: Subnet,
        machine: &Machine,
    ) -> Result<Subnet, IntentError> {
        for network in self.networks.values() {
            let mut others = network.pools.iter().map(|pool| pool.subnet);
            if let Some(other) = others.find(|other| subnet.overlaps(&other.net())) {
                let by = network.name.clone();
                return Err(IntentError::SubnetUsed { subnet, other, by });
            }
        }
        for node in self.nodes.values() {
            let other = node.gateway().map(|pool| pool.subnet);
            if let Some(other) = other.filter(|other| subnet.overlaps(&other.net())) {
                let node = node.name.clone();
                return Err(IntentError::SubnetGateway { subnet, other, node });
            }
        }
        match machine.routes.iter().find(|route| subnet.overlaps(route)) {
            Some(route) => Err(IntentError::SubnetRouted { subnet, route: *route }),
            None => Ok(subnet),
        }
    }

    /// The mark after the one given out last that no VIP uses.
    pub(super) fn next_fwmark(&mut self) -> Result<Fwmark, IntentError> {
        let used: BTreeSet<u32> = self
            .services
            .values()
            .flat_map(|service| service.vips.values().flat_map(Vip::fwmarks))
            .map(|mark| mark.0)
            .collect();
        let start = self.cluster.last_fwmark.map_or(Fwmark::FIRST.0, |mark| mark.0.wrapping_add(1));
        let candidates = (start..=u32::MAX).chain(Fwmark::FIRST.0..start);
        let mark = candidates
            .filter(|mark| *mark >= Fwmark::FIRST.0)
            .find(|mark| !used.contains(mark))
            .map(Fwmark)
            .ok_or(IntentError::NoFreeFwmark)?;
        self.cluster.last_fwmark = Some(mark);
        Ok(mark)
    }

    /// `count` addresses of a network, one after another, from the first pools with room.
    pub(super) fn next_addresses(
        &mut self,
        name: &NetworkName,
        count: u32,
    ) -> Result<Vec<Ipv4Addr>, IntentError> {
        let mut used = self.addresses_used(name);
        let mut pools = self.network(name)?.pools.clone();
        let free: u32 = pools.iter().map(|pool| pool.left(&used)).sum();
        if free < count {
            let subnets: Vec<Subnet> = pools.iter().map(|pool| pool.subnet).collect();
            let capacity = subnets.iter().map(Subnet::capacity).sum();
            let (network, needed) = (name.clone(), count);
            return Err(IntentError::NoFreeAddress { network, subnets, needed, free, capacity });
        }
        let mut addresses = Vec::with_capacity(count as usize);
        for pool in &mut pools {
            let missing = count - addresses.len() as u32;
            addresses.extend(pool.take(missing.min(pool.left(&used)), &mut used));
        }
        if let Some(network) = self.networks.get_mut(name) {
            network.pools = pools;
        }
        Ok(addresses)
    }

    /// How many addresses of a network are free.
    pub(super) fn left_on(&self, name: &NetworkName) -> u32 {
        let used = self.addresses_used(name);
        let pools = self.networks.get(name).map_or(&[][..], |network| &network.pools);
        pools.iter().map(|pool| pool.left(&used)).sum()
    }

    /// Every address of a network that a VIP, a task or a namespace of others holds.
    pub fn addresses_used(&self, name: &NetworkName) -> BTreeSet<Ipv4Addr> {
        let vips = self.services.values().filter_map(|service| service.vips.get(name));
        let tasks = self.tasks_on(name).map(|(_, endpoint)| endpoint.address);
        let attached = self.attachments.values().filter(|held| held.endpoint.network == *name);
        let attached = attached.map(|held| held.endpoint.address);
        vips.map(|vip| vip.address).chain(tasks).chain(attached).collect()
    }

    /// The lowest rank on a network that no sandbox has.
    pub(super) fn next_rank(&self, name: &NetworkName) -> u32 {
        let tasks = self.tasks_on(name).map(|(_, endpoint)| endpoint.rank);
        let attached = self.attached_to(name).map(|held| held.endpoint.rank);
        let used: BTreeSet<u32> = tasks.chain(attached).collect();
        (0..).find(|rank| !used.contains(rank)).unwrap_or_default()
    }
}
