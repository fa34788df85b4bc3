//! Every rule of answering, and that no bytes break it.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData};

use std::net::IpAddr;

use super::super::name;
use super::{answer as answer_into, *};

const UDP: Transport = Transport::Udp;
const TCP: Transport = Transport::Tcp;

/// What came of a query, with its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Reply(Vec<u8>),
    Forward,
    Drop,
}

fn answer_with(
    zone: &Zone,
    rotation: impl FnOnce(&str, Family) -> u32,
    bytes: &[u8],
    transport: Transport,
) -> Outcome {
    // What stands in the buffer already stays as it is.
    let mut out = b"before".to_vec();
    let decided = answer_into(zone, rotation, bytes, transport, &mut out);
    assert!(out.starts_with(b"before"));
    match decided {
        Answer::Reply => Outcome::Reply(out.split_off(6)),
        Answer::Forward | Answer::Drop if out.len() > 6 => panic!("{decided:?} wrote {out:?}"),
        Answer::Forward => Outcome::Forward,
        Answer::Drop => Outcome::Drop,
    }
}

fn answer(zone: &Zone, rotation: u32, bytes: &[u8], transport: Transport) -> Outcome {
    answer_with(zone, |_, _| rotation, bytes, transport)
}

fn refusal(bytes: &[u8], code: ResponseCode, transport: Transport) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    refuse(bytes, code, None, transport, &mut out).then_some(out)
}

fn zone() -> Zone {
    let mut zone = Zone::default();
    let mut add = |name: &str, addresses: &[&str], targets: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let targets = targets.iter().map(|target| (*target).to_owned());
        zone.add(name, 3, &addresses).targets.extend(targets);
    };
    add("web", &["10.0.1.2"], &[]);
    let tasks = ["10.0.1.3", "fd00::3", "10.0.1.4", "fd00::4", "10.0.1.5"];
    add("tasks.web", &tasks, &["web.1", "web.2", "web.3"]);
    add("web.1", &["10.0.1.3", "fd00::3"], &[]);
    add("web.2", &["10.0.1.4", "fd00::4"], &[]);
    add("web.3", &["10.0.1.5"], &[]);
    add("web.blue", &["10.0.1.2"], &[]);
    add("web.1.blue", &["10.0.1.3"], &[]);
    add("my_db", &["10.0.1.9"], &[]);
    add("tasks.idle", &[], &[]);
    let address = IpAddr::from([10, 0, 1, 3]);
    zone.point(address, 3, Some("web.1.blue"));
    zone.point(address, 3, Some("web.1"));
    zone.claim("10.0.1.0/24".parse().unwrap());
    zone
}

