//! The messages of connection tracking's netlink (`ctnetlink`) that are needed here: listing the
//! connections of IPv4, and removing one. Reading is total; writing cannot fail.

use std::net::Ipv4Addr;

use netlink_packet_core::NlasIterator;

/// `NFNL_SUBSYS_CTNETLINK`, the high byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = 1;
const DELETE: u16 = 2;

const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const HEADER: usize = 16;
/// `nfgenmsg`: family, version, resource.
const NETFILTER_HEADER: [u8; 4] = [IPV4, 0, 0, 0];
const IPV4: u8 = 2;

/// Attributes of a connection (`CTA_…`), and what they hold.
const ASKED: u16 = 1;
const ANSWERED: u16 = 2;
const IDENTITY: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const SOURCE: u16 = 1;
const DESTINATION: u16 = 2;
const NESTED: u16 = 0x8000;

/// A tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whom it was opened to, as the client wrote it.
    pub asked: Ipv4Addr,
    /// Who answers.
    pub answers: Ipv4Addr,
    /// What the kernel knows it by, as it wrote it: attributes and their values.
    key: Vec<(u16, Vec<u8>)>,
}

impl Entry {
    /// Reads one of the kernel's answers, behind netlink's header; none for what is not a connection of
    /// IPv4.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (header, attributes) = payload.split_first_chunk::<4>()?;
        if header[0] != IPV4 {
            return None;
        }
        let (mut asked, mut answers, mut key) = (None, None, Vec::new());
        for (number, value) in each(attributes) {
            match number {
                ASKED => asked = address(value, DESTINATION),
                ANSWERED => answers = address(value, SOURCE),
                _ => {}
            }
            if let ASKED | IDENTITY | ZONE = number {
                key.push((number, value.to_vec()));
            }
        }
        Some(Self { asked: asked?, answers: answers?, key })
    }

    /// One of so much as is asked about it, for tests.
    #[cfg(test)]
    pub fn between(asked: Ipv4Addr, answers: Ipv4Addr) -> Self {
        Self { asked, answers, key: Vec::new() }
    }

    /// Whether somebody else answers than was asked.
    pub fn is_rewritten(&self) -> bool {
        self.asked != self.answers
    }

    /// Appends the message that removes it, and no other that has its place by then.
    pub fn write_removal(&self, bytes: &mut Vec<u8>) {
        message(DELETE, REQUEST, bytes, |bytes| {
            for (number, value) in &self.key {
                let nested = if *number == ASKED { NESTED } else { 0 };
                attribute(number | nested, value, bytes);
            }
        });
    }
}

/// The request for all connections of IPv4; its sequence number is 0.
pub fn list() -> Vec<u8> {
    let mut bytes = Vec::new();
    message(GET, REQUEST | DUMP, &mut bytes, |_| ());
    bytes
}

/// The attributes up to the first that is none.
fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let held = NlasIterator::new(bytes).map_while(Result::ok);
    held.map(|held| {
        // Behind its header of four bytes; what follows the value is the next one's.
        let (kind, length) = (held.kind(), usize::from(held.length()));
        (kind, held.into_inner().get(4..length).unwrap_or_default())
    })
}

/// An address of a tuple.
fn address(tuple: &[u8], which: u16) -> Option<Ipv4Addr> {
    let (_, addresses) = each(tuple).find(|(number, _)| *number == TUPLE_ADDRESSES)?;
    let (_, value) = each(addresses).find(|(number, _)| *number == which)?;
    Some(<[u8; 4]>::try_from(value).ok()?.into())
}

fn attribute(number: u16, value: &[u8], bytes: &mut Vec<u8>) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn message(number: u16, flags: u16, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(SUBSYSTEM | number).to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.resize(start + HEADER, 0);
    bytes.extend_from_slice(&NETFILTER_HEADER);
    fill(bytes);
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let (mut addresses, mut tuple) = (Vec::new(), Vec::new());
        attribute(SOURCE, &from, &mut addresses);
        attribute(DESTINATION, &to, &mut addresses);
        attribute(TUPLE_ADDRESSES | NESTED, &addresses, &mut tuple);
        // CTA_TUPLE_PROTO with CTA_PROTO_NUM: UDP.
        let mut protocol = Vec::new();
        attribute(1, &[17], &mut protocol);
        attribute(2 | NESTED, &protocol, &mut tuple);
        tuple
    }

    /// A client's datagram to a VIP, which a task answers.
    fn answer() -> Vec<u8> {
        let mut bytes = vec![IPV4, 0, 0, 0];
        attribute(ASKED | NESTED, &tuple([10, 0, 3, 7], [10, 0, 3, 2]), &mut bytes);
        attribute(ANSWERED | NESTED, &tuple([10, 0, 3, 4], [10, 0, 3, 7]), &mut bytes);
        attribute(3, &[0, 0, 1, 8], &mut bytes);
        attribute(IDENTITY, &[1, 2, 3, 4], &mut bytes);
        bytes
    }

    #[test]
    fn a_connection_is_read_and_removed_by_what_the_kernel_knows_it_by() {
        let entry = Entry::decode(&answer()).unwrap();
        let (vip, task) = (Ipv4Addr::new(10, 0, 3, 2), Ipv4Addr::new(10, 0, 3, 4));
        assert_eq!((entry.asked, entry.answers, entry.is_rewritten()), (vip, task, true));
        let mut bytes = Vec::new();
        entry.write_removal(&mut bytes);
        assert_eq!(
            bytes.len(),
            usize::try_from(u32::from_ne_bytes([bytes[0], bytes[1], 0, 0])).unwrap()
        );
        assert_eq!(bytes[4..8], [DELETE as u8, 1, REQUEST as u8, 0]);
        let key: Vec<u16> = each(&bytes[HEADER + 4..]).map(|(number, _)| number).collect();
        assert_eq!(key, [ASKED, IDENTITY]);
    }

    #[test]
    fn whatever_bytes_come_reading_them_ends_well() {
        let whole = answer();
        for length in 0..whole.len() {
            let _ = Entry::decode(&whole[..length]);
        }
        for place in 0..whole.len() {
            for byte in [0, 1, 3, 5, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] = byte;
                let _ = Entry::decode(&bytes);
            }
        }
        assert_eq!(Entry::decode(&[10, 0, 0, 0]), None, "IPv6");
    }
}
