//! Our nf_tables bytes are those of `nft`: each operation on swarmlb's table as `nft` sends the commands
//! that a dry run prints for it, answers as the kernel gave them (`recorded/nft/`, see `record.py` there
//! for how they came about), round trips, and decoders that stand any input.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use swarmlb::intent::{Fwmark, Transport};
use swarmlb::kernel::nft::transaction;
use swarmlb::kernel::nft::wire::{
    Base, Chain, Change, Data, DataType, Element, Elements, Existing, Expression, Family, Hook,
    MetaKey, Nat, NatKind, NumberKind, Place, Query, Register, Rule, Set, SetFlags, Transaction,
    Verdict, generation,
};
use swarmlb::node::{BaseRule, Dispatch, Object, PortAt, PortTo, Publication, SandboxName};
use swarmlb::plan::{Change as OpChange, Op};

const MARK: Fwmark = Fwmark(0x100);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 2);
const HEADER: usize = 16;
const ACKNOWLEDGE: u8 = 4;
const BEGIN: u16 = 16;
const END: u16 = 17;

fn task(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 3, last)
}

fn dispatch(fwmark: Fwmark, targets: &[u8]) -> Object {
    let targets = targets.iter().map(|last| task(*last)).collect();
    Object::Dispatch { fwmark, dispatch: Dispatch { targets } }
}

/// The life of a table, each step on what those before it left.
fn steps() -> Vec<(&'static str, Op)> {
    let mark = |fwmark| Object::Mark { address: VIP, fwmark };
    let add = OpChange::Add;
    let del = OpChange::Del;
    let set = |from, to| OpChange::Set { from, to };
    let other = Fwmark(0x101);
    let range = Ipv4Net::new(Ipv4Addr::new(172, 16, 4, 0), 22).expect("a range");
    let bytes = Ipv4Net::new(Ipv4Addr::new(172, 16, 0, 0), 16).expect("a range");
    let rule = |rule| OpChange::Add(Object::BaseRule(rule));
    let to = PortTo::Address { address: task(4), port: 80 };
    let port = |address, to| {
        let at = PortAt { address, transport: Transport::Tcp, port: 8080 };
        Publication { at, to }
    };
    let steps = vec![
        ("add-table", add(Object::Table)),
        ("add-rule-mark-out", add(Object::BaseRule(BaseRule::MarkOut))),
        ("add-rule-reject-in", add(Object::BaseRule(BaseRule::RejectIn))),
        ("add-rule-reset-in", add(Object::BaseRule(BaseRule::ResetIn))),
        ("add-rule-balance-out", add(Object::BaseRule(BaseRule::BalanceOut))),
        ("add-rule-masquerade-out", add(Object::BaseRule(BaseRule::MasqueradeOut(range)))),
        ("add-rule-masquerade-bytes", add(Object::BaseRule(BaseRule::MasqueradeOut(bytes)))),
        ("add-rule-drop-forward", add(Object::BaseRule(BaseRule::DropForward(range)))),
        ("add-rule-publish", rule(BaseRule::Publish)),
        ("add-rule-publish-at", rule(BaseRule::PublishAt)),
        ("add-rule-hairpin", rule(BaseRule::MasqueradeHairpin(range))),
        ("add-rule-localhost", rule(BaseRule::MasqueradeLocalhost(range))),
        ("add-rule-guard-localhost", rule(BaseRule::GuardLocalhost)),
        ("add-rule-mark-in", rule(BaseRule::MarkIn)),
        ("add-rule-balance-in", rule(BaseRule::BalanceIn)),
        ("add-rule-source-out", rule(BaseRule::SourceOut(task(9)))),
        ("add-rule-keep-source", rule(BaseRule::KeepSource { port: 8080, range })),
        ("add-rule-mark-entry", rule(BaseRule::MarkEntry(task(4)))),
        ("add-rule-drop-back", rule(BaseRule::DropBack)),
        ("add-port", add(Object::Publication(port(None, to)))),
        ("add-port-at", add(Object::Publication(port(Some(VIP), to)))),
        ("add-port-mark", add(Object::Publication(port(Some(VIP), PortTo::Mark(MARK))))),
        ("add-guard", add(Object::Guard(VIP))),
        ("add-mark", add(mark(MARK))),
        ("add-dispatch", add(dispatch(MARK, &[4, 5, 3]))),
        ("add-dispatch-empty", add(dispatch(other, &[]))),
        ("list", add(Object::Table)),
        ("set-mark", set(mark(MARK), mark(other))),
        ("set-dispatch-narrower", set(dispatch(MARK, &[4, 5, 3]), dispatch(MARK, &[3, 4]))),
        ("set-dispatch-wider", set(dispatch(MARK, &[3, 4]), dispatch(MARK, &[6, 3, 4]))),
        ("set-dispatch-empty", set(dispatch(MARK, &[6, 3, 4]), dispatch(MARK, &[]))),
        ("del-dispatch", del(dispatch(MARK, &[]))),
        ("del-dispatch-empty", del(dispatch(other, &[]))),
        ("del-mark", del(mark(other))),
        ("del-guard", del(Object::Guard(VIP))),
        (
            "set-port-mark",
            set(
                Object::Publication(port(Some(VIP), PortTo::Mark(MARK))),
                Object::Publication(port(Some(VIP), PortTo::Mark(other))),
            ),
        ),
        ("del-port", del(Object::Publication(port(None, to)))),
        ("del-rule-publish", del(Object::BaseRule(BaseRule::Publish))),
        ("del-rule-mark-out", del(Object::BaseRule(BaseRule::MarkOut))),
        ("del-table", del(Object::Table)),
    ];
    let sandbox = SandboxName("web.1".into());
    steps
        .into_iter()
        .map(|(name, change)| (name, Op { sandbox: sandbox.clone(), change }))
        .collect()
}