/// A zone whose `tasks.big` has this many addresses.
fn crowded(count: u16) -> Zone {
    let mut zone = Zone::default();
    let addresses = (0..count).map(|task| {
        let [high, low] = task.to_be_bytes();
        IpAddr::from([10, 1, high, low])
    });
    zone.add("tasks.big", 3, &addresses.collect::<Vec<_>>());
    zone
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name::absolute(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

fn reply_bytes(zone: &Zone, rotation: u32, query: &Message, transport: Transport) -> Vec<u8> {
    match answer(zone, rotation, &query.to_vec().unwrap(), transport) {
        Outcome::Reply(bytes) => bytes,
        other => panic!("{query} gave {other:?}"),
    }
}

fn reply(zone: &Zone, query: &Message) -> Message {
    Message::from_vec(&reply_bytes(zone, 0, query, UDP)).unwrap()
}

fn addresses(reply: &Message) -> Vec<String> {
    let data = reply.answers.iter().map(|record| &record.data);
    data.filter_map(RData::ip_addr).map(|ip| ip.to_string()).collect()
}

fn decide(message: &Message) -> Outcome {
    answer(&zone(), 0, &message.to_vec().unwrap(), UDP)
}

#[test]
fn a_known_name_is_answered_with_authority_and_the_zones_ttl() {
    let reply = reply(&zone(), &query("web", RecordType::A));
    assert_eq!(addresses(&reply), ["10.0.1.2"]);
    assert_eq!(reply.metadata.id, 0x1234);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.metadata.authoritative);
    assert!(reply.metadata.recursion_available);
    assert!(reply.metadata.recursion_desired);
    assert!(!reply.metadata.truncation);
    assert!(!reply.metadata.authentic_data);
    assert_eq!(reply.answers.iter().map(|r| r.ttl).max(), Some(3));
    assert_eq!(reply.edns, None);
}

#[test]
fn recursion_desired_and_checking_disabled_are_copied() {
    let mut query = query("web", RecordType::A);
    query.metadata.recursion_desired = false;
    query.metadata.checking_disabled = true;
    let reply = reply(&zone(), &query);
    assert!(!reply.metadata.recursion_desired);
    assert!(reply.metadata.checking_disabled);
}

#[test]
fn each_family_is_answered_with_its_own_addresses() {
    let v4 = reply(&zone(), &query("tasks.web", RecordType::A));
    assert_eq!(addresses(&v4), ["10.0.1.3", "10.0.1.4", "10.0.1.5"]);
    let v6 = reply(&zone(), &query("tasks.web", RecordType::AAAA));
    assert_eq!(addresses(&v6), ["fd00::3", "fd00::4"]);
    let any = reply(&zone(), &query("tasks.web", RecordType::ANY));
    assert_eq!(addresses(&any).len(), 5);
}

#[test]
fn any_case_matches_and_the_querys_case_comes_back() {
    let reply = reply(&zone(), &query("TaSkS.wEb", RecordType::A));
    let asked = name::absolute("TaSkS.wEb").unwrap();
    assert!(reply.queries.iter().all(|query| query.name.eq_case(&asked)));
    assert!(reply.answers.iter().all(|found| found.name.eq_case(&asked)));
    assert_eq!(reply.answers.len(), 3);
    assert_eq!(addresses(&self::reply(&zone(), &query("MY_DB", RecordType::A))), ["10.0.1.9"]);
}

#[test]
fn rotation_gives_every_address_the_first_place_equally_often() {
    let mut firsts = Vec::new();
    for rotation in [0, 1, 2, 3, 4, u32::MAX] {
        let bytes = reply_bytes(&zone(), rotation, &query("tasks.web", RecordType::A), UDP);
        let found = addresses(&Message::from_vec(&bytes).unwrap());
        assert_eq!(found.len(), 3);
        firsts.extend(found.into_iter().next());
    }
    let expected = [3, 4, 5, 3, 4, 3].map(|last| format!("10.0.1.{last}"));
    assert_eq!(firsts, expected);
}

#[test]
fn the_turn_is_taken_only_where_there_is_something_to_rotate() {
    let mut taken = Vec::new();
    for (name, kind) in [
        ("web", RecordType::A),
        ("tasks.web", RecordType::A),
        ("TASKS.web", RecordType::AAAA),
        ("tasks.web", RecordType::MX),
        ("tasks.idle", RecordType::A),
        ("elsewhere", RecordType::A),
    ] {
        let bytes = query(name, kind).to_vec().unwrap();
        let turn = |name: &str, family| {
            taken.push((name.to_owned(), family));
            0
        };
        answer_with(&zone(), turn, &bytes, UDP);
    }
    let name = "tasks.web".to_owned();
    assert_eq!(taken, [(name.clone(), Family::V4), (name, Family::V6)]);
}

#[test]
fn a_known_name_without_that_type_is_nodata_and_never_forwarded() {
    for (name, kind) in [
        ("web", RecordType::AAAA),
        ("web", RecordType::MX),
        ("web", RecordType::TXT),
        ("web", RecordType::HTTPS),
        ("web", RecordType::PTR),
        ("web", RecordType::Unknown(4711)),
        ("tasks.idle", RecordType::A),
        ("tasks.idle", RecordType::ANY),
        ("3.1.0.10.in-addr.arpa", RecordType::A),
    ] {
        let reply = reply(&zone(), &query(name, kind));
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty(), "{name} {kind}");
        assert!(reply.metadata.authoritative);
    }
}

#[test]
fn a_known_address_is_answered_with_its_names() {
    let reply = reply(&zone(), &query("3.1.0.10.IN-ADDR.arpa", RecordType::PTR));
    let names = reply.answers.iter().filter_map(|found| match &found.data {
        RData::PTR(name) => name::key(&name.0),
        _ => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), ["web.1.blue", "web.1"]);
}

