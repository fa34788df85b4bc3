//! Deciding what to answer: from a zone and a query's bytes, nothing else.
//!
//! Pure and total: any bytes give a decision, none makes it panic. It asks nobody: what the zone
//! does not know comes back as [`Answer::Forward`].

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use super::name;
use super::reply::{Authority, Reply, Room, put_name};
pub use super::request::Transport;
use super::request::{Request, Unreadable};
use crate::node::zone::Zone;

/// What to do with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send these bytes back.
    Reply(Vec<u8>),
    /// The zone does not know it: ask the name servers of the machine.
    Forward,
    /// Say nothing.
    Drop,
}

/// The address family asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// Answers one query. Addresses are given out beginning with the `rotation`-th (modulo how many
/// there are), so a caller that counts up spreads its clients evenly.
pub fn answer(zone: &Zone, rotation: u32, request: &[u8], transport: Transport) -> Answer {
    answer_with(zone, |_, _| rotation, request, transport)
}

/// As [`answer`], with the rotation asked for by name (as the zone writes it) and family, and only
/// when there are at least two addresses to rotate.
pub fn answer_with(
    zone: &Zone,
    rotation: impl FnOnce(&str, Family) -> u32,
    request: &[u8],
    transport: Transport,
) -> Answer {
    let request = match Request::read(request) {
        Ok(request) => request,
        Err(unreadable) => return answer_unreadable(unreadable, transport),
    };
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Answer::Reply(bare(&request, ResponseCode::BADVERS, transport));
    }
    match answer_known(zone, rotation, &request, transport) {
        Some(reply) => Answer::Reply(reply),
        None if zone.secluded => Answer::Reply(bare(&request, ResponseCode::ServFail, transport)),
        None => Answer::Forward,
    }
}

/// A reply to `request` that carries nothing but `code`; `None` when `request` is noise.
pub fn refusal(request: &[u8], code: ResponseCode, transport: Transport) -> Option<Vec<u8>> {
    match Request::read(request) {
        Ok(request) => Some(bare(&request, code, transport)),
        Err(Unreadable::Noise) => None,
        Err(Unreadable::Malformed(request) | Unreadable::NotImplemented(request)) => {
            Some(bare(&request, code, transport))
        }
    }
}

fn answer_unreadable(unreadable: Unreadable, transport: Transport) -> Answer {
    let (request, code) = match unreadable {
        Unreadable::Noise => return Answer::Drop,
        Unreadable::Malformed(request) => (request, ResponseCode::FormErr),
        Unreadable::NotImplemented(request) => (request, ResponseCode::NotImp),
    };
    Answer::Reply(bare(&request, code, transport))
}

fn bare(request: &Request, code: ResponseCode, transport: Transport) -> Vec<u8> {
    Reply::new(request, code, Authority::None, request.limit(transport)).finish()
}

/// The reply to a question whose name is of the zone; `None` for any other.
fn answer_known(
    zone: &Zone,
    rotation: impl FnOnce(&str, Family) -> u32,
    request: &Request,
    transport: Transport,
) -> Option<Vec<u8>> {
    let query = request.query.as_ref()?;
    if !matches!(query.query_class, DNSClass::IN | DNSClass::ANY) {
        return None;
    }
    let key = name::key(&query.name)?;
    let mut reply =
        Reply::new(request, ResponseCode::NoError, Authority::Ours, request.limit(transport));
    if let Some(addresses) = zone.addresses(&key) {
        let turn = |family| rotation(&key, family);
        push_addresses(&mut reply, zone.ttl, addresses, query.query_type, turn);
    } else {
        let names = zone.names_of(name::reverse(&key)?)?;
        push_pointers(&mut reply, zone.ttl, names, query.query_type);
    }
    Some(reply.finish())
}

/// The addresses of the type asked for; none of them for another type, which makes it NODATA.
fn push_addresses(
    reply: &mut Reply<'_>,
    ttl: u32,
    addresses: &[IpAddr],
    kind: RecordType,
    rotation: impl FnOnce(Family) -> u32,
) {
    let (family, chosen): (Family, Vec<IpAddr>) = match kind {
        RecordType::A => (Family::V4, addresses.iter().copied().filter(IpAddr::is_ipv4).collect()),
        RecordType::AAAA => {
            (Family::V6, addresses.iter().copied().filter(IpAddr::is_ipv6).collect())
        }
        RecordType::ANY => return push_turned(reply, ttl, addresses, 0),
        _ => return,
    };
    let turn = match chosen.len() {
        0 | 1 => 0,
        count => usize::try_from(rotation(family)).unwrap_or(0) % count,
    };
    push_turned(reply, ttl, &chosen, turn);
}

fn push_turned(reply: &mut Reply<'_>, ttl: u32, addresses: &[IpAddr], turn: usize) {
    let turned = addresses.iter().cycle().skip(turn).take(addresses.len());
    for address in turned {
        let room = match address {
            IpAddr::V4(address) => reply.push(RecordType::A, ttl, &address.octets()),
            IpAddr::V6(address) => reply.push(RecordType::AAAA, ttl, &address.octets()),
        };
        if room == Room::Full {
            return;
        }
    }
}

fn push_pointers(reply: &mut Reply<'_>, ttl: u32, names: &[String], kind: RecordType) {
    if !matches!(kind, RecordType::PTR | RecordType::ANY) {
        return;
    }
    for text in names {
        let Ok(name) = name::absolute(text) else {
            continue;
        };
        let mut data = Vec::with_capacity(text.len() + 2);
        put_name(&mut data, &name);
        if reply.push(RecordType::PTR, ttl, &data) == Room::Full {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
