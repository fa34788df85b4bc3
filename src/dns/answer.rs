//! Deciding what to answer: from a zone and a query's bytes, nothing else.
//!
//! Pure and total: any bytes give a decision, none makes it panic. It asks nobody: what the zone
//! does not know comes back as [`Answer::Forward`]. What is the cluster's is never forwarded, also
//! when there is nothing to say about it: a name server elsewhere could only be wrong, and would
//! learn names and addresses that are none of its business.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use super::name::Reverse;
pub use super::reply::Reason;
use super::reply::{Authority, Owner, Reply, Room, Section, put_name};
pub use super::request::Transport;
use super::request::{Question, Request, Unreadable};
use crate::node::zone::{Named, Pointed, Zone};

/// How long it may be kept that something is not there, in seconds, at most: a task may be there
/// in a moment.
const NEGATIVE_TTL: u32 = 2;

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send back what was written.
    Reply,
    /// The zone does not know it: ask the name servers of the machine. Nothing was written.
    Forward,
    /// Say nothing. Nothing was written.
    Drop,
}

/// What takes turns under a name, each by itself: a client that asks for A and AAAA together must
/// not skip every other address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
    /// SRV records.
    Services,
}

/// Answers one query, writing the reply behind what `out` holds.
///
/// Which of several records comes first is asked of `rotation`, by name (as the zone writes it) and
/// family: the number it gives, modulo how many there are. Who counts up spreads clients evenly.
pub fn answer(
    zone: &Zone,
    rotation: impl FnOnce(&str, Family) -> u32,
    request: &[u8],
    transport: Transport,
    out: &mut Vec<u8>,
) -> Answer {
    let request = match Request::read(request) {
        Ok(request) => request,
        Err(unreadable) => return answer_unreadable(unreadable, transport, out),
    };
    let refused = |code, out: &mut Vec<u8>| {
        bare(&request, code, transport, out);
        Answer::Reply
    };
    let Some(question) = &request.question else {
        return Answer::Drop;
    };
    if request.edns.is_some_and(|edns| edns.version > 0) {
        return refused(ResponseCode::BADVERS, out);
    }
    // Only the first message of a transfer would come back.
    if matches!(question.kind, RecordType::AXFR | RecordType::IXFR) {
        return refused(ResponseCode::NotImp, out);
    }
    let found = question.key.as_ref().and_then(|key| find(zone, key.as_str()));
    let Some(found) = found else {
        return match zone.secluded {
            true => refused(ResponseCode::ServFail, out),
            false => Answer::Forward,
        };
    };
    let class = DNSClass::from(question.class);
    if !matches!(class, DNSClass::IN | DNSClass::ANY) {
        return refused(ResponseCode::NotImp, out);
    }
    answer_found(zone, &found, question, rotation, &request, transport, out);
    Answer::Reply
}

/// Writes a reply to `request` that carries nothing but `code`, with a reason for a client that
/// speaks EDNS; false when `request` is noise.
pub fn refuse(
    request: &[u8],
    code: ResponseCode,
    reason: Option<Reason<'_>>,
    transport: Transport,
    out: &mut Vec<u8>,
) -> bool {
    let request = match Request::read(request) {
        Ok(request) => request,
        Err(Unreadable::Noise) => return false,
        Err(Unreadable::Malformed(request) | Unreadable::NotImplemented(request)) => *request,
    };
    let limit = request.limit(transport);
    let mut reply = Reply::new(&request, code, Authority::None, limit, out);
    if let Some(reason) = reason {
        reply.because(reason);
    }
    reply.finish();
    true
}

fn answer_unreadable(
    unreadable: Unreadable<'_>,
    transport: Transport,
    out: &mut Vec<u8>,
) -> Answer {
    let (request, code) = match unreadable {
        Unreadable::Noise => return Answer::Drop,
        Unreadable::Malformed(request) => (request, ResponseCode::FormErr),
        Unreadable::NotImplemented(request) => (request, ResponseCode::NotImp),
    };
    bare(&request, code, transport, out);
    Answer::Reply
}

fn bare(request: &Request<'_>, code: ResponseCode, transport: Transport, out: &mut Vec<u8>) {
    Reply::new(request, code, Authority::None, request.limit(transport), out).finish();
}