#[test]
fn a_pointer_that_the_wire_cannot_carry_is_left_out() {
    let mut zone = zone();
    for name in ["a".repeat(64).as_str(), "b..c", "web.2"] {
        zone.point(IpAddr::from([10, 0, 1, 7]), 3, Some(name));
    }
    let reply = reply(&zone, &query("7.1.0.10.in-addr.arpa", RecordType::PTR));
    assert_eq!(reply.answers.len(), 1);
}

#[test]
fn an_empty_answer_says_how_long_it_may_be_kept() {
    let mut lasting = zone();
    lasting.add("lasting", 3600, &["10.0.1.8".parse().unwrap()]);
    lasting.add("fleeting", 0, &["10.0.1.8".parse().unwrap()]);
    for (name, ttl) in [("Lasting", 2), ("fleeting", 0)] {
        let reply = reply(&lasting, &query(name, RecordType::AAAA));
        let [record] = &reply.authorities[..] else { panic!("{reply}") };
        let RData::SOA(soa) = &record.data else { panic!("{reply}") };
        assert_eq!(record.name, name::absolute(name).unwrap());
        assert_eq!((record.ttl, soa.minimum), (ttl, ttl));
    }
    assert!(reply(&zone(), &query("web", RecordType::A)).authorities.is_empty());
}

#[test]
fn a_secluded_zone_answers_what_it_knows_and_forwards_nothing() {
    let mut secluded = zone();
    secluded.secluded = true;
    let known = |zone: &Zone| addresses(&reply(zone, &query("web", RecordType::A)));
    assert_eq!(known(&secluded), known(&zone()));
    let told = reply(&secluded, &query("elsewhere", RecordType::A));
    assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn what_the_zone_does_not_know_is_forwarded() {
    for (name, kind) in [
        ("elsewhere", RecordType::A),
        ("tasks.unknown", RecordType::A),
        ("1.web", RecordType::A),
        ("www.web", RecordType::A),
        ("unknown.1", RecordType::A),
        ("web.1x", RecordType::A),
        ("blue", RecordType::A),
        ("_80._tcp.elsewhere", RecordType::SRV),
        ("_tcp", RecordType::SRV),
        ("_", RecordType::A),
        (".", RecordType::NS),
        ("4.2.0.10.in-addr.arpa", RecordType::PTR),
        ("0.10.in-addr.arpa", RecordType::NS),
        ("1.0.0.0.d.f.ip6.arpa", RecordType::PTR),
    ] {
        assert_eq!(decide(&query(name, kind)), Outcome::Forward, "{name}");
    }
    let spoofed = Name::from_labels([b"tasks.web".as_slice()]).unwrap();
    let mut spoof = Message::new(1, MessageType::Query, OpCode::Query);
    spoof.add_query(Query::query(spoofed, RecordType::A));
    assert_eq!(decide(&spoof), Outcome::Forward);
}

#[test]
fn what_is_the_clusters_and_is_not_there_is_never_forwarded() {
    for (name, above) in [
        ("4.1.0.10.in-addr.arpa", "1.0.10.in-addr.arpa"),
        ("lb._dns-sd._udp.0.1.0.10.in-addr.arpa", "_dns-sd._udp.0.1.0.10.in-addr.arpa"),
        ("WEB.4", "4"),
        ("web.4.blue", "4.blue"),
        ("_http._tcp.web", "web"),
        ("_dmarc.Web.Blue", "web.blue"),
        ("_0._tcp.web", "web"),
        ("_080._tcp.web", "web"),
        ("_65536._tcp.web", "web"),
        ("_80._quic.web", "web"),
        ("_1._80._tcp.web", "web"),
    ] {
        for kind in [RecordType::A, RecordType::PTR, RecordType::SRV, RecordType::ANY] {
            let reply = reply(&zone(), &query(name, kind));
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name} {kind}");
            assert!(reply.metadata.authoritative && reply.answers.is_empty());
            let soa = reply.authorities.first().unwrap();
            assert_eq!(soa.name, name::absolute(above).unwrap(), "{name}");
        }
    }
    for name in ["1.0.10.in-addr.arpa", "_tcp.web", "_80._tcp.tasks.idle"] {
        let reply = reply(&zone(), &query(name, RecordType::ANY));
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(reply.answers.is_empty() && reply.authorities.len() == 1);
    }
}

