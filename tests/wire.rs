//! Our IPVS bytes are the kernel's bytes: requests as `ipvsadm` sends them, answers as Linux 6.1 gave
//! them (`recorded/`, see `record.sh` there for how they came about), round trips, and decoders that
//! stand any input. The recordings are of a little-endian machine.

#[path = "recorded/mod.rs"]
mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use recorded::{Recording, recording};
use swarmlb::kernel::ipvs::wire::{
    Change, Completeness, Family, FamilyId, Flags, Forwarding, Info, Key, Name, Netmask, Protocol,
    Query, RealServer, Reply, Statistics, Timeouts, Tunnel, TunnelKind, VirtualServer, replies,
};

const IPVS: FamilyId = FamilyId(0x20);
const MARK: Key = Key::Fwmark { mark: 268, family: Family::V4 };
const MARK_V6: Key = Key::Fwmark { mark: 268, family: Family::V6 };
const MISSING: Key = Key::Fwmark { mark: 99, family: Family::V4 };
const ACKNOWLEDGE: u16 = 4;

fn all_recordings() -> Vec<Recording> {
    recorded::names().map(recording).collect()
}

#[test]
fn every_recording_is_looked_at() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let there: BTreeSet<String> = std::fs::read_dir(directory)
        .expect("the recordings")
        .filter_map(|entry| {
            Some(entry.ok()?.file_name().to_str()?.strip_suffix(".hex")?.to_owned())
        })
        .collect();
    assert_eq!(there, recorded::names().map(str::to_owned).collect());
    for (name, _) in recorded::commands() {
        assert!(there.contains(name), "{name} is not recorded");
    }
}

/// A recorded request without what differs from run to run: the port, and libnl's wish for an
/// acknowledgement where we do not need one.
fn normal(mut request: Vec<u8>, acknowledged: bool) -> Vec<u8> {
    request[12..16].fill(0);
    if !acknowledged {
        request[6] &= !u8::try_from(ACKNOWLEDGE).expect("a small flag");
    }
    request
}

fn sequence(message: &[u8]) -> u32 {
    u32::from_le_bytes(message[8..12].try_into().expect("four bytes"))
}

/// The attributes of a request by path, read by other code than what is tested.
fn attributes(request: &[u8]) -> BTreeMap<Vec<u16>, Vec<u8>> {
    fn walk(mut bytes: &[u8], path: &[u16], found: &mut BTreeMap<Vec<u16>, Vec<u8>>) {
        while !bytes.is_empty() {
            let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let number = u16::from_le_bytes([bytes[2], bytes[3]]);
            let path = [path, &[number & 0x3fff]].concat();
            if number & 0x8000 == 0 {
                assert!(
                    found.insert(path, bytes[4..length].to_vec()).is_none(),
                    "twice the same attribute"
                );
            } else {
                walk(&bytes[4..length], &path, found);
            }
            bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        }
    }
    let mut found = BTreeMap::new();
    walk(&request[20..], &[], &mut found);
    found
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 3, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, 0, last).into()
}

fn address_key(protocol: Protocol, address: IpAddr, port: u16) -> Key {
    Key::Address { protocol, address, port }
}

fn tcp_80() -> Key {
    address_key(Protocol::TCP, v4(2), 80)
}

fn sctp_9() -> Key {
    address_key(Protocol::SCTP, v6(2), 9)
}

fn persistent_v6() -> VirtualServer {
    VirtualServer {
        flags: Flags::PERSISTENT,
        timeout: 360,
        netmask: Netmask::V6(64),
        ..VirtualServer::new(MARK_V6, name("wlc"))
    }
}

fn one_packet() -> VirtualServer {
    let key = address_key(Protocol::UDP, v4(2), 53);
    VirtualServer { flags: Flags::ONE_PACKET, ..VirtualServer::new(key, name("rr")) }
}

fn source_hash() -> VirtualServer {
    let flags = Flags::SCHEDULER_1 | Flags::SCHEDULER_2;
    VirtualServer { flags, ..VirtualServer::new(sctp_9(), name("sh")) }
}

fn with_engine() -> VirtualServer {
    VirtualServer {
        flags: Flags::PERSISTENT,
        timeout: 60,
        netmask: Netmask::V4(Ipv4Addr::new(255, 255, 255, 0)),
        persistence_engine: Some(name("sip")),
        ..VirtualServer::new(address_key(Protocol::UDP, v4(2), 5060), name("rr"))
    }
}

