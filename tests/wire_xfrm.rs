//! Our bytes of IPsec are those of `ip xfrm`: each operation on states and policies as `ip` sends the
//! line that a dry run prints for it, answers as the kernel gave them (`recorded/xfrm/`, see `record.sh`
//! there for how they came about), round trips, and decoders that stand any input.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use swarmlb::intent::{ClusterId, Spi};
use swarmlb::kernel::xfrm;
use swarmlb::kernel::xfrm::wire::{
    Aead, Change, Direction, Identity, Mark, Mode, Numbering, Policy, PolicyAction, Query, Replay,
    Selector, State, StateFlags, Template,
};
use swarmlb::node::encryption::{ENCRYPTION_MARK, Form, KEY_LENGTH, Key, Reqid};
use swarmlb::node::{Object, SandboxName, SecurityPolicy, SecurityState};
use swarmlb::plan::runbook::show_key;
use swarmlb::plan::{Change as OpChange, Op};

const HEADER: usize = 16;
const DONE: u16 = 3;
const ACKNOWLEDGEMENT: u16 = 2;

fn cluster() -> ClusterId {
    ClusterId("c1".into())
}

fn ends() -> (Ipv4Addr, Ipv4Addr) {
    ([192, 0, 2, 1].into(), [192, 0, 2, 2].into())
}

fn state(spi: u32) -> Object {
    let (source, destination) = ends();
    let mut key = [0; KEY_LENGTH];
    key.iter_mut().zip(0x10..).for_each(|(byte, value)| *byte = value);
    let (reqid, key) = (Reqid::of(&cluster()), Key::new(key));
    Object::State(Box::new(SecurityState {
        source,
        destination,
        spi: Spi(spi),
        reqid,
        form: Form::Ours,
        key,
    }))
}

fn policy(spi: u32) -> Object {
    let (source, destination) = ends();
    Object::Policy(Box::new(SecurityPolicy {
        source,
        destination,
        port: 4789,
        mark: ENCRYPTION_MARK,
        spi: Spi(spi),
        reqid: Reqid::of(&cluster()),
        form: Form::Ours,
    }))
}

const OLD: u32 = 0x5a00_0001;
const NEW: u32 = 0x6b00_0002;

/// The life of an association, each step on what those before it left.
fn steps() -> Vec<(&'static str, Op)> {
    let steps = [
        ("add-state", OpChange::Add(state(OLD))),
        ("add-state-again", OpChange::Add(state(OLD))),
        ("add-policy", OpChange::Add(policy(OLD))),
        ("add-policy-again", OpChange::Add(policy(OLD))),
        ("set-policy", OpChange::Set { from: policy(OLD), to: policy(NEW) }),
        ("del-policy", OpChange::Del(policy(NEW))),
        ("del-policy-missing", OpChange::Del(policy(NEW))),
        ("del-state", OpChange::Del(state(OLD))),
        ("del-state-missing", OpChange::Del(state(OLD))),
    ];
    let sandbox = SandboxName::of_node(&cluster());
    steps.map(|(name, change)| (name, Op { sandbox: sandbox.clone(), change })).into()
}

/// For `record.sh`. What is there is listed while it is there.
#[test]
#[ignore = "prints what record.sh wants"]
fn print_the_steps() {
    for (name, op) in steps() {
        println!("{name}\t{}", show_key(&op));
        if name == "set-policy" {
            println!("list-states\tip xfrm state list");
            println!("list-policies\tip xfrm policy list");
        }
    }
}

/// The messages of one recording, and the command that it is of.
struct Recording {
    command: String,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/xfrm")
}

fn recording(name: &str) -> Recording {
    let path = directory().join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (first, rest) = text.split_once('\n').expect("lines");
    let command = first.trim_start_matches("# ").to_owned();
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
    Recording { command, sent, received }
}

/// Without sequence number and port, which are another each time.
fn numberless(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[8..HEADER].fill(0);
    message
}

fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

fn errno(message: &[u8]) -> i32 {
    -i32::from_ne_bytes(message[HEADER..HEADER + 4].try_into().expect("four bytes"))
}

