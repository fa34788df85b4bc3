//! Rows of VXLAN devices: forwarding entries and neighbours, read and changed in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use nix::errno::Errno;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::{Outcome, Refusal};
use super::{RouteSocket, Seen, bytes, parse};
use crate::kernel::netlink::NLM_F_CREATE_EXCL;
use crate::node::{ForwardingEntry, LinkKind, LinkName, Mac, Neighbour};

/// For a new object, or in the place of an old one (NLM_F_CREATE and NLM_F_REPLACE).
const NLM_F_CREATE_REPLACE: u16 = 0x500;
/// In linux/neighbour.h.
const NUD_PERMANENT: u16 = 0x80;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    Forwarding(ForwardingEntry),
    Neighbour(Neighbour),
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowVerb {
    Add,
    Del,
    Replace,
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    pub verb: RowVerb,
    pub row: Row,
}

type Rows = (BTreeSet<ForwardingEntry>, BTreeSet<Neighbour>);

impl RouteSocket {
    /// The rows of these links, as far as they are VXLAN devices.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn rows(&mut self, links: &[Seen]) -> Result<Rows, Refusal> {
        let is_vxlan = |link: &&Seen| matches!(link.link.kind, LinkKind::Vxlan { .. });
        let names: BTreeMap<u32, &LinkName> =
            links.iter().filter(is_vxlan).map(|link| (link.index, &link.name)).collect();
        if names.is_empty() {
            return Ok(Rows::default());
        }
        let forwarding = self.row_messages(AddressFamily::Bridge)?;
        let neighbours = self.row_messages(AddressFamily::Inet)?;
        Ok((
            forwarding.iter().filter_map(|message| entry_seen(message, &names)).collect(),
            neighbours.iter().filter_map(|message| neighbour_seen(message, &names)).collect(),
        ))
    }

    fn row_messages(&mut self, family: AddressFamily) -> Result<Vec<NeighbourMessage>, Refusal> {
        let mut request = NeighbourMessage::default();
        request.header.family = family;
        let request = bytes(RouteNetlinkMessage::GetNeighbour(request), 0);
        self.netlink.dump(&request)?.iter().map(parse).collect()
    }

    /// Changes rows, in batches. It ends with the batch in which one is refused: there is one outcome
    /// for each that was tried.
    pub fn change_rows(&mut self, changes: &[RowChange]) -> Vec<Outcome> {
        let mut indexes = BTreeMap::new();
        for change in changes {
            let link = change.row.link();
            if indexes.contains_key(link) {
                continue;
            }
            match self.index(link) {
                Ok(index) => indexes.insert(link, index),
                Err(refusal) => return vec![Err(refusal)],
            };
        }
        self.netlink.batch(changes, |change, to| {
            let index = indexes.get(change.row.link()).copied().ok_or(Errno::ENODEV)?;
            to.extend(change.bytes(index));
            Ok(())
        })
    }
}

impl Row {
    fn link(&self) -> &LinkName {
        match self {
            Row::Forwarding(entry) => &entry.link,
            Row::Neighbour(held) => &held.link,
        }
    }

    fn message(&self, index: u32) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        let (mac, to) = match self {
            Row::Forwarding(entry) => {
                message.header.family = AddressFamily::Bridge;
                message.header.flags = NeighbourFlags::Own;
                message.header.state = match entry.permanent {
                    true => NeighbourState::Permanent,
                    false => NeighbourState::Reachable,
                };
                (entry.mac, entry.vtep)
            }
            Row::Neighbour(held) => {
                message.header.family = AddressFamily::Inet;
                message.header.state = match held.permanent {
                    true => NeighbourState::Permanent,
                    false => NeighbourState::Stale,
                };
                (held.mac, held.address)
            }
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        message
    }
}

impl RowChange {
    fn bytes(&self, index: u32) -> Vec<u8> {
        let message = self.row.message(index);
        match self.verb {
            RowVerb::Add => bytes(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE_EXCL),
            RowVerb::Replace => {
                bytes(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE_REPLACE)
            }
            RowVerb::Del => bytes(RouteNetlinkMessage::DelNeighbour(message), 0),
        }
    }
}

fn is_permanent(message: &NeighbourMessage) -> bool {
    u16::from(message.header.state) & NUD_PERMANENT != 0
}

/// The MAC and the address that a row ties together.
fn tied(message: &NeighbourMessage) -> (Option<Mac>, Option<Ipv4Addr>) {
    let (mut mac, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.as_slice().try_into().ok().map(Mac);
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)) => address = Some(*to),
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                let v4 = <[u8; 4]>::try_from(bytes.as_slice()).ok();
                address = v4.map(Ipv4Addr::from);
            }
            _ => {}
        }
    }
    (mac, address)
}

/// A bridge's own rows of the device, which is a port of it, lead nowhere.
fn entry_seen(
    message: &NeighbourMessage,
    names: &BTreeMap<u32, &LinkName>,
) -> Option<ForwardingEntry> {
    let link = (*names.get(&message.header.ifindex)?).clone();
    let (mac, vtep) = tied(message);
    message.header.flags.contains(NeighbourFlags::Own).then_some(())?;
    Some(ForwardingEntry { link, mac: mac?, vtep: vtep?, permanent: is_permanent(message) })
}

/// Multicast, which needs no ARP, is the kernel's own.
fn neighbour_seen(
    message: &NeighbourMessage,
    names: &BTreeMap<u32, &LinkName>,
) -> Option<Neighbour> {
    let link = (*names.get(&message.header.ifindex)?).clone();
    if message.header.state == NeighbourState::Noarp {
        return None;
    }
    let (mac, address) = tied(message);
    let mac = mac.unwrap_or(Mac([0; 6]));
    Some(Neighbour { link, address: address?, mac, permanent: is_permanent(message) })
}