fn masquerade(address: IpAddr, weight: u32) -> RealServer {
    RealServer { weight, ..RealServer::new(address, 0, Forwarding::Masquerade) }
}

fn gue() -> RealServer {
    let tunnel = Tunnel { kind: TunnelKind::Gue, port: 6080, flags: 1 };
    RealServer { tunnel, ..RealServer::new(v4(7), 80, Forwarding::Tunnel) }
}

#[test]
fn changes_of_virtual_servers_are_byte_for_byte_those_of_ipvsadm() {
    let rr = VirtualServer::new(MARK, name("rr"));
    let cases = [
        ("add-fwmark", Change::NewService(&rr)),
        ("add-fwmark-again", Change::NewService(&rr)),
        ("add-fwmark-v6-persistent", Change::NewService(&persistent_v6())),
        ("add-tcp", Change::NewService(&VirtualServer::new(tcp_80(), name("wrr")))),
        ("add-udp-one-packet", Change::NewService(&one_packet())),
        ("add-sctp-v6", Change::NewService(&source_hash())),
        ("add-persistent-engine", Change::NewService(&with_engine())),
        ("add-unknown-scheduler", Change::NewService(&VirtualServer::new(MISSING, name("nosuch")))),
        ("edit-fwmark", Change::SetService(&VirtualServer::new(MARK, name("wrr")))),
        ("edit-missing", Change::SetService(&VirtualServer::new(MISSING, name("rr")))),
        ("set-timeouts", Change::SetConfig(Timeouts { tcp: 800, tcp_fin: 100, udp: 200 })),
        ("zero-all", Change::Zero(None)),
        ("flush", Change::Flush),
    ];
    for (file, change) in cases {
        let [request] = <[_; 1]>::try_from(recording(file).sent).expect("one request");
        let ours = change.to_bytes(IPVS, sequence(&request));
        assert_eq!(ours, normal(request, true), "{file}");
    }
}

/// `ipvsadm` fills in a whole virtual server wherever it names one, and a whole real server where it
/// deletes one; the kernel reads the key only. We leave the rest out.
#[test]
fn changes_of_real_servers_are_those_of_ipvsadm_without_what_the_kernel_ignores() {
    let thresholds =
        RealServer { upper_threshold: 100, lower_threshold: 50, ..masquerade(v4(4), 3) };
    let route = RealServer { weight: 0, ..RealServer::new(v4(5), 80, Forwarding::Route) };
    let tunnel = RealServer::new(v4(6), 80, Forwarding::Tunnel);
    let ignored: Vec<Vec<u16>> = (6..=9).map(|number| vec![1, number]).collect();
    let of_real_server = [3, 4, 5, 6, 13, 14, 15].map(|number| vec![2, number]);
    let ignored_to_delete = [ignored.clone(), of_real_server.to_vec()].concat();
    let cases = [
        ("add-real-masquerade", Change::NewDest(&MARK, &masquerade(v4(3), 1)), &ignored),
        ("add-real-weight-thresholds", Change::NewDest(&MARK, &thresholds), &ignored),
        ("add-real-v6", Change::NewDest(&MARK_V6, &masquerade(v6(3), 1)), &ignored),
        ("add-real-route", Change::NewDest(&tcp_80(), &route), &ignored),
        ("add-real-tunnel", Change::NewDest(&tcp_80(), &tunnel), &ignored),
        ("add-real-tunnel-gue", Change::NewDest(&tcp_80(), &gue()), &ignored),
        ("edit-real", Change::SetDest(&MARK, &masquerade(v4(4), 7)), &ignored),
        ("edit-real-missing", Change::SetDest(&MARK, &masquerade(v4(9), 7)), &ignored),
        ("delete-real", Change::DelDest(&tcp_80(), v4(5), 80), &ignored_to_delete),
        ("delete-real-v6", Change::DelDest(&MARK_V6, v6(3), 0), &ignored_to_delete),
        ("delete-real-missing", Change::DelDest(&MARK, v4(9), 0), &ignored_to_delete),
        ("delete-fwmark", Change::DelService(&MARK), &ignored),
        ("delete-sctp-v6", Change::DelService(&sctp_9()), &ignored),
        ("delete-missing", Change::DelService(&MISSING), &ignored),
        ("zero-one", Change::Zero(Some(&MARK)), &ignored),
    ];
    for (file, change, ignored) in cases {
        let [request] = <[_; 1]>::try_from(recording(file).sent).expect("one request");
        let ours = change.to_bytes(IPVS, sequence(&request));
        let request = normal(request, true);
        assert_eq!(ours[4..20], request[4..20], "{file}: headers");
        let mut theirs = attributes(&request);
        for path in ignored {
            assert!(theirs.remove(path).is_some(), "{file}: no longer sends {path:?}");
        }
        assert_eq!(attributes(&ours), theirs, "{file}");
        assert_eq!(
            usize::try_from(u32::from_le_bytes([ours[0], ours[1], ours[2], ours[3]])),
            Ok(ours.len())
        );
    }
}

