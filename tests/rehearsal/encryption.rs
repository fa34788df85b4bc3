//! Encrypted networks: keys that two nodes derive, rotation over nodes that lag behind one another, and
//! states and policies that somebody damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::sample::Index;
use swarmlb::intent::{
    ClusterId, Hexadecimal, Intent, Machine, NetworkName, NetworkSpec, NodeName, NodeRecord, Nonce,
    ServiceSpec, Spi,
};
use swarmlb::lower::encryption::associations;
use swarmlb::lower::key::Keyring;
use swarmlb::lower::lower;
use swarmlb::node::encryption::{Form, Key, Reqid};
use swarmlb::node::{BaseRule, Node, Sandbox, SandboxName, SecurityPolicy, SecurityState};
use swarmlb::plan::{Change, Plan};

use crate::refusing::Refusing;
use crate::{Checked, check, is_empty, rehearse};

const NODES: usize = 4;

fn name(number: usize) -> NodeName {
    format!("node-{number}").parse().expect("a name")
}

fn blue() -> NetworkName {
    "blue".parse().expect("a name")
}

/// A node's private key in its so-manieth incarnation.
fn keyring(number: usize, incarnation: u8) -> Keyring {
    let mut secret = [incarnation; 32];
    // The first byte's lowest bits do not count.
    secret[1] = number as u8;
    Keyring::new(secret)
}

/// Another nonce each time.
#[derive(Default)]
struct Nonces(u128);

impl Nonces {
    fn next(&mut self) -> Nonce {
        self.0 += 1;
        Hexadecimal(self.0.to_be_bytes())
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number as u8)
}

/// A cluster as it changes, with the private keys that its nodes have.
struct World {
    intent: Intent,
    nonces: Nonces,
    incarnations: BTreeMap<NodeName, u8>,
}

impl World {
    /// So many nodes with tasks of one encrypted network on each.
    fn new(nodes: usize) -> Self {
        let intent = Intent::new(ClusterId("c1".into()));
        let mut world = Self { intent, nonces: Nonces::default(), incarnations: BTreeMap::new() };
        (1..=nodes).for_each(|number| world.join(number));
        let spec = NetworkSpec { encrypted: true, ..NetworkSpec::new(blue()) };
        world.intent.create_network(spec, "id".into(), &Machine::default()).expect("a network");
        let service = ServiceSpec::new("web".parse().expect("a name"), blue());
        let service = ServiceSpec { replicas: 2 * nodes as u32, ..service };
        world.intent.create_service(service, "id".into(), 0).expect("a service");
        world
    }

    fn join(&mut self, number: usize) {
        let mut record = NodeRecord::new(name(number), true);
        record.address = Some(address(number));
        self.intent.nodes.insert(name(number), record);
        let incarnation = self.incarnations.entry(name(number)).or_default();
        *incarnation += 1;
        let key = keyring(number, *incarnation).public_key();
        self.intent.settle_encryption(&name(number), Ok(()), key, self.nonces.next(), 0);
    }

    fn do_edit(&mut self, edit: Edit) {
        let nonce = self.nonces.next();
        let web = "web".parse().expect("a name");
        match edit {
            Edit::Leave(number) => {
                self.intent.nodes.remove(&name(number));
                self.intent.tasks.retain(|_, task| task.node != name(number));
            }
            Edit::Join(number) if self.intent.nodes.contains_key(&name(number)) => {}
            Edit::Join(number) => self.join(number),
            Edit::Renew(number) => self.intent.renew_life(&name(number), nonce, 0),
            Edit::Begin(number) => drop(self.intent.begin_life(&name(number), nonce, 0)),
            Edit::Turn(number) => drop(self.intent.turn_life(&name(number))),
            Edit::Forget(number) => drop(self.intent.forget_life(&name(number))),
            Edit::Rotate => self.intent.rotate_keys(&blue(), nonce, 0).expect("it is encrypted"),
            Edit::Scale(replicas) => drop(self.intent.scale_service(&web, replicas)),
        }
    }