/// Target, port and weight of each SRV record, and each additional name with its address.
fn services(reply: &Message) -> (Vec<String>, Vec<String>) {
    let services = reply.answers.iter().map(|record| match &record.data {
        RData::SRV(srv) => format!("{} {} {}", srv.target, srv.port, srv.weight),
        other => panic!("{other}"),
    });
    let address = |record: &hickory_proto::rr::Record| {
        format!("{} {}", record.name, record.data.ip_addr().unwrap())
    };
    (services.collect(), reply.additionals.iter().map(address).collect())
}

#[test]
fn a_service_at_a_port_is_everybody_who_serves_under_the_name() {
    let asked = query("_8080._TCP.Tasks.Web", RecordType::SRV);
    let (found, additional) = services(&reply(&zone(), &asked));
    assert_eq!(found, ["web.1. 8080 1", "web.2. 8080 1", "web.3. 8080 1"]);
    let addresses = [
        "web.1. 10.0.1.3",
        "web.1. fd00::3",
        "web.2. 10.0.1.4",
        "web.2. fd00::4",
        "web.3. 10.0.1.5",
    ];
    assert_eq!(additional, addresses);
    for (name, target, address) in [
        ("_80._tcp.web", "web. 80 1", "web. 10.0.1.2"),
        ("_53._udp.web.blue", "web.blue. 53 1", "web.blue. 10.0.1.2"),
        ("_9899._sctp.web.1.blue", "web.1.blue. 9899 1", "web.1.blue. 10.0.1.3"),
    ] {
        let (found, additional) = services(&reply(&zone(), &query(name, RecordType::SRV)));
        assert_eq!((found, additional), (vec![target.to_owned()], vec![address.to_owned()]));
    }
    assert!(reply(&zone(), &query("_80._tcp.web", RecordType::A)).answers.is_empty());
}

#[test]
fn services_take_turns_and_addresses_are_left_out_where_there_is_no_room() {
    let asked = query("_80._tcp.tasks.web", RecordType::SRV);
    let bytes = reply_bytes(&zone(), 4, &asked, UDP);
    let (found, _) = services(&Message::from_vec(&bytes).unwrap());
    assert_eq!(found, ["web.2. 80 1", "web.3. 80 1", "web.1. 80 1"]);
    let mut many = zone();
    for task in 1..=2000_u16 {
        let [high, low] = task.to_be_bytes();
        let name = format!("app.{task}");
        many.add(&name, 3, &[IpAddr::from([10, 2, high, low])]);
        many.add("tasks.app", 3, &[IpAddr::from([10, 2, high, low])]).targets.push(name);
    }
    let asked = query("_80._tcp.tasks.app", RecordType::SRV);
    let bytes = reply_bytes(&many, 0, &asked, UDP);
    let cut = Message::from_vec(&bytes).unwrap();
    assert!(cut.metadata.truncation && cut.additionals.is_empty() && bytes.len() <= 512);
    let bytes = reply_bytes(&many, 0, &asked, TCP);
    let whole = Message::from_vec(&bytes).unwrap();
    // No pointer reaches the later names, so their addresses stay out; all records are told.
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 2000);
    assert!(!whole.additionals.is_empty() && whole.additionals.len() < 1000);
}