#[test]
fn queries_are_those_of_ipvsadm() {
    let cases = [
        (
            "info-and-list-of-none",
            vec![Query::Family, Query::Family, Query::Info, Query::Family, Query::Services],
        ),
        ("list-timeouts", vec![Query::Config]),
    ];
    for (file, queries) in cases {
        let sent = recording(file).sent;
        assert_eq!(sent.len(), queries.len(), "{file}");
        for (request, query) in sent.into_iter().zip(queries) {
            let ours = query.to_bytes(IPVS, sequence(&request));
            assert_eq!(ours, normal(request, false), "{file}: {query:?}");
        }
    }
    let sent = recording("list-one").sent;
    let [_, dests] = <[_; 2]>::try_from(sent).expect("two requests");
    assert_eq!(Query::Dests(&MARK).to_bytes(IPVS, sequence(&dests)), normal(dests, false));
}

fn answers(recording: &Recording) -> Vec<Reply> {
    recording
        .received
        .iter()
        .flat_map(|datagram| replies(datagram, IPVS))
        .map(|incoming| incoming.expect("a message that can be read"))
        .inspect(|incoming| assert_eq!(incoming.completeness, Completeness::Whole))
        .map(|incoming| incoming.reply)
        .collect()
}

/// As the kernel reports a virtual server that was added: in its table.
fn reported(server: VirtualServer) -> VirtualServer {
    VirtualServer { flags: server.flags | Flags::HASHED, ..server }
}