    fn keyring(&self, node: &NodeName) -> Keyring {
        let number = node.as_str().trim_start_matches("node-").parse().expect("a number");
        keyring(number, self.incarnations[node])
    }

    /// What a node shall hold, with its keys.
    fn desired(&self, node: &NodeName) -> Node {
        let mut desired = lower(&self.intent, node);
        self.keyring(node).complete(&self.intent, node, &mut desired);
        desired
    }
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Leave(usize),
    Join(usize),
    Renew(usize),
    Begin(usize),
    Turn(usize),
    Forget(usize),
    Rotate,
    Scale(u32),
}

fn edit() -> impl Strategy<Value = Edit> {
    let node = 1..=NODES;
    prop_oneof![
        node.clone().prop_map(Edit::Leave),
        node.clone().prop_map(Edit::Join),
        node.clone().prop_map(Edit::Renew),
        node.clone().prop_map(Edit::Begin),
        node.clone().prop_map(Edit::Turn),
        node.prop_map(Edit::Forget),
        Just(Edit::Rotate),
        (0u32..9).prop_map(Edit::Scale),
    ]
}

fn home(node: &Node) -> Sandbox {
    let name = SandboxName::of_node(&ClusterId("c1".into()));
    node.sandboxes.get(&name).cloned().unwrap_or_default()
}

#[test]
fn two_nodes_derive_the_same_key_and_no_key_or_number_ever_comes_back() {
    check(21, 60, prop::collection::vec(edit(), 1..40), |edits| {
        let mut world = World::new(NODES);
        // By receiver and number: of whom, in which lives, with which key.
        let mut ever: BTreeMap<(NodeName, Spi), (String, Key)> = BTreeMap::new();
        let mut keys: BTreeMap<Key, Spi> = BTreeMap::new();
        let mut gone: BTreeSet<(NodeName, Spi)> = BTreeSet::new();
        for edit in edits {
            world.do_edit(edit);
            let mut now = BTreeSet::new();
            for node in world.intent.nodes.keys() {
                for association in associations(&world.intent, node) {
                    let (sender, receiver) = (&association.sender, &association.receiver);
                    let both = [sender.name, receiver.name].map(|end| {
                        world.keyring(end).key(&association).expect("it has an end there")
                    });
                    prop_assert_eq!(&both[0], &both[1]);
                    let spi = association.spi;
                    let at = (receiver.name.clone(), spi);
                    let life = format!("{sender:?} {receiver:?}");
                    let known = ever.entry(at.clone()).or_insert((life.clone(), both[0].clone()));
                    prop_assert_eq!(&*known, &(life, both[0].clone()), "a number came back");
                    prop_assert_eq!(*keys.entry(both[0].clone()).or_insert(spi), spi);
                    now.insert(at);
                }
            }
            prop_assert!(now.iter().all(|at| !gone.contains(at)), "what had gone came back");
            // A network that a pair shares no longer, and then again, has the lives that it had.
            if !matches!(edit, Edit::Scale(_)) {
                let ended = |(receiver, spi): &&(NodeName, Spi)| {
                    let lives = world.intent.nodes.values().flat_map(|n| n.encryption.held());
                    let lives: Vec<_> = lives.map(|life| life.nonce.to_string()).collect();
                    let held = &ever[&(receiver.clone(), *spi)].0;
                    let count = lives.iter().filter(|nonce| held.contains(*nonce)).count();
                    count < 2
                };
                gone = ever.keys().filter(ended).cloned().collect();
            }
        }
        Ok(())
    });
}