#[test]
fn each_operation_is_sent_as_ip_sends_the_line_of_a_dry_run() {
    for (name, op) in steps() {
        let recording = recording(name);
        assert_eq!(recording.command, show_key(&op), "{name}");
        let mut bytes = Vec::new();
        xfrm::write(&op, &mut bytes).unwrap();
        let [sent] = recording.sent.as_slice() else { panic!("{name}: one message") };
        assert_eq!(numberless(&bytes), numberless(sent), "{name}");
    }
}

#[test]
fn what_is_there_or_missing_is_refused_as_the_rehearsal_refuses_it() {
    let refusals = [
        ("add-state", 0),
        ("add-state-again", nix::libc::EEXIST),
        ("add-policy", 0),
        ("add-policy-again", nix::libc::EEXIST),
        ("set-policy", 0),
        ("del-policy", 0),
        ("del-policy-missing", nix::libc::ENOENT),
        ("del-state", 0),
        ("del-state-missing", nix::libc::ESRCH),
    ];
    for (name, expected) in refusals {
        let recording = recording(name);
        let [answer] = recording.received.as_slice() else { panic!("{name}: one answer") };
        assert_eq!((kind(answer), errno(answer)), (ACKNOWLEDGEMENT, expected), "{name}");
    }
}

#[test]
fn what_the_kernel_tells_is_what_was_asked_for() {
    let reqid = Reqid::of(&cluster());
    let states = recording("list-states");
    // `ip` sends a filter along.
    assert_eq!(Query::States.to_bytes()[4..8], states.sent[0][4..8]);
    let told = |recording: &Recording| -> Vec<Vec<u8>> {
        let messages = recording.received.iter().filter(|m| kind(m) != DONE);
        messages.map(|message| message[HEADER..].to_vec()).collect()
    };
    let [payload] = told(&states).try_into().expect("one state");
    let seen = xfrm::state_seen(&State::decode(&payload).unwrap(), reqid).expect("ours");
    assert_eq!(Object::State(Box::new(seen.clone())), state(OLD));
    assert_eq!(seen.key.reveal(), None, "no key is kept");
    assert_eq!(xfrm::state_seen(&State::decode(&payload).unwrap(), Reqid(1)), None);
    let policies = recording("list-policies");
    assert_eq!(Query::Policies.to_bytes()[4..8], policies.sent[0][4..8]);
    let [payload] = told(&policies).try_into().expect("one policy");
    let seen = xfrm::policy_seen(&Policy::decode(&payload).unwrap(), reqid).expect("ours");
    assert_eq!(Object::Policy(Box::new(seen)), policy(NEW));
    assert_eq!(xfrm::policy_seen(&Policy::decode(&payload).unwrap(), Reqid(1)), None);
}