/// What a name of the cluster's is.
#[derive(Debug)]
enum Found<'a> {
    /// A name of the zone.
    Name(&'a Named),
    /// An address that somebody has.
    Address(&'a Pointed),
    /// A service of a name of the zone, at a port.
    Service { name: &'a str, named: &'a Named, port: u16 },
    /// Nothing by itself, but there are names below it.
    Nothing { ttl: u32 },
    /// No such name. What there is begins after so many bytes of it.
    Absent { ttl: u32, after: usize },
}

/// What the zone has to say about a name; `None` when the name is not the cluster's.
fn find<'a>(zone: &'a Zone, key: &'a str) -> Option<Found<'a>> {
    if let Some(named) = zone.named(key) {
        return Some(Found::Name(named));
    }
    if key.starts_with('_') {
        return find_service(zone, key);
    }
    match Reverse::of(key) {
        Some(reverse) => find_address(zone, reverse, key),
        None => find_slot(zone, key),
    }
}

/// `_80._tcp.web`: the form of SRV (RFC 2782) with the port as a number, as TLSA has it (RFC 6698,
/// 3): ports have no names here, and a number is never taken for the name of a service (RFC 6335,
/// 5.1 wants a letter in those). Labels with an underscore belong to the name behind them (RFC 8552).
fn find_service<'a>(zone: &'a Zone, key: &'a str) -> Option<Found<'a>> {
    let mut labels = Vec::new();
    let mut name = key;
    while let Some((label, rest)) = name.split_once('.').filter(|_| name.starts_with('_')) {
        labels.push(label);
        name = rest;
    }
    let named = zone.named(name)?;
    let port = |label: &str| {
        let digits = label.strip_prefix('_')?;
        digits.starts_with(|first| matches!(first, '1'..='9')).then(|| digits.parse().ok())?
    };
    Some(match labels[..] {
        [first, "_tcp" | "_udp" | "_sctp"] => match port(first) {
            Some(port) => Found::Service { name, named, port },
            None => Found::Absent { ttl: named.ttl, after: key.len() - name.len() },
        },
        ["_tcp" | "_udp" | "_sctp"] => Found::Nothing { ttl: named.ttl },
        _ => Found::Absent { ttl: named.ttl, after: key.len() - name.len() },
    })
}

fn find_address<'a>(zone: &'a Zone, reverse: Reverse, key: &str) -> Option<Found<'a>> {
    if let Some(pointed) = reverse.address().and_then(|address| zone.pointed(address)) {
        return Some(Found::Address(pointed));
    }
    let whole = reverse.range.prefix_len() == reverse.range.max_prefix_len();
    zone.claims(reverse.range).then(|| match whole || reverse.beneath {
        true => Found::Absent { ttl: NEGATIVE_TTL, after: first_label(key) },
        false => Found::Nothing { ttl: NEGATIVE_TTL },
    })
}

/// A task that a service does not have: `web.9` or `web.9.NETWORK`. No name elsewhere ends with a
/// number, and no network's does.
fn find_slot<'a>(zone: &'a Zone, key: &str) -> Option<Found<'a>> {
    let (service, rest) = key.split_once('.')?;
    let (slot, network) = rest.split_once('.').map_or((rest, None), |(s, n)| (s, Some(n)));
    if slot.is_empty() || !slot.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let named = match network {
        None => zone.named(service)?,
        Some(network) => zone.named(&format!("{service}.{network}"))?,
    };
    Some(Found::Absent { ttl: named.ttl, after: first_label(key) })
}

fn first_label(key: &str) -> usize {
    key.find('.').map_or(0, |dot| dot + 1)
}