#[test]
fn the_kernels_list_is_what_was_added() {
    let mut services = Vec::new();
    let mut dests = Vec::new();
    let mut ends = 0;
    for reply in answers(&recording("list")) {
        match reply {
            Reply::Service(server) => services.push(server),
            Reply::Dest(server) => dests.push(server),
            Reply::Done(ack) => ends += i32::from(ack.errno == 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends, 7, "one list of virtual servers, and one of real servers for each");
    let marked = services.iter().find(|server| server.key == MARK).expect("mark 268").statistics;
    let expected = [
        one_packet(),
        VirtualServer::new(tcp_80(), name("wrr")),
        source_hash(),
        with_engine(),
        persistent_v6(),
        VirtualServer { statistics: marked, ..VirtualServer::new(MARK, name("wrr")) },
    ];
    services.sort_by_key(|server| server.key);
    let mut expected = expected.map(reported);
    expected.sort_by_key(|server| server.key);
    assert_eq!(services, expected);

    let addresses: Vec<_> =
        dests.iter().map(|server| (server.address, server.port, server.forwarding)).collect();
    for expected in [
        (v4(3), 0, Forwarding::Masquerade),
        (v4(4), 0, Forwarding::Masquerade),
        (v6(3), 0, Forwarding::Masquerade),
        (v4(5), 80, Forwarding::Route),
        (v4(6), 80, Forwarding::Tunnel),
        (v4(7), 80, Forwarding::Tunnel),
    ] {
        assert!(addresses.contains(&expected), "{expected:?} in {addresses:?}");
    }
    assert_eq!(dests.len(), 6);
    assert!(dests.contains(&gue()), "{dests:?}");
}

#[test]
fn counters_are_read_from_the_recorded_answer() {
    let replies = answers(&recording("list-one"));
    let [
        Reply::Service(server),
        Reply::Ack(_),
        Reply::Dest(first),
        Reply::Dest(second),
        Reply::Done(_),
    ] = replies.as_slice()
    else {
        panic!("{replies:?}");
    };
    let expected = Statistics {
        connections: 10,
        packets_in: 35,
        packets_out: 35,
        bytes_in: 2260,
        bytes_out: 2865,
        connection_rate: 1,
        packet_rate_in: 3,
        packet_rate_out: 3,
        byte_rate_in: 169,
        byte_rate_out: 215,
    };
    let expected = VirtualServer { statistics: expected, ..VirtualServer::new(MARK, name("wrr")) };
    assert_eq!(*server, reported(expected));
    let statistics = Statistics {
        connections: 8,
        packets_in: 23,
        packets_out: 23,
        bytes_in: 1476,
        bytes_out: 1799,
        connection_rate: 1,
        packet_rate_in: 2,
        packet_rate_out: 2,
        byte_rate_in: 105,
        byte_rate_out: 127,
    };
    assert_eq!(*first, RealServer { inactive: 8, statistics, ..masquerade(v4(4), 7) });
    assert_eq!((second.address, second.inactive, second.statistics.connections), (v4(3), 2, 2));
}

#[test]
fn a_counter_beyond_32_bits_is_read_whole() {
    let mut datagram = recording("list-one").received.swap_remove(0);
    let connections = [0x0c, 0, 1, 0, 10, 0, 0, 0];
    let place = datagram
        .windows(connections.len())
        .position(|window| window == connections)
        .expect("the wide counter of 10 connections");
    datagram[place + 8] = 1;
    let replies: Vec<_> = replies(&datagram, IPVS)
        .map(|incoming| incoming.expect("a virtual server").reply)
        .collect();
    let [Reply::Service(server)] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    assert_eq!(server.statistics.connections, (1 << 32) + 10);
}

#[test]
fn what_the_kernel_says_of_itself_is_read() {
    let replies = answers(&recording("info-and-list-of-none"));
    let [Reply::Family(family), Reply::Ack(_), .., Reply::Done(end)] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    assert_eq!((family.id, family.name.as_str(), family.version), (IPVS, "IPVS", 1));
    assert_eq!(end.errno, 0);
    let info = Info { version: (1, 2, 1), connection_table_size: 4096 };
    assert!(replies.contains(&Reply::Info(info)), "{replies:?}");

    let timeouts = answers(&recording("list-timeouts"));
    let [Reply::Config(timeouts), Reply::Ack(_)] = timeouts.as_slice() else {
        panic!("{timeouts:?}");
    };
    assert_eq!(*timeouts, Timeouts { tcp: 800, tcp_fin: 100, udp: 200 });
}

#[test]
fn every_change_is_acknowledged_under_its_sequence_number() {
    const ENOENT: i32 = 2;
    const ESRCH: i32 = 3;
    const EEXIST: i32 = 17;
    for (file, errno) in [
        ("add-fwmark", 0),
        ("add-fwmark-again", EEXIST),
        ("add-unknown-scheduler", ENOENT),
        ("edit-missing", ESRCH),
        ("add-real-masquerade", 0),
        ("add-real-again", EEXIST),
        ("edit-real-missing", ENOENT),
        ("delete-real-missing", ENOENT),
        ("delete-missing", ESRCH),
        ("list-one-missing", ESRCH),
        ("flush", 0),
    ] {
        let recording = recording(file);
        let replies = answers(&recording);
        let [Reply::Ack(ack)] = replies.as_slice() else {
            panic!("{file}: {replies:?}");
        };
        assert_eq!((ack.sequence, ack.errno), (sequence(&recording.sent[0]), errno), "{file}");
        assert_eq!(ack.message, None, "{file}");
    }
}

/// The socket had `NETLINK_EXT_ACK`, from the second request on `NETLINK_CAP_ACK` too.
#[test]
fn the_kernels_own_sentence_is_read_behind_a_whole_and_behind_a_capped_request() {
    let acks: Vec<_> = answers(&recording("extended-acknowledgement"))
        .into_iter()
        .map(|reply| match reply {
            Reply::Ack(ack) | Reply::Done(ack) => (ack.sequence, ack.errno, ack.message),
            other => panic!("{other:?}"),
        })
        .collect();
    let refusal = Some("Attribute failed policy validation".to_owned());
    let expected =
        [(2, 34, refusal.clone()), (3, 34, refusal), (4, 3, None), (5, 0, None), (6, 3, None)];
    assert_eq!(acks, expected);
}

#[test]
fn an_interrupted_list_says_so() {
    let mut datagram = recording("list-one").received.swap_remove(2);
    datagram[6] |= 0x10;
    let seen: Vec<_> = replies(&datagram, IPVS)
        .map(|incoming| incoming.expect("a real server").completeness)
        .collect();
    assert_eq!(seen, [Completeness::Interrupted, Completeness::Whole]);
}

#[test]
fn a_name_is_as_long_as_the_kernel_keeps_it() {
    for refused in ["", "sixteen-bytes-xx", "r\0r"] {
        assert!(refused.parse::<Name>().is_err(), "{refused:?}");
    }
    assert_eq!(name("fifteen-bytes-x").as_str().len(), 15);
}

fn fixed_seed() -> ProptestConfig {
    ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(0x1b5),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::collection::vec(prop::char::range('!', 'z'), 1..=15)
        .prop_map(|letters| name(&letters.into_iter().collect::<String>()))
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (any::<u32>(), prop_oneof![Just(Family::V4), Just(Family::V6)])
            .prop_map(|(mark, family)| Key::Fwmark { mark, family }),
        (any::<u16>(), any::<IpAddr>(), any::<u16>())
            .prop_map(|(protocol, address, port)| address_key(Protocol(protocol), address, port)),
    ]
}

fn any_virtual_server() -> impl Strategy<Value = VirtualServer> {
    (any_key(), any_name(), any::<u32>(), any::<u32>(), any::<u32>(), prop::option::of(any_name()))
        .prop_map(|(key, scheduler, flags, timeout, netmask, persistence_engine)| VirtualServer {
            flags: Flags(flags),
            timeout,
            netmask: match key.family() {
                Family::V4 => Netmask::V4(netmask.into()),
                Family::V6 => Netmask::V6(netmask),
            },
            persistence_engine,
            ..VirtualServer::new(key, scheduler)
        })
}

fn any_real_server() -> impl Strategy<Value = RealServer> {
    let forwarding = prop_oneof![
        Just(Forwarding::Masquerade),
        Just(Forwarding::Local),
        Just(Forwarding::Tunnel),
        Just(Forwarding::Route),
        Just(Forwarding::Bypass),
        (5..=7_u8).prop_map(Forwarding::Other),
    ];
    let kind = prop_oneof![
        Just(TunnelKind::Ipip),
        Just(TunnelKind::Gue),
        Just(TunnelKind::Gre),
        (3..=u8::MAX).prop_map(TunnelKind::Other),
    ];
    let tunnel = (kind, any::<u16>(), any::<u16>()).prop_map(|(kind, port, flags)| Tunnel {
        kind,
        port,
        flags,
    });
    (any::<IpAddr>(), any::<u16>(), forwarding, any::<[u32; 3]>(), tunnel).prop_map(
        |(address, port, forwarding, [weight, upper_threshold, lower_threshold], tunnel)| {
            RealServer {
                weight,
                upper_threshold,
                lower_threshold,
                tunnel,
                ..RealServer::new(address, port, forwarding)
            }
        },
    )
}

/// What a request reads as when it is taken for an answer: the commands have the same numbers.
fn read_back(request: &[u8]) -> Vec<Reply> {
    replies(request, IPVS).map(|incoming| incoming.expect("what we wrote").reply).collect()
}

proptest! {
    #![proptest_config(fixed_seed())]

    #[test]
    fn a_virtual_server_survives_the_wire(server in any_virtual_server(), sequence: u32) {
        let bytes = Change::NewService(&server).to_bytes(IPVS, sequence);
        prop_assert_eq!(read_back(&bytes), [Reply::Service(server)]);
    }

    #[test]
    fn a_real_server_survives_the_wire(key in any_key(), server in any_real_server(), sequence: u32) {
        let bytes = Change::NewDest(&key, &server).to_bytes(IPVS, sequence);
        prop_assert_eq!(read_back(&bytes), [Reply::Dest(server)]);
    }

    #[test]
    fn timeouts_survive_the_wire(tcp: u32, tcp_fin: u32, udp: u32) {
        let timeouts = Timeouts { tcp, tcp_fin, udp };
        let bytes = Change::SetConfig(timeouts).to_bytes(IPVS, 1);
        prop_assert_eq!(read_back(&bytes), [Reply::Config(timeouts)]);
    }

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_to_the_end(&bytes);
    }

    /// Random bytes rarely get past the first length; these get as far as the attributes.
    #[test]
    fn any_payload_is_read_to_its_end(
        kind in prop_oneof![Just(2_u16), Just(3), Just(0x10), Just(0x20)],
        flags: u16,
        command in 0..=20_u8,
        enclosing in 0..=6_u16,
        payload in prop::collection::vec(prop_oneof![0..=20_u8, any::<u8>()], 0..120),
    ) {
        let length = u16::try_from(payload.len() + 4).expect("a short payload");
        let mut message = vec![0; 4];
        message.extend([kind, flags].iter().flat_map(|field| field.to_ne_bytes()));
        message.extend([0; 8]);
        message.extend([command, 1, 0, 0]);
        message.extend([length, enclosing].iter().flat_map(|field| field.to_ne_bytes()));
        message.extend(payload);
        let length = u32::try_from(message.len()).expect("a short message");
        message[..4].copy_from_slice(&length.to_ne_bytes());
        read_to_the_end(&message);
    }
}