#[test]
fn a_node_that_left_is_known_to_nobody_any_more() {
    let mut world = World::new(3);
    let before = home(&world.desired(&name(1)));
    let about = |sandbox: &Sandbox, number| {
        let at = address(number);
        sandbox.states.iter().filter(|s| [s.source, s.destination].contains(&at)).count()
            + sandbox.policies.iter().filter(|p| p.destination == at).count()
    };
    assert_eq!((about(&before, 2), about(&before, 3)), (3, 3));
    world.do_edit(Edit::Leave(3));
    let after = home(&world.desired(&name(1)));
    assert_eq!((about(&after, 2), about(&after, 3)), (3, 0));
    // It comes back as another: nothing that it knew is good for anything.
    let old: BTreeSet<Spi> = before.states.iter().map(|state| state.spi).collect();
    world.do_edit(Edit::Join(3));
    world.do_edit(Edit::Scale(9));
    let again = home(&world.desired(&name(1)));
    let new = again.states.iter().filter(|s| [s.source, s.destination].contains(&address(3)));
    let new: Vec<Spi> = new.map(|state| state.spi).collect();
    assert!(new.len() == 2 && new.iter().all(|spi| !old.contains(spi)), "{new:?}");
}

#[test]
fn a_node_alone_drops_clear_text_and_has_no_keys() {
    let world = World::new(1);
    let held = home(&world.desired(&name(1)));
    assert!(held.states.is_empty() && held.policies.is_empty());
    let rules = held.table.expect("a table").rules;
    assert_eq!(rules.iter().filter(|rule| rule.encrypts()).count(), 3);
}

/// What happens next while keys are turned over.
#[derive(Debug, Clone)]
enum Event {
    /// A node does a later revision, any of those that there are.
    Advance(usize, Index),
    /// A node takes the step that is due about its lives, if one is.
    Step(usize),
    Rotate,
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0..NODES;
    prop_oneof![
        8 => (node.clone(), any::<Index>()).prop_map(|(node, which)| Event::Advance(node, which)),
        4 => node.prop_map(Event::Step),
        1 => Just(Event::Rotate),
    ]
}

/// Every node is at some revision; each step of a rotation waits until all have done the one before.
#[test]
fn at_every_moment_of_a_rotation_each_receives_what_the_others_send() {
    check(22, 40, prop::collection::vec(event(), 1..80), |events| {
        let mut world = World::new(NODES);
        let homes = |world: &World| -> Vec<Sandbox> {
            (1..=NODES).map(|number| home(&world.desired(&name(number)))).collect()
        };
        let mut revisions = vec![homes(&world)];
        let mut at = [0; NODES];
        // The revision at which a node's lives became what they are.
        let mut since = [0; NODES];
        let mut turned = 0;
        for event in events {
            let latest = revisions.len() - 1;
            let before = world.intent.clone();
            match event {
                Event::Advance(node, which) => at[node] += which.index(latest - at[node] + 1),
                Event::Rotate => world.do_edit(Edit::Rotate),
                Event::Step(node) => {
                    let held = &world.intent.nodes[&name(node + 1)].encryption;
                    let done = at.iter().min().expect("nodes");
                    if *done >= since[node] {
                        let edit = match (held.next, held.previous) {
                            (Some(_), _) => Edit::Turn(node + 1),
                            (None, Some(_)) => Edit::Forget(node + 1),
                            (None, None) => continue,
                        };
                        turned += 1;
                        world.do_edit(edit);
                    }
                }
            }
            if world.intent != before {
                revisions.push(homes(&world));
                for (number, since) in (1..).zip(&mut since) {
                    let lives = |intent: &Intent| intent.nodes[&name(number)].encryption.clone();
                    if lives(&before) != lives(&world.intent) {
                        *since = revisions.len() - 1;
                    }
                }
            }
            for (sender, sends_at) in at.iter().enumerate() {
                let policies = &revisions[*sends_at][sender].policies;
                prop_assert_eq!(policies.len(), NODES - 1);
                for policy in policies {
                    let receiver = usize::from(policy.destination.octets()[3]) - 1;
                    let states = &revisions[at[receiver]][receiver].states;
                    let known = |state: &&SecurityState| state.serves(policy);
                    let received = states.iter().find(known);
                    let sent = revisions[*sends_at][sender].states.iter().find(known);
                    prop_assert!(
                        received.is_some() && received == sent,
                        "node {} at {} sends what node {} at {} does not receive ({} steps)",
                        sender + 1,
                        sends_at,
                        receiver + 1,
                        at[receiver],
                        turned
                    );
                }
            }
        }
        Ok(())
    });
}