fn answer_found(
    zone: &Zone,
    found: &Found<'_>,
    question: &Question,
    rotation: impl FnOnce(&str, Family) -> u32,
    request: &Request<'_>,
    transport: Transport,
    out: &mut Vec<u8>,
) {
    let code = match found {
        Found::Absent { .. } => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    let mut reply = Reply::new(request, code, Authority::Ours, request.limit(transport), out);
    let key = question.key.as_ref().map_or("", |key| key.as_str());
    let turn = |family| rotation(key, family);
    let (given, ttl, after) = match found {
        Found::Name(named) => {
            (push_addresses(&mut reply, named, question.kind, turn), named.ttl, 0)
        }
        Found::Address(pointed) => {
            (push_pointers(&mut reply, pointed, question.kind), pointed.ttl, 0)
        }
        Found::Service { name, named, port } => {
            let wanted = matches!(question.kind, RecordType::SRV | RecordType::ANY);
            let given = wanted && push_services(&mut reply, zone, (name, named, *port), turn);
            (given, named.ttl, 0)
        }
        Found::Nothing { ttl } => (false, *ttl, 0),
        Found::Absent { ttl, after } => (false, *ttl, *after),
    };
    if !given {
        push_soa(&mut reply, Owner::above(after), ttl.min(NEGATIVE_TTL));
    }
    reply.finish();
}

/// The addresses of the type asked for; false when there are none, which makes it NODATA.
fn push_addresses(
    reply: &mut Reply<'_>,
    named: &Named,
    kind: RecordType,
    turn: impl FnOnce(Family) -> u32,
) -> bool {
    match kind {
        RecordType::A => {
            let turn = place(named.v4.len(), || turn(Family::V4));
            push_v4(reply, Section::Answer, Owner::ASKED, named, turn);
            !named.v4.is_empty()
        }
        RecordType::AAAA => {
            let turn = place(named.v6.len(), || turn(Family::V6));
            push_v6(reply, Section::Answer, Owner::ASKED, named, turn);
            !named.v6.is_empty()
        }
        RecordType::ANY => {
            push_v4(reply, Section::Answer, Owner::ASKED, named, 0);
            push_v6(reply, Section::Answer, Owner::ASKED, named, 0);
            !named.v4.is_empty() || !named.v6.is_empty()
        }
        _ => false,
    }
}

/// Who comes first of so many; one takes no turns.
fn place(count: usize, turn: impl FnOnce() -> u32) -> usize {
    match count {
        0 | 1 => 0,
        count => usize::try_from(turn()).unwrap_or(0) % count,
    }
}

/// A list from its `turn`-th entry on, and then those before.
fn turned<T>(list: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let (before, after) = list.split_at(turn.min(list.len()));
    after.iter().chain(before)
}

fn push_v4(reply: &mut Reply<'_>, section: Section, owner: Owner, named: &Named, turn: usize) {
    for address in turned(&named.v4, turn) {
        if reply.push(section, owner, RecordType::A, named.ttl, &address.octets()) == Room::Full {
            return;
        }
    }
}

fn push_v6(reply: &mut Reply<'_>, section: Section, owner: Owner, named: &Named, turn: usize) {
    for address in turned(&named.v6, turn) {
        let room = reply.push(section, owner, RecordType::AAAA, named.ttl, &address.octets());
        if room == Room::Full {
            return;
        }
    }
}

fn push_pointers(reply: &mut Reply<'_>, pointed: &Pointed, kind: RecordType) -> bool {
    if !matches!(kind, RecordType::PTR | RecordType::ANY) {
        return false;
    }
    let mut given = false;
    for name in &pointed.names {
        let mut data = Vec::with_capacity(name.len() + 2);
        if put_name(&mut data, name) {
            given = true;
            let (section, owner) = (Section::Answer, Owner::ASKED);
            if reply.push(section, owner, RecordType::PTR, pointed.ttl, &data) == Room::Full {
                break;
            }
        }
    }
    given
}

/// One record for each that serves under a name, or for the name itself, and the addresses of all:
/// priority 0, and the same weight for everybody.
fn push_services(
    reply: &mut Reply<'_>,
    zone: &Zone,
    (name, named, port): (&str, &Named, u16),
    turn: impl FnOnce(Family) -> u32,
) -> bool {
    let itself = [name.to_owned()];
    let serves = !(named.v4.is_empty() && named.v6.is_empty());
    let targets = match (serves, &named.targets[..]) {
        (false, _) => &[],
        (true, []) => &itself[..],
        (true, targets) => targets,
    };
    let mut given = Vec::with_capacity(targets.len());
    for target in turned(targets, place(targets.len(), || turn(Family::Services))) {
        let mut data = [0, 0, 0, 1].to_vec();
        data.extend(port.to_be_bytes());
        if !put_name(&mut data, target) {
            continue;
        }
        let (section, owner) = (Section::Answer, Owner::ASKED);
        if reply.push(section, owner, RecordType::SRV, named.ttl, &data) == Room::Full {
            return true;
        }
        given.push((target, reply.last(data.len() - 6)));
    }
    for (target, owner) in &given {
        if let Some(found) = zone.named(target) {
            push_v4(reply, Section::Additional, *owner, found, 0);
            push_v6(reply, Section::Additional, *owner, found, 0);
        }
    }
    !given.is_empty()
}

/// The SOA record of an empty answer (RFC 2308, 2): caches keep one for as long as it says, and by
/// their own lights without it. There is no zone file to name the master of; `localhost` and
/// `nobody.invalid` stand for that in Unbound's local zones too.
fn push_soa(reply: &mut Reply<'_>, owner: Owner, ttl: u32) {
    let mut data = Vec::with_capacity(48);
    put_name(&mut data, "localhost");
    put_name(&mut data, "nobody.invalid");
    // Serial, refresh, retry, expire: for secondaries, of which there are none.
    for number in [1, 3600, 1200, 604_800, ttl] {
        data.extend(u32::to_be_bytes(number));
    }
    reply.push(Section::Authority, owner, RecordType::SOA, ttl, &data);
}

#[cfg(test)]
mod tests;