/// How somebody else changed a thing, in words.
type Damage<T> = (fn(&mut T), &'static str);

#[test]
fn what_somebody_changed_is_seen_as_another_thing() {
    let reqid = Reqid::of(&cluster());
    let recording = recording("list-states");
    let whole = State::decode(&recording.received[0][HEADER..]).unwrap();
    let damages: [Damage<State>; 7] = [
        (|s| s.aead.as_mut().unwrap().key[3] ^= 1, "another key"),
        (|s| s.aead.as_mut().unwrap().check_bits = 64, "a shorter check value"),
        (|s| s.aead = None, "no authentication"),
        (|s| s.mode = Mode::TUNNEL, "tunnel mode"),
        (|s| s.flags = StateFlags::default(), "short numbers"),
        (|s| s.numbering = Numbering::Short(32), "a short window"),
        (|s| s.mark = Some(Mark { value: 1, mask: 1 }), "a mark"),
    ];
    for (damage, what) in damages {
        let mut state = whole.clone();
        damage(&mut state);
        assert_ne!(xfrm::state_seen(&state, reqid), xfrm::state_seen(&whole, reqid), "{what}");
    }
    let recording = self::recording("list-policies");
    let whole = Policy::decode(&recording.received[0][HEADER..]).unwrap();
    let damages: [Damage<Policy>; 5] = [
        (|p| p.action = PolicyAction::BLOCK, "a block"),
        (|p| p.templates[0].optional = 1, "clear text where there is no state"),
        (|p| p.templates.push(p.templates[0]), "two states"),
        (|p| p.selector.protocol = 0, "other packets"),
        (|p| p.direction = Direction::IN, "the other direction"),
    ];
    for (damage, what) in damages {
        let mut policy = whole.clone();
        damage(&mut policy);
        assert_ne!(xfrm::policy_seen(&policy, reqid), xfrm::policy_seen(&whole, reqid), "{what}");
    }
}

#[test]
fn a_state_without_its_key_is_not_made() {
    let Object::State(mut held) = state(OLD) else { unreachable!() };
    held.key.forget();
    let sandbox = SandboxName::of_node(&cluster());
    let op = Op { sandbox, change: OpChange::Add(Object::State(held)) };
    assert_eq!(xfrm::write(&op, &mut Vec::new()), Err(nix::errno::Errno::ENOKEY));
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn identity() -> impl Strategy<Value = Identity> {
    (address(), any::<u32>(), any::<u8>()).prop_map(|(destination, spi, protocol)| Identity {
        destination,
        spi,
        protocol,
    })
}

fn mark() -> impl Strategy<Value = Option<Mark>> {
    proptest::option::of(
        (any::<u32>(), any::<u32>()).prop_map(|(value, mask)| Mark { value, mask }),
    )
}

fn states() -> impl Strategy<Value = State> {
    let aead = ("[a-z()0-9]{1,63}", any::<u32>(), proptest::collection::vec(any::<u8>(), 0..64))
        .prop_map(|(name, check_bits, key)| Aead { name, check_bits, key });
    let replay = (0u32..4096, any::<u64>(), any::<u64>())
        .prop_map(|(window, sent, received)| Replay { window, sent, received });
    let numbering =
        prop_oneof![any::<u8>().prop_map(Numbering::Short), replay.prop_map(Numbering::Long)];
    let who = (identity(), address(), any::<u32>());
    let how = (any::<u8>(), any::<u8>(), mark(), proptest::option::of(aead), numbering);
    (who, how).prop_map(|((identity, source, reqid), (mode, flags, mark, aead, numbering))| State {
        identity,
        source,
        reqid,
        mode: Mode(mode),
        flags: StateFlags(flags),
        mark,
        aead,
        is_otherwise: false,
        numbering,
        packets: 0,
        bytes: 0,
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let selector = (address(), address(), any::<u16>(), any::<u8>())
        .prop_map(|(from, to, port, protocol)| Selector::to_port(from, to, protocol, port));
    let template = (identity(), address(), any::<u32>(), any::<u8>(), any::<u8>()).prop_map(
        |(identity, source, reqid, mode, optional)| Template {
            identity,
            source,
            reqid,
            mode: Mode(mode),
            optional,
        },
    );
    let numbers = (any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>());
    (selector, mark(), numbers, proptest::collection::vec(template, 0..4)).prop_map(
        |(selector, mark, (priority, index, direction, action), templates)| Policy {
            selector,
            mark,
            direction: Direction(direction),
            action: PolicyAction(action),
            priority,
            index,
            templates,
        },
    )
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(0x5eed_0e50),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_state_is_read_as_it_is_written(state in states()) {
        let mut bytes = Vec::new();
        Change::NewState(&state).write(7, &mut bytes);
        prop_assert_eq!(State::decode(&bytes[HEADER..]).unwrap(), state);
        prop_assert_eq!(usize::try_from(u32::from_ne_bytes(bytes[..4].try_into().unwrap())).unwrap(), bytes.len());
    }

    #[test]
    fn a_policy_is_read_as_it_is_written(policy in policies()) {
        let mut bytes = Vec::new();
        Change::NewPolicy(&policy).write(7, &mut bytes);
        prop_assert_eq!(Policy::decode(&bytes[HEADER..]).unwrap(), policy);
    }

    #[test]
    fn decoders_stand_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = State::decode(&bytes);
        let _ = Policy::decode(&bytes);
    }

    #[test]
    fn decoders_stand_bytes_that_were_right_but_for_some(
        state in states(),
        policy in policies(),
        wrong in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        end in any::<proptest::sample::Index>(),
    ) {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        Change::NewState(&state).write(0, &mut one);
        Change::NewPolicy(&policy).write(0, &mut other);
        for bytes in [&mut one, &mut other] {
            for (place, value) in &wrong {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            let end = end.index(bytes.len());
            for part in [&bytes[HEADER..], bytes.get(HEADER..end).unwrap_or_default()] {
                let _ = State::decode(part);
                let _ = Policy::decode(part);
            }
        }
    }
}