proptest! {
    #![proptest_config(fixed_seed())]

    /// A length that lies, a piece that is missing, one that is there twice, and what is between.
    #[test]
    fn any_damage_to_recorded_datagrams_is_read_or_refused(
        which: prop::sample::Index,
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..6),
    ) {
        let received: Vec<_> =
            all_recordings().into_iter().flat_map(|recording| recording.received).collect();
        let mut datagram = which.get(&received).clone();
        for (place, damage) in damages {
            if datagram.is_empty() {
                break;
            }
            let at = place.index(datagram.len());
            match damage {
                Damage::Length(claimed) => {
                    // Lengths stand at the beginning of a word.
                    let at = at & !3;
                    if let Some(length) = datagram.get_mut(at..at + 2) {
                        length.copy_from_slice(&claimed.to_ne_bytes());
                    }
                }
                Damage::Cut(length) => drop(datagram.drain(at..(at + length).min(datagram.len()))),
                Damage::Repeat(length) => {
                    let piece = datagram[at..(at + length).min(datagram.len())].to_vec();
                    datagram.splice(at..at, piece);
                }
                Damage::Byte(byte) => datagram[at] = byte,
            }
        }
        read_to_the_end(&datagram);
    }

    #[test]
    fn attributes_of_later_kernels_are_passed_over(
        server in any_virtual_server(),
        number in 13..0x3fff_u16,
        value in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = Change::NewService(&server).to_bytes(IPVS, 1);
        let attribute = u16::try_from(4 + value.len()).expect("a short one");
        // The only attribute of the message is the virtual server: the new one goes to its end.
        bytes.extend([attribute, number].iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let inside = u16::try_from(bytes.len() - 20).expect("a short message");
        bytes[20..22].copy_from_slice(&inside.to_ne_bytes());
        let whole = u32::try_from(bytes.len()).expect("a short message");
        bytes[..4].copy_from_slice(&whole.to_ne_bytes());
        prop_assert_eq!(read_back(&bytes), [Reply::Service(server)]);
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Length(u16),
    Cut(usize),
    Repeat(usize),
    Byte(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        prop_oneof![0..64_u16, any::<u16>()].prop_map(Damage::Length),
        (1..40_usize).prop_map(Damage::Cut),
        (1..40_usize).prop_map(Damage::Repeat),
        any::<u8>().prop_map(Damage::Byte),
    ]
}

/// A message takes 16 bytes, so there cannot be more of them, nor more than one error after them.
fn read_to_the_end(bytes: &[u8]) {
    assert!(replies(bytes, IPVS).count() <= bytes.len() / 16 + 1);
}

#[test]
fn every_truncation_of_a_recorded_datagram_is_read_or_refused() {
    for datagram in all_recordings().iter().flat_map(|recording| &recording.received) {
        let whole = replies(datagram, IPVS).count();
        for end in 0..datagram.len() {
            let read: Vec<_> = replies(&datagram[..end], IPVS).collect();
            assert!(read.len() <= whole);
            let (last, before) =
                read.split_last().map_or((None, &[][..]), |(last, before)| (Some(last), before));
            assert!(before.iter().all(Result::is_ok), "only what was cut is refused");
            assert!(
                last.is_none_or(|last| last.is_err() || end % 4 == 0),
                "cut at {end} of {}",
                datagram.len()
            );
        }
    }
}

#[test]
fn every_flipped_bit_of_a_recorded_datagram_is_read_or_refused() {
    for mut datagram in all_recordings().into_iter().flat_map(|recording| recording.received) {
        for bit in 0..datagram.len() * 8 {
            datagram[bit / 8] ^= 1 << (bit % 8);
            read_to_the_end(&datagram);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
