//! Networks, and the edits that make and remove them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Id, Intent, IntentError, NetworkName, Subnet, Vni};

/// Room that VXLAN takes of the underlay's MTU: outer Ethernet, IPv4, UDP and VXLAN headers.
pub const VXLAN_OVERHEAD: u32 = 50;
/// What an Ethernet underlay carries, less [`VXLAN_OVERHEAD`].
pub const DEFAULT_MTU: u32 = 1500 - VXLAN_OVERHEAD;

/// An overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: Id,
    pub name: NetworkName,
    pub vni: Vni,
    /// Bytes; 576 to 8950.
    pub mtu: u32,
    pub pool: Pool,
}

/// A subnet and how far its addresses have been handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub subnet: Subnet,
    pub gateway: Ipv4Addr,
    /// The address handed out last: the next one comes after it, so that a freed one rests.
    pub last: Ipv4Addr,
}

/// What was asked for, with what was left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    pub name: NetworkName,
    pub subnets: Vec<Subnet>,
    pub vni: Option<Vni>,
    pub mtu: Option<u32>,
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
        let taken = |name: &&NetworkName| name.as_str().eq_ignore_ascii_case(spec.name.as_str());
        if let Some(name) = self.networks.keys().find(taken) {
            return Err(IntentError::NetworkExists { name: name.clone() });
        }
        if spec.name.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IntentError::NumericNetwork { name: spec.name });
        }
        let mtu = spec.mtu.unwrap_or(DEFAULT_MTU);
        if !(576..=8950).contains(&mtu) {
            return Err(IntentError::Mtu { mtu });
        }
        let vni = match spec.vni {
            Some(vni) => self.free_vni(vni)?,
            None => self.next_vni()?,
        };
        let subnet = match spec.subnets[..] {
            [] => self.next_subnet(machine)?,
            [subnet] => self.free_subnet(subnet, machine)?,
            _ => return Err(IntentError::TooManySubnets { count: spec.subnets.len() }),
        };
        let gateway = subnet.gateway();
        let pool = Pool { subnet, gateway, last: gateway };
        self.networks.insert(spec.name.clone(), Network { id, name: spec.name, vni, mtu, pool });
        Ok(())
    }

    /// Takes a network away.
    ///
    /// # Errors
    /// When there is none, or services are on it.
    pub fn remove_network(&mut self, name: &NetworkName) -> Result<(), IntentError> {
        self.network(name)?;
        let on_it = self.services.values().filter(|service| service.networks.contains(name));
        let by: Vec<_> = on_it.map(|service| service.name.clone()).collect();
        if !by.is_empty() {
            return Err(IntentError::NetworkInUse { name: name.clone(), by });
        }
        self.networks.remove(name);
        Ok(())
    }
}