/// What a dry run prints, without what leads into the sandbox.
fn commands(op: &Op) -> String {
    let line = op.to_string();
    let inside = line.strip_prefix("ip netns exec web.1 nft '").and_then(|l| l.strip_suffix('\''));
    inside.unwrap_or_else(|| panic!("no nft command: {line}")).to_owned()
}

/// For `record.py`.
#[test]
#[ignore = "prints what record.py wants"]
fn print_the_steps() {
    for (name, op) in steps() {
        let text = if name == "list" { "list".to_owned() } else { commands(&op) };
        println!("{name}\t{text}");
    }
}

/// The messages of one recording, and the commands that it is of.
struct Recording {
    commands: String,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/nft")
}

fn recording(name: &str) -> Recording {
    let path = directory().join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (first, rest) = text.split_once('\n').expect("lines");
    let commands = first.trim_start_matches("# ").to_owned();
    let (mut sent, mut received, mut to_kernel) = (Vec::new(), Vec::new(), false);
    for line in rest.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let opens = line.starts_with(['>', '<']);
        if opens {
            to_kernel = line.starts_with('>');
        }
        let messages: &mut Vec<Vec<u8>> = if to_kernel { &mut sent } else { &mut received };
        if opens {
            messages.push(Vec::new());
        }
        if let Some(message) = messages.last_mut() {
            let bytes = line.trim_start_matches(['>', '<']).split_whitespace();
            message.extend(bytes.map(|b| u8::from_str_radix(b, 16).expect("hexadecimal")));
        }
    }
    Recording { commands, sent, received }
}

fn kind(message: &[u8]) -> u16 {
    u16::from_le_bytes([message[4], message[5]])
}

fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        messages.push(bytes[..length].to_vec());
        bytes = &bytes[length.next_multiple_of(4)..];
    }
    messages
}

/// An attribute's path, and its value where it holds no others.
type Leaf = (Vec<u16>, Vec<u8>);

/// A message's type, flags and attributes, read by other code than what is tested. Left out is what
/// differs from run to run: sequence numbers, and by what number a set of the same transaction is meant.
fn normal(message: &[u8]) -> (u16, u8, u8, Vec<Leaf>) {
    const NEW_SET: u16 = 0x0a09;
    const NEW_ELEMENTS: u16 = 0x0a0c;
    const NEW_RULE: u16 = 0x0a06;
    fn walk(mut bytes: &[u8], path: &[u16], leaves: &mut Vec<Leaf>) {
        while !bytes.is_empty() {
            let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let number = u16::from_le_bytes([bytes[2], bytes[3]]);
            let path = [path, &[number & 0x3fff]].concat();
            match number & 0x8000 {
                0 => leaves.push((path, bytes[4..length].to_vec())),
                _ => walk(&bytes[4..length], &path, leaves),
            }
            bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        }
    }
    let mut leaves = Vec::new();
    if !matches!(kind(message), BEGIN | END) {
        walk(&message[HEADER + 4..], &[], &mut leaves);
    }
    leaves.retain(|(path, value)| match (kind(message), path.as_slice()) {
        (NEW_SET, [10]) | (NEW_ELEMENTS, [4]) => false,
        // Of a lookup; an expression's data stand at [4, 1, 2].
        (NEW_RULE, [4, 1, 2, 4]) => !is_lookup(message),
        // Of some masks `nft` says that they are masks, which is what the kernel takes them for.
        (NEW_RULE, [4, 1, 2, 6]) => value != &[0; 4],
        _ => true,
    });
    (kind(message), message[6] & !ACKNOWLEDGE, message[7], leaves)
}