#[test]
fn each_step_of_a_rotation_only_adds_then_only_switches_then_only_removes() {
    let mut world = World::new(2);
    let mut held = world.desired(&name(1));
    let mut kinds = Vec::new();
    for edits in [
        vec![Edit::Rotate],
        vec![Edit::Turn(1), Edit::Turn(2)],
        vec![Edit::Forget(1), Edit::Forget(2)],
    ] {
        edits.into_iter().for_each(|edit| world.do_edit(edit));
        let desired = world.desired(&name(1));
        let plan = Plan::between(&held, &desired);
        kinds.push(plan.ops.iter().fold(BTreeMap::new(), |mut counts, op| {
            let kind = match op.change {
                Change::Add(_) => "add",
                Change::Del(_) => "del",
                Change::Set { .. } => "set",
            };
            *counts.entry(kind).or_insert(0) += 1;
            counts
        }));
        held = rehearse(&held, &plan).expect("it can");
        assert_eq!(held, desired);
    }
    // Two lives of each node: four keys for each direction.
    let expected = [[("add", 6)].into(), [("set", 1)].into(), [("del", 6)].into()];
    assert_eq!(kinds, expected);
}

#[derive(Debug, Clone, Copy)]
enum Harm {
    State,
    OtherState,
    StaleState,
    Policy,
    OtherPolicy,
    BlockingPolicy,
    StalePolicy,
    Rule,
    Table,
    All,
}

fn harm() -> impl Strategy<Value = (Harm, Index)> {
    let harms = [
        Harm::State,
        Harm::OtherState,
        Harm::StaleState,
        Harm::Policy,
        Harm::OtherPolicy,
        Harm::BlockingPolicy,
        Harm::StalePolicy,
        Harm::Rule,
        Harm::Table,
        Harm::All,
    ];
    (prop::sample::select(harms.to_vec()), any::<Index>())
}

fn do_harm(node: &mut Node, harm: Harm, which: Index) {
    let cluster = ClusterId("c1".into());
    let Some(sandbox) = node.sandboxes.get_mut(&SandboxName::of_node(&cluster)) else { return };
    let stale_state = SecurityState {
        source: address(99),
        destination: address(1),
        spi: Spi(0x4000_0bad),
        reqid: Reqid::of(&cluster),
        form: Form::Ours,
        key: Key::new([0xba; 20]),
    };
    let picked = |states: &BTreeSet<SecurityState>| {
        (!states.is_empty()).then(|| which.get(&states.iter().cloned().collect::<Vec<_>>()).clone())
    };
    let picked_policy = |policies: &BTreeSet<SecurityPolicy>| {
        let all: Vec<_> = policies.iter().cloned().collect();
        (!all.is_empty()).then(|| which.get(&all).clone())
    };
    match harm {
        Harm::State | Harm::OtherState => {
            let Some(mut state) = picked(&sandbox.states) else { return };
            sandbox.states.remove(&state);
            if matches!(harm, Harm::OtherState) {
                state.form = Form::Other("a shorter check value".into());
                sandbox.states.insert(state);
            }
        }
        Harm::StaleState => drop(sandbox.states.insert(stale_state)),
        Harm::Policy | Harm::OtherPolicy | Harm::BlockingPolicy => {
            let Some(mut policy) = picked_policy(&sandbox.policies) else { return };
            sandbox.policies.remove(&policy);
            match harm {
                Harm::OtherPolicy => policy.spi = Spi(0x4000_0bad),
                Harm::BlockingPolicy => policy.form = Form::Other("it blocks".into()),
                _ => return,
            }
            sandbox.policies.insert(policy);
        }
        Harm::StalePolicy => {
            let Some(mut policy) = picked_policy(&sandbox.policies) else { return };
            policy.destination = address(99);
            sandbox.policies.insert(policy);
        }
        Harm::Rule => {
            let rules: Vec<BaseRule> =
                sandbox.table.iter().flat_map(|table| table.rules.iter().copied()).collect();
            if let (Some(table), false) = (&mut sandbox.table, rules.is_empty()) {
                table.rules.remove(which.get(&rules));
            }
        }
        Harm::Table => sandbox.table = None,
        Harm::All => {
            node.sandboxes.remove(&SandboxName::of_node(&cluster));
            return;
        }
    }
    // Linux holds no two of one number.
    let mut numbers = BTreeSet::new();
    sandbox.states.retain(|state| numbers.insert((state.destination, state.spi)));
}