#[test]
fn other_classes_and_transfers_are_not_implemented() {
    let mut chaos = query("web", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    for message in [chaos, query("web", RecordType::AXFR), query("elsewhere", RecordType::IXFR)] {
        let reply = reply(&zone(), &message);
        assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
    }
    // As `dig CH TXT version.bind` asks the machine's own name server.
    let mut chaos = query("version.bind", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(decide(&chaos), Outcome::Forward);
    let mut any = query("web", RecordType::A);
    any.queries[0].query_class = DNSClass::ANY;
    assert_eq!(addresses(&reply(&zone(), &any)), ["10.0.1.2"]);
}

#[test]
fn only_one_question_is_served_and_only_queries() {
    let mut two = query("web", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    let mut none = query("web", RecordType::A);
    none.queries.clear();
    let mut notify = query("web", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    for (message, code) in [
        (two, ResponseCode::FormErr),
        (none, ResponseCode::FormErr),
        (notify, ResponseCode::NotImp),
    ] {
        let reply = reply(&zone(), &message);
        assert_eq!(reply.metadata.response_code, code);
        assert_eq!(reply.metadata.op_code, message.metadata.op_code);
        assert_eq!(reply.metadata.id, 0x1234);
        assert!(!reply.metadata.authoritative);
        assert!(reply.answers.is_empty());
    }
}

#[test]
fn a_query_cut_short_is_malformed_and_a_header_cut_short_is_noise() {
    let bytes = with_edns(query("web", RecordType::A), 1232).to_vec().unwrap();
    for length in 0..bytes.len() {
        let cut = bytes.get(..length).unwrap();
        match answer(&zone(), 0, cut, UDP) {
            Outcome::Drop => assert!(length < 12, "{length}"),
            Outcome::Reply(reply) => {
                let reply = Message::from_vec(&reply).unwrap();
                assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
                assert!(length >= 12, "{length}");
            }
            Outcome::Forward => panic!("{length} bytes are forwarded"),
        }
    }
}

#[test]
fn a_reply_is_not_replied_to() {
    let mut message = query("web", RecordType::A);
    message.metadata.message_type = MessageType::Response;
    assert_eq!(decide(&message), Outcome::Drop);
    let bytes = message.to_vec().unwrap();
    assert_eq!(refusal(&bytes, ResponseCode::Refused, UDP), None);
}

#[test]
fn edns_is_answered_with_our_payload_and_the_clients_do_bit() {
    for dnssec_ok in [false, true] {
        let mut asked = with_edns(query("web", RecordType::A), 4000);
        asked.edns.as_mut().unwrap().set_dnssec_ok(dnssec_ok);
        let edns = reply(&zone(), &asked).edns.unwrap();
        assert_eq!(edns.max_payload(), 1232);
        assert_eq!(edns.version(), 0);
        assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
    }
}

#[test]
fn a_later_edns_version_is_told_so() {
    let mut asked = with_edns(query("web", RecordType::A), 4000);
    asked.edns.as_mut().unwrap().set_version(1);
    let reply = reply(&zone(), &asked);
    // 16 has two meanings; hickory reads it as BADSIG.
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert_eq!(reply.edns.map(|edns| edns.version()), Some(0));
    assert!(reply.answers.is_empty());
}

#[test]
fn two_opt_records_are_malformed() {
    let mut bytes = with_edns(query("web", RecordType::A), 1232).to_vec().unwrap();
    let opt = bytes.split_off(bytes.len() - 11);
    bytes.extend([opt.clone(), opt].concat());
    *bytes.get_mut(11).unwrap() = 2;
    let Outcome::Reply(reply) = answer(&zone(), 0, &bytes, UDP) else {
        panic!("no reply");
    };
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn a_udp_reply_is_cut_between_records_at_what_the_client_takes() {
    let zone = crowded(5000);
    let plain = query("tasks.big", RecordType::A);
    for (asked, limit) in [
        (plain.clone(), 512),
        (with_edns(plain.clone(), 100), 512),
        (with_edns(plain.clone(), 1232), 1232),
        (with_edns(plain.clone(), 4096), 4096),
        (with_edns(plain.clone(), 65535), 4096),
    ] {
        let bytes = reply_bytes(&zone, 0, &asked, UDP);
        assert!(bytes.len() <= limit && bytes.len() + 16 > limit, "{limit}");
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(reply.metadata.truncation);
        assert_eq!(reply.edns.is_some(), asked.edns.is_some());
        let question = 12 + 11 + 4 + if asked.edns.is_some() { 11 } else { 0 };
        assert_eq!(reply.answers.len(), (limit - question) / 16);
    }
}

#[test]
fn a_reply_that_just_fits_is_not_cut() {
    let asked = query("tasks.big", RecordType::A);
    // 12 of header, 15 of question and 30 records of 16 bytes make 507 of 512.
    let fits = reply(&crowded(30), &asked);
    assert!(!fits.metadata.truncation);
    assert_eq!(fits.answers.len(), 30);
    let cut = reply(&crowded(31), &asked);
    assert!(cut.metadata.truncation);
    assert_eq!(cut.answers.len(), 30);
}

#[test]
fn tcp_carries_what_udp_cannot_and_is_cut_only_at_64_kib() {
    let asked = query("tasks.big", RecordType::A);
    let bytes = reply_bytes(&crowded(4000), 0, &asked, TCP);
    let reply = Message::from_vec(&bytes).unwrap();
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 4000);
    let bytes = reply_bytes(&crowded(5000), 0, &asked, TCP);
    assert!(bytes.len() <= 65535);
    let reply = Message::from_vec(&bytes).unwrap();
    assert!(reply.metadata.truncation);
    assert_eq!(reply.answers.len(), (65535 - 27) / 16);
}

#[test]
fn a_refusal_repeats_the_question() {
    let asked = with_edns(query("Else.Where", RecordType::MX), 1232);
    let bytes = refusal(&asked.to_vec().unwrap(), ResponseCode::ServFail, UDP).unwrap();
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(reply.queries, asked.queries);
    assert!(reply.edns.is_some());
}

#[test]
fn a_reason_is_told_to_who_speaks_edns_and_always_fits() {
    let long = "\u{fc}".repeat(500);
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    for (words, told) in [("nobody is there", "nobody is there"), (&long, &long[..200])] {
        let reason = Some(Reason { number: 22, words });
        let plain = query(&name, RecordType::A);
        for asked in [plain.clone(), with_edns(plain, 512)] {
            let (bytes, mut out) = (asked.to_vec().unwrap(), Vec::new());
            assert!(refuse(&bytes, ResponseCode::ServFail, reason, UDP, &mut out));
            let expected = [&[0, 22], told.as_bytes()].concat();
            let found = out.windows(expected.len()).any(|part| part == expected);
            assert_eq!(found, asked.edns.is_some());
            assert!(out.len() <= 512 && Message::from_vec(&out).is_ok());
        }
    }
}

/// Xorshift (Marsaglia 2003): the same numbers on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }
}

/// Whatever came in: a reply is readable, is a reply, and keeps the ID and the limit; and what
/// hickory can read is not called malformed.
fn check(zone: &Zone, bytes: &[u8]) {
    let theirs = Message::from_vec(bytes).ok().filter(|message| {
        let plain = message.metadata.message_type == MessageType::Query;
        plain && message.metadata.op_code == OpCode::Query && message.queries.len() == 1
    });
    if let Some(theirs) = theirs {
        match Request::read(bytes) {
            Ok(ours) => {
                let (query, question) = (&theirs.queries[0], ours.question.unwrap());
                assert_eq!(question.kind, query.query_type);
                assert_eq!(question.key.map(|k| k.as_str().to_owned()), name::key(&query.name));
                let payload = theirs.edns.map(|edns| edns.max_payload());
                assert_eq!(ours.edns.map(|edns| edns.payload.max(512)), payload);
            }
            // The one thing that it can and we do not: a pointer in the question.
            Err(_) => assert!(bytes[12..].iter().any(|byte| *byte >= 0xc0), "{bytes:?}"),
        }
    }
    for transport in [UDP, TCP] {
        if let Outcome::Reply(reply) = answer(zone, 7, bytes, transport) {
            assert_eq!(reply.get(..2), bytes.get(..2));
            assert!(transport == TCP || reply.len() <= 4096);
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.metadata.message_type, MessageType::Response);
        }
        refusal(bytes, ResponseCode::ServFail, transport);
    }
}

#[test]
fn random_bytes_never_break_it() {
    let (zone, mut dice) = (zone(), Dice(0x5eed_0001));
    for _ in 0..50_000 {
        let length = dice.roll(120);
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.byte()).collect();
        check(&zone, &bytes);
        // Most random headers are replies or wild counts: make half of them look like queries.
        if let Some(header) = bytes.first_chunk_mut::<12>() {
            let tail = u8::from(dice.roll(2) == 0);
            *header = [9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, tail];
            check(&zone, &bytes);
        }
    }
}

#[test]
fn flipped_bits_never_break_it() {
    let (zone, mut dice) = (zone(), Dice(0x5eed_0002));
    let seeds = [
        with_edns(query("tasks.web", RecordType::A), 1232),
        query("3.1.0.10.in-addr.arpa", RecordType::PTR),
        with_edns(query("web.1.blue", RecordType::HTTPS), 512),
        with_edns(query("_80._tcp.tasks.web", RecordType::SRV), 1232),
    ];
    for _ in 0..50_000 {
        let seed = seeds.get(dice.roll(seeds.len())).unwrap();
        let mut bytes = seed.to_vec().unwrap();
        for _ in 0..=dice.roll(6) {
            let place = dice.roll(bytes.len());
            *bytes.get_mut(place).unwrap() ^= 1 << dice.roll(8);
        }
        check(&zone, &bytes);
    }
}