fn is_lookup(message: &[u8]) -> bool {
    message.windows(7).any(|window| window == b"lookup\0")
}

fn bytes_of(ops: &[Op]) -> Vec<u8> {
    transaction(ops, 0).expect("operations on the table").0.into_bytes()
}

#[test]
fn each_operation_is_sent_as_nft_sends_its_commands() {
    for (name, op) in steps().into_iter().filter(|(name, _)| *name != "list") {
        let recorded = recording(name);
        assert_eq!(recorded.commands, commands(&op), "{name} is recorded from other commands");
        let sent = recorded.sent.iter().skip_while(|message| kind(message) != BEGIN);
        let theirs: Vec<_> = sent.map(|message| normal(message)).collect();
        let ours: Vec<_> =
            messages(&bytes_of(std::slice::from_ref(&op))).iter().map(|m| normal(m)).collect();
        assert_eq!(ours.len(), theirs.len(), "{name}: {ours:#?}\n{theirs:#?}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

#[test]
fn one_transaction_is_numbered_through_and_only_its_last_change_asks_for_an_answer() {
    let ops: Vec<Op> = steps().into_iter().take(8).map(|(_, op)| op).collect();
    let (built, of) = transaction(&ops, 7).expect("operations on the table");
    let count = usize::try_from(built.len()).expect("few");
    assert_eq!(of.len(), count);
    assert!(of.is_sorted() && of.last() == Some(&7), "{of:?}");
    let messages = messages(&built.into_bytes());
    assert_eq!(messages.len(), count + 2);
    for (number, message) in (7u32..).zip(&messages) {
        assert_eq!(message[8..12], number.to_le_bytes());
    }
    let asking: Vec<usize> =
        (0..messages.len()).filter(|i| messages[*i][6] & ACKNOWLEDGE != 0).collect();
    assert_eq!(asking, [count]);
}

fn payloads(of: u16) -> Vec<Vec<u8>> {
    let received = recording("list").received.into_iter();
    received.filter(|message| kind(message) == of).map(|m| m[HEADER..].to_vec()).collect()
}

#[test]
fn what_the_kernel_tells_of_chains_and_rules_is_read() {
    let chains: Vec<Chain> =
        payloads(0x0a03).iter().map(|p| Chain::decode(p).expect("a chain")).collect();
    let names: Vec<&str> = chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "mangle-out",
            "filter-in",
            "filter-in-tcp",
            "nat-out",
            "nat-post",
            "filter-forward",
            "publish-in",
            "publish-out",
            "publish-at-in",
            "publish-at-out",
            "nat-hairpin",
            "nat-local",
            "filter-local",
            "mangle-in",
            "nat-in",
            "nat-source",
            "nat-keep-8080",
            "mangle-entry",
            "filter-back",
            "rs-0x100-10.0.3.3",
            "rs-0x100-10.0.3.4",
            "rs-0x100-10.0.3.5",
            "vs-0x100",
            "vs-0x101"
        ]
    );
    let hook = Hook {
        kind: "route".into(),
        place: Place::OUTPUT,
        priority: -150,
        policy: Some(Verdict::Accept),
    };
    assert_eq!(chains[0].hook, Some(hook));
    assert_eq!(chains[19].hook, None);
    let rules: Vec<Rule> =
        payloads(0x0a06).iter().map(|p| Rule::decode(p).expect("a rule")).collect();
    let of =
        |chain: &str| &rules.iter().find(|rule| rule.chain == chain).expect("a rule").expressions;
    let nat = Nat {
        kind: NatKind::DESTINATION,
        family: Family::IPV4,
        address: Some((Register::ONE, Register::ONE)),
        port: None,
        flags: 0,
    };
    assert_eq!(
        of("rs-0x100-10.0.3.5")[..],
        [
            Expression::counter(),
            Expression::Immediate { to: Register::ONE, data: Data::Value(task(5).octets().into()) },
            Expression::Nat(nat),
        ]
    );
    let Expression::Lookup { set, to, .. } = &of("vs-0x100")[1] else { panic!("{rules:?}") };
    assert_eq!((set.as_str(), to), ("__map0", &Some(Register::VERDICT)));
    let back = Data::Verdict(Verdict::Return);
    assert_eq!(of("vs-0x101")[..], [Expression::Immediate { to: Register::VERDICT, data: back }]);
    let numbers: Vec<u16> = payloads(0x0a06).iter().filter_map(|p| generation(p)).collect();
    assert!(numbers.len() == rules.len() && numbers.iter().all(|n| *n == numbers[0]));
}

#[test]
fn what_the_kernel_tells_of_sets_and_their_elements_is_read() {
    let sets: Vec<Set> = payloads(0x0a09).iter().map(|p| Set::decode(p).expect("a set")).collect();
    let named = |name: &str| sets.iter().find(|set| set.name == name).expect("a set");
    assert_eq!(named("vips").data, None);
    assert_eq!(named("vip-mark").key, (DataType::IPV4, 4));
    assert_eq!(named("vip-mark").data, Some((DataType::MARK, 4)));
    assert!(named("__map0").flags.contains(SetFlags::ANONYMOUS.with(SetFlags::MAP)));
    let lists: Vec<Elements> =
        payloads(0x0a0c).iter().map(|p| Elements::decode(p).expect("elements")).collect();
    let of = |set: &str| -> Vec<Element> {
        let lists = lists.iter().filter(|list| list.set == set);
        lists.flat_map(|list| list.elements.clone()).collect()
    };
    let jump = |chain: &str| Some(Data::Verdict(Verdict::Jump(chain.into())));
    assert_eq!(of("vips"), [Element { key: VIP.octets().into(), data: None }]);
    let mark = Data::Value(vec![0, 1, 0, 0]);
    assert_eq!(of("vip-mark"), [Element { key: VIP.octets().into(), data: Some(mark) }]);
    let mut turns = of("__map0");
    turns.sort();
    let turn = |number: u8, chain| Element { key: vec![number, 0, 0, 0], data: jump(chain) };
    assert_eq!(
        turns,
        [turn(0, "rs-0x100-10.0.3.4"), turn(1, "rs-0x100-10.0.3.5"), turn(2, "rs-0x100-10.0.3.3")]
    );
}

#[test]
fn questions_are_asked_as_nft_asks_them() {
    let asked = recording("list").sent;
    let queries = [
        Query::Table("swarmlb"),
        Query::Chains,
        Query::Sets("swarmlb"),
        Query::Elements("swarmlb", "vips"),
        Query::Rules("swarmlb"),
    ];
    for query in queries {
        let mut ours = query.to_bytes(Family::IPV4);
        let theirs = asked.iter().find(|message| kind(message) == kind(&ours));
        let mut theirs = theirs.unwrap_or_else(|| panic!("{query:?} is not recorded")).clone();
        // `nft` asks for the chains of every family, and names the set before its table.
        for message in [&mut ours, &mut theirs] {
            message[HEADER] = 0;
        }
        if matches!(query, Query::Elements(..)) {
            let (mut one, mut other) = (normal(&ours).3, normal(&theirs).3);
            one.sort();
            other.sort();
            assert_eq!(one, other);
        } else {
            assert_eq!(ours, theirs, "{query:?}");
        }
    }
}

fn decode_all(payload: &[u8]) {
    let _ = Chain::decode(payload);
    let _ = Rule::decode(payload);
    let _ = Set::decode(payload);
    let _ = Elements::decode(payload);
    let _ = generation(payload);
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.-]{0,40}"
}