/// Two nodes of one cluster in words: what was edited, harmed, and edited again.
fn damaged() -> impl Strategy<Value = (Vec<Edit>, Vec<(Harm, Index)>, Vec<Edit>)> {
    let edits = || prop::collection::vec(edit(), 0..6);
    (edits(), prop::collection::vec(harm(), 0..4), edits())
}

fn pair(first: Vec<Edit>, harms: Vec<(Harm, Index)>, then: Vec<Edit>) -> (Node, Node) {
    let mut world = World::new(NODES);
    first.into_iter().for_each(|edit| world.do_edit(edit));
    let mut from = world.desired(&name(1));
    harms.into_iter().for_each(|(harm, which)| do_harm(&mut from, harm, which));
    then.into_iter().for_each(|edit| world.do_edit(edit));
    (from, world.desired(&name(1)))
}

#[test]
fn whatever_somebody_did_to_states_and_policies_is_mended() {
    check(23, 150, damaged(), |(first, harms, then)| -> Checked {
        let (from, to) = pair(first, harms, then);
        let reached = rehearse(&from, &Plan::between(&from, &to))?;
        is_empty(&Plan::between(&reached, &to))?;
        prop_assert_eq!(reached, to);
        Ok(())
    });
}

#[test]
fn a_refusal_in_the_midst_of_new_keys_leaves_no_trace() {
    check(24, 12, damaged(), |(first, _, then)| -> Checked {
        let (from, to) = pair(first, Vec::new(), then);
        let plan = Plan::between(&from, &to);
        for number in 1..=plan.ops.len() {
            let mut kernel = Refusing::new(&from, [number]);
            let refused = swarmlb::kernel::carry_out(&mut kernel, from.clone(), &plan);
            let refused = refused.expect_err("it was refused");
            prop_assert_eq!(refused.left.len(), 0);
            prop_assert_eq!(kernel.inner.node(), &from, "operation {}", number);
        }
        Ok(())
    });
}

#[test]
fn nothing_is_sent_before_clear_text_is_dropped_nor_after() {
    let world = World::new(2);
    let desired = world.desired(&name(1));
    let plan = Plan::between(&Node::default(), &desired);
    let place = |what: &str| {
        let lines: Vec<String> = plan.ops.iter().map(ToString::to_string).collect();
        let found = lines.iter().position(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what} in {lines:#?}"))
    };
    let last = ["esp-out-4097", "esp-in-4097", "esp-mark-4097", "xfrm policy add"].map(place);
    let state = place("xfrm state add");
    let way = place(" fdb add ").min(place("neigh add"));
    assert!(last.iter().all(|rule| state < *rule && *rule < way), "{state} {last:?} {way}");
    assert_eq!(Plan::between(&desired, &Node::default()), plan.inverse());
}