fn register() -> impl Strategy<Value = Register> {
    (0u32..24).prop_map(Register)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Drop),
        Just(Verdict::Accept),
        Just(Verdict::Continue),
        Just(Verdict::Return),
        name().prop_map(Verdict::Jump),
        name().prop_map(Verdict::Goto),
        (-100..-10i32).prop_map(Verdict::Other),
    ]
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..16).prop_map(Data::Value),
        verdict().prop_map(Data::Verdict),
    ]
}

fn expression() -> impl Strategy<Value = Expression> {
    let range = || prop::option::of((register(), register()));
    prop_oneof![
        (any::<u32>(), any::<u32>(), any::<u32>(), register()).prop_map(
            |(base, offset, length, to)| Expression::Payload {
                base: Base(base),
                offset,
                length,
                to
            }
        ),
        (any::<u32>(), register())
            .prop_map(|(key, to)| Expression::MetaLoad { key: MetaKey(key), to }),
        (any::<u32>(), register())
            .prop_map(|(key, from)| Expression::MetaStore { key: MetaKey(key), from }),
        (name(), prop::option::of(any::<u32>()), register(), prop::option::of(register()), 0..2u32)
            .prop_map(|(set, set_id, from, to, flags)| Expression::Lookup {
                set,
                set_id,
                from,
                to,
                flags
            }),
        (register(), data()).prop_map(|(to, data)| Expression::Immediate { to, data }),
        (0..2u32, range(), range(), any::<u32>()).prop_map(|(kind, address, port, flags)| {
            let (kind, family, flags) = (NatKind(kind), Family::IPV4, flags & !3);
            Expression::Nat(Nat { kind, family, address, port, flags })
        }),
        (register(), 0..2u32, any::<u32>(), any::<u32>()).prop_map(
            |(to, kind, modulus, offset)| {
                Expression::Number { to, kind: NumberKind(kind), modulus, offset }
            }
        ),
        (any::<u64>(), any::<u64>())
            .prop_map(|(packets, bytes)| Expression::Counter { packets, bytes }),
        (any::<u32>(), any::<u8>()).prop_map(|(kind, code)| Expression::Reject { kind, code }),
    ]
}

/// The payload of a transaction's only change.
fn payload(change: &Change<'_>) -> Vec<u8> {
    let mut transaction = Transaction::new(Family::IPV4, 0);
    transaction.push(change);
    messages(&transaction.into_bytes())[1][HEADER..].to_vec()
}

fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(0x5eed), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeded(2000))]

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn what_is_written_is_read_back(
        (table, chain) in (name(), name()),
        expressions in prop::collection::vec(expression(), 0..6),
        hook in prop::option::of((name(), 0..5u32, any::<i32>(), any::<bool>())),
        elements in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..16), prop::option::of(data())), 0..10),
        sizes in (any::<u32>(), any::<u32>(), prop::option::of((any::<u32>(), any::<u32>())), prop::option::of(any::<u32>())),
    ) {
        let rule = Rule::new(table.clone(), chain.clone(), expressions);
        prop_assert_eq!(Rule::decode(&payload(&Change::NewRule(&rule))), Ok(rule));
        let hook = hook.map(|(kind, place, priority, drop)| {
            let policy = Some(if drop { Verdict::Drop } else { Verdict::Accept });
            Hook { kind, place: Place(place), priority, policy }
        });
        let made = Chain { table: table.clone(), name: chain.clone(), hook };
        prop_assert_eq!(
            Chain::decode(&payload(&Change::NewChain(&made, Existing::Taken))), Ok(made));
        let elements = elements.into_iter().map(|(key, data)| Element { key, data }).collect();
        let list = Elements { table: table.clone(), set: chain.clone(), set_id: None, elements };
        prop_assert_eq!(
            Elements::decode(&payload(&Change::NewElements(&list, Existing::Refused))), Ok(list));
        let (kind, length, data, size) = sizes;
        let set = Set {
            table, name: chain, flags: SetFlags(kind & 0xff), key: (DataType(kind), length),
            data: data.map(|(kind, length)| (DataType(kind), length)), id: None, size,
            user_data: vec![1, 2, 3],
        };
        prop_assert_eq!(Set::decode(&payload(&Change::NewSet(&set, Existing::Refused))), Ok(set));
    }

    #[test]
    fn a_damaged_answer_gives_a_value_or_an_error(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let received = recording("list").received;
        let mut payload = which.get(&received)[HEADER..].to_vec();
        for (place, byte) in damages {
            if !payload.is_empty() {
                let place = place.index(payload.len());
                payload[place] = byte;
            }
        }
        payload.truncate(cut.index(payload.len() + 1));
        decode_all(&payload);
    }
}
